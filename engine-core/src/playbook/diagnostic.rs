//! What is wrong with a playbook, where, and what to write instead.

use serde::Serialize;

use crate::playbook::Position;

/// How bad it is.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// The playbook cannot run.
    Error,
    /// It runs, but probably not as meant.
    Warning,
}

/// One finding in a playbook's text.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct Diagnostic {
    /// How bad it is.
    pub severity: Severity,
    /// Stable short name such as `unknown-key`.
    pub code: &'static str,
    /// What happened: lower case, no full stop, names in backticks.
    pub message: String,
    /// Where the offending text starts.
    pub position: Position,
    /// Characters of the offending text, at least 1, on that line.
    pub length: u32,
    /// The path in the document, such as `workflow[2].loop.iteratr`.
    pub path: String,
    /// What to write instead.
    pub advice: Option<String>,
}
