//! What went wrong in DuckDB, and what helps.

use std::time::Duration;

use super::process::Loss;
use super::protocol::{Answer, Failure};
use crate::tool::{Reaction, ToolError};

/// The executable is not there.
pub(super) fn missing(why: &str) -> ToolError {
    ToolError::new(
        Reaction::Rejected,
        "DuckDbMissing",
        format!(
            "DuckDB is not installed: {why}; run `make duckdb`, or set `NOETL_DUCKDB_WORKER` to \
             the path of `duckdb-engine`"
        ),
    )
}

/// Why no answer came; `allowed` is the time that there was.
pub(super) fn lost(loss: Loss, allowed: Duration) -> ToolError {
    match loss {
        Loss::Timeout => ToolError::timeout(format!(
            "DuckDB did not finish within {} s and was interrupted; raise the step's `timeout`, or \
             ask for less",
            allowed.as_secs_f64().round()
        )),
        Loss::Ended(how) => ToolError::new(
            Reaction::Transient,
            "DuckDbLost",
            format!(
                "the DuckDB process ended during the call ({how}); the next call starts a new one. If \
                 it ends again, give the query less to hold: filter or aggregate earlier"
            ),
        ),
        Loss::Start(why) => ToolError::new(
            Reaction::Rejected,
            "DuckDbMissing",
            format!("DuckDB does not start: {why}; run `make duckdb` again"),
        ),
        Loss::TooLong(why) => ToolError::new(
            Reaction::Input,
            "TooLarge",
            format!("the statement with its values is too long ({why}); save in smaller batches"),
        ),
    }
}

/// An answer to another question.
pub(super) fn odd(answer: &Answer) -> ToolError {
    let name = match answer {
        Answer::Hello { .. } => "hello",
        Answer::Done => "done",
        Answer::Table(_) => "a table",
        Answer::Rows(_) => "rows",
        Answer::Failed(_) => "a failure",
    };
    let text = format!("`duckdb-engine` answered {name}, which was not asked; run `make duckdb`");
    ToolError::new(Reaction::Rejected, "DuckDbMissing", text)
}

/// What DuckDB refused; no error shows a secret.
pub(super) fn failure(failure: &Failure, secrets: &[String]) -> ToolError {
    let mut message = failure.message.clone();
    for secret in secrets.iter().filter(|secret| !secret.is_empty()) {
        message = message.replace(secret.as_str(), "***");
    }
    let (reaction, kind, advice) = judge(&failure.class, &message);
    let error = if failure.class == "Other" { String::new() } else { failure.class.clone() + ": " };
    let advice = if advice.is_empty() { String::new() } else { format!("; {advice}") };
    ToolError::new(reaction, kind, format!("{error}{}{advice}", message.trim_end()))
}

/// Reaction, kind and advice by the class of the error, and by its text where a class says too little.
fn judge(class: &str, message: &str) -> (Reaction, &'static str, &'static str) {
    use Reaction::{Input, Rejected, Transient};
    if let Some(judged) = elsewhere(message) {
        return judged;
    }
    match class {
        "Permission" => (
            Rejected,
            "PermissionError",
            "a step touches only its own database unless it says otherwise: declare folders with \
             `files`, databases with `attach` or `auth`, or everything with `external_access: true`",
        ),
        "Constraint" => (Rejected, "ConstraintError", ""),
        "Parameter" => (Input, "InputError", "add it to `params`"),
        "Busy" | "Lock" => (Transient, "BusyError", "it may be free in a moment"),
        "INTERRUPT" | "Interrupt" => (Transient, "TimeoutError", "the call ran out of time"),
        "TransactionContext" | "Transaction" => {
            (Transient, "ConflictError", "another call changed the same rows")
        }
        "FATAL" | "Fatal" | "INTERNAL" | "Internal" | "Session" => (Transient, "DuckDbLost", ""),
        "Out of Memory" => (
            Rejected,
            "MemoryError",
            "filter or aggregate earlier, or write to files instead of returning rows",
        ),
        "TooLarge" => (
            Rejected,
            "TooLarge",
            "add a `LIMIT`, aggregate, or use `transfer` for all of the rows",
        ),
        "Extension" => (Rejected, "DuckDbMissing", "run `make duckdb`"),
        "HTTP" if message.contains("HTTP 4") => {
            (Rejected, "HttpError", "check the address and the credential")
        }
        "HTTP" | "Connection" => (Transient, "ConnectionError", ""),
        "IO" if ["No files found", "No such file", "not a valid DuckDB", "does not exist"]
            .iter()
            .any(|words| message.contains(words)) =>
        {
            (Rejected, "FileError", "")
        }
        "IO" => (Transient, "IoError", ""),
        _ => (Rejected, "SqlError", ""),
    }
}

/// Errors of other databases, and of the configuration, which come under many names.
fn elsewhere(message: &str) -> Option<(Reaction, &'static str, &'static str)> {
    use Reaction::{Rejected, Transient};
    let says = |words: &[&str]| words.iter().any(|word| message.contains(word));
    if says(&["password authentication failed", "no password supplied"]) {
        return Some((Rejected, "AuthError", "correct the credential"));
    }
    if says(&["the configuration has been locked"]) {
        let advice = "the limits and the closed doors of a step are not its own to change";
        return Some((Rejected, "PermissionError", advice));
    }
    if says(&["Unable to connect", "Could not connect", "Could not establish", "onnection refused"])
    {
        let advice = "is the server running, and reachable from here?";
        return Some((Transient, "ConnectionError", advice));
    }
    if says(&["server closed the connection", "terminating connection", "SSL SYSCALL"]) {
        return Some((Transient, "ConnectionError", "the other side dropped the connection"));
    }
    says(&["violates unique", "violates foreign", "violates check", "violates not-null"])
        .then_some((Rejected, "ConstraintError", ""))
}
