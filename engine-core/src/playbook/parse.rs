//! YAML text to a checked playbook, or to everything that is wrong with it.
//!
//! # Layout
//!
//! * `document`, `node`: the YAML, within limits, with the place of every key and scalar.
//! * `reader`: what all levels share: closed maps, typed scalars, checked templates.
//! * `root`, `keychain`, `step`, `tool`, `pause`, `policy`, `repeat`, `rule`, `next`: one level of the
//!   language each.
//! * `references`, `join`: what no level sees alone: names, targets, unreachable steps, branches that meet.
//! * `doubts`: what can be read and cannot be meant.
//! * `source`: from a place inside a template to its place in the file.
//!
//! # YAML
//!
//! Scalars mean what YAML 1.2 says. `yes`, `no`, `on` and `off` are text, with a warning, because
//! other readers take them for booleans; where a boolean is expected they count as one. Merge keys
//! (`<<`) work.

mod document;
mod doubts;
mod join;
mod keychain;
mod next;
mod node;
mod pause;
mod policy;
mod reader;
mod references;
mod repeat;
mod root;
mod rule;
mod source;
mod step;
mod tool;

#[cfg(test)]
mod tests;

use std::collections::BTreeSet;

use crate::limits;
use crate::payload;
use crate::playbook::diagnostic::{Diagnostic, Severity};
use crate::playbook::{Playbook, Position};
use crate::template::{self, SyntaxError};

use reader::Reader;

/// What a text says, and what is wrong with it.
#[derive(Clone, Debug, PartialEq)]
pub struct Parsed {
    /// The playbook; absent exactly if there is an error among the diagnostics.
    pub playbook: Option<Playbook>,
    /// All findings, by position; at most [`limits::DIAGNOSTICS_MAX`].
    pub diagnostics: Vec<Diagnostic>,
}

/// Parses and checks one playbook.
///
/// Reports every mistake, not only the first; the limits bound its work, whatever the text.
#[must_use]
pub fn parse(text: &str) -> Parsed {
    parse_with(text, &Checks { text: template::check, expression: template::check_expression })
}

/// A playbook that was accepted before, as catalogs read it back: or its errors on one line.
///
/// # Errors
/// What is wrong with the text.
pub fn accept(text: &str) -> Result<Playbook, String> {
    let Parsed { playbook, diagnostics } = parse(text);
    playbook.ok_or_else(|| {
        let errors = diagnostics.iter().filter(|found| found.severity == Severity::Error);
        errors.map(ToString::to_string).collect::<Vec<_>>().join("; ")
    })
}

/// Compiles one template; the names that it uses do not matter here.
type Check = fn(&str) -> Result<BTreeSet<String>, SyntaxError>;

/// How templates are checked.
#[derive(Clone, Copy, Debug)]
struct Checks {
    /// Text that may hold templates.
    text: Check,
    /// A condition or an expression, with or without braces.
    expression: Check,
}

fn parse_with(text: &str, checks: &Checks) -> Parsed {
    let body = text.strip_prefix('\u{feff}').unwrap_or(text);
    let document = document::read(body);
    let mut reader = Reader::new(body, checks, document.found);
    let playbook = document.root.as_ref().and_then(|root| reader.playbook(root));
    let playbook = playbook.map(|mut playbook| {
        playbook.reference.hash = payload::sha256_hex(text.as_bytes());
        playbook
    });
    let mut diagnostics = arrange(reader.findings());
    if let Some(root) = &document.root {
        for found in &mut diagnostics {
            found.path = document::path(root, found.position);
        }
    }
    let failed = diagnostics.iter().any(|found| found.severity == Severity::Error);
    let playbook = playbook.filter(|_| !failed).map(Playbook::analysed);
    Parsed { playbook, diagnostics }
}

/// By position, once each; if there are too many, errors before warnings.
fn arrange(mut found: Vec<Diagnostic>) -> Vec<Diagnostic> {
    let place = |found: &Diagnostic| -> (Position, Severity, &'static str, String) {
        (found.position, found.severity, found.code, found.message.clone())
    };
    found.sort_by_cached_key(|found| (found.severity, place(found)));
    found.dedup_by_key(|found| place(found));
    found.truncate(limits::DIAGNOSTICS_MAX);
    found.sort_by_cached_key(place);
    found
}

/// Every kind of tool that the language knows, run by this build or not.
pub(in crate::playbook) fn kinds() -> &'static [&'static str] {
    tool::KINDS
}

/// The document of a playbook as JSON, judged by nobody; none if it is no YAML within the limits.
#[must_use]
pub fn to_json(text: &str) -> Option<serde_json::Value> {
    let document = document::read(text.strip_prefix('\u{feff}').unwrap_or(text));
    document.root.filter(|_| document.found.is_empty()).map(|root| root.value())
}

/// Words of `backoff`.
pub(in crate::playbook) fn backoffs() -> [&'static str; 5] {
    policy::BACKOFFS
}

/// The keys of every closed map, by the name of its definition in the schema.
#[cfg(test)]
pub(in crate::playbook) fn keys() -> [(&'static str, &'static [&'static str]); 19] {
    [
        ("", root::ROOT.known),
        ("executor", root::EXECUTOR.known),
        ("workbookTask", root::WORKBOOK_TASK.known),
        ("step", step::STEP.known),
        ("stepSpec", step::SPEC.known),
        ("loop", repeat::LOOP.known),
        ("rule", rule::RULE.known),
        ("arc", next::ARC.known),
        ("router", next::ROUTER.known),
        ("executorSpec", root::EXECUTOR_SPEC.known),
        ("taskPolicy", policy::TASK_POLICY.known),
        ("policyRule", policy::POLICY_RULE.known),
        ("policyThen", policy::POLICY_THEN.known),
        ("stepPolicy", policy::STEP_POLICY.known),
        ("admit", policy::ADMIT.known),
        ("retry", tool::RETRY.known),
        ("onError", tool::ON_ERROR.known),
        ("onSuccess", tool::ON_SUCCESS.known),
        ("wait", pause::WAIT.known),
    ]
}

/// As [`parse`], for tests about other things than templates.
#[cfg(test)]
pub(in crate::playbook) fn parse_unchecked(text: &str) -> Parsed {
    let nothing: Check = |_| Ok(BTreeSet::new());
    parse_with(text, &Checks { text: nothing, expression: nothing })
}
