//! What follows a task of a list: the next one, the same again, another, or the end.

use serde_json::{Value, json};

use super::exit::Ending;
use super::retry::Policy;
use super::rules::Effect;
use super::view::View;
use super::{Trouble, Turn};
use crate::event::ToolFailure;
use crate::playbook::{Directive, PolicyRule, Step, Task, When};
use crate::template::condition;

/// What becomes of a task list after one of its tasks.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Onward {
    /// The task of that index.
    Task(u32),
    /// The same task again, after so many milliseconds.
    Retry(u64),
    /// The end of the list.
    End(Option<ToolFailure>),
}

impl<'a> Turn<'a> {
    /// Judges the outcome of the task that the view's event is about, and renders what it sets.
    ///
    /// Source: `NoETL`'s task sequence executor, as `dsl.md` 1.7 describes it.
    pub(super) fn judge_task(
        &mut self,
        step: &'a Step,
        number: u32,
        view: &mut View<'a>,
        ending: &Ending,
    ) -> Result<(Onward, Vec<Effect>), Trouble> {
        let Some(task) = step.tasks.get(number as usize) else {
            return Ok((Onward::End(ending.error.clone()), Vec::new()));
        };
        let place = format!("task `{}` (line {})", task.label, task.tool.position.line);
        let mut effects = Vec::new();
        if let (None, Some(set)) = (&ending.error, &task.set) {
            effects.extend(self.assign_in(view, set, &place)?);
        }
        let rule = first_match(task, view, &place)?;
        let onward = match rule.map(|rule| &rule.then) {
            None => unmatched(task, number, step, ending),
            Some(Directive::Continue) => next(step, number),
            Some(Directive::Jump(to)) => Onward::Task(*to),
            Some(Directive::Break) => Onward::End(None),
            Some(Directive::Fail) => Onward::End(Some(failure(task, view, ending))),
            Some(Directive::Retry(how)) => self.retry_task(how, view, ending, &place)?,
        };
        if let Some(set) = rule.and_then(|rule| rule.set.as_ref()) {
            effects.extend(self.assign_in(view, set, &place)?);
        }
        Ok((onward, effects))
    }

    fn retry_task(
        &self,
        how: &Value,
        view: &View<'_>,
        ending: &Ending,
        place: &str,
    ) -> Result<Onward, Trouble> {
        let policy = Policy::read(&spelled_out(how), &view.context())?;
        if ending.attempt >= policy.attempts_max {
            let error = ending.error.clone().unwrap_or_else(|| ToolFailure {
                kind: "PolicyError".to_owned(),
                message: format!("{place} was tried {} times in vain", ending.attempt),
                ..ToolFailure::default()
            });
            return Ok(Onward::End(Some(error)));
        }
        let command = self.command_of(ending);
        Ok(Onward::Retry(policy.delay_after_ms(ending.attempt.max(1), &command)))
    }
}

/// Without a rule that applies an error ends the list, and anything else goes on.
fn unmatched(task: &Task, number: u32, step: &Step, ending: &Ending) -> Onward {
    match &ending.error {
        Some(error) if !task.policy.continues_unmatched => Onward::End(Some(error.clone())),
        _ => next(step, number),
    }
}

fn first_match<'t>(
    task: &'t Task,
    view: &View<'_>,
    place: &str,
) -> Result<Option<&'t PolicyRule>, Trouble> {
    for rule in &task.policy.rules {
        let applies = match &rule.when {
            When::Else => true,
            When::Condition(text) => match condition(text, &view.context()) {
                Ok(applies) => applies,
                // A condition that cannot be judged is passed over.
                Err(error) => match Trouble::template(place, error) {
                    needs @ Trouble::Needs(_) => return Err(needs),
                    _ => false,
                },
            },
        };
        if applies {
            return Ok(Some(rule));
        }
    }
    Ok(None)
}

fn next(step: &Step, number: u32) -> Onward {
    let next = number + 1;
    if (next as usize) < step.tasks.len() { Onward::Task(next) } else { Onward::End(None) }
}

/// `{attempts, backoff, delay}` in the words of `retry`; without a delay there is none, and without a
/// `backoff` it is constant.
fn spelled_out(how: &Value) -> Value {
    let field = |name: &str| how.get(name).filter(|value| !value.is_null()).cloned();
    json!({
        "max_attempts": field("attempts").or_else(|| field("max_attempts")).unwrap_or_else(|| json!(3)),
        "delay": field("delay").unwrap_or_else(|| json!(0)),
        "backoff": field("backoff").unwrap_or_else(|| json!("none")),
        "max_delay": field("max_delay"),
        "jitter": field("jitter"),
    })
}

/// The error of a task that its policy fails: the call's own, or one that shows the result.
fn failure(task: &Task, view: &View<'_>, ending: &Ending) -> ToolFailure {
    ending.error.clone().unwrap_or_else(|| {
        let result =
            view.occasion.as_ref().and_then(|occasion| occasion.response.inline().cloned());
        let shown = result.unwrap_or(Value::Null).to_string();
        let shown = shown.get(..shown.floor_char_boundary(200)).unwrap_or_default().to_owned();
        ToolFailure {
            kind: "PolicyError".to_owned(),
            message: format!("the policy of task `{}` says `fail` to {shown}", task.label),
            ..ToolFailure::default()
        }
    })
}
