//! What went wrong, for people: which server, which statement, and what to do.

use std::error::Error as _;

use tokio_postgres::Error;
use tokio_postgres::error::{DbError, ErrorPosition, SqlState};

use super::settings::Settings;
use crate::tool::{Reaction, ToolError};

/// Characters of a statement that are shown around a mistake.
const SHOWN: usize = 40;

/// A server that cannot be reached.
pub(super) fn unreachable(settings: &Settings, cause: &str) -> ToolError {
    ToolError::new(
        Reaction::Transient,
        "ConnectionError",
        format!(
            "PostgreSQL at {} cannot be reached: {cause}; is it running, and do `db_host` and \
             `db_port` of the credential name it?",
            settings.place()
        ),
    )
}

/// An error before the first statement.
pub(super) fn connecting(error: &Error, settings: &Settings) -> ToolError {
    let place = settings.place();
    let Some(told) = error.as_db_error() else {
        let cause = causes(error);
        if cause.contains("TLS") || cause.contains("certificate") {
            let message = format!(
                "{place} and this worker do not agree on TLS: {cause}; enable it at the server, or \
                 choose another `sslmode` or `sslrootcert` in the credential"
            );
            return ToolError::new(Reaction::Rejected, "TlsError", message);
        }
        return unreachable(settings, &cause);
    };
    let (user, said) = (settings.user(), told.message());
    match told.code().code().get(..2).unwrap_or_default() {
        "28" => ToolError::new(
            Reaction::Rejected,
            "AuthenticationError",
            format!(
                "{place} does not let `{user}` in: {said}; correct `db_user` and `db_password` of \
                 the credential"
            ),
        ),
        "3D" => ToolError::new(
            Reaction::Rejected,
            "SqlError",
            format!("{place}: {said}; correct `db_name` of the credential, or create the database"),
        ),
        _ => database(told, &place, ""),
    }
}

/// An error of a statement.
pub(super) fn statement(error: &Error, place: &str, sql: &str) -> ToolError {
    match error.as_db_error() {
        Some(told) => database(told, place, sql),
        None => ToolError::new(
            Reaction::Transient,
            "ConnectionError",
            format!(
                "the connection to PostgreSQL at {place} was lost ({}); what was not committed is \
                 undone",
                causes(error)
            ),
        ),
    }
}

/// Whether the connection may go on after this error.
pub(super) fn is_over(error: &Error) -> bool {
    error.as_db_error().is_none_or(|told| {
        let code = told.code().code();
        code.starts_with("57P") || code.starts_with("08")
    })
}

fn database(told: &DbError, place: &str, sql: &str) -> ToolError {
    let code = told.code();
    let (reaction, kind) = class(code);
    let mut message = format!("{} (SQLSTATE {}) at {place}", told.message(), code.code());
    if *code == SqlState::QUERY_CANCELED {
        return ToolError::timeout(format!(
            "{message}; raise `timeout` of the step, or let the statement do less"
        ));
    }
    let mut add = |text: &str| {
        message.push_str("; ");
        message.push_str(text);
    };
    if let Some(ErrorPosition::Original(position)) = told.position() {
        add(&shown(sql, *position));
    }
    if let Some(detail) = told.detail() {
        add(detail);
    }
    if let (Some(table), Some(column)) = (told.table(), told.column()) {
        add(&format!("column `{column}` of `{table}`"));
    }
    if let Some(hint) = told.hint() {
        add(hint);
    } else if let Some(advice) = advice(code, sql) {
        add(advice);
    }
    ToolError::new(reaction, kind, message)
}

/// What the class of an error means for whoever calls.
fn class(code: &SqlState) -> (Reaction, &'static str) {
    match (code.code(), code.code().get(..2).unwrap_or_default()) {
        ("40001" | "40P01" | "55P03", _) => (Reaction::Transient, "ConflictError"),
        (code, "57") if code.starts_with("57P") => (Reaction::Transient, "ConnectionError"),
        (_, "08") => (Reaction::Transient, "ConnectionError"),
        (_, "53" | "58") => (Reaction::Transient, "ServerError"),
        (_, "23") => (Reaction::Rejected, "ConstraintError"),
        (_, "22") => (Reaction::Rejected, "DataError"),
        (_, "28") => (Reaction::Rejected, "AuthenticationError"),
        ("42501", _) => (Reaction::Rejected, "PermissionError"),
        _ => (Reaction::Rejected, "SqlError"),
    }
}

fn advice(code: &SqlState, sql: &str) -> Option<&'static str> {
    match code.code() {
        "42601" if sql.contains(':') && crate::sql::named::has_places(sql) => {
            Some("`:name` in a statement needs `params` with that name")
        }
        "42P10" => Some("an upsert needs a unique index on exactly its `keys`"),
        "42P18" => Some("write its type, as in `$1::text`"),
        "25P02" => {
            Some("an earlier statement of this transaction failed; start again with `ROLLBACK`")
        }
        "42501" => Some("grant it to the user of the credential, or use another credential"),
        _ => None,
    }
}

/// The place of a mistake: line, column, and the text around it. `position` counts characters from 1.
fn shown(sql: &str, position: u32) -> String {
    let index = usize::try_from(position).unwrap_or(usize::MAX).saturating_sub(1);
    let before: String = sql.chars().take(index).collect();
    let line = before.matches('\n').count() + 1;
    let start = before.rfind('\n').map_or(0, |end| end + 1);
    let column = before.get(start..).map_or(0, |text| text.chars().count()) + 1;
    let rest: String = sql.chars().skip(index).take_while(|c| *c != '\n').take(SHOWN).collect();
    if rest.trim().is_empty() {
        return "at the end of the statement".to_owned();
    }
    format!("line {line}, column {column} of the statement: `{}`", rest.trim_end())
}

/// An error and what caused it, in one line.
fn causes(error: &Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        text.push_str(": ");
        text.push_str(&inner.to_string());
        cause = inner.source();
    }
    text
}
