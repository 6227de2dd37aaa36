//! Reports of progress: one event each while the call is awaited, and no other consequence.

use serde_json::{Value, json};

use super::super::transition;
use super::{Bench, ID, Moment, NOOP, fine};
use crate::command::Command;
use crate::event::{Envelope, Fact, IgnoreReason, Input, Report};
use crate::ids::AggregateKey;
use crate::limits::PROGRESS_BYTES_MAX;
use crate::project::expand;
use crate::state::State;
use crate::template::Loaded;

const MAIN: AggregateKey = AggregateKey::Execution(ID);

/// An execution, or the loop in it, whose first command is out.
fn waiting(is_loop: bool) -> (Bench, Command) {
    let looping = if is_loop { "\n  loop: { in: [1, 2], iterator: n }" } else { "" };
    let workflow = format!("workflow:\n- step: start{looping}\n  {NOOP}\n");
    let mut bench = Bench::begin(&workflow, &json!({}), fine);
    while bench.commands.is_empty() {
        let next = bench.queue.pop_front().unwrap();
        bench.take(next);
    }
    let command = bench.commands[0].clone();
    (bench, command)
}

fn report(command: &Command, data: Value) -> Report {
    Report {
        command_id: command.id.clone(),
        attempt: command.attempt,
        index: command.frame.as_ref().map(|frame| frame.first),
        number: 1,
        started_ms: 3,
        worker: "w".to_owned(),
        data,
    }
}

fn envelope(to: AggregateKey, report: Report) -> Envelope {
    Envelope { id: "p".into(), to, input: Input::Progress(report) }
}

/// Why an aggregate ignores a report, as it stands.
fn ignored(bench: &Bench, to: &AggregateKey, report: Report) -> Option<IgnoreReason> {
    let moment = Moment {
        playbook: &bench.playbook,
        key: to,
        seq: 9,
        at_ms: bench.now_ms,
        event_id: 1_000,
        nonce: 0,
        playbooks: &std::collections::BTreeMap::new(),
    };
    let state = bench.logs[to].last().map(|entry| &entry.state);
    let inputs = [envelope(to.clone(), report)];
    let decided = transition(&moment, state, &inputs, &Loaded::default().into()).unwrap().unwrap();
    assert_eq!(decided.facts.is_empty(), !decided.ignored.is_empty());
    decided.ignored.first().map(|(_, reason)| *reason)
}

#[test]
fn a_report_is_one_event_and_leaves_the_state_alone() {
    for is_loop in [false, true] {
        let (mut bench, command) = waiting(is_loop);
        let key = command.reply_to.clone();
        let before = bench.logs[&key].last().unwrap().state.clone();
        bench.take(envelope(key.clone(), report(&command, json!({"rows": 5}))));
        let entry = bench.logs[&key].last().unwrap();
        let events = expand(entry);
        assert_eq!(events.len(), 1, "{events:?}");
        assert_eq!((events[0].event_type, events[0].status), ("command.progress", "RUNNING"));
        assert_eq!(events[0].result, json!({"rows": 5}));
        assert_eq!(events[0].current_index, is_loop.then_some(0));
        let told = json!({
            "command_id": command.id, "attempt": 1, "worker_id": "w", "number": 1, "started_ms": 3,
        });
        assert_eq!(events[0].meta, told);
        let mut after = entry.state.clone();
        match &mut after {
            State::Execution(state) => state.folded -= 1,
            State::Loop(state) => state.folded -= 1,
        }
        assert_eq!(after, before);
        bench.drain();
        bench.prove();
        assert!(bench.summary().ends_with("Completed Completed"), "{}", bench.summary());
    }
}

#[test]
fn a_report_that_nobody_waits_for_is_ignored() {
    for is_loop in [false, true] {
        let (mut bench, command) = waiting(is_loop);
        let key = command.reply_to.clone();
        let right = report(&command, Value::Null);
        let stale = Report { attempt: 2, ..right.clone() };
        let id = format!("{}/2", command.id).into();
        let other_call = Report { command_id: id, ..right.clone() };
        let foreign = Report { command_id: "elsewhere".into(), ..right.clone() };
        let beyond = Report { index: Some(7), ..right.clone() };
        #[rustfmt::skip]
        let cases = [
            (right.clone(), None),
            (stale,         Some(IgnoreReason::StaleAttempt)),
            (other_call,    Some(IgnoreReason::Duplicate)),
            (foreign,       Some(IgnoreReason::Unknown)),
            (beyond,        is_loop.then_some(IgnoreReason::Unknown)),
        ];
        for (report, expect) in cases {
            assert_eq!(ignored(&bench, &key, report.clone()), expect, "{report:?}");
        }
        bench.drain();
        for key in [&key, &MAIN] {
            let reason = ignored(&bench, key, right.clone());
            assert_eq!(reason, Some(IgnoreReason::Terminal), "{key}");
        }
    }
}

#[test]
fn a_report_that_is_too_large_says_only_that_the_call_runs() {
    let (mut bench, command) = waiting(false);
    bench.take(envelope(MAIN, report(&command, json!("x".repeat(PROGRESS_BYTES_MAX)))));
    let entry = bench.logs[&MAIN].last().unwrap();
    let Fact::Progressed { report, .. } = &entry.facts[0] else { panic!("{:?}", entry.facts) };
    assert!(report.data.is_null());
}
