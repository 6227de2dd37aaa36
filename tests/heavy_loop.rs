//! The state of a loop stays tiny at every moment, and holds neither results nor items.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use engine_core::event::Entry;
use engine_core::ids::{AggregateKey, ExecutionId};
use engine_core::limits::LOOP_STATE_BYTES_MAX;
use engine_core::ports::{PortError, StateStore, Tail};
use engine_core::state::State;

/// A real store that looks at every loop state on its way in.
struct Watched {
    inner: Arc<dyn StateStore>,
    largest: AtomicUsize,
    entries: AtomicUsize,
}

#[async_trait]
impl StateStore for Watched {
    async fn tail(&self, key: &AggregateKey) -> Result<Option<Tail>, PortError> {
        self.inner.tail(key).await
    }

    async fn commit(&self, entry: &Entry) -> Result<(), PortError> {
        if matches!(entry.state, State::Loop(_)) {
            let state = serde_json::to_string(&entry.state).unwrap();
            assert!(!state.contains("padding"), "an item or a result in the state: {state}");
            self.largest.fetch_max(state.len(), Ordering::Relaxed);
            self.entries.fetch_add(1, Ordering::Relaxed);
        }
        self.inner.commit(entry).await
    }

    async fn entries(
        &self,
        key: &AggregateKey,
        from: u64,
        limit: usize,
    ) -> Result<Vec<Entry>, PortError> {
        self.inner.entries(key, from, limit).await
    }

    async fn aggregates(&self, execution_id: ExecutionId) -> Result<Vec<AggregateKey>, PortError> {
        self.inner.aggregates(execution_id).await
    }
}
