//! Credential declarations: what an entry is called, of which kind it is, and what it may hold.

use serde_json::Value;

/// Keys that an entry of any kind may have.
pub const COMMON_KEYS: [&str; 8] =
    ["name", "kind", "type", "scope", "auto_renew", "ttl_seconds", "desc", "description"];

/// How far a fetched value may be shared.
pub const SCOPES: [&str; 4] = ["local", "shared", "global", "catalog"];

/// A kind of entry.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Kind {
    /// As it is written.
    pub name: &'static str,
    /// Its keys beside the common ones.
    pub keys: &'static [&'static str],
    /// Of these it needs one.
    pub needs: &'static [&'static str],
    /// Whether this version resolves it.
    pub runs: bool,
}

/// What a token endpoint is asked with, and how its answer is read.
const OAUTH2: &[&str] = &[
    "endpoint",
    "url",
    "method",
    "headers",
    "params",
    "data",
    "json",
    "auth",
    "token_field",
    "ttl_field",
];
const GOOGLE: &[&str] = &[
    "ref",
    "credential",
    "service_account_secret",
    "service_account_credential",
    "target_audience",
    "scopes",
];

/// Every kind that the language knows.
#[rustfmt::skip]
pub const KINDS: [Kind; 10] = [
    Kind { name: "static", keys: &["map"], needs: &["map"], runs: true },
    Kind { name: "bearer", keys: &["token"], needs: &["token"], runs: true },
    Kind { name: "oauth2", keys: OAUTH2, needs: &["endpoint", "url"], runs: true },
    Kind { name: "secret_manager", keys: &["provider", "auth", "map"], needs: &["map"], runs: true },
    Kind { name: "credential", keys: &["ref", "credential"], needs: &[], runs: true },
    Kind { name: "credential_ref", keys: &["ref", "credential"], needs: &[], runs: true },
    Kind { name: "google_id_token", keys: GOOGLE, needs: &[], runs: false },
    Kind { name: "google_oauth", keys: GOOGLE, needs: &[], runs: false },
    Kind { name: "google_service_account", keys: GOOGLE, needs: &[], runs: false },
    Kind { name: "google", keys: GOOGLE, needs: &[], runs: false },
];

/// The kind of that name.
#[must_use]
pub fn kind(name: &str) -> Option<Kind> {
    KINDS.into_iter().find(|kind| kind.name == name)
}

/// What an entry is called; empty if it has no name.
#[must_use]
pub fn name_of(entry: &Value) -> &str {
    entry.get("name").and_then(Value::as_str).unwrap_or_default().trim()
}

/// Of which kind an entry is; empty if it says none.
#[must_use]
pub fn kind_of(entry: &Value) -> &str {
    let said = entry.get("kind").or_else(|| entry.get("type"));
    said.and_then(Value::as_str).unwrap_or_default().trim()
}
