//! Which rules of a step match an event, and what they ask for.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value};

use super::Trouble;
use super::retry::Policy;
use super::view::View;
use crate::event::ToolFailure;
use crate::ids::{CommandId, StepName};
use crate::payload::Payload;
use crate::playbook::{Action, CaseMode, Next, NextMode, Rule, Step, Target, When};
use crate::template::{Coerce, condition, expression, render, render_map};

/// Something a rule asks for, rendered.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Effect {
    /// Change variables.
    Set(BTreeMap<String, Payload>),
    /// Replace the step's result.
    Result(Payload),
    /// Keep something in the event log.
    Save(Payload),
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
}

/// What the evaluation of one step run remembers from event to event.
#[derive(Clone, Debug, Default)]
pub(super) struct Fired {
    /// Rules without a guard on the event that had their turn: they fire once per run.
    once: BTreeSet<usize>,
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

/// Evaluates the rules of `step` for the view's event, and then for its other names.
pub(super) fn evaluate(
    step: &Step,
    view: &mut View<'_>,
    command: &CommandId,
    fired: &mut Fired,
) -> Result<Verdict, Trouble> {
    let Some(occasion) = view.occasion.clone() else { return Ok(Verdict::default()) };
    let verdict = pass(step, view, command, fired)?;
    if verdict.matched {
        return Ok(verdict);
    }
    for alias in aliases(occasion.name, occasion.error.is_some()) {
        if let Some(occasion) = &mut view.occasion {
            occasion.name = alias;
        }
        let verdict = named_pass(step, view, command, fired)?;
        if verdict.matched {
            return Ok(verdict);
        }
    }
    view.occasion = Some(occasion);
    Ok(Verdict::default())
}

fn pass(
    step: &Step,
    view: &mut View<'_>,
    command: &CommandId,
    fired: &mut Fired,
) -> Result<Verdict, Trouble> {
    let on_entry = view.occasion.as_ref().is_some_and(|occasion| occasion.name == "step.enter");
    let rules = step.rules.iter().enumerate().filter(|(number, rule)| match guard(rule) {
        Guard::Event(text) => !on_entry || text.contains("step.enter"),
        Guard::Free => !on_entry && !fired.once.contains(number),
    });
    let rules: Vec<(usize, &Rule)> = rules.collect();
    run(step, &rules, view, command, fired)
}

/// As [`pass`], for rules that name the alias themselves, and the error where it stands for one.
fn named_pass(
    step: &Step,
    view: &mut View<'_>,
    command: &CommandId,
    fired: &mut Fired,
) -> Result<Verdict, Trouble> {
    let Some(occasion) = view.occasion.clone() else { return Ok(Verdict::default()) };
    let rules = step.rules.iter().enumerate().filter(|(_, rule)| match guard(rule) {
        Guard::Event(text) => {
            let about_error = occasion.name != "call.done" || text.contains("error");
            text.contains(occasion.name) && about_error
        }
        Guard::Free => false,
    });
    let rules: Vec<(usize, &Rule)> = rules.collect();
    run(step, &rules, view, command, fired)
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

fn run(
    step: &Step,
    rules: &[(usize, &Rule)],
    view: &mut View<'_>,
    command: &CommandId,
    fired: &mut Fired,
) -> Result<Verdict, Trouble> {
    let mut verdict = Verdict::default();
    for (number, rule) in rules {
        let place = format!("rule {} (line {})", number + 1, rule.position.line);
        let holds = match &rule.when {
            When::Condition(text) => condition(text, &view.context())
                .map_err(|error| Trouble::template(&format!("`when` of {place}"), error))?,
            When::Else => !verdict.matched,
        };
        if !holds {
            continue;
        }
        let Some(effects) = act(rule, view, command, &place)? else { continue };
        if matches!(guard(rule), Guard::Free) {
            fired.once.insert(*number);
        }
        let routes = effects.iter().any(|effect| matches!(effect, Effect::Route(..)));
        verdict.matched = true;
        verdict.effects.extend(effects);
        if step.case_mode == CaseMode::Exclusive || routes {
            break;
        }
    }
    Ok(verdict)
}

/// Renders the actions of a rule, each seeing what the ones before it set; none if its retries are used
/// up, for then it counts as not matched (decision D53).
fn act(
    rule: &Rule,
    view: &mut View<'_>,
    command: &CommandId,
    place: &str,
) -> Result<Option<Vec<Effect>>, Trouble> {
    let attempt = view.occasion.as_ref().map_or(0, |occasion| occasion.attempt);
    for action in &rule.actions {
        if let Action::Retry(retry) = action
            && attempt >= Policy::read(retry, &view.context())?.attempts_max
        {
            return Ok(None);
        }
    }
    let mut effects = Vec::new();
    for action in &rule.actions {
        match action {
            Action::Set(value) | Action::Vars(value) => {
                let values = assignments(value, view, place)?;
                view.vars.extend(values.clone());
                effects.push(Effect::Set(values));
            }
            Action::Result(value) => {
                let result = replaced(value, view, place)?;
                view.result = Some(result.clone());
                effects.push(Effect::Result(result));
            }
            Action::Sink(value) => effects.push(Effect::Save(saved(value, view, place)?)),
            Action::Retry(retry) => {
                let policy = Policy::read(retry, &view.context())?;
                effects.push(Effect::Retry(policy.delay_after_ms(attempt.max(1), command)));
            }
            Action::Next(targets) => {
                let next = Next { mode: NextMode::Inclusive, targets: targets.clone() };
                effects.extend(routes(&next, view)?);
            }
            Action::Fail(value) => effects.push(Effect::Fail(failed(value, view, place)?)),
            Action::Skip(_) => effects.push(Effect::Skip),
            Action::Collect(_) | Action::Call(_) | Action::Task(_) => {
                let message = format!("{place} uses an action that this version does not run");
                return Err(Trouble::failed("Unsupported", message));
            }
        }
    }
    Ok(Some(effects))
}

/// The targets of a `next` whose guards hold, with their arguments rendered here, in the source.
pub(super) fn routes(next: &Next, view: &mut View<'_>) -> Result<Vec<Effect>, Trouble> {
    let mut effects = Vec::new();
    for target in &next.targets {
        let Target { step, when, args, set, position } = target;
        let place = format!("`next` to `{step}` (line {})", position.line);
        if let Some(when) = when {
            let holds = condition(when, &view.context());
            if !holds.map_err(|error| Trouble::template(&format!("`when` of {place}"), error))? {
                continue;
            }
        }
        if let Some(set) = set {
            let values = assignments(set, view, &place)?;
            view.vars.extend(values.clone());
            effects.push(Effect::Set(values));
        }
        let args = render_map(args, &view.context(), Coerce::Mixed)
            .map_err(|error| Trouble::template(&format!("`args` of {place}"), error))?;
        effects.push(Effect::Route(step.clone(), args));
        if next.mode == NextMode::Exclusive {
            break;
        }
    }
    Ok(effects)
}

/// The variables that a `set` or `vars` names, in any of its shapes (decision D16).
pub(super) fn assignments(
    value: &Value,
    view: &View<'_>,
    place: &str,
) -> Result<BTreeMap<String, Payload>, Trouble> {
    let mut raw: Map<String, Value> = Map::new();
    match value {
        Value::Array(items) => {
            for item in items {
                match (item.get("name").and_then(Value::as_str), item.get("value")) {
                    (Some(name), Some(value)) => raw.extend([(bare(name), value.clone())]),
                    _ => raw.extend(item.as_object().into_iter().flatten().map(own)),
                }
            }
        }
        Value::Object(map) => {
            for (key, value) in map {
                match (key.as_str(), value) {
                    ("ctx" | "vars", Value::Object(inner)) => raw.extend(inner.iter().map(own)),
                    _ => raw.extend([(bare(key), value.clone())]),
                }
            }
        }
        _ => {}
    }
    render_map(&raw, &view.context(), Coerce::Mixed)
        .map_err(|error| Trouble::template(&format!("`set` of {place}"), error))
}

fn own((key, value): (&String, &Value)) -> (String, Value) {
    (bare(key), value.clone())
}

/// The name of a variable without its scope.
fn bare(name: &str) -> String {
    let scopes = ["ctx.", "vars.", "iter.", "step."];
    let bare = scopes.iter().find_map(|scope| name.strip_prefix(scope));
    bare.unwrap_or(name).to_owned()
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
