//! Calls that the engine runs itself, from end to end: children, waits and callbacks, alone and in loops.

use serde_json::{Value, json};

use super::super::own::taken;
use super::super::pending::failed_outcome;
use super::{Bench, ID, NOOP, fine, playbook};
use crate::event::{Answer, Fact, Input, Status};
use crate::ids::{AggregateKey, ExecutionId};
use crate::limits::{CHILD_TIMEOUT_MS_DEFAULT, PLAYBOOK_DEPTH_MAX, RETRY_DELAY_MS_MAX};
use crate::payload::Payload;
use crate::state::State;

const MAIN: AggregateKey = AggregateKey::Execution(ID);

/// A bench that knows a playbook `child` besides its own.
fn bench(workflow: &str, child: &str, tool: super::Tool) -> Bench {
    let mut bench = Bench::begin(workflow, &json!({}), tool);
    bench.others.insert("child".to_owned(), playbook("child", child));
    bench
}

fn run(workflow: &str, child: &str, tool: super::Tool) -> Bench {
    let mut bench = bench(workflow, child, tool);
    bench.drain();
    bench.prove();
    bench
}

impl Bench {
    /// The executions besides the first, in the order of their ids.
    fn children(&self) -> Vec<ExecutionId> {
        let ids = self.logs.keys().filter_map(|key| match key {
            AggregateKey::Execution(id) if *id != ID => Some(*id),
            _ => None,
        });
        ids.collect()
    }

    /// Handles messages, and lets no timer ring.
    fn settle(&mut self) {
        while let Some(envelope) = self.queue.pop_front() {
            self.take(envelope);
        }
    }

    /// The tokens that have been given out.
    fn tokens(&self) -> Vec<(AggregateKey, String)> {
        let facts = self.logs.values().flatten().flat_map(|entry| &entry.facts);
        let units = facts.filter_map(|fact| match fact {
            Fact::CommandIssued { unit: Some(unit), .. } => unit.token.clone(),
            Fact::FrameIssued { unit: Some(unit), .. } => {
                self.load(unit)["token"].as_str().map(str::to_owned)
            }
            _ => None,
        });
        let tokens: Vec<String> = units.collect();
        let of = |token: &String| {
            let looped = token.contains('-');
            let mut keys = self.logs.keys();
            keys.find(|key| matches!(key, AggregateKey::Loop { .. }) == looped).cloned().unwrap()
        };
        tokens.into_iter().map(|token| (of(&token), token)).collect()
    }

    fn call_back(&mut self, to: &AggregateKey, token: &str, data: Value) {
        let input = Input::Callback { token: token.to_owned(), data: Payload::Inline(data) };
        self.tell(&format!("callback:{token}"), to.clone(), input);
        self.settle();
    }

    fn told(&self) -> String {
        let failure = self.state().failure.clone().unwrap();
        format!("{}: {}", failure.error.kind, failure.error.message)
    }
}

const ECHO: &str = "workload: { n: 0 }\nworkflow:\n- step: start\n  tool: { kind: noop }\n  case:\n  \
                    - when: \"{{ event.name == 'call.done' }}\"\n    then: { result: { from: \"{'n': workload.n, \
                    'by': execution_id}\" } }\n";

#[test]
fn d43_a_call_waits_for_its_child_and_has_its_result() {
    let bench = run(
        "workflow:\n- step: start\n  tool: { kind: playbook, path: child, args: { n: \"{{ 6 * 7 }}\" } }\n  \
         vars: { n: \"{{ start.result.n }}\", by: \"{{ start.execution_id }}\", how: \"{{ start.status }}\" }\n",
        ECHO,
        fine,
    );
    assert_eq!(bench.summary(), "start:1:Completed Completed", "{:#?}", bench.state().failure);
    let child = bench.children()[0];
    let vars = &bench.state().vars;
    assert_eq!(bench.load(&vars["n"]), json!(42));
    assert_eq!(bench.load(&vars["by"]), json!(child.to_string()));
    assert_eq!(bench.load(&vars["how"]), json!("completed"));
    assert_eq!(bench.state_of(child).parent.as_ref().unwrap().depth, 1);
    assert!(bench.commands.iter().all(|command| command.tool_kind != "playbook"));
}

#[test]
fn a_call_that_does_not_wait_goes_on_at_once() {
    let mut bench = bench(
        "workflow:\n- step: start\n  tool: { kind: playbook, path: child, wait: false }\n  next: b\n\
         - { step: b, tool: { kind: noop } }\n",
        "workflow:\n- { step: start, tool: { kind: wait, seconds: 3600 } }\n",
        fine,
    );
    bench.settle();
    assert_eq!(bench.summary(), "start:1:Completed b:1:Completed Completed");
    let result = bench.load(bench.state().steps[&"start".into()].result.as_ref().unwrap());
    assert_eq!((&result["status"], &result["async"]), (&json!("started"), &json!(true)));
    let child = bench.children()[0];
    assert_eq!(result["execution_id"], json!(child.to_string()));
    bench.drain();
    bench.prove();
    assert_eq!(bench.state_of(child).status, Status::Completed);
}

#[test]
fn iterations_call_children_within_their_window() {
    let bench = run(
        "workflow:\n- step: start\n  loop: { in: [1, 2, 3, 4, 5], iterator: i, mode: parallel, max_in_flight: 2 }\n  \
         tool: { kind: playbook, path: child, args: { n: \"{{ i }}\" } }\n",
        ECHO,
        fine,
    );
    assert_eq!(bench.summary(), "start:5:Completed Completed", "{:#?}", bench.state().failure);
    assert_eq!(bench.children().len(), 5);
    let settled = bench.logs.values().flatten().flat_map(|entry| &entry.facts);
    let mut told: Vec<u64> = settled
        .filter_map(|fact| match fact {
            Fact::IterationSettled { outcome, .. } => {
                bench.load(&outcome.result)["result"]["n"].as_u64()
            }
            _ => None,
        })
        .collect();
    told.sort_unstable();
    assert_eq!(told, [1, 2, 3, 4, 5]);
}

#[test]
fn a_child_that_fails_fails_its_call_and_each_try_is_another_execution() {
    let bench = run(
        "workflow:\n- step: start\n  tool: { kind: playbook, path: child }\n  case:\n  \
         - when: \"{{ event.name == 'call.error' }}\"\n    then: { retry: { max_attempts: 3 } }\n",
        "workflow:\n- { step: work, tool: { kind: noop } }\n- { step: start, tool: { kind: noop }, next: work }\n",
        |step, _, _| if step == "work" { Err("no") } else { Ok(json!(1)) },
    );
    assert_eq!(bench.children().len(), 3);
    let told = bench.told();
    assert!(told.starts_with("PlaybookError: playbook `child` (execution "), "{told}");
    assert!(told.ends_with("failed at step `work`: no"), "{told}");
}

#[test]
fn playbooks_that_call_themselves_stop_at_the_limit() {
    let call = "workflow:\n- { step: start, tool: { kind: playbook, path: child } }\n";
    let bench = run(call, call, fine);
    assert_eq!(bench.children().len(), PLAYBOOK_DEPTH_MAX as usize);
    assert!(bench.told().contains("calls itself has no way out"), "{}", bench.told());
}

const HANGS: &str = "workflow:\n- { step: start, tool: { kind: callback } }\n";

#[test]
fn whoever_stops_stops_the_children_that_it_waits_for() {
    let alone = "workflow:\n- { step: start, tool: { kind: playbook, path: child } }\n";
    let looped = "workflow:\n- step: start\n  loop: { in: [1, 2, 3], iterator: i, mode: parallel, max_in_flight: 2 }\n  \
                  tool: { kind: playbook, path: child }\n";
    for (workflow, children) in [(alone, 1), (looped, 2)] {
        let mut bench = bench(workflow, HANGS, fine);
        bench.settle();
        assert_eq!(bench.children().len(), children);
        bench.tell("cancel", MAIN, Input::Cancel { reason: "enough".to_owned() });
        bench.settle();
        bench.prove();
        for child in bench.children() {
            assert_eq!(bench.state_of(child).status, Status::Cancelled);
        }
        assert_eq!(bench.state().status, Status::Cancelled);
        for log in bench.logs.values() {
            if let State::Loop(state) = &log.last().unwrap().state {
                assert!(state.closed && state.next == 2, "{state:?}");
            }
        }
    }
}

#[test]
fn a_failure_beside_a_call_stops_the_child_and_then_ends_the_execution() {
    for slow in
        ["{ kind: playbook, path: child }", "{ kind: wait, seconds: 60 }", "{ kind: callback }"]
    {
        let mut bench = bench(
            &format!(
                "workflow:\n- {{ step: start, {NOOP}, next: [slow, bad] }}\n- {{ step: slow, tool: {slow} }}\n\
                 - {{ step: bad, {NOOP} }}\n"
            ),
            HANGS,
            |step, _, _| if step == "bad" { Err("no") } else { Ok(json!(1)) },
        );
        bench.settle();
        bench.prove();
        assert_eq!(bench.state().status, Status::Failed, "{slow}");
        assert_eq!(bench.told(), "Broken: no", "{slow}");
        for child in bench.children() {
            assert_eq!(bench.state_of(child).status, Status::Cancelled);
        }
    }
}

#[test]
fn a_stopped_loop_does_not_wait_for_what_nobody_answers() {
    let mut bench = bench(
        "workflow:\n- step: start\n  loop: { in: [0, 9], iterator: i, mode: parallel, \
         spec: { policy: { failure: { mode: fail_fast } } } }\n  tool: { kind: wait, seconds: \"{{ 10 / i }}\" }\n",
        HANGS,
        fine,
    );
    bench.settle();
    bench.prove();
    assert_eq!(bench.state().status, Status::Failed, "{:#?}", bench.logs);
}

#[test]
fn iterations_whose_call_cannot_be_rendered_fail_one_by_one() {
    let bench = run(
        "workflow:\n- step: start\n  loop: { in: [0, 9, 0], iterator: i }\n  \
         tool: { kind: wait, seconds: \"{{ 9 / i }}\" }\n",
        HANGS,
        fine,
    );
    assert_eq!(bench.summary(), "start:3:Completed Completed");
    let log = bench.logs.iter().find(|(key, _)| **key != MAIN).unwrap().1;
    let State::Loop(state) = &log.last().unwrap().state else { panic!("a loop was expected") };
    assert_eq!((state.failed, state.next), (2, 3));
}

#[test]
fn an_id_that_is_taken_is_tried_again() {
    let mut bench =
        bench("workflow:\n- { step: start, tool: { kind: playbook, path: child } }\n", ECHO, fine);
    let start = bench.queue.pop_front().unwrap();
    bench.take(start);
    let refused = bench.queue.pop_front().unwrap();
    let Input::Start(start) = &refused.input else { panic!("a start was expected") };
    let parent = start.parent.clone().unwrap();
    let answer = Answer {
        command_id: parent.command_id,
        attempt: parent.attempt,
        worker: "playbook".to_owned(),
        outcomes: vec![failed_outcome(taken(refused.to.execution_id()))],
        cut: false,
    };
    bench.tell("taken", parent.key, Input::Answer(answer));
    bench.drain();
    bench.prove();
    assert_eq!(bench.summary(), "start:1:Completed Completed");
    assert_ne!(bench.children(), [refused.to.execution_id()], "it has another id");
}

#[test]
fn a_child_that_takes_too_long_is_stopped_and_its_call_fails() {
    let alone = "workflow:\n- { step: start, tool: { kind: playbook, path: child } }\n";
    let looped = "workflow:\n- step: start\n  loop: { in: [1], iterator: i }\n  \
                  tool: { kind: playbook, path: child }\n";
    for workflow in [alone, looped] {
        let mut bench = bench(
            workflow,
            "workflow:\n- { step: start, tool: { kind: callback, timeout: 100h } }\n",
            fine,
        );
        bench.settle();
        let key = bench.logs.keys().find(|key| matches!(key, AggregateKey::Loop { .. }));
        let key = key.cloned().unwrap_or(MAIN);
        bench.now_ms += i64::try_from(CHILD_TIMEOUT_MS_DEFAULT).unwrap();
        bench.tell("early", key.clone(), Input::Tick);
        bench.settle();
        assert_eq!(bench.state().status, Status::Running);
        bench.now_ms += 700_000;
        bench.tell("late", key, Input::Tick);
        bench.settle();
        bench.prove();
        let told = bench.told();
        assert!(told.contains("did not end within the `timeout` of its call"), "{told}");
        assert_eq!(bench.state_of(bench.children()[0]).status, Status::Cancelled);
    }
}

#[test]
fn a_step_waits_as_long_as_it_says() {
    let bench =
        run("workflow:\n- { step: start, tool: { kind: wait, seconds: 2h } }\n", ECHO, fine);
    assert_eq!(bench.summary(), "start:1:Completed Completed");
    let result = bench.load(bench.state().steps[&"start".into()].result.as_ref().unwrap());
    assert_eq!(result["seconds"], 7_200);
    let rings = 7_200_000 / RETRY_DELAY_MS_MAX;
    assert_eq!(bench.commands.len() as u64, rings, "no queue holds a message longer");

    let bench = run(
        "workflow:\n- step: start\n  loop: { in: [1, 2], iterator: i }\n  tool: { kind: wait, seconds: \"{{ i }}\" }\n",
        ECHO,
        fine,
    );
    assert_eq!(bench.summary(), "start:2:Completed Completed");
}

#[test]
fn a_callback_is_the_result_of_the_step_that_waits_for_it() {
    let mut bench = bench(
        "workflow:\n- { step: start, tool: { kind: callback }, vars: { said: \"{{ start.answer }}\" } }\n",
        ECHO,
        fine,
    );
    bench.settle();
    let (key, token) = bench.tokens().pop().unwrap();
    bench.call_back(&key, "guess", json!({"answer": "no"}));
    assert_eq!(bench.state().status, Status::Running, "a wrong token is not heard");
    bench.call_back(&key, &token, json!({"answer": "yes"}));
    assert_eq!(bench.summary(), "start:1:Completed Completed");
    assert_eq!(bench.load(&bench.state().vars["said"]), json!("yes"));
    bench.drain();
    bench.prove();
}

#[test]
fn callbacks_of_iterations_find_theirs() {
    let mut bench = bench(
        "workflow:\n- step: start\n  loop: { in: [1, 2, 3], iterator: i, mode: parallel }\n  tool: { kind: callback }\n",
        ECHO,
        fine,
    );
    bench.settle();
    let mut tokens = bench.tokens();
    tokens.sort();
    assert_eq!(tokens.len(), 3);
    for (key, token) in tokens.iter().rev() {
        bench.call_back(key, &token.replace(|c: char| c.is_ascii_hexdigit(), "0"), json!("no"));
        let index = token.rsplit('-').next().unwrap().to_owned();
        bench.call_back(key, token, json!({"index": index}));
        bench.call_back(key, token, json!("twice"));
    }
    assert_eq!(bench.summary(), "start:3:Completed Completed", "{:#?}", bench.state().failure);
    for fact in bench.logs.values().flatten().flat_map(|entry| &entry.facts) {
        if let Fact::IterationSettled { index, outcome, .. } = fact {
            assert_eq!(bench.load(&outcome.result)["index"], json!(index.to_string()));
        }
    }
    bench.drain();
    bench.prove();
}

#[test]
fn a_callback_that_nobody_sends_is_a_failure_that_says_how() {
    let bench =
        run("workflow:\n- { step: start, tool: { kind: callback, timeout: 20m } }\n", ECHO, fine);
    let told = bench.told();
    assert!(told.starts_with("TimeoutError: nobody answered within 1200 s"), "{told}");
}
