//! How far calls are: recorded for whoever watches, and nothing else depends on it.

use serde_json::Value;

use super::Turn;
use super::frames::numbers;
use crate::event::{Fact, IgnoreReason, Report};
use crate::ids::{AggregateKey, EventId, StepName};
use crate::limits::PROGRESS_BYTES_MAX;

impl Turn<'_> {
    /// A call of a step run tells how far it is.
    pub(super) fn progressed(&mut self, report: &Report) -> Option<IgnoreReason> {
        if !self.is_running() {
            return Some(IgnoreReason::Terminal);
        }
        let found = self.execution().and_then(|state| state.run_of_command(&report.command_id));
        let Some((run, open, current)) = found else {
            return Some(self.unawaited(&report.command_id));
        };
        if current != report.attempt {
            return Some(IgnoreReason::StaleAttempt);
        }
        let step = open.step.clone();
        self.note(run, step, report);
        None
    }

    /// A call of an iteration tells how far it is.
    pub(super) fn item_progressed(&mut self, report: &Report) -> Option<IgnoreReason> {
        let (AggregateKey::Loop { event_id, .. }, Some(state)) = (self.moment.key, self.looping())
        else {
            return Some(IgnoreReason::Unknown);
        };
        if state.closed {
            return Some(IgnoreReason::Terminal);
        }
        let (first, _) = numbers(report.command_id.as_str());
        let frame = state.pending.iter().find(|frame| Some(frame.first) == first);
        let frame = frame.filter(|frame| self.call_id(frame) == report.command_id);
        let Some(frame) = frame else {
            let was_out = first.is_some_and(|first| first < state.next);
            return Some(if was_out { IgnoreReason::Duplicate } else { IgnoreReason::Unknown });
        };
        if frame.attempt != report.attempt {
            return Some(IgnoreReason::StaleAttempt);
        }
        let indexes = frame.first..frame.first + u64::from(frame.len);
        if !report.index.is_some_and(|index| indexes.contains(&index)) {
            return Some(IgnoreReason::Unknown);
        }
        let step = state.step.clone();
        self.note(*event_id, step, report);
        None
    }

    fn note(&mut self, run: EventId, step: StepName, report: &Report) {
        let mut report = Box::new(report.clone());
        let fits =
            serde_json::to_string(&report.data).is_ok_and(|json| json.len() <= PROGRESS_BYTES_MAX);
        if !fits {
            report.data = Value::Null;
        }
        self.record(Fact::Progressed { run, step, report });
    }
}
