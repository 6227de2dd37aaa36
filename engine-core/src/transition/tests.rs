//! The decisions, asked through the front door: a playbook, an answering tool, the log that follows.

mod bad_input;
mod calls;
mod decisions;
mod ending;
mod limits;
mod own;
mod progress;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use serde_json::{Map, Value, json};

use super::{Moment, Needs, transition};
use crate::command::Command;
use crate::driver::outbox;
use crate::event::{Answer, Entry, Envelope, Fact, Input, Outcome, Start, Status, ToolFailure};
use crate::ids::{AggregateKey, EventId, ExecutionId, InputId};
use crate::limits::LOOP_STATE_BYTES_MAX;
use crate::payload::{Part, Payload};
use crate::playbook::Playbook;
use crate::playbook::parse::parse;
use crate::project::{event_span, expand, expanded_len};
use crate::state::State;
use crate::template::Loaded;

/// What the tool says to an iteration (0 for a plain step) of a step's attempt.
type Tool = fn(step: &str, index: u64, attempt: u32) -> Result<Value, &'static str>;

/// What a tool says that looks at its whole command.
type Caller = fn(command: &Command, index: u64) -> Result<Value, &'static str>;

/// Runs everything at once and in order, and keeps every entry.
struct Bench {
    playbook: Playbook,
    /// Playbooks that can be called.
    others: BTreeMap<String, Playbook>,
    tool: Tool,
    caller: Option<Caller>,
    logs: BTreeMap<AggregateKey, Vec<Entry>>,
    blobs: BTreeMap<String, Value>,
    queue: VecDeque<Envelope>,
    commands: Vec<Command>,
    /// Timers that have not rung.
    timers: BTreeMap<i64, Vec<Command>>,
    now_ms: i64,
    /// How often each answer arrives.
    copies: usize,
    /// Iterations of a frame that a worker has time for.
    lasts: usize,
}

const ID: ExecutionId = ExecutionId(7);
const BEGINNING_MS: i64 = 1_000_000;

fn playbook(name: &str, workflow: &str) -> Playbook {
    let head = format!("apiVersion: noetl.io/v2\nkind: Playbook\nmetadata: {{ name: {name} }}\n");
    let parsed = parse(&format!("{head}{workflow}"));
    let Some(playbook) = parsed.playbook else { panic!("{:#?}", parsed.diagnostics) };
    playbook
}

mod frames;
mod units;

impl Bench {
    fn run(workflow: &str, payload: &Value, tool: Tool) -> Self {
        let mut bench = Self::begin(workflow, payload, tool);
        bench.drain();
        bench
    }

    fn begin(workflow: &str, payload: &Value, tool: Tool) -> Self {
        Self::begin_with(playbook("t", workflow), payload, tool)
    }

    fn begin_with(playbook: Playbook, payload: &Value, tool: Tool) -> Self {
        let (logs, blobs, commands) = (BTreeMap::new(), BTreeMap::new(), Vec::new());
        let (queue, copies, timers) = (VecDeque::new(), 1, BTreeMap::new());
        let lasts = usize::MAX;
        let (others, now_ms, caller) = (BTreeMap::new(), BEGINNING_MS, None);
        let mut bench = Self {
            playbook,
            others,
            tool,
            caller,
            logs,
            blobs,
            queue,
            commands,
            timers,
            now_ms,
            copies,
            lasts,
        };
        let payload = payload.as_object().cloned().unwrap_or_else(Map::new);
        let start = Start { playbook: bench.playbook.reference.clone(), payload, parent: None };
        let (id, to) = (InputId::from("start"), AggregateKey::Execution(ID));
        bench.queue.push_back(Envelope { id, to, input: Input::Start(start) });
        bench
    }

    /// Until nothing is left to do, not even to wait for.
    fn drain(&mut self) {
        loop {
            while let Some(envelope) = self.queue.pop_front() {
                self.take(envelope);
            }
            let Some((due_ms, commands)) = self.timers.pop_first() else { return };
            self.now_ms = self.now_ms.max(due_ms);
            for command in commands {
                self.answer(&command);
            }
        }
    }

    fn tell(&mut self, id: &str, to: AggregateKey, input: Input) {
        self.queue.push_back(Envelope { id: id.into(), to, input });
    }

    /// The playbook that an aggregate runs.
    fn runs(&self, before: Option<&State>, envelope: &Envelope) -> Playbook {
        let path = match (before, &envelope.input) {
            (Some(State::Execution(state)), _) => &state.playbook.path,
            (Some(State::Loop(state)), _) => &state.playbook.path,
            (None, Input::Start(start)) => &start.playbook.path,
            (None, Input::LoopOpen(open)) => &open.playbook.path,
            (None, _) => return self.playbook.clone(),
        };
        self.others.get(path).unwrap_or(&self.playbook).clone()
    }

    fn take(&mut self, envelope: Envelope) {
        let key = envelope.to.clone();
        let log = self.logs.entry(key.clone()).or_default();
        let seq = log.len() as u64 + 1;
        let before = log.last().map(|entry| entry.state.clone());
        let event_id = log
            .last()
            .map_or(1, |entry| entry.event_id.0 + i64::try_from(event_span(&entry.facts)).unwrap());
        self.now_ms += 1;
        let at_ms = self.now_ms;
        let playbook = self.runs(before.as_ref(), &envelope);
        let mut playbooks = BTreeMap::new();
        let mut loaded = Arc::new(Loaded::default());
        let decided = loop {
            let moment = Moment {
                playbook: &playbook,
                key: &key,
                seq,
                at_ms,
                event_id,
                nonce: 0,
                playbooks: &playbooks,
            };
            match transition(&moment, before.as_ref(), std::slice::from_ref(&envelope), &loaded) {
                Ok(decided) => break decided,
                Err(Needs { payloads, paths }) => {
                    for payload in payloads {
                        let value = self.load(&payload);
                        Arc::make_mut(&mut loaded).insert(&payload, &value);
                    }
                    for path in paths {
                        let newest = self.others.get(&path);
                        let newest = newest.map(|playbook| playbook.reference.clone());
                        playbooks.insert(path, newest);
                    }
                }
            }
        };
        let Some(decided) = decided.filter(|decided| !decided.facts.is_empty()) else { return };
        for blob in decided.blobs {
            let value = serde_json::from_slice(&blob.bytes).unwrap();
            self.blobs.insert(blob.reference.uri, value);
        }
        let entry = Entry {
            key: key.clone(),
            seq,
            at_ms,
            event_id: EventId(event_id),
            inputs: vec![envelope.id],
            facts: decided.facts,
            state: decided.state,
        };
        let out = outbox(&entry);
        self.logs.entry(key).or_default().push(entry);
        self.queue.extend(out.envelopes);
        for command in out.commands {
            if ["wait", "callback"].contains(&command.tool_kind.as_str()) {
                self.timers.entry(command.not_before_ms).or_default().push(command.clone());
            } else {
                self.answer(&command);
            }
            self.commands.push(command);
        }
    }

    fn answer(&mut self, command: &Command) {
        let range = command.frame.as_ref().map_or(0..1, |f| f.first..f.first + u64::from(f.len));
        let is_cut = range.clone().nth(self.lasts).is_some();
        let outcomes = range.take(self.lasts).map(|index| {
            let said = match self.caller {
                Some(caller) => caller(command, index),
                None => (self.tool)(command.step.as_str(), index, command.attempt),
            };
            let error = said.as_ref().err().map(|text| ToolFailure {
                kind: "Broken".to_owned(),
                message: (*text).to_owned(),
                ..ToolFailure::default()
            });
            let result = Payload::Inline(said.unwrap_or(Value::Null));
            Outcome { result, error, started_ms: 0, duration_ms: 0, output: String::new() }
        });
        let answer = Answer {
            command_id: command.id.clone(),
            attempt: command.attempt,
            worker: "w".to_owned(),
            outcomes: outcomes.collect(),
            cut: is_cut,
        };
        let id = InputId(format!("{}.{}", command.id, command.attempt));
        let (to, input) = (command.reply_to.clone(), Input::Answer(answer));
        let envelope = Envelope { id, to, input };
        self.queue.extend(std::iter::repeat_n(envelope, self.copies));
    }

    fn load(&self, payload: &Payload) -> Value {
        match payload {
            Payload::Inline(value) => value.clone(),
            Payload::Ref(reference) => self.blobs[&reference.uri].clone(),
            Payload::Log { key, seq, fact, item } => {
                let entry = &self.logs[key][usize::try_from(*seq).unwrap() - 1];
                self.load(entry.payload(*fact, *item).unwrap())
            }
            Payload::Loop(summary) => json!({"results": [], "stats": summary.stats()}),
            Payload::List(list) => Value::Array(self.items(&list.parts)),
            Payload::Pages(pages) => {
                let items = self.load(&pages.items);
                if pages.envelope {
                    return json!({"data": items, "meta": {"iterations": pages.count}});
                }
                let mut last = self.load(&pages.last);
                last["_all_collected_items"] = items;
                last
            }
        }
    }

    fn items(&self, parts: &[Part]) -> Vec<Value> {
        let each = parts.iter().flat_map(|part| match part {
            Part::Item(payload) => vec![self.load(payload)],
            Part::Items(payload) => self.load(payload).as_array().cloned().unwrap_or_default(),
            Part::Stored { parts, .. } => {
                let stored = self.load(&Payload::Ref(parts.clone()));
                self.items(&serde_json::from_value::<Vec<Part>>(stored).unwrap())
            }
        });
        each.collect()
    }

    fn state(&self) -> &crate::state::ExecutionState {
        self.state_of(ID)
    }

    fn state_of(&self, id: ExecutionId) -> &crate::state::ExecutionState {
        match &self.logs[&AggregateKey::Execution(id)].last().unwrap().state {
            State::Execution(state) => state,
            State::Loop(_) => panic!("an execution was expected"),
        }
    }

    /// `step:runs:status` of every step, in the order of first finish; then how it ended.
    fn summary(&self) -> String {
        let state = self.state();
        let mut steps: Vec<_> = state.steps.iter().collect();
        steps.sort_by_key(|(_, step)| step.order);
        let mut shown: Vec<String> = steps
            .iter()
            .map(|(name, step)| format!("{name}:{}:{:?}", step.runs, step.status))
            .collect();
        shown.push(format!("{:?}", state.status));
        shown.join(" ")
    }

    /// What holds for every run: replay, bounds, ids.
    fn prove(&self) {
        for (key, log) in &self.logs {
            let replayed = State::replay(log);
            assert_eq!(replayed.as_ref(), log.last().map(|entry| &entry.state), "{key}");
            let mut last = 0;
            for entry in log {
                let events = expand(entry);
                assert_eq!(events.len(), expanded_len(&entry.facts), "{:#?}", entry.facts);
                for event in events {
                    assert!(event.event_id.0 > last, "ids ascend");
                    last = event.event_id.0;
                }
                if matches!(entry.state, State::Loop(_)) {
                    let bytes = serde_json::to_string(&entry.state).unwrap().len();
                    assert!(bytes <= LOOP_STATE_BYTES_MAX, "{bytes} bytes of loop state");
                }
            }
        }
    }
}

#[expect(clippy::unnecessary_wraps, reason = "every tool of these tests has one shape")]
fn fine(_: &str, index: u64, _: u32) -> Result<Value, &'static str> {
    Ok(json!({"n": index}))
}

fn broken(_: &str, _: u64, _: u32) -> Result<Value, &'static str> {
    Err("no")
}

fn third_time(_: &str, _: u64, attempt: u32) -> Result<Value, &'static str> {
    if attempt < 3 { Err("not yet") } else { Ok(json!({"attempt": attempt})) }
}

fn start_breaks(step: &str, _: u64, _: u32) -> Result<Value, &'static str> {
    if step == "start" { Err("no") } else { Ok(json!(1)) }
}

const NOOP: &str = "tool: { kind: noop }";

/// What it is, the workflow, the tool, and how it ends.
type Case = (&'static str, String, Tool, &'static str);

fn check(cases: Vec<Case>) {
    for (name, workflow, tool, expect) in cases {
        let bench = Bench::run(&workflow, &json!({}), tool);
        assert_eq!(bench.summary(), expect, "{name}\n{:#?}", bench.state().failure);
        bench.prove();
    }
}

#[test]
fn chains_and_fan_out_end_when_nothing_is_open() {
    check(vec![
        (
            "a chain runs in order",
            format!(
                "workflow:\n- {{ step: start, {NOOP}, next: b }}\n- {{ step: b, {NOOP}, next: end }}\n"
            ),
            fine,
            "start:1:Completed b:1:Completed Completed",
        ),
        (
            "fan-out runs all, and the same step once per arrival",
            format!(
                "workflow:\n- {{ step: start, {NOOP}, next: [a, b] }}\n- {{ step: a, {NOOP}, next: c }}\n\
                 - {{ step: b, {NOOP}, next: c }}\n- {{ step: c, {NOOP} }}\n"
            ),
            fine,
            "start:1:Completed a:1:Completed b:1:Completed c:2:Completed Completed",
        ),
    ]);
}

#[test]
fn failures_end_continue_route_or_are_tried_again() {
    check(vec![
        (
            "a failure ends the execution",
            format!("workflow:\n- {{ step: start, {NOOP}, next: b }}\n- {{ step: b, {NOOP} }}\n"),
            broken,
            "start:1:Failed Failed",
        ),
        (
            "on_error: continue goes on",
            format!(
                "workflow:\n- {{ step: start, {NOOP}, spec: {{ on_error: continue }}, next: b }}\n- {{ step: b, {NOOP} }}\n"
            ),
            start_breaks,
            "start:1:Failed b:1:Completed Completed",
        ),
        (
            "a handled failure routes",
            format!(
                "workflow:\n- step: start\n  {NOOP}\n  case:\n  - when: \"{{{{ event.name == 'call.error' }}}}\"\n    \
                 then: {{ next: b }}\n  next: c\n- {{ step: b, {NOOP} }}\n- {{ step: c, {NOOP} }}\n"
            ),
            start_breaks,
            "start:1:Failed b:1:Completed Completed",
        ),
        (
            "a retry that works leaves one finished execution",
            format!(
                "workflow:\n- step: start\n  {NOOP}\n  case:\n  - when: \"{{{{ event.name == 'call.error' }}}}\"\n    \
                 then: {{ retry: {{ max_attempts: 5 }} }}\n  next: b\n- {{ step: b, {NOOP} }}\n"
            ),
            third_time,
            // `b` has no rule for its own first two failures.
            "start:1:Completed b:1:Failed Failed",
        ),
    ]);
}

#[test]
fn loops_settle_every_item_and_close_once() {
    check(vec![
        (
            "a sequential loop",
            format!(
                "workflow:\n- step: start\n  loop: {{ in: [1, 2, 3], iterator: n }}\n  {NOOP}\n  next: b\n- {{ step: b, {NOOP} }}\n"
            ),
            fine,
            "start:3:Completed b:1:Completed Completed",
        ),
        (
            "an empty loop goes on",
            format!(
                "workflow:\n- step: start\n  loop: {{ in: [], iterator: n }}\n  {NOOP}\n  next: b\n- {{ step: b, {NOOP} }}\n"
            ),
            fine,
            "start:0:Completed b:1:Completed Completed",
        ),
        (
            "a loop in which all fail, fails",
            format!(
                "workflow:\n- step: start\n  loop: {{ in: [1, 2], iterator: n }}\n  {NOOP}\n  next: b\n- {{ step: b, {NOOP} }}\n"
            ),
            start_breaks,
            "start:2:Failed Failed",
        ),
        (
            "iterations are retried one by one",
            format!(
                "workflow:\n- step: start\n  loop: {{ in: [1, 2, 3, 4], iterator: n, mode: parallel }}\n  {NOOP}\n  case:\n  \
                 - when: \"{{{{ event.name == 'call.error' and n > 0 }}}}\"\n    then: {{ retry: {{ max_attempts: 3 }} }}\n"
            ),
            third_time,
            "start:4:Completed Completed",
        ),
        (
            "fail_fast leaves the rest undone",
            format!(
                "workflow:\n- step: start\n  loop:\n    in: \"{{{{ range(50) | list }}}}\"\n    iterator: n\n    \
                 spec: {{ policy: {{ failure: {{ mode: fail_fast }} }} }}\n  {NOOP}\n"
            ),
            broken,
            "start:1:Failed Failed",
        ),
    ]);
}

#[test]
fn loops_in_frames_and_with_rules_per_item() {
    check(vec![
        (
            "a parallel loop of many in frames",
            format!(
                "workflow:\n- step: start\n  loop: {{ in: \"{{{{ range(1000) | list }}}}\", iterator: n, \
                 spec: {{ mode: parallel, max_in_flight: 7 }} }}\n  {NOOP}\n"
            ),
            fine,
            "start:1000:Completed Completed",
        ),
        (
            "rules of iterations route, set and finish",
            format!(
                "workflow:\n- step: start\n  loop: {{ in: [5, 6], iterator: n }}\n  {NOOP}\n  case:\n  \
                 - when: \"{{{{ event.name == 'call.done' and n == 6 }}}}\"\n    then: {{ set: {{ seen: \"{{{{ n }}}}\" }}, next: b }}\n  \
                 - when: \"{{{{ event.name == 'loop.done' and vars.seen == 6 }}}}\"\n    then: {{ next: c }}\n\
                 - {{ step: b, {NOOP} }}\n- {{ step: c, {NOOP} }}\n"
            ),
            fine,
            "start:2:Completed b:1:Completed c:1:Completed Completed",
        ),
    ]);
}

#[test]
fn frames_grow_and_never_more_are_out_than_the_window() {
    let bench = Bench::run(
        "workflow:\n- step: start\n  loop: { in: \"{{ range(5000) | list }}\", iterator: n, spec: { mode: parallel, \
         max_in_flight: 3 } }\n  tool: { kind: noop }\n",
        &json!({}),
        fine,
    );
    bench.prove();
    assert!(bench.commands.len() < 100, "{} commands for 5,000 items", bench.commands.len());
    for entry in bench.logs.values().flatten() {
        if let State::Loop(state) = &entry.state {
            assert!(state.pending.len() <= 3, "{:?}", state.pending);
        }
    }
}

#[test]
fn commands_do_not_grow_with_the_number_of_items() {
    let size = |items: usize| {
        let items: Vec<Value> =
            (0..items).map(|n| json!({"n": n, "pad": "x".repeat(200)})).collect();
        let bench = Bench::run(
            "workload: { items: [] }\nworkflow:\n- step: start\n  loop: { in: \"{{ workload.items }}\", iterator: n }\n  \
             tool: { kind: noop }\n  args: { n: \"{{ n }}\" }\n",
            &json!({"items": items}),
            fine,
        );
        bench.commands.iter().map(|command| serde_json::to_string(command).unwrap().len()).max()
    };
    let (few, many) = (size(10).unwrap(), size(3_000).unwrap());
    assert!(many <= few + 16, "{few} bytes for 10 items, {many} for 3,000");
}

#[test]
fn a_late_a_foreign_and_a_doubled_answer_change_nothing() {
    let mut bench = Bench::run(
        "workflow:\n- { step: start, tool: { kind: noop }, next: b }\n- { step: b, tool: { kind: noop } }\n",
        &json!({}),
        fine,
    );
    assert_eq!(bench.state().status, Status::Completed);
    let entries: usize = bench.logs.values().map(Vec::len).sum();
    let mut late = bench.commands[0].clone();
    bench.answer(&late.clone());
    late.attempt = 9;
    bench.answer(&late);
    late.id = "somebody:else:1".into();
    bench.answer(&late);
    bench.drain();
    assert_eq!(bench.logs.values().map(Vec::len).sum::<usize>(), entries);
}

#[test]
fn the_same_inputs_give_the_same_bytes() {
    let run = || {
        let bench = Bench::run(
            "workload: { a: 1, b: \"{{ workload.a + 1 }}\" }\nworkflow:\n- step: start\n  loop: { in: [1, 2], iterator: n }\n  \
             tool: { kind: noop }\n  vars: { last: \"{{ result.stats }}\" }\n  next: b\n- { step: b, tool: { kind: noop } }\n",
            &json!({"c": {"d": [1, 2]}}),
            fine,
        );
        serde_json::to_string(&bench.logs.values().flatten().collect::<Vec<_>>()).unwrap()
    };
    assert_eq!(run(), run());
}

#[test]
fn trap_05_a_doubled_answer_neither_skips_an_item_nor_ends_the_loop_early() {
    for mode in ["sequential", "parallel"] {
        let workflow = format!(
            "workflow:\n- step: start\n  loop: {{ in: \"{{{{ range(40) | list }}}}\", iterator: n, mode: {mode} }}\n  {NOOP}\n  \
             case:\n  - when: \"{{{{ event.name == 'call.done' and n == 39 }}}}\"\n    then: {{ set: {{ last: 1 }} }}\n"
        );
        let mut bench = Bench::begin(&workflow, &json!({}), fine);
        bench.copies = 3;
        bench.drain();
        bench.prove();
        assert_eq!(bench.summary(), "start:40:Completed Completed", "{mode}");
        let settled = bench.logs.values().flatten().flat_map(|entry| &entry.facts);
        let settled: usize = settled
            .map(|fact| match fact {
                Fact::FrameAnswered { outcomes, .. } => outcomes.len(),
                Fact::IterationSettled { .. } => 1,
                _ => 0,
            })
            .sum();
        assert_eq!(settled, 40, "{mode}: each item has one outcome");
    }
}
