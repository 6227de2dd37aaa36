//! The log in tables.

use engine_core::event::{Fact, Status};
use engine_core::ids::{EventId, ExecutionId};
use engine_core::payload::Payload;
use engine_core::ports::{PortErrorKind, StateStore as _};
use serde_json::json;

use super::faults::Fault;
use super::{World, on_both, put_raw, unprovisioned};
use crate::samples::{chain, entry, execution, finished, loop_of, started, state_of};
use adapters::executions::Executions as _;

const PUT: &str = "DynamoDB_20120810.PutItem";
const UPDATE: &str = "DynamoDB_20120810.UpdateItem";

on_both!(
    the_contract_of_a_log,
    the_contract_of_a_list_of_executions,
    a_write_whose_answer_was_lost_is_no_conflict,
    a_write_of_another_is_a_conflict_also_after_a_lost_answer,
    a_write_that_never_arrives_is_without_an_answer,
    throttling_is_waited_for_and_then_told,
    an_entry_larger_than_an_item_is_refused,
    what_compresses_is_cheaper_and_comes_back,
    long_logs_are_read_page_by_page,
    an_end_that_was_not_noted_is_mended_by_whoever_looks,
    a_start_that_came_to_nothing_is_not_listed,
    a_state_that_does_not_decode_hides_no_other_execution,
    no_commit_of_a_driver_reads_for_the_gap,
);

async fn the_contract_of_a_log(world: &World) {
    crate::state_store::contract(world.aws.store.clone()).await;
}

async fn the_contract_of_a_list_of_executions(world: &World) {
    crate::executions::contract(&*world.aws.store).await;
}

async fn a_write_whose_answer_was_lost_is_no_conflict(world: &World) {
    let (store, key) = (&world.aws.store, execution(1));
    for seq in 1..=3 {
        world.faults.plan(PUT, 1, &Fault::AnswerLost);
        store.commit(&entry(&key, seq, vec![])).await.unwrap();
    }
    assert!(world.faults.all_happened());
    assert_eq!(store.entries(&key, 1, 10).await.unwrap().len(), 3);
    let error = store.commit(&entry(&key, 3, vec![])).await.unwrap_err();
    assert_eq!(error.kind, PortErrorKind::Conflict, "the same entry of another call is another's");
}

async fn a_write_of_another_is_a_conflict_also_after_a_lost_answer(world: &World) {
    let (store, key) = (&world.aws.store, execution(1));
    store.commit(&entry(&key, 1, vec![])).await.unwrap();
    world.faults.plan(PUT, 1, &Fault::Lost);
    let error = store.commit(&entry(&key, 1, vec![])).await.unwrap_err();
    assert_eq!(error.kind, PortErrorKind::Conflict, "{}", chain(&error));
    world.faults.plan(PUT, 1, &Fault::AnswerLost);
    let error = store.commit(&entry(&key, 1, vec![])).await.unwrap_err();
    assert_eq!(error.kind, PortErrorKind::Conflict, "{}", chain(&error));
}

async fn a_write_that_never_arrives_is_without_an_answer(world: &World) {
    let (store, key) = (&world.aws.store, execution(1));
    world.faults.plan(PUT, 4, &Fault::Lost);
    let error = store.commit(&entry(&key, 1, vec![])).await.unwrap_err();
    assert_eq!(error.kind, PortErrorKind::Unavailable, "{}", chain(&error));
    assert!(error.to_string().contains("was not answered; it may have been done"), "{error}");
    assert!(world.faults.all_happened(), "four tries");
    assert_eq!(store.tail(&key).await.unwrap(), None);

    world.faults.plan(PUT, 4, &Fault::AnswerLost);
    let error = store.commit(&entry(&key, 1, vec![])).await.map_err(|error| error.kind);
    assert!(matches!(error, Ok(()) | Err(PortErrorKind::Unavailable)), "{error:?}");
    assert_eq!(store.tail(&key).await.unwrap().unwrap().seq, 1);
}

async fn throttling_is_waited_for_and_then_told(world: &World) {
    let (store, key) = (&world.aws.store, execution(1));
    let throttled = Fault::Refused(400, "ProvisionedThroughputExceededException");
    world.faults.plan(PUT, 2, &throttled);
    store.commit(&entry(&key, 1, vec![])).await.unwrap();
    world.faults.plan(PUT, 4, &throttled);
    let error = store.commit(&entry(&key, 2, vec![])).await.unwrap_err();
    assert_eq!(error.kind, PortErrorKind::Unavailable);
    assert!(error.to_string().contains("is not served now (Provisioned"), "{error}");
    world.faults.plan(PUT, 1, &Fault::Refused(400, "AccessDeniedException"));
    let error = store.commit(&entry(&key, 2, vec![])).await.unwrap_err();
    assert_eq!(error.kind, PortErrorKind::Refused);
    assert!(error.to_string().contains("`dynamodb:PutItem` on table `"), "{error}");
    store.commit(&entry(&key, 2, vec![])).await.unwrap();
}

/// Text that no compression makes shorter.
fn noise(bytes: usize) -> String {
    let mut state = 1_u64;
    let letters = (0..bytes).map(|_| {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        char::from(b'!' + u8::try_from((state >> 33) % 90).unwrap())
    });
    letters.collect()
}

fn saved(text: &str) -> Fact {
    let data = Payload::Inline(json!(text));
    Fact::Saved { run: EventId(1), index: None, step: "s".into(), data }
}

async fn an_entry_larger_than_an_item_is_refused(world: &World) {
    let (store, key) = (&world.aws.store, execution(1));
    store.commit(&entry(&key, 1, vec![saved(&noise(300_000))])).await.unwrap();
    let error = store.commit(&entry(&key, 2, vec![saved(&noise(600_000))])).await.unwrap_err();
    assert_eq!(error.kind, PortErrorKind::Refused);
    assert!(error.to_string().starts_with("entry 2 of `exec:1`: the entry is larger"), "{error}");
    assert_eq!(store.tail(&key).await.unwrap().unwrap().seq, 1);
}

async fn what_compresses_is_cheaper_and_comes_back(world: &World) {
    let (store, key) = (&world.aws.store, execution(1));
    let before = world.aws.meter.usage();
    let text = r#"{"name": "value", "other": [1, 2, 3]}, "#.repeat(200);
    let committed = entry(&key, 1, vec![saved(&text)]);
    store.commit(&committed).await.unwrap();
    let used = world.aws.meter.usage();
    assert!(text.len() > 7_000 && used.write_units - before.write_units <= 2, "{used:?}");
    assert_eq!(store.entries(&key, 1, 1).await.unwrap(), [committed]);
}

async fn long_logs_are_read_page_by_page(world: &World) {
    let (store, key) = (&world.aws.store, execution(1));
    for seq in 1..=6 {
        store.commit(&entry(&key, seq, vec![saved(&noise(250_000))])).await.unwrap();
    }
    let before = world.faults.tried("Query");
    let entries = store.entries(&key, 1, usize::MAX).await.unwrap();
    assert!(entries.iter().map(|entry| entry.seq).eq(1..=6));
    assert!(world.faults.tried("Query") >= before + 2, "a page ends at a mebibyte");
}

async fn an_end_that_was_not_noted_is_mended_by_whoever_looks(world: &World) {
    let store = &world.aws.store;
    for id in [1, 2] {
        store.commit(&entry(&execution(id), 1, vec![started()])).await.unwrap();
    }
    let mut last = entry(&execution(1), 2, vec![finished(Status::Completed)]);
    last.state = state_of(2, Status::Completed);
    world.faults.plan(UPDATE, 4, &Fault::Lost);
    store.commit(&last).await.unwrap();
    assert!(world.faults.all_happened(), "the commit stands though its end was not noted");

    let mut running = store.running(None, 10).await.unwrap();
    assert_eq!(running.pop().map(|line| line.execution_id), Some(ExecutionId(2)));
    assert!(running.is_empty());
    let queries = world.faults.tried("Query");
    let line = store.execution(ExecutionId(1)).await.unwrap().unwrap();
    assert_eq!((line.status, line.ended_ms), (Status::Completed, Some(last.at_ms)));
    assert_eq!(world.faults.tried("Query"), queries, "what has ended is not compared again");
}

async fn a_start_that_came_to_nothing_is_not_listed(world: &World) {
    let store = &world.aws.store;
    // Two rows are written, then the entry is not.
    let first = entry(&execution(1), 1, vec![started()]);
    let denied = Fault::Refused(400, "AccessDeniedException");
    world.faults.plan(PUT, 2, &Fault::None);
    world.faults.plan(PUT, 1, &denied);
    assert_eq!(store.commit(&first).await.unwrap_err().kind, PortErrorKind::Refused);
    assert_eq!(store.executions(None, 10).await.unwrap(), []);
    assert_eq!(store.running(None, 10).await.unwrap(), []);
    assert_eq!(store.execution(ExecutionId(1)).await.unwrap(), None);
    world.faults.plan(PUT, 1, &Fault::None);
    world.faults.plan(PUT, 1, &denied);
    let inner = entry(&loop_of(1, "s", 5), 1, vec![]);
    assert_eq!(store.commit(&inner).await.unwrap_err().kind, PortErrorKind::Refused);
    assert_eq!(store.aggregates(ExecutionId(1)).await.unwrap(), []);

    store.commit(&first).await.unwrap();
    assert_eq!(store.executions(None, 10).await.unwrap().len(), 1);
    assert_eq!(store.aggregates(ExecutionId(1)).await.unwrap(), [execution(1)]);
}

async fn a_state_that_does_not_decode_hides_no_other_execution(world: &World) {
    let store = &world.aws.store;
    for id in [1, 2, 3] {
        store.commit(&entry(&execution(id), 1, vec![started()])).await.unwrap();
    }
    let damaged = json!({
        "pk": {"S": execution(2).to_string()}, "sk": {"N": "2"}, "at_ms": {"N": "0"},
        "event_id": {"N": "0"}, "next_event_id": {"N": "0"}, "state": {"S": "{"},
    });
    put_raw(world, &damaged).await;
    let error = store.tail(&execution(2)).await.unwrap_err();
    assert_eq!(error.kind, PortErrorKind::Corrupt, "{}", chain(&error));
    for (mut lines, name) in [
        (store.running(None, 10).await.unwrap(), "those that run"),
        (store.executions(None, 10).await.unwrap(), "all"),
    ] {
        lines.sort_by_key(|line| line.position);
        let ids: Vec<i64> = lines.iter().map(|line| line.execution_id.0).collect();
        assert_eq!(ids, [1, 2, 3], "{name}");
    }
}

async fn no_commit_of_a_driver_reads_for_the_gap(world: &World) {
    let (store, key) = (&world.aws.store, execution(1));
    store.commit(&entry(&key, 1, vec![])).await.unwrap();
    let reads = || world.faults.tried("GetItem") + world.faults.tried("Query");
    let before = reads();
    store.commit(&entry(&key, 2, vec![])).await.unwrap();
    assert_eq!(reads(), before, "it has committed the entry before itself");
    let other = super::opened(&world.config, &world.clock, &world.faults).await;
    other.store.tail(&key).await.unwrap();
    let before = reads();
    other.store.commit(&entry(&key, 3, vec![])).await.unwrap();
    assert_eq!(reads(), before, "it has read the tail");
}

#[tokio::test]
async fn a_server_that_does_not_answer_is_given_up_and_asked_again() {
    let world = super::world("NOETL_TEST_DYNAMODB").await;
    let (store, key) = (&world.aws.store, execution(1));
    world.faults.plan(PUT, 2, &Fault::Hangs);
    store.commit(&entry(&key, 1, vec![])).await.unwrap();
    assert!(world.faults.all_happened());
    assert_eq!(store.tail(&key).await.unwrap().unwrap().seq, 1);
}

#[tokio::test]
async fn what_is_missing_is_named_with_the_variable_that_names_it() {
    let world = unprovisioned("NOETL_TEST_AWS").await;
    let error = world.aws.store.tail(&execution(1)).await.unwrap_err();
    assert_eq!(error.kind, PortErrorKind::Refused, "{}", chain(&error));
    let expect = format!("table `{}` does not exist", world.config.state_table);
    assert!(error.to_string().starts_with(&expect), "{error}");
    assert!(error.to_string().contains("`NOETL_STATE_TABLE` names it"), "{error}");
}
