//! What the configuration asks for: method, URL, headers, body, limits.

use std::time::Duration;

use engine_core::limits::{HTTP_CONNECT_MS_DEFAULT, HTTP_TIMEOUT_MS_DEFAULT};
use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use reqwest::{Method, Url};
use serde_json::{Map, Value};

use super::auth;
use crate::tool::{Call, ToolError};

/// Names the call to the other side, so that it can recognise a repetition.
pub(super) const IDEMPOTENCY_KEY: &str = "idempotency-key";

/// One request, ready to be sent.
pub(super) struct Request {
    pub(super) method: Method,
    pub(super) url: Url,
    pub(super) headers: HeaderMap,
    /// Headers that carry credentials besides the well-known ones.
    pub(super) private: Vec<HeaderName>,
    pub(super) body: Option<Body>,
    pub(super) verify: bool,
    pub(super) follow: bool,
    pub(super) connect: Duration,
    /// The longest silence: until the head of the answer, and between two pieces of its body.
    pub(super) read: Duration,
    pub(super) total: Duration,
    pub(super) expects: Expects,
}

/// A body and how it is encoded.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Body {
    /// Bytes of the content type that the headers name.
    Bytes(Vec<u8>),
    /// Fields of `multipart/form-data`; the boundary is made when it is sent.
    Multipart(Vec<(String, String)>),
}

/// `response_type`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Expects {
    Auto,
    Json,
    Text,
    Binary,
}

impl Request {
    /// Reads the configuration, with the overrides that `args` carry.
    pub(super) fn of(call: &Call<'_>) -> Result<Self, ToolError> {
        let config = overridden(&call.config, &call.args);
        let method = method(&config)?;
        let mut url = url(&config)?;
        extend_query(&mut url, &config, &method);
        let mut headers = headers(&config)?;
        let mut private = Vec::new();
        for (name, value) in auth::headers(config.get("auth"))? {
            let (name, value) = header(&name, &value)?;
            private.push(name.clone());
            headers.insert(name, value);
        }
        let key = HeaderName::from_static(IDEMPOTENCY_KEY);
        if !headers.contains_key(&key) {
            headers.insert(key, header(IDEMPOTENCY_KEY, call.idempotency_key)?.1);
        }
        let body = body(&config, &method, &mut headers)?;
        let times = Times::of(&config)?;
        Ok(Self {
            method,
            url,
            headers,
            private,
            body,
            verify: call.flag("verify_ssl").or_else(|| call.flag("verify")).unwrap_or(true),
            follow: call.flag("follow_redirects").unwrap_or(false),
            connect: times.connect,
            read: times.read,
            total: times.total,
            expects: expects(&config)?,
        })
    }
}

/// `endpoint` and `url` from `args` replace; `params`, `payload`, `headers` and `data` merge.
fn overridden(config: &Map<String, Value>, args: &Map<String, Value>) -> Map<String, Value> {
    let mut config = config.clone();
    for key in ["url", "endpoint"] {
        if let Some(Value::String(url)) = args.get(key).filter(|url| **url != "") {
            config.remove("url");
            config.insert("endpoint".to_owned(), Value::String(url.clone()));
        }
    }
    for key in ["params", "payload", "headers", "data"] {
        if let Some(Value::Object(given)) = args.get(key) {
            match config.get_mut(key) {
                Some(Value::Object(own)) => own.extend(given.clone()),
                _ => drop(config.insert(key.to_owned(), Value::Object(given.clone()))),
            }
        }
    }
    config
}

fn method(config: &Map<String, Value>) -> Result<Method, ToolError> {
    let text = match config.get("method") {
        None | Some(Value::Null) => "GET".to_owned(),
        Some(Value::String(text)) => text.trim().to_ascii_uppercase(),
        Some(other) => other.to_string(),
    };
    Method::from_bytes(text.as_bytes()).map_err(|_not_a_token| {
        ToolError::input(format!("`method: {text}` is no HTTP method; use GET, POST, PUT, ..."))
    })
}

fn url(config: &Map<String, Value>) -> Result<Url, ToolError> {
    let given = ["endpoint", "url"].iter().find_map(|key| {
        config.get(*key).filter(|value| !value.is_null() && **value != "").map(|value| (key, value))
    });
    let Some((key, value)) = given else {
        return Err(ToolError::input(
            "the `http` tool needs `endpoint` (or `url`), and it is empty",
        ));
    };
    let Some(text) = value.as_str() else {
        return Err(ToolError::input(format!("`{key}` is a URL as text, not `{value}`")));
    };
    let url = Url::parse(text.trim()).map_err(|error| {
        ToolError::input(format!(
            "`{key}: {text}` is no URL ({error}); write it whole, as in `https://host/path`"
        ))
    })?;
    Ok(url)
}

/// Methods that send `data` as query and no `payload`.
fn is_bodiless(method: &Method) -> bool {
    matches!(method.as_str(), "GET" | "DELETE" | "HEAD" | "OPTIONS")
}

/// `params`, with `data.query` (any method) or the whole `data` (bodiless methods) over them.
fn extend_query(url: &mut Url, config: &Map<String, Value>, method: &Method) {
    let mut query = match config.get("params") {
        Some(Value::Object(params)) => params.clone(),
        _ => Map::new(),
    };
    if let Some(Value::Object(data)) = config.get("data") {
        match data.get("query") {
            Some(Value::Object(given)) => query.extend(given.clone()),
            None if is_bodiless(method) && !data.contains_key("body") => query.extend(data.clone()),
            _ => {}
        }
    }
    if query.is_empty() {
        return;
    }
    let mut pairs = url.query_pairs_mut();
    for (name, value) in &query {
        match value {
            Value::Array(values) => {
                for value in values {
                    pairs.append_pair(name, &field(value));
                }
            }
            value => drop(pairs.append_pair(name, &field(value))),
        }
    }
}

/// A value as the text of a query parameter or a form field.
fn field(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => String::new(),
        other => other.to_string(),
    }
}

fn headers(config: &Map<String, Value>) -> Result<HeaderMap, ToolError> {
    let mut headers = HeaderMap::new();
    match config.get("headers") {
        None | Some(Value::Null) => {}
        Some(Value::Object(given)) => {
            for (name, value) in given.iter().filter(|(_, value)| !value.is_null()) {
                let (name, value) = header(name, &field(value))?;
                headers.insert(name, value);
            }
        }
        Some(other) => {
            return Err(ToolError::input(format!("`headers` is a map, not `{other}`")));
        }
    }
    Ok(headers)
}

fn header(name: &str, value: &str) -> Result<(HeaderName, HeaderValue), ToolError> {
    let bad = || {
        ToolError::input(format!(
            "header `{name}` cannot be sent: a name has no spaces, a value no line breaks"
        ))
    };
    let parsed = HeaderName::from_bytes(name.trim().as_bytes()).map_err(|_invalid| bad())?;
    let value = HeaderValue::from_str(value.trim()).map_err(|_invalid| bad())?;
    Ok((parsed, value))
}

/// The body, encoded as the content type says; sets the content type where the headers have none.
fn body(
    config: &Map<String, Value>,
    method: &Method,
    headers: &mut HeaderMap,
) -> Result<Option<Body>, ToolError> {
    let set = |key: &str| config.get(key).filter(|value| !value.is_null());
    if let Some(json) = set("json") {
        return Ok(Some(encode(json, "application/json", headers)));
    }
    if let Some(form) = set("form") {
        return Ok(Some(encode(form, "application/x-www-form-urlencoded", headers)));
    }
    let routed = if is_bodiless(method) { set("body").cloned() } else { routed(config) };
    let Some(value) = routed else { return Ok(None) };
    let named = match headers.get(CONTENT_TYPE) {
        Some(value) => Some(value.to_str().map_err(|_not_text| {
            ToolError::input("the `Content-Type` header is not plain text")
        })?),
        None => None,
    };
    let content_type = named.unwrap_or_else(|| default_type(&value)).to_owned();
    Ok(Some(encode(&value, &content_type, headers)))
}

/// `body`, else `data.body`, else all of `data` (unless it has `query`), else `payload`.
fn routed(config: &Map<String, Value>) -> Option<Value> {
    let filled = |value: &&Value| !is_empty(value);
    if let Some(body) = config.get("body").filter(|value| !value.is_null()) {
        return Some(body.clone());
    }
    match config.get("data") {
        Some(Value::Object(data)) if data.contains_key("body") => return data.get("body").cloned(),
        Some(Value::Object(data)) if data.contains_key("query") => {}
        Some(data) if !is_empty(data) => return Some(data.clone()),
        _ => {}
    }
    config.get("payload").filter(filled).cloned()
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::String(text) => text.is_empty(),
        Value::Object(fields) => fields.is_empty(),
        _ => false,
    }
}

/// Text that is no JSON is sent as plain text, everything else as JSON.
fn default_type(value: &Value) -> &'static str {
    match value {
        Value::String(text) if serde_json::from_str::<Value>(text).is_err() => {
            "text/plain; charset=utf-8"
        }
        _ => "application/json",
    }
}

fn encode(value: &Value, content_type: &str, headers: &mut HeaderMap) -> Body {
    let essence = content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    if essence == "multipart/form-data" {
        headers.remove(CONTENT_TYPE);
        return Body::Multipart(fields(value));
    }
    if let Ok(value) = HeaderValue::from_str(content_type) {
        headers.entry(CONTENT_TYPE).or_insert(value);
    }
    Body::Bytes(match (essence.as_str(), value) {
        ("application/x-www-form-urlencoded", Value::Object(_)) => urlencoded(value).into_bytes(),
        // Text is already what it should be: JSON that a template made, a form, XML.
        (_, Value::String(text)) => text.clone().into_bytes(),
        (_, value) => value.to_string().into_bytes(),
    })
}

fn urlencoded(value: &Value) -> String {
    let pairs = fields(value);
    let mut url = Url::parse("http://form/").ok();
    if let Some(url) = &mut url {
        url.query_pairs_mut().extend_pairs(pairs);
    }
    url.as_ref().and_then(Url::query).unwrap_or_default().to_owned()
}

/// The fields of a map; a list repeats its field.
fn fields(value: &Value) -> Vec<(String, String)> {
    let Value::Object(map) = value else { return vec![("data".to_owned(), field(value))] };
    let mut pairs = Vec::new();
    for (name, value) in map {
        match value {
            Value::Array(values) => {
                pairs.extend(values.iter().map(|value| (name.clone(), field(value))));
            }
            value => pairs.push((name.clone(), field(value))),
        }
    }
    pairs
}

fn expects(config: &Map<String, Value>) -> Result<Expects, ToolError> {
    match config.get("response_type").and_then(Value::as_str).map(str::trim) {
        None | Some("" | "auto") => Ok(Expects::Auto),
        Some("json") => Ok(Expects::Json),
        Some("text") => Ok(Expects::Text),
        Some("binary" | "bytes" | "base64") => Ok(Expects::Binary),
        Some(other) => Err(ToolError::input(format!(
            "`response_type: {other}` is not known; use auto, json, text or binary"
        ))),
    }
}

/// How long each part may take.
struct Times {
    connect: Duration,
    read: Duration,
    total: Duration,
}

impl Times {
    /// `timeout`, `timeout_seconds`, `spec.timeout`: seconds, text, or `{connect, read}`.
    fn of(config: &Map<String, Value>) -> Result<Self, ToolError> {
        let spec = config.get("spec").and_then(|spec| spec.get("timeout"));
        let given = config.get("timeout").or_else(|| config.get("timeout_seconds")).or(spec);
        let connect_default = Duration::from_millis(HTTP_CONNECT_MS_DEFAULT);
        let total_default = Duration::from_millis(HTTP_TIMEOUT_MS_DEFAULT);
        match given.filter(|value| !value.is_null()) {
            None => {
                Ok(Self { connect: connect_default, read: total_default, total: total_default })
            }
            Some(Value::Object(parts)) => {
                let part = |key: &str, default| parts.get(key).map_or(Ok(default), duration);
                let connect = part("connect", connect_default)?;
                let read = part("read", total_default)?;
                let total = parts.get("total").map_or(Ok(Duration::MAX), duration)?;
                Ok(Self { connect, read, total })
            }
            Some(value) => {
                let total = duration(value)?;
                Ok(Self { connect: connect_default.min(total), read: total, total })
            }
        }
    }
}

/// Seconds as a number or text, or text with `ms`, `s`, `m` or `h`.
fn duration(value: &Value) -> Result<Duration, ToolError> {
    let bad = || {
        ToolError::input(format!(
            "`timeout: {value}` is no time; write seconds (`30`), text (`500ms`, `30s`, `2m`), or \
             `{{connect: 5, read: 30}}`"
        ))
    };
    let seconds = match value {
        Value::Number(number) => number.as_f64(),
        Value::String(text) => seconds(text.trim()),
        _ => None,
    };
    seconds
        .filter(|seconds| *seconds > 0.0)
        .and_then(|seconds| Duration::try_from_secs_f64(seconds).ok())
        .ok_or_else(bad)
}

fn seconds(text: &str) -> Option<f64> {
    let split = text.find(|c: char| c.is_ascii_alphabetic()).unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    let scale = match unit {
        "" | "s" | "sec" | "seconds" => 1.0,
        "ms" => 0.001,
        "m" | "min" => 60.0,
        "h" => 3_600.0,
        _ => return None,
    };
    Some(number.trim().parse::<f64>().ok()? * scale)
}

#[cfg(test)]
mod tests;
