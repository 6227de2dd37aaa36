//! What is committed, counted for the metrics.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use adapters::telemetry::Metric;
use async_trait::async_trait;
use engine_core::event::{Entry, Fact, Outcome};
use engine_core::ids::{AggregateKey, ExecutionId};
use engine_core::ports::{PortError, StateStore, Tail};

/// A child execution, which is asked for by a message of its own and no command.
const PLAYBOOK: &str = "playbook";

/// Calls of tools since the last look. One iteration of a loop is one call.
#[derive(Debug, Default)]
pub(super) struct Counts {
    issued: AtomicU64,
    answered: AtomicU64,
    retried: AtomicU64,
    failed: AtomicU64,
}

impl Counts {
    /// The counts, which begin anew.
    pub(super) fn take(&self) -> [Metric; 4] {
        let taken =
            |name, counter: &AtomicU64| Metric::count(name, counter.swap(0, Ordering::Relaxed));
        [
            taken("CommandsIssued", &self.issued),
            taken("CommandsAnswered", &self.answered),
            taken("CommandsRetried", &self.retried),
            taken("CommandsFailed", &self.failed),
        ]
    }

    fn add(&self, facts: &[Fact]) {
        for fact in facts {
            match fact {
                Fact::CommandIssued { command, .. } if command.tool_kind != PLAYBOOK => {
                    count(&self.issued, 1);
                }
                // What is sent out again was counted before.
                Fact::FrameIssued { len, tool_kind, resumed: false, .. }
                    if tool_kind != PLAYBOOK =>
                {
                    count(&self.issued, u64::from(*len));
                }
                Fact::Answered { outcome, .. } => self.answer(std::slice::from_ref(outcome)),
                Fact::FrameAnswered { outcomes, retried, .. } => {
                    self.answer(outcomes);
                    count(&self.retried, retried.len() as u64);
                }
                Fact::Retried { .. } => count(&self.retried, 1),
                _ => {}
            }
        }
    }

    fn answer(&self, outcomes: &[Outcome]) {
        let failed = outcomes.iter().filter(|outcome| outcome.error.is_some()).count();
        count(&self.answered, outcomes.len() as u64);
        count(&self.failed, failed as u64);
    }
}

fn count(counter: &AtomicU64, more: u64) {
    counter.fetch_add(more, Ordering::Relaxed);
}

/// A store that counts what it commits.
pub(super) struct Counted<S: ?Sized> {
    store: Arc<S>,
    counts: Arc<Counts>,
}

impl<S: ?Sized> Counted<S> {
    pub(super) fn new(store: Arc<S>, counts: Arc<Counts>) -> Self {
        Self { store, counts }
    }
}

#[async_trait]
impl<S: StateStore + ?Sized> StateStore for Counted<S> {
    async fn tail(&self, key: &AggregateKey) -> Result<Option<Tail>, PortError> {
        self.store.tail(key).await
    }

    async fn commit(&self, entry: &Entry) -> Result<(), PortError> {
        self.store.commit(entry).await?;
        self.counts.add(&entry.facts);
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

#[cfg(test)]
mod tests {
    use engine_core::event::ToolFailure;
    use engine_core::ids::EventId;
    use engine_core::payload::Payload;
    use serde_json::Value;

    use super::*;

    fn outcome(failed: bool) -> Outcome {
        Outcome {
            result: Payload::Inline(Value::Null),
            error: failed.then(ToolFailure::default),
            started_ms: 0,
            duration_ms: 0,
            output: String::new(),
        }
    }

    #[test]
    fn calls_are_counted_one_by_one_in_frames_too() {
        let counts = Counts::default();
        let issued = Fact::FrameIssued {
            first: 0,
            len: 10,
            attempt: 1,
            not_before_ms: 0,
            tool_kind: "http".to_owned(),
            step: "a".into(),
            call: 1,
            site: engine_core::command::CallSite::Tool,
            unit: None,
            resumed: false,
        };
        let answered = Fact::FrameAnswered {
            first: 0,
            len: 10,
            attempt: 1,
            worker: String::new(),
            step: "a".into(),
            outcomes: vec![outcome(false), outcome(true), outcome(true)],
            retried: vec![1],
            handled: vec![],
        };
        let retried = Fact::Retried {
            run: EventId(1),
            index: None,
            step: "b".into(),
            command_id: "b".into(),
            attempt: 1,
            delay_ms: 0,
        };
        counts.add(&[issued, answered, retried]);
        let taken = counts.take().map(|metric| metric.values);
        assert_eq!(taken, [[10], [3], [2], [2]]);
        assert_eq!(counts.take().map(|metric| metric.values), [[0]; 4], "they begin anew");
    }
}
