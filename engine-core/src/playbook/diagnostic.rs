//! What is wrong with a playbook, where, and what to write instead.

use std::fmt;

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
    /// The path in the document, such as `workflow[2].loop.iteratr`; empty for the document itself.
    pub path: String,
    /// What to write instead.
    pub advice: Option<String>,
}

/// A stretch of one line.
#[derive(Clone, Copy, Debug, Default, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) struct Span {
    /// Where it starts.
    pub(crate) start: Position,
    /// Its characters.
    pub(crate) length: u32,
}

impl Diagnostic {
    /// A finding that stops the playbook from running.
    pub(crate) fn error(code: &'static str, span: Span, message: impl Into<String>) -> Self {
        Self {
            severity: Severity::Error,
            code,
            message: message.into(),
            position: span.start,
            length: span.length.max(1),
            path: String::new(),
            advice: None,
        }
    }

    /// A finding that the author should see.
    pub(crate) fn warning(code: &'static str, span: Span, message: impl Into<String>) -> Self {
        Self { severity: Severity::Warning, ..Self::error(code, span, message) }
    }

    /// The same, with what to write instead.
    pub(crate) fn advised(self, advice: impl Into<String>) -> Self {
        Self { advice: Some(advice.into()), ..self }
    }
}

impl fmt::Display for Diagnostic {
    /// `LINE:COLUMN: SEVERITY[CODE]: MESSAGE (ADVICE)`, on one line.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Position { line, column } = self.position;
        let severity = match self.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
        };
        write!(f, "{line}:{column}: {severity}[{}]: {}", self.code, self.message)?;
        match &self.advice {
            Some(advice) => write!(f, " ({advice})"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_diagnostic_prints_on_one_line() {
        let span = Span { start: Position { line: 3, column: 5 }, length: 0 };
        let found = Diagnostic::warning("unknown-key", span, "`x` is not known").advised("drop it");
        assert_eq!(found.to_string(), "3:5: warning[unknown-key]: `x` is not known (drop it)");
        assert_eq!(found.length, 1);
    }
}
