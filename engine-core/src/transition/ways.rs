//! The ways out of a step: which targets of a `next` apply.

use super::Trouble;
use super::rules::Effect;
use super::set::assignments;
use super::view::View;
use crate::playbook::{Next, NextMode, Step, Target};
use crate::template::{Coerce, condition, render_map};

/// Names under which an arc knows the end of its step.
fn names_of_end(loops: bool, failed: bool) -> &'static [&'static str] {
    match (loops, failed) {
        (_, true) => &["step.exit", "call.error", "step.failed"],
        (false, false) => &["step.exit", "call.done", "step.done"],
        (true, false) => &["step.exit", "loop.done", "call.done", "step.done"],
    }
}

/// The targets of a `next` whose guards hold, with their arguments rendered here, in the source.
///
/// `names` are other names under which a guard may know the event at hand.
pub(super) fn routes(
    next: &Next,
    view: &mut View<'_>,
    names: &[&'static str],
) -> Result<Vec<Effect>, Trouble> {
    let mut effects = Vec::new();
    for target in &next.targets {
        let Target { step, when, args, set, position } = target;
        let place = format!("`next` to `{step}` (line {})", position.line);
        if let Some(when) = when
            && !holds(when, view, names, &place)?
        {
            continue;
        }
        if let Some(set) = set {
            let values = assignments(set, view, &place)?.execution;
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

/// The ways out of a step that ended: under every name that arcs use for that.
pub(super) fn ways_out(step: &Step, view: &mut View<'_>) -> Result<Vec<Effect>, Trouble> {
    let failed = view.occasion.as_ref().is_some_and(|occasion| occasion.error.is_some());
    routes(&step.next, view, names_of_end(step.repeat.is_some(), failed))
}

/// As [`ways_out`], for a failure: only by arcs that name such an event.
pub(super) fn ways_out_of_failure(
    step: &Step,
    view: &mut View<'_>,
) -> Result<Vec<Effect>, Trouble> {
    let about_failure = |when: &String| {
        when.contains("event.name")
            && ["call.error", "step.failed", "step.exit"].iter().any(|name| when.contains(name))
    };
    let targets = step.next.targets.iter();
    let targets = targets.filter(|target| target.when.as_ref().is_some_and(about_failure));
    let next = Next { mode: step.next.mode, targets: targets.cloned().collect() };
    routes(&next, view, names_of_end(step.repeat.is_some(), true))
}

fn holds(
    when: &str,
    view: &mut View<'_>,
    names: &[&'static str],
    place: &str,
) -> Result<bool, Trouble> {
    let judge = |view: &View<'_>| {
        condition(when, &view.context())
            .map_err(|error| Trouble::template(&format!("`when` of {place}"), error))
    };
    if judge(view)? {
        return Ok(true);
    }
    let Some(own) = view.occasion.as_ref().map(|occasion| occasion.name) else { return Ok(false) };
    let mut found = false;
    for name in names.iter().filter(|name| **name != own && when.contains(**name)) {
        if let Some(occasion) = &mut view.occasion {
            occasion.name = name;
        }
        found = judge(view)?;
        if found {
            break;
        }
    }
    if let Some(occasion) = &mut view.occasion {
        occasion.name = own;
    }
    Ok(found)
}
