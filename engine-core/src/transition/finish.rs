//! How an execution ends: nothing is open any more, something failed, somebody stopped it.

use std::collections::BTreeMap;

use serde_json::Value;

use super::exit::Ending;
use super::{Needs, Turn};
use crate::event::{Fact, Failure, IgnoreReason, Outcome, Status, ToolFailure};
use crate::ids::{AggregateKey, CommandId, EventId, StepName};
use crate::limits::{ATTEMPTS_MAX, TRANSITIONS_MAX};
use crate::payload::Payload;
use crate::state::Waits;

impl Turn<'_> {
    /// Stops the execution on request.
    pub(super) fn cancel(&mut self, reason: &str) -> Option<IgnoreReason> {
        if !self.is_running() {
            return Some(IgnoreReason::Terminal);
        }
        let told = format!("the execution was cancelled: {reason}");
        for stop in self.stops() {
            self.record(Fact::StopSent { key: stop, reason: told.clone() });
        }
        for (run, step, command_id) in self.open_commands() {
            self.record(Fact::CommandCancelled { run, step, command_id });
        }
        let error = ToolFailure {
            kind: "Cancelled".to_owned(),
            message: reason.to_owned(),
            ..ToolFailure::default()
        };
        let failure = Some(Failure { error, ..Failure::default() });
        let final_step = self.execution().and_then(|state| state.last.clone());
        let result = Payload::Inline(Value::Null);
        self.end_as(Ended { status: Status::Cancelled, final_step, result, failure }, None);
        None
    }

    /// Records a failure that ends the execution, and stops what can be stopped.
    pub(super) fn give_up(&mut self, failure: Failure) {
        if self.is_failing() {
            return;
        }
        self.record(Fact::Failed { failure });
        let reason = "the execution failed";
        for stop in self.stops() {
            self.record(Fact::StopSent { key: stop, reason: reason.to_owned() });
        }
        // Nothing comes of waiting any longer, and nobody else would end these.
        for (run, step) in self.idle_runs() {
            self.record(Fact::StepExited {
                run,
                step,
                status: Status::Failed,
                result: Payload::Inline(Value::Null),
                error: Some(stopped(reason)),
            });
        }
    }

    /// The loops and the child executions that open runs wait for.
    fn stops(&self) -> Vec<AggregateKey> {
        let runs = self.execution().map(|state| &state.runs).into_iter().flatten();
        let stops = runs.filter_map(|(_, run)| match &run.waits {
            Waits::Loop { key, .. } => Some(key.clone()),
            Waits::Command { .. } => run.unit.as_ref()?.child.map(AggregateKey::Execution),
            Waits::Nothing => None,
        });
        stops.collect()
    }

    /// The runs that only wait for a time or for somebody.
    fn idle_runs(&self) -> Vec<(EventId, StepName)> {
        let runs = self.execution().map(|state| &state.runs).into_iter().flatten();
        let idle = runs.filter(|(_, run)| {
            let waits = matches!(run.waits, Waits::Command { .. });
            waits && run.unit.as_ref().is_some_and(|unit| unit.until_ms.is_some())
        });
        idle.map(|(id, run)| (*id, run.step.clone())).collect()
    }

    fn open_commands(&self) -> Vec<(EventId, StepName, CommandId)> {
        let runs = self.execution().map(|state| &state.runs).into_iter().flatten();
        let commands = runs.filter_map(|(run, open)| match &open.waits {
            Waits::Command { id, .. } => Some((*run, open.step.clone(), id.clone())),
            _ => None,
        });
        commands.collect()
    }

    /// Looks after commands whose answer is overdue, and after the time of the whole execution.
    pub(super) fn execution_tick(&mut self) -> Result<(), Needs> {
        if !self.is_running() {
            return Ok(());
        }
        for ending in self.overdue() {
            let attempt = ending.attempt;
            if let Some(child) = ending.unit.child {
                let answer = self.child_overdue(self.command_of(&ending), attempt, child);
                self.answered(&answer)?;
            } else if (attempt < ATTEMPTS_MAX || ending.unit.until_ms.is_some())
                && !self.is_failing()
            {
                self.issue_at(&ending, attempt + 1, 0)?;
            } else {
                self.fail_run(&ending, lost(attempt))?;
            }
        }
        self.run_out();
        if self.execution().is_some_and(|state| state.folded > TRANSITIONS_MAX) {
            let message = format!("more than {TRANSITIONS_MAX} inputs: this looks like a runaway");
            let error = ToolFailure { kind: "LimitError".into(), message, ..Default::default() };
            self.give_up(Failure { error, ..Failure::default() });
        }
        self.quiesce()
    }

    fn overdue(&self) -> Vec<Ending> {
        let now_ms = self.moment.at_ms;
        let runs = self.execution().map(|state| &state.runs).into_iter().flatten();
        let overdue = runs.filter_map(|(id, run)| match run.waits {
            Waits::Command { attempt, deadline_ms, .. } if deadline_ms < now_ms => {
                let ending = Ending::failed(*id, run.step.clone(), attempt);
                let unit = run.unit.as_deref().cloned().unwrap_or_default();
                Some(Ending { unit, ..ending })
            }
            _ => None,
        });
        overdue.collect()
    }

    /// Ends the execution when nothing is open.
    pub(super) fn quiesce(&mut self) -> Result<(), Needs> {
        if !self.is_running() {
            return Ok(());
        }
        self.release()?;
        let Some(state) = self.execution() else { return Ok(()) };
        if !state.runs.is_empty() {
            return Ok(());
        }
        if let Some(last) = &self.moment.playbook.final_step
            && state.failure.is_none()
            && !state.steps.contains_key(last)
        {
            self.enter(last, BTreeMap::new(), None)?;
            return self.quiesce();
        }
        let failure = state.failure.clone();
        let final_step = state.last.clone();
        let result = final_step.as_ref().and_then(|step| state.steps.get(step));
        let result = result.and_then(|step| step.result.clone());
        let result = result.unwrap_or(Payload::Inline(Value::Null));
        let status = if failure.is_some() { Status::Failed } else { Status::Completed };
        let told = match status {
            Status::Completed => self.result_for_parent(&result)?,
            _ => None,
        };
        self.end_as(Ended { status, final_step, result, failure }, told);
        Ok(())
    }

    /// Records the end, and tells whoever waits for it.
    fn end_as(&mut self, ended: Ended, told: Option<Result<Payload, ToolFailure>>) {
        let Ended { status, final_step, result, failure } = ended;
        if let Some(outcome) = self.outcome_for_parent(status, failure.as_ref(), told) {
            let outcome = Outcome { result: self.spill(outcome.result), ..outcome };
            self.record(Fact::ParentAnswered { outcome: Box::new(outcome) });
        }
        self.record(Fact::Finished { status, final_step, result, failure });
    }
}

/// How an execution ended.
struct Ended {
    status: Status,
    final_step: Option<StepName>,
    result: Payload,
    failure: Option<Failure>,
}

/// The failure of a call that was waiting when everything was stopped.
pub(super) fn stopped(reason: &str) -> ToolFailure {
    ToolFailure {
        kind: "Cancelled".to_owned(),
        message: format!("it does not wait any longer: {reason}"),
        ..ToolFailure::default()
    }
}

/// The failure of a command that never was answered.
pub(super) fn lost(attempt: u32) -> ToolFailure {
    ToolFailure {
        kind: "LostError".to_owned(),
        message: format!(
            "no answer to {attempt} attempts; see the dead letters of its queue, and whether a \
             worker for its kind is running"
        ),
        retryable: true,
        ..ToolFailure::default()
    }
}
