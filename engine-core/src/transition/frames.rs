//! What a loop does with each of its inputs: fill the window, settle answers, close once.

use std::sync::Arc;

use serde_json::Value;

use super::collection::makes_units;
use super::execution::settle;
use super::finish::lost;
use super::items::{overrides, variables_place};
use super::pending::failed_outcome;
use super::{Needs, Trouble, Turn};
use crate::command::{CallSite, Command, Frame};
use crate::event::{
    Answer, Closing, Fact, Failure, IgnoreReason, LoopOpen, LoopSignal, Outcome, Signal,
    ToolFailure,
};
use crate::ids::{AggregateKey, CommandId};
use crate::limits::{ATTEMPTS_MAX, TRANSITIONS_MAX};
use crate::payload::Payload;
use crate::state::{At, LoopState, PendingFrame, State};

/// The command that carries a frame; the same for all its attempts.
#[must_use]
pub(crate) fn frame_command(key: &AggregateKey, state: &LoopState, frame: &Issued) -> Command {
    let id = frame_id(key, frame.first);
    Command {
        id: if frame.call > 1 { CommandId(format!("{id}/{}", frame.call)) } else { id },
        attempt: frame.attempt,
        reply_to: key.clone(),
        playbook: state.playbook.clone(),
        step: state.step.clone(),
        tool_kind: frame.tool_kind.clone(),
        frame: Some(Frame {
            first: frame.first,
            len: frame.len,
            total: state.collection_size,
            chunk_items: state.chunk_items,
            collection: state.collection.clone(),
            fail_fast: state.fail_fast,
        }),
        site: frame.site,
        overrides: overrides(frame.site, frame.unit.as_ref()),
        unit: frame.unit.clone(),
        vars: variables_place(key, state),
        // The opening fact of the loop's first entry holds the scope for all commands.
        scope: Payload::Log { key: key.clone(), seq: 1, fact: 0, item: 0 },
        not_before_ms: frame.not_before_ms,
        timeout_ms: state.timeout_ms,
    }
}

/// A frame as it was sent out.
#[derive(Clone, Debug)]
pub(crate) struct Issued {
    pub(crate) first: u64,
    pub(crate) len: u32,
    pub(crate) attempt: u32,
    pub(crate) not_before_ms: i64,
    /// Which call of its unit, from 1.
    pub(crate) call: u32,
    pub(crate) site: CallSite,
    pub(crate) tool_kind: String,
    /// A [`crate::state::Unit`] as JSON.
    pub(crate) unit: Option<Payload>,
    /// Whether it is what a worker had no time for.
    pub(crate) resumed: bool,
}

impl Issued {
    /// A frame of plain iterations.
    pub(crate) fn plain(first: u64, len: u32, attempt: u32, tool_kind: String) -> Self {
        let (not_before_ms, call, site, unit) = (0, 1, CallSite::Tool, None);
        Self { first, len, attempt, not_before_ms, call, site, tool_kind, unit, resumed: false }
    }
}

/// `{execution}:{step}:{loop's event id}:{first index}`.
pub(super) fn frame_id(key: &AggregateKey, first: u64) -> CommandId {
    match key {
        AggregateKey::Loop { execution_id, step, event_id } => {
            CommandId(format!("{execution_id}:{step}:{event_id}:{first}"))
        }
        AggregateKey::Execution(id) => CommandId(format!("{id}:{first}")),
    }
}

impl Turn<'_> {
    pub(super) fn looping(&self) -> Option<&LoopState> {
        match &self.state {
            Some(State::Loop(state)) => Some(state),
            Some(State::Execution(_)) | None => None,
        }
    }

    /// Begins the loop; an empty one closes in the same breath (decision D28).
    pub(super) fn open_loop(&mut self, open: &LoopOpen) -> Result<(), Needs> {
        let open = LoopOpen { heard: 0, ..open.clone() };
        self.record(Fact::LoopOpened { open: Box::new(open) });
        self.fill()?;
        self.close();
        Ok(())
    }

    /// Sends out frames until the window is full or nothing is left.
    pub(super) fn fill(&mut self) -> Result<(), Needs> {
        while let Some(state) = self.looping() {
            let left = state.collection_size - state.next;
            let room = state.max_in_flight.saturating_sub(state.pending.len() as u64);
            if state.stopped || left == 0 || room == 0 {
                break;
            }
            let first = state.next;
            if let Some(step) = self.step_of(&state.step).filter(|step| makes_units(step)) {
                self.issue_item(&self.first_of_item(step, first), 1)?;
                continue;
            }
            // Towards the end frames shrink, so that the window stays busy.
            let share = left.div_ceil(state.max_in_flight).min(u64::from(u32::MAX));
            let len = state.frame_items.min(u32::try_from(share).unwrap_or(u32::MAX)).max(1);
            let kind = state.tool_kind.clone();
            self.issue_frame(Issued::plain(first, len, 1, kind));
        }
        Ok(())
    }

    pub(super) fn issue_frame(&mut self, frame: Issued) {
        let Some(step) = self.looping().map(|state| state.step.clone()) else { return };
        let Issued { first, len, attempt, not_before_ms, call, site, tool_kind, unit, resumed } =
            frame;
        self.record(Fact::FrameIssued {
            first,
            len,
            attempt,
            not_before_ms,
            tool_kind,
            step,
            call,
            site,
            unit,
            resumed,
        });
    }

    /// Folds a worker's answer to a frame.
    pub(super) fn frame_answered(
        &mut self,
        answer: &Answer,
    ) -> Result<Option<IgnoreReason>, Needs> {
        let Some(state) = self.looping() else { return Ok(Some(IgnoreReason::Unknown)) };
        if state.closed {
            return Ok(Some(IgnoreReason::Terminal));
        }
        let (first, call) = numbers(answer.command_id.as_str());
        let Some(first) = first else { return Ok(Some(IgnoreReason::Unknown)) };
        let id = frame_id(self.moment.key, first);
        let is_ours = answer.command_id.as_str().strip_prefix(id.as_str());
        if is_ours.is_none_or(|rest| !rest.is_empty() && !rest.starts_with('/'))
            || first >= state.next
        {
            return Ok(Some(IgnoreReason::Unknown));
        }
        let pending = state.pending.iter().find(|frame| frame.first == first);
        let Some(frame) = pending.filter(|frame| frame.call == call).cloned() else {
            return Ok(Some(IgnoreReason::Duplicate));
        };
        if frame.attempt != answer.attempt {
            return Ok(Some(IgnoreReason::StaleAttempt));
        }
        if let Some((ran, rest)) = split(answer, &frame, state) {
            self.settle_frame(&ran, answer, answer.outcomes.clone())?;
            self.issue_frame(rest);
        } else {
            let has_failed = answer.outcomes.last().is_some_and(|last| last.error.is_some());
            // A loop that has stopped leaves the rest undone, as one does that gives up.
            let may_stop = (state.fail_fast && has_failed) || (state.stopped && answer.cut);
            let outcomes = complete(answer.outcomes.clone(), &frame, may_stop);
            self.settle_frame(&frame, answer, outcomes)?;
        }
        self.fill()?;
        self.close();
        Ok(None)
    }

    /// Settles a frame: a plain one as a whole, the call of a unit by the rules of its step.
    fn settle_frame(
        &mut self,
        frame: &PendingFrame,
        answer: &Answer,
        mut outcomes: Vec<Outcome>,
    ) -> Result<(), Needs> {
        let Some(state) = self.looping() else { return Ok(()) };
        let (step, fail_fast) = (state.step.clone(), state.fail_fast);
        if self.step_of(&step).is_some_and(makes_units) {
            let outcome = outcomes.pop().unwrap_or_else(|| failed_outcome(lost(frame.attempt)));
            return self.item_answered(frame, answer, outcome);
        }
        let gives_up = fail_fast && outcomes.iter().any(|outcome| outcome.error.is_some());
        for outcome in &mut outcomes {
            outcome.result = self.spill(outcome.result.clone());
        }
        self.record(Fact::FrameAnswered {
            first: frame.first,
            len: frame.len,
            attempt: frame.attempt,
            worker: answer.worker.clone(),
            step,
            outcomes,
            retried: Vec::new(),
            handled: Vec::new(),
        });
        if gives_up {
            self.record(Fact::LoopStopped { reason: "an iteration failed".to_owned() });
        }
        Ok(())
    }

    pub(super) fn known(&self, payload: &Payload) -> Result<Arc<Value>, Trouble> {
        if let Payload::Inline(value) = payload {
            return Ok(Arc::new(value.clone()));
        }
        let found = self.loaded.value(payload);
        found.ok_or_else(|| Trouble::Needs(vec![payload.clone()]))
    }

    pub(super) fn signal(&mut self, signal: Signal) {
        let number = self.looping().map_or(0, |state| state.signals) + 1;
        let from = self.moment.key.clone();
        self.record(Fact::SignalSent { signal: LoopSignal { from, number, signal } });
    }

    /// Closes the loop when every iteration has its outcome: in the step that settled the last one.
    pub(super) fn close(&mut self) {
        let Some(state) = self.looping() else { return };
        let done = state.stopped || state.next == state.collection_size;
        if state.closed || !done || !state.pending.is_empty() {
            return;
        }
        let at =
            At { key: self.moment.key, seq: self.moment.seq, at_ms: self.moment.at_ms, fact: 0 };
        let summary = state.summary(&at);
        let closing = Closing {
            summary: summary.clone(),
            errors: state.errors.clone(),
            handled: state.handled,
            skipped: state.collection_size - summary.total,
        };
        let step = state.step.clone();
        self.record(Fact::LoopClosed { step, summary });
        self.signal(Signal::Closed(closing));
    }

    /// Issues nothing new any more.
    pub(super) fn stop_loop(&mut self, reason: &str) -> Option<IgnoreReason> {
        match self.looping() {
            Some(state) if state.closed => Some(IgnoreReason::Terminal),
            Some(state) if state.stopped => Some(IgnoreReason::Duplicate),
            _ => {
                self.record(Fact::LoopStopped { reason: reason.to_owned() });
                self.close();
                None
            }
        }
    }

    /// Issues frames again whose answer is overdue.
    pub(super) fn loop_tick(&mut self) -> Result<(), Needs> {
        let Some(state) = self.looping() else { return Ok(()) };
        let (stopped, elapsed_ms) = (state.stopped, self.moment.at_ms - state.opened_ms);
        let overdue: Vec<PendingFrame> = state
            .pending
            .iter()
            .filter(|frame| frame.deadline_after_ms < elapsed_ms)
            .cloned()
            .collect();
        if state.folded > TRANSITIONS_MAX && !state.stopped {
            self.run_away();
        }
        for frame in overdue {
            let attempt = frame.attempt;
            if attempt < ATTEMPTS_MAX && !stopped {
                self.issue_frame_again(&frame)?;
            } else {
                let outcomes = (0..frame.len).map(|_| failed_outcome(lost(attempt))).collect();
                let answer = Answer {
                    command_id: self.call_id(&frame),
                    attempt,
                    worker: String::new(),
                    outcomes: Vec::new(),
                    cut: false,
                };
                self.settle_frame(&frame, &answer, outcomes)?;
            }
        }
        self.fill()?;
        self.close();
        Ok(())
    }

    /// Stops a loop that hears too much, and fails its execution: a part of the results is no result.
    fn run_away(&mut self) {
        let message = format!("more than {TRANSITIONS_MAX} inputs: this looks like a runaway");
        let step = self.looping().map(|state| state.step.clone());
        self.record(Fact::LoopStopped { reason: message.clone() });
        let error = ToolFailure { kind: "LimitError".into(), message, ..Default::default() };
        self.signal(Signal::Fail { failure: Failure { step, error, ..Failure::default() } });
    }

    /// The same call once more, as the next attempt.
    fn issue_frame_again(&mut self, frame: &PendingFrame) -> Result<(), Needs> {
        let Some(kind) = self.looping().map(|state| state.tool_kind.clone()) else { return Ok(()) };
        let again = frame.attempt + 1;
        if frame.unit.is_none() {
            self.issue_frame(Issued::plain(frame.first, frame.len, again, kind));
            return Ok(());
        }
        if let Ok(ending) = settle(self.ending_of(frame))? {
            self.issue_item_at(&ending, again, 0);
        }
        Ok(())
    }
}

/// The first index and the number of the call that a command's id ends with.
pub(super) fn numbers(id: &str) -> (Option<u64>, u32) {
    let last = id.rsplit(':').next().unwrap_or_default();
    match last.split_once('/') {
        Some((first, call)) => (first.parse().ok(), call.parse().unwrap_or(0)),
        None => (last.parse().ok(), 1),
    }
}

/// What ran of a frame whose worker had no time for all of it, and what is to be sent out again.
///
/// At least one iteration ran, so that a loop whose every call takes as long as a worker lives goes on.
fn split(
    answer: &Answer,
    frame: &PendingFrame,
    state: &LoopState,
) -> Option<(PendingFrame, Issued)> {
    let ran = u32::try_from(answer.outcomes.len()).ok()?;
    if !answer.cut || frame.unit.is_some() || state.stopped || !(1..frame.len).contains(&ran) {
        return None;
    }
    if state.fail_fast && answer.outcomes.iter().any(|outcome| outcome.error.is_some()) {
        return None;
    }
    let (first, len) = (frame.first + u64::from(ran), frame.len - ran);
    let rest = Issued { resumed: true, ..Issued::plain(first, len, 1, state.tool_kind.clone()) };
    Some((PendingFrame { len: ran, ..frame.clone() }, rest))
}

/// One outcome per iteration, unless the worker was right to stop early.
fn complete(mut outcomes: Vec<Outcome>, frame: &PendingFrame, may_stop: bool) -> Vec<Outcome> {
    outcomes.truncate(frame.len as usize);
    if !may_stop {
        let message = "the worker answered without this iteration's outcome".to_owned();
        let error = ToolFailure { kind: "WorkerError".to_owned(), message, ..Default::default() };
        outcomes.resize_with(frame.len as usize, || failed_outcome(error.clone()));
    }
    outcomes
}
