//! Values of SQLite as JSON, and back.

use std::fmt::Write as _;

use rusqlite::Row as Found;
use rusqlite::types::{ToSqlOutput, Value as Stored, ValueRef};
use serde_json::{Number, Value};

use crate::save::Row;

/// A row as a map from column to value, and about how many bytes it has.
///
/// Blobs are hexadecimal text (`\x..`), as `PostgreSQL` shows them. JSON has no infinity: it is a text.
pub(super) fn row(found: &Found<'_>, columns: &[String]) -> rusqlite::Result<(Row, usize)> {
    let mut row = Row::new();
    let mut bytes = 2;
    for (index, name) in columns.iter().enumerate() {
        let value = json(found.get_ref(index)?);
        bytes += name.len() + 6 + value.as_str().map_or(20, str::len);
        row.insert(name.clone(), value);
    }
    Ok((row, bytes))
}

fn json(value: ValueRef<'_>) -> Value {
    match value {
        ValueRef::Null => Value::Null,
        ValueRef::Integer(number) => Value::from(number),
        ValueRef::Real(number) => match Number::from_f64(number) {
            Some(number) => Value::Number(number),
            None => Value::from(if number > 0.0 { "Infinity" } else { "-Infinity" }),
        },
        ValueRef::Text(bytes) => Value::from(String::from_utf8_lossy(bytes)),
        ValueRef::Blob(bytes) => Value::from(hexadecimal(bytes)),
    }
}

fn hexadecimal(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(2 + 2 * bytes.len());
    text.push_str("\\x");
    for byte in bytes {
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02x}");
    }
    text
}

/// A JSON value as a parameter: `true` is 1, lists and maps are JSON text, and a whole number beyond 64
/// bits with a sign is text, as SQLite would round it.
pub(super) fn parameter(value: &Value) -> ToSqlOutput<'_> {
    match value {
        Value::Null => ToSqlOutput::Owned(Stored::Null),
        Value::Bool(flag) => ToSqlOutput::Owned(Stored::Integer(i64::from(*flag))),
        Value::String(text) => ToSqlOutput::Borrowed(ValueRef::Text(text.as_bytes())),
        Value::Number(number) => ToSqlOutput::Owned(match (number.as_i64(), number.as_f64()) {
            (Some(whole), _) => Stored::Integer(whole),
            (None, Some(real)) if number.is_f64() => Stored::Real(real),
            _ => Stored::Text(number.to_string()),
        }),
        Value::Array(_) | Value::Object(_) => ToSqlOutput::Owned(Stored::Text(value.to_string())),
    }
}
