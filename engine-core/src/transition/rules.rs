//! Which rules of a step match an event, and what they ask for.
//!
//! A rule that calls a tool (a sink, a named task) suspends the evaluation: the verdict says where, and
//! the answer to the call resumes it behind that action.

use std::collections::BTreeMap;

use serde_json::Value;

use super::exit::Ending;
use super::pages::{repeat, tell_pages};
use super::retry::Policy;
use super::set::{Assigned, assignments};
use super::view::View;
use super::ways::routes;
use super::{Trouble, Turn};
use crate::command::{CallSite, RuleList};
use crate::event::ToolFailure;
use crate::ids::StepName;
use crate::payload::Payload;
use crate::playbook::{Action, CaseMode, Next, NextMode, Rule, Step, When, sink};
use crate::state::Continuation;
use crate::template::{Coerce, condition, expression, render, render_map};

/// Something a rule asks for, rendered.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Effect {
    /// Change variables of the execution.
    Set(BTreeMap<String, Payload>),
    /// Replace the step's result.
    Result(Payload),
    /// Keep something in the event log.
    Save(Payload),
    /// Call a tool of the rule, and go on behind it.
    Perform(CallSite),
    /// Call the step's tool once more, as the unit says by now, after so many milliseconds.
    Repeat(u64),
    /// Try again after so many milliseconds.
    Retry(u64),
    /// Enter a step.
    Route(StepName, BTreeMap<String, Payload>),
    /// Fail the step and the execution.
    Fail(ToolFailure),
    /// Do not run the tool (on `step.enter`).
    Skip,
}

/// What the rules of a step say to an event.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Verdict {
    /// Whether any rule matched.
    pub(super) matched: bool,
    /// What they ask for, in order.
    pub(super) effects: Vec<Effect>,
    /// The action that has to be answered first.
    pub(super) place: Option<Place>,
}

/// An action of a rule.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Place {
    pub(super) list: RuleList,
    pub(super) rule: u32,
    pub(super) action: u32,
}

impl Verdict {
    /// Whether the run goes on with another call.
    pub(super) fn calls_again(&self) -> bool {
        let again = |effect: &Effect| {
            matches!(effect, Effect::Perform(_) | Effect::Repeat(_) | Effect::Retry(_))
        };
        self.effects.iter().any(again)
    }
}

/// Other names under which rules know an event (decision D9, and `call.done` with an error).
fn aliases(name: &str, failed: bool) -> &'static [&'static str] {
    match (name, failed) {
        ("call.error", _) => &["call.done", "step.failed"],
        ("step.exit", false) => &["step.done"],
        ("step.exit", true) => &["step.failed"],
        _ => &[],
    }
}

/// The event names of this crate as texts that live for ever.
pub(super) fn known_name(name: &str) -> &'static str {
    const NAMES: [&str; 7] = [
        "step.enter",
        "call.done",
        "call.error",
        "step.exit",
        "loop.done",
        "step.done",
        "step.failed",
    ];
    NAMES.into_iter().find(|known| *known == name).unwrap_or("step.exit")
}

/// Where an evaluation begins: at the beginning, or behind an action that was answered.
#[derive(Clone, Copy)]
struct From<'c> {
    list: RuleList,
    rule: u32,
    action: u32,
    alias: Option<&'c str>,
}

impl<'a> Turn<'a> {
    /// Asks the rules of `step` about the view's event, and then about its other names.
    pub(super) fn ask(
        &mut self,
        step: &'a Step,
        view: &mut View<'a>,
        ending: &mut Ending,
        then: Option<&Continuation>,
    ) -> Result<Verdict, Trouble> {
        let Some(event) = view.occasion.as_ref().map(|occasion| occasion.name) else {
            return Ok(Verdict::default());
        };
        let from = then.map(|then| From {
            list: then.list,
            rule: then.rule,
            action: then.action,
            alias: then.alias.as_deref(),
        });
        let mut verdict = Verdict::default();
        for list in [RuleList::Retries, RuleList::Case] {
            let about_calls = matches!(event, "call.done" | "call.error");
            let is_behind =
                list == RuleList::Retries && from.is_some_and(|from| from.list == RuleList::Case);
            if is_behind || (list == RuleList::Retries && !about_calls) {
                continue;
            }
            let from = from.filter(|from| from.list == list);
            let more = self.ask_list(step, list, view, ending, from)?;
            verdict.matched |= more.matched;
            verdict.effects.extend(more.effects);
            verdict.place = more.place;
            if verdict.place.is_some() || verdict.calls_again() {
                break;
            }
        }
        Ok(verdict)
    }

    fn ask_list(
        &mut self,
        step: &'a Step,
        list: RuleList,
        view: &mut View<'a>,
        ending: &mut Ending,
        from: Option<From<'_>>,
    ) -> Result<Verdict, Trouble> {
        let mut verdict = Verdict::default();
        let Some(occasion) = view.occasion.clone() else { return Ok(verdict) };
        let own = [occasion.name];
        let failed = occasion.error.is_some();
        for name in own.iter().chain(aliases(occasion.name, failed)) {
            let is_alias = *name != occasion.name;
            if from.is_some_and(|from| from.alias.map(known_name) != is_alias.then_some(*name)) {
                continue;
            }
            if let Some(occasion) = &mut view.occasion {
                occasion.name = name;
            }
            let pass = Pass { list, name, is_alias, from };
            self.pass(step, &pass, view, ending, &mut verdict)?;
            if verdict.matched || from.is_some() {
                break;
            }
        }
        if verdict.place.is_none() {
            view.occasion = Some(occasion);
        }
        Ok(verdict)
    }

    fn pass(
        &mut self,
        step: &'a Step,
        pass: &Pass<'_>,
        view: &mut View<'a>,
        ending: &mut Ending,
        verdict: &mut Verdict,
    ) -> Result<(), Trouble> {
        for (number, rule) in (0_u32..).zip(rules_of(step, pass.list)) {
            let resumed = pass.from.filter(|from| from.rule == number);
            match pass.from {
                Some(from) if number < from.rule => continue,
                Some(_) if resumed.is_some() => {}
                _ if !pass.concerns(rule, number, ending) => continue,
                _ => {}
            }
            let place = place_of(rule, number, pass.list);
            if resumed.is_none() {
                self.rules.evaluated += 1;
                if !applies(rule, view, verdict, &place)? {
                    continue;
                }
                self.rules.matched += 1;
            }
            let first = resumed.map_or(0, |from| from.action + 1);
            let acting = Acting { rule, number, list: pass.list, first, place: &place };
            let Some(effects) = self.act(step, &acting, view, ending, verdict)? else { continue };
            if matches!(guard(rule), Guard::Free) {
                ending.fired.insert(number);
            }
            let routes = effects.iter().any(|effect| matches!(effect, Effect::Route(..)));
            verdict.matched = true;
            verdict.effects.extend(effects);
            let is_exclusive =
                pass.list == RuleList::Retries || step.case_mode == CaseMode::Exclusive;
            if verdict.place.is_some() || is_exclusive || routes {
                break;
            }
        }
        Ok(())
    }

    /// Renders the actions of a rule, each seeing what the ones before it set; none if its retries are used
    /// up, for then it counts as not matched (decision D53).
    fn act(
        &mut self,
        step: &'a Step,
        acting: &Acting<'a, '_>,
        view: &mut View<'a>,
        ending: &Ending,
        verdict: &mut Verdict,
    ) -> Result<Option<Vec<Effect>>, Trouble> {
        let Acting { rule, place, .. } = *acting;
        if acting.first == 0 && is_used_up(rule, view, ending)? {
            return Ok(None);
        }
        let mut effects = Vec::new();
        for (number, action) in (0_u32..).zip(&rule.actions) {
            if number < acting.first {
                continue;
            }
            if let Some(site) = acting.site(action, number) {
                let occasion = view.occasion.as_ref().map(|occasion| occasion.name);
                if occasion == Some("step.enter") {
                    let message =
                        format!("{place} calls a tool on `step.enter`: nothing has run yet");
                    return Err(Trouble::failed("RuleError", message));
                }
                effects.push(Effect::Perform(site));
                let (list, rule) = (acting.list, acting.number);
                verdict.place = Some(Place { list, rule, action: number });
                break;
            }
            let more = self.do_one(step, action, acting, view, ending)?;
            effects.extend(more);
        }
        Ok(Some(effects))
    }

    /// One action that needs no call.
    fn do_one(
        &mut self,
        step: &'a Step,
        action: &Action,
        acting: &Acting<'a, '_>,
        view: &mut View<'a>,
        ending: &Ending,
    ) -> Result<Vec<Effect>, Trouble> {
        let place = acting.place;
        Ok(match action {
            Action::Set(value) | Action::Vars(value) => {
                self.assign_in(view, value, place)?.into_iter().collect()
            }
            Action::Collect(collect) => {
                let mut effects: Vec<Effect> =
                    self.collect(collect, view, place)?.into_iter().collect();
                if !acting.rule.actions.iter().any(repeats) {
                    effects.extend(tell_pages(view));
                }
                effects
            }
            Action::Result(value) => {
                let result = replaced(value, view, place)?;
                view.result = Some(result.clone());
                vec![Effect::Result(result)]
            }
            Action::Sink(value) => vec![Effect::Save(saved(value, view, place)?)],
            Action::Retry(retry) if on_error(view) => {
                let policy = Policy::read(retry, &view.context())?;
                let command = self.command_of(ending);
                let attempt = ending.attempt.max(1);
                vec![Effect::Retry(policy.delay_after_ms(attempt, &command))]
            }
            Action::Call(call) if call.get("step").is_some() => called_step(call, view, place)?,
            Action::Retry(again) | Action::Call(again) => {
                repeat(step, acting.rule, again, view, place)?.into_iter().collect()
            }
            Action::Next(targets) => {
                let mut effects = tell_pages(view);
                let next = Next { mode: NextMode::Inclusive, targets: targets.clone() };
                effects.extend(routes(&next, view, &[])?);
                effects
            }
            Action::Fail(value) => vec![Effect::Fail(failed(value, view, place)?)],
            Action::Skip(_) => vec![Effect::Skip],
            // Calls were taken out before.
            Action::Task(_) => Vec::new(),
        })
    }

    /// Renders a `set` or `vars`; what belongs to the unit stays in the view's copy of it.
    pub(super) fn assign_in(
        &mut self,
        view: &mut View<'a>,
        value: &Value,
        place: &str,
    ) -> Result<Option<Effect>, Trouble> {
        let Assigned { execution, unit } = assignments(value, view, place)?;
        for (name, value) in unit {
            let value = self.keep(value);
            view.vars.insert(name.clone(), value.clone());
            view.unit.vars.insert(name, value);
        }
        view.vars.extend(execution.clone());
        Ok((!execution.is_empty()).then_some(Effect::Set(execution)))
    }
}

/// One round over a list of rules under one name of the event.
struct Pass<'c> {
    list: RuleList,
    name: &'static str,
    is_alias: bool,
    from: Option<From<'c>>,
}

impl Pass<'_> {
    /// Whether a rule is asked in this round at all.
    fn concerns(&self, rule: &Rule, number: u32, ending: &Ending) -> bool {
        let on_entry = self.name == "step.enter";
        match guard(rule) {
            Guard::Event(text) if self.is_alias => {
                let about_error = self.name != "call.done" || text.contains("error");
                text.contains(self.name) && about_error
            }
            Guard::Event(text) => !on_entry || text.contains("step.enter"),
            Guard::Free => !self.is_alias && !on_entry && !ending.fired.contains(&number),
        }
    }
}

/// A rule whose actions are carried out.
#[derive(Clone, Copy)]
struct Acting<'a, 'p> {
    rule: &'a Rule,
    number: u32,
    list: RuleList,
    /// The first action that is left.
    first: u32,
    place: &'p str,
}

impl Acting<'_, '_> {
    /// The call that an action stands for, if it is one.
    fn site(&self, action: &Action, number: u32) -> Option<CallSite> {
        let (list, rule, action_number) = (self.list, self.number, number);
        match action {
            Action::Sink(value) if !sink::records(value) => {
                Some(CallSite::Save { list, rule, action: action_number })
            }
            Action::Task(_) => Some(CallSite::Named { list, rule, action: action_number }),
            _ => None,
        }
    }
}

/// The rules of one list.
pub(super) fn rules_of(step: &Step, list: RuleList) -> &[Rule] {
    match list {
        RuleList::Retries => &step.retries,
        RuleList::Case => &step.rules,
    }
}

/// Whether a rule says which event it is for.
enum Guard<'a> {
    Event(&'a str),
    Free,
}

fn guard(rule: &Rule) -> Guard<'_> {
    match &rule.when {
        When::Condition(text) if text.contains("event.name") => Guard::Event(text),
        When::Condition(_) | When::Else => Guard::Free,
    }
}

fn place_of(rule: &Rule, number: u32, list: RuleList) -> String {
    match list {
        RuleList::Case => format!("rule {} (line {})", number + 1, rule.position.line),
        RuleList::Retries => format!("`retry` (line {})", rule.position.line),
    }
}

fn applies(rule: &Rule, view: &View<'_>, verdict: &Verdict, place: &str) -> Result<bool, Trouble> {
    match &rule.when {
        When::Condition(text) => condition(text, &view.context())
            .map_err(|error| Trouble::template(&format!("`when` of {place}"), error)),
        When::Else => Ok(!verdict.matched),
    }
}

fn on_error(view: &View<'_>) -> bool {
    view.occasion.as_ref().is_some_and(|occasion| occasion.error.is_some())
}

/// Whether an action asks for the step's tool again.
fn repeats(action: &Action) -> bool {
    match action {
        Action::Retry(_) => true,
        Action::Call(call) => call.get("step").is_none(),
        _ => false,
    }
}

/// Whether a rule's tries after an error are used up.
fn is_used_up(rule: &Rule, view: &View<'_>, ending: &Ending) -> Result<bool, Trouble> {
    if !on_error(view) {
        return Ok(false);
    }
    for action in &rule.actions {
        if let Action::Retry(retry) = action
            && ending.attempt >= Policy::read(retry, &view.context())?.attempts_max
        {
            return Ok(true);
        }
    }
    Ok(false)
}

/// `call: {step, args}` enters a step, as `next` does.
fn called_step(call: &Value, view: &View<'_>, place: &str) -> Result<Vec<Effect>, Trouble> {
    let step = call.get("step").and_then(Value::as_str).unwrap_or_default();
    let args = call.get("args").and_then(Value::as_object).cloned().unwrap_or_default();
    let args = render_map(&args, &view.context(), Coerce::Mixed)
        .map_err(|error| Trouble::template(&format!("`call` of {place}"), error))?;
    Ok(vec![Effect::Route(step.into(), args)])
}

/// `result: {from: X}` evaluates X (decision D19); anything else is a value to render.
fn replaced(value: &Value, view: &View<'_>, place: &str) -> Result<Payload, Trouble> {
    let context = view.context();
    let found = match value.get("from").and_then(Value::as_str) {
        Some(from) => expression(from, &context),
        None => render(value, &context, Coerce::Mixed).map(Payload::Inline),
    };
    found.map_err(|error| Trouble::template(&format!("`result` of {place}"), error))
}

/// What a sink to the event log keeps.
fn saved(value: &Value, view: &View<'_>, place: &str) -> Result<Payload, Trouble> {
    let raw = ["args", "data", "payload"].iter().find_map(|key| value.get(key));
    let rendered = render(raw.unwrap_or(&Value::Null), &view.context(), Coerce::Mixed);
    let rendered =
        rendered.map_err(|error| Trouble::template(&format!("`sink` of {place}"), error));
    Ok(Payload::Inline(rendered?))
}

fn failed(value: &Value, view: &View<'_>, place: &str) -> Result<ToolFailure, Trouble> {
    let raw = value.get("message").unwrap_or(value);
    let rendered = render(raw, &view.context(), Coerce::Never)
        .map_err(|error| Trouble::template(&format!("`fail` of {place}"), error))?;
    let message = match rendered {
        Value::String(text) if !text.is_empty() => text,
        Value::Null | Value::Bool(_) | Value::Object(_) => format!("{place} says `fail`"),
        other => other.to_string(),
    };
    Ok(ToolFailure { kind: "Failed".to_owned(), message, ..ToolFailure::default() })
}
