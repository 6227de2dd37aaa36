//! What a failed `SQLite` call means to its caller.

use engine_core::ports::{PortError, PortErrorKind};
use rusqlite::{Error, ErrorCode};

/// Kind by reaction, and the cure; `name` is the store as the user named it.
pub(crate) fn failure(name: &str, error: Error) -> PortError {
    let (kind, message) = match error.sqlite_error_code() {
        Some(ErrorCode::DiskFull) => (
            PortErrorKind::Refused,
            format!(
                "`{name}` cannot grow: the disk is full or its size limit is reached; free some \
                 space, then resume the execution"
            ),
        ),
        Some(ErrorCode::ReadOnly | ErrorCode::PermissionDenied) => (
            PortErrorKind::Refused,
            format!(
                "`{name}` is read-only; make the file and its folder writable, or choose another \
                 one with `--store`"
            ),
        ),
        Some(ErrorCode::NotADatabase) => (
            PortErrorKind::Refused,
            format!("`{name}` is not a SQLite database; choose another file with `--store`"),
        ),
        Some(ErrorCode::CannotOpen) => (
            PortErrorKind::Refused,
            format!("`{name}` cannot be opened; its folder must exist and be writable"),
        ),
        Some(ErrorCode::TooBig) => (
            PortErrorKind::Refused,
            format!("one value is larger than `{name}` can hold (1 GB); make the results smaller"),
        ),
        Some(ErrorCode::DatabaseCorrupt) => (
            PortErrorKind::Corrupt,
            format!(
                "`{name}` is damaged; restore it from a copy, or salvage it with \
                 `sqlite3 {name} .recover`"
            ),
        ),
        Some(_) => (PortErrorKind::Unavailable, format!("`{name}` did not answer")),
        // Not SQLite but a value of it: a column has another type than the schema says.
        None => (PortErrorKind::Corrupt, format!("`{name}` holds a value of the wrong type")),
    };
    PortError::caused(kind, message, error)
}
