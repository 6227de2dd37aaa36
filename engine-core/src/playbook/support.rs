//! What a playbook asks for that this version recognises and does not run yet.

use serde_json::Value;

use crate::playbook::diagnostic::{Diagnostic, Span};
use crate::playbook::names::ENGINE_KINDS;
use crate::playbook::sink;
use crate::playbook::{Action, Playbook, Position, Step, Task, Tool};

/// Kinds of tool that this build runs.
pub const KINDS_RUN: [&str; 18] = [
    "http", "noop", "python", "postgres", "duckdb", "sqlite", "transfer", "s3", "nats", "lambda",
    "secrets", "rhai", "script", "shell", "playbook", "workbook", "wait", "callback",
];

/// Where a `sink` can save, beside the event log.
pub const SINKS_RUN: [&str; 7] = ["postgres", "duckdb", "sqlite", "http", "python", "file", "s3"];

/// Everything in `playbook` that this version would not do, each an error.
#[must_use]
pub fn unsupported(playbook: &Playbook) -> Vec<Diagnostic> {
    let mut report = Report { playbook, found: Vec::new() };
    for (index, step) in playbook.steps.iter().enumerate() {
        report.step(step, &format!("workflow[{index}]"));
    }
    report.found.sort_by_key(|found| found.position);
    // A workbook task may be called by several steps.
    report.found.dedup();
    report.found
}

/// What a function in the cloud cannot do beside that: read files of the machine that wrote the playbook.
#[must_use]
pub fn unsupported_on_lambda(playbook: &Playbook) -> Vec<Diagnostic> {
    let mut report = Report { playbook, found: Vec::new() };
    for (index, step) in playbook.steps.iter().enumerate() {
        let listed = step.tasks.iter().map(|task| &task.tool).filter(|_| step.tool.is_none());
        for tool in step.tool.iter().chain(listed) {
            let source =
                tool.config.get("script").and_then(|script| script.pointer("/source/type"));
            if source.and_then(Value::as_str) == Some("file") {
                let what = "a script from a file of this machine, on Lambda,";
                let advice = "put it behind `source: {type: http}`, or write `code`";
                let path = format!("workflow[{index}].tool.script");
                report.add(tool.position, path, what, Some(advice));
            }
        }
    }
    report.found
}

/// Everything that a function in the cloud would not do of `playbook`, each an error.
#[must_use]
pub fn refused_on_lambda(playbook: &Playbook) -> Vec<Diagnostic> {
    let mut found = unsupported(playbook);
    found.extend(unsupported_on_lambda(playbook));
    found.sort_by_key(|found| found.position);
    found
}

struct Report<'a> {
    playbook: &'a Playbook,
    found: Vec<Diagnostic>,
}

impl Report<'_> {
    fn add(&mut self, start: Position, path: String, what: &str, advice: Option<&str>) {
        let message = format!("{what} is known but not run by this version");
        let found = Diagnostic::error("unsupported", Span { start, length: 1 }, message);
        let advice = advice.map(str::to_owned);
        self.found.push(Diagnostic { path, advice, ..found });
    }

    fn step(&mut self, step: &Step, path: &str) {
        match &step.tool {
            Some(tool) => self.tool(tool, &format!("{path}.tool")),
            None => {
                for (index, task) in step.tasks.iter().enumerate() {
                    self.task(task, &format!("{path}.tool[{index}]"));
                }
            }
        }
        if let Some(sink) = &step.sink {
            self.sink(sink, step.position, format!("{path}.sink"));
        }
        for (index, rule) in step.rules.iter().enumerate() {
            for action in &rule.actions {
                self.action(action, rule.position, &format!("{path}.case[{index}]"));
            }
        }
        for sink in step.retries.iter().flat_map(|rule| &rule.actions).filter_map(sink_of) {
            self.sink(sink, step.position, format!("{path}.retry"));
        }
    }

    fn tool(&mut self, tool: &Tool, path: &str) {
        self.kind(tool, &KINDS_RUN, path);
        let output = tool.config.get("output");
        if output.and_then(|output| output.get("accumulate")).is_some() {
            let advice = "write a `case` rule with `collect`, or `set` a variable of the iteration";
            let path = format!("{path}.output");
            self.add(tool.position, path, "`output.accumulate`", Some(advice));
        }
        for key in ["wait", "callback"] {
            let is_own = ENGINE_KINDS.contains(&tool.kind.as_str());
            if !is_own && tool.config.get(key).is_some_and(|value| !is_off(value)) {
                let advice = format!("write a step with `tool: {{kind: {key}}}`");
                let path = format!("{path}.{key}");
                self.add(tool.position, path, &format!("`{key}`"), Some(&advice));
            }
        }
        let source = tool.config.get("script").and_then(|script| script.pointer("/source/type"));
        if let Some(store) = source.and_then(Value::as_str).filter(|kind| is_bucket(kind)) {
            let advice = "use `source: {type: file}` or `source: {type: http}`, or write `code`";
            let what = format!("a script from `{store}`");
            self.add(tool.position, format!("{path}.script"), &what, Some(advice));
        }
        if tool.kind == "workbook" {
            self.workbook(tool);
        }
    }

    fn kind(&mut self, tool: &Tool, run: &[&str], path: &str) {
        if run.contains(&tool.kind.as_str()) {
            return;
        }
        let known: Vec<String> = run.iter().map(|kind| format!("`{kind}`")).collect();
        let span = Span { start: tool.position, length: 1 };
        let message = format!("the tool `{}` is known but not run by this build", tool.kind);
        let found = Diagnostic::error("unsupported", span, message);
        let advice = Some(format!("kinds that run: {}", known.join(", ")));
        self.found.push(Diagnostic { path: format!("{path}.kind"), advice, ..found });
    }

    /// The task of the workbook that a tool calls; who calls it by a template finds out later.
    fn workbook(&mut self, caller: &Tool) {
        let name = ["task", "name"].iter().find_map(|key| caller.config.get(*key)?.as_str());
        let tasks = self.playbook.workbook.iter().enumerate();
        for (index, task) in tasks.filter(|(_, task)| Some(task.name.as_str()) == name) {
            let path = format!("workbook[{index}].tool");
            if task.tool.kind == "workbook" {
                let what = "a workbook task that calls a workbook task";
                self.add(task.tool.position, path, what, Some("call the other task itself"));
            } else {
                self.tool(&task.tool, &path);
                self.bare(&task.tool, &path, "write it on the step that calls the task");
            }
        }
    }

    /// A tool where there is no step to hold its `retry`, its `sink` and its policy.
    fn bare(&mut self, tool: &Tool, path: &str, advice: &str) {
        for key in ["retry", "sink", "save"] {
            if tool.config.get(key).is_some_and(|value| !is_off(value)) {
                let path = format!("{path}.{key}");
                self.add(tool.position, path, &format!("`{key}` of a task"), Some(advice));
            }
        }
        if tool.config.get("spec").is_some_and(|spec| spec.pointer("/policy/rules").is_some()) {
            let path = format!("{path}.spec");
            self.add(tool.position, path, "`spec.policy` of such a task", Some(advice));
        }
    }

    fn task(&mut self, task: &Task, path: &str) {
        self.tool(&task.tool, path);
        for key in ["retry", "sink", "save"] {
            if task.tool.config.get(key).is_some_and(|value| !is_off(value)) {
                let advice = match key {
                    "retry" => "write `spec: {policy: {rules: [{when: ..., then: {do: retry}}]}}`",
                    _ => "write a task after it that stores the value",
                };
                let what = format!("`{key}` of a task in a list");
                self.add(task.tool.position, format!("{path}.{key}"), &what, Some(advice));
            }
        }
    }

    fn action(&mut self, action: &Action, at: Position, path: &str) {
        match action {
            Action::Sink(sink) => self.sink(sink, at, path.to_owned()),
            Action::Task(task) => {
                let path = format!("{path}.{}.tool", task.label);
                if ENGINE_KINDS.contains(&task.tool.kind.as_str()) {
                    let what = format!("the tool `{}` inside `then`", task.tool.kind);
                    self.add(at, path, &what, Some("make it a step, and route to it"));
                } else {
                    self.tool(&task.tool, &path);
                    self.bare(&task.tool, &path, "make it a step, and route to it");
                }
            }
            _ => {}
        }
    }

    /// A sink runs the tool of its kind, unless it only records.
    fn sink(&mut self, value: &Value, at: Position, path: String) {
        let tool = sink::tool_of(value);
        if !SINKS_RUN.contains(&tool.kind.as_str()) && !sink::records(value) {
            let what = format!("a `sink` to `{}`", tool.kind);
            let known: Vec<String> = SINKS_RUN.iter().map(|kind| format!("`{kind}`")).collect();
            let advice = format!("save to {} or `event_log`", known.join(", "));
            self.add(at, path, &what, Some(&advice));
        }
    }
}

fn sink_of(action: &Action) -> Option<&Value> {
    match action {
        Action::Sink(sink) => Some(sink),
        _ => None,
    }
}

fn is_off(value: &Value) -> bool {
    matches!(value, Value::Null | Value::Bool(false))
}

fn is_bucket(kind: &str) -> bool {
    kind == "gcs"
}

#[cfg(test)]
mod tests;
