//! Credentials from files and from requests, in the memory of this process alone.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use adapters::embedded::secrets::FileSecrets;
use api::http::Keyring;
use async_trait::async_trait;
use engine_core::limits::CREDENTIALS_MAX;
use engine_core::ports::{PortError, PortErrorKind, Secrets};
use serde_json::Value;

/// Credentials by name; what was posted wins over a file. No `Debug`: their values are for tools alone.
pub(crate) struct Credentials {
    files: FileSecrets,
    posted: Mutex<BTreeMap<String, Posted>>,
}

struct Posted {
    kind: String,
    data: Value,
}

impl Credentials {
    pub(crate) fn new(files: FileSecrets) -> Self {
        Self { files, posted: Mutex::default() }
    }

    fn posted(&self) -> MutexGuard<'_, BTreeMap<String, Posted>> {
        self.posted.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn known(&self) -> BTreeMap<String, String> {
        let files = self.files.names().map(|name| (name.to_owned(), String::new()));
        let mut known: BTreeMap<String, String> = files.collect();
        let posted = self.posted();
        known.extend(posted.iter().map(|(name, one)| (name.clone(), one.kind.clone())));
        known
    }
}

#[async_trait]
impl Secrets for Credentials {
    async fn credential(&self, name: &str) -> Result<Value, PortError> {
        let posted = self.posted().get(name).map(|one| one.data.clone());
        if let Some(data) = posted {
            return Ok(data);
        }
        match self.files.credential(name).await {
            Err(error) if error.kind == PortErrorKind::NotFound => {
                let known: Vec<String> =
                    self.known().into_keys().map(|name| format!("`{name}`")).collect();
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
    async fn add(&self, name: &str, kind: &str, data: Value) -> Result<(), PortError> {
        let mut posted = self.posted();
        if posted.len() >= CREDENTIALS_MAX && !posted.contains_key(name) {
            let message = format!("there are {CREDENTIALS_MAX} credentials, which is the limit");
            return Err(PortError::new(PortErrorKind::Refused, message));
        }
        posted.insert(name.to_owned(), Posted { kind: kind.to_owned(), data });
        Ok(())
    }

    async fn names(&self) -> Result<Vec<(String, String)>, PortError> {
        Ok(self.known().into_iter().collect())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[tokio::test]
    async fn a_credential_that_is_posted_wins_over_a_file_and_both_are_listed() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("pg.json");
        std::fs::write(&file, r#"{"name": "pg", "data": {"password": "old"}}"#).unwrap();
        let mut files = FileSecrets::default();
        files.add_file(&file).unwrap();
        let all = Credentials::new(files);
        assert_eq!(all.credential("pg").await.unwrap()["password"], "old");
        all.add("pg", "postgres", json!({"password": "new"})).await.unwrap();
        all.add("api", "bearer", json!({"token": "t"})).await.unwrap();
        assert_eq!(all.credential("pg").await.unwrap()["password"], "new");
        let names = all.names().await.unwrap();
        let pair = |name: &str, kind: &str| (name.to_owned(), kind.to_owned());
        assert_eq!(names, [pair("api", "bearer"), pair("pg", "postgres")]);
        let unknown = all.credential("x").await.unwrap_err().to_string();
        assert!(unknown.contains("there is: `api`, `pg`"), "{unknown}");
    }

    #[tokio::test]
    async fn there_is_room_for_so_many_credentials() {
        let all = Credentials::new(FileSecrets::default());
        for number in 0..CREDENTIALS_MAX {
            all.add(&number.to_string(), "", json!({})).await.unwrap();
        }
        assert!(all.add("one more", "", json!({})).await.is_err());
        all.add("0", "", json!({"new": true})).await.unwrap();
    }
}
