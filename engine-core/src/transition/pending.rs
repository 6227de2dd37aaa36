//! Calls of a loop's iterations that no worker answers: children that must stop, callbacks that arrive.

use serde_json::Value;

use super::execution::settle;
use super::finish::stopped;
use super::frames::frame_id;
use super::own::CALLBACK;
use super::{Needs, Turn};
use crate::event::{Answer, Fact, IgnoreReason, Outcome, ToolFailure};
use crate::ids::{AggregateKey, CommandId};
use crate::payload::Payload;
use crate::state::{LoopState, PendingFrame, Unit, Waits};

impl Turn<'_> {
    fn open_loop_state(&self) -> Option<&LoopState> {
        self.looping().filter(|state| !state.closed)
    }

    /// What the iteration of a pending frame has done so far; none where one call is all.
    fn pending_unit(&self, frame: &PendingFrame) -> Result<Option<Unit>, Needs> {
        match frame.unit {
            Some(_) => Ok(settle(self.unit_of(frame))?.ok()),
            None => Ok(None),
        }
    }

    /// Whether the aggregate is a loop that still begins iterations.
    pub(super) fn is_going(&self) -> bool {
        self.open_loop_state().is_some_and(|state| !state.stopped)
    }

    /// In a loop that was just stopped: stops the children of its iterations, and ends iterations that
    /// only wait.
    pub(super) fn stop_calls(&mut self) -> Result<(), Needs> {
        let reason = "the loop was stopped";
        let frames = self.open_loop_state().map(|state| state.pending.clone());
        for frame in frames.into_iter().flatten() {
            let Some(unit) = self.pending_unit(&frame)? else { continue };
            if let Some(child) = unit.child {
                let key = AggregateKey::Execution(child);
                self.record(Fact::StopSent { key, reason: reason.to_owned() });
            } else if unit.until_ms.is_some() {
                self.end_wait(&frame, &unit, reason);
            }
        }
        self.close();
        Ok(())
    }

    /// Ends an iteration that only waits: nobody else would.
    fn end_wait(&mut self, frame: &PendingFrame, unit: &Unit, reason: &str) {
        let (AggregateKey::Loop { event_id, .. }, Some(state)) =
            (self.moment.key, self.open_loop_state())
        else {
            return;
        };
        let (step, index) = (state.step.clone(), frame.first);
        let outcome = failed_outcome(stopped(reason));
        self.record(Fact::Answered {
            run: *event_id,
            index: Some(index),
            step: step.clone(),
            site: unit.site,
            command_id: self.call_id(frame),
            attempt: frame.attempt,
            worker: String::new(),
            outcome: outcome.clone(),
        });
        self.record(Fact::IterationSettled { index, step, outcome, handled: false });
    }

    /// Ends the calls of children that took too long; other overdue calls are asked for again.
    pub(super) fn expire_calls(&mut self) -> Result<(), Needs> {
        let Some(state) = self.open_loop_state() else { return Ok(()) };
        let elapsed_ms = self.moment.at_ms - state.opened_ms;
        let late = state.pending.iter().filter(|frame| frame.deadline_after_ms < elapsed_ms);
        let late: Vec<PendingFrame> = late.cloned().collect();
        for frame in late {
            if let Some(child) = self.pending_unit(&frame)?.and_then(|unit| unit.child) {
                let answer = self.child_overdue(self.call_id(&frame), frame.attempt, child);
                self.frame_answered(&answer)?;
            }
        }
        Ok(())
    }

    /// The command of a pending call.
    pub(super) fn call_id(&self, frame: &PendingFrame) -> CommandId {
        let id = frame_id(self.moment.key, frame.first);
        CommandId(if frame.call > 1 { format!("{id}/{}", frame.call) } else { id.0 })
    }

    /// Somebody answers a step that waits for a callback.
    ///
    /// Tokens are compared as any text: whoever gets here has named the execution, the answer is the same
    /// for every wrong token, and 128 bits leave nothing to guess byte by byte over a queue.
    pub(super) fn called_back(
        &mut self,
        token: &str,
        data: &Payload,
    ) -> Result<Option<IgnoreReason>, Needs> {
        if !self.is_running() {
            return Ok(Some(IgnoreReason::Terminal));
        }
        let runs = self.execution().map(|state| &state.runs).into_iter().flatten();
        let mut waiting = runs.filter_map(|(_, run)| {
            run.unit.as_ref().filter(|unit| unit.token.as_deref() == Some(token))?;
            match &run.waits {
                Waits::Command { id, attempt, .. } => Some((id.clone(), *attempt)),
                _ => None,
            }
        });
        match waiting.next() {
            None => Ok(Some(IgnoreReason::Unknown)),
            Some((command_id, attempt)) => {
                let answer = self.brought(command_id, attempt, data);
                self.is_callback = true;
                let heard = self.answered(&answer);
                self.is_callback = false;
                heard
            }
        }
    }

    /// Somebody answers an iteration that waits for a callback.
    pub(super) fn item_called_back(
        &mut self,
        token: &str,
        data: &Payload,
    ) -> Result<Option<IgnoreReason>, Needs> {
        let Some(state) = self.open_loop_state() else { return Ok(Some(IgnoreReason::Terminal)) };
        let index = token.rsplit('-').next().and_then(|index| index.parse::<u64>().ok());
        let frame = state.pending.iter().find(|frame| Some(frame.first) == index).cloned();
        let Some(frame) = frame else { return Ok(Some(IgnoreReason::Unknown)) };
        let unit = self.pending_unit(&frame)?;
        if unit.is_none_or(|unit| unit.token.as_deref() != Some(token)) {
            return Ok(Some(IgnoreReason::Unknown));
        }
        let answer = self.brought(self.call_id(&frame), frame.attempt, data);
        self.is_callback = true;
        let heard = self.frame_answered(&answer);
        self.is_callback = false;
        heard
    }

    /// What a callback brings, as an answer to the call that waits for it.
    fn brought(&self, command_id: CommandId, attempt: u32, data: &Payload) -> Answer {
        let outcome = Outcome {
            result: data.clone(),
            error: None,
            started_ms: self.moment.at_ms,
            duration_ms: 0,
            output: String::new(),
        };
        Answer {
            command_id,
            attempt,
            worker: CALLBACK.to_owned(),
            outcomes: vec![outcome],
            cut: false,
        }
    }
}

/// An outcome that is nothing but a failure.
pub(crate) fn failed_outcome(error: ToolFailure) -> Outcome {
    Outcome {
        result: Payload::Inline(Value::Null),
        error: Some(error),
        started_ms: 0,
        duration_ms: 0,
        output: String::new(),
    }
}
