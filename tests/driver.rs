//! The driver at its limits, and the results of a loop that was stopped.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use engine_core::driver::{Delivery, Driver, DriverError};
use engine_core::event::{Entry, Envelope, Fact, Input, LoopOpen, Outcome, Start, ToolFailure};
use engine_core::ids::{AggregateKey, EventId, ExecutionId};
use engine_core::limits::COMMIT_ATTEMPTS_MAX;
use engine_core::load::{Readers, load};
use engine_core::payload::{LoopSummary, Payload, PayloadRef};
use engine_core::playbook::{LoopMode, PlaybookRef};
use engine_core::ports::{PortError, PortErrorKind, Ports, StateStore, Tail};
use engine_core::state::{LoopState, State};
use serde_json::{Value, json};
use tests::binary::playbook;
use tests::embedded::memory;

/// A real store whose every commit was somebody else's first.
struct Losing {
    inner: Arc<dyn StateStore>,
    commits: AtomicUsize,
}

#[async_trait]
impl StateStore for Losing {
    async fn tail(&self, key: &AggregateKey) -> Result<Option<Tail>, PortError> {
        self.inner.tail(key).await
    }

    async fn commit(&self, _: &Entry) -> Result<(), PortError> {
        self.commits.fetch_add(1, Ordering::Relaxed);
        Err(PortError::new(PortErrorKind::Conflict, "somebody else was first"))
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

#[tokio::test]
async fn a_driver_that_never_wins_gives_up_sends_nothing_and_leaves_the_input_queued() {
    let embedded = memory();
    let text = playbook("workflow:\n  - { step: start, tool: { kind: noop } }\n");
    let reference = embedded.catalog.register(&text).await.unwrap().reference;
    let ports = embedded.ports();
    let losing = Arc::new(Losing { inner: ports.store.clone(), commits: AtomicUsize::new(0) });
    let driver = Driver::new(Ports { store: losing.clone(), ..ports });

    let input =
        Input::Start(Start { playbook: reference, payload: serde_json::Map::new(), parent: None });
    let to = AggregateKey::Execution(ExecutionId(1));
    let envelope = Envelope { id: "start".into(), to, input };
    let handled = driver.handle(&[Delivery { envelope, receive_count: 1 }]).await;

    assert!(matches!(handled, Err(DriverError::Contended(_))), "{handled:?}");
    assert_eq!(losing.commits.load(Ordering::Relaxed), COMMIT_ATTEMPTS_MAX);
    assert!(embedded.commands.kinds().is_empty(), "nothing is sent before a commit");
}

fn opening() -> LoopOpen {
    LoopOpen {
        playbook: PlaybookRef { path: "p".to_owned(), hash: String::new() },
        step: "s".into(),
        tool_kind: "noop".to_owned(),
        iterator: "n".to_owned(),
        mode: LoopMode::Parallel,
        collection_size: 9,
        collection: PayloadRef { uri: String::new(), sha256: String::new(), bytes: 0 },
        chunk_items: 9,
        max_in_flight: 2,
        frame_items_max: 4,
        fail_fast: true,
        timeout_ms: 1,
        scope: Payload::Inline(Value::Null),
        heard: 0,
        note: None,
        depth: 0,
    }
}

fn outcome(result: u64, failed: bool) -> Outcome {
    let error = failed.then(|| ToolFailure { kind: "E".to_owned(), ..ToolFailure::default() });
    let result = Payload::Inline(json!(result));
    Outcome { result, error, started_ms: 0, duration_ms: 0, output: String::new() }
}

fn answered(first: u64, len: u32, outcomes: Vec<Outcome>) -> Fact {
    let (retried, handled, worker) = (Vec::new(), Vec::new(), "w".to_owned());
    let (attempt, step) = (1, "s".into());
    Fact::FrameAnswered { first, len, attempt, worker, step, outcomes, retried, handled }
}

#[tokio::test]
async fn a_stopped_loop_keeps_what_it_settled_beyond_what_it_gave_up() {
    let ports = memory().ports();
    let (execution_id, event_id) = (ExecutionId(1), EventId(2));
    let key = AggregateKey::Loop { execution_id, step: "s".into(), event_id };
    let open = opening();
    let state = State::Loop(Box::new(LoopState::open(&open, 0)));
    let facts = vec![
        Fact::LoopOpened { open: Box::new(open) },
        answered(0, 4, vec![outcome(10, false), outcome(11, true)]),
        answered(4, 2, vec![outcome(14, false), outcome(15, false)]),
    ];
    let (seq, at_ms, inputs) = (1, 0, vec!["open".into()]);
    let entry = Entry { key: key.clone(), seq, at_ms, event_id, inputs, facts, state };
    ports.store.commit(&entry).await.unwrap();

    let readers = Readers { store: ports.store, payloads: ports.payloads };
    let summary = LoopSummary { key, total: 4, failed: 1 };
    let aggregate = load(&readers, &Payload::Loop(summary)).await.unwrap();
    let results = aggregate["results"].as_array().unwrap();
    assert_eq!(results.len(), 6, "{aggregate:#}");
    assert_eq!([&results[0], &results[4], &results[5]], [&json!(10), &json!(14), &json!(15)]);
    assert_eq!(results[1]["error"]["type"], "E");
    assert_eq!([&results[2], &results[3]], [&Value::Null, &Value::Null]);
}
