use api::waiting::Waiting;
use engine_core::event::ToolFailure;
use engine_core::ids::ExecutionId;
use engine_core::payload::Payload;
use engine_core::playbook::PlaybookRef;
use engine_core::state::ExecutionState;
use serde_json::json;

use super::*;

fn step(order: u64, runs: u64, status: Status) -> StepState {
    StepState { status, runs, visits: 1, order, result: None }
}

fn wait(index: Option<u64>) -> Wait {
    Wait { step: "pause".into(), index, what: Waiting::Time { until_ms: 1_772_366_400_000 } }
}

#[test]
fn a_summary_lists_the_steps_as_they_finished() {
    let reference = PlaybookRef { path: "examples/x".to_owned(), hash: String::new() };
    let nothing = Payload::Inline(Value::Null);
    let mut state = ExecutionState::begin(&reference, nothing.clone(), BTreeMap::new());
    state.status = Status::Failed;
    state.steps = BTreeMap::from([
        ("start".into(), step(1, 1, Status::Completed)),
        ("each".into(), step(2, 1_000, Status::Completed)),
        ("broken".into(), step(3, 1, Status::Failed)),
        ("open".into(), step(0, 87, Status::Running)),
        ("never".into(), step(4, 0, Status::Skipped)),
        ("pause".into(), step(0, 0, Status::Running)),
    ]);
    let execution = Execution {
        execution_id: ExecutionId(42),
        state: Box::new(state),
        result: nothing,
        failure: None,
        started_ms: 0,
        duration_ms: 1_250,
        loops: BTreeMap::from([("open".into(), LoopCount { total: 200, done: 87, failed: 2 })]),
        waits: vec![wait(None), wait(Some(3))],
    };
    let durations =
        BTreeMap::from([("start".into(), 3), ("each".into(), 1_200), ("broken".into(), 47)]);
    let expect = "\
✘ FAILED examples/x in 1.2 s  execution 42
  step     runs   time
  start       1   3 ms  ✔
  each    1 000  1.2 s  ✔
  broken      1  47 ms  ✘
  never       0         –
  open       87         … of 200 2 failed
  pause       0         … waits until 2026-03-01T12:00:00Z and 1 more
";
    assert_eq!(summary(&execution, &durations, &Styles::plain()), expect);
}

#[test]
fn a_long_result_is_cut_to_a_screenful() {
    assert_eq!(result(&json!({"a": 1})), "  {\n    \"a\": 1\n  }");
    let shown = result(&json!((0..100).collect::<Vec<_>>()));
    assert_eq!(shown.lines().count(), RESULT_LINES);
    assert!(shown.ends_with("  … 79 more lines"), "{shown}");
    let wide = result(&json!("ü".repeat(500)));
    assert!(wide.chars().count() < 200 && wide.ends_with('…'), "{wide}");
}

fn error() -> ToolFailure {
    ToolFailure {
        kind: "ValueError".to_owned(),
        message: "bad \u{1b}[2Jinput".to_owned(),
        traceback: Some("line 3, in main\n    raise ValueError".to_owned()),
        ..ToolFailure::default()
    }
}

#[test]
fn failed_iterations_are_told_in_the_words_of_their_loop() {
    let errors = ["[2] ValueError: bad\u{1b}".to_owned(), "[7] OSError: gone".to_owned()];
    let expect = "  \
9 failed iterations of `each`, first of all:
    [2] ValueError: bad
    [7] OSError: gone
";
    assert_eq!(iterations(&"each".into(), 9, &errors), expect);
}

#[test]
fn a_failure_shows_the_place_the_words_and_the_traceback() {
    let text = "workflow:\n  - step: start\n  - step: fetch\n    tool: {kind: python}\n";
    let source = Source { name: "play.yaml".to_owned(), text: text.to_owned() };
    let failed =
        Failure { step: Some("fetch".into()), line: 3, attempt: 2, index: Some(4), error: error() };
    let shown = failure(&failed, Some(&source), false);
    let expect = "  \
× step `fetch`, iteration 4, attempt 2: ValueError: bad [2Jinput
   ╭─[play.yaml:3:3]
 2 │   - step: start
 3 │   - step: fetch
   ·   ──────┬──────
   ·         ╰── this step
 4 │     tool: {kind: python}
   ╰────
  traceback:
    line 3, in main
        raise ValueError
";
    assert_eq!(shown, expect);
    let placed = ToolFailure { message: "no (step `fetch`, line 3)".to_owned(), ..error() };
    let placed = Failure { error: placed, ..failed.clone() };
    assert_eq!(describe(&placed), "ValueError: no (step `fetch`, line 3)");
    let bare = Failure { step: None, line: 0, attempt: 0, index: None, ..failed };
    let shown = failure(&bare, Some(&source), false);
    assert!(shown.starts_with("  × ValueError: bad"), "{shown}");
}
