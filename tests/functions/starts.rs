//! Executions that plain messages and calls begin.

use adapters::executions::Executions as _;
use adapters::lambda::{Handler as _, Invocation};
use engine_core::event::Status;
use engine_core::ids::ExecutionId;
use serde_json::json;

use crate::stack::{Sent, call, failed, stack};

fn message(id: &str, body: &str) -> Sent {
    Sent::forged(id, None, body)
}

#[tokio::test(flavor = "multi_thread")]
async fn copies_of_a_start_begin_one_execution() {
    let stack = stack().await;
    let handler = stack.event_handler().await;
    let keyed = r#"{"path": "tests/one", "payload": {"n": 1}, "idempotency_key": "order 17"}"#;
    let plain = r#"{"path": "tests/one"}"#;
    let batch =
        [message("a", keyed), message("b", keyed), message("c", plain), message("d", plain)];
    for _ in 0..2 {
        let answer = call(&handler, stack.batch("start", &batch)).await;
        assert!(failed(&answer).is_empty());
        stack.fold_all(&handler).await;
    }
    let begun = stack.aws.store.executions(None, 10).await.unwrap();
    assert_eq!(begun.len(), 3, "one of the key, and one of each message without one");
    assert!(begun.iter().all(|one| one.status == Status::Running && one.execution_id.0 > 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_that_cannot_be_fails_alone() {
    let stack = stack().await;
    let handler = stack.event_handler().await;
    let batch = [
        message("unknown", r#"{"path": "tests/none"}"#),
        message("version", r#"{"path": "tests/one", "version": 9}"#),
        message("unreadable", "start tests/one"),
        message("good", r#"{"path": "tests/one", "version": 1}"#),
    ];
    let answer = call(&handler, stack.batch("start", &batch)).await;
    assert_eq!(failed(&answer), ["unknown", "version", "unreadable"]);
    stack.fold_all(&handler).await;
    assert_eq!(stack.aws.store.executions(None, 10).await.unwrap().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_begins_an_execution_and_is_told_its_id() {
    let stack = stack().await;
    let handler = stack.event_handler().await;
    let answer = call(&handler, json!({"path": "tests/one", "payload": {"n": 1}})).await;
    let id: ExecutionId = answer["execution_id"].as_str().unwrap().parse().unwrap();
    stack.fold_all(&handler).await;
    assert_eq!(stack.state(id).await.unwrap().status, Status::Running);
    let unknown = Invocation { event: json!({"path": "tests/none"}), deadline: None };
    let refused = handler.handle(unknown).await.unwrap_err().to_string();
    assert!(refused.starts_with("Playbook not found: tests/none; register it"), "{refused}");
}
