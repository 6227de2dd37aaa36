//! Leaving a step: rules on exit, variables, what comes next, and failing.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Map;

use super::execution::{Flow, settle};
use super::rules::Effect;
use super::view::Occasion;
use super::ways::{ways_out, ways_out_of_failure};
use super::{Needs, Turn};
use crate::event::{Fact, Failure, Status, ToolFailure};
use crate::ids::{EventId, StepName};
use crate::payload::Payload;
use crate::playbook::Step;
use crate::state::Unit;
use crate::template::{Coerce, TemplateError, render_map};

/// A run or an iteration whose call was answered, on its way on or out.
#[derive(Clone, Debug)]
pub(super) struct Ending {
    /// The run; in a loop the run that the loop belongs to.
    pub(super) run: EventId,
    /// The iteration, in a loop.
    pub(super) index: Option<u64>,
    pub(super) step: StepName,
    /// The attempt that was answered; 0 where none was.
    pub(super) attempt: u32,
    /// Why it failed.
    pub(super) error: Option<ToolFailure>,
    /// Whether a rule matched the failure.
    pub(super) handled: bool,
    /// Rules without a guard on the event that had their turn: they fire once per run.
    pub(super) fired: BTreeSet<u32>,
    /// What it has done so far.
    pub(super) unit: Unit,
}

impl Ending {
    /// A run that nothing has happened to yet.
    pub(super) fn new(run: EventId, step: StepName) -> Self {
        Self::failed(run, step, 0)
    }

    /// A run after its last attempt.
    pub(super) fn failed(run: EventId, step: StepName, attempt: u32) -> Self {
        let (index, error, handled) = (None, None, false);
        let (fired, unit) = (BTreeSet::new(), Unit::default());
        Self { run, index, step, attempt, error, handled, fired, unit }
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
            return self.exit_failed(ending, error);
        }
        if self.consult(&mut ending, "step.exit", response, None)? == Flow::Over {
            return Ok(());
        }
        self.leave(ending)
    }

    /// A failure that no rule handled: an arc may, else the run fails.
    fn exit_failed(&mut self, mut ending: Ending, error: ToolFailure) -> Result<(), Needs> {
        let Some(step) = self.step_of(&ending.step) else { return Ok(()) };
        if !self.has_routed(ending.run) && step.next.targets.iter().any(|arc| arc.when.is_some()) {
            let occasion = self.end_of(&ending);
            let mut view = self.view(step, Some(ending.run), Some(occasion));
            match settle(ways_out_of_failure(step, &mut view))? {
                Ok(effects) if !effects.is_empty() => {
                    self.record_exit(&ending, Some(error));
                    return self.carry_out(&mut ending, effects).map(|_| ());
                }
                Ok(_) => {}
                Err(failure) => return self.fail_run(&ending, failure),
            }
        }
        self.fail_run(&ending, error)
    }

    /// Ends a run whose rules have all been asked.
    pub(super) fn leave(&mut self, mut ending: Ending) -> Result<(), Needs> {
        let Some(step) = self.step_of(&ending.step) else { return Ok(()) };
        if ending.error.is_none()
            && let Err(failure) = settle(self.assign(step, &mut ending))?
        {
            return self.fail_run(&ending, failure);
        }
        let error = ending.error.clone();
        let follows = error.is_none().then(|| self.successors(step, &ending));
        match follows.map(settle).transpose()? {
            Some(Err(failure)) => self.fail_run(&ending, failure),
            Some(Ok(effects)) => {
                let enters = effects.iter().any(|effect| matches!(effect, Effect::Route(..)));
                let goes_on = self.has_routed(ending.run) || enters;
                self.record_exit(&ending, error);
                if !goes_on {
                    self.end_of_branch(step);
                }
                self.carry_out(&mut ending, effects).map(|_| ())
            }
            None => {
                self.record_exit(&ending, error);
                Ok(())
            }
        }
    }

    /// The end of a run, as rules and arcs are asked about it.
    fn end_of(&self, ending: &Ending) -> Occasion {
        Occasion {
            name: "step.exit",
            response: self.result_of(ending.run),
            error: ending.error.clone(),
            attempt: ending.attempt,
        }
    }

    /// The targets of the structural `next`, if no rule has routed (decision D14).
    fn successors(&self, step: &'a Step, ending: &Ending) -> Result<Vec<Effect>, super::Trouble> {
        if self.has_routed(ending.run) {
            return Ok(Vec::new());
        }
        let occasion = Occasion { error: None, ..self.end_of(ending) };
        let mut view = self.sight(step, ending, Some(occasion))?;
        ways_out(step, &mut view)
    }

    pub(super) fn has_routed(&self, run: EventId) -> bool {
        let open = self.execution().and_then(|state| state.runs.get(&run));
        open.is_some_and(|open| open.routed)
    }

    /// `vars` and `set` of the step, after success.
    fn assign(&mut self, step: &'a Step, ending: &mut Ending) -> Result<(), super::Trouble> {
        if step.vars.is_empty() && step.set.is_none() {
            return Ok(());
        }
        let occasion = self.end_of(ending);
        let mut view = self.sight(step, ending, Some(occasion))?;
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
            let place = format!("`{}`", step.name);
            if let Some(Effect::Set(more)) = self.assign_in(&mut view, set, &place)? {
                values.extend(more);
            }
            ending.unit = view.unit;
        }
        if !values.is_empty() {
            self.set(ending, values).map_err(|needs| super::Trouble::Needs(needs.payloads))?;
        }
        Ok(())
    }

    /// Ends a run that failed and that nothing handled.
    pub(super) fn fail_run(&mut self, ending: &Ending, error: ToolFailure) -> Result<(), Needs> {
        let line = self.step_of(&ending.step).map_or(0, |step| step.position.line);
        if self.continues(&ending.step) && !self.is_failing() {
            return self.go_past(ending, error);
        }
        self.record_exit(ending, Some(error.clone()));
        let (step, attempt) = (Some(ending.step.clone()), ending.attempt);
        self.give_up(Failure { step, line, attempt, index: None, error });
        Ok(())
    }

    /// `spec.on_error: continue`: the structural successor as after a success.
    fn go_past(&mut self, ending: &Ending, error: ToolFailure) -> Result<(), Needs> {
        let Some(step) = self.step_of(&ending.step) else { return Ok(()) };
        let follows = settle(self.successors(step, ending))?;
        self.record_exit(ending, Some(error));
        match follows {
            Ok(effects) => self.carry_out(&mut ending.clone(), effects).map(|_| ()),
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
}
