//! The rows of a sink: what is one, and which go into one statement.

use std::collections::HashMap;

use engine_core::limits::SAVE_COLUMNS_MAX;
use serde_json::Value;

use super::{Mode, Row, Table};
use crate::sql::params::Params;
use crate::tool::ToolError;

/// A map is a row, a list of maps is rows; the JSON text of either is, too.
pub(super) fn of(key: &str, value: Value) -> Result<Vec<Row>, ToolError> {
    let refuse = |what: &str| {
        ToolError::input(format!(
            "{what}, and a row is a map from column to value; write `{key}` as a map, or as a list \
             of maps"
        ))
    };
    match parsed(value) {
        Value::Object(row) => Ok(vec![row]),
        Value::Array(values) => {
            let row = |(index, value)| match value {
                Value::Object(row) => Ok(row),
                other => Err(refuse(&format!("`{key}[{index}]` is {}", noun(&other)))),
            };
            values.into_iter().enumerate().map(row).collect()
        }
        other => Err(refuse(&format!("`{key}` is {}", noun(&other)))),
    }
}

/// The values of each run of a statement.
///
/// A map is one run, a list of maps or of lists is one run each, a list of other values is one run;
/// an empty list is none.
pub(super) fn items(key: &str, value: Value) -> Result<Vec<Params>, ToolError> {
    match parsed(value) {
        Value::Object(fields) => Ok(vec![Params::Named(fields)]),
        Value::Array(values) if values.first().is_some_and(|first| !is_item(first)) => {
            Ok(vec![Params::Listed(values)])
        }
        Value::Array(values) => {
            let run = |(index, value)| match value {
                Value::Object(fields) => Ok(Params::Named(fields)),
                Value::Array(values) => Ok(Params::Listed(values)),
                other => Err(ToolError::input(format!(
                    "`{key}[0]` is the values of one run, and `{key}[{index}]` is {}; give every \
                     item the same form",
                    noun(&other)
                ))),
            };
            values.into_iter().enumerate().map(run).collect()
        }
        other => Err(ToolError::input(format!(
            "`{key}` is {}; write a map (for `:name`), a list (for `$1`), or a list of such items",
            noun(&other)
        ))),
    }
}

fn is_item(value: &Value) -> bool {
    value.is_object() || value.is_array()
}

/// What a filter such as `tojson` has made a text of.
fn parsed(value: Value) -> Value {
    let Value::String(text) = &value else { return value };
    let is_structure = text.trim_start().starts_with(['{', '[']);
    match serde_json::from_str(text) {
        Ok(parsed) if is_structure => parsed,
        _ => value,
    }
}

fn noun(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(_) => "a map",
    }
}

/// Refuses rows that a table of that mode cannot take.
pub(crate) fn check(table: &Table, rows: &[Row]) -> Result<(), ToolError> {
    for (index, row) in rows.iter().enumerate() {
        if row.is_empty() || row.len() > SAVE_COLUMNS_MAX {
            return Err(ToolError::input(format!(
                "row {index} for `{}` has {} columns; a row has between 1 and {SAVE_COLUMNS_MAX}",
                table.name,
                row.len()
            )));
        }
        if table.mode == Mode::Append || table.mode == Mode::Overwrite {
            continue;
        }
        if let Some(key) = table.keys.iter().find(|key| !row.contains_key(*key)) {
            let names: Vec<_> = row.keys().map(|name| format!("`{name}`")).collect();
            return Err(ToolError::input(format!(
                "row {index} for `{}` has no `{key}`, which is one of its `keys`; it has {}",
                table.name,
                names.join(", ")
            )));
        }
    }
    Ok(())
}

/// The rows in batches of at most `batch_rows`, in order; all rows of a batch have the same columns.
///
/// So a column that a row does not have gets its default, not null.
pub(crate) fn batches(rows: &[Row], batch_rows: usize) -> impl Iterator<Item = &[Row]> {
    let same = |one: &Row, next: &Row| {
        one.len() == next.len() && one.keys().all(|column| next.contains_key(column))
    };
    rows.chunk_by(same).flat_map(move |rows| rows.chunks(batch_rows.max(1)))
}

/// The last row for each combination of keys, in order: what one upsert after the other would leave.
pub(crate) fn last_of_each<'a>(rows: &'a [Row], keys: &[String]) -> Vec<&'a Row> {
    let identity = |row: &Row| -> String {
        keys.iter()
            .map(|key| row.get(key).map_or_else(String::new, Value::to_string) + ",")
            .collect()
    };
    let newest: HashMap<String, usize> =
        rows.iter().enumerate().map(|(index, row)| (identity(row), index)).collect();
    let is_newest = |index: usize, row: &Row| newest.get(&identity(row)) == Some(&index);
    rows.iter()
        .enumerate()
        .filter(|(index, row)| is_newest(*index, row))
        .map(|(_, row)| row)
        .collect()
}
