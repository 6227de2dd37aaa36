//! Large values in S3, by content.

use async_trait::async_trait;

use engine_core::payload::{Blob, PayloadRef};
use engine_core::ports::{PayloadStore, PortError, PortErrorKind};

use super::objects::Objects;
use crate::payloads::{checked, verified};

/// The [`PayloadStore`] of an account: `payloads/{execution_id}/{sha256}`.
pub struct S3PayloadStore {
    objects: Objects,
}

impl S3PayloadStore {
    pub(super) fn new(objects: Objects) -> Self {
        Self { objects }
    }
}

#[async_trait]
impl PayloadStore for S3PayloadStore {
    async fn put(&self, blob: &Blob) -> Result<(), PortError> {
        let name = checked(&blob.reference, PortErrorKind::Refused)?;
        self.objects.create(&key(name), &blob.bytes, &blob.reference.sha256).await?;
        Ok(())
    }

    async fn get(&self, reference: &PayloadRef) -> Result<Vec<u8>, PortError> {
        let name = checked(reference, PortErrorKind::Corrupt)?;
        let found = self.objects.read(&key(name), reference.bytes).await?;
        let bytes = found.ok_or_else(|| {
            let message = format!(
                "payload `{}` does not exist; it belongs into {}",
                reference.uri,
                self.objects.shown()
            );
            PortError::new(PortErrorKind::NotFound, message)
        })?;
        verified(reference, bytes)
    }
}

fn key(name: &str) -> String {
    format!("payloads/{name}")
}
