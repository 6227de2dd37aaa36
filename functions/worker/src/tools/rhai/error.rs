//! Why a script failed: where, and what to do next.

use engine_core::limits::{RHAI_CALLS_DEEP, RHAI_OPERATIONS_MAX};
use rhai::{EvalAltResult, ParseError, Position};
use serde_json::{Map, Value};

use crate::tool::{Reaction, ToolError};

/// A script that cannot be read.
pub(super) fn refused(error: &ParseError) -> ToolError {
    let message = placed(error.position(), &bare(&error.to_string()));
    ToolError::new(Reaction::Input, "SyntaxError", message)
}

/// A script that began and did not end well.
pub(super) fn broken(error: &EvalAltResult, args: &Map<String, Value>) -> ToolError {
    let inner = error.unwrap_inner();
    let text = bare(&inner.to_string());
    let (kind, text) = match inner {
        EvalAltResult::ErrorTerminated(..) => {
            return ToolError::timeout(placed(
                inner.position(),
                "the script did not end in time and was stopped; raise the step's `timeout`, or do \
                 less in one step",
            ));
        }
        EvalAltResult::ErrorRuntime(thrown, _) if thrown.is_map() => {
            let field = |name: &str| {
                let fields = thrown.as_map_ref().ok()?;
                Some(fields.get(name)?.to_string()).filter(|text| !text.is_empty())
            };
            let message = field("message").unwrap_or(text);
            return ToolError::new(
                Reaction::Rejected,
                field("type").unwrap_or_else(|| "RuntimeError".to_owned()),
                placed(inner.position(), &message),
            );
        }
        EvalAltResult::ErrorRuntime(..) => ("RuntimeError", text),
        EvalAltResult::ErrorTooManyOperations(_) => (
            "LimitError",
            format!("more than {RHAI_OPERATIONS_MAX} operations; do less, or use `python`"),
        ),
        EvalAltResult::ErrorStackOverflow(_) => (
            "LimitError",
            format!("calls nested deeper than {RHAI_CALLS_DEEP}; use a loop instead of recursion"),
        ),
        EvalAltResult::ErrorDataTooLarge(..) => {
            ("LimitError", format!("{text}; keep less at a time, or use `python`"))
        }
        EvalAltResult::ErrorVariableNotFound(name, _) => {
            ("NameError", format!("`{name}` is not defined; the step's args are {}", names(args)))
        }
        EvalAltResult::ErrorFunctionNotFound(name, _) => {
            ("NameError", format!("there is no function `{name}`"))
        }
        _ => ("ScriptError", text),
    };
    ToolError::new(Reaction::Rejected, kind, placed(inner.position(), &text))
}

fn names(args: &Map<String, Value>) -> String {
    let names: Vec<String> = args.keys().map(|name| format!("`{name}`")).collect();
    if names.is_empty() { "none".to_owned() } else { names.join(", ") }
}

/// The text of an error without the place that the library puts behind it.
fn bare(text: &str) -> String {
    let text = text.rsplit_once(" (line ").map_or(text, |(text, _place)| text);
    text.strip_prefix("Runtime error: ").unwrap_or(text).to_owned()
}

fn placed(position: Position, text: &str) -> String {
    match (position.line(), position.position()) {
        (Some(line), Some(column)) => format!("line {line}, column {column}: {text}"),
        (Some(line), None) => format!("line {line}: {text}"),
        _ => text.to_owned(),
    }
}
