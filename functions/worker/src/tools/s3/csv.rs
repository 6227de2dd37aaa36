//! CSV with a header line. Source: RFC 4180.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use crate::tool::ToolError;

/// The rows, every value a text; what is wrong, as the end of a sentence.
pub(super) fn read(text: &str) -> Result<Vec<Value>, String> {
    let mut records = records(text.strip_prefix('\u{feff}').unwrap_or(text))?.into_iter();
    let Some(header) = records.next() else { return Ok(Vec::new()) };
    let rows = records.enumerate().map(|(index, record)| {
        if record.len() != header.len() {
            let (has, wants) = (record.len(), header.len());
            return Err(format!("has {has} fields in row {}, and {wants} columns", index + 1));
        }
        let fields = header.iter().cloned().zip(record.into_iter().map(Value::from));
        Ok(Value::Object(fields.collect()))
    });
    rows.collect()
}

/// Fields of every record; empty lines are none.
fn records(text: &str) -> Result<Vec<Vec<String>>, String> {
    let (mut records, mut record, mut field) = (Vec::new(), Vec::new(), String::new());
    let (mut is_quoted, mut was_quoted) = (false, false);
    let mut rest = text.chars().peekable();
    while let Some(char) = rest.next() {
        match char {
            '"' if is_quoted && rest.peek() == Some(&'"') => {
                rest.next();
                field.push('"');
            }
            '"' if is_quoted => is_quoted = false,
            '"' if field.is_empty() && !was_quoted => (is_quoted, was_quoted) = (true, true),
            ',' if !is_quoted => {
                record.push(std::mem::take(&mut field));
                was_quoted = false;
            }
            '\r' if !is_quoted && rest.peek() == Some(&'\n') => {}
            '\n' if !is_quoted => {
                if !(record.is_empty() && field.is_empty() && !was_quoted) {
                    record.push(std::mem::take(&mut field));
                    records.push(std::mem::take(&mut record));
                }
                was_quoted = false;
            }
            char => field.push(char),
        }
    }
    if is_quoted {
        return Err(format!("ends inside a quoted field of record {}", records.len() + 1));
    }
    if !(record.is_empty() && field.is_empty() && !was_quoted) {
        record.push(field);
        records.push(record);
    }
    Ok(records)
}

/// A map or a list of maps, under all their names in the order in which they come.
pub(super) fn write(value: &Value) -> Result<String, ToolError> {
    let rows: Vec<&Map<String, Value>> = match value {
        Value::Array(rows) => rows.iter().map(Value::as_object).collect(),
        value => Some(value.as_object().into_iter().collect()),
    }
    .filter(|rows: &Vec<_>| !rows.is_empty() || value.as_array().is_some_and(Vec::is_empty))
    .ok_or_else(|| {
        ToolError::input("`format: csv` writes a map or a list of maps; use `json` for the rest")
    })?;
    let (mut names, mut seen) = (Vec::new(), BTreeSet::new());
    for name in rows.iter().flat_map(|row| row.keys()) {
        if seen.insert(name) {
            names.push(name);
        }
    }
    let mut text = String::new();
    if names.is_empty() {
        return Ok(text);
    }
    line(&mut text, names.iter().map(|name| (*name).clone()));
    for row in rows {
        line(&mut text, names.iter().map(|name| plain(row.get(*name))));
    }
    Ok(text)
}

fn plain(value: Option<&Value>) -> String {
    match value {
        None | Some(Value::Null) => String::new(),
        Some(Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
    }
}

fn line(text: &mut String, fields: impl Iterator<Item = String>) {
    for (index, field) in fields.enumerate() {
        if index > 0 {
            text.push(',');
        }
        // An empty field alone in its line would be no line.
        let is_quoted = field.is_empty() || field.contains(['"', ',', '\n', '\r']);
        if is_quoted {
            text.push('"');
            text.push_str(&field.replace('"', "\"\""));
            text.push('"');
        } else {
            text.push_str(&field);
        }
    }
    text.push('\n');
}
