//! What ends at a limit says which, and how to live within it.

use serde_json::json;

use super::{Bench, NOOP, fine};
use crate::event::Status;
use crate::limits::{ATTEMPTS_MAX, LOOP_IN_FLIGHT_MAX, LOOP_ITEMS_MAX, OPEN_RUNS_MAX};
use crate::state::State;

fn failure(workflow: &str) -> String {
    let bench = Bench::run(workflow, &json!({}), fine);
    bench.prove();
    let state = bench.state();
    assert_eq!(state.status, Status::Failed);
    let failure = state.failure.as_ref().unwrap();
    format!("{}: {}", failure.error.kind, failure.error.message)
}

#[test]
fn too_many_open_steps_end_the_execution_with_the_cure() {
    let names: Vec<String> = (0..=OPEN_RUNS_MAX).map(|n| format!("s{n}")).collect();
    let steps = names.iter().map(|name| format!("- {{ step: {name}, {NOOP} }}\n"));
    let steps: String = steps.collect();
    let error = failure(&format!(
        "workflow:\n- {{ step: start, {NOOP}, next: [{}] }}\n{steps}",
        names.join(", ")
    ));
    assert!(error.contains("LimitError") && error.contains("loop with a window"), "{error}");
}

#[test]
fn too_many_items_end_the_execution_with_the_cure() {
    let error = super::super::collection::too_many(&"start".into(), LOOP_ITEMS_MAX + 1);
    let super::super::Trouble::Failed(error) = error else { panic!("a failure was expected") };
    assert!(error.message.contains("split it"), "{}", error.message);
}

#[test]
fn a_window_and_a_number_of_attempts_have_a_maximum() {
    let bench = Bench::run(
        &format!(
            "workflow:\n- step: start\n  loop: {{ in: \"{{{{ range(500) | list }}}}\", iterator: n, spec: \
             {{ mode: parallel, max_in_flight: \"{{{{ 10 * 1000 }}}}\" }} }}\n  {NOOP}\n  case:\n  \
             - when: \"{{{{ event.name == 'call.error' }}}}\"\n    then: {{ retry: {{ max_attempts: 9999 }} }}\n"
        ),
        &json!({}),
        |_, index, _| if index == 7 { Err("never") } else { Ok(json!(1)) },
    );
    bench.prove();
    let tries = bench
        .commands
        .iter()
        .filter(|command| command.frame.as_ref().is_some_and(|frame| frame.first == 7));
    assert_eq!(tries.count(), ATTEMPTS_MAX as usize);
    for entry in bench.logs.values().flatten() {
        if let State::Loop(state) = &entry.state {
            assert!(state.pending.len() as u64 <= LOOP_IN_FLIGHT_MAX);
        }
    }
}
