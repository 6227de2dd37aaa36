//! A token from its endpoint, asked for with the worker's own `http` tool and its rules.

use std::time::Duration;

use engine_core::limits::KEYCHAIN_FETCH_MS;
use serde_json::{Map, Value, json};
use tokio::time::Instant;

use crate::redact::{Redactor, is_secret};
use crate::tool::{Call, Progress, Reaction, Tool, ToolError};

/// Asks for a token: the answer's fields, with `access_token` and `token_type` among them.
pub(super) async fn token(
    http: Option<&dyn Tool>,
    entry: &Map<String, Value>,
    idempotency_key: &str,
    redactor: &mut Redactor,
) -> Result<Value, ToolError> {
    let Some(http) = http else {
        return Err(ToolError::input("this worker has no tool `http` to ask for a token with"));
    };
    let endpoint = ["endpoint", "url"].iter().find_map(|key| entry.get(*key)?.as_str());
    let endpoint = endpoint.ok_or_else(|| ToolError::input("`endpoint` must be a URL"))?;
    // What the request carries is secret before it is sent: an error may repeat it.
    learn("oauth2", entry, &Value::Null, redactor);
    let mut config = Map::from_iter([
        ("url".to_owned(), json!(endpoint)),
        ("method".to_owned(), entry.get("method").cloned().unwrap_or_else(|| json!("POST"))),
        ("response_type".to_owned(), json!("json")),
    ]);
    for (key, of_http) in
        [("headers", "headers"), ("params", "params"), ("auth", "auth"), ("json", "json")]
    {
        if let Some(value) = entry.get(key) {
            config.insert(of_http.to_owned(), value.clone());
        }
    }
    if let Some(data) = entry.get("data") {
        let key = if is_json(entry) { "json" } else { "form" };
        config.insert(key.to_owned(), data.clone());
    }
    let call = Call {
        config,
        args: Map::new(),
        context: None,
        idempotency_key,
        deadline: Instant::now() + Duration::from_millis(KEYCHAIN_FETCH_MS),
        attempt: 1,
        execution_id: "",
        step: "keychain",
        saves: false,
        progress: Progress::default(),
    };
    let answer = http.call(&call).await.map_err(|error| {
        let message = format!("the token endpoint gave no token: {}", error.message());
        ToolError::new(error.reaction(), "KeychainError", message)
    })?;
    let mut fields = match answer.result.get("data") {
        Some(Value::Object(fields)) => fields.clone(),
        _ => return Err(without(endpoint, "a JSON object")),
    };
    let field = entry.get("token_field").and_then(Value::as_str).unwrap_or("access_token");
    let Some(token) = fields.get(field).filter(|token| token.is_string()).cloned() else {
        return Err(without(endpoint, &format!("the text `{field}`")));
    };
    fields.insert("access_token".to_owned(), token);
    fields.entry("token_type").or_insert_with(|| json!("Bearer"));
    Ok(Value::Object(fields))
}

fn without(endpoint: &str, what: &str) -> ToolError {
    let shown = endpoint.split(['?', '#']).next().unwrap_or_default();
    let message = format!(
        "the token endpoint {shown} answered without {what}; set `token_field` to the field that holds \
         the token"
    );
    ToolError::new(Reaction::Rejected, "KeychainError", message)
}

fn is_json(entry: &Map<String, Value>) -> bool {
    let headers = entry.get("headers").and_then(Value::as_object);
    headers.into_iter().flatten().any(|(name, value)| {
        name.eq_ignore_ascii_case("content-type")
            && value.as_str().is_some_and(|kind| kind.contains("json"))
    })
}

/// Makes what was sent and what came known to the redactor.
pub(super) fn learn(
    kind: &str,
    entry: &Map<String, Value>,
    value: &Value,
    redactor: &mut Redactor,
) {
    if kind != "oauth2" {
        redactor.learn(value);
        return;
    }
    for key in ["data", "json", "params", "headers", "auth"] {
        if let Some(sent) = entry.get(key) {
            redactor.learn_credential(sent);
        }
    }
    let endpoint = ["endpoint", "url"].iter().find_map(|key| entry.get(*key));
    redactor.learn_credential(endpoint.unwrap_or(&Value::Null));
    let field = entry.get("token_field").and_then(Value::as_str).unwrap_or("access_token");
    for (name, value) in value.as_object().into_iter().flatten() {
        if name == field || is_secret(name) {
            redactor.learn_token(value);
        }
    }
}
