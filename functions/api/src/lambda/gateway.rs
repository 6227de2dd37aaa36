//! Requests and answers of an HTTP API of AWS, payload format 2.0.
//!
//! Source: Amazon API Gateway developer guide, "Create AWS Lambda proxy integrations for HTTP APIs".

use std::fmt::Write as _;

use axum::body::{Body, Bytes, to_bytes};
use axum::extract::Request;
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri};
use axum::response::Response;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use engine_core::limits::LAMBDA_PAYLOAD_BYTES_MAX;
use serde_json::{Map, Value, json};

/// Bytes around the body of an answer: its status, and headers that are all ours.
const FRAME_BYTES: usize = 4 << 10;

/// The request that an event stands for.
///
/// # Errors
/// What an event lacks that is no request.
pub(super) fn request(event: &Value) -> Result<Request, String> {
    let text = |pointer: &str| event.pointer(pointer).and_then(Value::as_str);
    let method = text("/requestContext/http/method").and_then(|method| method.parse().ok());
    let (Some(method), Some(path)) = (method, text("/rawPath")) else {
        let message =
            "the function takes requests of an HTTP API (payload format 2.0), and this is none";
        return Err(message.to_owned());
    };
    let method: Method = method;
    let stage = text("/requestContext/stage").unwrap_or("$default");
    let uri = uri(stage, path, text("/rawQueryString").unwrap_or_default())?;
    let body = text("/body").unwrap_or_default();
    let body = if event["isBase64Encoded"] == true {
        STANDARD.decode(body).map_err(|error| format!("`body` is no base64 ({error})"))?
    } else {
        body.as_bytes().to_vec()
    };
    let mut request = Request::new(Body::from(body));
    *request.headers_mut() = headers(&event["headers"]);
    *request.method_mut() = method;
    *request.uri_mut() = uri;
    Ok(request)
}

/// The target of a request. The stage is no part of our routes; a path may come decoded.
fn uri(stage: &str, path: &str, query: &str) -> Result<Uri, String> {
    let inside = path.strip_prefix(&format!("/{stage}")).filter(|rest| rest.starts_with('/'));
    let mut target = escaped(inside.unwrap_or(path));
    if !target.starts_with('/') {
        target.insert(0, '/');
    }
    if !query.is_empty() {
        target.push('?');
        target.push_str(&escaped(query).replace("%3F", "?"));
    }
    target.parse().map_err(|error| format!("`rawPath` is no path of a request ({error})"))
}

/// A text in which only what a target may hold is left as it is; what is escaped already stays so.
fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for (at, byte) in text.bytes().enumerate() {
        let is_escape = || {
            let digits = text.as_bytes().get(at + 1..at + 3);
            digits.is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit))
        };
        let is_plain = match byte {
            b'%' => is_escape(),
            b'"' | b'#' | b'<' | b'>' | b'?' | b'\\' | b'^' | b'`' | b'{' | b'|' | b'}' => false,
            byte => byte.is_ascii_graphic(),
        };
        if is_plain {
            escaped.push(char::from(byte));
        } else {
            // Writing to a String cannot fail.
            let _ = write!(escaped, "%{byte:02X}");
        }
    }
    escaped
}

/// Headers; what is none is left out.
fn headers(given: &Value) -> HeaderMap {
    let given = given.as_object().into_iter().flatten();
    let headers = given.filter_map(|(name, value)| {
        let name = HeaderName::try_from(name.as_str()).ok()?;
        Some((name, HeaderValue::try_from(value.as_str()?).ok()?))
    });
    headers.collect()
}

/// The answer that a response is.
pub(super) async fn answer(response: Response) -> Value {
    let (head, body) = response.into_parts();
    let Ok(body) = to_bytes(body, LAMBDA_PAYLOAD_BYTES_MAX).await else {
        return too_large();
    };
    let mut headers = Map::new();
    for name in head.headers.keys() {
        let values = head.headers.get_all(name).iter();
        let values: Vec<_> =
            values.map(|value| String::from_utf8_lossy(value.as_bytes())).collect();
        headers.insert(name.as_str().to_owned(), Value::from(values.join(",")));
    }
    let (body, is_base64) = text(&body);
    if length(&body) + FRAME_BYTES > LAMBDA_PAYLOAD_BYTES_MAX {
        return too_large();
    }
    json!({
        "statusCode": head.status.as_u16(),
        "headers": headers,
        "body": body,
        "isBase64Encoded": is_base64,
    })
}

/// A body as text, and whether it is encoded.
fn text(body: &Bytes) -> (String, bool) {
    match std::str::from_utf8(body) {
        Ok(text) => (text.to_owned(), false),
        Err(_binary) => (STANDARD.encode(body), true),
    }
}

/// Bytes of a text as JSON: at most six for each, and those of JSON in JSON are often two.
fn length(text: &str) -> usize {
    let of = |byte: u8| match byte {
        b'"' | b'\\' | b'\n' | b'\r' | b'\t' => 2,
        0..=0x1f => 6,
        _ => 1,
    };
    text.bytes().map(of).sum()
}

/// What is answered instead of more than a function can say.
fn too_large() -> Value {
    let message = format!(
        "the answer is larger than {} MB, and a function can give no more; ask for a part of it (`limit`, \
         `offset`, `page_size`)",
        LAMBDA_PAYLOAD_BYTES_MAX >> 20
    );
    let body = json!({"error": {"type": "TooLarge", "message": message}, "detail": message});
    json!({
        "statusCode": StatusCode::UNPROCESSABLE_ENTITY.as_u16(),
        "headers": {CONTENT_TYPE.as_str(): "application/json"},
        "body": body.to_string(),
        "isBase64Encoded": false,
    })
}

#[cfg(test)]
mod tests;
