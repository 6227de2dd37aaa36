use std::sync::Arc;

use engine_core::state::Unit;

use super::*;
use crate::fixture::{ID, NoPayloads, World, failure};

fn readers(world: World) -> Readers {
    Readers { store: Arc::new(world), payloads: Arc::new(NoPayloads) }
}

async fn view(world: World) -> Value {
    execution_view(&readers(world), ID).await.unwrap().unwrap()
}

#[tokio::test]
async fn a_completed_execution_shows_every_step_in_the_order_of_finishing() {
    let mut world = World::default();
    world.begin(1_000);
    world.enter(1_000, "start");
    world.enter(1_001, "beside");
    world.exit(1_005, "beside", Ok(json!("b")));
    world.exit(1_010, "start", Ok(json!({"items": [1, 2]})));
    world.end(1_012);
    let expect = json!({
        "execution_id": "7000000000000000001",
        "path": "examples/world",
        "status": "COMPLETED",
        "result": {"items": [1, 2]},
        "order": ["beside", "start"],
        "steps": {
            "beside": {"status": "COMPLETED", "result": "b", "runs": 1},
            "start": {"status": "COMPLETED", "result": {"items": [1, 2]}, "runs": 1},
        },
        "duration_ms": 12,
        "events": 16,
    });
    assert_eq!(view(world).await, expect);
}

#[tokio::test]
async fn a_loop_step_shows_its_aggregate_in_index_order() {
    let mut world = World::default();
    world.begin(1_000);
    world.ask_for_loop(1_000, "each", 4);
    world.run_loop(1_001, "each", 0);
    world.answer(1_002, "each", 2, vec![Ok(json!("two")), Err(failure("ValueError", "bad"))]);
    world.answer(1_003, "each", 0, vec![Ok(json!("zero")), Ok(json!("one"))]);
    world.close_loop(1_004, "each");
    world.hear_loop(1_004, "each");
    world.end(1_005);
    let seen = view(world).await;
    let error = json!({"type": "ValueError", "message": "bad", "retryable": false});
    let aggregate = json!({
        "results": ["zero", "one", "two", {"status": "error", "error": error}],
        "stats": {"total": 4, "success": 3, "failed": 1},
    });
    let step = json!({"status": "COMPLETED", "result": aggregate, "runs": 4});
    assert_eq!(seen["steps"]["each"], step);
    assert_eq!(seen["result"], aggregate);
}

#[tokio::test]
async fn the_aggregate_is_the_one_that_templates_see() {
    let mut world = World::default();
    world.begin(1_000);
    world.ask_for_loop(1_000, "each", 3);
    world.run_loop(1_001, "each", 3);
    world.close_loop(1_004, "each");
    world.hear_loop(1_004, "each");
    let readers = readers(world);
    let execution = Execution::find(&readers, ID).await.unwrap().unwrap();
    let payload = execution.state.steps[&StepName::from("each")].result.as_ref().unwrap();
    let mut written = Vec::new();
    write_payload(&readers, payload, &mut written).await.unwrap();
    let written: Value = serde_json::from_slice(&written).unwrap();
    assert_eq!(written, load(&readers, payload).await.unwrap());
}

#[tokio::test]
async fn a_failed_execution_says_where_and_why() {
    let mut world = World::default();
    world.begin(1_000);
    world.enter(1_000, "fetch");
    world.exit(1_100, "fetch", Err(failure("HTTPError", "503 from the server")));
    let failed = Failure {
        step: Some("fetch".into()),
        line: 7,
        attempt: 2,
        index: None,
        error: failure("HTTPError", "503 from the server"),
    };
    world.finish(1_100, Some(failed));
    let seen = view(world).await;
    assert_eq!(seen["status"], "FAILED");
    assert_eq!(seen["steps"]["fetch"]["status"], "FAILED");
    assert_eq!(seen["error"]["step"], "fetch");
    assert_eq!(seen["error"]["message"], "503 from the server");
}

#[test]
fn an_error_is_flat_and_leaves_out_what_does_not_apply() {
    let error_of = |failure: &Failure| error(failure).to_string();
    let cause = failure("HTTPError", "no");
    let whole = Failure {
        step: Some("s".into()),
        line: 3,
        attempt: 2,
        index: Some(4),
        error: cause.clone(),
    };
    let expect = r#"{"step":"s","line":3,"index":4,"attempt":2,"type":"HTTPError","message":"no","retryable":false}"#;
    assert_eq!(error_of(&whole), expect);
    let bare = Failure { error: cause, ..Failure::default() };
    assert_eq!(error_of(&bare), r#"{"type":"HTTPError","message":"no","retryable":false}"#);
}

#[tokio::test]
async fn a_running_execution_has_no_result_yet() {
    let mut world = World::default();
    world.begin(1_000);
    world.enter(1_000, "start");
    let seen = view(world).await;
    assert_eq!(seen["status"], "RUNNING");
    assert_eq!(seen["result"], Value::Null);
    assert_eq!(seen["order"], json!([]));
    assert_eq!(seen["steps"]["start"]["status"], "RUNNING");
    assert!(seen.get("error").is_none());
}

#[tokio::test]
async fn an_open_loop_shows_how_far_it_is() {
    let mut world = World::default();
    world.begin(1_000);
    world.ask_for_loop(1_000, "each", 4);
    world.run_loop(1_001, "each", 0);
    world.answer(1_500, "each", 0, vec![Ok(json!(0)), Err(failure("ValueError", "bad"))]);
    let readers = readers(world);
    let execution = Execution::find(&readers, ID).await.unwrap().unwrap();
    assert_eq!(execution.duration_ms, 500);
    let count = LoopCount { total: 0, done: 2, failed: 1 };
    assert_eq!(execution.loops, BTreeMap::from([("each".into(), count)]));
    assert_eq!(execution_view(&readers, ID).await.unwrap().unwrap()["steps"]["each"]["runs"], 2);
}

#[tokio::test]
async fn the_first_failure_of_a_loop_is_found_with_its_place() {
    let mut world = World::default();
    world.begin(1_000);
    world.ask_for_loop(1_000, "each", 3);
    world.run_loop(1_001, "each", 2);
    world.answer(1_002, "each", 2, vec![Err(failure("ValueError", "bad"))]);
    world.close_loop(1_004, "each");
    world.hear_loop(1_004, "each");
    let readers = readers(world);
    let execution = Execution::find(&readers, ID).await.unwrap().unwrap();
    let Some(Payload::Loop(summary)) = &execution.state.steps[&StepName::from("each")].result
    else {
        panic!("a loop leaves its aggregate")
    };
    let found = first_failure(&readers, summary).await.unwrap();
    assert_eq!(found, Some((2, 1, failure("ValueError", "bad"))));
}

#[tokio::test]
async fn an_unknown_execution_has_no_view() {
    assert_eq!(execution_view(&readers(World::default()), ID).await.unwrap(), None);
}

#[tokio::test]
async fn durations_are_summed_over_the_runs_of_a_step() {
    let mut world = World::default();
    world.begin(1_000);
    for (entered, left) in [(1_000, 1_010), (1_020, 1_025)] {
        world.enter(entered, "start");
        world.exit(left, "start", Ok(Value::Null));
    }
    world.enter(1_030, "open");
    let durations = step_durations(&readers(world), ID).await.unwrap();
    assert_eq!(durations, BTreeMap::from([("start".into(), 15)]));
}

#[tokio::test]
async fn a_child_names_its_parent_and_a_waiting_step_its_reason() {
    let child = ExecutionId(77);
    let mut world = World::default();
    world.begin(1_000);
    world.begin_child(1_001, child);
    let unit = Unit { token: Some("t".to_owned()), ..Unit::default() };
    world.issue((1_002, child), "approve", "callback", (1, 0), Some(unit));
    let seen = execution_view(&readers(world), child).await.unwrap().unwrap();
    let expect = json!({
        "execution_id": "77",
        "parent_execution_id": "7000000000000000001",
        "path": "examples/world",
        "status": "RUNNING",
        "result": null,
        "order": [],
        "steps": {"approve": {"status": "RUNNING", "result": null, "runs": 0, "waiting": [
            {"for": "callback", "token": "t", "path": "/api/executions/77/callbacks/t", "until": null},
        ]}},
        "duration_ms": 1,
        "events": 3,
    });
    assert_eq!(seen, expect);
}

#[tokio::test]
async fn the_first_failed_iteration_of_several_calls_is_found_with_its_last_attempt() {
    let mut world = World::default();
    world.begin(1_000);
    world.ask_for_loop(1_000, "each", 1);
    world.run_loop(1_001, "each", 0);
    world.issue_iteration(1_002, "each", 0, &Unit::default());
    world.settle(1_003, "each", 0, failure("ValueError", "bad"));
    world.close_loop(1_004, "each");
    world.hear_loop(1_004, "each");
    let readers = readers(world);
    let execution = Execution::find(&readers, ID).await.unwrap().unwrap();
    let Some(Payload::Loop(summary)) = &execution.state.steps[&StepName::from("each")].result
    else {
        panic!("a loop leaves its aggregate")
    };
    let found = first_failure(&readers, summary).await.unwrap();
    assert_eq!(found, Some((0, 3, failure("ValueError", "bad"))));
}
