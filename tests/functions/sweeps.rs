//! Ticks for what may have been forgotten.

use std::sync::Arc;

use adapters::clock::ManualClock;
use engine_core::ids::ExecutionId;
use engine_core::limits::TICK_INTERVAL_MS;
use serde_json::json;

use crate::stack::{call, stack_at};

/// 2026-01-01T00:00:00Z.
const START_MS: i64 = 1_767_225_600_000;

#[tokio::test(flavor = "multi_thread")]
async fn a_sweep_ticks_what_is_quiet_and_leaves_the_rest_alone() {
    let clock = Arc::new(ManualClock::new(START_MS));
    let stack = stack_at(clock.clone()).await;
    let (handler, sweeper) = (stack.event_handler().await, stack.sweeper().await);
    let mut ids = Vec::new();
    for _ in 0..3 {
        let started = call(&handler, json!({"path": "tests/one"})).await;
        ids.push(started["execution_id"].as_str().unwrap().parse::<ExecutionId>().unwrap());
    }
    stack.fold_all(&handler).await;
    let schedule = json!({"source": "aws.events"});
    let swept = call(&sweeper, schedule.clone()).await;
    let expect = json!({"executions": 3, "ticks": 0, "failed": 0, "is_cut": false});
    assert_eq!(swept, expect);

    clock.advance(TICK_INTERVAL_MS);
    let swept = call(&sweeper, schedule.clone()).await;
    assert_eq!((&swept["executions"], &swept["ticks"]), (&json!(3), &json!(3)));
    let mut ticked: Vec<String> = Vec::new();
    while ticked.len() < 3 {
        let batch = stack.received().await;
        assert!(!batch.is_empty(), "{ticked:?}");
        for one in &batch {
            ticked.extend(one.record.group.clone());
            stack.aws.events.delete(&one.receipt).await.unwrap();
        }
    }
    ticked.sort();
    let mut expect: Vec<String> = ids.iter().map(|id| format!("exec:{id}")).collect();
    expect.sort();
    assert_eq!(ticked, expect);
}
