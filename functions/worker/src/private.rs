//! The names behind which secrets are: `secret`, `env`, `keychain` and `auth`, as far as a tool's texts use
//! them.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::keychain::Ring;
use crate::redact::Redactor;
use crate::render::mentions;
use crate::task::Task;
use crate::tool::ToolError;

/// What the texts of a tool name.
#[derive(Default)]
pub(crate) struct Mentioned {
    secrets: BTreeSet<String>,
    env: BTreeSet<String>,
    keychain: BTreeSet<String>,
    /// Whether fields of the tool's own `auth` are named.
    pub(crate) auth: bool,
    /// Whether a text says what it does without a value.
    is_lenient: bool,
}

impl Mentioned {
    pub(crate) fn by(task: &Task) -> Self {
        let (mut found, mut auth) = (Self::default(), BTreeSet::new());
        for value in task.values() {
            mentions(value, "secret", &mut found.secrets);
            mentions(value, "env", &mut found.env);
            mentions(value, "keychain", &mut found.keychain);
            mentions(value, "auth", &mut auth);
            found.is_lenient |= is_lenient(value);
        }
        found.auth = !auth.is_empty()
            && ["auth", "credential", "credentials"]
                .iter()
                .any(|key| task.config.contains_key(*key));
        found
    }

    /// Whether keychain entries are rendered, which see the workload.
    pub(crate) fn needs_workload(&self) -> bool {
        !self.keychain.is_empty()
    }
}

/// The values of what is mentioned.
///
/// # Errors
/// Those of the sources; `Input` for a secret that nobody knows, unless a text has a default.
pub(crate) async fn of(
    mentioned: &Mentioned,
    ring: &Ring<'_>,
    redactor: &mut Redactor,
) -> Result<Vec<(String, Value)>, ToolError> {
    let mut names = Vec::new();
    if !mentioned.secrets.is_empty() {
        let (found, missing) = ring.vault.secrets(&mentioned.secrets, redactor).await?;
        match missing.into_iter().next() {
            Some(first) if !mentioned.is_lenient => return Err(ToolError::input(first)),
            _ => names.push(("secret".to_owned(), Value::Object(found))),
        }
    }
    if !mentioned.env.is_empty() {
        let known = ring.vault.environment(&mentioned.env, redactor);
        names.push(("env".to_owned(), Value::Object(known)));
    }
    // A playbook without a keychain may call something else so.
    if !mentioned.keychain.is_empty() && !ring.playbook.keychain.is_empty() {
        let known = ring.resolve(&mentioned.keychain, redactor).await?;
        names.push(("keychain".to_owned(), Value::Object(known)));
    }
    Ok(names)
}

fn is_lenient(value: &Value) -> bool {
    match value {
        Value::String(text) => text.contains("default") || text.contains("defined"),
        Value::Array(values) => values.iter().any(is_lenient),
        Value::Object(fields) => fields.values().any(is_lenient),
        _ => false,
    }
}
