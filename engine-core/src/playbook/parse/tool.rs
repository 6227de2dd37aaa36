//! What a step runs: one tool, or a list of tasks.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

use super::node::{Entry, Node};
use super::policy::{BACKOFFS, Slot, is_task};
use super::reader::{Inside, Level, Reader, is_template, listed, nearest};
use crate::playbook::diagnostic::Span;
use crate::playbook::retries::REASONS;
use crate::playbook::{Task, Tool};

/// Every kind of the language, run by this build or not.
pub(in crate::playbook) const KINDS: &[&str] = &[
    "http",
    "python",
    "postgres",
    "duckdb",
    "playbook",
    "workbook",
    "wait",
    "callback",
    "noop",
    "script",
    "shell",
    "secrets",
    "transfer",
    "nats",
    "sqlite",
    "s3",
    "lambda",
    "rhai",
    "playbooks",
    "container",
    "snowflake",
    "snowflake_transfer",
    "gcs",
    "gateway",
    "ducklake",
    "artifact",
    "result",
    "agent",
    "mcp",
    "subscription",
    "wasm",
    "task_sequence",
];

/// Kinds of a sink beside those of a tool.
const SINK_KINDS: [&str; 3] = ["event_log", "event", "file"];

pub(super) const RETRY: Level = Level {
    name: "`retry`",
    known: &[
        "max_attempts",
        "delay",
        "initial_delay",
        "max_delay",
        "backoff",
        "backoff_multiplier",
        "jitter",
        "args",
        "params",
        "url",
        "endpoint",
        "method",
        "headers",
        "body",
        "data",
        "payload",
        "when",
        "retry_when",
        "stop_when",
        "retry_on",
        "on_error",
        "on_success",
    ],
    moved: &[("attempts", "write `max_attempts`"), ("max_retries", "write `max_attempts`")],
};

pub(super) const ON_ERROR: Level = Level {
    name: "`on_error`",
    known: &[
        "when",
        "retry_when",
        "stop_when",
        "retry_on",
        "max_attempts",
        "delay",
        "initial_delay",
        "max_delay",
        "backoff",
        "backoff_multiplier",
        "jitter",
    ],
    moved: &[("while", "write `when`"), ("attempts", "write `max_attempts`")],
};

pub(super) const ON_SUCCESS: Level = Level {
    name: "`on_success`",
    known: &[
        "while",
        "when",
        "max_attempts",
        "next_call",
        "collect",
        "sink",
        "save",
        "per_iteration",
        "delay",
        "interval",
        "initial_delay",
        "max_delay",
        "backoff",
        "backoff_multiplier",
    ],
    moved: &[
        ("until", "write `while`, with the opposite condition"),
        ("max_pages", "write `max_attempts`"),
        ("max_iterations", "write `max_attempts`"),
        ("params", "write it under `next_call`"),
        ("url", "write it under `next_call`"),
    ],
};

const RETRY_ITEM: Level =
    Level { name: "an item of `retry`", known: &["when", "then", "else"], moved: &[] };

/// Where the next thing belongs that somebody indented too far.
const STEP_KEYS: [&str; 4] = ["case", "next", "loop", "step"];

/// What `tool` says.
#[derive(Debug, Default)]
pub(super) struct ToolParts {
    /// The tool; also of a list with a single plain task.
    pub(super) tool: Option<Tool>,
    /// The task list; also a single tool that has a policy or a `set`.
    pub(super) tasks: Vec<Task>,
    /// `retry` of the tool.
    pub(super) retry: Option<Value>,
    /// `sink` or `save` of the tool.
    pub(super) sink: Option<Value>,
}

impl Reader<'_> {
    /// Reads `tool` of the step of that name.
    pub(super) fn tool(&mut self, entry: &Entry, step: &str) -> ToolParts {
        let node = &entry.value;
        match node.items() {
            Some([task]) if is_plain(task) => {
                let (value, named) = match labelled(task) {
                    Some((_, tool)) => (tool.clone(), false),
                    None => (task.clone(), true),
                };
                let mut parts = self.single(&Entry { value, ..entry.clone() });
                if let Some(tool) = parts.tool.as_mut().filter(|_| named) {
                    // In a list, `name` is the label; only a workbook call may also mean its task.
                    if tool.kind != "workbook" || tool.config.contains_key("task") {
                        tool.config.shift_remove("name");
                    }
                }
                parts
            }
            Some([]) => {
                let advice = "write at least one `- {name: ..., kind: ...}`";
                self.error("missing-key", entry.span, "the task list is empty", advice);
                ToolParts::default()
            }
            Some(items) => ToolParts { tasks: self.tasks(items), ..ToolParts::default() },
            None => {
                let mut parts = self.single(entry);
                if let Some(tool) = parts.tool.as_ref().filter(|_| is_task(node)) {
                    let labels = [step.to_owned()];
                    let slot = Slot { labels: &labels, index: 0 };
                    parts.tasks.push(self.task(tool.clone(), node, slot));
                }
                parts
            }
        }
    }

    fn single(&mut self, entry: &Entry) -> ToolParts {
        let tool = self.tool_map(entry);
        let retry = entry.value.get("retry").map(|entry| self.retry(entry));
        let sink = self.either(&entry.value, ["sink", "save"]).map(|entry| self.sink(entry));
        ToolParts { tool, tasks: Vec::new(), retry, sink }
    }

    /// Reads `{kind, ...}`; absent if it is no map or has no kind.
    pub(super) fn tool_map(&mut self, entry: &Entry) -> Option<Tool> {
        let node = &entry.value;
        if let Some(kind) = node.text() {
            let message =
                format!("`{}: {kind}` is of the first version of the language", entry.key);
            let advice = format!("write `{}: {{kind: {kind}}}`", entry.key);
            self.error("v1-syntax", node.span, message, advice);
            return None;
        }
        if !node.is_map() {
            self.mismatch(entry, "a map", "write `tool: {kind: ...}`");
            return None;
        }
        let kind = self.kind_of(node, entry.span)?;
        for key in STEP_KEYS {
            if let Some(entry) = node.get(key) {
                let message = format!("`{key}` is read as configuration of the tool here");
                let advice = format!("indent `{key}` less: it belongs beside `tool:`");
                self.warn("misplaced-key", entry.span, message, advice);
            }
        }
        match kind.as_str() {
            "workbook" => self.mention_task(node),
            "wait" => self.wait(node),
            "callback" => self.callback(node),
            _ => self.doubt_sql(node, &kind),
        }
        let config = self.configuration(node, &kind);
        let args = self.tool_args(node, &kind);
        Some(Tool { kind, config, args, position: node.span.start })
    }

    fn kind_of(&mut self, node: &Node, span: Span) -> Option<String> {
        let Some(entry) = node.get("kind") else {
            let (span, advice) = match node.get("type") {
                Some(old) => (old.span, "write `kind` in the place of `type`"),
                None => (span, "write `kind: http`, or another kind"),
            };
            self.error("missing-key", span, "a tool needs a `kind`", advice);
            return None;
        };
        let kind = self.text(entry)?.to_lowercase();
        if kind == "iterator" {
            let advice = "put the tool of its task on the step, beside `loop: {in: ..., iterator: \
                          ...}`";
            self.error("v1-syntax", entry.value.span, "a loop is not a kind of tool", advice);
            return None;
        }
        self.known_kind(&kind, entry.value.span, &[]).then_some(kind)
    }

    /// Reports a kind that nobody knows.
    fn known_kind(&mut self, kind: &str, span: Span, more: &[&str]) -> bool {
        let known = || KINDS.iter().chain(more).copied();
        if known().any(|known| known == kind) {
            return true;
        }
        let message = format!("there is no tool of the kind `{kind}`");
        let advice = match nearest(kind, known()) {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!("the kinds are {}", listed(known())),
        };
        self.error("unknown-kind", span, message, advice);
        false
    }

    /// Every key but those that the step or the engine reads.
    fn configuration(&mut self, node: &Node, kind: &str) -> Map<String, Value> {
        let taken = ["kind", "args", "input", "retry", "sink", "save"];
        let taken = |entry: &&Entry| {
            taken.contains(&entry.key.as_str()) || (kind == "workbook" && entry.key == "with")
        };
        let mut config = Map::new();
        for entry in node.entries().iter().filter(|entry| !taken(entry)) {
            if entry.key == "timeout" && entry.value.scalar().is_some() {
                self.duration(entry, true);
            }
            config.insert(entry.key.clone(), self.option(entry, kind));
        }
        config
    }

    /// One key of a tool's configuration.
    fn option(&mut self, entry: &Entry, kind: &str) -> Value {
        let inside = match entry.key.as_str() {
            "code" => Inside::Foreign,
            "cmd" | "cmds" | "command" | "commands" | "script" if kind == "shell" => {
                Inside::Foreign
            }
            "spec" => Inside::Policy,
            _ => Inside::Data,
        };
        self.value(&entry.value, inside)
    }

    /// `args` or `input`; a workbook task also takes `with`.
    fn tool_args(&mut self, node: &Node, kind: &str) -> Map<String, Value> {
        match node.get("with").filter(|_| kind == "workbook") {
            Some(with) => self.object(with),
            None => self.args(node),
        }
    }

    fn mention_task(&mut self, node: &Node) {
        let entry = node.get("task").or_else(|| node.get("name"));
        match entry.and_then(|entry| entry.value.text().map(|text| (text.trim(), entry))) {
            Some((name, _)) if is_template(name) => {}
            Some((name, entry)) => self.mention(name, entry.value.span, true),
            None => {
                let advice = "write `task: NAME`, a task of `workbook`";
                self.error("missing-key", node.span, "a workbook call needs a `task`", advice);
            }
        }
    }

    fn tasks(&mut self, items: &[Node]) -> Vec<Task> {
        let labels = self.labels(items);
        let mut tasks = Vec::new();
        for (index, item) in items.iter().enumerate() {
            let node = labelled(item).map_or(item, |(_, tool)| tool);
            let entry = Entry { key: "task".to_owned(), span: item.span, value: node.clone() };
            if let Some(mut tool) = self.tool_map(&entry) {
                tool.config.shift_remove("name");
                for key in ["retry", "sink", "save"] {
                    if let Some(entry) = node.get(key) {
                        let value = self.value(&entry.value, Inside::Policy);
                        tool.config.insert(key.to_owned(), value);
                    }
                }
                tasks.push(self.task(tool, node, Slot { labels: &labels, index }));
            }
        }
        tasks
    }

    /// The names of the tasks of a list, by index.
    fn labels(&mut self, items: &[Node]) -> Vec<String> {
        let mut labels = Vec::new();
        let mut known = BTreeSet::new();
        for (index, item) in items.iter().enumerate() {
            let label = match labelled(item) {
                Some((label, _)) => Some(label.to_owned()),
                None => item.get("name").and_then(|entry| self.text(entry)),
            };
            let label = label.unwrap_or_else(|| format!("task_{index}"));
            if !known.insert(label.clone()) {
                let message = format!("two tasks of this list are called `{label}`");
                self.error("duplicate-task", item.span, message, "rename one of them");
            }
            labels.push(label);
        }
        labels
    }

    fn task(&mut self, tool: Tool, node: &Node, slot: Slot<'_>) -> Task {
        let label = slot.labels.get(slot.index).cloned().unwrap_or_default();
        let set = node.get("set").and_then(|entry| self.assignments(entry));
        Task { label, tool, set, policy: self.task_policy(node, slot) }
    }

    /// Reads `retry` of a rule, a step or a tool; a bare number or `true` becomes a map.
    pub(super) fn retry(&mut self, entry: &Entry) -> Value {
        let node = &entry.value;
        match node.typed() {
            Some(Value::Bool(true)) => return json!({}),
            Some(number @ Value::Number(_)) => {
                self.count(entry, 1);
                return json!({"max_attempts": number});
            }
            _ => {}
        }
        if let Some(items) = node.items() {
            for item in items {
                self.retry_item(item);
            }
            return self.value(node, Inside::Policy);
        }
        if !node.is_map() {
            self.mismatch(entry, "a map", "write `retry: {max_attempts: 3}`");
            return Value::Null;
        }
        self.close(node, &RETRY);
        self.retry_options(node);
        for entry in ["on_error", "on_success"].iter().filter_map(|key| node.get(key)) {
            if !entry.value.is_map() {
                self.mismatch(entry, "a map", "write `on_error: {max_attempts: 3}`");
                continue;
            }
            self.close(&entry.value, if entry.key == "on_error" { &ON_ERROR } else { &ON_SUCCESS });
            self.retry_options(&entry.value);
            let condition = ["while", "when"].iter().any(|key| entry.value.get(key).is_some());
            if entry.key == "on_success" && !condition {
                let advice = "write `while: \"{{ response.data.has_more }}\"`";
                self.error("missing-key", entry.span, "`on_success` needs `while`", advice);
            }
        }
        self.value(node, Inside::Policy)
    }

    /// `{when, then}` of the list form.
    fn retry_item(&mut self, item: &Node) {
        let forms = "write `- {when: \"{{ ... }}\", then: {max_attempts: 3}}`";
        let Some((_, then)) = self.guarded(item, &RETRY_ITEM, forms) else { return };
        if let Some(when) = item.get("when") {
            self.lone_expression(when);
        }
        if then.value.is_map() {
            self.retry_options(&then.value);
        } else {
            self.mismatch(&then, "a map", forms);
        }
    }

    fn retry_options(&mut self, node: &Node) {
        for entry in node.entries() {
            match entry.key.as_str() {
                "max_attempts" => drop(self.count(entry, 1)),
                "delay" | "initial_delay" | "max_delay" | "interval" => {
                    drop(self.duration(entry, false));
                }
                "backoff_multiplier" => drop(self.duration(entry, true)),
                "backoff" if entry.value.text().is_some() => {
                    self.choice(entry, &BACKOFFS.map(|word| (word, ())));
                }
                "backoff" => drop(self.duration(entry, false)),
                "jitter" => drop(self.flag(entry)),
                "when" | "while" | "retry_when" | "stop_when" => self.lone_expression(entry),
                "retry_on" => self.retry_reasons(entry),
                _ => {}
            }
        }
    }

    /// A condition that becomes part of a larger one.
    fn lone_expression(&mut self, entry: &Entry) {
        let Some(text) = entry.value.text().map(str::trim).filter(|text| is_template(text)) else {
            return;
        };
        let inner = text.strip_prefix("{{").and_then(|text| text.strip_suffix("}}"));
        if inner.is_none_or(is_template) {
            let message = format!("`{}` must be a single expression", entry.key);
            let advice = "write `\"{{ a and b }}\"`: one pair of braces around all of it";
            self.error("wrong-value", entry.value.span, message, advice);
        }
    }

    /// Words, statuses, or names of errors.
    fn retry_reasons(&mut self, entry: &Entry) {
        let items = entry.value.items().unwrap_or_else(|| std::slice::from_ref(&entry.value));
        for item in items {
            let Some(word) = item.text().map(str::trim) else {
                if !item.typed().is_some_and(Value::is_u64) {
                    let advice = "write words such as `timeout`, statuses, or types of errors";
                    self.mismatch(entry, "a list of reasons", advice);
                }
                continue;
            };
            let words = || REASONS.iter().map(|(known, _)| *known);
            let is_name = word.starts_with(|c: char| c.is_uppercase()) || word.contains('.');
            if !is_name && word.parse::<u16>().is_err() && !words().any(|known| known == word) {
                let message = format!("`{word}` is no reason that an error can have");
                let advice = match nearest(word, words()) {
                    Some(near) => format!("did you mean `{near}`?"),
                    None => format!("write {}, a status, or the type of an error", listed(words())),
                };
                self.warn("unknown-word", item.span, message, advice);
            }
        }
    }

    /// Reads `sink` or `save`, in its long or its flat form.
    pub(super) fn sink(&mut self, entry: &Entry) -> Value {
        let node = &entry.value;
        if !node.is_map() {
            self.mismatch(entry, "a map", "write `sink: {tool: {kind: ...}, args: {...}}`");
            return Value::Null;
        }
        let tool = node.get("tool").filter(|tool| tool.value.is_map());
        let holder = tool.map_or(node, |tool| &tool.value);
        let keys = if tool.is_some() { ["kind", "type"] } else { ["tool", "storage"] };
        let named = keys.iter().find_map(|key| holder.get(key));
        if let Some(kind) = named.filter(|kind| kind.value.text().is_some_and(|t| !t.is_empty())) {
            let text = kind.value.text().unwrap_or_default();
            self.known_kind(&text.to_lowercase(), kind.value.span, &SINK_KINDS);
            self.doubt_sql(holder, text);
        }
        let mut map = Map::new();
        for entry in node.entries() {
            let value = if entry.key == "tool" && entry.value.is_map() {
                let options = entry.value.entries().iter();
                options.map(|entry| (entry.key.clone(), self.option(entry, ""))).collect()
            } else {
                self.option(entry, "")
            };
            map.insert(entry.key.clone(), value);
        }
        Value::Object(map)
    }
}

/// `{label: {kind, ...}}`.
fn labelled(task: &Node) -> Option<(&str, &Node)> {
    match task.entries() {
        [only] if only.value.get("kind").is_some() => Some((&only.key, &only.value)),
        _ => None,
    }
}

/// Whether a task says nothing that a tool could not say.
fn is_plain(task: &Node) -> bool {
    task.is_map() && !is_task(labelled(task).map_or(task, |(_, tool)| tool))
}
