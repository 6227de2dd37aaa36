//! What follows the answer to a call: the next call of the same run or iteration, or its end.

use super::enter::{action_at, first_site, tool_at};
use super::execution::{Flow, settle};
use super::exit::Ending;
use super::own::{Arranged, Origin, OwnAnswer, is_own};
use super::pages::paged_result;
use super::policy::Onward;
use super::rules::Effect;
use super::view::{Occasion, View, output};
use super::{Needs, Trouble, Turn};
use crate::command::CallSite;
use crate::event::{Answer, Fact, Failure, Outcome, ToolFailure};
use crate::ids::CommandId;
use crate::limits::UNIT_CALLS_MAX;
use crate::payload::Payload;
use crate::playbook::{Action, Step, sink};
use crate::state::{At, Continuation, Unit};

impl<'a> Turn<'a> {
    /// The command that is out for a run or an iteration.
    pub(super) fn command_of(&self, ending: &Ending) -> CommandId {
        let first = match ending.index {
            None => self.command_id(&ending.step, ending.run),
            Some(index) => super::frames::frame_id(self.moment.key, index),
        };
        match ending.unit.calls {
            0 | 1 => first,
            call => CommandId(format!("{first}/{call}")),
        }
    }

    /// What names mean to a run or an iteration, here and now.
    pub(super) fn sight(
        &self,
        step: &'a Step,
        ending: &Ending,
        occasion: Option<Occasion>,
    ) -> Result<View<'a>, Trouble> {
        let mut view = match ending.index {
            None => self.view(step, Some(ending.run), occasion),
            Some(index) => self.item_view(index, step, occasion)?,
        };
        view.vars.extend(ending.unit.vars.clone());
        if ending.index.is_some() && ending.unit.result.is_some() {
            view.result.clone_from(&ending.unit.result);
        }
        view.unit = ending.unit.clone();
        if let Some(occasion) = view.occasion.as_ref().filter(|_| view.names.contains("output"))
            && occasion.name != "step.enter"
            && !matches!(occasion.response, Payload::Loop(_))
        {
            let result = self.known(&occasion.response)?;
            view.output = Some(output(&result, occasion.error.as_ref(), occasion.attempt.max(1)));
        }
        Ok(view)
    }

    /// Goes on behind an answered call.
    pub(super) fn after_answer(
        &mut self,
        mut ending: Ending,
        response: Payload,
    ) -> Result<(), Needs> {
        match ending.unit.site {
            CallSite::Tool => {
                if ending.index.is_some() {
                    ending.unit.result = Some(response.clone());
                }
                self.conclude_call(ending, &response)
            }
            CallSite::Task(number) => self.after_task(ending, number, &response),
            CallSite::Named { .. } | CallSite::Save { .. } => {
                self.after_performed(ending, response)
            }
            CallSite::Sink => self.after_sink(ending),
        }
    }

    /// The step's tool is through: its rules are asked.
    fn conclude_call(&mut self, mut ending: Ending, response: &Payload) -> Result<(), Needs> {
        let name = if ending.error.is_some() { "call.error" } else { "call.done" };
        if self.consult(&mut ending, name, response, None)? == Flow::Over {
            return Ok(());
        }
        self.conclude(ending)
    }

    /// The rules of a call are through: pages are told, the step's sink saves, and the end comes.
    fn conclude(&mut self, mut ending: Ending) -> Result<(), Needs> {
        let Some(step) = self.step_of(&ending.step) else { return Ok(()) };
        let last = self.result_now(&ending);
        if ending.error.is_none()
            && let Some(result) = paged_result(&mut ending.unit, last)
        {
            self.replace_result(&mut ending, result);
        }
        if ending.error.is_none()
            && let Some(save) = &step.sink
        {
            if sink::records(save) {
                let data = self.result_now(&ending);
                self.carry_out(&mut ending, vec![Effect::Save(data)])?;
                return self.finish_unit(ending);
            }
            ending.unit.prev = Some(self.result_now(&ending));
            ending.unit.site = CallSite::Sink;
            return self.go_on(&mut ending, 0);
        }
        self.finish_unit(ending)
    }

    fn finish_unit(&mut self, ending: Ending) -> Result<(), Needs> {
        if ending.index.is_some() {
            self.settle_item(&ending);
            return Ok(());
        }
        let response = self.result_of(ending.run);
        self.exit(ending, &response)
    }

    /// The result that a run or an iteration has by now.
    pub(super) fn result_now(&self, ending: &Ending) -> Payload {
        match ending.index {
            None => self.result_of(ending.run),
            Some(_) => {
                ending.unit.result.clone().unwrap_or(Payload::Inline(serde_json::Value::Null))
            }
        }
    }

    /// One task of the list is through: its policy says what comes next.
    fn after_task(
        &mut self,
        mut ending: Ending,
        number: u32,
        response: &Payload,
    ) -> Result<(), Needs> {
        let Some(step) = self.step_of(&ending.step) else { return Ok(()) };
        let occasion = Occasion {
            name: if ending.error.is_some() { "call.error" } else { "call.done" },
            response: response.clone(),
            error: ending.error.clone(),
            attempt: ending.attempt,
        };
        let judged = self.sight(step, &ending, Some(occasion)).and_then(|mut view| {
            let judged = self.judge_task(step, number, &mut view, &ending)?;
            Ok((judged, view.unit))
        });
        let (onward, effects) = match settle(judged)? {
            Ok((judged, unit)) => {
                ending.unit = unit;
                judged
            }
            Err(failure) => return self.fail(ending, failure),
        };
        if let Some(task) = step.tasks.get(number as usize) {
            ending.unit.results.insert(task.label.clone(), response.clone());
        }
        ending.unit.prev = Some(response.clone());
        if ending.index.is_some() {
            ending.unit.result = Some(response.clone());
        }
        if self.carry_out(&mut ending, effects)? == Flow::Over {
            return Ok(());
        }
        match onward {
            Onward::Task(next) => {
                ending.unit.site = CallSite::Task(next);
                self.go_on(&mut ending, 0)
            }
            Onward::Retry(delay_ms) => self.retry(&mut ending, delay_ms),
            Onward::End(error) => {
                ending.error = error;
                self.conclude_call(ending, response)
            }
        }
    }

    /// A sink or a named task of a rule is through: the rule goes on behind it.
    fn after_performed(&mut self, mut ending: Ending, response: Payload) -> Result<(), Needs> {
        let Some(step) = self.step_of(&ending.step) else { return Ok(()) };
        let site = ending.unit.site;
        if let Some(error) = ending.error.take()
            && !is_forgiven(step, site)
        {
            return self.fail(ending, unsaved(&error, site));
        }
        if let CallSite::Named { list, rule, action } = site
            && let Some(Action::Task(task)) = action_at(step, list, rule, action)
        {
            ending.unit.results.insert(task.label.clone(), response);
        }
        let Some(then) = ending.unit.then.take() else { return self.finish_unit(ending) };
        ending.error.clone_from(&then.error);
        ending.attempt = then.attempt;
        ending.handled = then.handled;
        ending.fired.clone_from(&then.fired);
        ending.unit.site = first_site(step);
        let event = super::rules::known_name(&then.event);
        if self.consult(&mut ending, event, &then.response, Some(&then))? == Flow::Over {
            return Ok(());
        }
        match event {
            "step.exit" => self.leave(ending),
            "loop.done" => self.finish_unit(ending),
            _ => self.conclude(ending),
        }
    }

    fn after_sink(&mut self, mut ending: Ending) -> Result<(), Needs> {
        let Some(step) = self.step_of(&ending.step) else { return Ok(()) };
        if let Some(error) = ending.error.take()
            && !is_forgiven(step, CallSite::Sink)
        {
            return self.fail(ending, unsaved(&error, CallSite::Sink));
        }
        self.finish_unit(ending)
    }

    /// Ends a run or an iteration that nothing can handle any more.
    pub(super) fn fail(&mut self, mut ending: Ending, error: ToolFailure) -> Result<(), Needs> {
        if ending.index.is_none() {
            return self.fail_run(&ending, error);
        }
        ending.error = Some(error);
        ending.handled = false;
        self.settle_item(&ending);
        Ok(())
    }

    /// Asks for the next call of a run or an iteration.
    pub(super) fn go_on(&mut self, ending: &mut Ending, delay_ms: u64) -> Result<(), Needs> {
        if ending.unit.calls >= UNIT_CALLS_MAX {
            let message = format!(
                "`{}` has made {UNIT_CALLS_MAX} calls in one run: a `jump` or a page has no way out",
                ending.step
            );
            let error =
                ToolFailure { kind: "LimitError".to_owned(), message, ..ToolFailure::default() };
            return self.fail(ending.clone(), error);
        }
        if let Some(error) = self.is_cut_short(ending) {
            return self.fail(ending.clone(), error);
        }
        if self.was_answered(ending) {
            self.record(Fact::Continued {
                run: ending.run,
                index: ending.index,
                step: ending.step.clone(),
                failed: ending.error.is_some(),
            });
        }
        ending.unit.calls += 1;
        forget_own(&mut ending.unit);
        let next = Ending { attempt: 1, error: None, ..ending.clone() };
        self.issue_unit(&next, 1, self.at_after(delay_ms))
    }

    /// Tries a failed call again, later.
    pub(super) fn retry(&mut self, ending: &mut Ending, delay_ms: u64) -> Result<(), Needs> {
        if let Some(error) = self.is_cut_short(ending) {
            return self.fail(ending.clone(), error);
        }
        self.record(Fact::Retried {
            run: ending.run,
            index: ending.index,
            step: ending.step.clone(),
            command_id: self.command_of(ending),
            attempt: ending.attempt,
            delay_ms,
        });
        if self.answered_site(ending).is_some_and(|site| site != ending.unit.site) {
            // The rule made a call of its own meanwhile, and its attempts have taken this number.
            ending.unit.calls += 1;
        }
        forget_own(&mut ending.unit);
        self.issue_unit(ending, ending.attempt + 1, self.at_after(delay_ms))
    }

    /// Which tool this decision heard last from the run or iteration.
    fn answered_site(&self, ending: &Ending) -> Option<CallSite> {
        self.facts.iter().rev().find_map(|fact| match fact {
            Fact::Answered { run, index, site, .. }
                if (*run, *index) == (ending.run, ending.index) =>
            {
                Some(*site)
            }
            _ => None,
        })
    }

    /// Sends out the call that a unit names; one of the engine's own kinds knows its own time.
    fn issue_unit(
        &mut self,
        ending: &Ending,
        attempt: u32,
        not_before_ms: i64,
    ) -> Result<(), Needs> {
        let step = self.step_of(&ending.step);
        let own = step.is_some_and(|step| is_own(&self.kind_at(step, ending.unit.site)));
        match (ending.index, own) {
            (None, _) => self.issue(ending, attempt, not_before_ms),
            (Some(_), true) => self.issue_item(ending, attempt),
            (Some(_), false) => {
                self.issue_item_at(ending, attempt, not_before_ms);
                Ok(())
            }
        }
    }

    /// Renders a call of the engine's own kinds.
    pub(super) fn arrange_call(
        &self,
        step: &'a Step,
        ending: &Ending,
        attempt: u32,
    ) -> Result<Arranged, Trouble> {
        let Some(tool) = tool_at(step, ending.unit.site) else {
            return Err(Trouble::failed("StateError", "a call without a tool"));
        };
        let view = self.sight(step, ending, None)?;
        let event_id = ending.index.map(|_| ending.run);
        let command_id = self.command_of(ending);
        let origin = Origin { command_id, attempt, index: ending.index, event_id };
        self.arrange(step, &tool, &step.args, &view, &origin)
    }

    /// What an answer means to a call of the engine's own kinds; none if the call is not over.
    pub(super) fn heard_own(
        &mut self,
        ending: &mut Ending,
        outcome: Outcome,
    ) -> Result<Option<Outcome>, Needs> {
        let Some(step) = self.step_of(&ending.step) else { return Ok(Some(outcome)) };
        let kind = self.kind_at(step, ending.unit.site);
        if !is_own(&kind) {
            return Ok(Some(outcome));
        }
        let next = ending.attempt + 1;
        match self.read_answer(&kind, &ending.unit, outcome) {
            OwnAnswer::Settled(outcome) => return Ok(Some(outcome)),
            OwnAnswer::Again { not_before_ms } => match ending.index {
                None => self.issue_at(ending, next, not_before_ms)?,
                Some(_) => self.issue_item_at(ending, next, not_before_ms),
            },
            OwnAnswer::Anew => {
                forget_own(&mut ending.unit);
                self.issue_unit(ending, next, 0)?;
            }
        }
        Ok(None)
    }

    /// The answer that a call gives itself.
    pub(super) fn own_answer(&self, ending: &Ending, attempt: u32) -> Answer {
        Answer {
            command_id: self.command_of(ending),
            attempt,
            worker: "engine".to_owned(),
            outcomes: Vec::new(),
            cut: false,
        }
    }

    /// Unix milliseconds after a delay; 0 for at once.
    fn at_after(&self, delay_ms: u64) -> i64 {
        if delay_ms == 0 { 0 } else { self.moment.at_ms.saturating_add_unsigned(delay_ms) }
    }

    /// Whether this decision has answered a call of the run or iteration and not gone on from it.
    fn was_answered(&self, ending: &Ending) -> bool {
        let of_this = self.facts.iter().rev().find_map(|fact| match fact {
            Fact::Answered { run, index, .. } if (*run, *index) == (ending.run, ending.index) => {
                Some(true)
            }
            Fact::Continued { run, index, .. } | Fact::Retried { run, index, .. }
                if (*run, *index) == (ending.run, ending.index) =>
            {
                Some(false)
            }
            _ => None,
        });
        of_this.unwrap_or(false)
    }

    /// The name that a value of the last fact has in the log.
    pub(super) fn named_in_log(&self, payload: &Payload) -> Payload {
        let at = At {
            key: self.moment.key,
            seq: self.moment.seq,
            at_ms: self.moment.at_ms,
            fact: u32::try_from(self.facts.len().saturating_sub(1)).unwrap_or(u32::MAX),
        };
        at.remember(payload, 0)
    }

    /// Does what rules ask for.
    pub(super) fn carry_out(
        &mut self,
        ending: &mut Ending,
        effects: Vec<Effect>,
    ) -> Result<Flow, Needs> {
        let mut flow = Flow::On;
        for effect in effects {
            match effect {
                Effect::Set(values) => self.set(ending, values)?,
                Effect::Result(result) => self.replace_result(ending, result),
                Effect::Save(data) => {
                    let (run, index, step) = (ending.run, ending.index, ending.step.clone());
                    let data = self.spill(data);
                    self.record(Fact::Saved { run, index, step, data });
                }
                Effect::Perform(site) => {
                    ending.unit.site = site;
                    self.go_on(ending, 0)?;
                    return Ok(Flow::Over);
                }
                Effect::Repeat(delay_ms) => {
                    let step = self.step_of(&ending.step);
                    ending.unit.site = step.map_or(CallSite::Tool, first_site);
                    self.go_on(ending, delay_ms)?;
                    flow = Flow::Over;
                }
                Effect::Retry(delay_ms) => {
                    self.retry(ending, delay_ms)?;
                    flow = Flow::Over;
                }
                Effect::Route(to, args) => self.route(ending, &to, args)?,
                Effect::Fail(failure) => {
                    self.fail_execution(ending, failure)?;
                    return Ok(Flow::Over);
                }
                Effect::Skip => {}
            }
        }
        Ok(flow)
    }

    fn replace_result(&mut self, ending: &mut Ending, result: Payload) {
        if ending.index.is_some() {
            ending.unit.result = Some(self.keep(result));
        } else {
            let result = self.spill(result);
            self.record(Fact::ResultSet { run: ending.run, result });
        }
    }

    /// A rule says `fail`: also an iteration fails the whole execution.
    pub(super) fn fail_execution(
        &mut self,
        ending: &Ending,
        error: ToolFailure,
    ) -> Result<(), Needs> {
        if ending.index.is_none() {
            return self.fail_run(ending, error);
        }
        let line = self.step_of(&ending.step).map_or(0, |step| step.position.line);
        let (step, attempt, index) = (Some(ending.step.clone()), ending.attempt, ending.index);
        let failure = Failure { step, line, attempt, index, error: error.clone() };
        self.fail_from_item(failure);
        self.fail(ending.clone(), error)
    }
}

/// Remembers where the rules go on once the call of one of them was answered.
pub(super) fn suspend(
    ending: &mut Ending,
    view: &View<'_>,
    name: &str,
    response: &Payload,
    place: super::rules::Place,
) {
    let asked = view.occasion.as_ref().map(|occasion| occasion.name.to_owned());
    ending.unit.then = Some(Continuation {
        event: name.to_owned(),
        alias: asked.filter(|asked| asked != name),
        response: response.clone(),
        error: ending.error.clone(),
        attempt: ending.attempt,
        handled: ending.handled,
        fired: ending.fired.clone(),
        list: place.list,
        rule: place.rule,
        action: place.action,
    });
}

/// The next call waits for nothing yet.
fn forget_own(unit: &mut Unit) {
    unit.child = None;
    unit.until_ms = None;
    unit.since_ms = None;
    unit.token = None;
}

/// Whether a failed save leaves its step alone (decision D34).
fn is_forgiven(step: &Step, site: CallSite) -> bool {
    match site {
        CallSite::Save { list, rule, action } => match action_at(step, list, rule, action) {
            Some(Action::Sink(save)) => sink::continues_on_error(save),
            _ => false,
        },
        CallSite::Sink => step.sink.as_ref().is_some_and(sink::continues_on_error),
        _ => false,
    }
}

/// The failure of a step whose sink or named task failed.
fn unsaved(error: &ToolFailure, site: CallSite) -> ToolFailure {
    let what = if site.is_save() { "the sink failed" } else { "a task of a rule failed" };
    ToolFailure { message: format!("{what}: {}", error.message), ..error.clone() }
}
