//! Which top-level names the templates of a step use: only those travel, only those are looked up.

use std::collections::BTreeSet;

use serde_json::Value;

use super::sink;
use super::{
    Action, CollectFrom, Directive, Loop, Rule, Step, Target, Task, Tool, When, WorkbookTask,
};
use crate::template;

/// Kinds whose configuration the engine itself renders: it runs them.
pub const ENGINE_KINDS: [&str; 3] = ["playbook", "wait", "callback"];

/// Keys of a tool that no worker renders: they say what happens around the call.
pub const POLICY_KEYS: [&str; 3] = ["spec", "output", "set"];

/// The names that the templates of one step use.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct StepNames {
    /// In what the engine renders: rules, policies, routing, `vars`, the loop's collection, and the
    /// tools that it runs itself.
    pub engine: BTreeSet<String>,
    /// In what a worker renders: the configuration and `args` of tools, tasks and sinks.
    pub worker: BTreeSet<String>,
}

/// Analyses one step. Text that does not compile uses no names.
#[must_use]
pub fn of_step(step: &Step, workbook: &[WorkbookTask]) -> StepNames {
    let mut names = StepNames::default();
    let tools = step.tool.iter().chain(step.tasks.iter().map(|task| &task.tool));
    let mut in_engine = false;
    for tool in tools {
        in_engine |= of_tool(tool, workbook, &mut names);
    }
    of_values(step.args.values(), &mut names.worker);
    if in_engine {
        of_values(step.args.values(), &mut names.engine);
    }
    if let Some(sink) = &step.sink {
        of_sink(sink, &mut names);
    }
    let engine = &mut names.engine;
    for task in &step.tasks {
        of_policy(task, engine);
    }
    for rule in &step.admit {
        of_guard(&rule.when, engine);
    }
    of_values(step.vars.values(), engine);
    of_values(step.set.iter().chain(&step.timeout), engine);
    if let Some(repeat) = &step.repeat {
        of_loop(repeat, engine);
    }
    of_targets(&step.next.targets, engine);
    for Rule { when, actions, .. } in step.retries.iter().chain(&step.rules) {
        of_guard(when, &mut names.engine);
        for action in actions {
            of_action(action, workbook, &mut names);
        }
    }
    names
}

/// Whether the engine renders the tool.
fn of_tool(tool: &Tool, workbook: &[WorkbookTask], names: &mut StepNames) -> bool {
    let called = ["task", "name"].iter().find_map(|key| tool.config.get(*key)?.as_str());
    let called = called.filter(|_| tool.kind == "workbook");
    let called = called.and_then(|name| workbook.iter().find(|task| task.name == name));
    let mut in_engine = false;
    for tool in [Some(tool), called.map(|task| &task.tool)].into_iter().flatten() {
        let config = tool.config.iter().filter(|(key, _)| !POLICY_KEYS.contains(&key.as_str()));
        let values: Vec<&Value> =
            config.map(|(_, value)| value).chain(tool.args.values()).collect();
        of_values(values.iter().copied(), &mut names.worker);
        if ENGINE_KINDS.contains(&tool.kind.as_str()) {
            in_engine = true;
            of_values(values, &mut names.engine);
        }
    }
    in_engine
}

/// What a task does when it has ended.
fn of_policy(task: &Task, names: &mut BTreeSet<String>) {
    of_values(&task.set, names);
    for rule in &task.policy.rules {
        of_guard(&rule.when, names);
        of_values(&rule.set, names);
        if let Directive::Retry(tries) = &rule.then {
            of_value(tries, names);
        }
    }
}

/// A sink is rendered where it is saved: by a worker, or by the engine into the log.
fn of_sink(sink: &Value, names: &mut StepNames) {
    let saved = if sink::records(sink) { &mut names.engine } else { &mut names.worker };
    of_value(sink, saved);
}

fn of_guard(when: &When, names: &mut BTreeSet<String>) {
    if let When::Condition(text) = when {
        of_expression(text, names);
    }
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

fn of_action(action: &Action, workbook: &[WorkbookTask], names: &mut StepNames) {
    let engine = &mut names.engine;
    match action {
        Action::Result(value) => {
            of_value(value, engine);
            if let Some(from) = value.get("from").and_then(Value::as_str) {
                of_expression(from, engine);
            }
        }
        Action::Collect(collect) => {
            if let CollectFrom::Expression(text) = &collect.from {
                of_expression(text, engine);
            }
            engine.extend(collect.into.clone());
        }
        Action::Set(value)
        | Action::Vars(value)
        | Action::Call(value)
        | Action::Retry(value)
        | Action::Fail(value)
        | Action::Skip(value) => of_value(value, engine),
        Action::Sink(value) => of_sink(value, names),
        Action::Task(task) => {
            of_tool(&task.tool, workbook, names);
        }
        Action::Next(targets) => of_targets(targets, engine),
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::playbook::parse::parse;

    /// What the engine and what a worker must know to render the step `start`.
    fn names(start: &str) -> (String, String) {
        let text = format!(
            "apiVersion: noetl.io/v2\nkind: Playbook\nmetadata: {{name: p}}\n\
             workbook: [{{name: w, tool: {{kind: python, code: x, args: {{a: \"{{{{ inner }}}}\"}}}}}}]\n\
             workflow:\n- {{step: start, {start}}}\n"
        );
        let parsed = parse(&text);
        let playbook = parsed.playbook.unwrap_or_else(|| panic!("{:?}", parsed.diagnostics));
        let StepNames { engine, worker } = &playbook.steps[0].names;
        let listed = |names: &BTreeSet<String>| {
            names.iter().map(String::as_str).collect::<Vec<_>>().join(" ")
        };
        (listed(engine), listed(worker))
    }

    #[test]
    fn each_side_gets_the_names_of_what_it_renders() {
        let tool = "tool: {kind: noop}";
        #[rustfmt::skip]
        let cases = [
            ("tool: {kind: http, url: \"{{ a }}\", args: {x: \"{{ b }}\"}}".to_owned(), "", "a b"),
            ("tool: {kind: http, url: \"{{ a }}\", set: {x: \"{{ b }}\"}, spec: {policy: {rules: [\
              {when: \"{{ c }}\", then: {do: retry, attempts: \"{{ d }}\"}}, \
              {else: {set: {ctx.y: \"{{ e }}\"}}}]}}}".to_owned(), "b c d e", "a"),
            ("tool: [{kind: noop, x: \"{{ a }}\", set: {x: \"{{ b }}\"}}, {kind: noop, x: \"{{ f }}\"}]".to_owned(),
             "b", "a f"),
            ("tool: {kind: playbook, path: \"{{ a }}\", args: {x: \"{{ b }}\"}}, args: {y: \"{{ c }}\"}".to_owned(),
             "a b c", "a b c"),
            ("tool: {kind: noop}, args: {y: \"{{ c }}\"}".to_owned(), "", "c"),
            ("tool: {kind: workbook, task: w, with: {x: \"{{ a }}\"}}".to_owned(), "", "a inner"),
            (format!("{tool}, sink: {{tool: {{kind: http, url: \"{{{{ a }}}}\"}}}}"), "", "a"),
            (format!("{tool}, case: [{{else: {{sink: {{tool: {{kind: event_log, data: \"{{{{ a }}}}\"}}}}}}}}]"), "a", ""),
            (format!("{tool}, case: [{{else: {{sink: {{tool: {{kind: http, data: \"{{{{ a }}}}\"}}}}}}}}]"), "", "a"),
            (format!("{tool}, case: [{{else: {{more: {{tool: {{kind: noop, x: \"{{{{ a }}}}\"}}}}}}}}]"), "", "a"),
            (format!("{tool}, case: [{{else: {{collect: {{from: a.b, into: c}}, next: [{{step: end, \
              args: {{x: \"{{{{ d }}}}\"}}}}]}}}}]"), "a c d", ""),
            (format!("{tool}, spec: {{policy: {{admit: {{rules: [{{when: a.b, then: {{allow: yes}}}}]}}}}}}"), "a", ""),
            (format!("{tool}, retry: {{max_attempts: \"{{{{ a }}}}\", retry_when: b > 1}}"), "a attempt b", ""),
        ];
        for (start, engine, worker) in &cases {
            let given = names(start);
            let given: Vec<&str> = [given.0.as_str(), given.1.as_str()]
                .into_iter()
                .flat_map(|names| [names])
                .collect();
            let without = |names: &str| {
                let kept = names.split(' ').filter(|name| !["event", "attempt"].contains(name));
                kept.collect::<Vec<_>>().join(" ")
            };
            assert_eq!(without(given[0]), without(engine), "engine: {start}");
            assert_eq!(without(given[1]), without(worker), "worker: {start}");
        }
    }
}
