//! Stored facts become the event list that people read, in `NoETL`'s names and order.
//!
//! Seven events of a tool call cost two facts; the rest of each event follows from its entry.

mod lines;

use serde::Serialize;
use serde_json::Value;

use self::lines::{Line, for_each};
use crate::event::{Entry, Fact, Status};
use crate::ids::{AggregateKey, EventId, ExecutionId};
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
    /// `PENDING`, `RUNNING`, `STARTED`, `COMPLETED`, `FAILED`, `SKIPPED` or `CANCELLED`.
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
        Fact::Started { .. } | Fact::Saved { .. } | Fact::Retried { .. } => 2,
        Fact::CommandIssued { command, .. } => 1 + usize::from(command.site.is_save()),
        Fact::Continued { .. }
        | Fact::Progressed { .. }
        | Fact::CommandCancelled { .. }
        | Fact::LoopFailed { .. }
        | Fact::LoopDone { .. }
        | Fact::LoopOpened { .. }
        | Fact::LoopClosed { .. } => 1,
        Fact::Answered { site, .. } => 4 - usize::from(site.is_save()),
        Fact::StepExited { .. } => 1 + usize::from(ends_command(fact, before)),
        Fact::IterationSettled { .. } => 2 + usize::from(ends_command(fact, before)),
        Fact::Finished { status, .. } => 2 - usize::from(*status == Status::Cancelled),
        Fact::FrameIssued { len, attempt, call, site, resumed, .. } => {
            let begins = *attempt == 1 && *call == 1 && !resumed;
            *len as usize * (1 + usize::from(begins) + usize::from(site.is_save()))
        }
        Fact::FrameAnswered { outcomes, retried, .. } => 7 * outcomes.len() - retried.len(),
        _ => 0,
    }
}

/// Whether the end of a run or an iteration ends a command too: its last call was answered in the same
/// entry, and was neither tried again nor followed by another.
fn ends_command(fact: &Fact, before: &[Fact]) -> bool {
    let is_of_it = |earlier: &&Fact| {
        let (Fact::Answered { run, index, .. }
        | Fact::Continued { run, index, .. }
        | Fact::Retried { run, index, .. }) = earlier
        else {
            return false;
        };
        match fact {
            Fact::StepExited { run: of, status, .. } => of == run && *status != Status::Skipped,
            Fact::IterationSettled { index: of, .. } => Some(*of) == *index,
            _ => false,
        }
    };
    matches!(before.iter().rev().find(is_of_it), Some(Fact::Answered { .. }))
}

/// Where the answer to a step that waits for a callback goes.
#[must_use]
pub fn callback_path(execution_id: ExecutionId, token: &str) -> String {
    format!("/api/executions/{execution_id}/callbacks/{token}")
}

/// The events of one entry, in order.
#[must_use]
pub fn expand(entry: &Entry) -> Vec<Event> {
    let mut events: Vec<Event> = Vec::new();
    for_each(entry, |line| {
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
        AggregateKey::Execution(_) => (line.looping.map(|_| line.node.to_owned()), line.looping),
    };
    let node_name = match &entry.state {
        State::Execution(state) if line.is_of_playbook() => state.playbook.path.clone(),
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
