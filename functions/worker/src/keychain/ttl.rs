//! How long what was fetched may be used.

use engine_core::limits::{KEYCHAIN_RENEW_MS, KEYCHAIN_TTL_MS_GLOBAL, KEYCHAIN_TTL_MS_LOCAL};
use serde_json::{Map, Value};

/// What to do about a value that may not be renewed.
pub(super) const EXPIRED: &str =
    "it has expired, and is not to be renewed; set `auto_renew: true`, or a longer `ttl_seconds`";

/// A value with its end.
pub(super) struct Fetched {
    pub(super) value: Value,
    /// Unix milliseconds.
    expires_ms: i64,
    pub(super) auto_renew: bool,
    /// Who asked for it.
    pub(super) execution_id: String,
}

impl Fetched {
    /// Valid for the entry's `ttl_seconds`, else as long as the value itself says, else for its scope's time.
    pub(super) fn new(
        value: Value,
        entry: &Map<String, Value>,
        now_ms: i64,
        execution_id: &str,
    ) -> Self {
        let auto_renew = entry.get("auto_renew").is_some_and(is_on);
        let field = entry.get("ttl_field").and_then(Value::as_str).unwrap_or("expires_in");
        let own = entry.get("ttl_seconds").and_then(milliseconds);
        let said = value.get(field).and_then(milliseconds);
        let ttl_ms =
            own.or(said).unwrap_or_else(|| match entry.get("scope").and_then(Value::as_str) {
                Some("global" | "catalog") => KEYCHAIN_TTL_MS_GLOBAL,
                _ => KEYCHAIN_TTL_MS_LOCAL,
            });
        // A token that is renewed a little early does not expire on its way.
        let early_ms = if auto_renew { KEYCHAIN_RENEW_MS.min(ttl_ms / 10) } else { 0 };
        let expires_ms = now_ms.saturating_add(ttl_ms - early_ms);
        Self { value, expires_ms, auto_renew, execution_id: execution_id.to_owned() }
    }

    pub(super) fn is_valid(&self, now_ms: i64) -> bool {
        now_ms < self.expires_ms
    }
}

/// Positive seconds, also as text.
fn milliseconds(value: &Value) -> Option<i64> {
    let seconds = match value {
        Value::Number(number) => number
            .as_i64()
            .or_else(|| number.as_f64().and_then(|seconds| format!("{seconds:.0}").parse().ok())),
        Value::String(text) => text.trim().parse().ok(),
        _ => None,
    };
    seconds.filter(|seconds| *seconds > 0).map(|seconds| seconds.saturating_mul(1_000))
}

fn is_on(value: &Value) -> bool {
    value == &Value::Bool(true) || value.as_str().is_some_and(|text| text.trim() == "true")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_entry_says_how_long_or_the_token_or_the_scope() {
        #[rustfmt::skip]
        let cases = [
            (json!({"ttl_seconds": 10}), json!({"expires_in": 99}), 10_000),
            (json!({"ttl_seconds": "10"}), json!({}), 10_000),
            (json!({}), json!({"expires_in": 99}), 99_000),
            (json!({}), json!({"expires_in": "99"}), 99_000),
            (json!({"ttl_field": "life"}), json!({"expires_in": 5, "life": 7.0}), 7_000),
            (json!({}), json!({"expires_in": -1}), KEYCHAIN_TTL_MS_LOCAL),
            (json!({"scope": "global"}), json!({}), KEYCHAIN_TTL_MS_GLOBAL),
            (json!({"auto_renew": true}), json!({"expires_in": 100}), 90_000),
            (json!({"auto_renew": true}), json!({"expires_in": 3_600}), 3_570_000),
        ];
        for (entry, value, expect) in cases {
            let name = format!("{entry} {value}");
            let fetched = Fetched::new(value, entry.as_object().unwrap(), 1_000, "7");
            assert!(fetched.is_valid(1_000 + expect - 1), "{name}");
            assert!(!fetched.is_valid(1_000 + expect), "{name}");
        }
    }
}
