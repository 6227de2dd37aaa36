//! What every [`StateStore`] promises.

use std::sync::Arc;

use adapters::embedded::store::SqliteStore;
use engine_core::event::Fact;
use engine_core::ports::{PortErrorKind, StateStore};
use serde_json::json;

use crate::samples::{entry, execution, finished, loop_of, options, started, state};
use engine_core::event::Status;
use engine_core::ids::ExecutionId;
use engine_core::payload::Payload;

pub(crate) async fn contract(store: Arc<dyn StateStore>) {
    an_unknown_aggregate_is_empty(&*store).await;
    what_is_committed_is_read_back(&*store).await;
    only_the_next_entry_is_taken(&*store).await;
    entries_come_in_pages(&*store).await;
    aggregates_come_in_the_order_of_their_step_entries(&*store).await;
    one_of_eight_writers_wins_each_number(store.clone()).await;
    many_aggregates_do_not_disturb_each_other(store).await;
}

async fn an_unknown_aggregate_is_empty(store: &dyn StateStore) {
    assert_eq!(store.tail(&execution(100)).await.unwrap(), None);
    assert_eq!(store.entries(&execution(100), 1, 10).await.unwrap(), []);
    assert_eq!(store.aggregates(ExecutionId(100)).await.unwrap(), []);
}

async fn what_is_committed_is_read_back(store: &dyn StateStore) {
    let key = loop_of(101, "a step: with \"quotes\", ümlauts and 1", 7);
    let data = Payload::Inline(json!({"n": 1.5, "b": [null, true], "a": "\u{0}\n"}));
    let saved =
        Fact::Saved { run: engine_core::ids::EventId(7), index: None, step: "x".into(), data };
    let committed = entry(&key, 1, vec![saved, finished(Status::Completed)]);
    store.commit(&committed).await.unwrap();

    let tail = store.tail(&key).await.unwrap().unwrap();
    assert_eq!((tail.seq, tail.at_ms), (1, committed.at_ms));
    assert_eq!(tail.next_event_id, committed.event_id.0 + 4, "two facts are four events");
    assert_eq!(tail.state, committed.state);
    assert_eq!(store.entries(&key, 1, 10).await.unwrap(), [committed]);
    assert_eq!(store.aggregates(ExecutionId(101)).await.unwrap(), [key]);
}

async fn only_the_next_entry_is_taken(store: &dyn StateStore) {
    let key = execution(102);
    let conflict = async |seq| {
        let error = store.commit(&entry(&key, seq, vec![])).await.unwrap_err();
        assert_eq!(error.kind, PortErrorKind::Conflict, "entry {seq}: {error}");
    };
    conflict(2).await;
    store.commit(&entry(&key, 1, vec![started()])).await.unwrap();
    conflict(1).await;
    conflict(3).await;
    store.commit(&entry(&key, 2, vec![])).await.unwrap();
    conflict(1).await;
    conflict(2).await;
    assert_eq!(
        store.tail(&key).await.unwrap().unwrap().state,
        state(2),
        "a lost one leaves nothing"
    );
    assert_eq!(store.entries(&key, 1, 10).await.unwrap().len(), 2);
}

async fn entries_come_in_pages(store: &dyn StateStore) {
    let key = execution(103);
    for seq in 1..=10 {
        store.commit(&entry(&key, seq, vec![])).await.unwrap();
    }
    let numbers = async |from, limit| {
        let entries = store.entries(&key, from, limit).await.unwrap();
        entries.iter().map(|entry| entry.seq).collect::<Vec<_>>()
    };
    assert_eq!(numbers(0, 3).await, [1, 2, 3]);
    assert_eq!(numbers(4, 3).await, [4, 5, 6]);
    assert_eq!(numbers(9, 100).await, [9, 10]);
    assert_eq!(numbers(11, 5).await, [0_u64; 0]);
    assert_eq!(numbers(1, 0).await, [0_u64; 0]);
    assert_eq!(numbers(u64::MAX, usize::MAX).await, [0_u64; 0]);
}

async fn aggregates_come_in_the_order_of_their_step_entries(store: &dyn StateStore) {
    let keys = [execution(104), loop_of(104, "z", 8), loop_of(104, "a", 9), loop_of(104, "z", 10)];
    // Loops of branches that run side by side may begin in any order.
    for key in [0, 1, 3, 2].map(|number| &keys[number]) {
        store.commit(&entry(key, 1, vec![])).await.unwrap();
    }
    store.commit(&entry(&keys[0], 2, vec![])).await.unwrap();
    assert_eq!(store.aggregates(ExecutionId(104)).await.unwrap(), keys);
}

async fn one_of_eight_writers_wins_each_number(store: Arc<dyn StateStore>) {
    let key = execution(105);
    for seq in 1..=25 {
        let writers: Vec<_> = (0..8)
            .map(|_| {
                let (store, entry) = (store.clone(), entry(&key, seq, vec![]));
                tokio::spawn(async move { store.commit(&entry).await })
            })
            .collect();
        let mut won = 0;
        for writer in writers {
            match writer.await.unwrap() {
                Ok(()) => won += 1,
                Err(error) => assert_eq!(error.kind, PortErrorKind::Conflict, "{error}"),
            }
        }
        assert_eq!(won, 1, "entry {seq}");
        assert_eq!(store.tail(&key).await.unwrap().unwrap().seq, seq);
    }
}

async fn many_aggregates_do_not_disturb_each_other(store: Arc<dyn StateStore>) {
    let writers: Vec<_> = (0..64)
        .map(|number| {
            let store = store.clone();
            tokio::spawn(async move {
                let key = loop_of(106, "s", number);
                for seq in 1..=20 {
                    let seen = store.tail(&key).await.unwrap().map_or(0, |tail| tail.seq);
                    assert_eq!(seen, seq - 1, "{key} reads its own write");
                    store.commit(&entry(&key, seq, vec![])).await.unwrap();
                }
            })
        })
        .collect();
    for writer in writers {
        writer.await.unwrap();
    }
    let keys = store.aggregates(ExecutionId(106)).await.unwrap();
    assert_eq!(keys.len(), 64);
    for key in keys {
        let entries = store.entries(&key, 1, 100).await.unwrap();
        assert!(entries.iter().map(|entry| entry.seq).eq(1..=20), "{key}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn sqlite_file() {
    let folder = tempfile::tempdir().unwrap();
    let store = SqliteStore::open(&folder.path().join("store.db"), options()).unwrap();
    contract(Arc::new(store)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sqlite_memory() {
    contract(Arc::new(SqliteStore::memory(options()).unwrap())).await;
}
