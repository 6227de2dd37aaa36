//! Batches of commands.

use adapters::lambda::{Handler as _, Invocation};
use adapters::wire;
use engine_core::command::Command;
use engine_core::event::{Envelope, Input, Status};
use engine_core::ids::{AggregateKey, ExecutionId};
use engine_core::ports::{CommandQueue as _, StateStore as _};
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::stack::{Sent, Stack, call, failed, stack};

/// An execution that waits for its only command, and that command as it came out of its queue.
async fn waiting(stack: &Stack) -> (ExecutionId, Sent) {
    let handler = stack.event_handler().await;
    let started = call(&handler, json!({"path": "tests/one"})).await;
    stack.fold_all(&handler).await;
    let id = started["execution_id"].as_str().unwrap().parse().unwrap();
    (id, commands(stack).await.remove(0))
}

/// What is in the queue of commands of kind `noop`; waits for two seconds.
async fn commands(stack: &Stack) -> Vec<Sent> {
    let found = stack.aws.commands.receive("noop", 2).await.unwrap();
    let sent = (0..).zip(found).map(|(number, one)| Sent::of(&format!("command-{number}"), one));
    sent.collect()
}

async fn read(stack: &Stack, sent: &Sent) -> Command {
    stack.aws.inbox().command(&sent.record, "noop").await.unwrap()
}

async fn status(stack: &Stack, id: ExecutionId) -> Status {
    stack.fold_all(&stack.event_handler().await).await;
    stack.state(id).await.unwrap().status
}

#[tokio::test(flavor = "multi_thread")]
async fn copies_of_a_command_are_answered_and_count_once() {
    let stack = stack().await;
    let (id, command) = waiting(&stack).await;
    let worker = stack.noop_worker().await;
    let copy = Sent { id: "copy".to_owned(), ..command.clone() };
    let batch = stack.batch("commands-noop", &[command, copy]);
    for _ in 0..2 {
        assert!(failed(&call(&worker, batch.clone()).await).is_empty());
        assert_eq!(status(&stack, id).await, Status::Completed);
    }
    let entries = stack.aws.store.entries(&AggregateKey::Execution(id), 1, 10).await.unwrap();
    assert_eq!(entries.len(), 2, "the start, and the first answer of four");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_before_its_time_goes_back_to_its_queue() {
    let stack = stack().await;
    let (id, command) = waiting(&stack).await;
    let worker = stack.noop_worker().await;
    let early =
        Command { not_before_ms: stack.aws.clock.now_ms() + 3_000, ..read(&stack, &command).await };
    let body = wire::command(&early).unwrap();
    let batch = [Sent::forged("early", None, &body)];
    assert!(failed(&call(&worker, stack.batch("commands-noop", &batch)).await).is_empty());
    assert_eq!(status(&stack, id).await, Status::Running, "nobody has answered");
    let mut again = Vec::new();
    while again.is_empty() {
        again = commands(&stack).await;
    }
    assert_eq!(read(&stack, &again[0]).await, early, "it is held back, not lost");
    assert!(early.not_before_ms <= stack.aws.clock.now_ms(), "and never comes too soon");
    assert!(failed(&call(&worker, stack.batch("commands-noop", &again)).await).is_empty());
    assert_eq!(status(&stack, id).await, Status::Completed);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_that_no_queue_can_carry_comes_by_the_bucket() {
    let stack = stack().await;
    let (id, command) = waiting(&stack).await;
    let worker = stack.noop_worker().await;
    let large = Command {
        overrides: Some(json!({"unused": "\u{1F600}".repeat(400_000)})),
        ..read(&stack, &command).await
    };
    stack.aws.commands.send(std::slice::from_ref(&large)).await.unwrap();
    let spilled = commands(&stack).await;
    assert_eq!(spilled.len(), 1);
    assert!(spilled[0].record.body.len() < 1_000, "{}", spilled[0].record.body.len());
    assert!(failed(&call(&worker, stack.batch("commands-noop", &spilled)).await).is_empty());
    assert_eq!(status(&stack, id).await, Status::Completed);
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_that_are_no_command_of_this_worker_fail_alone() {
    let stack = stack().await;
    let (id, command) = waiting(&stack).await;
    let worker = stack.noop_worker().await;
    let body = &command.record.body;
    let other = Command { tool_kind: "http".to_owned(), ..read(&stack, &command).await };
    let to = AggregateKey::Execution(id);
    let tick = Envelope { id: "t".into(), to, input: Input::Tick };
    let one = |id: &str, body: &str| Sent::forged(id, None, body);
    let batch = [
        one("noise", &"\u{fffd}".repeat(300_000)),
        one("not ours", "{\"path\": \"tests/one\"}"),
        one("truncated", &body[..body.len() / 2]),
        one("future", &body.replacen("\"v\":1", "\"v\":2", 1)),
        one("input", &wire::envelope(&tick).unwrap()),
        one("other kind", &wire::command(&other).unwrap()),
        command.clone(),
    ];
    let answer = call(&worker, stack.batch("commands-noop", &batch)).await;
    let expect = ["noise", "not ours", "truncated", "future", "input", "other kind"];
    assert_eq!(failed(&answer), expect);
    assert_eq!(status(&stack, id).await, Status::Completed);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_to_an_execution_that_is_not_there_changes_nothing() {
    let stack = stack().await;
    let (id, command) = waiting(&stack).await;
    let worker = stack.noop_worker().await;
    let nobody = AggregateKey::Execution(ExecutionId(17));
    let forged = Command { reply_to: nobody, ..read(&stack, &command).await };
    let batch = [Sent::forged("forged", None, &wire::command(&forged).unwrap())];
    assert!(failed(&call(&worker, stack.batch("commands-noop", &batch)).await).is_empty());
    assert_eq!(status(&stack, id).await, Status::Running);
    assert!(stack.state(ExecutionId(17)).await.is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_without_time_gives_its_commands_back() {
    let stack = stack().await;
    let (id, command) = waiting(&stack).await;
    let worker = stack.noop_worker().await;
    let event = stack.batch("commands-noop", &[command]);
    let late = Invocation { event: event.clone(), deadline: Some(Instant::now()) };
    assert_eq!(failed(&worker.handle(late).await.unwrap()), ["command-0"]);
    assert_eq!(status(&stack, id).await, Status::Running);
    assert!(failed(&call(&worker, event).await).is_empty());
    assert_eq!(status(&stack, id).await, Status::Completed);
    let called = Invocation { event: Value::Null, deadline: None };
    let refused = worker.handle(called).await.unwrap_err().to_string();
    assert!(refused.contains("takes commands from its queue"), "{refused}");
}
