//! The items of a stored collection, chunk by chunk.

use std::sync::Arc;

use engine_core::command::Frame;
use engine_core::limits::CHUNKS_CACHED;
use engine_core::payload::PayloadRef;
use engine_core::ports::{PayloadStore, PortError, PortErrorKind};
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::cache::Cache;

/// Reads items and keeps what the next one will need: a long loop reads each chunk about once.
pub(crate) struct Items {
    lists: Cache<PayloadRef, Vec<PayloadRef>>,
    chunks: Cache<PayloadRef, Vec<Value>>,
}

impl Items {
    pub(crate) fn new() -> Self {
        Self { lists: Cache::new(CHUNKS_CACHED), chunks: Cache::new(CHUNKS_CACHED) }
    }

    /// The item at a 0-based index of the collection.
    pub(crate) async fn item(
        &self,
        payloads: &dyn PayloadStore,
        frame: &Frame,
        index: u64,
    ) -> Result<Value, PortError> {
        let missing = || {
            let message = format!("the stored collection has no item {index}");
            PortError::new(PortErrorKind::Corrupt, message)
        };
        let chunk = index.checked_div(frame.chunk_items).ok_or_else(missing)?;
        let place = usize::try_from(index % frame.chunk_items).map_err(|_too_large| missing())?;
        let chunk = usize::try_from(chunk).map_err(|_too_large| missing())?;
        let list = cached(&self.lists, payloads, &frame.collection).await?;
        let chunk = cached(&self.chunks, payloads, list.get(chunk).ok_or_else(missing)?).await?;
        chunk.get(place).cloned().ok_or_else(missing)
    }
}

async fn cached<T: DeserializeOwned>(
    cache: &Cache<PayloadRef, T>,
    payloads: &dyn PayloadStore,
    reference: &PayloadRef,
) -> Result<Arc<T>, PortError> {
    if let Some(known) = cache.get(reference) {
        return Ok(known);
    }
    let bytes = payloads.get(reference).await?;
    let value = serde_json::from_slice(&bytes).map_err(|error| {
        let message = format!("payload `{}` is no part of a collection", reference.uri);
        PortError::caused(PortErrorKind::Corrupt, message, error)
    })?;
    let value = Arc::new(value);
    cache.insert(reference.clone(), Arc::clone(&value));
    Ok(value)
}
