//! Rows become bytes: JSON lines, a JSON list, CSV.

use std::io::Write as _;

use engine_core::limits::TRANSFER_NAMES_SHOWN;
use serde_json::Value;

use super::Row;
use super::source::Format;
use crate::tool::{Reaction, ToolError};

/// Writes one chunk after the other.
#[derive(Debug)]
pub(super) struct Encoder {
    format: Format,
    delimiter: u8,
    /// The columns of CSV; the first row names them.
    columns: Vec<String>,
    rows: u64,
}

impl Encoder {
    /// An encoder for a format; `delimiter` is for CSV.
    pub(super) fn new(format: Format, delimiter: u8) -> Self {
        Self { format, delimiter, columns: Vec::new(), rows: 0 }
    }

    /// The bytes of a chunk.
    pub(super) fn encode(&mut self, rows: &[Row]) -> Result<Vec<u8>, ToolError> {
        let mut bytes = Vec::new();
        for row in rows {
            match self.format {
                Format::Csv => self.csv(row, &mut bytes)?,
                Format::Json => {
                    bytes.extend_from_slice(if self.rows == 0 { b"[\n" } else { b",\n" });
                    json(row, &mut bytes)?;
                }
                Format::Lines => {
                    json(row, &mut bytes)?;
                    bytes.push(b'\n');
                }
            }
            self.rows += 1;
        }
        Ok(bytes)
    }

    /// The bytes behind the last chunk.
    pub(super) fn end(&self) -> &'static [u8] {
        match (self.format, self.rows) {
            (Format::Json, 0) => b"[]\n",
            (Format::Json, _) => b"\n]\n",
            _ => b"",
        }
    }

    fn csv(&mut self, row: &Row, bytes: &mut Vec<u8>) -> Result<(), ToolError> {
        if self.rows == 0 {
            self.columns = row.keys().cloned().collect();
            let names = self.columns.iter().map(|name| Value::from(name.as_str()));
            line(names, self.delimiter, bytes);
        }
        if let Some(other) = row.keys().find(|name| !self.columns.contains(name)) {
            let known = self.columns.iter().take(TRANSFER_NAMES_SHOWN);
            let known: Vec<_> = known.map(|name| format!("`{name}`")).collect();
            return Err(ToolError::new(
                Reaction::Rejected,
                "EncodeError",
                format!(
                    "row {} has the column `{other}`, and the first line of the CSV names {}; give every \
                     row the same columns with `mapping`, or write `format: jsonl`",
                    self.rows + 1,
                    known.join(", ")
                ),
            ));
        }
        let values = self.columns.iter().map(|name| row.get(name).cloned().unwrap_or_default());
        line(values, self.delimiter, bytes);
        Ok(())
    }
}

fn json(row: &Row, bytes: &mut Vec<u8>) -> Result<(), ToolError> {
    serde_json::to_writer(bytes, row).map_err(|error| {
        ToolError::new(Reaction::Rejected, "EncodeError", format!("a row is no JSON: {error}"))
    })
}

/// One line: null is an empty field, empty text a quoted one, lists and maps are JSON.
fn line(values: impl Iterator<Item = Value>, delimiter: u8, bytes: &mut Vec<u8>) {
    for (index, value) in values.enumerate() {
        if index > 0 {
            bytes.push(delimiter);
        }
        match value {
            Value::Null => {}
            Value::String(text) => field(&text, delimiter, bytes),
            // Writing to memory does not fail.
            other @ (Value::Array(_) | Value::Object(_)) => {
                field(&other.to_string(), delimiter, bytes);
            }
            other => drop(write!(bytes, "{other}")),
        }
    }
    bytes.push(b'\n');
}

fn field(text: &str, delimiter: u8, bytes: &mut Vec<u8>) {
    let is_plain = !text.is_empty()
        && !text.bytes().any(|byte| byte == delimiter || matches!(byte, b'"' | b'\n' | b'\r'));
    if is_plain {
        bytes.extend_from_slice(text.as_bytes());
    } else {
        bytes.push(b'"');
        bytes.extend_from_slice(text.replace('"', "\"\"").as_bytes());
        bytes.push(b'"');
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn rows(value: Value) -> Vec<Row> {
        serde_json::from_value(value).unwrap()
    }

    fn encoded(format: Format, chunks: &[Value]) -> String {
        let mut encoder = Encoder::new(format, b',');
        let mut bytes = Vec::new();
        for chunk in chunks {
            bytes.extend(encoder.encode(&rows(chunk.clone())).unwrap());
        }
        bytes.extend(encoder.end());
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn rows_have_a_text_in_every_format() {
        let chunks =
            [json!([{"a": 1, "b": "x,\"y\"\n"}]), json!([{"b": "", "a": null}, {"a": [1]}])];
        assert_eq!(encoded(Format::Csv, &chunks), "a,b\n1,\"x,\"\"y\"\"\n\"\n,\"\"\n[1],\n");
        assert_eq!(
            encoded(Format::Lines, &chunks),
            "{\"a\":1,\"b\":\"x,\\\"y\\\"\\n\"}\n{\"b\":\"\",\"a\":null}\n{\"a\":[1]}\n"
        );
        assert_eq!(
            encoded(Format::Json, &[json!([{"a": 1}]), json!([{"a": 2}])]),
            "[\n{\"a\":1},\n{\"a\":2}\n]\n"
        );
        assert_eq!(encoded(Format::Json, &[]), "[]\n");
    }

    #[test]
    fn a_column_that_csv_did_not_announce_is_refused() {
        let mut encoder = Encoder::new(Format::Csv, b',');
        let error = encoder.encode(&rows(json!([{"a": 1}, {"a": 2, "c": 3}]))).unwrap_err();
        assert!(
            error.message().contains("row 2 has the column `c`")
                && error.message().contains("names `a`")
        );
    }
}
