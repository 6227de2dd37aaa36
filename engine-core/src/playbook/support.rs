//! What a playbook asks for that this version recognises and does not run yet.

use serde_json::Value;

use crate::playbook::diagnostic::{Diagnostic, Span};
use crate::playbook::sink;
use crate::playbook::{Action, Playbook, Position, Step, Tool};

/// Kinds of tool that this build runs.
pub const KINDS_RUN: [&str; 3] = ["http", "noop", "python"];

/// Keys that make a `retry` a request for the next page.
const PAGE_KEYS: [&str; 8] =
    ["params", "url", "method", "headers", "body", "data", "args", "endpoint"];

const TASK_LISTS: &str = "write one step for each task";

/// Everything in `playbook` that this version would not do, each an error.
#[must_use]
pub fn unsupported(playbook: &Playbook) -> Vec<Diagnostic> {
    let mut report = Report { found: Vec::new() };
    if !playbook.keychain.is_empty() {
        let start = Position { line: 1, column: 1 };
        report.add(start, "keychain".to_owned(), "`keychain`", None);
    }
    for (index, step) in playbook.steps.iter().enumerate() {
        report.step(step, &format!("workflow[{index}]"));
    }
    report.found.sort_by_key(|found| found.position);
    report.found
}

struct Report {
    found: Vec<Diagnostic>,
}

impl Report {
    fn add(&mut self, start: Position, path: String, what: &str, advice: Option<&str>) {
        let message = format!("{what} is known but not run by this version");
        let found = Diagnostic::error("unsupported", Span { start, length: 1 }, message);
        let advice = advice.map(str::to_owned);
        self.found.push(Diagnostic { path, advice, ..found });
    }

    fn step(&mut self, step: &Step, path: &str) {
        let at = step.position;
        if let Some(tool) = &step.tool {
            self.tool(tool, &format!("{path}.tool"));
        }
        if !step.tasks.is_empty() {
            self.add(at, format!("{path}.tool"), "a list of tasks", Some(TASK_LISTS));
        }
        if step.retry.is_some() {
            let advice = "write a `case` rule: `- {when: \"{{ event.name == 'call.error' }}\", \
                          then: {retry: {max_attempts: 3}}}`";
            self.add(at, format!("{path}.retry"), "`retry` of a step or a tool", Some(advice));
        }
        if step.sink.is_some() {
            let advice = "write a step that stores the result";
            self.add(at, format!("{path}.sink"), "`sink` of a step or a tool", Some(advice));
        }
        for key in policies(step) {
            let advice = (key == "admit").then_some("put the condition on the arc that leads here");
            self.add(at, format!("{path}.spec.policy"), &format!("`spec.policy.{key}`"), advice);
        }
        if step.join_all {
            let advice = "route the branches one after the other";
            self.add(at, format!("{path}.spec.join"), "`join: all`", Some(advice));
        }
        if let Some(repeat) = step.repeat.as_ref().filter(|repeat| repeat.chunk.is_some()) {
            let advice = "let a step before this one build the list of chunks";
            self.add(repeat.position, format!("{path}.loop.chunk"), "`chunk`", Some(advice));
        }
        for (index, rule) in step.rules.iter().enumerate() {
            for action in &rule.actions {
                let path = format!("{path}.case[{index}]");
                self.action(action, rule.position, path);
            }
        }
    }

    fn tool(&mut self, tool: &Tool, path: &str) {
        if !KINDS_RUN.contains(&tool.kind.as_str()) {
            let known = KINDS_RUN.map(|kind| format!("`{kind}`")).join(", ");
            let span = Span { start: tool.position, length: 1 };
            let message = format!("the tool `{}` is known but not run by this build", tool.kind);
            let found = Diagnostic::error("unsupported", span, message);
            let advice = Some(format!("kinds that run: {known}"));
            self.found.push(Diagnostic { path: format!("{path}.kind"), advice, ..found });
        }
        if tool.config.get("spec").and_then(|spec| spec.get("policy")).is_some() {
            let advice = "write `case` rules on `call.done` and `call.error`";
            self.add(tool.position, format!("{path}.spec"), "`tool.spec.policy`", Some(advice));
        }
        let output = tool.config.get("output");
        if output.and_then(|output| output.get("accumulate")).is_some() {
            self.add(tool.position, format!("{path}.output"), "`output.accumulate`", None);
        }
        for key in ["wait", "callback"] {
            if tool.config.get(key).is_some_and(|value| !is_off(value)) {
                self.add(tool.position, format!("{path}.{key}"), &format!("`{key}`"), None);
            }
        }
    }

    fn action(&mut self, action: &Action, at: Position, path: String) {
        let pages = "fetch the pages with a step that routes back to itself";
        let (what, advice) = match action {
            Action::Collect(_) => ("`collect`", Some("use `set` on a step that routes to itself")),
            Action::Call(_) => ("`call`", Some(pages)),
            Action::Task(_) => ("a task inside `then`", Some("make it a step, and route to it")),
            Action::Retry(retry) if is_pagination(retry) => {
                ("`retry` with changed parameters", Some(pages))
            }
            Action::Sink(sink) if !sink::records(sink) => {
                ("a `sink` that stores", Some("route to a step that stores the value"))
            }
            Action::Set(_)
            | Action::Vars(_)
            | Action::Result(_)
            | Action::Sink(_)
            | Action::Retry(_)
            | Action::Next(_)
            | Action::Fail(_)
            | Action::Skip(_) => return,
        };
        self.add(at, path, what, advice);
    }
}

/// Keys of `spec.policy` that would change what happens; the failure mode of a loop is not one.
fn policies(step: &Step) -> impl Iterator<Item = &str> {
    let keys = step.policy.as_ref().and_then(Value::as_object);
    let keys = keys.into_iter().flat_map(|policy| policy.keys()).map(String::as_str);
    keys.filter(|key| !matches!(*key, "failure" | "exec"))
}

fn is_off(value: &Value) -> bool {
    matches!(value, Value::Null | Value::Bool(false))
}

/// Whether a `retry` asks for another page and not for another try.
fn is_pagination(retry: &Value) -> bool {
    PAGE_KEYS.iter().any(|key| retry.get(key).is_some())
}

#[cfg(test)]
mod tests;
