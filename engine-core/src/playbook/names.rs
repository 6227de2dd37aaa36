//! Which top-level names the templates of a step use: only those travel, only those are looked up.

use std::collections::BTreeSet;

use serde_json::Value;

use super::{Action, CollectFrom, Loop, Step, Target, Tool, When};
use crate::template;

/// The names that the templates of one step use.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct StepNames {
    /// In what the engine renders: rules, routing, `vars`, the loop's collection.
    pub engine: BTreeSet<String>,
    /// In what a worker renders: the tool's configuration and `args`.
    pub worker: BTreeSet<String>,
}

/// Analyses one step. Text that does not compile uses no names.
#[must_use]
pub fn of_step(step: &Step) -> StepNames {
    let mut names = StepNames::default();
    if let Some(tool) = &step.tool {
        of_tool(tool, &mut names.worker);
    }
    for task in &step.tasks {
        of_tool(&task.tool, &mut names.worker);
    }
    of_values(step.args.values(), &mut names.worker);

    let engine = &mut names.engine;
    of_values(step.vars.values(), engine);
    of_values(step.set.iter().chain(&step.timeout), engine);
    if let Some(repeat) = &step.repeat {
        of_loop(repeat, engine);
    }
    of_targets(&step.next.targets, engine);
    for rule in &step.rules {
        if let When::Condition(text) = &rule.when {
            of_expression(text, engine);
        }
        for action in &rule.actions {
            of_action(action, engine);
        }
    }
    names
}

fn of_tool(tool: &Tool, names: &mut BTreeSet<String>) {
    of_values(tool.config.values().chain(tool.args.values()), names);
}

fn of_loop(repeat: &Loop, names: &mut BTreeSet<String>) {
    let values = [Some(&repeat.source), repeat.max_in_flight.as_ref(), repeat.limit.as_ref()];
    of_values(values.into_iter().flatten().chain(&repeat.chunk), names);
    for text in repeat.filter.iter().chain(&repeat.order_by) {
        of_expression(text, names);
    }
}

fn of_targets(targets: &[Target], names: &mut BTreeSet<String>) {
    for target in targets {
        of_values(target.args.values().chain(&target.set), names);
        if let Some(when) = &target.when {
            of_expression(when, names);
        }
    }
}

fn of_action(action: &Action, names: &mut BTreeSet<String>) {
    match action {
        Action::Result(value) => {
            of_value(value, names);
            if let Some(from) = value.get("from").and_then(Value::as_str) {
                of_expression(from, names);
            }
        }
        Action::Collect(collect) => {
            if let CollectFrom::Expression(text) = &collect.from {
                of_expression(text, names);
            }
            names.extend(collect.into.clone());
        }
        Action::Set(value)
        | Action::Vars(value)
        | Action::Sink(value)
        | Action::Call(value)
        | Action::Retry(value)
        | Action::Fail(value)
        | Action::Skip(value) => of_value(value, names),
        Action::Task(task) => of_tool(&task.tool, names),
        Action::Next(targets) => of_targets(targets, names),
    }
}

fn of_values<'a>(values: impl IntoIterator<Item = &'a Value>, names: &mut BTreeSet<String>) {
    for value in values {
        of_value(value, names);
    }
}

fn of_value(value: &Value, names: &mut BTreeSet<String>) {
    match value {
        Value::String(text) => names.extend(template::check(text).unwrap_or_default()),
        Value::Array(items) => of_values(items, names),
        Value::Object(map) => of_values(map.values(), names),
        _ => {}
    }
}

fn of_expression(text: &str, names: &mut BTreeSet<String>) {
    names.extend(template::check_expression(text).unwrap_or_default());
}
