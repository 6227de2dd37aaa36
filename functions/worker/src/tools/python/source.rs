//! Where the code is: `script` before `code_b64` before `code`.

use serde_json::Value;

use crate::tool::{Call, ToolError};

/// The code as text, or still packed.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Source {
    pub(super) code: String,
    pub(super) code_base64: Option<String>,
}

/// Finds the code of a call; reads a script file relative to the working directory.
pub(super) async fn of(call: &Call<'_>) -> Result<Source, ToolError> {
    if let Some(script) = call.config.get("script").filter(|script| !script.is_null()) {
        return Ok(Source { code: read(script).await?, code_base64: None });
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

async fn read(script: &Value) -> Result<String, ToolError> {
    let uri = script.as_str().or_else(|| script.get("uri")?.as_str()).map(str::trim);
    let Some(uri) = uri.filter(|uri| !uri.is_empty()) else {
        return Err(ToolError::input("`script` needs `uri`, the path of a Python file"));
    };
    let kind = script.pointer("/source/type").and_then(Value::as_str).unwrap_or("file");
    let path = uri.strip_prefix("file://").unwrap_or(uri);
    if kind != "file" || path.contains("://") {
        return Err(ToolError::input(format!(
            "`script.uri: {uri}` with `source.type: {kind}` is not supported here; use a file, or \
             fetch the text with an `http` step and pass it as `code`"
        )));
    }
    tokio::fs::read_to_string(path).await.map_err(|error| {
        let place = std::env::current_dir().unwrap_or_default();
        ToolError::input(format!(
            "`script.uri: {uri}` cannot be read: {error}; the path is relative to `{}`",
            place.display()
        ))
    })
}
