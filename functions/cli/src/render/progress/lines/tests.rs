use engine_core::command::{CallSite, Command};
use engine_core::event::{Entry, Fact, Outcome, Parent, Status, ToolFailure};
use engine_core::ids::{AggregateKey, CommandId, EventId, ExecutionId};
use engine_core::payload::{LoopSummary, Payload};
use engine_core::playbook::{LoopMode, PlaybookRef};
use engine_core::state::{ExecutionState, LoopState, State, Unit};
use serde_json::Value;

use super::*;

const ID: ExecutionId = ExecutionId(7);
const RUN: EventId = EventId(70);

fn key(step: Option<&str>) -> AggregateKey {
    match step {
        None => AggregateKey::Execution(ID),
        Some(step) => AggregateKey::Loop { execution_id: ID, step: step.into(), event_id: RUN },
    }
}

fn loop_state(done: u64, failed: u64, closed: bool) -> LoopState {
    LoopState {
        playbook: PlaybookRef { path: String::new(), hash: String::new() },
        step: "each".into(),
        tool_kind: "noop".to_owned(),
        iterator: "item".to_owned(),
        mode: LoopMode::Sequential,
        collection_size: 10_000,
        collection: engine_core::payload::PayloadRef {
            uri: String::new(),
            sha256: String::new(),
            bytes: 0,
        },
        chunk_items: 1,
        max_in_flight: 1,
        frame_items_max: 1,
        frame_items: 1,
        fail_fast: false,
        timeout_ms: 0,
        opened_ms: 0,
        next: done,
        vars: None,
        depth: 0,
        pending: Vec::new(),
        failed,
        handled: 0,
        skipped: 0,
        errors: Vec::new(),
        signals: 0,
        stopped: false,
        closed,
        folded: 0,
    }
}

fn entry(at_ms: i64, facts: Vec<Fact>) -> Entry {
    let state = State::Loop(Box::new(loop_state(0, 0, false)));
    let (key, inputs) = (key(None), Vec::new());
    Entry { key, seq: 1, at_ms, event_id: RUN, inputs, facts, state }
}

fn loop_entry(at_ms: i64, state: LoopState) -> Entry {
    let state = State::Loop(Box::new(state));
    Entry { key: key(Some("each")), state, ..entry(at_ms, Vec::new()) }
}

fn entered(step: &str) -> Fact {
    Fact::StepEntered { step: step.into(), run: RUN, cause: None, args: BTreeMap::new() }
}

fn exited(step: &str, error: Option<ToolFailure>) -> Fact {
    let status = if error.is_some() { Status::Failed } else { Status::Completed };
    Fact::StepExited {
        run: RUN,
        step: step.into(),
        status,
        result: Payload::Inline(Value::Null),
        error,
    }
}

fn failure(message: &str) -> ToolFailure {
    ToolFailure { kind: "HTTPError".to_owned(), message: message.to_owned(), ..Default::default() }
}

fn lines(entries: &[Entry]) -> String {
    let lines = Lines::new(Vec::new(), Styles::plain());
    for entry in entries {
        lines.committed(entry);
    }
    String::from_utf8(lines.inner.into_inner().unwrap().out).unwrap()
}

#[test]
fn a_step_that_ends_is_one_line() {
    let entries = [
        entry(1_000, vec![entered("start")]),
        entry(1_012, vec![exited("start", None), entered("fetch")]),
        entry(2_512, vec![exited("fetch", Some(failure("503\nfrom \u{1b}[2Jthe server")))]),
    ];
    let expect = "✔ start  12 ms\n✘ fetch  1.5 s  HTTPError: 503…\n";
    assert_eq!(lines(&entries), expect);
}

#[test]
fn a_step_that_began_in_another_process_has_no_duration() {
    assert_eq!(lines(&[entry(1_000, vec![exited("start", None)])]), "✔ start\n");
}

#[test]
fn a_retry_says_why_and_when() {
    let answered = Fact::Answered {
        index: None,
        site: CallSite::Tool,
        run: RUN,
        step: "fetch".into(),
        command_id: CommandId("c".to_owned()),
        attempt: 1,
        worker: "w".to_owned(),
        outcome: Outcome {
            result: Payload::Inline(Value::Null),
            error: Some(failure("503")),
            started_ms: 0,
            duration_ms: 0,
            output: String::new(),
        },
    };
    let (step, command_id) = ("fetch".into(), CommandId("c".to_owned()));
    let retried =
        Fact::Retried { run: RUN, index: None, step, command_id, attempt: 1, delay_ms: 1_500 };
    let expect = "↻ fetch  attempt 1 failed, again in 1.5 s  HTTPError: 503\n";
    assert_eq!(lines(&[entry(1_000, vec![answered, retried])]), expect);
}

#[test]
fn a_long_call_is_told_as_it_says_it_and_not_at_all_if_it_says_nothing() {
    let progressed = |data: Value| {
        let report = Box::new(engine_core::event::Report {
            command_id: CommandId("7:copy:70".to_owned()),
            attempt: 1,
            index: None,
            number: 1,
            started_ms: 0,
            worker: "w".to_owned(),
            data,
        });
        Fact::Progressed { run: RUN, step: "copy".into(), report }
    };
    let rows = serde_json::json!({"rows": 5});
    let told = lines(&[
        entry(1_000, vec![entered("copy")]),
        entry(2_000, vec![progressed(Value::Null)]),
        entry(3_000, vec![progressed(rows)]),
    ]);
    assert_eq!(told, "… copy  {\"rows\":5}\n");
}

#[test]
fn a_child_stands_below_its_caller_and_waits_say_for_what() {
    let command = Command {
        id: CommandId("c".to_owned()),
        attempt: 1,
        reply_to: key(None),
        playbook: PlaybookRef { path: String::new(), hash: String::new() },
        step: "call".into(),
        tool_kind: "playbook".to_owned(),
        frame: None,
        site: CallSite::Tool,
        overrides: None,
        unit: None,
        vars: None,
        scope: Payload::Inline(Value::Null),
        not_before_ms: 0,
        timeout_ms: 0,
    };
    let unit = Some(Box::new(Unit { child: Some(ExecutionId(8)), ..Unit::default() }));
    let called = Fact::CommandIssued { run: RUN, command: Box::new(command), unit };
    let parent = Parent {
        key: key(None),
        command_id: CommandId("c".to_owned()),
        attempt: 1,
        waits: true,
        return_step: None,
        depth: 1,
    };
    let of_child = |entry: Entry| {
        let nothing = Payload::Inline(Value::Null);
        let reference = PlaybookRef { path: String::new(), hash: String::new() };
        let mut state = ExecutionState::begin(&reference, nothing, BTreeMap::new());
        state.parent = Some(parent.clone());
        let key = AggregateKey::Execution(ExecutionId(8));
        Entry { key, state: State::Execution(Box::new(state)), ..entry }
    };
    // Both runs have the same id: executions number theirs on their own.
    let skipped = Fact::StepExited {
        run: RUN,
        step: "never".into(),
        status: Status::Skipped,
        result: Payload::Inline(Value::Null),
        error: None,
    };
    let entries = [
        entry(1_000, vec![entered("call"), called]),
        of_child(entry(1_500, vec![entered("start")])),
        of_child(entry(1_600, vec![exited("start", None), skipped])),
        entry(2_000, vec![exited("call", None)]),
    ];
    let expect = "\
… call  runs execution 8
  ✔ start  100 ms
  – never  skipped
✔ call  1.0 s
";
    assert_eq!(lines(&entries), expect);
}

#[test]
fn a_long_loop_is_told_now_and_then_and_once_at_its_end() {
    let key = key(Some("each"));
    let summary = LoopSummary { key, total: 10_000, failed: 2 };
    let done = Fact::LoopDone { run: RUN, step: "each".into(), summary };
    let entries = [
        entry(0, vec![entered("each")]),
        loop_entry(1_000, loop_state(0, 0, false)),
        loop_entry(2_000, loop_state(1_000, 0, false)),
        loop_entry(6_000, loop_state(2_000, 0, false)),
        loop_entry(7_000, loop_state(3_000, 0, false)),
        loop_entry(11_500, loop_state(4_000, 2, false)),
        loop_entry(12_000, loop_state(10_000, 2, true)),
        entry(12_000, vec![done, exited("each", None)]),
    ];
    let expect = "\
… each  2 000 of 10 000 items
… each  4 000 of 10 000 items, 2 failed
✔ each  10 000 items, 2 failed  12.0 s
";
    assert_eq!(lines(&entries), expect);
}
