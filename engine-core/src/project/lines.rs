//! What each fact says, event by event.

use serde::Deserialize as _;
use serde_json::{Value, json};

use super::{callback_path, ends_command};
use crate::command::{CallSite, Command};
use crate::event::{Entry, Fact, LoopOpen, Outcome, Parent, Status, ToolFailure};
use crate::ids::{EventId, ExecutionId, StepName};
use crate::payload::{LoopSummary, Payload};
use crate::state::Unit;

/// What one fact says of one event.
pub(super) struct Line<'a> {
    pub(super) event_type: &'static str,
    pub(super) status: &'static str,
    pub(super) node: &'a str,
    pub(super) kind: Option<&'a str>,
    /// The loop instance that an event of the execution is about.
    pub(super) looping: Option<EventId>,
    pub(super) index: Option<u64>,
    pub(super) result: Value,
    pub(super) meta: Value,
}

impl<'a> Line<'a> {
    fn new(event_type: &'static str, status: &'static str, node: &'a str) -> Self {
        let (kind, looping, index) = (None, None, None);
        let (result, meta) = (Value::Null, Value::Null);
        Self { event_type, status, node, kind, looping, index, result, meta }
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

    fn of_loop(self, run: EventId) -> Self {
        Self { looping: Some(run), ..self }
    }

    /// Whether the event is about the playbook as a whole, and is named by its path.
    pub(super) fn is_of_playbook(&self) -> bool {
        self.event_type.starts_with("playbook.") || self.event_type == "execution.cancelled"
    }
}

/// Calls `each` for every event of one entry, in causal order.
pub(super) fn for_each<'a>(entry: &'a Entry, mut each: impl FnMut(Line<'a>)) {
    for (position, fact) in entry.facts.iter().enumerate() {
        one(entry, fact, position, &mut each);
    }
}

fn one<'a>(entry: &'a Entry, fact: &'a Fact, position: usize, each: &mut impl FnMut(Line<'a>)) {
    match fact {
        Fact::Started { playbook, entry, workload, parent, .. } => {
            let started = json!({"workload": show(workload), "playbook_path": playbook.path});
            let line = Line::new("playbook.initialized", "STARTED", &playbook.path).with(started);
            each(line.about(parent.as_ref().map_or(Value::Null, parentage)));
            let first = json!({"first_step": entry});
            each(Line::new("workflow.initialized", "COMPLETED", "workflow").with(first));
        }
        Fact::StepExited { step, status, result, error, .. } => {
            let payload = json!({"result": show(result), "error": error});
            each(Line::new("step.exit", name(*status), step.as_str()).with(payload));
            if ends_command(fact, &entry.facts[..position]) {
                each(ended(step, None, *status == Status::Failed));
            }
        }
        Fact::Saved { step, data, .. } => {
            each(Line::new("save_started", "RUNNING", step.as_str()));
            each(Line::new("save_completed", "COMPLETED", step.as_str()).with(show(data)));
        }
        Fact::LoopDone { run, step, summary } => {
            let done = json!({
                "status": "completed", "iterations": summary.total, "stats": summary.stats(),
                "result": reference(summary),
            });
            each(Line::new("loop.done", "COMPLETED", step.as_str()).with(done).of_loop(*run));
        }
        Fact::LoopFailed { run, step, error } => {
            let line = Line::new("iterator_failed", "FAILED", step.as_str());
            each(line.with(json!({"error": error})).of_loop(*run));
        }
        Fact::Finished { status, final_step, result, failure } => {
            let payload = json!({
                "status": name(*status), "final_step": final_step, "result": show(result),
                "error": failure,
            });
            finished(each, *status, &payload);
        }
        Fact::LoopOpened { .. }
        | Fact::FrameIssued { .. }
        | Fact::FrameAnswered { .. }
        | Fact::IterationSettled { .. }
        | Fact::LoopClosed { .. } => of_loop(entry, fact, position, each),
        _ => of_call(fact, each),
    }
}

/// The events of one call of one tool, of a run or of an iteration.
fn of_call<'a>(fact: &'a Fact, each: &mut impl FnMut(Line<'a>)) {
    match fact {
        Fact::CommandIssued { command, unit, .. } => {
            let mut meta = json!({"command_id": command.id, "attempt": command.attempt});
            let Command { tool_kind, step, site, .. } = &**command;
            tell_unit(&mut meta, unit.as_deref(), tool_kind, command.reply_to.execution_id());
            issued(each, step, None, (tool_kind.as_str(), *site), meta);
        }
        Fact::Answered { step, outcome, worker, attempt, site, index, .. } => {
            let mut meta = json!({"worker_id": worker, "attempt": attempt});
            tell_site(&mut meta, *site);
            if site.is_save() {
                save(each, step, *index, outcome, &meta);
            } else {
                call(each, step, *index, outcome, &meta);
            }
        }
        Fact::Progressed { step, report, .. } => {
            let meta = json!({
                "command_id": report.command_id, "attempt": report.attempt,
                "worker_id": report.worker, "number": report.number,
                "started_ms": report.started_ms,
            });
            let line = Line::new("command.progress", "RUNNING", step.as_str()).at(report.index);
            each(line.with(report.data.clone()).about(meta));
        }
        Fact::Continued { step, index, failed, .. } => each(ended(step, *index, *failed)),
        Fact::Retried { step, index, attempt, delay_ms, .. } => {
            again(each, step, *index, *attempt, Some(*delay_ms));
        }
        Fact::CommandCancelled { step, command_id, .. } => {
            let line = Line::new("command.cancelled", "CANCELLED", step.as_str());
            each(line.about(json!({"command_id": command_id})));
        }
        _ => {}
    }
}

/// The events of a loop's own facts.
fn of_loop<'a>(entry: &'a Entry, fact: &'a Fact, position: usize, each: &mut impl FnMut(Line<'a>)) {
    match fact {
        Fact::LoopOpened { open } => {
            let line = Line::new("iterator_started", "RUNNING", open.step.as_str());
            each(line.with(opening(open)));
        }
        Fact::FrameIssued {
            first,
            len,
            attempt,
            tool_kind,
            step,
            call,
            site,
            unit,
            resumed,
            ..
        } => {
            let mut meta = json!({"attempt": attempt});
            if *resumed {
                meta["resumed"] = json!(true);
            }
            let unit = unit.as_ref().and_then(Payload::inline);
            let unit = unit.and_then(|unit| Unit::deserialize(unit).ok());
            tell_unit(&mut meta, unit.as_ref(), tool_kind, entry.execution_id());
            for index in *first..first + u64::from(*len) {
                if *attempt == 1 && *call == 1 && !resumed {
                    each(Line::new("iteration_started", "RUNNING", step.as_str()).at(Some(index)));
                }
                issued(each, step, Some(index), (tool_kind.as_str(), *site), meta.clone());
            }
        }
        Fact::FrameAnswered { first, attempt, worker, step, outcomes, retried, .. } => {
            let meta = json!({"worker_id": worker, "attempt": attempt});
            for (index, outcome) in (*first..).zip(outcomes) {
                call(each, step, Some(index), outcome, &meta);
                if retried.contains(&index) {
                    let delay_ms = delay_ms(entry, position, index);
                    again(each, step, Some(index), *attempt, delay_ms);
                } else {
                    settled(each, step, index, outcome, true);
                }
            }
        }
        Fact::IterationSettled { index, step, outcome, .. } => {
            let ends_command = ends_command(fact, &entry.facts[..position]);
            settled(each, step, *index, outcome, ends_command);
        }
        Fact::LoopClosed { step, summary } => {
            let all_failed = summary.total > 0 && summary.failed == summary.total;
            let status = if all_failed { "FAILED" } else { "COMPLETED" };
            let closed = json!({"results": reference(summary), "stats": summary.stats()});
            each(Line::new("iterator_completed", status, step.as_str()).with(closed));
        }
        _ => {}
    }
}

/// What is known of a loop when it begins (seed 001).
fn opening(open: &LoopOpen) -> Value {
    let mut opening = json!({
        "total_count": open.collection_size, "collection_size": open.collection_size,
        "mode": open.mode, "iterator_name": open.iterator, "concurrency": open.max_in_flight,
        "collection": {"uri": open.collection.uri, "bytes": open.collection.bytes},
        "nested_task": {"tool": open.tool_kind}, "note": open.note,
    });
    if let (Some(opening), Some(about)) = (opening.as_object_mut(), open.about.as_object()) {
        opening.extend(about.clone());
    }
    opening
}

/// The results of a loop, in order: where they are.
fn reference(summary: &LoopSummary) -> Value {
    json!({"kind": "loop", "aggregate": summary.key, "stats": summary.stats()})
}

fn parentage(parent: &Parent) -> Value {
    json!({"parent_execution_id": parent.key.execution_id(), "parent_command_id": parent.command_id})
}

/// How long the next attempt of an iteration of a plain frame waits: what was issued behind says so.
fn delay_ms(entry: &Entry, position: usize, index: u64) -> Option<u64> {
    let mut issued = entry.facts.iter().skip(position).filter_map(|fact| match fact {
        Fact::FrameIssued { first, not_before_ms, .. } if *first == index => Some(*not_before_ms),
        _ => None,
    });
    let not_before_ms = issued.next()?;
    Some(u64::try_from(not_before_ms.saturating_sub(entry.at_ms)).unwrap_or(0))
}

fn tell_site(meta: &mut Value, site: CallSite) {
    if !site.is_tool() {
        meta["site"] = json!(site);
    }
}

/// The page that is fetched, and who or what is waited for.
fn tell_unit(meta: &mut Value, unit: Option<&Unit>, kind: &str, execution_id: ExecutionId) {
    let Some(unit) = unit else { return };
    if unit.page > 1 && unit.site.is_tool() {
        meta["page"] = json!(unit.page);
    }
    if let ("callback", Some(token)) = (kind, &unit.token) {
        let path = callback_path(execution_id, token);
        meta["callback"] = json!({"token": token, "path": path});
    }
    if let ("callback" | "wait", Some(until_ms)) = (kind, unit.until_ms) {
        meta["until_ms"] = json!(until_ms);
    }
    if let ("playbook", Some(child)) = (kind, &unit.child) {
        meta["child_execution_id"] = json!(child);
    }
}

/// A command goes out.
fn issued<'a>(
    each: &mut impl FnMut(Line<'a>),
    step: &'a StepName,
    index: Option<u64>,
    (kind, site): (&'a str, CallSite),
    mut meta: Value,
) {
    tell_site(&mut meta, site);
    if site.is_save() {
        each(Line::new("save_started", "RUNNING", step.as_str()).at(index).about(meta.clone()));
    }
    let line = Line::new("command.issued", "PENDING", step.as_str()).at(index).about(meta);
    each(Line { kind: Some(kind), ..line });
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
    let line = match &outcome.error {
        None => Line::new("call.done", "COMPLETED", step.as_str())
            .with(json!({"response": show(&outcome.result)})),
        Some(error) => Line::new("call.error", "FAILED", step.as_str())
            .with(json!({"error": error, "response": show(&outcome.result)})),
    };
    each(line.at(index).about(told(outcome, meta)));
}

/// The worker's side of a call that saves something (seed 003).
fn save<'a>(
    each: &mut impl FnMut(Line<'a>),
    step: &'a StepName,
    index: Option<u64>,
    outcome: &Outcome,
    meta: &Value,
) {
    for event_type in ["command.claimed", "command.started"] {
        each(Line::new(event_type, "RUNNING", step.as_str()).at(index).about(meta.clone()));
    }
    let (event_type, status) = match &outcome.error {
        None => ("save_completed", "COMPLETED"),
        Some(error) if is_unexpected(error) => ("save_error", "FAILED"),
        Some(_) => ("save_failed", "FAILED"),
    };
    let payload = match &outcome.error {
        None => json!({"result": show(&outcome.result)}),
        Some(error) => json!({"error": error, "result": show(&outcome.result)}),
    };
    let line = Line::new(event_type, status, step.as_str()).with(payload);
    each(line.at(index).about(told(outcome, meta)));
}

/// Whether a failed save is no answer of the tool: it may work another time, or nobody knows.
fn is_unexpected(error: &ToolFailure) -> bool {
    error.retryable || matches!(error.kind.as_str(), "WorkerError" | "LostError" | "TimeoutError")
}

/// What a call took, beside who made it.
fn told(outcome: &Outcome, meta: &Value) -> Value {
    let mut told = meta.clone();
    told["started_ms"] = json!(outcome.started_ms);
    told["duration_ms"] = json!(outcome.duration_ms);
    if !outcome.output.is_empty() {
        told["output"] = json!(outcome.output);
    }
    told
}

/// The end of a command.
fn ended(step: &StepName, index: Option<u64>, failed: bool) -> Line<'_> {
    let (event_type, status) =
        if failed { ("command.failed", "FAILED") } else { ("command.completed", "COMPLETED") };
    Line::new(event_type, status, step.as_str()).at(index)
}

/// The end of an attempt that another follows.
fn again<'a>(
    each: &mut impl FnMut(Line<'a>),
    step: &'a StepName,
    index: Option<u64>,
    attempt: u32,
    delay_ms: Option<u64>,
) {
    each(ended(step, index, true).about(json!({"attempt": attempt})));
    let mut meta = json!({"attempt": attempt});
    if let Some(delay_ms) = delay_ms {
        meta["retry_delay_ms"] = json!(delay_ms);
    }
    each(Line::new("retry_scheduled", "PENDING", step.as_str()).at(index).about(meta));
}

/// The end of one iteration.
fn settled<'a>(
    each: &mut impl FnMut(Line<'a>),
    step: &'a StepName,
    index: u64,
    outcome: &Outcome,
    ends_command: bool,
) {
    let failed = outcome.error.is_some();
    let (status, iteration) =
        if failed { ("FAILED", "iteration_failed") } else { ("COMPLETED", "iteration_completed") };
    let payload = json!({"result": show(&outcome.result), "error": outcome.error});
    each(Line::new("step.exit", status, step.as_str()).at(Some(index)).with(payload.clone()));
    if ends_command {
        each(ended(step, Some(index), failed));
    }
    each(Line::new(iteration, status, step.as_str()).at(Some(index)).with(payload));
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
        Payload::Loop(summary) => reference(summary),
    }
}
