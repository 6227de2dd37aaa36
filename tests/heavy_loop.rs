//! The state of a loop stays tiny at every moment, and holds neither results nor items.

#![expect(
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a failed call is a failed test; figures are for readers of the log"
)]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use adapters::catalog::Registry as _;
use adapters::embedded::store::{Options as SqliteOptions, SqliteStore};
use async_trait::async_trait;
use engine_core::driver::{Delivery, Driver};
use engine_core::event::{Entry, Envelope, Input, Start, Status};
use engine_core::ids::{AggregateKey, ExecutionId};
use engine_core::limits::LOOP_STATE_BYTES_MAX;
use engine_core::load::Readers;
use engine_core::ports::{PortError, Ports, StateStore, Tail};
use engine_core::project::event_span;
use engine_core::state::State;
use tests::binary::example;
use tests::embedded::memory;
use worker::execute::{Workbench, envelope, execute};
use worker::tools::noop::Noop;
use worker::tools::python::{Python, PythonPool};

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

/// Everything of one process, pumped by hand: inputs first, then commands, until nothing is left.
async fn run_to_the_end(
    playbook: &str,
    payload: serde_json::Value,
    watched: &Arc<Watched>,
) -> bool {
    let embedded = memory();
    let reference = embedded.catalog.register(playbook).await.unwrap().reference;
    let ports = Ports { store: watched.clone(), ..embedded.ports() };
    let readers = Readers { store: ports.store.clone(), payloads: ports.payloads.clone() };
    let bench = Workbench::new(ports.catalog.clone(), readers, ports.clock.clone(), "test")
        .with_tool(Arc::new(Noop))
        .with_tool(Arc::new(Python::new(PythonPool::new("python3", 2))));
    let driver = Driver::new(ports.clone());

    let id = ExecutionId(4_242);
    let payload = payload.as_object().cloned().unwrap();
    let input = Input::Start(Start { playbook: reference, payload, parent: None });
    let to = AggregateKey::Execution(id);
    ports.events.send(&[Envelope { id: "start".into(), to: to.clone(), input }]).await.unwrap();
    loop {
        let queue = embedded.events.queue();
        if queue.counters().visible > 0 {
            let taken = queue.receive_group(64).await;
            let batch: Vec<Delivery> = taken
                .iter()
                .map(|one| Delivery {
                    envelope: (*one.body).clone(),
                    receive_count: one.receive_count,
                })
                .collect();
            let handled = driver.handle(&batch).await.unwrap();
            queue.delete(taken.iter().map(|one| one.receipt));
            if let Some(status) = handled.ended {
                return status == Status::Completed;
            }
            continue;
        }
        for kind in embedded.commands.kinds() {
            let queue = embedded.commands.queue(&kind);
            if queue.counters().visible > 0 {
                for one in queue.receive(10).await {
                    let answer = execute(&bench, &one.body).await;
                    ports.events.send(&[envelope(&one.body, answer)]).await.unwrap();
                    queue.delete([one.receipt]);
                }
            }
        }
    }
}

#[tokio::test]
async fn the_state_of_a_thousand_padded_items_never_exceeds_four_kilobytes() {
    let options = SqliteOptions { expanded: event_span, bytes_max: None };
    let watched = Arc::new(Watched {
        inner: Arc::new(SqliteStore::memory(options).unwrap()),
        largest: AtomicUsize::new(0),
        entries: AtomicUsize::new(0),
    });
    let playbook = std::fs::read_to_string(example("heavy_loop.yaml")).unwrap();
    let payload = serde_json::json!({"workload": {"item_count": 1_000, "padding_bytes": 500}});
    assert!(run_to_the_end(&playbook, payload, &watched).await, "it did not complete");
    let largest = watched.largest.load(Ordering::Relaxed);
    let entries = watched.entries.load(Ordering::Relaxed);
    println!("largest loop state: {largest} bytes, in {entries} entries");
    assert!(entries > 0 && largest <= LOOP_STATE_BYTES_MAX, "{largest} bytes");
}
