//! What requests want done goes to the queue of events.

use std::sync::Arc;

use adapters::clock::Timer;
use async_trait::async_trait;
use engine_core::event::{Envelope, IgnoreReason, Input};
use engine_core::ids::AggregateKey;
use engine_core::limits::{API_START_LOOK_MS, API_START_MS};
use engine_core::ports::{EventQueue, PortError, StateStore};

use crate::http::Inputs;

/// The queue of events. What is in it is durable, and what becomes of it is not known here.
pub(super) struct Queued {
    pub(super) events: Arc<dyn EventQueue>,
    pub(super) store: Arc<dyn StateStore>,
    pub(super) clock: Arc<dyn Timer>,
}

impl Queued {
    /// Waits a moment for an execution to begin, so that nearly every client finds it at once. One that
    /// begins later is no failure: its start is in the queue.
    async fn await_start(&self, key: &AggregateKey) {
        let until_ms = self.clock.now_ms().saturating_add(API_START_MS);
        loop {
            self.clock.until(self.clock.now_ms().saturating_add(API_START_LOOK_MS)).await;
            let is_there = matches!(self.store.tail(key).await, Ok(Some(_)));
            if is_there || self.clock.now_ms() >= until_ms {
                return;
            }
        }
    }
}

#[async_trait]
impl Inputs for Queued {
    async fn deliver(&self, envelope: Envelope) -> Result<Option<IgnoreReason>, PortError> {
        let begins = matches!(envelope.input, Input::Start(_)).then(|| envelope.to.clone());
        self.events.send(&[envelope]).await?;
        if let Some(key) = begins {
            self.await_start(&key).await;
        }
        Ok(None)
    }
}
