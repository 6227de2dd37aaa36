//! Inputs that somebody waits for: a client is told what became of its request, not that it was queued.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use adapters::embedded::queue::Events;
use api::http::Inputs;
use async_trait::async_trait;
use engine_core::driver::{Delivery, Handled};
use engine_core::event::{Envelope, IgnoreReason};
use engine_core::ids::InputId;
use engine_core::limits::API_REQUEST_MS;
use engine_core::ports::{EventQueue as _, PortError, PortErrorKind};
use tokio::sync::oneshot;
use tokio::time::timeout;

/// What became of an input: nothing, or why it changed nothing.
type Outcome = Option<IgnoreReason>;

/// Who waits for which input.
#[derive(Default)]
pub(crate) struct Waiting {
    by_input: Mutex<BTreeMap<InputId, VecDeque<oneshot::Sender<Outcome>>>>,
}

impl Waiting {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<InputId, VecDeque<oneshot::Sender<Outcome>>>> {
        self.by_input.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins to wait, before the input is sent.
    fn wait_for(&self, input: &InputId) -> oneshot::Receiver<Outcome> {
        let (tell, told) = oneshot::channel();
        let mut by_input = self.lock();
        by_input.retain(|_, waiting| waiting.iter().any(|one| !one.is_closed()));
        by_input.entry(input.clone()).or_default().push_back(tell);
        told
    }

    /// Tells what became of a batch. Of inputs with one id the first are those that counted.
    pub(crate) fn handled(&self, batch: &[Delivery], handled: &Handled) {
        let mut by_input = self.lock();
        if by_input.is_empty() {
            return;
        }
        let mut ignored: BTreeMap<&InputId, Vec<IgnoreReason>> = BTreeMap::new();
        for (id, reason) in &handled.ignored {
            ignored.entry(id).or_default().push(*reason);
        }
        // From the last on: these are the ones that were ignored.
        for one in batch.iter().rev() {
            let id = &one.envelope.id;
            let outcome = ignored.get_mut(id).and_then(Vec::pop);
            let Some(waiting) = by_input.get_mut(id) else { continue };
            let tell = match outcome {
                Some(_) => waiting.pop_back(),
                None => waiting.pop_front(),
            };
            if let Some(tell) = tell {
                // Whoever asked may have gone.
                let _ = tell.send(outcome);
            }
        }
        by_input.retain(|_, waiting| !waiting.is_empty());
    }
}

/// The event queue, as the API uses it.
pub(crate) struct Taken {
    events: Arc<Events>,
    waiting: Arc<Waiting>,
}

impl Taken {
    pub(crate) fn new(events: Arc<Events>, waiting: Arc<Waiting>) -> Self {
        Self { events, waiting }
    }
}

#[async_trait]
impl Inputs for Taken {
    async fn deliver(&self, envelope: Envelope) -> Result<Option<IgnoreReason>, PortError> {
        let told = self.waiting.wait_for(&envelope.id);
        self.events.send(&[envelope]).await?;
        // The queue is lost with the process: only what is committed is promised to a client.
        let patience = Duration::from_millis(API_REQUEST_MS / 2);
        if let Ok(Ok(outcome)) = timeout(patience, told).await {
            return Ok(outcome);
        }
        let message = "the request is queued, and nothing is committed yet; look again";
        Err(PortError::new(PortErrorKind::Unavailable, message))
    }
}

#[cfg(test)]
mod tests {
    use adapters::clock::SystemClock;
    use engine_core::event::Input;
    use engine_core::ids::{AggregateKey, ExecutionId};

    use super::*;

    fn envelope(id: &str) -> Envelope {
        let to = AggregateKey::Execution(ExecutionId(1));
        Envelope { id: id.into(), to, input: Input::Tick }
    }

    fn delivery(id: &str) -> Delivery {
        Delivery { envelope: envelope(id), receive_count: 1 }
    }

    #[tokio::test]
    async fn of_two_requests_with_one_id_one_counts() {
        let waiting = Waiting::default();
        let (first, second) = (waiting.wait_for(&"a".into()), waiting.wait_for(&"a".into()));
        let other = waiting.wait_for(&"b".into());
        let ignored = vec![("a".into(), IgnoreReason::Duplicate)];
        let handled = Handled { ignored, ..Handled::default() };
        waiting.handled(&[delivery("a"), delivery("x"), delivery("a")], &handled);
        assert_eq!(first.await.unwrap(), None);
        assert_eq!(second.await.unwrap(), Some(IgnoreReason::Duplicate));
        assert_eq!(waiting.lock().len(), 1);
        drop(other);
        drop(waiting.wait_for(&"c".into()));
        assert_eq!(waiting.lock().len(), 1, "who has gone is forgotten");
    }

    #[tokio::test(start_paused = true)]
    async fn what_nobody_handles_is_not_promised() {
        let events = Arc::new(Events::new(Arc::new(SystemClock)));
        let taken = Taken::new(events.clone(), Arc::default());
        let error = taken.deliver(envelope("a")).await.unwrap_err();
        assert_eq!(error.kind, PortErrorKind::Unavailable);
        assert_eq!(events.queue().counters().sent, 1);
    }
}
