//! Credentials that a store keeps, encrypted.
//!
//! # Invariants
//!
//! * The fields are sealed with AES-256-GCM for their name: a row that is changed, or moved to another
//!   name, does not open.
//! * Nothing is stored without a key.

use async_trait::async_trait;
use engine_core::limits::CREDENTIALS_MAX;
use engine_core::ports::{CredentialNote, PortError, PortErrorKind};
use serde_json::Value;

use crate::master_key::{MasterKey, Sealed};

/// Credentials that can be stored and removed. Only a worker reads their fields.
#[async_trait]
pub trait CredentialStore: Send + Sync {
    /// Stores a credential; a name that is known gets the new one, and keeps its beginning.
    ///
    /// # Errors
    /// `Refused` without a key, or if there is no room for one more; `Unavailable`.
    async fn put(&self, note: &CredentialNote, fields: &Value) -> Result<(), PortError>;

    /// Returns what is known about each credential beside its fields, by name.
    ///
    /// # Errors
    /// `Unavailable` or `Corrupt`.
    async fn list(&self) -> Result<Vec<CredentialNote>, PortError>;

    /// Removes a credential; whether there was one.
    ///
    /// # Errors
    /// `Unavailable`.
    async fn remove(&self, name: &str) -> Result<bool, PortError>;

    /// Returns the fields of a credential; none if it is unknown.
    ///
    /// # Errors
    /// `Refused` without the key that it was stored with, `Corrupt` if it was changed since, `Unavailable`.
    async fn fields(&self, name: &str) -> Result<Option<Value>, PortError>;
}

/// The fields of a credential as a store holds them.
pub(crate) struct Stored {
    /// The key that they were sealed with.
    pub(crate) key_id: String,
    pub(crate) sealed: Sealed,
}

impl Stored {
    pub(crate) fn new(key: &MasterKey, name: &str, fields: &Value) -> Result<Self, PortError> {
        let sealed = key.seal(name, fields.to_string().as_bytes())?;
        Ok(Self { key_id: key.id().to_owned(), sealed })
    }

    /// The fields, if `key` is the one and nobody changed the row.
    pub(crate) fn open(&self, key: &MasterKey, name: &str) -> Result<Value, PortError> {
        if key.id() != self.key_id {
            let message = format!(
                "credential `{name}` was stored with the master key {}, and this one is {}; give that key, \
                 or store the credential again",
                self.key_id,
                key.id()
            );
            return Err(PortError::new(PortErrorKind::Refused, message));
        }
        let opened = key.open(name, &self.sealed);
        opened.and_then(|bytes| serde_json::from_slice(&bytes).ok()).ok_or_else(|| {
            let message = format!(
                "credential `{name}` was changed in the store by somebody else; store it again"
            );
            PortError::new(PortErrorKind::Corrupt, message)
        })
    }
}

pub(crate) fn no_room() -> PortError {
    let message = format!(
        "there are {CREDENTIALS_MAX} credentials, which is the limit; delete some that nobody uses"
    );
    PortError::new(PortErrorKind::Refused, message)
}
