//! One step.

use serde_json::{Map, Value};

use super::node::{Entry, Node};
use super::policy::STEP_POLICY;
use super::reader::{Inside, Level, Reader};
use crate::playbook::diagnostic::Span;
use crate::playbook::names::StepNames;
use crate::playbook::{Admission, CaseMode, OnError, Step};

pub(super) const STEP: Level = Level {
    name: "a step",
    known: &[
        "step", "desc", "tool", "args", "input", "loop", "case", "next", "vars", "set", "spec",
        "retry", "sink", "save", "output",
    ],
    moved: &[
        ("type", "write `tool: {kind: ...}`"),
        ("with", "write `args`"),
        ("as", "write `vars: {NAME: \"{{ result }}\"}`"),
        (
            "task",
            "write `tool: {kind: workbook, task: NAME}`, or for an iterator put the tool of \
                  the task on the step, beside `loop: {in: ..., iterator: ...}`",
        ),
        ("run", "write `tool: {kind: ...}`"),
        ("name", "write `step: NAME`"),
        ("description", "write `desc`"),
        (
            "when",
            "put the condition on the arc that leads here, `next: {arcs: [{step: ..., when: \
                  ...}]}`, or into the `case` rule that routes here",
        ),
        ("pass", "put the condition into the rule or arc that leads here"),
        ("after", "write `case`, with `event.name` in each `when`"),
        ("rule", "write `case`"),
        ("else", "write it as a rule of `case`: `- else: ...`"),
        ("return", "write a `case` rule with `result: {from: ...}`"),
        ("end_loop", "put the loop's body into the loop step or into a sub-playbook"),
        ("iterator", "write it under `loop`"),
        ("collection", "write `in` under `loop`"),
        ("element", "write `iterator` under `loop`"),
        ("mode", "write it under `loop`, or under `spec` of `loop`"),
        ("concurrency", "write `max_in_flight` under `spec` of `loop`"),
        ("timeout", "write it under `spec`"),
        ("on_error", "write it under `spec`"),
        ("case_mode", "write it under `spec`"),
        ("join", "write it under `spec`"),
        ("policy", "write it under `spec`"),
        ("arcs", "write it under `next`"),
    ],
};

/// Keys of tools that people indent too little.
const TOOL_KEYS: &[&str] = &[
    "kind",
    "method",
    "endpoint",
    "url",
    "headers",
    "params",
    "payload",
    "data",
    "body",
    "auth",
    "credential",
    "credentials",
    "command",
    "commands",
    "cmd",
    "cmds",
    "query",
    "queries",
    "sql",
    "statement",
    "code",
    "libs",
    "script",
    "path",
    "return_step",
    "provider",
    "secret_name",
    "project_id",
    "source",
    "target",
    "mapping",
    "chunk_size",
    "database",
    "runtime",
    "operation",
];

pub(super) const SPEC: Level = Level {
    name: "`spec` of a step",
    known: &["case_mode", "eval_mode", "timeout", "on_error", "policy", "join"],
    moved: &[
        ("retry", "write a `case` rule on `call.error` with `retry`"),
        ("mode", "write it under `spec` of `loop` or of `next`, or write `case_mode`"),
        ("max_in_flight", "write it under `spec` of `loop`"),
    ],
};

/// Names that mean something in every template.
pub(super) const RESERVED: &[&str] = &[
    "event",
    "workload",
    "vars",
    "ctx",
    "args",
    "input",
    "iter",
    "loop",
    "response",
    "result",
    "error",
    "this",
    "execution_id",
    "job",
    "keychain",
    "secret",
    "env",
    "auth",
    "output",
];

/// Kinds whose `timeout` is an option of the tool itself.
const OWN_TIMEOUT: [&str; 3] = ["http", "playbook", "callback"];

/// A step, and where its name stands.
#[derive(Debug)]
pub(super) struct Draft {
    /// The step.
    pub(super) step: Step,
    /// Its name.
    pub(super) span: Span,
    /// Its index in the workflow.
    pub(super) index: usize,
    /// Whether `spec.join` says something.
    pub(super) says_join: bool,
}

/// What `spec` says.
#[derive(Debug)]
struct Spec {
    case_mode: CaseMode,
    on_error: OnError,
    join_all: Option<bool>,
    timeout: Option<Value>,
    policy: Option<Value>,
    admit: Vec<Admission>,
}

impl Reader<'_> {
    /// Reads the step at `index` of the workflow; absent if it has no name.
    pub(super) fn step(&mut self, node: &Node, index: usize) -> Option<Draft> {
        self.from = index;
        if !node.is_map() {
            let message = format!("a step is a map, not {}", node.noun());
            self.error("wrong-type", node.span, message, "write `- step: NAME`");
            return None;
        }
        self.stray_keys(node);
        let (name, span) = self.step_name(node)?;
        let parts = node.get("tool").map(|entry| self.tool(entry, &name)).unwrap_or_default();
        let spec = self.spec(node);
        let rules = node.get("case").map(|entry| self.rules(entry, spec.case_mode));
        let next = node.get("next").map(|entry| self.next(entry));
        self.does_something(node, span);
        let mut tool = parts.tool;
        if let Some((tool, output)) = tool.as_mut().zip(node.get("output")) {
            let output = self.value(&output.value, Inside::Data);
            tool.config.entry("output").or_insert(output);
        }
        let own = tool.as_ref().filter(|tool| !OWN_TIMEOUT.contains(&tool.kind.as_str()));
        let tool_timeout = own.and_then(|tool| tool.config.get("timeout").cloned());
        let retry = node.get("retry").map(|entry| self.retry(entry)).or(parts.retry);
        let sink = self.either(node, ["sink", "save"]).map(|entry| self.sink(entry));
        let desc = node.get("desc").filter(|entry| !entry.value.is_null());
        let step = Step {
            name: name.into(),
            desc: desc.and_then(|entry| self.text(entry)),
            position: node.span.start,
            tasks: parts.tasks,
            args: self.args(node),
            repeat: node.get("loop").and_then(|entry| self.repeat(entry, spec.policy.as_ref())),
            retries: Vec::new(),
            admit: spec.admit,
            rules: rules.unwrap_or_default(),
            case_mode: spec.case_mode,
            next: next.unwrap_or_default(),
            vars: node.get("vars").map(|entry| self.object(entry)).unwrap_or_default(),
            set: node.get("set").and_then(|entry| self.assignments(entry)),
            retry,
            sink: sink.or(parts.sink),
            policy: spec.policy,
            timeout: spec.timeout.or(tool_timeout),
            on_error: spec.on_error,
            join_all: spec.join_all.unwrap_or(false),
            names: StepNames::default(),
            tool,
        };
        Some(Draft { step, span, index, says_join: spec.join_all.is_some() })
    }

    fn stray_keys(&mut self, node: &Node) {
        for entry in node.entries() {
            let key = entry.key.as_str();
            if TOOL_KEYS.contains(&key) {
                let message = format!("`{key}` belongs to the tool, not to the step");
                let advice = format!("indent `{key}` under `tool:`, beside `kind`");
                self.error("misplaced-key", entry.span, message, advice);
            } else if !STEP.known.contains(&key) {
                self.unknown(entry, &STEP);
            }
        }
    }

    fn step_name(&mut self, node: &Node) -> Option<(String, Span)> {
        let Some(entry) = node.get("step") else {
            let message = "a step needs a name";
            self.error("missing-key", node.span, message, "write `step: NAME`");
            return None;
        };
        let name = self.name(entry)?;
        let span = entry.value.span;
        if RESERVED.contains(&name.as_str()) {
            let message = format!("templates mean something else by `{name}`");
            let advice = "rename the step: its result is hidden behind the built-in name";
            self.warn("reserved-name", span, message, advice);
        }
        Some((name, span))
    }

    fn does_something(&mut self, node: &Node, span: Span) {
        // A step of the first version says so elsewhere.
        let keys = ["tool", "case", "next", "type", "task", "run"];
        if keys.iter().all(|key| node.get(key).is_none() && !Self::misspelt(node, key, &STEP)) {
            let message = "a step needs `tool` or `next`";
            let advice = "write `tool: {kind: noop}` if it does nothing";
            self.error("missing-key", span, message, advice);
        }
    }

    /// `args` or `input`.
    pub(super) fn args(&mut self, node: &Node) -> Map<String, Value> {
        let entry = self.either(node, ["args", "input"]);
        entry.map(|entry| self.object(entry)).unwrap_or_default()
    }

    /// `set`: a map, or a list of `{name, value}`.
    pub(super) fn assignments(&mut self, entry: &Entry) -> Option<Value> {
        const FORMS: &str = "write one `name: value` a line, indented below it";
        let named = |item: &Node| item.get("name").is_some() && item.get("value").is_some();
        let items = entry.value.items();
        if items.is_some_and(|items| !items.iter().all(named)) {
            let message = format!("an item of `{}` needs `name` and `value`", entry.key);
            self.error("wrong-type", entry.span, message, FORMS);
            return None;
        }
        if !entry.value.is_map() && items.is_none() {
            self.mismatch(entry, "a map", FORMS);
            return None;
        }
        Some(self.value(&entry.value, Inside::Data))
    }

    fn spec(&mut self, step: &Node) -> Spec {
        let mut spec = Spec {
            case_mode: CaseMode::Exclusive,
            on_error: OnError::Fail,
            join_all: None,
            timeout: None,
            policy: None,
            admit: Vec::new(),
        };
        let Some(entry) = step.get("spec") else { return spec };
        if !entry.value.is_map() {
            self.mismatch(entry, "a map", "write `spec: {timeout: 30s}`");
            return spec;
        }
        let node = &entry.value;
        self.close(node, &SPEC);
        if let Some(entry) = node.get("case_mode") {
            let modes = [("exclusive", CaseMode::Exclusive), ("inclusive", CaseMode::Inclusive)];
            spec.case_mode = self.choice(entry, &modes).unwrap_or(spec.case_mode);
        }
        if let Some(entry) = node.get("eval_mode") {
            self.choice(entry, &[("on_entry", ()), ("on_event", ())]);
        }
        if let Some(entry) = node.get("on_error") {
            spec.on_error = self.on_error(entry);
        }
        if let Some(entry) = node.get("join") {
            spec.join_all = self.choice(entry, &[("all", true), ("any", false)]);
        }
        spec.timeout = node.get("timeout").and_then(|entry| self.duration(entry, true));
        if let Some(entry) = node.get("policy") {
            spec.policy = self.policy(entry);
            self.close(&entry.value, &STEP_POLICY);
            for entry in ["lifecycle", "emit"].iter().filter_map(|key| entry.value.get(key)) {
                let message = format!("`{}` of a policy has no effect here", entry.key);
                self.warn("ignored-key", entry.span, message, "drop it");
            }
            spec.admit = self.admission(entry);
        }
        spec
    }

    fn on_error(&mut self, entry: &Entry) -> OnError {
        if entry.value.text() == Some("retry") {
            let message = "`on_error` cannot be `retry`";
            let advice = "write a `case` rule: `- {when: \"{{ event.name == 'call.error' }}\", \
                          then: {retry: {max_attempts: 3}}}`";
            self.error("wrong-value", entry.value.span, message, advice);
            return OnError::Fail;
        }
        let choices = [("fail", OnError::Fail), ("continue", OnError::Continue)];
        self.choice(entry, &choices).unwrap_or(OnError::Fail)
    }

    /// A `policy` map, its conditions checked.
    pub(super) fn policy(&mut self, entry: &Entry) -> Option<Value> {
        if !entry.value.is_map() {
            self.mismatch(entry, "a map", "write `policy: {failure: {mode: fail_fast}}`");
            return None;
        }
        Some(self.value(&entry.value, Inside::Policy))
    }
}
