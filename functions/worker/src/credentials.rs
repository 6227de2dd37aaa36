//! Named credentials and `secret.NAME`: resolved here, known to the redactor, in no answer.

use std::collections::{BTreeMap, BTreeSet};

use engine_core::ports::{PortErrorKind, Secrets};
use serde_json::{Map, Value};

use crate::redact::Redactor;
use crate::tool::{Reaction, ToolError};

/// Keys that make an `auth` map one credential instead of a map of aliases.
const RESERVED: [&str; 12] = [
    "source",
    "type",
    "service",
    "key",
    "credential",
    "name",
    "scope",
    "inject",
    "secret_name",
    "token",
    "username",
    "header_name",
];
/// Keys whose presence says that the value itself is written there.
const INLINE: [&str; 8] =
    ["token", "access_token", "username", "user", "password", "value", "api_key", "header_name"];

/// Where credentials and environment values come from.
pub(crate) struct Vault<'a> {
    pub(crate) secrets: Option<&'a dyn Secrets>,
    pub(crate) env: &'a BTreeMap<String, String>,
}

impl Vault<'_> {
    /// The fields of a credential.
    async fn credential(&self, name: &str, redactor: &mut Redactor) -> Result<Value, ToolError> {
        let Some(secrets) = self.secrets else {
            return Err(ToolError::input(format!(
                "credential `{name}` is named, and this worker has no credentials; register it first"
            )));
        };
        let fields = secrets.credential(name).await.map_err(|error| {
            let reaction = match error.kind {
                PortErrorKind::Unavailable | PortErrorKind::Conflict => Reaction::Transient,
                PortErrorKind::NotFound | PortErrorKind::Corrupt | PortErrorKind::Refused => {
                    Reaction::Input
                }
            };
            ToolError::new(reaction, "CredentialError", format!("credential `{name}`: {error}"))
        })?;
        match &fields {
            Value::Object(_) => redactor.learn_credential(&fields),
            other => redactor.learn(other),
        }
        Ok(fields)
    }

    /// The values of `secret.NAME` for the names that are asked for; unknown ones are left out.
    ///
    /// A credential stands for its `value`, else for its only field, else for all of its fields.
    pub(crate) async fn secrets(
        &self,
        names: &BTreeSet<String>,
        redactor: &mut Redactor,
    ) -> Result<Map<String, Value>, ToolError> {
        let mut found = Map::new();
        for name in names {
            match self.credential(name, redactor).await {
                Ok(fields) => {
                    let value = single(fields);
                    redactor.learn(&value);
                    found.insert(name.clone(), value);
                }
                Err(error) if error.reaction() == Reaction::Transient => return Err(error),
                // The template that uses it fails and names it; one in a comment does not matter.
                Err(_unknown) => {}
            }
        }
        Ok(found)
    }

    /// Replaces names of credentials in `auth` by their fields.
    pub(crate) async fn resolve_auth(
        &self,
        config: &mut Map<String, Value>,
        redactor: &mut Redactor,
    ) -> Result<(), ToolError> {
        let legacy = ["credential", "credentials"].iter().find_map(|key| config.get(*key).cloned());
        let auth = config.get("auth").filter(|auth| !is_blank(auth)).cloned();
        let Some(auth) = auth.or(legacy).filter(|auth| !is_blank(auth)) else { return Ok(()) };
        let resolved = match auth {
            Value::String(name) => self.credential(name.trim(), redactor).await?,
            Value::Object(fields) if fields.keys().any(|key| RESERVED.contains(&key.as_str())) => {
                self.object(fields, redactor).await?
            }
            Value::Object(aliases) => {
                let mut resolved = Map::new();
                for (alias, value) in aliases {
                    let value = match value {
                        Value::Object(fields) => self.object(fields, redactor).await?,
                        other => other,
                    };
                    resolved.insert(alias, value);
                }
                Value::Object(resolved)
            }
            other => other,
        };
        config.insert("auth".to_owned(), resolved);
        Ok(())
    }

    /// One credential object: inline fields stay and win over those of the credential that it names.
    async fn object(
        &self,
        mut fields: Map<String, Value>,
        redactor: &mut Redactor,
    ) -> Result<Value, ToolError> {
        let source = fields.get("source").and_then(Value::as_str).unwrap_or_default().to_owned();
        let is_inline = source == "inline"
            || (source.is_empty() && fields.keys().any(|key| INLINE.contains(&key.as_str())));
        let keys: &[&str] =
            if is_inline { &["credential"] } else { &["credential", "key", "secret_name", "name"] };
        let named =
            keys.iter().find_map(|key| Some((*key, fields.get(*key)?.as_str()?.to_owned())));
        let Some((key, name)) = named else {
            redactor.learn_credential(&Value::Object(fields.clone()));
            return Ok(Value::Object(fields));
        };
        fields.remove(key);
        fields.remove("source");
        let found = if source == "env" {
            let value = self.env.get(&name).cloned().map(Value::String).ok_or_else(|| {
                ToolError::input(format!(
                    "`auth` names the environment variable `{name}`, which the worker may not read; \
                     add it to the allowed ones"
                ))
            })?;
            redactor.learn(&value);
            value
        } else {
            self.credential(&name, redactor).await?
        };
        let mut merged = match found {
            Value::Object(found) => found,
            value => Map::from_iter([("value".to_owned(), value)]),
        };
        merged.extend(fields);
        Ok(Value::Object(merged))
    }
}

fn is_blank(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::String(text) => text.trim().is_empty(),
        Value::Object(fields) => fields.is_empty(),
        _ => false,
    }
}

fn single(fields: Value) -> Value {
    match fields {
        Value::Object(mut fields) => {
            if let Some(value) = fields.remove("value") {
                return value;
            }
            if fields.len() == 1 {
                return fields.into_iter().next().map(|(_, value)| value).unwrap_or_default();
            }
            Value::Object(fields)
        }
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use async_trait::async_trait;
    use engine_core::ports::PortError;
    use serde_json::json;

    use super::*;

    struct Known;

    #[async_trait]
    impl Secrets for Known {
        async fn credential(&self, name: &str) -> Result<Value, PortError> {
            match name {
                "api" => Ok(json!({"type": "bearer", "token": "tok-en-1"})),
                "pin" => Ok(json!({"value": "1234", "hint": "x"})),
                "one" => Ok(json!({"anything": "only-field"})),
                "busy" => Err(PortError::new(PortErrorKind::Unavailable, "no answer")),
                _ => Err(PortError::new(
                    PortErrorKind::NotFound,
                    "not known; there are `api`, `pin`",
                )),
            }
        }
    }

    #[tokio::test]
    async fn auth_names_become_fields() {
        let env = BTreeMap::from([("TOKEN".to_owned(), "env-tok".to_owned())]);
        let vault = Vault { secrets: Some(&Known), env: &env };
        #[rustfmt::skip]
        let cases = [
            ("a name", json!({"auth": "api"}), json!({"type": "bearer", "token": "tok-en-1"})),
            ("the old spelling", json!({"credential": "api"}), json!({"type": "bearer", "token": "tok-en-1"})),
            ("an object that names one", json!({"auth": {"type": "api_key", "credential": "pin"}}), json!({"value": "1234", "hint": "x", "type": "api_key"})),
            ("a key is a name", json!({"auth": {"type": "bearer", "key": "api"}}), json!({"type": "bearer", "token": "tok-en-1"})),
            ("inline", json!({"auth": {"type": "bearer", "token": "t"}}), json!({"type": "bearer", "token": "t"})),
            ("an inline key", json!({"auth": {"type": "api_key", "header_name": "H", "key": "k"}}), json!({"type": "api_key", "header_name": "H", "key": "k"})),
            ("the environment", json!({"auth": {"type": "bearer", "source": "env", "key": "TOKEN"}}), json!({"value": "env-tok", "type": "bearer"})),
            ("an alias", json!({"auth": {"a": {"type": "bearer", "key": "api"}}}), json!({"a": {"type": "bearer", "token": "tok-en-1"}})),
        ];
        for (name, config, expect) in cases {
            let Value::Object(mut config) = config else { panic!() };
            vault.resolve_auth(&mut config, &mut Redactor::default()).await.unwrap();
            assert_eq!(config["auth"], expect, "{name}");
        }
        for (auth, kind, reaction) in [
            (json!("nope"), "CredentialError", Reaction::Input),
            (json!("busy"), "CredentialError", Reaction::Transient),
            (json!({"source": "env", "key": "HOME"}), "InputError", Reaction::Input),
        ] {
            let mut config = Map::from_iter([("auth".to_owned(), auth)]);
            let error =
                vault.resolve_auth(&mut config, &mut Redactor::default()).await.unwrap_err();
            assert_eq!((error.kind(), error.reaction()), (kind, reaction));
        }
    }

    #[tokio::test]
    async fn d47_a_secret_is_its_value_and_is_learned() {
        let env = BTreeMap::new();
        let vault = Vault { secrets: Some(&Known), env: &env };
        let names = ["pin", "one", "unknown"].map(str::to_owned).into();
        let mut redactor = Redactor::default();
        let found = vault.secrets(&names, &mut redactor).await.unwrap();
        assert_eq!(Value::Object(found), json!({"one": "only-field", "pin": "1234"}));
        assert_eq!(redactor.clean("1234 only-field".to_owned()), "*** ***");
    }
}
