//! A value as the bytes of a file.

use std::fs::File;
use std::io::{self, BufRead as _, BufReader, Read as _};
use std::path::Path;

use serde_json::{Map, Value};

use crate::tool::{Reaction, ToolError};

/// Bytes of the first line of a CSV file: more is no header.
const HEADER_BYTES_MAX: u64 = 1 << 20;

/// How a file holds a value.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Format {
    /// One document.
    Json,
    /// One document per line.
    JsonLines,
    /// A line of names, then a line per row (RFC 4180, with `\n`).
    Csv,
    /// Text as it is.
    Text,
}

/// The bytes of a value, and how many rows they hold.
pub(super) struct Written {
    pub(super) bytes: Vec<u8>,
    pub(super) rows: usize,
}

impl Format {
    /// The format of that name.
    pub(super) fn named(name: &str) -> Result<Self, ToolError> {
        match name.to_ascii_lowercase().as_str() {
            "json" => Ok(Self::Json),
            "jsonl" | "ndjson" => Ok(Self::JsonLines),
            "csv" => Ok(Self::Csv),
            "text" | "txt" => Ok(Self::Text),
            other => Err(ToolError::input(format!(
                "`format: {other}` is not known; write `json`, `jsonl`, `csv` or `text`"
            ))),
        }
    }

    /// The format that a file's extension says.
    pub(super) fn of_path(path: &str) -> Result<Self, ToolError> {
        let extension = Path::new(path).extension().and_then(|extension| extension.to_str());
        match extension.unwrap_or_default().to_ascii_lowercase().as_str() {
            "json" => Ok(Self::Json),
            "jsonl" | "ndjson" => Ok(Self::JsonLines),
            "csv" => Ok(Self::Csv),
            "txt" | "log" | "md" | "html" | "xml" | "sql" => Ok(Self::Text),
            _ => Err(ToolError::input(format!(
                "`path: {path}` does not say its format; add `format: json`, `jsonl`, `csv` or \
                 `text`"
            ))),
        }
    }

    /// Writes `data`; rows of a CSV file that is there already follow its `header`.
    pub(super) fn write(
        self,
        data: &Value,
        header: Option<&[String]>,
    ) -> Result<Written, ToolError> {
        match self {
            Self::Json => {
                let mut bytes = json(data)?;
                bytes.push(b'\n');
                Ok(Written { bytes, rows: rows(data).len() })
            }
            Self::JsonLines => {
                let mut bytes = Vec::new();
                for row in rows(data) {
                    bytes.extend(json(row)?);
                    bytes.push(b'\n');
                }
                Ok(Written { bytes, rows: rows(data).len() })
            }
            Self::Csv => csv(data, header),
            Self::Text => text(data),
        }
    }
}

/// The items of a list; anything else is one row.
fn rows(data: &Value) -> &[Value] {
    match data {
        Value::Array(rows) => rows,
        Value::Null => &[],
        one => std::slice::from_ref(one),
    }
}

fn json(value: &Value) -> Result<Vec<u8>, ToolError> {
    serde_json::to_vec(value).map_err(|error| {
        let message = format!("what is saved cannot be written as JSON: {error}");
        ToolError::new(Reaction::Rejected, "FileError", message)
    })
}

fn text(data: &Value) -> Result<Written, ToolError> {
    let mut text = String::new();
    let rows = rows(data);
    for row in rows {
        let line = match row {
            Value::String(line) => line.clone(),
            Value::Number(_) | Value::Bool(_) => row.to_string(),
            _ => {
                return Err(ToolError::input(
                    "`format: text` saves text, or a list of lines; for maps use `json`, `jsonl` or \
                     `csv`",
                ));
            }
        };
        text.push_str(&line);
        // A list is a list of lines; one text is what it is.
        if data.is_array() && !line.ends_with('\n') {
            text.push('\n');
        }
    }
    Ok(Written { bytes: text.into_bytes(), rows: rows.len() })
}

fn csv(data: &Value, header: Option<&[String]>) -> Result<Written, ToolError> {
    let rows = rows(data);
    let mut maps: Vec<&Map<String, Value>> = Vec::with_capacity(rows.len());
    for (index, row) in rows.iter().enumerate() {
        maps.push(row.as_object().ok_or_else(|| {
            ToolError::input(format!(
                "`format: csv` saves maps, and row {index} is none; give every row its names"
            ))
        })?);
    }
    let mut columns: Vec<&str> = header.unwrap_or_default().iter().map(String::as_str).collect();
    let mut known: std::collections::HashSet<&str> = columns.iter().copied().collect();
    for name in maps.iter().flat_map(|row| row.keys()) {
        if known.insert(name) {
            if header.is_some() {
                return Err(ToolError::input(format!(
                    "the file has no column `{name}`; it has {}: save these, or use `mode: overwrite`",
                    columns.join(", ")
                )));
            }
            columns.push(name);
        }
    }
    let mut out = String::new();
    if header.is_none() && !columns.is_empty() {
        line(&mut out, columns.iter().map(|name| quoted(name)));
    }
    for row in maps {
        line(&mut out, columns.iter().map(|name| cell(row.get(*name).unwrap_or(&Value::Null))));
    }
    Ok(Written { bytes: out.into_bytes(), rows: rows.len() })
}

/// Nothing for null, a quoted nothing for an empty text, and JSON for lists and maps.
fn cell(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) if text.is_empty() => "\"\"".to_owned(),
        Value::String(text) => quoted(text),
        other => quoted(&other.to_string()),
    }
}

fn quoted(text: &str) -> String {
    let is_plain = !text.contains([',', '"', '\n', '\r']) && text.trim().len() == text.len();
    if is_plain { text.to_owned() } else { format!("\"{}\"", text.replace('"', "\"\"")) }
}

fn line(out: &mut String, cells: impl Iterator<Item = String>) {
    for (index, cell) in cells.enumerate() {
        if index > 0 {
            out.push(',');
        }
        out.push_str(&cell);
    }
    out.push('\n');
}

/// The names in the first line of a CSV file; none if it is empty.
pub(super) fn header(file: File) -> io::Result<Option<Vec<String>>> {
    let mut first = String::new();
    let mut reader = BufReader::new(file.take(HEADER_BYTES_MAX));
    // A name may hold a line break inside its quotes.
    while reader.read_line(&mut first)? > 0 && first.matches('"').count() % 2 == 1 {}
    if first.is_empty() {
        return Ok(None);
    }
    Ok(Some(cells(first.trim_end_matches(['\n', '\r']))))
}

fn cells(line: &str) -> Vec<String> {
    let (mut cells, mut cell, mut is_quoted) = (Vec::new(), String::new(), false);
    let mut rest = line.chars().peekable();
    while let Some(c) = rest.next() {
        match c {
            '"' if is_quoted && rest.peek() == Some(&'"') => {
                rest.next();
                cell.push('"');
            }
            '"' => is_quoted = !is_quoted,
            ',' if !is_quoted => cells.push(std::mem::take(&mut cell)),
            other => cell.push(other),
        }
    }
    cells.push(cell);
    cells
}
