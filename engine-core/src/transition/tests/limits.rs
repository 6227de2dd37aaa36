//! What ends at a limit says which, and how to live within it.

use serde_json::json;

use super::{Bench, ID, NOOP, fine};
use crate::event::{Input, Status};
use crate::ids::AggregateKey;
use crate::limits::{
    ATTEMPTS_MAX, LOOP_IN_FLIGHT_MAX, LOOP_ITEMS_MAX, LOOP_UNITS_IN_FLIGHT_MAX, OPEN_RUNS_MAX,
    PAGES_DEFAULT, PAGES_MAX, TRANSITIONS_MAX, UNIT_CALLS_MAX, WAIT_MS_MAX,
};
use crate::state::{ExecutionState, LoopState, State, Unit};

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

const MAIN: AggregateKey = AggregateKey::Execution(ID);

impl Bench {
    /// Handles messages until only timers and answers that were held back are left.
    fn handle_all(&mut self) {
        while let Some(envelope) = self.queue.pop_front() {
            self.take(envelope);
        }
    }

    /// Changes the newest state, as if much had happened before it; replay no longer leads to it.
    fn pretend(&mut self, change: impl Fn(&mut ExecutionState)) {
        let last = self.logs.get_mut(&MAIN).unwrap().last_mut().unwrap();
        let State::Execution(state) = &mut last.state else { panic!("an execution") };
        change(state);
    }

    /// As [`Bench::pretend`], for the unit of the only run that is open.
    fn pretend_unit(&mut self, change: impl Fn(&mut Unit)) {
        self.pretend(|state| {
            let run = state.runs.values_mut().next().unwrap();
            change(run.unit.get_or_insert_default());
        });
    }

    fn pretend_loop(&mut self, change: impl Fn(&mut LoopState)) -> AggregateKey {
        let (key, log) = self.logs.iter_mut().find(|(key, _)| **key != MAIN).unwrap();
        let State::Loop(state) = &mut log.last_mut().unwrap().state else { panic!("a loop") };
        change(state);
        key.clone()
    }

    fn said(&self) -> String {
        let failure = self.state().failure.as_ref().unwrap();
        format!("{}: {}", failure.error.kind, failure.error.message)
    }
}

#[test]
fn too_many_inputs_of_an_execution_end_it() {
    let mut bench =
        Bench::begin("workflow:\n- { step: start, tool: { kind: callback } }\n", &json!({}), fine);
    bench.handle_all();
    bench.pretend(|state| state.folded = TRANSITIONS_MAX);
    bench.tell("at the limit", MAIN, Input::Tick);
    bench.handle_all();
    assert_eq!(bench.state().status, Status::Running);
    bench.pretend(|state| state.folded = TRANSITIONS_MAX + 1);
    bench.tell("above it", MAIN, Input::Tick);
    bench.handle_all();
    assert_eq!(bench.state().status, Status::Failed);
    assert!(bench.said().starts_with("LimitError: more than 10000000 inputs"), "{}", bench.said());
}

#[test]
fn too_many_inputs_of_a_loop_stop_it_and_fail_the_execution() {
    let mut bench = Bench::begin(
        &format!(
            "workflow:\n- step: start\n  loop: {{ in: [1, 2, 3], iterator: n }}\n  {NOOP}\n  next: b\n\
             - {{ step: b, {NOOP} }}\n"
        ),
        &json!({}),
        fine,
    );
    for _ in 0..2 {
        let next = bench.queue.pop_front().unwrap();
        bench.take(next);
    }
    let key = bench.pretend_loop(|state| state.folded = TRANSITIONS_MAX + 1);
    bench.tell("tick", key, Input::Tick);
    bench.queue.rotate_right(1);
    bench.drain();
    assert_eq!(bench.state().status, Status::Failed, "{}", bench.summary());
    assert!(!bench.state().steps.contains_key(&"b".into()), "a part of the results is no result");
    assert!(bench.said().contains("this looks like a runaway"), "{}", bench.said());
}

/// A step that asks for page after page, with its first call answered as if it were a later one.
fn on_page(retry: &str, change: impl Fn(&mut Unit)) -> Bench {
    let mut bench = Bench::begin(
        &format!(
            "workflow:\n- step: start\n  tool: {{ kind: http, url: x }}\n  case:\n  \
             - when: \"{{{{ event.name == 'call.done' }}}}\"\n    then: {{ retry: {retry} }}\n"
        ),
        &json!({}),
        fine,
    );
    let start = bench.queue.pop_front().unwrap();
    bench.take(start);
    bench.pretend_unit(change);
    bench
}

#[test]
fn a_unit_has_a_maximal_number_of_calls() {
    let params = "{ max_attempts: 9999, params: { n: '{{ _page }}' } }";
    let mut bench = on_page(params, |unit| unit.calls = UNIT_CALLS_MAX);
    bench.drain();
    assert_eq!(bench.commands.len(), 1);
    let expect = format!("LimitError: `start` has made {UNIT_CALLS_MAX} calls in one run");
    assert!(bench.said().starts_with(&expect), "{}", bench.said());
}

#[test]
fn pages_end_where_a_rule_says_and_nowhere_beyond_the_maximum() {
    let mut bench = on_page("{ params: { n: '{{ _page }}' } }", |_| {});
    bench.drain();
    assert_eq!(bench.commands.len(), PAGES_DEFAULT as usize);
    assert!(bench.said().contains("names no end"), "{}", bench.said());

    let mut bench = on_page("{ max_attempts: 7, params: { n: '{{ _page }}' } }", |_| {});
    bench.drain();
    assert_eq!(bench.summary(), "start:1:Completed Completed");
    assert_eq!(bench.commands.len(), 7);

    let many = "{ max_attempts: 999999999, params: { n: '{{ _page }}' } }";
    let mut bench = on_page(many, |unit| unit.page = PAGES_MAX - 1);
    bench.drain();
    assert_eq!(bench.summary(), "start:1:Completed Completed");
    assert_eq!(bench.commands.len(), 2, "one more page, the last");
}

#[test]
fn fewer_iterations_that_make_several_calls_may_be_out_at_once() {
    let mut bench = Bench::begin(
        "workflow:\n- step: start\n  loop: { in: \"{{ range(200) | list }}\", iterator: n, spec: \
         { mode: parallel, max_in_flight: 64 } }\n  tool: { kind: callback }\n",
        &json!({}),
        fine,
    );
    bench.handle_all();
    bench.prove();
    assert_eq!(bench.commands.len() as u64, LOOP_UNITS_IN_FLIGHT_MAX);
}

#[test]
fn nobody_waits_longer_than_a_year() {
    let wait = |tool: &str, seconds: u64| {
        let mut bench = Bench::begin(
            &format!("workload: {{ n: 0 }}\nworkflow:\n- step: start\n  tool: {{ {tool} }}\n"),
            &json!({"n": seconds}),
            fine,
        );
        bench.handle_all();
        bench.prove();
        let open = bench.state().runs.values().next();
        let until_ms = open.and_then(|run| run.unit.as_ref()?.until_ms);
        until_ms
            .map(|until_ms| u64::try_from(until_ms - bench.now_ms).unwrap())
            .ok_or_else(|| bench.said())
    };
    let year_s = WAIT_MS_MAX / 1_000;
    assert_eq!(wait("kind: wait, seconds: '{{ n }}'", year_s), Ok(WAIT_MS_MAX));
    let told = wait("kind: wait, seconds: '{{ n }}'", year_s + 1).unwrap_err();
    assert!(told.contains("longer than 365 days"), "{told}");
    assert_eq!(wait("kind: callback, timeout: '{{ n }}'", year_s + 1), Ok(WAIT_MS_MAX));
}
