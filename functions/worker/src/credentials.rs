//! Named credentials and `secret.NAME`: resolved here, known to the redactor, in no answer.

use std::collections::{BTreeMap, BTreeSet};

use async_trait::async_trait;
use engine_core::ports::{PortErrorKind, Secrets};
use serde_json::{Map, Value};

use crate::redact::{Redactor, is_secret};
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

/// Sources of credentials that are kept by somebody else's service.
const REMOTE: [&str; 5] = ["secret_manager", "aws", "aws_secrets_manager", "secretsmanager", "ssm"];
/// What the environment variable of a `secret.NAME` begins with.
const ENV_PREFIX: &str = "NOETL_SECRET_";

/// Secret values that a service outside of the worker keeps.
#[async_trait]
pub trait RemoteSecrets: Send + Sync {
    /// Returns the value of a secret: text, or the fields of one that is JSON.
    ///
    /// `provider` is `secret_manager` (in whatever spelling a playbook may use) or `ssm`; `version` is the
    /// newest one if there is none.
    ///
    /// # Errors
    /// `Input` if there is no such secret or provider, `Rejected` if it may not be read, `Transient`.
    async fn fetch(
        &self,
        provider: &str,
        name: &str,
        version: Option<&str>,
    ) -> Result<Value, ToolError>;
}

/// Where credentials and environment values come from.
pub(crate) struct Vault<'a> {
    pub(crate) secrets: Option<&'a dyn Secrets>,
    pub(crate) remote: Option<&'a dyn RemoteSecrets>,
    pub(crate) env: &'a BTreeMap<String, String>,
}

impl Vault<'_> {
    /// The fields of a credential.
    pub(crate) async fn credential(
        &self,
        name: &str,
        redactor: &mut Redactor,
    ) -> Result<Value, ToolError> {
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

    /// A secret of a service outside: text, or fields.
    pub(crate) async fn remote(
        &self,
        provider: &str,
        name: &str,
        version: Option<&str>,
        redactor: &mut Redactor,
    ) -> Result<Value, ToolError> {
        let Some(remote) = self.remote else {
            return Err(ToolError::input(format!(
                "secret `{name}` of `{provider}` is named, and this worker reaches no such service; \
                 register a credential, or start the worker with access to it"
            )));
        };
        let value = remote.fetch(provider, name, version).await?;
        match &value {
            Value::Object(_) => redactor.learn_credential(&value),
            other => redactor.learn(other),
        }
        Ok(value)
    }

    /// The values of `secret.NAME` for the names that are asked for, and a sentence for each unknown one.
    ///
    /// A credential stands for its `value`, else for its only field, else for all of its fields; behind the
    /// credentials stands the environment.
    pub(crate) async fn secrets(
        &self,
        names: &BTreeSet<String>,
        redactor: &mut Redactor,
    ) -> Result<(Map<String, Value>, Vec<String>), ToolError> {
        let (mut found, mut missing) = (Map::new(), Vec::new());
        for name in names {
            let variable = format!("{ENV_PREFIX}{name}");
            let upper = format!("{ENV_PREFIX}{}", name.to_ascii_uppercase());
            let in_env = self.env.get(&variable).or_else(|| self.env.get(&upper));
            let value = match (self.credential(name, redactor).await, in_env) {
                (Ok(fields), _) => single(fields),
                (Err(error), _) if error.reaction() == Reaction::Transient => return Err(error),
                (Err(_unknown), Some(value)) => Value::from(value.as_str()),
                (Err(unknown), None) => {
                    missing.push(format!(
                        "`secret.{name}`: {}; or set the environment variable `{variable}`",
                        unknown.message()
                    ));
                    continue;
                }
            };
            redactor.learn(&value);
            found.insert(name.clone(), value);
        }
        Ok((found, missing))
    }

    /// The values of `env.NAME` that may be read; those whose names say that they are secret are learned.
    pub(crate) fn environment(
        &self,
        names: &BTreeSet<String>,
        redactor: &mut Redactor,
    ) -> Map<String, Value> {
        let mut found = Map::new();
        for name in names {
            let Some(value) = self.env.get(name) else { continue };
            let value = Value::from(value.as_str());
            if is_secret(name) {
                redactor.learn(&value);
            } else {
                redactor.learn_credential(&value);
            }
            found.insert(name.clone(), value);
        }
        found
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
                        Value::String(name) => self.alias(name, redactor).await?,
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

    /// What an alias names: a credential, or else the text itself, as in a map of headers.
    async fn alias(&self, name: String, redactor: &mut Redactor) -> Result<Value, ToolError> {
        match self.credential(name.trim(), redactor).await {
            Err(error) if error.reaction() != Reaction::Transient => {
                let text = Value::String(name);
                redactor.learn_token(&text);
                Ok(text)
            }
            found => found,
        }
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
        let found = if REMOTE.contains(&source.as_str()) {
            let version = fields.remove("version");
            let version = version.as_ref().and_then(Value::as_str);
            self.remote(&source, &name, version, redactor).await?
        } else if source == "env" {
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
mod tests;
