//! The state in a real NATS server: the contract, and what is its own.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use adapters::executions::Executions as _;
use adapters::nats::NatsStore;
use engine_core::ports::{PortErrorKind, StateStore as _};
use futures_util::TryStreamExt as _;

use crate::samples::{entry, execution, expanded, loop_of, started};
use crate::{executions, state_store};

fn url() -> String {
    std::env::var("NOETL_TEST_NATS")
        .unwrap_or_else(|_| panic!("NOETL_TEST_NATS is not set; run the tests with `make test`"))
}

/// A name that no other test uses, in this run or another one.
fn prefix() -> String {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    format!("t{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed))
}

async fn store(prefix: &str) -> NatsStore {
    NatsStore::connect(&url(), prefix, expanded).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn states() {
    state_store::contract(Arc::new(store(&prefix()).await)).await;
}

#[tokio::test]
async fn lists() {
    executions::contract(&store(&prefix()).await).await;
}

/// A bucket, as somebody else sees it.
async fn bucket(name: &str) -> async_nats::jetstream::kv::Store {
    let client = async_nats::connect(url()).await.unwrap();
    async_nats::jetstream::new(client).get_key_value(name).await.unwrap()
}

/// The bucket of the log.
async fn log(prefix: &str) -> async_nats::jetstream::kv::Store {
    bucket(&format!("{prefix}_entries")).await
}

#[tokio::test]
async fn an_entry_whose_author_died_is_logged_by_the_next_writer() {
    let prefix = prefix();
    let key = loop_of(1, "a step", 7);
    store(&prefix).await.commit(&entry(&key, 1, vec![started()])).await.unwrap();
    let log = log(&prefix).await;
    log.purge("exec.1.loop.a=20step.7.1").await.unwrap();

    let next = store(&prefix).await;
    let alone = next.entries(&key, 1, 10).await.unwrap();
    assert_eq!(alone, [entry(&key, 1, vec![started()])], "the newest is in the state");
    next.commit(&entry(&key, 2, vec![])).await.unwrap();
    let logged = log.get("exec.1.loop.a=20step.7.1").await.unwrap();
    assert!(logged.is_some_and(|bytes| !bytes.is_empty()));
    let numbers = next.entries(&key, 1, 10).await.unwrap();
    assert_eq!(numbers.iter().map(|entry| entry.seq).collect::<Vec<_>>(), [1, 2]);
}

#[tokio::test]
async fn the_keys_are_those_of_the_seed() {
    let prefix = prefix();
    let store = store(&prefix).await;
    for key in [execution(42), loop_of(42, "greet_users", 7), loop_of(42, "price_products", 9)] {
        store.commit(&entry(&key, 1, vec![])).await.unwrap();
    }
    let bucket = bucket(&format!("{prefix}_execution_state")).await;
    let keys = bucket.keys().await.unwrap();
    let mut keys: Vec<String> = keys.try_collect().await.unwrap();
    keys.sort();
    assert_eq!(keys, ["exec.42", "exec.42.loop.greet_users.7", "exec.42.loop.price_products.9"]);
}

#[tokio::test]
async fn a_state_that_does_not_decode_hides_no_other_execution() {
    let prefix = prefix();
    let store = store(&prefix).await;
    for id in [1, 2, 3] {
        store.commit(&entry(&execution(id), 1, vec![started()])).await.unwrap();
    }
    bucket(&format!("{prefix}_execution_state")).await.put("exec.2", "{".into()).await.unwrap();
    let error = store.tail(&execution(2)).await.unwrap_err();
    assert_eq!(error.kind, PortErrorKind::Corrupt, "{error}");
    let running = store.running(None, 10).await.unwrap();
    assert_eq!(running.iter().map(|line| line.execution_id.0).collect::<Vec<_>>(), [1, 3]);
    let all = store.executions(None, 10).await.unwrap();
    assert_eq!(all.iter().map(|line| line.execution_id.0).collect::<Vec<_>>(), [3, 1]);
}

#[tokio::test]
async fn what_the_server_does_not_take_is_refused_before_anything_is_written() {
    let store = store(&prefix()).await;
    let key = execution(1);
    let mut large = entry(&key, 1, vec![]);
    large.inputs = vec!["x".repeat(1 << 20).into()];
    let error = store.commit(&large).await.unwrap_err();
    assert_eq!(error.kind, PortErrorKind::Refused);
    let expect = "entry 1 of `exec:1` has 1049";
    assert!(error.to_string().starts_with(expect), "{error}");
    assert!(error.to_string().contains("raise `max_payload`"), "{error}");
    assert_eq!(store.tail(&key).await.unwrap(), None);
}

#[tokio::test]
async fn a_place_that_is_none_is_told_with_the_variable() {
    #[rustfmt::skip]
    let cases = [
        ("nats://127.0.0.1:1",  "t",   PortErrorKind::Unavailable, "`NOETL_NATS_URL` is not usable: no server answers there"),
        ("nats://[::1",         "t",   PortErrorKind::Refused,     "`NOETL_NATS_URL` is not usable: it must be `nats://[user:password@]host:port`"),
        ("nats://127.0.0.1:1",  "a.b", PortErrorKind::Refused,     "`NOETL_NATS_PREFIX` is `a.b`; it must be of letters, digits, `-` and `_`, such as `noetl`"),
        ("nats://127.0.0.1:1",  "",    PortErrorKind::Refused,     "`NOETL_NATS_PREFIX` is ``; it must be of letters, digits, `-` and `_`, such as `noetl`"),
    ];
    for (url, prefix, kind, message) in cases {
        let error = NatsStore::connect(url, prefix, expanded).await.err().unwrap();
        assert_eq!((error.kind, error.to_string().as_str()), (kind, message));
    }
}
