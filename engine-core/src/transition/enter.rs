//! Entering a step: its run, its rules on entry, its command or its loop.

use std::collections::BTreeMap;

use serde_json::Value;

use super::execution::settle;
use super::exit::Ending;
use super::rules::{self, Effect, Fired};
use super::settings::duration_ms;
use super::view::Occasion;
use super::{Needs, Trouble, Turn};
use crate::command::{CallSite, Command, Scope};
use crate::event::{Fact, Failure, ToolFailure};
use crate::ids::{CommandId, EventId, StepName};
use crate::limits::{
    OPEN_RUNS_MAX, STEP_ENTRIES_MAX, TOOL_TIMEOUT_MS_DEFAULT, TOOL_TIMEOUT_MS_MAX,
};
use crate::payload::Payload;
use crate::playbook::Step;

impl<'a> Turn<'a> {
    /// Enters a step with the arguments of the transition. An undefined `end` ends the branch.
    pub(super) fn enter(
        &mut self,
        name: &StepName,
        args: BTreeMap<String, Payload>,
        cause: Option<EventId>,
    ) -> Result<(), Needs> {
        let Some(step) = self.step_of(name) else { return Ok(()) };
        if self.is_failing() || self.holds(step, &args, cause) {
            return Ok(());
        }
        self.enter_now(step, args, cause)
    }

    /// Enters a step that waits for no other branch.
    pub(super) fn enter_now(
        &mut self,
        step: &'a Step,
        args: BTreeMap<String, Payload>,
        cause: Option<EventId>,
    ) -> Result<(), Needs> {
        let name = &step.name;
        if let Some(error) = self.entry_limit(step) {
            let (line, step) = (step.position.line, Some(name.clone()));
            self.give_up(Failure { step, line, error, ..Failure::default() });
            return Ok(());
        }
        let args = args.into_iter().map(|(name, value)| (name, self.spill(value))).collect();
        let run = self.next_event_id();
        self.record(Fact::StepEntered { step: name.clone(), run, cause, args });
        let ending = Ending::new(run, name.clone());
        if self.turns_away(step, run)? || self.consult_on_entry(step, &ending)? {
            return Ok(());
        }
        if step.repeat.is_some() {
            match settle(self.request_loop(step, run))? {
                Ok(()) => Ok(()),
                Err(failure) => self.fail_run(&ending, failure),
            }
        } else {
            self.issue(run, name, 1, 0)
        }
    }

    fn entry_limit(&self, step: &Step) -> Option<ToolFailure> {
        let state = self.execution()?;
        let message = if state.entered >= STEP_ENTRIES_MAX {
            format!("more than {STEP_ENTRIES_MAX} step entries: a cycle of steps has no way out")
        } else if state.runs.len() >= OPEN_RUNS_MAX {
            let cure = "use a loop with a window instead of fan-out";
            format!("more than {OPEN_RUNS_MAX} steps are open at once at `{}`; {cure}", step.name)
        } else {
            return None;
        };
        Some(ToolFailure { kind: "LimitError".to_owned(), message, ..ToolFailure::default() })
    }

    /// Rules that name `step.enter`; returns whether the run is over already.
    fn consult_on_entry(&mut self, step: &'a Step, ending: &Ending) -> Result<bool, Needs> {
        if step.rules.is_empty() {
            return Ok(false);
        }
        let occasion = Occasion {
            name: "step.enter",
            response: Payload::Inline(Value::Null),
            error: None,
            attempt: 0,
        };
        let mut view = self.view(step, Some(ending.run), Some(occasion));
        let command = self.command_id(&step.name, ending.run);
        let verdict = rules::evaluate(step, &mut view, &command, &mut Fired::default());
        match settle(verdict)? {
            Ok(verdict) => {
                let skipped = verdict.effects.contains(&Effect::Skip);
                let over = self.carry_out(ending, verdict.effects)?;
                if over == super::execution::Flow::On && skipped {
                    self.exit(ending.clone(), &Payload::Inline(Value::Null))?;
                    return Ok(true);
                }
                Ok(over == super::execution::Flow::Over)
            }
            Err(failure) => self.fail_run(ending, failure).map(|()| true),
        }
    }

    /// The command of a run: the same for all its attempts.
    pub(super) fn command_id(&self, step: &StepName, run: EventId) -> CommandId {
        CommandId(format!("{}:{step}:{run}", self.moment.key.execution_id()))
    }

    /// Asks for a tool call.
    pub(super) fn issue(
        &mut self,
        run: EventId,
        name: &StepName,
        attempt: u32,
        not_before_ms: i64,
    ) -> Result<(), Needs> {
        let Some(step) = self.step_of(name) else { return Ok(()) };
        let timeout_ms = match settle(self.timeout_ms(step, run))? {
            Ok(timeout_ms) => timeout_ms,
            Err(failure) => {
                return self.fail_run(&Ending::failed(run, name.clone(), attempt), failure);
            }
        };
        let scope = self.scope(step, run);
        let command = Command {
            id: self.command_id(name, run),
            attempt,
            reply_to: self.moment.key.clone(),
            playbook: self.moment.playbook.reference.clone(),
            step: name.clone(),
            tool_kind: step.kind().to_owned(),
            frame: None,
            site: CallSite::Tool,
            unit: None,
            vars: None,
            overrides: None,
            scope,
            not_before_ms,
            timeout_ms,
        };
        self.record(Fact::CommandIssued { run, command: Box::new(command), unit: None });
        Ok(())
    }

    /// How long one call of the step's tool may take.
    pub(super) fn timeout_ms(&self, step: &'a Step, run: EventId) -> Result<u64, Trouble> {
        match &step.timeout {
            None => Ok(TOOL_TIMEOUT_MS_DEFAULT),
            Some(value) => {
                let context = self.view(step, Some(run), None).context();
                let place = format!("`timeout` (line {})", step.position.line);
                Ok(duration_ms(value, &context, &place)?.clamp(1, TOOL_TIMEOUT_MS_MAX))
            }
        }
    }

    /// The variables that travel to the worker: those that the tool's templates name.
    pub(super) fn scope(&mut self, step: &Step, run: EventId) -> Payload {
        let mut scope = Scope::default();
        let names = &step.names.worker;
        if let Some(state) = self.execution() {
            let all = ["vars", "ctx", "flags"].iter().any(|name| names.contains(*name));
            let wanted = |name: &String| all || names.contains(name);
            let vars = state.vars.iter().filter(|(name, _)| wanted(name));
            scope.vars = vars.map(|(name, value)| (name.clone(), value.clone())).collect();
            for name in names {
                let found = state.steps.get(&StepName::from(name.as_str()));
                if let Some(result) = found.and_then(|found| found.result.clone()) {
                    scope.steps.insert(name.clone(), result);
                }
            }
            scope.workload = Some(state.workload.clone());
            if let Some(open) = state.runs.get(&run) {
                scope.args.clone_from(&open.args);
            }
        }
        // A scope is a map of strings and payloads: it always has a JSON form.
        let scope = serde_json::to_value(&scope).unwrap_or_default();
        self.spill(Payload::Inline(scope))
    }
}
