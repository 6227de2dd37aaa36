//! Someone who wants to know what is committed.

use std::sync::Arc;

use async_trait::async_trait;
use engine_core::event::Entry;
use engine_core::ids::{AggregateKey, ExecutionId};
use engine_core::ports::{PortError, StateStore, Tail};

/// Is told every entry right after it became durable, and must be quick.
pub(crate) trait Watch: Send + Sync {
    /// An entry is in the log.
    fn committed(&self, entry: &Entry);

    /// Nothing follows: whatever is on the screen must give way.
    fn over(&self) {}
}

/// Nobody.
pub(crate) struct Silent;

impl Watch for Silent {
    fn committed(&self, _entry: &Entry) {}
}

/// A store that tells what it commits.
pub(super) struct Watched<S> {
    store: Arc<S>,
    watch: Arc<dyn Watch>,
}

impl<S> Watched<S> {
    pub(super) fn new(store: Arc<S>, watch: Arc<dyn Watch>) -> Self {
        Self { store, watch }
    }
}

#[async_trait]
impl<S: StateStore> StateStore for Watched<S> {
    async fn tail(&self, key: &AggregateKey) -> Result<Option<Tail>, PortError> {
        self.store.tail(key).await
    }

    async fn commit(&self, entry: &Entry) -> Result<(), PortError> {
        self.store.commit(entry).await?;
        self.watch.committed(entry);
        Ok(())
    }

    async fn entries(
        &self,
        key: &AggregateKey,
        from: u64,
        limit: usize,
    ) -> Result<Vec<Entry>, PortError> {
        self.store.entries(key, from, limit).await
    }

    async fn aggregates(&self, id: ExecutionId) -> Result<Vec<AggregateKey>, PortError> {
        self.store.aggregates(id).await
    }
}
