//! Messages through SQS.

use std::collections::BTreeMap;

use adapters::aws::queue::{Received, Record, Undelivered, group_of};
use engine_core::command::Command;
use engine_core::driver::Delivery;
use engine_core::event::{Answer, Envelope, Input, Outcome};
use engine_core::ids::{AggregateKey, ExecutionId};
use engine_core::limits::SQS_MESSAGE_BYTES_MAX;
use engine_core::payload::{Payload, sha256_hex};
use engine_core::ports::{CommandQueue as _, EventQueue as _, PortErrorKind};
use serde_json::json;

use super::faults::Fault;
use super::{World, unprovisioned, world};
use crate::samples::{START_MS, chain, command, execution, loop_of};

const SEND: &str = "AmazonSQS.SendMessageBatch";

fn envelope(to: &AggregateKey, id: &str) -> Envelope {
    Envelope { id: id.into(), to: to.clone(), input: Input::Tick }
}

fn command_of(kind: &str, not_before_ms: i64) -> Command {
    Command { tool_kind: kind.into(), not_before_ms, ..command("s", 1) }
}

/// An answer whose body has about so many bytes.
fn answer(to: &AggregateKey, id: &str, bytes: usize) -> Envelope {
    let outcome = Outcome {
        result: Payload::Inline(json!("x".repeat(bytes))),
        error: None,
        started_ms: 0,
        duration_ms: 1,
        output: "\u{FFFE}\u{FFFF}\u{0}\u{1}\n".to_owned(),
    };
    let answer = Answer {
        command_id: "c".into(),
        attempt: 1,
        worker: "w".into(),
        outcomes: vec![outcome],
        cut: false,
    };
    Envelope { id: id.into(), to: to.clone(), input: Input::Answer(answer) }
}

/// Receives until `count` messages are there, and deletes them.
async fn receive(world: &World, count: usize) -> Vec<Received> {
    let mut found = Vec::new();
    while found.len() < count {
        let batch = world.aws.events.receive(2).await.unwrap();
        assert!(!batch.is_empty(), "{} of {count} messages came", found.len());
        for one in &batch {
            world.aws.events.delete(&one.receipt).await.unwrap();
        }
        found.extend(batch);
    }
    found
}

async fn deliveries(world: &World, count: usize) -> Vec<Delivery> {
    let inbox = world.aws.inbox();
    let mut found = Vec::new();
    for one in receive(world, count).await {
        found.push(inbox.delivery(&one.record).await.unwrap());
    }
    found
}

fn by_aggregate(found: Vec<Delivery>) -> BTreeMap<String, Vec<String>> {
    let mut groups: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for one in found {
        let Envelope { id, to, .. } = one.envelope;
        groups.entry(to.to_string()).or_default().push(id.to_string());
    }
    groups
}

#[tokio::test(flavor = "multi_thread")]
async fn events_come_in_the_order_of_their_aggregate() {
    let world = world("NOETL_TEST_AWS").await;
    let keys = [execution(1), loop_of(1, "two words", 5), execution(2)];
    let sent: Vec<Envelope> =
        (0..24).map(|number| envelope(&keys[number % 3], &format!("{number:02}"))).collect();
    world.aws.events.send(&sent).await.unwrap();
    for (_, ids) in by_aggregate(deliveries(&world, 24).await) {
        assert!(ids.len() == 8 && ids.is_sorted(), "{ids:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_input_that_is_sent_again_is_delivered_again() {
    let world = world("NOETL_TEST_AWS").await;
    for _ in 0..2 {
        world.aws.events.send(&[envelope(&execution(1), "same")]).await.unwrap();
    }
    assert_eq!(deliveries(&world, 2).await.len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_send_whose_answer_was_lost_is_delivered_once() {
    let world = world("NOETL_TEST_AWS").await;
    world.faults.plan(SEND, 1, &Fault::AnswerLost);
    world.aws.events.send(&[envelope(&execution(1), "a")]).await.unwrap();
    world.aws.events.send(&[envelope(&execution(1), "b")]).await.unwrap();
    assert!(world.faults.all_happened());
    let ids: Vec<_> = deliveries(&world, 2).await.into_iter().map(|one| one.envelope.id).collect();
    assert_eq!(ids, ["a".into(), "b".into()]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_part_that_was_not_taken_is_sent_again_before_what_follows_it() {
    let world = world("NOETL_TEST_AWS").await;
    let (key, other) = (execution(1), execution(2));
    let sent = [("a", &key), ("b", &key), ("x", &other), ("c", &key)];
    let sent = sent.map(|(id, to)| envelope(to, id));
    world.faults.plan(SEND, 1, &Fault::Partly(1));
    world.aws.events.send(&sent).await.unwrap();
    let groups = by_aggregate(deliveries(&world, 5).await);
    // The one that overtook is doubled: the engine knows it again, but a lost order it could not mend.
    assert_eq!(groups["exec:1"], ["a", "c", "b", "c"]);
    assert_eq!(groups["exec:2"], ["x"]);

    world.faults.plan(SEND, 4, &Fault::Partly(0));
    let error = world.aws.events.send(&[envelope(&key, "d")]).await.unwrap_err();
    assert_eq!(error.kind, PortErrorKind::Unavailable, "{}", chain(&error));
    assert!(error.to_string().ends_with("has not taken 1 messages"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn large_messages_are_spilled_and_come_back_whole() {
    let world = world("NOETL_TEST_AWS").await;
    let key = execution(7);
    let sizes = [400_000, 500_000, 600_000, SQS_MESSAGE_BYTES_MAX, 3 << 20];
    let sent: Vec<Envelope> = sizes
        .iter()
        .enumerate()
        .map(|(number, bytes)| answer(&key, &number.to_string(), *bytes))
        .collect();
    world.aws.events.send(&sent).await.unwrap();
    assert_eq!(world.aws.meter.usage().s3_writes, 2, "only what no message can hold");
    let found = deliveries(&world, sent.len()).await;
    assert!(found.iter().map(|one| &one.envelope).eq(&sent));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_spilled_message_that_was_lost_or_is_for_another_is_not_believed() {
    let world = world("NOETL_TEST_AWS").await;
    let key = execution(7);
    world.aws.events.send(&[answer(&key, "a", 2 << 20)]).await.unwrap();
    let record = receive(&world, 1).await.remove(0).record;
    let inbox = world.aws.inbox();

    let other = group_of(&execution(8));
    let forged = Record { group: Some(other), ..record.clone() };
    let error = inbox.delivery(&forged).await.unwrap_err();
    assert!(
        error.to_string().contains("is for `exec:7` and came in the group `exec:8`"),
        "{error}"
    );
    assert!(!error.is_retryable());
    let renamed = Record { body: record.body.replace("exec:7", "exec:8"), ..record.clone() };
    let error = inbox.delivery(&renamed).await.unwrap_err();
    assert!(error.to_string().contains("names the payload `7/"), "{error}");
    let hash = sha256_hex(b"another");
    let at = record.body.find("7/").unwrap() + 2;
    let body = record.body.replace(&record.body[at..at + 64], &hash);
    let error = inbox.delivery(&Record { body, ..record }).await.unwrap_err();
    let is_missing =
        matches!(&error, Undelivered::Port(error) if error.kind == PortErrorKind::NotFound);
    assert!(is_missing && !error.is_retryable(), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_goes_to_the_queue_of_its_kind_and_waits_for_its_time() {
    let world = world("NOETL_TEST_AWS").await;
    let sent = [
        command_of("http", 0),
        command_of("python", START_MS - 1),
        command_of("wait", 0),
        command_of("http", START_MS + 900_000),
    ];
    world.aws.commands.send(&sent).await.unwrap();
    let inbox = world.aws.inbox();
    for (kind, expect) in [("http", &sent[0]), ("python", &sent[1]), ("noop", &sent[2])] {
        let found = world.aws.commands.receive(kind, 2).await.unwrap();
        assert_eq!(found.len(), 1, "{kind}: what waits is not delivered");
        assert_eq!(inbox.command(&found[0].record, kind).await.unwrap(), *expect);
        assert_eq!(found[0].record.receive_count, 1);
        world.aws.commands.release(kind, &found[0].receipt, 0).await.unwrap();
        let again = world.aws.commands.receive(kind, 2).await.unwrap();
        assert_eq!(again[0].record.receive_count, 2, "what is released comes at once");
        let error = inbox.command(&again[0].record, "duckdb").await.unwrap_err();
        assert!(error.to_string().contains("came through the queue of commands of kind `duckdb`"));
        assert!(inbox.delivery(&again[0].record).await.is_err());
        world.aws.commands.delete(kind, &again[0].receipt).await.unwrap();
        assert_eq!(world.aws.commands.receive(kind, 0).await.unwrap(), []);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_queue_that_is_missing_is_named_with_its_variable() {
    let world = unprovisioned("NOETL_TEST_AWS").await;
    let error = world.aws.commands.send(&[command_of("duckdb", 0)]).await.unwrap_err();
    assert_eq!(error.kind, PortErrorKind::Refused, "{}", chain(&error));
    assert!(error.to_string().starts_with("the queue of commands of kind `duckdb` does not exist"));
    assert!(error.to_string().contains("`NOETL_COMMANDS_QUEUE_URL_PREFIX` names it"), "{error}");
    let error = world.aws.events.send(&[envelope(&execution(1), "a")]).await.unwrap_err();
    assert!(error.to_string().contains("`NOETL_EVENTS_QUEUE_URL` names it"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_queue_that_does_not_answer_is_told_from_one_that_refuses() {
    let world = world("NOETL_TEST_AWS").await;
    let sent = [envelope(&execution(1), "a")];
    world.faults.plan(SEND, 4, &Fault::Refused(503, "ServiceUnavailable"));
    let error = world.aws.events.send(&sent).await.unwrap_err();
    assert_eq!(error.kind, PortErrorKind::Unavailable, "{}", chain(&error));
    world.faults.plan(SEND, 1, &Fault::Refused(403, "AccessDenied"));
    let error = world.aws.events.send(&sent).await.unwrap_err();
    assert_eq!(error.kind, PortErrorKind::Refused, "{}", chain(&error));
    world.aws.events.send(&sent).await.unwrap();
    assert_eq!(deliveries(&world, 1).await.len(), 1, "what failed was not sent");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_ours_is_poison_and_says_why() {
    let world = world("NOETL_TEST_AWS").await;
    let inbox = world.aws.inbox();
    for body in ["hello", "{}", r#"{"v":9}"#, r#"{"v":1,"envelope":{"id":"#] {
        let record = Record { body: body.to_owned(), group: None, receive_count: 1 };
        let errors =
            [inbox.delivery(&record).await.err(), inbox.command(&record, "http").await.err()];
        for error in errors {
            let error = error.unwrap();
            assert!(matches!(error, Undelivered::Poison(_)) && !error.is_retryable(), "{error}");
        }
    }
    assert_eq!(world.aws.meter.usage().s3_reads, 0);
    let execution_id = ExecutionId(1);
    assert_eq!(group_of(&AggregateKey::Execution(execution_id)), "exec:1");
}
