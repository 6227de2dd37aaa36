//! Values as messages: text as it is, everything else as JSON, bytes as base64.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde_json::{Map, Value};

use crate::tool::ToolError;

/// The bytes of a value.
pub(super) fn write(value: &Value, encoding: Option<&str>) -> Result<Bytes, ToolError> {
    match (value, encoding) {
        (Value::String(text), Some("base64")) => {
            STANDARD.decode(text.trim()).map(Bytes::from).map_err(|error| {
                ToolError::input(format!("the value is not base64 ({error}); leave out `encoding`"))
            })
        }
        (_, Some(encoding)) => Err(ToolError::input(format!(
            "`encoding: {encoding}` is none for this value; it is `base64`, of a text"
        ))),
        (Value::String(text), None) => Ok(Bytes::from(text.clone())),
        (value, None) => Ok(Bytes::from(value.to_string())),
    }
}

/// Puts bytes into a result under a name: JSON parsed unless `raw`, and `encoding: base64` if they
/// are no text.
pub(super) fn read(bytes: &[u8], raw: bool, name: &str, result: &mut Map<String, Value>) {
    let value = match std::str::from_utf8(bytes) {
        Ok(text) if raw => Value::from(text),
        Ok(text) => serde_json::from_str(text).unwrap_or_else(|_text| Value::from(text)),
        Err(_bytes) => {
            result.insert("encoding".to_owned(), Value::from("base64"));
            Value::from(STANDARD.encode(bytes))
        }
    };
    result.insert(name.to_owned(), value);
}
