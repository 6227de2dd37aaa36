//! Where the code is: `script` before `code_b64` before `code`.

use engine_core::limits::SCRIPT_BYTES_MAX;
use serde_json::{Map, Value};
use tokio::fs::File;
use tokio::io::AsyncReadExt as _;

use crate::tool::{Call, ToolError};
use crate::tools::http::Http;

/// The code as text, or still packed.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Source {
    pub(super) code: String,
    pub(super) code_base64: Option<String>,
}

/// Finds the code of a call; a script file is relative to the working directory.
pub(super) async fn of(call: &Call<'_>, http: &Http) -> Result<Source, ToolError> {
    if let Some(script) = call.config.get("script").filter(|script| !script.is_null()) {
        return Ok(Source { code: read(script, call, http).await?, code_base64: None });
    }
    if let Some(packed) = call.text("code_b64").or_else(|| call.text("code_base64")) {
        let packed = packed.chars().filter(|c| !c.is_ascii_whitespace()).collect();
        return Ok(Source { code: String::new(), code_base64: Some(packed) });
    }
    match call.text("code") {
        Some(code) => Ok(Source { code: code.to_owned(), code_base64: None }),
        None => Err(ToolError::input(
            "the `python` tool needs `code`, `code_b64` or `script`, and all are empty",
        )),
    }
}

/// Where a script is: text, or `{uri, source: {type}}`.
async fn read(script: &Value, call: &Call<'_>, http: &Http) -> Result<String, ToolError> {
    let uri = script.as_str().or_else(|| script.get("uri")?.as_str()).map(str::trim);
    let Some(uri) = uri.filter(|uri| !uri.is_empty()) else {
        return Err(ToolError::input("`script` needs `uri`, the path or the URL of a Python file"));
    };
    let told = script.pointer("/source/type").and_then(Value::as_str).map(str::trim);
    let scheme = uri.split_once("://").map_or("file", |(scheme, _)| scheme);
    match (told.unwrap_or(scheme), scheme) {
        ("file", "file") => of_file(uri).await,
        ("http" | "https", _) => of_server(uri, script, call, http).await,
        (kind, _) => Err(ToolError::input(format!(
            "`script.uri: {uri}` with `source.type: {kind}` is not supported: no worker reads \
             buckets here; serve the script over http(s), for which a presigned URL will do, or \
             put it into a file"
        ))),
    }
}

async fn of_file(uri: &str) -> Result<String, ToolError> {
    let path = uri.strip_prefix("file://").unwrap_or(uri);
    let unread = |error: std::io::Error| {
        let place = std::env::current_dir().unwrap_or_default();
        ToolError::input(format!(
            "`script.uri: {uri}` cannot be read: {error}; the path is relative to `{}`",
            place.display()
        ))
    };
    let file = File::open(path).await.map_err(unread)?;
    let mut text = String::new();
    // One byte more tells a script that is too long from one that just fits.
    let bytes_max = u64::try_from(SCRIPT_BYTES_MAX).unwrap_or(u64::MAX);
    file.take(bytes_max.saturating_add(1)).read_to_string(&mut text).await.map_err(unread)?;
    sized(text, uri)
}

async fn of_server(
    uri: &str,
    script: &Value,
    call: &Call<'_>,
    http: &Http,
) -> Result<String, ToolError> {
    let source = |key: &str| script.pointer(&format!("/source/{key}")).cloned();
    let url = match source("endpoint") {
        Some(Value::String(endpoint)) if !uri.contains("://") => {
            format!("{}/{}", endpoint.trim_end_matches('/'), uri.trim_start_matches('/'))
        }
        _ => uri.to_owned(),
    };
    let mut config = Map::from_iter([("url".to_owned(), Value::String(url))]);
    for key in ["method", "headers", "timeout"] {
        config.extend(source(key).map(|value| (key.to_owned(), value)));
    }
    let text = http.text(config, call).await.map_err(|error| {
        let message = format!("`script.uri: {uri}` cannot be fetched: {}", error.message());
        ToolError::new(error.reaction(), error.kind(), message)
    })?;
    sized(text, uri)
}

fn sized(text: String, uri: &str) -> Result<String, ToolError> {
    if text.len() <= SCRIPT_BYTES_MAX {
        return Ok(text);
    }
    Err(ToolError::input(format!(
        "`script.uri: {uri}` has more than {} KiB; move its data elsewhere, or install it as a module",
        SCRIPT_BYTES_MAX >> 10
    )))
}
