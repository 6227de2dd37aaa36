use std::sync::Arc;

use super::*;
use crate::fixture::{ID, NoPayloads, World};
use crate::view::Execution;

const CHILD: ExecutionId = ExecutionId(77);
const NOON_MS: i64 = 1_772_366_400_000;

fn readers(world: World) -> Readers {
    Readers { store: Arc::new(world), payloads: Arc::new(NoPayloads) }
}

fn callback(token: &str) -> Unit {
    Unit { token: Some(token.to_owned()), until_ms: Some(NOON_MS), ..Unit::default() }
}

fn child() -> Unit {
    Unit { child: Some(CHILD), ..Unit::default() }
}

async fn waits(world: World) -> Vec<Value> {
    let execution = Execution::find(&readers(world), ID).await.unwrap().unwrap();
    execution.waits.iter().map(|wait| json!({(wait.step.as_str()): wait.json()})).collect()
}

#[tokio::test]
async fn a_waiting_step_says_what_for() {
    let mut world = World::default();
    world.begin(1_000);
    let wait = Unit { until_ms: Some(NOON_MS + 5), ..Unit::default() };
    world.issue((1_000, ID), "approve", "callback", (1, 0), Some(callback("t")));
    world.issue((1_000, ID), "pause", "wait", (1, 0), Some(wait));
    world.issue((1_000, ID), "call", "playbook", (1, 0), Some(child()));
    world.issue((1_000, ID), "fetch", "http", (2, NOON_MS), None);
    world.issue((1_000, ID), "quick", "http", (1, 0), None);
    world.issue((1_000, ID), "next_page", "http", (1, 0), Some(Unit::default()));
    let path = format!("/api/executions/{ID}/callbacks/t");
    let until = "2026-03-01T12:00:00Z";
    let expect = [
        json!({"approve": {"for": "callback", "token": "t", "path": path, "until": until}}),
        json!({"call": {"for": "playbook", "execution_id": "77"}}),
        json!({"fetch": {"for": "retry", "attempt": 2, "until": until}}),
        json!({"pause": {"for": "time", "until": "2026-03-01T12:00:00.005Z"}}),
    ];
    assert_eq!(waits(world).await, expect);
}

#[tokio::test]
async fn iterations_of_an_open_loop_wait_with_their_index() {
    let mut world = World::default();
    world.begin(1_000);
    world.ask_for_loop(1_000, "each", 4);
    world.run_loop(1_001, "each", 0);
    world.issue_iteration(1_002, "each", 1, &callback("t-101-1"));
    let path = format!("/api/executions/{ID}/callbacks/t-101-1");
    let (token, until) = ("t-101-1", "2026-03-01T12:00:00Z");
    let wait = json!({"for": "callback", "token": token, "path": path, "until": until, "index": 1});
    assert_eq!(waits(world).await, [json!({"each": wait})]);
}

/// A parent whose child waits for a callback, beside a loop that does.
fn only_people() -> World {
    let mut world = World::default();
    world.begin(1_000);
    world.issue((1_000, ID), "call", "playbook", (1, 0), Some(child()));
    world.begin_child(1_001, CHILD);
    world.issue((1_002, CHILD), "approve", "callback", (1, 0), Some(callback("inner")));
    world.ask_for_loop(1_003, "each", 2);
    world.run_loop(1_004, "each", 0);
    world.issue_iteration(1_005, "each", 0, &callback("t-101-0"));
    world
}

#[tokio::test]
async fn only_callbacks_are_left_when_nothing_else_can_carry_an_execution_on() {
    let found = only_callbacks(&readers(only_people()), ID).await.unwrap();
    let tokens: Vec<_> = found
        .iter()
        .map(|wait| match &wait.what {
            Waiting::Callback { execution_id, token, .. } => (*execution_id, token.as_str()),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(tokens, [(ID, "t-101-0"), (CHILD, "inner")]);

    let mut calling = only_people();
    calling.issue((1_006, CHILD), "fetch", "http", (1, 0), None);
    let mut waiting = only_people();
    let wait = Unit { until_ms: Some(NOON_MS), ..Unit::default() };
    waiting.issue((1_006, ID), "pause", "wait", (1, 0), Some(wait));
    let mut retrying = only_people();
    retrying.issue((1_006, ID), "fetch", "http", (2, NOON_MS), None);
    let mut beginning = only_people();
    beginning.ask_for_loop(1_006, "later", 1);
    for world in [calling, waiting, retrying, beginning, World::default()] {
        assert!(only_callbacks(&readers(world), ID).await.unwrap().is_empty());
    }
}

#[tokio::test]
async fn a_tree_holds_the_loops_and_the_children_that_are_open() {
    let tree = open_tree(&readers(only_people()), ID).await.unwrap();
    let keys: Vec<String> = tree.iter().map(|(key, _)| key.to_string()).collect();
    let expect =
        [format!("exec:{ID}"), format!("exec:{ID}:loop:each:101"), format!("exec:{CHILD}")];
    assert_eq!(keys, expect);
}

#[test]
fn times_read_as_dates() {
    #[rustfmt::skip]
    let cases = [
        (0,                 "1970-01-01T00:00:00Z"),
        (-1,                "1969-12-31T23:59:59.999Z"),
        (951_782_400_000,   "2000-02-29T00:00:00Z"),
        (1_709_251_199_000, "2024-02-29T23:59:59Z"),
        (1_735_689_600_001, "2025-01-01T00:00:00.001Z"),
        (4_107_542_400_000, "2100-03-01T00:00:00Z"),
        (NOON_MS,           "2026-03-01T12:00:00Z"),
    ];
    for (at_ms, expect) in cases {
        assert_eq!(utc(at_ms), expect);
    }
}
