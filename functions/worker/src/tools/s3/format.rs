//! Objects as values: JSON, text, base64, CSV, JSON lines.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use super::csv;
use crate::tool::{Reaction, ToolError};

/// How the bytes of an object are a value.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Format {
    Json,
    Text,
    Base64,
    Csv,
    JsonLines,
}

impl Format {
    /// The format of that name; none if nothing names one.
    pub(super) fn named(name: Option<&str>) -> Result<Option<Self>, ToolError> {
        let Some(name) = name else { return Ok(None) };
        match name.trim().to_ascii_lowercase().as_str() {
            "json" => Ok(Some(Self::Json)),
            "text" => Ok(Some(Self::Text)),
            "base64" | "binary" => Ok(Some(Self::Base64)),
            "csv" => Ok(Some(Self::Csv)),
            "jsonl" | "ndjson" => Ok(Some(Self::JsonLines)),
            "parquet" => Err(ToolError::input(
                "`s3` does not write Parquet; use `transfer` or `duckdb` (`COPY ... TO`)",
            )),
            other => Err(ToolError::input(format!(
                "`format: {other}` is unknown; it is `json`, `text`, `base64`, `csv` or `jsonl`"
            ))),
        }
    }

    fn of_key(key: &str) -> Option<Self> {
        let (_, extension) = key.rsplit_once('.')?;
        match extension.to_ascii_lowercase().as_str() {
            "json" => Some(Self::Json),
            "jsonl" | "ndjson" => Some(Self::JsonLines),
            "csv" => Some(Self::Csv),
            "txt" | "md" | "html" | "xml" | "yaml" | "yml" | "sql" => Some(Self::Text),
            _ => None,
        }
    }

    /// What an object looks like by its key, else by its bytes.
    pub(super) fn guess(key: &str, bytes: &[u8]) -> Self {
        let by_bytes = if std::str::from_utf8(bytes).is_ok() { Self::Text } else { Self::Base64 };
        Self::of_key(key).unwrap_or(by_bytes)
    }

    /// The format in which a value is written: text as it is, unless the key asks for rows.
    pub(super) fn fitting(key: &str, value: &Value) -> Self {
        match (Self::of_key(key), value) {
            (_, Value::String(_)) => Self::Text,
            (None | Some(Self::Text), _) => Self::Json,
            (Some(format), _) => format,
        }
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Json => "json",
            Self::Text => "text",
            Self::Base64 => "base64",
            Self::Csv => "csv",
            Self::JsonLines => "jsonl",
        }
    }

    pub(super) fn content_type(self) -> &'static str {
        match self {
            Self::Json => "application/json",
            Self::Text => "text/plain; charset=utf-8",
            Self::Base64 => "application/octet-stream",
            Self::Csv => "text/csv; charset=utf-8",
            Self::JsonLines => "application/x-ndjson",
        }
    }

    /// The value of an object; `place` names it in errors.
    pub(super) fn read(self, bytes: &[u8], place: &str) -> Result<Value, ToolError> {
        let refused = |what: String| {
            let message = format!("`{place}` {what}; name another `format`, or `base64` for bytes");
            ToolError::new(Reaction::Rejected, "DecodeError", message)
        };
        if self == Self::Base64 {
            return Ok(Value::from(STANDARD.encode(bytes)));
        }
        if self == Self::Json {
            return serde_json::from_slice(bytes)
                .map_err(|error| refused(format!("is not JSON ({error})")));
        }
        let text = std::str::from_utf8(bytes)
            .map_err(|error| refused(format!("is not UTF-8 text ({error})")))?;
        match self {
            Self::JsonLines => {
                let lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
                let rows = lines.map(|(index, line)| {
                    serde_json::from_str(line).map_err(|error| {
                        refused(format!("has no JSON in line {} ({error})", index + 1))
                    })
                });
                rows.collect::<Result<_, _>>().map(Value::Array)
            }
            Self::Csv => csv::read(text).map(Value::Array).map_err(refused),
            _ => Ok(Value::from(text)),
        }
    }

    /// The bytes of a value.
    pub(super) fn write(self, value: &Value) -> Result<Vec<u8>, ToolError> {
        match (self, value) {
            (Self::Base64, Value::String(text)) => STANDARD.decode(text.trim()).map_err(|error| {
                ToolError::input(format!("the data is not base64 ({error}); leave out `format`"))
            }),
            (Self::Base64, _) => Err(ToolError::input("`format: base64` writes text in base64")),
            (Self::Json, value) => Ok(value.to_string().into_bytes()),
            (_, Value::String(text)) => Ok(text.clone().into_bytes()),
            (Self::Text, value) => Ok(value.to_string().into_bytes()),
            (Self::JsonLines, Value::Array(rows)) => {
                let lines = rows.iter().map(|row| format!("{row}\n"));
                Ok(lines.collect::<String>().into_bytes())
            }
            (Self::JsonLines, value) => Ok(format!("{value}\n").into_bytes()),
            (Self::Csv, value) => csv::write(value).map(String::into_bytes),
        }
    }
}
