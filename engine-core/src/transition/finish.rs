//! How an execution ends: nothing is open any more, something failed, somebody stopped it.

use std::collections::BTreeMap;

use serde_json::Value;

use super::exit::Ending;
use super::{Needs, Turn};
use crate::event::{Fact, Failure, IgnoreReason, Status, ToolFailure};
use crate::ids::AggregateKey;
use crate::limits::{ATTEMPTS_MAX, TRANSITIONS_MAX};
use crate::payload::Payload;
use crate::state::Waits;

impl Turn<'_> {
    /// Stops the execution on request.
    pub(super) fn cancel(&mut self, reason: &str) -> Option<IgnoreReason> {
        if !self.is_running() {
            return Some(IgnoreReason::Terminal);
        }
        self.stop_loops(&format!("the execution was cancelled: {reason}"));
        let error = ToolFailure {
            kind: "Cancelled".to_owned(),
            message: reason.to_owned(),
            ..ToolFailure::default()
        };
        self.record(Fact::Finished {
            status: Status::Cancelled,
            final_step: self.execution().and_then(|state| state.last.clone()),
            result: Payload::Inline(Value::Null),
            failure: Some(Failure { error, ..Failure::default() }),
        });
        None
    }

    /// Records a failure that ends the execution, and stops what can be stopped.
    pub(super) fn give_up(&mut self, failure: Failure) {
        if self.is_failing() {
            return;
        }
        self.record(Fact::Failed { failure });
        self.stop_loops("the execution failed");
    }

    fn stop_loops(&mut self, reason: &str) {
        let open = self.execution().map(|state| &state.runs).into_iter().flatten();
        let keys: Vec<AggregateKey> = open
            .filter_map(|(_, run)| match &run.waits {
                Waits::Loop { key, .. } => Some(key.clone()),
                _ => None,
            })
            .collect();
        for key in keys {
            self.record(Fact::StopSent { key, reason: reason.to_owned() });
        }
    }

    /// Issues commands again whose answer is overdue.
    pub(super) fn execution_tick(&mut self) -> Result<(), Needs> {
        let now_ms = self.moment.at_ms;
        let runs = self.execution().map(|state| &state.runs).into_iter().flatten();
        let overdue: Vec<Ending> = runs
            .filter_map(|(id, run)| match run.waits {
                Waits::Command { attempt, deadline_ms, .. } if deadline_ms < now_ms => {
                    let ending = Ending::failed(*id, run.step.clone(), attempt);
                    let unit = run.unit.as_deref().cloned().unwrap_or_default();
                    Some(Ending { unit, ..ending })
                }
                _ => None,
            })
            .collect();
        for ending in overdue {
            let attempt = ending.attempt;
            if attempt < ATTEMPTS_MAX && !self.is_failing() {
                self.issue_at(&ending, attempt + 1, 0)?;
            } else {
                self.fail_run(&ending, lost(attempt))?;
            }
        }
        if self.execution().is_some_and(|state| state.folded > TRANSITIONS_MAX) {
            let message = format!("more than {TRANSITIONS_MAX} inputs: this looks like a runaway");
            let error = ToolFailure { kind: "LimitError".into(), message, ..Default::default() };
            self.give_up(Failure { error, ..Failure::default() });
        }
        self.quiesce()
    }

    /// Ends the execution when nothing is open.
    pub(super) fn quiesce(&mut self) -> Result<(), Needs> {
        let Some(state) = self.execution() else { return Ok(()) };
        if state.status != Status::Running || !state.runs.is_empty() {
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
        self.record(Fact::Finished { status, final_step, result, failure });
        Ok(())
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
