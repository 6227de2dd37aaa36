//! Leaving a step: rules on exit, variables, what comes next, and failing.

use std::collections::BTreeMap;

use serde_json::Map;

use super::execution::{Flow, settle};
use super::rules::{self, Fired};
use super::{Needs, Turn};
use crate::event::{Fact, Failure, Status, ToolFailure};
use crate::ids::{EventId, StepName};
use crate::payload::Payload;
use crate::playbook::Step;
use crate::template::{Coerce, TemplateError, render_map};

/// A run on its way out.
#[derive(Clone, Debug)]
pub(super) struct Ending {
    pub(super) run: EventId,
    pub(super) step: StepName,
    /// The attempt that was answered; 0 where none was.
    pub(super) attempt: u32,
    /// Why it failed.
    pub(super) error: Option<ToolFailure>,
    /// Whether a rule matched the failure.
    pub(super) handled: bool,
    /// Rules that had their turn.
    pub(super) fired: Fired,
}

impl Ending {
    /// A run that nothing has happened to yet.
    pub(super) fn new(run: EventId, step: StepName) -> Self {
        Self::failed(run, step, 0)
    }

    /// A run after its last attempt.
    pub(super) fn failed(run: EventId, step: StepName, attempt: u32) -> Self {
        let (error, handled, fired) = (None, false, Fired::default());
        Self { run, step, attempt, error, handled, fired }
    }
}

impl<'a> Turn<'a> {
    /// Ends a run: rules on `step.exit`, `vars` and `set`, then the structural successor.
    pub(super) fn exit(&mut self, mut ending: Ending, response: &Payload) -> Result<(), Needs> {
        if self.is_failing() {
            let error = ending.error.clone();
            self.record_exit(&ending, error);
            return Ok(());
        }
        if let Some(error) = ending.error.clone()
            && !ending.handled
        {
            return self.fail_run(&ending, error);
        }
        if self.consult(&mut ending, "step.exit", response)? == Flow::Over {
            return Ok(());
        }
        let Some(step) = self.step_of(&ending.step) else { return Ok(()) };
        if ending.error.is_none()
            && let Err(failure) = settle(self.assign(step, &ending))?
        {
            return self.fail_run(&ending, failure);
        }
        let error = ending.error.clone();
        let follows = error.is_none().then(|| self.successors(step, &ending));
        match follows.map(settle).transpose()? {
            Some(Err(failure)) => self.fail_run(&ending, failure),
            Some(Ok(effects)) => {
                let routed = self.has_routed(ending.run) || !effects.is_empty();
                self.record_exit(&ending, error);
                if !routed {
                    self.end_of_branch(step);
                }
                self.carry_out(&ending, effects).map(|_| ())
            }
            None => {
                self.record_exit(&ending, error);
                Ok(())
            }
        }
    }

    /// The targets of the structural `next`, if no rule has routed (decision D14).
    fn successors(
        &self,
        step: &'a Step,
        ending: &Ending,
    ) -> Result<Vec<rules::Effect>, super::Trouble> {
        if self.has_routed(ending.run) {
            return Ok(Vec::new());
        }
        let occasion = super::view::Occasion {
            name: "step.exit",
            response: self.result_of(ending.run),
            error: ending.error.clone(),
            attempt: ending.attempt,
        };
        let mut view = self.view(step, Some(ending.run), Some(occasion));
        rules::routes(&step.next, &mut view)
    }

    pub(super) fn has_routed(&self, run: EventId) -> bool {
        let open = self.execution().and_then(|state| state.runs.get(&run));
        open.is_some_and(|open| open.routed)
    }

    /// `vars` and `set` of the step, after success.
    fn assign(&mut self, step: &'a Step, ending: &Ending) -> Result<(), super::Trouble> {
        let occasion = super::view::Occasion {
            name: "step.exit",
            response: self.result_of(ending.run),
            error: None,
            attempt: ending.attempt,
        };
        let view = self.view(step, Some(ending.run), Some(occasion));
        let mut values = BTreeMap::new();
        for (name, value) in &step.vars {
            let one = Map::from_iter([(name.clone(), value.clone())]);
            match render_map(&one, &view.context(), Coerce::Mixed) {
                Ok(rendered) => values.extend(rendered),
                // A `vars` that finds nothing sets nothing (dsl.md 2.7).
                Err(TemplateError::Undefined(_)) => {}
                Err(error) => {
                    let place = format!("`vars.{name}` of `{}`", step.name);
                    return Err(super::Trouble::template(&place, error));
                }
            }
        }
        if let Some(set) = &step.set {
            values.extend(rules::assignments(set, &view, &format!("`{}`", step.name))?);
        }
        if !values.is_empty() {
            self.set(&step.name, values);
        }
        Ok(())
    }

    /// Ends a run that failed and that nothing handled.
    pub(super) fn fail_run(&mut self, ending: &Ending, error: ToolFailure) -> Result<(), Needs> {
        let line = self.step_of(&ending.step).map_or(0, |step| step.position.line);
        if self.continues(&ending.step) && !self.is_failing() {
            return self.go_on(ending, error);
        }
        self.record_exit(ending, Some(error.clone()));
        let (step, attempt) = (Some(ending.step.clone()), ending.attempt);
        self.give_up(Failure { step, line, attempt, index: None, error });
        Ok(())
    }

    /// `spec.on_error: continue`: the structural successor as after a success.
    fn go_on(&mut self, ending: &Ending, error: ToolFailure) -> Result<(), Needs> {
        let Some(step) = self.step_of(&ending.step) else { return Ok(()) };
        let follows = settle(self.successors(step, ending))?;
        self.record_exit(ending, Some(error));
        match follows {
            Ok(effects) => self.carry_out(ending, effects).map(|_| ()),
            Err(error) => {
                let (line, name) = (step.position.line, Some(step.name.clone()));
                self.give_up(Failure { step: name, line, error, ..Failure::default() });
                Ok(())
            }
        }
    }

    fn record_exit(&mut self, ending: &Ending, error: Option<ToolFailure>) {
        let status = if error.is_some() { Status::Failed } else { Status::Completed };
        let result = self.result_of(ending.run);
        let (run, step) = (ending.run, ending.step.clone());
        self.record(Fact::StepExited { run, step, status, result, error });
    }

    /// A branch ends here: fine, unless the playbook says otherwise.
    fn end_of_branch(&mut self, step: &Step) {
        let last = self.moment.playbook.final_step.as_ref() == Some(&step.name);
        if !self.moment.playbook.no_next_is_error || last || step.name.as_str() == "end" {
            return;
        }
        let message =
            format!("no `next` of `{}` applied, and `no_next_is_error` is set", step.name);
        let error = ToolFailure { kind: "RoutingError".to_owned(), message, ..Default::default() };
        let line = step.position.line;
        self.give_up(Failure { step: Some(step.name.clone()), line, error, ..Failure::default() });
    }

    /// Tries a failed call again, later.
    pub(super) fn retry(&mut self, ending: &Ending, delay_ms: u64) -> Result<(), Needs> {
        self.record(Fact::Retried {
            run: ending.run,
            index: None,
            step: ending.step.clone(),
            command_id: self.command_id(&ending.step, ending.run),
            attempt: ending.attempt,
            delay_ms,
        });
        let not_before_ms = match delay_ms {
            0 => 0,
            delay_ms => self.moment.at_ms.saturating_add_unsigned(delay_ms),
        };
        self.issue(ending.run, &ending.step, ending.attempt + 1, not_before_ms)
    }
}
