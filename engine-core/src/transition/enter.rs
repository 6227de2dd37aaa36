//! Entering a step: its run, its rules on entry, its command or its loop.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde_json::Value;

use super::execution::{Flow, settle};
use super::exit::Ending;
use super::own::{Arranged, is_own, launched};
use super::rules::{Effect, rules_of};
use super::settings::duration_ms;
use super::view::Occasion;
use super::{Needs, Trouble, Turn};
use crate::command::{CallSite, Command, RuleList, Scope};
use crate::event::{Fact, Failure, ToolFailure};
use crate::ids::{CommandId, EventId, StepName};
use crate::limits::{
    OPEN_RUNS_MAX, STEP_ENTRIES_MAX, TOOL_TIMEOUT_MS_DEFAULT, TOOL_TIMEOUT_MS_MAX,
};
use crate::payload::Payload;
use crate::playbook::{Action, Step, Tool, sink};
use crate::state::Unit;

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
        let mut ending = Ending::new(run, name.clone());
        ending.unit.site = first_site(step);
        if self.turns_away(step, run)? || self.consult_on_entry(step, &mut ending)? {
            return Ok(());
        }
        if step.repeat.is_some() {
            match settle(self.request_loop(step, run))? {
                Ok(()) => Ok(()),
                Err(error) => {
                    let step = name.clone();
                    self.record(Fact::LoopFailed { run, step, error: error.clone() });
                    self.fail_run(&ending, error)
                }
            }
        } else {
            self.issue(&ending, 1, 0)
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
    fn consult_on_entry(&mut self, step: &'a Step, ending: &mut Ending) -> Result<bool, Needs> {
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
        view.unit = ending.unit.clone();
        let verdict = self.ask(step, &mut view, ending, None);
        match settle(verdict)? {
            Ok(verdict) => {
                ending.unit = view.unit;
                let skipped = verdict.effects.contains(&Effect::Skip);
                let over = self.carry_out(ending, verdict.effects)?;
                if over == Flow::On && skipped {
                    self.exit(ending.clone(), &Payload::Inline(Value::Null))?;
                    return Ok(true);
                }
                Ok(over == Flow::Over)
            }
            Err(failure) => self.fail_run(ending, failure).map(|()| true),
        }
    }

    /// The first command of a run; later calls of it have a number behind.
    pub(super) fn command_id(&self, step: &StepName, run: EventId) -> CommandId {
        CommandId(format!("{}:{step}:{run}", self.moment.key.execution_id()))
    }

    /// Asks for the call of a run that its unit names; one of the engine's own kinds is arranged.
    pub(super) fn issue(
        &mut self,
        ending: &Ending,
        attempt: u32,
        not_before_ms: i64,
    ) -> Result<(), Needs> {
        let Some(step) = self.step_of(&ending.step) else { return Ok(()) };
        if !is_own(&self.kind_at(step, ending.unit.site)) {
            return self.issue_at(ending, attempt, not_before_ms);
        }
        let arranged = match settle(self.arrange_call(step, ending, attempt))? {
            Ok(arranged) => arranged,
            Err(failure) => {
                return self.fail_run(&Ending { attempt, ..ending.clone() }, failure);
            }
        };
        let mut next = Ending { attempt, ..ending.clone() };
        arranged.note(&mut next.unit, self.moment.at_ms);
        match arranged {
            Arranged::Timer { not_before_ms, timeout_ms, .. } => {
                self.ask_for(step, &next, not_before_ms, timeout_ms);
                Ok(())
            }
            Arranged::Child { child, start, waits, timeout_ms } => {
                let outcome = (!waits).then(|| launched(child, &start, self.moment.at_ms));
                self.ask_for(step, &next, 0, timeout_ms);
                self.record(Fact::ChildRequested { child, start });
                match outcome {
                    Some(outcome) => {
                        let answer = self.own_answer(&next, attempt);
                        self.take_outcome(next, &answer, outcome)
                    }
                    None => Ok(()),
                }
            }
        }
    }

    /// Asks for the call of a run as its unit says, not before a time.
    pub(super) fn issue_at(
        &mut self,
        ending: &Ending,
        attempt: u32,
        not_before_ms: i64,
    ) -> Result<(), Needs> {
        let Some(step) = self.step_of(&ending.step) else { return Ok(()) };
        let next = Ending { attempt, ..ending.clone() };
        match settle(self.timeout_ms(step, ending.run))? {
            Ok(timeout_ms) => {
                self.ask_for(step, &next, not_before_ms, timeout_ms);
                Ok(())
            }
            Err(failure) => self.fail_run(&next, failure),
        }
    }

    fn ask_for(&mut self, step: &'a Step, ending: &Ending, not_before_ms: i64, timeout_ms: u64) {
        let (run, unit) = (ending.run, &ending.unit);
        let command = Command {
            id: self.command_of(ending),
            attempt: ending.attempt,
            reply_to: self.moment.key.clone(),
            playbook: self.moment.playbook.reference.clone(),
            step: step.name.clone(),
            tool_kind: self.kind_at(step, unit.site),
            frame: None,
            site: unit.site,
            unit: None,
            vars: None,
            overrides: unit.overrides.clone().filter(|_| unit.site == CallSite::Tool),
            scope: self.scope(step, run),
            not_before_ms,
            timeout_ms,
        };
        let unit = (*unit != Unit::default()).then(|| Box::new(unit.clone()));
        self.record(Fact::CommandIssued { run, command: Box::new(command), unit });
    }

    /// The kind of the tool that a call of a step runs; a workbook task has that of its tool.
    pub(super) fn kind_at(&self, step: &Step, site: CallSite) -> String {
        let Some(tool) = tool_at(step, site) else { return "noop".to_owned() };
        if tool.kind != "workbook" {
            return tool.kind.clone();
        }
        let named = ["task", "name"].iter().find_map(|key| tool.config.get(*key)?.as_str());
        let tasks = &self.moment.playbook.workbook;
        let found = tasks.iter().find(|task| Some(task.name.as_str()) == named);
        found.map_or_else(|| tool.kind.clone(), |task| task.tool.kind.clone())
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
        let mut names = step.names.worker.clone();
        if step.repeat.is_some() {
            // The rules of iterations see what was there when their loop began.
            names.extend(step.names.engine.iter().cloned());
        }
        if let Some(state) = self.execution() {
            let all = ["vars", "ctx", "flags"].iter().any(|name| names.contains(*name));
            let wanted = |name: &String| all || names.contains(name);
            let vars = state.vars.iter().filter(|(name, _)| wanted(name));
            scope.vars = vars.map(|(name, value)| (name.clone(), value.clone())).collect();
            for name in &names {
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

/// The first call of a step.
pub(super) fn first_site(step: &Step) -> CallSite {
    if step.tasks.is_empty() { CallSite::Tool } else { CallSite::Task(0) }
}

/// An action of one of a step's rules.
pub(super) fn action_at(step: &Step, list: RuleList, rule: u32, action: u32) -> Option<&Action> {
    rules_of(step, list).get(rule as usize)?.actions.get(action as usize)
}

/// The tool that a call of a step runs.
pub(super) fn tool_at(step: &Step, site: CallSite) -> Option<Cow<'_, Tool>> {
    match site {
        CallSite::Tool => step.tool.as_ref().map(Cow::Borrowed),
        CallSite::Task(number) => {
            step.tasks.get(number as usize).map(|task| Cow::Borrowed(&task.tool))
        }
        CallSite::Named { list, rule, action } => match action_at(step, list, rule, action)? {
            Action::Task(task) => Some(Cow::Borrowed(&task.tool)),
            _ => None,
        },
        CallSite::Save { list, rule, action } => match action_at(step, list, rule, action)? {
            Action::Sink(save) => Some(Cow::Owned(sink::tool_of(save))),
            _ => None,
        },
        CallSite::Sink => step.sink.as_ref().map(|save| Cow::Owned(sink::tool_of(save))),
    }
}
