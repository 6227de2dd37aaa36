//! Inline credentials become headers. Named ones were resolved before the tool saw them.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value};

use crate::tool::ToolError;

/// Keys that say what an `auth` object is; none of them is a header.
const RESERVED: [&str; 7] = ["type", "service", "source", "scope", "inject", "name", "credential"];

/// The headers that `auth` stands for; empty for none.
pub(super) fn headers(auth: Option<&Value>) -> Result<Vec<(String, String)>, ToolError> {
    match auth {
        None | Some(Value::Null) => Ok(Vec::new()),
        Some(Value::String(text)) if text.trim().is_empty() => Ok(Vec::new()),
        Some(Value::Object(fields)) => object(fields),
        Some(Value::String(name)) => Err(ToolError::input(format!(
            "`auth: {name}` names a credential, and this worker has none; register it or write the \
             credential inline (`auth: {{type: bearer, token: ...}}`)"
        ))),
        Some(other) => Err(ToolError::input(format!("`auth` is a name or a map, not `{other}`"))),
    }
}

fn object(fields: &Map<String, Value>) -> Result<Vec<(String, String)>, ToolError> {
    let text = |keys: &[&str]| keys.iter().find_map(|key| scalar(fields.get(*key)?));
    let named = text(&["type", "service"]).unwrap_or_default().to_ascii_lowercase();
    let token = text(&["token", "access_token", "bearer_token"]);
    let user = text(&["username", "user"]);
    match named.as_str() {
        "bearer" | "httpbearerauth" | "oauth2" | "token" => {
            let token = token.or_else(|| text(&["value", "key"]));
            Ok(vec![bearer(&token.ok_or_else(|| missing(&named, "token"))?)])
        }
        "basic" | "httpbasicauth" => {
            let user = user.ok_or_else(|| missing(&named, "username"))?;
            Ok(vec![basic(&user, &text(&["password"]).unwrap_or_default())])
        }
        "api_key" | "apikey" | "api-key" => {
            let key = text(&["value", "api_key", "key", "token"]);
            let key = key.ok_or_else(|| missing(&named, "value"))?;
            Ok(vec![(text(&["header_name", "header"]).unwrap_or_else(api_key_header), key)])
        }
        _ if token.is_some() => Ok(token.iter().map(|token| bearer(token)).collect()),
        _ if user.is_some() && fields.contains_key("password") => {
            let password = text(&["password"]).unwrap_or_default();
            Ok(user.iter().map(|user| basic(user, &password)).collect())
        }
        _ if fields.contains_key("api_key") || fields.contains_key("header_name") => {
            let key = text(&["api_key", "value", "key"]);
            let key = key.ok_or_else(|| missing("api_key", "value"))?;
            Ok(vec![(text(&["header_name"]).unwrap_or_else(api_key_header), key)])
        }
        _ => map(fields),
    }
}

/// `{headers: {...}}`, a plain map of headers, or one alias that holds any of the forms.
fn map(fields: &Map<String, Value>) -> Result<Vec<(String, String)>, ToolError> {
    if let Some(Value::Object(headers)) = fields.get("headers") {
        return Ok(pairs(headers));
    }
    let mut aliases = fields.values().filter_map(Value::as_object);
    match (aliases.next(), aliases.next()) {
        (Some(only), None) => object(only),
        (Some(_), Some(_)) => Err(ToolError::input(
            "`auth` lists several credentials, and an HTTP call carries one; keep one, or put the \
             others into `headers`",
        )),
        (None, _) => Ok(pairs(fields)),
    }
}

fn pairs(fields: &Map<String, Value>) -> Vec<(String, String)> {
    fields
        .iter()
        .filter(|(name, _)| !RESERVED.contains(&name.as_str()))
        .filter_map(|(name, value)| Some((name.clone(), scalar(value)?)))
        .collect()
}

fn bearer(token: &str) -> (String, String) {
    ("Authorization".to_owned(), format!("Bearer {token}"))
}

fn basic(user: &str, password: &str) -> (String, String) {
    ("Authorization".to_owned(), format!("Basic {}", STANDARD.encode(format!("{user}:{password}"))))
}

fn api_key_header() -> String {
    "X-API-Key".to_owned()
}

fn missing(kind: &str, field: &str) -> ToolError {
    ToolError::input(format!("`auth` of type `{kind}` needs `{field}`"))
}

/// A scalar as header text.
fn scalar(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(flag) => Some(flag.to_string()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn each_form_of_auth_is_its_headers() {
        #[rustfmt::skip]
        let cases = [
            ("nothing", json!(null), "[]"),
            ("an empty map", json!({}), "[]"),
            ("bearer", json!({"type": "bearer", "token": "t"}), r#"[("Authorization", "Bearer t")]"#),
            ("a bare token", json!({"access_token": "t"}), r#"[("Authorization", "Bearer t")]"#),
            ("basic", json!({"type": "basic", "username": "u", "password": "p"}), r#"[("Authorization", "Basic dTpw")]"#),
            ("bare basic", json!({"user": "u", "password": "p"}), r#"[("Authorization", "Basic dTpw")]"#),
            ("an API key", json!({"type": "api_key", "value": "k"}), r#"[("X-API-Key", "k")]"#),
            ("an API key with its header", json!({"type": "api_key", "header_name": "X-K", "key": 7}), r#"[("X-K", "7")]"#),
            ("headers", json!({"type": "header", "headers": {"X-A": "1"}}), r#"[("X-A", "1")]"#),
            ("a header map", json!({"X-A": "1", "X-B": "2"}), r#"[("X-A", "1"), ("X-B", "2")]"#),
            ("one alias", json!({"api": {"type": "bearer", "token": "t"}}), r#"[("Authorization", "Bearer t")]"#),
        ];
        for (name, auth, expect) in cases {
            assert_eq!(format!("{:?}", headers(Some(&auth)).unwrap()), expect, "{name}");
        }
    }

    #[test]
    fn an_unusable_auth_says_what_it_needs() {
        let cases = [
            (json!("pg_local"), "names a credential"),
            (json!({"type": "bearer"}), "needs `token`"),
            (json!({"type": "basic"}), "needs `username`"),
            (json!([1]), "a name or a map"),
            (json!({"a": {"token": "x"}, "b": {"token": "y"}}), "several credentials"),
        ];
        for (auth, expect) in cases {
            let error = headers(Some(&auth)).unwrap_err();
            assert!(error.message().contains(expect), "{auth}: {error}");
        }
    }
}
