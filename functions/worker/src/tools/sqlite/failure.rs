//! What an error of SQLite means to a playbook.

use rusqlite::{Connection, Error, ErrorCode};

use crate::tool::{Reaction, ToolError};

/// Names that an error lists at most.
const NAMES_SHOWN: usize = 20;

/// The call's time is over.
pub(super) fn too_late() -> ToolError {
    ToolError::timeout(
        "the database did not answer in time and the statement was interrupted; raise `timeout`, or \
         do less in one statement",
    )
}

/// An error, with what exists where a name is unknown.
pub(super) fn failed(base: Option<&Connection>, path: &str, error: &Error) -> ToolError {
    let message = match error {
        Error::SqliteFailure(_, Some(message)) => message.clone(),
        other => other.to_string(),
    };
    let code = error.sqlite_error_code();
    let (reaction, kind, advice) = match code {
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => (
            Reaction::Transient,
            "LockedError",
            "; another program holds the database: try again, or keep its transactions short",
        ),
        Some(ErrorCode::OperationInterrupted) => return too_late(),
        Some(ErrorCode::ConstraintViolation) => (
            Reaction::Rejected,
            "ConstraintError",
            "; change the value, or write `mode: upsert` with `keys`",
        ),
        Some(ErrorCode::CannotOpen) => (
            Reaction::Input,
            "ConnectionError",
            "; the folder must exist, and the file must be readable (and writable, without \
             `read_only: true`)",
        ),
        Some(ErrorCode::NotADatabase) => {
            (Reaction::Input, "ConnectionError", "; the file is something else: name another one")
        }
        Some(ErrorCode::ReadOnly) => {
            (Reaction::Rejected, "SqlError", "; drop `read_only: true`, or make the file writable")
        }
        Some(ErrorCode::DiskFull | ErrorCode::SystemIoFailure) => {
            (Reaction::Transient, "ConnectionError", "; look at the disk of this machine")
        }
        _ => (Reaction::Rejected, "SqlError", ""),
    };
    let known = base.map(|base| known(base, &message)).unwrap_or_default();
    ToolError::new(reaction, kind, format!("database `{path}`: {message}{known}{advice}"))
}

/// What there is, where an error says what there is not.
fn known(base: &Connection, message: &str) -> String {
    let list = |what: &str, query: &str, parameter: &str| {
        let names = base.prepare(query).and_then(|mut query| {
            let names = query.query_map([parameter], |row| row.get::<_, String>(0))?;
            names.take(NAMES_SHOWN).collect::<Result<Vec<_>, _>>()
        });
        match names {
            Ok(names) if names.is_empty() => format!("; it has no {what}"),
            Ok(names) => format!("; it has the {what} `{}`", names.join("`, `")),
            Err(_) => String::new(),
        }
    };
    if message.starts_with("no such table") {
        let query = "SELECT name FROM sqlite_schema WHERE type IN ('table', 'view') AND ?1 = ?1 \
                     AND name NOT LIKE 'sqlite_%' ORDER BY name";
        return list("tables", query, "");
    }
    if message.contains("too many attached databases") {
        return "; declare it: `attach: [{alias: NAME, path: FILE}]`".to_owned();
    }
    if message.contains("ON CONFLICT clause does not match") {
        return "; give the table a primary key or a unique index on exactly the `keys`".to_owned();
    }
    let column = message.strip_prefix("table ").and_then(|rest| rest.split_once(" has no column"));
    match column {
        Some((table, _)) => list("columns", "SELECT name FROM pragma_table_info(?1)", table),
        None => String::new(),
    }
}
