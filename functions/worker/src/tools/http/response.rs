//! An answer becomes a value: bounded, decoded by its content type.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use engine_core::limits::HTTP_BODY_BYTES_MAX;
use mime::Mime;
use reqwest::Response;
use reqwest::header::{CONTENT_TYPE, HeaderMap};
use serde_json::{Map, Value, json};
use tokio::time::timeout;

use super::request::Expects;
use crate::tool::{Reaction, ToolError};

/// The head of an answer and its whole body.
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) headers: HeaderMap,
    pub(super) url: String,
    pub(super) bytes: Vec<u8>,
}

/// Why a body could not be read.
pub(super) enum Unread {
    /// It is longer than a body may be.
    TooLarge,
    /// Nothing came for too long.
    Silent,
    /// The connection broke.
    Broken(reqwest::Error),
}

/// Reads the body piece by piece, and stops as soon as it is too large.
pub(super) async fn read(mut response: Response, silence: Duration) -> Result<Answer, Unread> {
    let announced = response.content_length().unwrap_or(0);
    if announced > HTTP_BODY_BYTES_MAX as u64 {
        return Err(Unread::TooLarge);
    }
    let mut bytes = Vec::with_capacity(usize::try_from(announced).unwrap_or(0));
    loop {
        let piece = timeout(silence, response.chunk()).await.map_err(|_elapsed| Unread::Silent)?;
        let Some(piece) = piece.map_err(Unread::Broken)? else { break };
        if bytes.len() + piece.len() > HTTP_BODY_BYTES_MAX {
            return Err(Unread::TooLarge);
        }
        bytes.extend_from_slice(&piece);
    }
    Ok(Answer {
        status: response.status().as_u16(),
        headers: response.headers().clone(),
        url: response.url().to_string(),
        bytes,
    })
}

impl Answer {
    /// The result of the step, whatever the status.
    pub(super) fn result(
        &self,
        expects: Expects,
        elapsed: Duration,
        id: &str,
    ) -> Result<Value, ToolError> {
        let (body, encoding) = self.body(expects)?;
        let id = self.headers.get("x-request-id").and_then(|id| id.to_str().ok()).unwrap_or(id);
        let mut result = json!({
            "id": id,
            "status": self.status,
            "status_code": self.status,
            "headers": headers(&self.headers),
            "url": self.url,
            "elapsed": elapsed.as_secs_f64(),
            "data": body,
            "body": body,
            "metadata": {"status_code": self.status},
        });
        if let (Some(encoding), Some(fields)) = (encoding, result.as_object_mut()) {
            fields.insert("encoding".to_owned(), json!(encoding));
        }
        Ok(result)
    }

    /// The body as a value, and how it is encoded when it is neither JSON nor text.
    fn body(&self, expects: Expects) -> Result<(Value, Option<&'static str>), ToolError> {
        let kind = self.content_type();
        match expects {
            Expects::Binary => Ok(self.binary()),
            Expects::Text => Ok((Value::String(self.text(kind.as_ref())), None)),
            Expects::Json => match serde_json::from_slice(&self.bytes) {
                Ok(value) => Ok((value, None)),
                Err(error) => Err(self.not_json(&error)),
            },
            Expects::Auto => Ok(self.guess(kind.as_ref())),
        }
    }

    /// JSON when the content type says so and it is; else text; else base64.
    fn guess(&self, kind: Option<&Mime>) -> (Value, Option<&'static str>) {
        let is_json = kind
            .is_some_and(|kind| kind.subtype() == mime::JSON || kind.suffix() == Some(mime::JSON));
        if is_json {
            if self.bytes.is_empty() {
                return (Value::Null, None);
            }
            if let Ok(value) = serde_json::from_slice(&self.bytes) {
                return (value, None);
            }
        }
        let is_text = kind.is_none_or(|kind| {
            is_json || kind.type_() == mime::TEXT || kind.get_param(mime::CHARSET).is_some()
        });
        match std::str::from_utf8(&self.bytes) {
            Ok(text) if kind.is_none_or(|kind| kind.get_param(mime::CHARSET).is_none()) => {
                (Value::String(text.to_owned()), None)
            }
            _ if is_text && kind.is_some() => (Value::String(self.text(kind)), None),
            _ => self.binary(),
        }
    }

    fn binary(&self) -> (Value, Option<&'static str>) {
        (Value::String(STANDARD.encode(&self.bytes)), Some("base64"))
    }

    /// The body in the character set that the content type names, UTF-8 if it names none.
    fn text(&self, kind: Option<&Mime>) -> String {
        let label = kind.and_then(|kind| kind.get_param(mime::CHARSET));
        let encoding = label
            .and_then(|label| encoding_rs::Encoding::for_label(label.as_str().as_bytes()))
            .unwrap_or(encoding_rs::UTF_8);
        encoding.decode(&self.bytes).0.into_owned()
    }

    fn content_type(&self) -> Option<Mime> {
        self.headers.get(CONTENT_TYPE)?.to_str().ok()?.parse().ok()
    }

    fn not_json(&self, error: &serde_json::Error) -> ToolError {
        let kind = self.headers.get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
        let message = format!(
            "`{}` answered {} with `{}`, which is not JSON ({error}); leave out `response_type: \
             json` to receive it as text",
            self.url,
            self.status,
            kind.unwrap_or("no content type"),
        );
        ToolError::new(Reaction::Rejected, "DecodeError", message)
            .with_status(i64::from(self.status))
    }
}

/// Lower-case names; a header that comes twice is joined by a comma.
fn headers(headers: &HeaderMap) -> Map<String, Value> {
    let mut map = Map::new();
    for name in headers.keys() {
        let values: Vec<_> = headers
            .get_all(name)
            .iter()
            .map(|value| String::from_utf8_lossy(value.as_bytes()))
            .collect();
        map.insert(name.as_str().to_owned(), Value::String(values.join(", ")));
    }
    map
}
