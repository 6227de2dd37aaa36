//! What an entry causes elsewhere: it follows from the facts, so that it need not be stored.

use crate::command::{CallSite, Command};
use crate::event::{
    Answer, Closing, Entry, Envelope, Fact, Input, LoopOpen, LoopSignal, Outcome, Parent, Signal,
    Start,
};
use crate::ids::{AggregateKey, CommandId, ExecutionId, InputId};
use crate::limits::TOOL_TIMEOUT_MS_DEFAULT;
use crate::payload::{LoopSummary, Payload};
use crate::playbook::PlaybookRef;
use crate::state::{LoopState, State, Unit};
use crate::transition::{Issued, PLAYBOOK, WAIT, frame_command, timer_id};

/// What an entry causes elsewhere.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Outbox {
    /// For workers.
    pub commands: Vec<Command>,
    /// For other aggregates.
    pub envelopes: Vec<Envelope>,
}

/// What an entry causes elsewhere: it follows from the facts, so that it need not be stored.
#[must_use]
pub fn outbox(entry: &Entry) -> Outbox {
    let mut outbox = Outbox::default();
    for fact in &entry.facts {
        outbox.commands.extend(command(entry, fact));
        outbox.envelopes.extend(message(&entry.key, &entry.state, fact));
    }
    outbox
}

/// The command that a fact causes; a child execution is asked for with a message instead.
fn command(entry: &Entry, fact: &Fact) -> Option<Command> {
    match (fact, &entry.state) {
        (Fact::CommandIssued { command, .. }, _) if command.tool_kind == PLAYBOOK => None,
        (Fact::CommandIssued { command, unit, .. }, _) => {
            let unit = unit.as_deref().map(written).or_else(|| command.unit.clone());
            Some(Command { unit, ..(**command).clone() })
        }
        (Fact::FrameIssued { tool_kind, .. }, _) if tool_kind == PLAYBOOK => None,
        (Fact::FrameIssued { .. }, State::Loop(state)) => issued(&entry.key, state, fact),
        (Fact::TimerSet { rings_ms, number, .. }, State::Execution(state)) => {
            Some(timer(&entry.key, &state.playbook, *number, *rings_ms))
        }
        _ => None,
    }
}

fn written(unit: &Unit) -> Payload {
    // A unit is a map of strings, numbers and payloads: it always has a JSON form.
    Payload::Inline(serde_json::to_value(unit).unwrap_or_default())
}

/// The command of a frame, or of one call of a unit.
fn issued(key: &AggregateKey, state: &LoopState, fact: &Fact) -> Option<Command> {
    let Fact::FrameIssued {
        first,
        len,
        attempt,
        not_before_ms,
        tool_kind,
        call,
        site,
        unit,
        resumed,
        ..
    } = fact
    else {
        return None;
    };
    let frame = Issued {
        first: *first,
        len: *len,
        attempt: *attempt,
        not_before_ms: *not_before_ms,
        call: *call,
        site: *site,
        tool_kind: tool_kind.clone(),
        unit: unit.clone(),
        resumed: *resumed,
    };
    Some(frame_command(key, state, &frame))
}

/// The message that brings the end of an execution's time back to it. No step is meant: whoever runs it
/// only answers.
pub(super) fn timer(
    key: &AggregateKey,
    playbook: &PlaybookRef,
    number: u32,
    not_before_ms: i64,
) -> Command {
    Command {
        id: timer_id(key, number),
        attempt: 1,
        reply_to: key.clone(),
        playbook: playbook.clone(),
        step: "".into(),
        tool_kind: WAIT.to_owned(),
        frame: None,
        site: CallSite::Tool,
        overrides: None,
        unit: None,
        vars: None,
        scope: Payload::Inline(serde_json::Value::Null),
        not_before_ms,
        timeout_ms: TOOL_TIMEOUT_MS_DEFAULT,
    }
}

/// The message that a fact causes.
pub(super) fn message(key: &AggregateKey, state: &State, fact: &Fact) -> Option<Envelope> {
    match fact {
        Fact::LoopRequested { key, open, .. } => Some(opening(key, (**open).clone())),
        Fact::ChildRequested { child, start } => Some(starting(*child, start)),
        Fact::SignalSent { signal } => Some(Envelope {
            id: InputId(format!("{key}:signal:{}", signal.number)),
            to: key.execution(),
            input: Input::LoopSignal(signal.clone()),
        }),
        Fact::StopSent { key, reason } => Some(Envelope {
            id: InputId(format!("{key}:stop")),
            to: key.clone(),
            input: Input::Cancel { reason: reason.clone() },
        }),
        Fact::ParentAnswered { outcome } => match state {
            State::Execution(state) => {
                let parent = state.parent.as_ref()?;
                Some(answering(&format!("{key}:finished"), parent, (**outcome).clone()))
            }
            State::Loop(_) => None,
        },
        _ => None,
    }
}

pub(super) fn opening(key: &AggregateKey, open: LoopOpen) -> Envelope {
    let id = InputId(format!("{key}:open"));
    Envelope { id, to: key.clone(), input: Input::LoopOpen(Box::new(open)) }
}

/// The first message to a child execution.
pub(super) fn starting(child: ExecutionId, start: &Start) -> Envelope {
    let to = AggregateKey::Execution(child);
    Envelope { id: InputId(format!("{to}:start")), to, input: Input::Start(start.clone()) }
}

/// The answer to the call that asked for an execution.
pub(super) fn answering(id: &str, parent: &Parent, outcome: Outcome) -> Envelope {
    let answer = Answer {
        command_id: parent.command_id.clone(),
        attempt: parent.attempt,
        worker: PLAYBOOK.to_owned(),
        outcomes: vec![outcome],
        cut: false,
    };
    Envelope { id: InputId::from(id), to: parent.key.clone(), input: Input::Answer(answer) }
}

pub(super) fn unwanted(key: &AggregateKey) -> Envelope {
    let reason = "who asked for it does not wait any longer".to_owned();
    let id = InputId(format!("{key}:unwanted"));
    Envelope { id, to: key.clone(), input: Input::Cancel { reason } }
}

/// The first and last signal of a loop that has no log.
pub(super) fn never_began(key: &AggregateKey, skipped: u64) -> Envelope {
    let summary = LoopSummary { key: key.clone(), total: 0, failed: 0 };
    let closing = Closing { summary, errors: Vec::new(), handled: 0, skipped };
    let signal = LoopSignal { from: key.clone(), number: 1, signal: Signal::Closed(closing) };
    let id = InputId(format!("{key}:declined"));
    Envelope { id, to: key.execution(), input: Input::LoopSignal(signal) }
}

/// What of an outbox is still awaited; messages always are, for their receivers know copies.
pub(super) fn still_pending(outbox: Outbox, state: &State) -> Outbox {
    let Outbox { mut commands, envelopes } = outbox;
    commands.retain(|command| match state {
        State::Execution(state) => {
            let timer = state.timer.is_some_and(|(_, number)| {
                command.id == timer_id(&command.reply_to, number) && state.failure.is_none()
            });
            let run = state.run_of_command(&command.id);
            timer || run.is_some_and(|(_, _, attempt)| attempt == command.attempt)
        }
        State::Loop(state) => awaits(state, &command.id, command.attempt),
    });
    Outbox { commands, envelopes }
}

/// Whether a loop waits for the answer to an attempt of a command of its own.
pub(super) fn awaits(state: &LoopState, command: &CommandId, attempt: u32) -> bool {
    let last = command.as_str().rsplit(':').next().unwrap_or_default();
    let (first, call) = last.split_once('/').unwrap_or((last, "1"));
    let (Ok(first), Ok(call)) = (first.parse::<u64>(), call.parse::<u32>()) else { return false };
    let found = |frame: &crate::state::PendingFrame| {
        frame.first == first && frame.call == call && frame.attempt == attempt
    };
    state.pending.iter().any(found)
}

/// The commands of the plain frames that a loop has out; those of units are in its log.
pub(super) fn frames(key: &AggregateKey, state: &LoopState) -> Vec<Command> {
    let plain = state.pending.iter().filter(|frame| frame.unit.is_none());
    let frames = plain.map(|frame| {
        let (first, len, attempt) = (frame.first, frame.len, frame.attempt);
        let not_before_ms = state.not_before_ms(frame);
        let plain = Issued::plain(first, len, attempt, state.tool_kind.clone());
        frame_command(key, state, &Issued { not_before_ms, ..plain })
    });
    frames.collect()
}
