//! Batches of inputs.

use adapters::aws::queue::group_of;
use adapters::lambda::{Handler as _, Invocation};
use adapters::wire;
use engine_core::event::{Envelope, Input, Start, Status};
use engine_core::ids::{AggregateKey, ExecutionId};
use engine_core::ports::Catalog as _;
use serde_json::{Map, json};
use tokio::time::Instant;

use crate::stack::{Sent, Stack, call, failed, stack};

async fn start(stack: &Stack, id: i64) -> Envelope {
    let playbook = stack.aws.catalog.newest("tests/one").await.unwrap().unwrap();
    let to = AggregateKey::Execution(ExecutionId(id));
    let start = Start { playbook, payload: Map::new(), parent: None };
    Envelope { id: format!("{to}:start").into(), to, input: Input::Start(start) }
}

/// A message for the group of its aggregate.
fn sent(id: &str, envelope: &Envelope) -> Sent {
    Sent::forged(id, Some(&group_of(&envelope.to)), &wire::envelope(envelope).unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_that_cannot_be_ours_fail_alone() {
    let stack = stack().await;
    let handler = stack.event_handler().await;
    let (one, two) = (start(&stack, 1).await, start(&stack, 2).await);
    let whole = wire::envelope(&one).unwrap();
    let future = whole.replacen("\"v\":1", "\"v\":2", 1);
    let batch = [
        Sent::forged("noise", Some("a"), &"\u{fffd}".repeat(1_000)),
        sent("one", &one),
        Sent::forged("not ours", Some("b"), "{\"hello\": 1}"),
        Sent::forged("truncated", Some("c"), &whole[..whole.len() / 2]),
        Sent::forged("future", Some("d"), &future),
        Sent::forged("forged", Some("exec:9"), &whole),
        sent("two", &two),
    ];
    let answer = call(&handler, stack.batch("events.fifo", &batch)).await;
    assert_eq!(failed(&answer), ["noise", "not ours", "truncated", "future", "forged"]);
    for id in [1, 2] {
        let state = stack.state(ExecutionId(id)).await.unwrap();
        assert_eq!(state.status, Status::Running);
    }
    assert!(stack.state(ExecutionId(9)).await.is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_stands_behind_a_failed_message_of_its_group_comes_again_too() {
    let stack = stack().await;
    let handler = stack.event_handler().await;
    let (one, two) = (start(&stack, 1).await, start(&stack, 2).await);
    let cancel = |to: &AggregateKey| Envelope {
        id: "cancel".into(),
        to: to.clone(),
        input: Input::Cancel { reason: "enough".to_owned() },
    };
    let batch = [
        sent("start 1", &one),
        Sent::forged("poison", Some("exec:1"), "{}"),
        sent("start 2", &two),
        sent("cancel 1", &cancel(&one.to)),
        sent("cancel 2", &cancel(&two.to)),
    ];
    let answer = call(&handler, stack.batch("events.fifo", &batch)).await;
    assert_eq!(failed(&answer), ["poison", "cancel 1"]);
    let status = |state: Option<engine_core::state::ExecutionState>| state.unwrap().status;
    assert_eq!(status(stack.state(ExecutionId(1)).await), Status::Running);
    assert_eq!(status(stack.state(ExecutionId(2)).await), Status::Cancelled);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_input_that_comes_again_changes_nothing() {
    let stack = stack().await;
    let handler = stack.event_handler().await;
    let batch = [sent("first", &start(&stack, 1).await), sent("copy", &start(&stack, 1).await)];
    for _ in 0..2 {
        let answer = call(&handler, stack.batch("events.fifo", &batch)).await;
        assert!(failed(&answer).is_empty());
    }
    assert_eq!(stack.state(ExecutionId(1)).await.unwrap().steps.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_function_without_time_gives_its_whole_batch_back() {
    let stack = stack().await;
    let handler = stack.event_handler().await;
    let batch = [sent("one", &start(&stack, 1).await), sent("two", &start(&stack, 2).await)];
    let event = stack.batch("events.fifo", &batch);
    let late = Invocation { event, deadline: Some(Instant::now()) };
    let answer = handler.handle(late).await.unwrap();
    assert_eq!(failed(&answer), ["one", "two"]);
    assert!(stack.state(ExecutionId(1)).await.is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_event_of_a_queue_is_refused_with_a_sentence() {
    let stack = stack().await;
    let handler = stack.event_handler().await;
    for event in [json!({"source": "aws.events", "detail-type": "Scheduled Event"}), json!([])] {
        let refused = handler.handle(Invocation { event, deadline: None }).await.unwrap_err();
        assert!(refused.to_string().contains("this is neither"), "{refused}");
    }
}
