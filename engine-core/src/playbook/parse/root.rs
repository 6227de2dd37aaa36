//! The root of a playbook: what it is called, what it gets, where it starts.

use serde_json::{Map, Value};

use super::document::top;
use super::join;
use super::node::{Entry, Node};
use super::reader::{Inside, Level, Reader};
use super::references::{Entries, Named};
use super::step::Draft;
use crate::playbook::diagnostic::Span;
use crate::playbook::{Dialect, Playbook, PlaybookRef, WorkbookTask};

pub(super) const ROOT: Level = Level {
    name: "a playbook",
    known: &[
        "apiVersion",
        "kind",
        "metadata",
        "workload",
        "keychain",
        "workbook",
        "workflow",
        "executor",
        "vars",
        "ctx",
    ],
    moved: &[
        ("name", "write it under `metadata`"),
        ("path", "write it under `metadata`"),
        ("version", "write it under `metadata`"),
        ("desc", "write `description` under `metadata`"),
        ("description", "write it under `metadata`"),
        ("labels", "write it under `metadata`"),
        ("environment", "write these values under `workload`"),
        ("context", "write these values under `workload`"),
        ("variables", "write these values under `workload`"),
        ("steps", "write the steps under `workflow`"),
        ("tasks", "write reusable tasks under `workbook`"),
    ],
};

pub(super) const EXECUTOR: Level = Level {
    name: "`executor`",
    known: &["profile", "version", "requires", "spec"],
    moved: &[
        ("entry_step", "write it under `executor.spec`"),
        ("final_step", "write it under `executor.spec`"),
        ("no_next_is_error", "write it under `executor.spec`"),
    ],
};

pub(super) const EXECUTOR_SPEC: Level = Level {
    name: "`executor.spec`",
    known: &["entry_step", "final_step", "no_next_is_error", "policy", "timeout"],
    moved: &[("timeout_s", "write `timeout`")],
};

pub(super) const WORKBOOK_TASK: Level = Level {
    name: "a workbook task",
    known: &["name", "tool", "args", "input", "sink", "save", "desc", "description", "assert"],
    moved: &[
        ("task", "write `name`"),
        ("type", "write `tool: {kind: ...}`"),
        ("with", "write `args`"),
    ],
};

/// What `executor` says.
#[derive(Debug, Default)]
struct Executor {
    entry: Option<Named>,
    last: Option<Named>,
    no_next_is_error: bool,
    timeout: Option<Value>,
}

impl Reader<'_> {
    /// The playbook; absent if it has no name or no step.
    pub(super) fn playbook(&mut self, root: &Node) -> Option<Playbook> {
        if !root.is_map() {
            let message = format!("a playbook is a map, not {}", root.noun());
            let advice = "begin with `apiVersion: noetl.io/v2`, `kind: Playbook`, `metadata`";
            self.error("wrong-type", root.span, message, advice);
            return None;
        }
        self.close(root, &ROOT);
        self.version(root);
        self.kind(root);
        let dialect = self.dialect(root);
        self.strays(root, dialect);
        let name = self.metadata(root);
        let executor = root.get("executor").map(|entry| self.executor(entry)).unwrap_or_default();
        let workload = root.get("workload").map(|entry| self.object(entry)).unwrap_or_default();
        let keychain = root.get("keychain").map(|entry| self.keychain(entry)).unwrap_or_default();
        let workbook = root.get("workbook").map(|entry| self.workbook(entry)).unwrap_or_default();
        let mut drafts = self.workflow(root);
        let entries = Entries { entry: executor.entry, last: executor.last, dialect };
        let entry = self.references(&drafts, &workbook, &entries, root);

        if let Some(entry) = entry.as_ref().filter(|_| dialect == Dialect::Canonical) {
            let implied = join::implied(&drafts, entry);
            for (_, draft) in drafts.iter_mut().enumerate().filter(|(at, _)| implied.contains(at)) {
                draft.step.join_all |= !draft.says_join;
            }
        }
        self.refuse_secrets(&drafts, &workbook, |name| workload.contains_key(name));
        self.refuse_secret_inputs(root, |name| workload.contains_key(name));
        let (name, path) = name?;
        Some(Playbook {
            reference: PlaybookRef { path, hash: String::new() },
            name,
            dialect,
            workload,
            keychain,
            workbook,
            steps: drafts.into_iter().map(|draft| draft.step).collect(),
            entry: entry?,
            final_step: entries.last.map(|named| named.name.into()),
            timeout: executor.timeout,
            no_next_is_error: executor.no_next_is_error,
        })
    }

    fn version(&mut self, root: &Node) {
        const CURRENT: &str = "write `apiVersion: noetl.io/v2`";
        let Some(entry) = root.get("apiVersion") else {
            return self.error("missing-key", top(), "`apiVersion` is missing", CURRENT);
        };
        match self.text(entry).as_deref() {
            None | Some("noetl.io/v2" | "noetl.io/v10") => {}
            Some("noetl.io/v1") => {
                let advice = "run `noetl-lambda migrate` on this file, or rewrite it and write \
                              `apiVersion: noetl.io/v2`";
                let message = "this playbook is written in the first version of the language";
                self.error("v1-syntax", entry.value.span, message, advice);
            }
            Some(other) => {
                let message = format!("`apiVersion` cannot be `{other}`");
                self.error("wrong-value", entry.value.span, message, CURRENT);
            }
        }
    }

    fn kind(&mut self, root: &Node) {
        const KIND: &str = "write `kind: Playbook`";
        let Some(entry) = root.get("kind") else {
            return self.error("missing-key", top(), "`kind` is missing", KIND);
        };
        if let Some(kind) = self.text(entry).filter(|kind| kind != "Playbook") {
            let message = format!("`kind` cannot be `{kind}`");
            self.error("wrong-value", entry.value.span, message, KIND);
        }
    }

    /// Keys that some real playbooks have and no engine reads.
    fn strays(&mut self, root: &Node, dialect: Dialect) {
        for entry in ["vars", "ctx"].into_iter().filter_map(|key| root.get(key)) {
            let advice = "write it under `workload`, or let a step set it with `set`";
            let message = format!("`{}` at the root of a playbook is not read", entry.key);
            match dialect {
                Dialect::Canonical => self.error("moved-key", entry.span, message, advice),
                Dialect::Case => self.warn("ignored-key", entry.span, message, advice),
            }
        }
    }

    /// `metadata.name`, and the path in the catalog.
    fn metadata(&mut self, root: &Node) -> Option<(String, String)> {
        const NAME: &str = "write `metadata: {name: ...}`";
        let Some(entry) = root.get("metadata") else {
            if !Self::misspelt(root, "metadata", &ROOT) {
                self.error("missing-key", top(), "`metadata` is missing", NAME);
            }
            return None;
        };
        if !entry.value.is_map() {
            self.mismatch(entry, "a map", NAME);
            return None;
        }
        let Some(name) = entry.value.get("name") else {
            self.error("missing-key", entry.span, "`metadata.name` is missing", NAME);
            return None;
        };
        let name = self.name(name);
        let path = match entry.value.get("path") {
            Some(path) => self.name(path),
            None => name.clone(),
        };
        name.zip(path)
    }

    fn executor(&mut self, entry: &Entry) -> Executor {
        if !entry.value.is_map() {
            self.mismatch(entry, "a map", "write `executor: {spec: {entry_step: ...}}`");
            return Executor::default();
        }
        self.close(&entry.value, &EXECUTOR);
        let Some(spec) = entry.value.get("spec") else { return Executor::default() };
        if !spec.value.is_map() {
            self.mismatch(spec, "a map", "write `spec: {entry_step: ...}`");
            return Executor::default();
        }
        self.close(&spec.value, &EXECUTOR_SPEC);
        let flag = spec.value.get("no_next_is_error").and_then(|entry| self.flag(entry));
        Executor {
            entry: self.named(&spec.value, "entry_step"),
            last: self.named(&spec.value, "final_step"),
            no_next_is_error: flag.unwrap_or(false),
            timeout: spec.value.get("timeout").and_then(|entry| self.duration(entry, true)),
        }
    }

    fn named(&mut self, node: &Node, key: &str) -> Option<Named> {
        let entry = node.get(key)?;
        let name = self.text(entry)?;
        Some(Named { name, span: entry.value.span })
    }

    fn workbook(&mut self, entry: &Entry) -> Vec<WorkbookTask> {
        let Some(items) = entry.value.items() else {
            if !entry.value.is_null() {
                let advice = "write one `- {name: ..., tool: {kind: ...}}` for each task";
                self.mismatch(entry, "a list", advice);
            }
            return Vec::new();
        };
        let mut tasks: Vec<WorkbookTask> = Vec::new();
        for item in items {
            let Some(task) = self.workbook_task(item) else { continue };
            if tasks.iter().any(|known| known.name == task.name) {
                let span = item.get("name").map_or(item.span, |name| name.value.span);
                let message = format!("two workbook tasks are called `{}`", task.name);
                self.error("duplicate-task", span, message, "rename one of them");
            } else {
                tasks.push(task);
            }
        }
        tasks
    }

    fn workbook_task(&mut self, node: &Node) -> Option<WorkbookTask> {
        self.close(node, &WORKBOOK_TASK);
        let name = node.get("name").and_then(|entry| self.text(entry));
        let Some(name) = name else {
            if node.get("name").is_none() {
                let advice = "write `- {name: ..., tool: {kind: ...}}`";
                self.error("missing-key", node.span, "a workbook task needs a `name`", advice);
            }
            return None;
        };
        let Some(entry) = node.get("tool") else {
            let message = format!("the workbook task `{name}` has no `tool`");
            self.error("missing-key", node.span, message, "write `tool: {kind: ...}`");
            return None;
        };
        let mut tool = self.tool_map(entry)?;
        // A task has no step to hold these, and whoever runs it finds them with the tool.
        for key in ["retry", "sink", "save"] {
            if let Some(entry) = entry.value.get(key).or_else(|| node.get(key)) {
                let value = self.value(&entry.value, Inside::Policy);
                tool.config.insert(key.to_owned(), value);
            }
        }
        let defaults = self.args(node);
        tool.args = over(defaults, std::mem::take(&mut tool.args));
        Some(WorkbookTask { name, tool })
    }

    fn workflow(&mut self, root: &Node) -> Vec<Draft> {
        const STEPS: &str = "write one `- step: NAME` for each step, the first called `start`";
        let Some(entry) = root.get("workflow") else {
            if !Self::misspelt(root, "workflow", &ROOT) {
                self.error("missing-key", top(), "`workflow` is missing", STEPS);
            }
            return Vec::new();
        };
        match entry.value.items() {
            None => self.mismatch(entry, "a list of steps", STEPS),
            Some([]) => self.error("missing-key", entry.span, "`workflow` has no steps", STEPS),
            Some(_) => {}
        }
        let items = entry.value.items().unwrap_or_default();
        items.iter().enumerate().filter_map(|(index, item)| self.step(item, index)).collect()
    }

    /// Which of the two languages this is; both at once is an error at the later one.
    fn dialect(&mut self, root: &Node) -> Dialect {
        let steps = root.get("workflow").and_then(|entry| entry.value.items()).unwrap_or_default();
        let first = |find: fn(&Node) -> Option<Span>| steps.iter().find_map(find);
        let case = first(|step| step.get("case").map(|entry| entry.span));
        let router = first(|step| step.get("next").filter(|next| is_router(next)).map(|e| e.span));
        match (case, router) {
            (Some(case), Some(router)) => {
                let (what, other) = if case < router {
                    ("`next.arcs`", "`case`")
                } else {
                    ("`case`", "`next.arcs`")
                };
                let message = format!("{what} cannot stand in a playbook that uses {other}");
                let advice = "use `case` rules everywhere, or `next: {arcs: [...]}` everywhere";
                self.error("mixed-dialects", case.max(router), message, advice);
                Dialect::Case
            }
            (None, Some(_)) => Dialect::Canonical,
            (None, None) if root.get("executor").is_some() => Dialect::Canonical,
            (None, None) if steps.iter().any(is_canonical) => Dialect::Canonical,
            (Some(_) | None, None) => Dialect::Case,
        }
    }
}

fn is_router(next: &Entry) -> bool {
    next.value.get("arcs").is_some() || next.value.get("spec").is_some()
}

/// Whether a step has keys that only the canonical dialect has.
fn is_canonical(step: &Node) -> bool {
    let tool = step.get("tool").map(|entry| &entry.value);
    ["input", "set", "output"].iter().any(|key| step.get(key).is_some())
        || tool.is_some_and(|tool| {
            tool.items().is_some()
                || ["input", "spec", "output"].iter().any(|key| tool.get(key).is_some())
        })
}

/// Both maps; the values of `winner` win.
fn over(mut map: Map<String, Value>, winner: Map<String, Value>) -> Map<String, Value> {
    map.extend(winner);
    map
}
