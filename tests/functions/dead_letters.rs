//! Messages that were tried in vain.

use adapters::wire;
use engine_core::event::{Envelope, Input, Status};
use engine_core::ids::{AggregateKey, ExecutionId};
use serde_json::json;

use crate::stack::{Sent, call, failed, stack};

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_command_fails_its_execution() {
    let stack = stack().await;
    let (handler, dead) = (stack.event_handler().await, stack.dead_letter().await);
    let started = call(&handler, json!({"path": "tests/one"})).await;
    let id: ExecutionId = started["execution_id"].as_str().unwrap().parse().unwrap();
    stack.fold_all(&handler).await;
    let command = stack.aws.commands.receive("noop", 2).await.unwrap().remove(0);
    let batch = [Sent::of("dead", command)];
    // Whoever deals with it may be stopped in the middle, so it may come twice.
    for _ in 0..2 {
        let answer = call(&dead, stack.batch("commands-noop-dead", &batch)).await;
        assert!(failed(&answer).is_empty());
    }
    stack.fold_all(&handler).await;
    let state = stack.state(id).await.unwrap();
    assert_eq!(state.status, Status::Failed);
    let error = state.failure.unwrap().error;
    assert_eq!((error.kind.as_str(), error.retryable), ("DeadLetter", false));
    assert!(error.message.contains("`noop`"), "{}", error.message);
}

#[tokio::test(flavor = "multi_thread")]
async fn dead_letters_are_kept_and_those_of_a_future_version_stay() {
    let stack = stack().await;
    let dead = stack.dead_letter().await;
    let to = AggregateKey::Execution(ExecutionId(1));
    let tick = wire::envelope(&Envelope { id: "t".into(), to, input: Input::Tick }).unwrap();
    let batch = [
        Sent::forged("input", Some("exec:1"), &tick),
        Sent::forged("future", Some("exec:1"), &tick.replacen("\"v\":1", "\"v\":9", 1)),
        Sent::forged("noise", Some("exec:1"), "\u{1f600} {"),
        Sent::forged("start", None, r#"{"path": "tests/none"}"#),
    ];
    let answer = call(&dead, stack.batch("events-dead.fifo", &batch)).await;
    assert_eq!(failed(&answer), ["future"]);
    let store = stack.aws.dead_letters();
    for one in &batch {
        let queue = format!("{}-events-dead.fifo", stack.name);
        let is_new = store.keep(&queue, &one.id, &one.record.body).await.unwrap();
        assert!(!is_new, "{} is there, and stays", one.id);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_forged_command_is_kept_and_answers_for_nobody() {
    let stack = stack().await;
    let (handler, dead) = (stack.event_handler().await, stack.dead_letter().await);
    let started = call(&handler, json!({"path": "tests/one"})).await;
    let id: ExecutionId = started["execution_id"].as_str().unwrap().parse().unwrap();
    stack.fold_all(&handler).await;
    let command = stack.aws.commands.receive("noop", 2).await.unwrap().remove(0);
    let batch = [Sent::of("forged", command)];
    let answer = call(&dead, stack.batch("commands-http-dead", &batch)).await;
    assert!(failed(&answer).is_empty());
    stack.fold_all(&handler).await;
    assert_eq!(stack.state(id).await.unwrap().status, Status::Running);
}
