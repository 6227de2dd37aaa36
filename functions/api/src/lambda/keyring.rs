//! Credentials in their table, sealed before they get there.

use std::sync::Arc;

use adapters::clock::Timer;
use adapters::credentials::CredentialStore;
use async_trait::async_trait;
use engine_core::ports::{CredentialNote, PortError};
use serde_json::Value;

use crate::http::Keyring;

/// A [`Keyring`] over a store.
pub(super) struct Sealed {
    pub(super) store: Arc<dyn CredentialStore>,
    pub(super) clock: Arc<dyn Timer>,
}

#[async_trait]
impl Keyring for Sealed {
    async fn add(&self, note: CredentialNote, data: Value) -> Result<(), PortError> {
        let now_ms = self.clock.now_ms();
        let note = CredentialNote { created_ms: now_ms, updated_ms: now_ms, ..note };
        self.store.put(&note, &data).await
    }

    async fn notes(&self) -> Result<Vec<CredentialNote>, PortError> {
        self.store.list().await
    }

    async fn remove(&self, name: &str) -> Result<bool, PortError> {
        self.store.remove(name).await
    }
}
