//! Declared credentials: resolved when a call names one, kept while they are valid, in no answer.
//!
//! # Invariants
//!
//! * An entry is known by its playbook version, its name and what it asks for: two executions with other
//!   inputs never share a token. A scope other than `global` and `catalog` adds the execution.
//! * However many calls need an entry at once, one of them fetches it; the others wait for it.
//! * What was fetched is learned by the redactor before any template sees it.

mod oauth;
mod ttl;

use std::collections::{BTreeSet, VecDeque};
use std::sync::{Arc, Mutex as Lock, PoisonError};
use std::time::Duration;

use engine_core::limits::{KEYCHAIN_ENTRIES_KEPT, KEYCHAIN_FETCH_MS};
use engine_core::payload::sha256_hex;
use engine_core::playbook::{Playbook, keychain};
use engine_core::ports::Clock;
use engine_core::template::{self, Coerce, Context, Loaded, TemplateError};
use serde_json::{Map, Value, json};
use tokio::sync::Mutex;
use tokio::time::timeout;

use self::ttl::Fetched;
use crate::credentials::Vault;
use crate::redact::Redactor;
use crate::render::mentions;
use crate::tool::{Reaction, Tool, ToolError};

/// What the worker fetched, the most recently used first.
#[derive(Default)]
pub(crate) struct Keychain {
    slots: Lock<VecDeque<(String, Arc<Slot>)>>,
}

type Slot = Mutex<Option<Fetched>>;

/// What an entry is resolved with.
pub(crate) struct Ring<'a> {
    pub(crate) keychain: &'a Keychain,
    pub(crate) playbook: &'a Playbook,
    pub(crate) vault: &'a Vault<'a>,
    pub(crate) clock: &'a dyn Clock,
    /// What requests are made with; none where the worker has no `http`.
    pub(crate) http: Option<&'a dyn Tool>,
    pub(crate) workload: &'a Value,
    pub(crate) execution_id: &'a str,
}

impl Keychain {
    fn slot(&self, key: &str) -> Arc<Slot> {
        let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        let found = slots.iter().position(|(known, _)| known == key);
        let entry = found.and_then(|place| slots.remove(place));
        let entry = entry.unwrap_or_else(|| (key.to_owned(), Arc::default()));
        let slot = Arc::clone(&entry.1);
        slots.push_front(entry);
        slots.truncate(KEYCHAIN_ENTRIES_KEPT);
        slot
    }
}

impl Ring<'_> {
    /// The entries that are named, and those that they use themselves.
    ///
    /// # Errors
    /// Those of the sources, naming the entry; `Input` for a name that the playbook does not declare.
    pub(crate) async fn resolve(
        &self,
        names: &BTreeSet<String>,
        redactor: &mut Redactor,
    ) -> Result<Map<String, Value>, ToolError> {
        let declared = &self.playbook.keychain;
        let mut wanted: BTreeSet<usize> = BTreeSet::new();
        for name in names {
            wanted.insert(self.position(name)?);
        }
        // What an entry uses stands above it.
        for at in (0..declared.len()).rev().filter(|at| names_any(declared.get(*at))) {
            let mut used = BTreeSet::new();
            mentions(declared.get(at).unwrap_or(&Value::Null), "keychain", &mut used);
            for name in used.iter().filter(|_| wanted.contains(&at)).cloned().collect::<Vec<_>>() {
                let earlier = self.position(&name)?;
                if earlier >= at {
                    let message = format!(
                        "the keychain entry `{}` uses `keychain.{name}`, which is declared behind it; \
                         move `{name}` up",
                        keychain::name_of(declared.get(at).unwrap_or(&Value::Null))
                    );
                    return Err(ToolError::input(message));
                }
                wanted.insert(earlier);
            }
        }
        let mut resolved = Map::new();
        for at in wanted {
            let Some(entry) = declared.get(at) else { continue };
            let name = keychain::name_of(entry);
            let value = self.entry(entry, &resolved, redactor).await.map_err(|error| {
                let message = format!("keychain entry `{name}`: {}", error.message());
                ToolError::new(error.reaction(), "KeychainError", message)
            })?;
            resolved.insert(name.to_owned(), value);
        }
        Ok(resolved)
    }

    fn position(&self, name: &str) -> Result<usize, ToolError> {
        let declared = &self.playbook.keychain;
        declared.iter().position(|entry| keychain::name_of(entry) == name).ok_or_else(|| {
            let known: Vec<String> =
                declared.iter().map(|entry| format!("`{}`", keychain::name_of(entry))).collect();
            let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
            ToolError::input(format!(
                "`keychain.{name}` is used, and the playbook declares no such entry (there is: {known}); \
                 declare it under `keychain`"
            ))
        })
    }

    async fn entry(
        &self,
        entry: &Value,
        earlier: &Map<String, Value>,
        redactor: &mut Redactor,
    ) -> Result<Value, ToolError> {
        let rendered = self.rendered(entry, earlier, redactor).await?;
        let field = |key: &str| rendered.get(key).cloned().unwrap_or_default();
        match keychain::kind_of(entry) {
            "static" => {
                let map = field("map");
                redactor.learn_token(&map);
                redactor.learn_credential(&map);
                Ok(map)
            }
            "bearer" => {
                let token = field("token");
                redactor.learn_token(&token);
                Ok(json!({"access_token": token, "token_type": "Bearer"}))
            }
            "credential" | "credential_ref" => {
                let named =
                    ["ref", "credential"].iter().find_map(|key| rendered.get(*key)?.as_str());
                let name = named.unwrap_or_else(|| keychain::name_of(entry)).to_owned();
                self.vault.credential(&name, redactor).await
            }
            kind @ ("oauth2" | "secret_manager") => {
                let value = self.kept(kind, &rendered, redactor).await?;
                oauth::learn(kind, &rendered, &value, redactor);
                Ok(value)
            }
            other => {
                Err(ToolError::input(format!("the kind `{other}` is not run by this version")))
            }
        }
    }

    /// A value that costs a request: the one that is kept while it is valid, or a new one.
    async fn kept(
        &self,
        kind: &str,
        entry: &Map<String, Value>,
        redactor: &mut Redactor,
    ) -> Result<Value, ToolError> {
        let slot = self.keychain.slot(&self.key(entry));
        let mut kept = slot.lock().await;
        let now_ms = self.clock.now_ms();
        if let Some(fetched) = kept.as_ref() {
            if fetched.is_valid(now_ms) {
                return Ok(fetched.value.clone());
            }
            if !fetched.auto_renew && fetched.execution_id == self.execution_id {
                return Err(ToolError::new(Reaction::Rejected, "KeychainError", ttl::EXPIRED));
            }
        }
        let fetching = async {
            match kind {
                "oauth2" => {
                    // A server that recognises repetitions must not answer with the old token.
                    let key = format!("{}.{now_ms}", self.execution_id);
                    oauth::token(self.http, entry, &key, redactor).await
                }
                _ => self.remote(entry, redactor).await,
            }
        };
        let limit = Duration::from_millis(KEYCHAIN_FETCH_MS);
        let value = timeout(limit, fetching).await.map_err(|_elapsed| {
            ToolError::timeout(format!("nothing came within {} s; try again", limit.as_secs()))
        })??;
        *kept = Some(Fetched::new(value.clone(), entry, now_ms, self.execution_id));
        Ok(value)
    }

    /// By what a value is found again: a hash, as what it is made of is secret.
    fn key(&self, entry: &Map<String, Value>) -> String {
        let scope = entry.get("scope").and_then(Value::as_str).unwrap_or("local");
        let is_shared = matches!(scope, "global" | "catalog");
        let execution_id = if is_shared { "" } else { self.execution_id };
        let reference = &self.playbook.reference;
        sha256_hex(
            json!([reference.path, reference.hash, execution_id, entry]).to_string().as_bytes(),
        )
    }

    async fn remote(
        &self,
        entry: &Map<String, Value>,
        redactor: &mut Redactor,
    ) -> Result<Value, ToolError> {
        let provider = entry.get("provider").and_then(Value::as_str).unwrap_or("secret_manager");
        let mut fields = Map::new();
        let map = entry.get("map").and_then(Value::as_object);
        for (field, path) in map.into_iter().flatten() {
            let Some(path) = path.as_str() else {
                return Err(ToolError::input(format!(
                    "`map.{field}` must be the name of a secret"
                )));
            };
            let value = self.vault.remote(provider, path, None, redactor).await?;
            fields.insert(field.clone(), opened(value));
        }
        Ok(Value::Object(fields))
    }

    /// The entry with its templates rendered: it sees the workload, secrets, and entries above it.
    async fn rendered(
        &self,
        entry: &Value,
        earlier: &Map<String, Value>,
        redactor: &mut Redactor,
    ) -> Result<Map<String, Value>, ToolError> {
        let mut names = BTreeSet::new();
        mentions(entry, "secret", &mut names);
        let (found, missing) = self.vault.secrets(&names, redactor).await?;
        if let Some(first) = missing.into_iter().next() {
            return Err(ToolError::input(first));
        }
        let mut names = BTreeSet::new();
        mentions(entry, "env", &mut names);
        let mut context = Context::new(Arc::new(Loaded::default()));
        if let Value::Object(workload) = self.workload {
            for (name, value) in workload {
                context.set_value(name, value);
            }
        }
        context.set_value("workload", self.workload);
        context.set_value("execution_id", &json!(self.execution_id));
        context.set_value("secret", &Value::Object(found));
        context.set_value("env", &Value::Object(self.vault.environment(&names, redactor)));
        context.set_value("keychain", &Value::Object(earlier.clone()));
        match template::render(entry, &context, Coerce::Never) {
            Ok(Value::Object(fields)) => Ok(fields),
            Ok(_) => Err(ToolError::input("an entry is a map")),
            Err(TemplateError::Undefined(message) | TemplateError::Failed(message)) => {
                let message = format!(
                    "{message}; an entry sees `workload` and its keys, `secret`, `env`, and the entries \
                     above it"
                );
                Err(ToolError::new(Reaction::Input, "TemplateError", message))
            }
            Err(TemplateError::Needs(_)) => Err(ToolError::input("an entry needs a stored value")),
        }
    }
}

/// Whether an entry uses another one.
fn names_any(entry: Option<&Value>) -> bool {
    let mut used = BTreeSet::new();
    mentions(entry.unwrap_or(&Value::Null), "keychain", &mut used);
    !used.is_empty()
}

/// A secret that is JSON is its fields.
fn opened(value: Value) -> Value {
    let parsed = value.as_str().and_then(|text| serde_json::from_str::<Value>(text).ok());
    parsed.filter(|parsed| parsed.is_object() || parsed.is_array()).unwrap_or(value)
}

#[cfg(test)]
mod tests;
