//! What a loop does with each of its inputs: fill the window, settle answers, close once.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Deserialize;
use serde_json::Value;

use super::collection::watches_items;
use super::execution::settle;
use super::finish::lost;
use super::rules::{self, Effect, Fired};
use super::view::{Item, Occasion, View};
use super::{Needs, Trouble, Turn};
use crate::command::{CallSite, Command, Frame, Scope};
use crate::event::{
    Answer, Closing, Fact, Failure, IgnoreReason, LoopOpen, LoopSignal, Outcome, Signal,
    ToolFailure,
};
use crate::ids::{AggregateKey, CommandId};
use crate::limits::{ATTEMPTS_MAX, TRANSITIONS_MAX};
use crate::payload::{Payload, PayloadRef};
use crate::state::{At, LoopState, PendingFrame, State};

/// The command that carries a frame; the same for all its attempts.
#[must_use]
pub(crate) fn frame_command(key: &AggregateKey, state: &LoopState, frame: &Issued) -> Command {
    Command {
        id: frame_id(key, frame.first),
        attempt: frame.attempt,
        reply_to: key.clone(),
        playbook: state.playbook.clone(),
        step: state.step.clone(),
        tool_kind: state.tool_kind.clone(),
        frame: Some(Frame {
            first: frame.first,
            len: frame.len,
            total: state.collection_size,
            chunk_items: state.chunk_items,
            collection: state.collection.clone(),
            fail_fast: state.fail_fast,
        }),
        site: CallSite::Tool,
        unit: None,
        vars: None,
        overrides: None,
        // The opening fact of the loop's first entry holds the scope for all commands.
        scope: Payload::Log { key: key.clone(), seq: 1, fact: 0, item: 0 },
        not_before_ms: frame.not_before_ms,
        timeout_ms: state.timeout_ms,
    }
}

/// A frame as it was sent out.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Issued {
    pub(crate) first: u64,
    pub(crate) len: u32,
    pub(crate) attempt: u32,
    pub(crate) not_before_ms: i64,
}

/// `{execution}:{step}:{loop's event id}:{first index}`.
fn frame_id(key: &AggregateKey, first: u64) -> CommandId {
    match key {
        AggregateKey::Loop { execution_id, step, event_id } => {
            CommandId(format!("{execution_id}:{step}:{event_id}:{first}"))
        }
        AggregateKey::Execution(id) => CommandId(format!("{id}:{first}")),
    }
}

/// What the rules of a step made of one iteration.
#[derive(Default)]
struct Settled {
    retry_after_ms: Option<u64>,
    handled: bool,
    signals: Vec<Signal>,
    stop: bool,
}

impl Turn<'_> {
    fn looping(&self) -> Option<&LoopState> {
        match &self.state {
            Some(State::Loop(state)) => Some(state),
            Some(State::Execution(_)) | None => None,
        }
    }

    /// Begins the loop; an empty one closes in the same breath (decision D28).
    pub(super) fn open_loop(&mut self, open: &LoopOpen) {
        let open = LoopOpen { heard: 0, ..open.clone() };
        self.record(Fact::LoopOpened { open: Box::new(open) });
        self.fill();
        self.close();
    }

    /// Sends out frames until the window is full or nothing is left.
    fn fill(&mut self) {
        while let Some(state) = self.looping() {
            let left = state.collection_size - state.next;
            let room = state.max_in_flight.saturating_sub(state.pending.len() as u64);
            if state.stopped || left == 0 || room == 0 {
                return;
            }
            // Towards the end frames shrink, so that the window stays busy.
            let share = left.div_ceil(state.max_in_flight).min(u64::from(u32::MAX));
            let len = state.frame_items.min(u32::try_from(share).unwrap_or(u32::MAX)).max(1);
            let first = state.next;
            self.issue_frame(Issued { first, len, attempt: 1, not_before_ms: 0 });
        }
    }

    fn issue_frame(&mut self, frame: Issued) {
        let Some(state) = self.looping() else { return };
        let (tool_kind, step) = (state.tool_kind.clone(), state.step.clone());
        let Issued { first, len, attempt, not_before_ms } = frame;
        self.record(Fact::FrameIssued {
            first,
            len,
            attempt,
            not_before_ms,
            tool_kind,
            step,
            call: 1,
            site: CallSite::Tool,
            unit: None,
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
        let first = answer.command_id.as_str().rsplit(':').next();
        let Some(first) = first.and_then(|first| first.parse::<u64>().ok()) else {
            return Ok(Some(IgnoreReason::Unknown));
        };
        if frame_id(self.moment.key, first) != answer.command_id || first >= state.next {
            return Ok(Some(IgnoreReason::Unknown));
        }
        let pending = state.pending.iter().find(|frame| frame.first == first);
        let Some(frame) = pending.cloned() else { return Ok(Some(IgnoreReason::Duplicate)) };
        if frame.attempt != answer.attempt {
            return Ok(Some(IgnoreReason::StaleAttempt));
        }
        let outcomes = complete(answer.outcomes.clone(), &frame, state.fail_fast);
        self.settle_frame(&frame, &answer.worker, outcomes)?;
        self.fill();
        self.close();
        Ok(None)
    }

    /// Asks the rules about each iteration, records the frame, and does what the rules say.
    fn settle_frame(
        &mut self,
        frame: &PendingFrame,
        worker: &str,
        mut outcomes: Vec<Outcome>,
    ) -> Result<(), Needs> {
        let Some(state) = self.looping() else { return Ok(()) };
        let (step, fail_fast, is_stopped) = (state.step.clone(), state.fail_fast, state.stopped);
        let (mut retries, mut handled) = (BTreeMap::new(), Vec::new());
        let (mut signals, mut gives_up) = (Vec::new(), false);
        for (index, outcome) in (frame.first..).zip(&mut outcomes) {
            let settled = self.consult_item(index, frame.attempt, outcome)?;
            if let Some(delay_ms) = settled.retry_after_ms.filter(|_| !is_stopped) {
                retries.insert(index, delay_ms);
            }
            if settled.handled {
                handled.push(index);
            }
            let failed = outcome.error.is_some() && !retries.contains_key(&index);
            gives_up |= settled.stop || (fail_fast && failed && !settled.handled);
            signals.extend(settled.signals);
        }
        for outcome in &mut outcomes {
            outcome.result = self.spill(outcome.result.clone());
        }
        self.record(Fact::FrameAnswered {
            first: frame.first,
            len: frame.len,
            attempt: frame.attempt,
            worker: worker.to_owned(),
            step,
            outcomes,
            retried: retries.keys().copied().collect(),
            handled,
        });
        for signal in signals {
            self.signal(signal);
        }
        for (first, delay_ms) in retries {
            let wait = |delay_ms| self.moment.at_ms.saturating_add_unsigned(delay_ms);
            let not_before_ms = if delay_ms == 0 { 0 } else { wait(delay_ms) };
            let attempt = frame.attempt + 1;
            self.issue_frame(Issued { first, len: 1, attempt, not_before_ms });
        }
        if gives_up {
            self.record(Fact::LoopStopped { reason: "an iteration failed".to_owned() });
        }
        Ok(())
    }

    /// What the rules of the step say to the end of one iteration.
    fn consult_item(
        &mut self,
        index: u64,
        attempt: u32,
        outcome: &mut Outcome,
    ) -> Result<Settled, Needs> {
        let Some(state) = self.looping() else { return Ok(Settled::default()) };
        let Some(step) = self.step_of(&state.step) else { return Ok(Settled::default()) };
        if !step.rules.iter().any(watches_items) {
            return Ok(Settled::default());
        }
        let (state, failed) = (state.clone(), outcome.error.is_some());
        let occasion = Occasion {
            name: if failed { "call.error" } else { "call.done" },
            response: outcome.result.clone(),
            error: outcome.error.clone(),
            attempt,
        };
        let verdict = self.item_view(&state, index, step, occasion).and_then(|mut view| {
            let command = frame_id(self.moment.key, index);
            rules::evaluate(step, &mut view, &command, &mut Fired::default())
        });
        let place = (step.name.clone(), step.position.line);
        let mut settled = Settled::default();
        match settle(verdict)? {
            Ok(verdict) => {
                for effect in verdict.effects {
                    absorb(effect, &mut settled, outcome, &place, index, attempt);
                }
                // Trying again takes care of nothing yet.
                settled.handled = verdict.matched && failed && settled.retry_after_ms.is_none();
            }
            Err(error) => {
                let effect = Effect::Fail(error);
                absorb(effect, &mut settled, outcome, &place, index, attempt);
            }
        }
        Ok(settled)
    }

    /// What names mean for the rules of one iteration: the scope of the opening, and the item.
    fn item_view<'s>(
        &self,
        state: &LoopState,
        index: u64,
        step: &'s crate::playbook::Step,
        occasion: Occasion,
    ) -> Result<View<'s>, Trouble> {
        let scope = Payload::Log { key: self.moment.key.clone(), seq: 1, fact: 0, item: 0 };
        let scope = self.known(&scope)?;
        let scope = Scope::deserialize(&*scope)
            .map_err(|error| Trouble::failed("StateError", format!("the loop's scope: {error}")))?;
        let value = self.item(state, index)?;
        let iterator = state.iterator.clone();
        let total = state.collection_size;
        Ok(View {
            execution_id: self.moment.key.execution_id(),
            step: &step.name,
            names: &step.names.engine,
            workload: scope.workload.unwrap_or(Payload::Inline(Value::Null)),
            vars: scope.vars,
            steps: scope.steps,
            args: scope.args,
            item: Some(Item { iterator, value, index, total }),
            result: Some(occasion.response.clone()),
            occasion: Some(occasion),
            loaded: self.loaded.clone(),
        })
    }

    fn item(&self, state: &LoopState, index: u64) -> Result<Value, Trouble> {
        let chunks = self.known(&Payload::Ref(state.collection.clone()))?;
        let (chunk, offset) = (index / state.chunk_items, index % state.chunk_items);
        let at = |number: u64| usize::try_from(number).unwrap_or(usize::MAX);
        let reference: Option<PayloadRef> =
            chunks.get(at(chunk)).cloned().and_then(|chunk| serde_json::from_value(chunk).ok());
        let items = match reference {
            Some(reference) => self.known(&Payload::Ref(reference))?,
            None => Arc::default(),
        };
        Ok(items.get(at(offset)).cloned().unwrap_or(Value::Null))
    }

    fn known(&self, payload: &Payload) -> Result<Arc<Value>, Trouble> {
        let found = self.loaded.value(payload);
        found.ok_or_else(|| Trouble::Needs(vec![payload.clone()]))
    }

    fn signal(&mut self, signal: Signal) {
        let number = self.looping().map_or(0, |state| state.signals) + 1;
        let from = self.moment.key.clone();
        self.record(Fact::SignalSent { signal: LoopSignal { from, number, signal } });
    }

    /// Closes the loop when every iteration has its outcome: in the step that settled the last one.
    fn close(&mut self) {
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
            let reason = format!("more than {TRANSITIONS_MAX} inputs: this looks like a runaway");
            self.record(Fact::LoopStopped { reason });
        }
        for frame in overdue {
            let PendingFrame { first, len, attempt, .. } = frame;
            if attempt < ATTEMPTS_MAX && !stopped {
                self.issue_frame(Issued { first, len, attempt: attempt + 1, not_before_ms: 0 });
            } else {
                let outcomes = (0..len).map(|_| failed_outcome(lost(attempt))).collect();
                self.settle_frame(&frame, "", outcomes)?;
            }
        }
        self.fill();
        self.close();
        Ok(())
    }
}

/// Turns an effect of an iteration's rule into what the loop does about it.
fn absorb(
    effect: Effect,
    settled: &mut Settled,
    outcome: &mut Outcome,
    (step, line): &(crate::ids::StepName, u32),
    index: u64,
    attempt: u32,
) {
    match effect {
        Effect::Set(values) => settled.signals.push(Signal::Set { values }),
        Effect::Result(result) => outcome.result = result,
        Effect::Retry(delay_ms) => settled.retry_after_ms = Some(delay_ms),
        Effect::Route(to, args) => settled.signals.push(Signal::Route { to, args }),
        Effect::Fail(error) => {
            let (step, line, index) = (Some(step.clone()), *line, Some(index));
            let failure = Failure { step, line, attempt, index, error };
            settled.signals.push(Signal::Fail { failure });
            settled.stop = true;
        }
        // An iteration's outcome is in the event log already, and its tool has run.
        Effect::Save(_) | Effect::Skip => {}
    }
}

/// One outcome per iteration, unless the worker was right to stop early.
fn complete(mut outcomes: Vec<Outcome>, frame: &PendingFrame, fail_fast: bool) -> Vec<Outcome> {
    outcomes.truncate(frame.len as usize);
    let may_stop = fail_fast && outcomes.last().is_some_and(|last| last.error.is_some());
    if !may_stop {
        let message = "the worker answered without this iteration's outcome".to_owned();
        let error = ToolFailure { kind: "WorkerError".to_owned(), message, ..Default::default() };
        outcomes.resize_with(frame.len as usize, || failed_outcome(error.clone()));
    }
    outcomes
}

fn failed_outcome(error: ToolFailure) -> Outcome {
    Outcome {
        result: Payload::Inline(Value::Null),
        error: Some(error),
        started_ms: 0,
        duration_ms: 0,
        output: String::new(),
    }
}
