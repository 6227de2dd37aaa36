//! Credentials from files, and from requests, which the store keeps encrypted.

use std::collections::BTreeMap;
use std::env::{VarError, var};
use std::path::Path;
use std::sync::Arc;

use adapters::clock::Timer;
use adapters::credentials::CredentialStore as _;
use adapters::embedded::Embedded;
use adapters::embedded::credentials::SqliteCredentials;
use adapters::embedded::secrets::FileSecrets;
use adapters::master_key::MasterKey;
use anyhow::anyhow;
use api::http::Keyring;
use async_trait::async_trait;
use engine_core::ports::{CredentialNote, PortError, PortErrorKind, Secrets};
use serde_json::Value;

use crate::ending::invalid;

/// The variable that holds the key of stored credentials.
pub(crate) const KEY: &str = "NOETL_MASTER_KEY";
/// The variable that names a file with it.
pub(crate) const KEY_FILE: &str = "NOETL_MASTER_KEY_FILE";

/// Credentials by name; what was posted wins over a file. No `Debug`: their values are for tools alone.
pub(crate) struct Credentials {
    files: FileSecrets,
    stored: SqliteCredentials,
    clock: Arc<dyn Timer>,
}

impl Credentials {
    /// Those of `files` and of the store, with the key that the environment gives.
    ///
    /// # Errors
    /// Invalid input: a key that is no key, or a file that others may read.
    pub(crate) fn new(files: FileSecrets, embedded: &Embedded) -> anyhow::Result<Self> {
        Self::with_key(files, embedded, key()?)
    }

    fn with_key(
        files: FileSecrets,
        embedded: &Embedded,
        key: Option<MasterKey>,
    ) -> anyhow::Result<Self> {
        let stored = SqliteCredentials::new(&embedded.store, key)?;
        Ok(Self { files, stored, clock: embedded.clock.clone() })
    }

    async fn known(&self) -> Result<BTreeMap<String, CredentialNote>, PortError> {
        let of_file =
            |name: &str| CredentialNote { name: name.to_owned(), ..CredentialNote::default() };
        let mut known: BTreeMap<String, CredentialNote> =
            self.files.names().map(|name| (name.to_owned(), of_file(name))).collect();
        for note in self.stored.list().await? {
            known.insert(note.name.clone(), note);
        }
        Ok(known)
    }
}

/// The key of the environment; none if it gives none.
fn key() -> anyhow::Result<Option<MasterKey>> {
    let given = |name: &str| match var(name) {
        Ok(text) if !text.trim().is_empty() => Ok(Some(text)),
        Ok(_) | Err(VarError::NotPresent) => Ok(None),
        Err(VarError::NotUnicode(_)) => Err(invalid(anyhow!("`{name}` is no text"))),
    };
    let key = match (given(KEY)?, given(KEY_FILE)?) {
        (Some(text), _) => {
            MasterKey::parse(&text).map_err(|error| invalid(anyhow!("`{KEY}`: {error}")))?
        }
        (None, Some(path)) => MasterKey::read(Path::new(&path)).map_err(invalid)?,
        (None, None) => return Ok(None),
    };
    Ok(Some(key))
}

#[async_trait]
impl Secrets for Credentials {
    async fn credential(&self, name: &str) -> Result<Value, PortError> {
        if let Some(fields) = self.stored.fields(name).await? {
            return Ok(fields);
        }
        match self.files.credential(name).await {
            Err(error) if error.kind == PortErrorKind::NotFound => {
                let known: Vec<String> =
                    self.known().await?.into_keys().map(|name| format!("`{name}`")).collect();
                let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
                let message = format!(
                    "credential `{name}` does not exist (there is: {known}); post it to \
                     `/api/credentials`, or start with `--credential FILE`"
                );
                Err(PortError::new(PortErrorKind::NotFound, message))
            }
            found => found,
        }
    }
}

#[async_trait]
impl Keyring for Credentials {
    async fn add(&self, note: CredentialNote, data: Value) -> Result<(), PortError> {
        let now_ms = self.clock.now_ms();
        let note = CredentialNote { created_ms: now_ms, updated_ms: now_ms, ..note };
        self.stored.put(&note, &data).await
    }

    async fn notes(&self) -> Result<Vec<CredentialNote>, PortError> {
        Ok(self.known().await?.into_values().collect())
    }

    async fn remove(&self, name: &str) -> Result<bool, PortError> {
        self.stored.remove(name).await
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::place::Place;

    #[tokio::test]
    async fn a_credential_that_is_posted_wins_over_a_file_and_both_are_listed() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("pg.json");
        std::fs::write(&file, r#"{"name": "pg", "data": {"password": "old"}}"#).unwrap();
        let mut files = FileSecrets::default();
        files.add_file(&file).unwrap();
        let embedded = Place::Memory.open().unwrap();
        let all = Credentials::with_key(files, &embedded, None).unwrap();
        assert_eq!(all.credential("pg").await.unwrap()["password"], "old");
        let note = |name: &str, kind: &str| CredentialNote {
            name: name.to_owned(),
            kind: kind.to_owned(),
            ..CredentialNote::default()
        };
        all.add(note("pg", "postgres"), json!({"password": "new"})).await.unwrap();
        all.add(note("api", "bearer"), json!({"token": "t"})).await.unwrap();
        assert_eq!(all.credential("pg").await.unwrap()["password"], "new");
        let notes = all.notes().await.unwrap();
        let names: Vec<(&str, &str)> =
            notes.iter().map(|note| (note.name.as_str(), note.kind.as_str())).collect();
        assert_eq!(names, [("api", "bearer"), ("pg", "postgres")]);
        let unknown = all.credential("x").await.unwrap_err().to_string();
        assert!(unknown.contains("there is: `api`, `pg`"), "{unknown}");
        assert!(all.remove("pg").await.unwrap());
        assert_eq!(all.credential("pg").await.unwrap()["password"], "old");
    }
}
