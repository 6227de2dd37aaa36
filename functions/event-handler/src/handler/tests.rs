use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use engine_core::command::Command;
use engine_core::event::{Entry, Envelope, Input};
use engine_core::ids::{ExecutionId, InputId};
use engine_core::payload::{Blob, PayloadRef};
use engine_core::playbook::{Playbook, PlaybookRef};
use engine_core::ports::{
    Catalog, Clock, CommandQueue, EventQueue, IdGenerator, PayloadStore, PortError, PortErrorKind,
    Ports, StateStore, Tail,
};

use super::*;

/// A store that answers for all executions but some, and remembers who asked.
#[derive(Default)]
struct Flaky {
    down: BTreeSet<i64>,
    /// Those that it never answers for.
    slow: BTreeSet<i64>,
    asked: Mutex<Vec<i64>>,
}

fn nowhere<T>() -> Result<T, PortError> {
    Err(PortError::new(PortErrorKind::Unavailable, "no answer"))
}

#[async_trait]
impl StateStore for Flaky {
    async fn tail(&self, key: &AggregateKey) -> Result<Option<Tail>, PortError> {
        let id = key.execution_id().0;
        self.asked.lock().unwrap().push(id);
        if self.slow.contains(&id) {
            std::future::pending::<()>().await;
        }
        if self.down.contains(&id) { nowhere() } else { Ok(None) }
    }

    async fn commit(&self, _entry: &Entry) -> Result<(), PortError> {
        nowhere()
    }

    async fn entries(
        &self,
        _key: &AggregateKey,
        _from: u64,
        _limit: usize,
    ) -> Result<Vec<Entry>, PortError> {
        nowhere()
    }

    async fn aggregates(&self, _id: ExecutionId) -> Result<Vec<AggregateKey>, PortError> {
        nowhere()
    }
}

/// All the other ports: nothing in these tests gets as far as them.
struct Nothing;

#[async_trait]
impl CommandQueue for Nothing {
    async fn send(&self, _commands: &[Command]) -> Result<(), PortError> {
        nowhere()
    }
}

#[async_trait]
impl EventQueue for Nothing {
    async fn send(&self, _envelopes: &[Envelope]) -> Result<(), PortError> {
        nowhere()
    }
}

#[async_trait]
impl PayloadStore for Nothing {
    async fn put(&self, _blob: &Blob) -> Result<(), PortError> {
        nowhere()
    }

    async fn get(&self, _reference: &PayloadRef) -> Result<Vec<u8>, PortError> {
        nowhere()
    }
}

#[async_trait]
impl Catalog for Nothing {
    async fn playbook(&self, _reference: &PlaybookRef) -> Result<Arc<Playbook>, PortError> {
        nowhere()
    }

    async fn newest(&self, _path: &str) -> Result<Option<PlaybookRef>, PortError> {
        nowhere()
    }
}

impl IdGenerator for Nothing {
    fn execution_id(&self) -> ExecutionId {
        ExecutionId(1)
    }

    fn nonce(&self) -> Result<u128, PortError> {
        Ok(0)
    }
}

impl Clock for Nothing {
    fn now_ms(&self) -> i64 {
        0
    }
}

fn driver(store: &Arc<Flaky>) -> Driver {
    Driver::new(Ports {
        store: store.clone(),
        commands: Arc::new(Nothing),
        events: Arc::new(Nothing),
        payloads: Arc::new(Nothing),
        catalog: Arc::new(Nothing),
        clock: Arc::new(Nothing),
        ids: Arc::new(Nothing),
    })
}

/// A tick for each execution named: an execution that never began ignores it.
fn ticks(ids: &[i64]) -> Vec<Delivery> {
    let tick = |(number, id): (usize, &i64)| Delivery {
        envelope: Envelope {
            id: InputId(format!("tick:{number}")),
            to: AggregateKey::Execution(ExecutionId(*id)),
            input: Input::Tick,
        },
        receive_count: 1,
    };
    ids.iter().enumerate().map(tick).collect()
}

#[tokio::test]
async fn a_group_fails_together_and_leaves_the_others_alone() {
    #[rustfmt::skip]
    let cases = [
        ("nothing is no failure",          vec![],     vec![],              vec![]),
        ("a batch that works",             vec![],     vec![1, 2, 1],       vec![]),
        ("one group of two",               vec![1],    vec![1, 2, 1, 2, 1], vec![0, 2, 4]),
        ("indexes ascend over all groups", vec![1, 2], vec![2, 1, 3, 1, 2], vec![0, 1, 3, 4]),
    ];
    for (name, down, ids, expect) in cases {
        let store = Arc::new(Flaky { down: down.into_iter().collect(), ..Flaky::default() });
        let folded = handle_batch(&driver(&store), ticks(&ids), None).await;
        assert_eq!(folded.ignored, ids.len() - expect.len(), "{name}");
        assert_eq!(folded.again, expect, "{name}");
    }
}

#[tokio::test]
async fn nothing_behind_a_failed_chunk_is_tried() {
    let store = Arc::new(Flaky { down: BTreeSet::from([1]), ..Flaky::default() });
    let ids = vec![1; BATCH_INPUTS_MAX + 2];
    let folded = handle_batch(&driver(&store), ticks(&ids), None).await;
    assert_eq!(folded.again, (0..ids.len()).collect::<Vec<_>>());
    assert_eq!(*store.asked.lock().unwrap(), [1], "the second chunk waits for the first");
}

#[tokio::test]
async fn a_group_larger_than_a_batch_is_folded_in_chunks() {
    let store = Arc::new(Flaky::default());
    let ids = vec![1; BATCH_INPUTS_MAX + 2];
    let folded = handle_batch(&driver(&store), ticks(&ids), None).await;
    assert_eq!(folded, Folded { ignored: ids.len(), ..Folded::default() });
    assert_eq!(*store.asked.lock().unwrap(), [1, 1]);
}

#[tokio::test(start_paused = true)]
async fn what_is_not_folded_in_time_comes_again() {
    let store = Arc::new(Flaky { slow: BTreeSet::from([2]), ..Flaky::default() });
    let deadline = Instant::now() + std::time::Duration::from_secs(1);
    let folded = handle_batch(&driver(&store), ticks(&[1, 2, 1, 2]), Some(deadline)).await;
    assert_eq!(folded, Folded { again: vec![1, 3], ignored: 2, ..Folded::default() });
    store.asked.lock().unwrap().clear();
    let folded = handle_batch(&driver(&store), ticks(&[1, 2]), Some(deadline)).await;
    assert_eq!(folded.again, [0, 1]);
    assert!(store.asked.lock().unwrap().is_empty(), "nothing is begun after the deadline");
}
