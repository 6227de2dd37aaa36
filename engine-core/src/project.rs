//! Stored facts become the event list that people read, in `NoETL`'s names and order.
//!
//! Seven events of a tool call cost two facts; the rest of each event follows from its entry.

use serde::Serialize;
use serde_json::{Value, json};

use crate::event::{Entry, Fact, Outcome, Status};
use crate::ids::{AggregateKey, EventId, StepName};
use crate::payload::Payload;
use crate::state::State;

/// One event as people and programs see it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Event {
    /// The execution.
    pub execution_id: String,
    /// Ascending within an aggregate.
    pub event_id: EventId,
    /// The event before it in the same aggregate.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub parent_event_id: Option<EventId>,
    /// Unix milliseconds.
    pub at_ms: i64,
    /// Such as `call.done`.
    pub event_type: &'static str,
    /// The step; `workflow`, or the playbook's path.
    pub node_name: String,
    /// `tool.kind`, on `command.issued`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub node_type: Option<String>,
    /// `PENDING`, `RUNNING`, `STARTED`, `COMPLETED`, `FAILED` or `CANCELLED`.
    pub status: &'static str,
    /// The looping step.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub loop_name: Option<String>,
    /// The loop instance: the id of the step entry.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub loop_id: Option<EventId>,
    /// The 0-based iteration.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub current_index: Option<u64>,
    /// What it carries: a result, an error, a context.
    #[serde(skip_serializing_if = "Value::is_null")]
    pub result: Value,
    /// Attempt, worker, duration and the like.
    #[serde(skip_serializing_if = "Value::is_null")]
    pub meta: Value,
}

/// The number of events that the facts of one entry expand to.
///
/// Counts without building them: every commit asks for it.
#[must_use]
pub fn expanded_len(facts: &[Fact]) -> usize {
    facts.iter().enumerate().map(|(position, fact)| len_of(fact, &facts[..position])).sum()
}

/// How far the facts of one entry advance the ids: its events, and the step entries it names.
///
/// A step entry may cause no event of its own, and still its id must be nobody else's.
#[must_use]
pub fn event_span(facts: &[Fact]) -> usize {
    let entries = facts.iter().filter(|fact| matches!(fact, Fact::StepEntered { .. })).count();
    expanded_len(facts) + entries
}

fn len_of(fact: &Fact, before: &[Fact]) -> usize {
    match fact {
        Fact::Started { .. } | Fact::Saved { .. } => 2,
        Fact::CommandIssued { .. }
        | Fact::Retried { .. }
        | Fact::LoopDone { .. }
        | Fact::LoopOpened { .. }
        | Fact::LoopClosed { .. } => 1,
        Fact::Answered { .. } => 4,
        Fact::StepExited { run, .. } => 1 + usize::from(was_answered(*run, before)),
        Fact::Finished { status, .. } => 2 - usize::from(*status == Status::Cancelled),
        Fact::FrameIssued { len, attempt, .. } => *len as usize * (1 + usize::from(*attempt == 1)),
        Fact::FrameAnswered { outcomes, retried, .. } => 7 * outcomes.len() - 2 * retried.len(),
        _ => 0,
    }
}

/// Whether the run was answered in the same entry: else its exit ends no command.
fn was_answered(run: EventId, before: &[Fact]) -> bool {
    before.iter().any(|fact| matches!(fact, Fact::Answered { run: of, .. } if *of == run))
}

/// The events of one entry, in order.
#[must_use]
pub fn expand(entry: &Entry) -> Vec<Event> {
    let mut events: Vec<Event> = Vec::new();
    for_each(&entry.facts, |line| {
        let offset = i64::try_from(events.len()).unwrap_or(i64::MAX);
        let event_id = EventId(entry.event_id.0.saturating_add(offset));
        let parent_event_id = events.last().map(|event| event.event_id);
        events.push(event(entry, event_id, parent_event_id, line));
    });
    events
}

fn event(entry: &Entry, event_id: EventId, parent: Option<EventId>, line: Line<'_>) -> Event {
    let (loop_name, loop_id) = match &entry.key {
        AggregateKey::Loop { step, event_id, .. } => (Some(step.to_string()), Some(*event_id)),
        AggregateKey::Execution(_) => (None, None),
    };
    let node_name = match &entry.state {
        State::Execution(state) if line.event_type.starts_with("playbook.") => {
            state.playbook.path.clone()
        }
        _ => line.node.to_owned(),
    };
    Event {
        execution_id: entry.execution_id().to_string(),
        event_id,
        parent_event_id: parent,
        at_ms: entry.at_ms,
        event_type: line.event_type,
        node_name,
        node_type: line.kind.map(str::to_owned),
        status: line.status,
        loop_name,
        loop_id,
        current_index: line.index,
        result: line.result,
        meta: line.meta,
    }
}

/// What one fact says of one event.
struct Line<'a> {
    event_type: &'static str,
    status: &'static str,
    node: &'a str,
    kind: Option<&'a str>,
    index: Option<u64>,
    result: Value,
    meta: Value,
}

impl<'a> Line<'a> {
    fn new(event_type: &'static str, status: &'static str, node: &'a str) -> Self {
        let (kind, index, result, meta) = (None, None, Value::Null, Value::Null);
        Self { event_type, status, node, kind, index, result, meta }
    }

    fn at(self, index: Option<u64>) -> Self {
        Self { index, ..self }
    }

    fn with(self, result: Value) -> Self {
        Self { result, ..self }
    }

    fn about(self, meta: Value) -> Self {
        Self { meta, ..self }
    }
}

/// Calls `each` for every event of the facts of one entry, in causal order.
fn for_each<'a>(facts: &'a [Fact], mut each: impl FnMut(Line<'a>)) {
    for (position, fact) in facts.iter().enumerate() {
        one(fact, &facts[..position], &mut each);
    }
}

fn one<'a>(fact: &'a Fact, before: &'a [Fact], each: &mut impl FnMut(Line<'a>)) {
    match fact {
        Fact::Started { playbook, entry, workload, .. } => {
            let started = json!({"workload": show(workload), "playbook_path": playbook.path});
            each(Line::new("playbook.initialized", "STARTED", &playbook.path).with(started));
            let first = json!({"first_step": entry});
            each(Line::new("workflow.initialized", "COMPLETED", "workflow").with(first));
        }
        Fact::CommandIssued { command, .. } => {
            let meta = json!({"command_id": command.id, "attempt": command.attempt});
            let line = Line::new("command.issued", "PENDING", command.step.as_str()).about(meta);
            each(Line { kind: Some(&command.tool_kind), ..line });
        }
        Fact::Answered { step, outcome, worker, attempt, .. } => {
            call(each, step, None, outcome, &json!({"worker_id": worker, "attempt": attempt}));
        }
        Fact::Retried { step, attempt, delay_ms, .. } => {
            let meta = json!({"attempt": attempt, "retry_delay_ms": delay_ms});
            each(Line::new("command.failed", "FAILED", step.as_str()).about(meta));
        }
        Fact::StepExited { run, step, status, result, error } => {
            let ended = name(*status);
            let payload = json!({"result": show(result), "error": error});
            each(Line::new("step.exit", ended, step.as_str()).with(payload));
            if was_answered(*run, before) {
                let kind = if error.is_some() { "command.failed" } else { "command.completed" };
                let status = if error.is_some() { "FAILED" } else { "COMPLETED" };
                each(Line::new(kind, status, step.as_str()));
            }
        }
        Fact::Saved { step, data, .. } => {
            each(Line::new("save_started", "RUNNING", step.as_str()));
            each(Line::new("save_completed", "COMPLETED", step.as_str()).with(show(data)));
        }
        Fact::LoopDone { step, summary, .. } => {
            let done = json!({"status": "completed", "iterations": summary.total, "stats": summary.stats()});
            each(Line::new("loop.done", "COMPLETED", step.as_str()).with(done));
        }
        Fact::Finished { status, final_step, result, failure } => {
            let payload = json!({
                "status": name(*status), "final_step": final_step, "result": show(result),
                "error": failure,
            });
            finished(each, *status, &payload);
        }
        _ => of_loop(fact, each),
    }
}

/// The events of a loop's facts.
fn of_loop<'a>(fact: &'a Fact, each: &mut impl FnMut(Line<'a>)) {
    match fact {
        Fact::LoopOpened { open } => {
            let context = json!({
                "total_count": open.collection_size, "collection_size": open.collection_size,
                "mode": open.mode, "iterator_name": open.iterator, "max_in_flight": open.max_in_flight,
                "collection": {"uri": open.collection.uri, "bytes": open.collection.bytes},
                "nested_task": {"tool": open.tool_kind}, "note": open.note,
            });
            each(Line::new("iterator_started", "RUNNING", open.step.as_str()).with(context));
        }
        Fact::FrameIssued { first, len, attempt, tool_kind, step, .. } => {
            for index in *first..first + u64::from(*len) {
                if *attempt == 1 {
                    each(Line::new("iteration_started", "RUNNING", step.as_str()).at(Some(index)));
                }
                let line = Line::new("command.issued", "PENDING", step.as_str()).at(Some(index));
                let line = line.about(json!({"attempt": attempt}));
                each(Line { kind: Some(tool_kind), ..line });
            }
        }
        Fact::FrameAnswered { first, attempt, worker, step, outcomes, retried, .. } => {
            let meta = json!({"worker_id": worker, "attempt": attempt});
            for (index, outcome) in (*first..).zip(outcomes) {
                call(each, step, Some(index), outcome, &meta);
                settled(each, step, index, outcome, retried.contains(&index));
            }
        }
        Fact::LoopClosed { step, summary } => {
            let all_failed = summary.total > 0 && summary.failed == summary.total;
            let status = if all_failed { "FAILED" } else { "COMPLETED" };
            let counts = json!({"stats": summary.stats()});
            each(Line::new("iterator_completed", status, step.as_str()).with(counts));
        }
        _ => {}
    }
}

/// The worker's side of one tool call.
fn call<'a>(
    each: &mut impl FnMut(Line<'a>),
    step: &'a StepName,
    index: Option<u64>,
    outcome: &Outcome,
    meta: &Value,
) {
    for event_type in ["command.claimed", "command.started", "step.enter"] {
        each(Line::new(event_type, "RUNNING", step.as_str()).at(index).about(meta.clone()));
    }
    let mut told = meta.clone();
    told["started_ms"] = json!(outcome.started_ms);
    told["duration_ms"] = json!(outcome.duration_ms);
    if !outcome.output.is_empty() {
        told["output"] = json!(outcome.output);
    }
    let line = match &outcome.error {
        None => Line::new("call.done", "COMPLETED", step.as_str())
            .with(json!({"response": show(&outcome.result)})),
        Some(error) => Line::new("call.error", "FAILED", step.as_str())
            .with(json!({"error": error, "response": show(&outcome.result)})),
    };
    each(line.at(index).about(told));
}

/// The end of one iteration, or of one attempt of it.
fn settled<'a>(
    each: &mut impl FnMut(Line<'a>),
    step: &'a StepName,
    index: u64,
    outcome: &Outcome,
    retried: bool,
) {
    let failed = outcome.error.is_some();
    let (status, command, iteration) = if failed {
        ("FAILED", "command.failed", "iteration_failed")
    } else {
        ("COMPLETED", "command.completed", "iteration_completed")
    };
    let mut push = |event_type, result| {
        each(Line::new(event_type, status, step.as_str()).at(Some(index)).with(result));
    };
    if retried {
        return push(command, Value::Null);
    }
    push("step.exit", json!({"result": show(&outcome.result), "error": outcome.error}));
    push(command, Value::Null);
    push(iteration, Value::Null);
}

/// The end of an execution.
fn finished<'a>(each: &mut impl FnMut(Line<'a>), status: Status, payload: &Value) {
    let names = match status {
        Status::Cancelled => {
            return each(
                Line::new("execution.cancelled", "CANCELLED", "workflow").with(payload.clone()),
            );
        }
        Status::Completed => ["workflow.completed", "playbook.completed"],
        Status::Failed | Status::Running | Status::Skipped => {
            ["workflow.failed", "playbook.failed"]
        }
    };
    for event_type in names {
        each(Line::new(event_type, name(status), "workflow").with(payload.clone()));
    }
}

fn name(status: Status) -> &'static str {
    match status {
        Status::Running => "RUNNING",
        Status::Completed => "COMPLETED",
        Status::Failed => "FAILED",
        Status::Cancelled => "CANCELLED",
        Status::Skipped => "SKIPPED",
    }
}

/// A value as a log line shows it: itself, or where it is.
fn show(payload: &Payload) -> Value {
    match payload {
        Payload::Inline(value) => value.clone(),
        Payload::Ref(reference) => {
            json!({"kind": "ref", "logical_uri": reference.uri, "bytes": reference.bytes})
        }
        Payload::Log { key, seq, .. } => json!({"kind": "log", "aggregate": key, "seq": seq}),
        Payload::List(list) => json!({"kind": "list", "parts": list.parts.len()}),
        Payload::Pages(pages) => json!({"kind": "pages", "pages": pages.count}),
        Payload::Loop(summary) => {
            json!({"kind": "loop", "aggregate": summary.key, "stats": summary.stats()})
        }
    }
}
