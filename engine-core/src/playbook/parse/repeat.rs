//! `loop`, in any of its spellings.

use serde_json::Value;

use super::node::{Entry, Node};
use super::reader::{Inside, Level, Reader, is_template};
use super::step::RESERVED;
use crate::limits;
use crate::playbook::{Loop, LoopMode};

pub(super) const LOOP: Level = Level {
    name: "`loop`",
    known: &[
        "in",
        "iterator",
        "collection",
        "element",
        "mode",
        "spec",
        "max_in_flight",
        "concurrency",
        "where",
        "filter",
        "order_by",
        "limit",
        "chunk",
        "enumerate",
    ],
    moved: &[
        ("items", "write `in`"),
        ("over", "write `in`"),
        ("as", "write `iterator`"),
        ("chunk_size", "write `chunk`"),
        ("distribution", "drop it; `spec: {max_in_flight: ...}` says how many run at once"),
        ("pagination", "write `case` rules with `collect` and `retry: {params: ...}`"),
        ("cursor", "let a step before this one fetch the items, and write `in`"),
        ("policy", "write it under `spec` of `loop`"),
    ],
};

const SPEC: Level = Level {
    name: "`spec` of `loop`",
    known: &["mode", "max_in_flight", "policy"],
    moved: &[("frame", "drop it; the engine chooses how many items travel together")],
};

/// Spellings of `mode`; the last asks for chunks.
const MODES: [(&str, Mode); 4] = [
    ("sequential", Mode { order: LoopMode::Sequential, chunked: false }),
    ("parallel", Mode { order: LoopMode::Parallel, chunked: false }),
    ("async", Mode { order: LoopMode::Parallel, chunked: false }),
    ("chunked", Mode { order: LoopMode::Sequential, chunked: true }),
];

#[derive(Clone, Copy, Debug)]
struct Mode {
    order: LoopMode,
    chunked: bool,
}

impl Reader<'_> {
    /// Reads `loop`; `policy` is that of the step.
    pub(super) fn repeat(&mut self, entry: &Entry, policy: Option<&Value>) -> Option<Loop> {
        let node = &entry.value;
        if !node.is_map() {
            self.mismatch(entry, "a map", "write `loop: {in: \"{{ ... }}\", iterator: NAME}`");
            return None;
        }
        self.close(node, &LOOP);
        let spec = node.get("spec").filter(|spec| !spec.value.is_null());
        if let Some(spec) = spec {
            if spec.value.is_map() {
                self.close(&spec.value, &SPEC);
            } else {
                self.mismatch(spec, "a map", "write `spec: {mode: parallel, max_in_flight: 8}`");
            }
        }
        let own = spec.and_then(|spec| spec.value.get("policy"));
        let own = own.and_then(|entry| self.policy(entry));
        let source = self.source_of(entry);
        let iterator = self.iterator(entry);
        let chunk = node.get("chunk").and_then(|entry| self.count(entry, 1));
        let mode = self.mode(node, chunk.is_some());
        let limit = node.get("limit").and_then(|entry| self.count(entry, 0));
        Some(Loop {
            source: source?,
            iterator: iterator?,
            mode,
            max_in_flight: self.window(node),
            filter: self.filter(node),
            order_by: node.get("order_by").and_then(|entry| self.condition(entry)),
            limit,
            chunk,
            enumerate: node.get("enumerate").and_then(|entry| self.flag(entry)).unwrap_or(false),
            fail_fast: own.as_ref().is_some_and(is_fail_fast) || policy.is_some_and(is_fail_fast),
            position: node.span.start,
        })
    }

    fn source_of(&mut self, entry: &Entry) -> Option<Value> {
        const IN: &str = "write `in: \"{{ workload.items }}\"`, or a list";
        let Some(source) = self.either(&entry.value, ["in", "collection"]) else {
            self.error("missing-key", entry.span, "`loop` needs `in`", IN);
            return None;
        };
        if source.value.is_null() {
            self.mismatch(source, "a template or a list", IN);
            return None;
        }
        if let Some(text) = source.value.text().filter(|text| !is_template(text)) {
            // JSON text is a list or a map as it stands.
            if !text.trim_start().starts_with(['[', '{']) {
                let message = format!("`{}` loops over one item, the text `{text}`", source.key);
                let advice = format!("write `\"{{{{ {text} }}}}\"` if it is a name");
                self.warn("literal-collection", source.value.span, message, advice);
            }
        }
        Some(self.value(&source.value, Inside::Data))
    }

    fn iterator(&mut self, entry: &Entry) -> Option<String> {
        let Some(iterator) = self.either(&entry.value, ["iterator", "element"]) else {
            let advice = "write `iterator: NAME`, the variable that holds the item";
            if !Self::misspelt(&entry.value, "iterator", &LOOP) {
                self.error("missing-key", entry.span, "`loop` needs `iterator`", advice);
            }
            return None;
        };
        let name = self.name(iterator)?;
        let span = iterator.value.span;
        if RESERVED.contains(&name.as_str()) {
            let message = format!(
                "`{}` cannot be `{name}`: templates mean something else by it",
                iterator.key
            );
            self.error("reserved-name", span, message, "choose another name, such as `item`");
        } else if !is_identifier(&name) {
            let message =
                format!("`{}` cannot be `{name}`: it is not a variable name", iterator.key);
            let advice = "use letters, digits and `_`, not starting with a digit";
            self.error("wrong-value", span, message, advice);
        }
        Some(name)
    }

    fn mode(&mut self, node: &Node, has_chunk: bool) -> LoopMode {
        let spec = node.get("spec").and_then(|spec| spec.value.get("mode"));
        let direct = node.get("mode");
        let mut read = |entry: Option<&Entry>| entry.and_then(|entry| self.choice(entry, &MODES));
        let (inner, outer) = (read(spec), read(direct));
        if let (Some(inner), Some(outer), Some(entry)) = (inner, outer, direct)
            && inner.order != outer.order
        {
            let message = "`mode` and `spec.mode` of this loop differ";
            self.error("conflict", entry.span, message, "keep `spec.mode` only");
        }
        let mode = inner.or(outer);
        let chunkless = mode.is_some_and(|mode| mode.chunked && !has_chunk);
        if let Some(entry) = spec.or(direct).filter(|_| chunkless) {
            let message = "the mode `chunked` needs `chunk`";
            let advice = "write `chunk: 10`, the number of items of one iteration";
            self.error("missing-key", entry.span, message, advice);
        }
        mode.map_or(LoopMode::Sequential, |mode| mode.order)
    }

    /// How many iterations may run at once.
    fn window(&mut self, node: &Node) -> Option<Value> {
        let spec = node.get("spec").and_then(|spec| spec.value.get("max_in_flight"));
        let direct = self.either(node, ["max_in_flight", "concurrency"]);
        let entry = spec.or(direct)?;
        let window = self.count(entry, 1)?;
        if window.as_u64().is_some_and(|window| window > limits::LOOP_IN_FLIGHT_MAX) {
            let max = limits::LOOP_IN_FLIGHT_MAX;
            let message = format!("`{}` is {window}; no more than {max} run at once", entry.key);
            self.warn("limit", entry.value.span, message, format!("write {max} or less"));
        }
        Some(window)
    }

    /// The predicate of an item; empty braces say nothing.
    fn filter(&mut self, node: &Node) -> Option<String> {
        let entry = self.either(node, ["where", "filter"])?;
        let text = entry.value.scalar().map_or("", |scalar| scalar.text.trim());
        let inner = text.strip_prefix("{{").and_then(|text| text.strip_suffix("}}"));
        if entry.value.is_null() || inner.unwrap_or(text).trim().is_empty() && !is_nested(entry) {
            return None;
        }
        self.condition(entry)
    }
}

fn is_nested(entry: &Entry) -> bool {
    entry.value.scalar().is_none()
}

/// Whether a policy says `failure: {mode: fail_fast}`.
fn is_fail_fast(policy: &Value) -> bool {
    policy.pointer("/failure/mode").and_then(Value::as_str) == Some("fail_fast")
}

fn is_identifier(name: &str) -> bool {
    let mut characters = name.chars();
    characters.next().is_some_and(|first| first.is_ascii_alphabetic() || first == '_')
        && characters.all(|character| character.is_ascii_alphanumeric() || character == '_')
}
