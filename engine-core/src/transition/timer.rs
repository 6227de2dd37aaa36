//! `executor.spec.timeout`: when the whole execution must have ended.

use serde_json::Value;

use super::execution::settle;
use super::settings::duration_ms;
use super::{Needs, Trouble, Turn};
use crate::event::{Answer, Fact, Failure, IgnoreReason, ToolFailure};
use crate::ids::{AggregateKey, CommandId};
use crate::limits::WAIT_MS_MAX;
use crate::template::Context;

/// `{execution}:timeout:{number}`: the command of a timer.
pub(crate) fn timer_id(key: &AggregateKey, number: u32) -> CommandId {
    CommandId(format!("{}:timeout:{number}", key.execution_id()))
}

impl Turn<'_> {
    /// Sets the timer of an execution that just began.
    pub(super) fn set_timer(&mut self) -> Result<(), Needs> {
        let Some(timeout) = &self.moment.playbook.timeout else { return Ok(()) };
        match settle(self.execution_ms(timeout))? {
            Ok(ms) => self.ring_at(self.moment.at_ms.saturating_add_unsigned(ms), 1),
            Err(error) => self.give_up(Failure { error, ..Failure::default() }),
        }
        Ok(())
    }

    fn execution_ms(&self, timeout: &Value) -> Result<u64, Trouble> {
        let mut context = Context::new(self.loaded.clone());
        if let Some(state) = self.execution() {
            context.set_result("workload", &state.workload);
            context.push_keys(&state.workload);
        }
        let ms = duration_ms(timeout, &context, "`executor.spec.timeout`")?;
        Ok(ms.clamp(1, WAIT_MS_MAX))
    }

    fn ring_at(&mut self, until_ms: i64, number: u32) {
        let rings_ms = self.rings_ms(until_ms);
        self.record(Fact::TimerSet { until_ms, rings_ms, number });
    }

    /// Whether an answer is the timer's and no step's.
    pub(super) fn is_timer(&self, answer: &Answer) -> bool {
        let prefix = format!("{}:timeout:", self.moment.key.execution_id());
        let id = &answer.command_id;
        id.as_str().starts_with(&prefix)
            && self.execution().is_some_and(|state| state.run_of_command(id).is_none())
    }

    /// Hears the timer of the execution.
    pub(super) fn timer_rang(&mut self, answer: &Answer) -> Result<Option<IgnoreReason>, Needs> {
        if !self.is_running() {
            return Ok(Some(IgnoreReason::Terminal));
        }
        let timer = self.execution().and_then(|state| state.timer);
        let timer = timer.filter(|(_, number)| {
            answer.command_id == timer_id(self.moment.key, *number) && !self.is_failing()
        });
        let Some((until_ms, number)) = timer else { return Ok(Some(IgnoreReason::Duplicate)) };
        if self.moment.at_ms < until_ms {
            self.ring_at(until_ms, number.saturating_add(1));
        } else {
            self.run_out();
        }
        self.quiesce().map(|()| None)
    }

    /// Fails an execution whose time is over.
    pub(super) fn run_out(&mut self) {
        let is_over = |state: &crate::state::ExecutionState| {
            state.timer.is_some_and(|(until_ms, _)| until_ms <= self.moment.at_ms)
        };
        if self.is_failing() || !self.execution().is_some_and(is_over) {
            return;
        }
        let allowed = match &self.moment.playbook.timeout {
            Some(Value::Number(seconds)) => format!("{seconds} s"),
            Some(Value::String(text)) => text.clone(),
            _ => "its time".to_owned(),
        };
        let message = format!(
            "the execution did not end within {allowed}; raise `executor.spec.timeout`, or let its \
             steps do less"
        );
        let error = ToolFailure { kind: "TimeoutError".to_owned(), message, ..Default::default() };
        self.give_up(Failure { error, ..Failure::default() });
    }
}
