//! What a function answered: its value, or its error.

use engine_core::limits::LAMBDA_TRACE_LINES_MAX;
use serde_json::{Value, json};

use super::invocation::Invocation;
use crate::aws::Response;
use crate::tool::{Reaction, ToolError};

/// Errors of the place where a function runs, not of its code: the next one may work.
const PASSING: [&str; 3] = ["Sandbox.Timedout", "Runtime.ExitError", "Extension.Crash"];

/// The result of the step; an error if the function raised one.
pub(super) fn of(invocation: &Invocation, answer: &Response) -> Result<Value, ToolError> {
    let data = match answer.body.as_slice() {
        [] => Value::Null,
        body => serde_json::from_slice(body)
            .unwrap_or_else(|_text| Value::from(String::from_utf8_lossy(body))),
    };
    if answer.header("x-amz-function-error").is_some() {
        return Err(raised(&invocation.function, data));
    }
    Ok(json!({
        "status": "success",
        "function": invocation.function,
        "invocation": invocation.mode.name(),
        "status_code": answer.status,
        "executed_version": answer.header("x-amz-executed-version"),
        "data": data,
    }))
}

fn raised(function: &str, data: Value) -> ToolError {
    let text = |name: &str| data.get(name).and_then(Value::as_str);
    let said = text("errorMessage").unwrap_or("no message");
    let is_timeout = said.contains("Task timed out after");
    let kind =
        text("errorType").unwrap_or(if is_timeout { "Sandbox.Timedout" } else { "FunctionError" });
    let is_passing = is_timeout || PASSING.contains(&kind);
    let reaction = if is_passing { Reaction::Transient } else { Reaction::Rejected };
    let advice = if is_timeout {
        "raise the timeout of the function, or let it do less"
    } else {
        "look into the log of the function; `retry` may call it again"
    };
    let message = format!("the function `{function}` failed with {kind}: {said}; {advice}");
    let trace = data.get("stackTrace").or_else(|| data.get("trace")).map(lines);
    ToolError::new(reaction, kind, message)
        .with_traceback(trace.unwrap_or_default())
        .with_result(data)
}

/// A trace is a list of lines, or of lists with the parts of one.
fn lines(trace: &Value) -> String {
    let plain = |value: &Value| match value {
        Value::String(text) => text.trim_end().to_owned(),
        Value::Array(parts) => {
            let parts = parts
                .iter()
                .map(|part| part.as_str().map_or_else(|| part.to_string(), str::to_owned));
            parts.collect::<Vec<_>>().join(" ")
        }
        other => other.to_string(),
    };
    match trace {
        Value::Array(lines) => {
            let lines = lines.iter().take(LAMBDA_TRACE_LINES_MAX).map(plain);
            lines.collect::<Vec<_>>().join("\n")
        }
        other => plain(other),
    }
}
