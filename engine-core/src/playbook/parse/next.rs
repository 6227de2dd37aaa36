//! `next`: where to go from a step, in every shape.

use super::node::{Entry, Node};
use super::reader::{Level, Reader, is_template};
use crate::playbook::diagnostic::Span;
use crate::playbook::{Next, NextMode, Target};

const FORMS: &str = "write `next: NAME`, `next: [{step: NAME}]`, or `next: {arcs: [{step: NAME}]}`";

const CONDITIONAL: &str = "write one `case` rule for each branch: `- {when: \"{{ event.name == \
                           'step.exit' and ... }}\", then: {next: [{step: NAME}]}}`, or an arc: \
                           `next: {arcs: [{step: NAME, when: \"{{ ... }}\"}]}`";

pub(super) const ROUTER: Level = Level { name: "`next`", known: &["spec", "arcs"], moved: &[] };

const ROUTER_SPEC: Level =
    Level { name: "`spec` of `next`", known: &["mode", "on_no_match", "policy"], moved: &[] };

pub(super) const ARC: Level = Level {
    name: "an arc",
    known: &["step", "when", "args", "input", "set", "spec"],
    moved: &[
        ("if", "write `when`"),
        ("condition", "write `when`"),
        ("to", "write `step`"),
        ("target", "write `step`"),
        ("with", "write `args`"),
        ("data", "write `args`"),
        ("then", "write one arc for each branch: `- {step: NAME, when: \"{{ ... }}\"}`"),
        ("else", "write a last arc without `when`, under `spec: {mode: exclusive}`"),
    ],
};

const ITEM: Level = Level {
    name: "a target of `next`",
    known: &["step", "args", "input"],
    moved: &[
        ("when", CONDITIONAL),
        ("then", CONDITIONAL),
        ("else", CONDITIONAL),
        ("condition", CONDITIONAL),
        ("cond", CONDITIONAL),
        ("with", "write `args`"),
        ("data", "write `args`"),
        ("params", "write `args`"),
        ("set", "write it on an arc: `next: {arcs: [{step: NAME, set: {...}}]}`"),
        ("name", "write `step`"),
    ],
};

/// A target of a rule that is no list: the rule's other actions stand beside it.
const CONDITION_KEYS: [&str; 5] = ["when", "then", "else", "condition", "cond"];

impl Reader<'_> {
    /// Reads `next`.
    pub(super) fn next(&mut self, entry: &Entry) -> Next {
        let node = &entry.value;
        if node.text().is_some_and(|text| !text.trim().is_empty()) {
            let targets = self.named_target(node).into_iter().collect();
            return Next { mode: NextMode::Inclusive, targets };
        }
        if let Some(items) = node.items() {
            let targets = items.iter().filter_map(|item| self.target(item)).collect();
            return Next { mode: NextMode::Inclusive, targets };
        }
        if node.get("step").is_some() {
            let targets = self.target(node).into_iter().collect();
            return Next { mode: NextMode::Inclusive, targets };
        }
        if node.is_map() {
            return self.router(entry);
        }
        self.mismatch(entry, "a step's name, a list or a map", FORMS);
        Next::default()
    }

    fn router(&mut self, entry: &Entry) -> Next {
        let node = &entry.value;
        let old = node.entries().iter().find(|entry| CONDITION_KEYS.contains(&entry.key.as_str()));
        if let Some(old) = old {
            let message =
                format!("`{}` in `next` is of the first version of the language", old.key);
            self.error("v1-syntax", old.span, message, CONDITIONAL);
            return Next::default();
        }
        self.close(node, &ROUTER);
        let mode = node.get("spec").map(|spec| self.router_mode(spec));
        let Some(arcs) = node.get("arcs") else {
            // An unknown key says more than a missing one.
            if node.entries().iter().all(|entry| ROUTER.known.contains(&entry.key.as_str())) {
                self.error("missing-key", entry.span, "`next` needs `arcs`", FORMS);
            }
            return Next::default();
        };
        if arcs.value.items().is_none() && !arcs.value.is_null() {
            self.mismatch(arcs, "a list", "write one `- step: NAME` for each arc");
        }
        let items = arcs.value.items().unwrap_or_default();
        let targets = items.iter().filter_map(|item| self.arc(item)).collect();
        Next { mode: mode.unwrap_or(NextMode::Exclusive), targets }
    }

    fn router_mode(&mut self, spec: &Entry) -> NextMode {
        if !spec.value.is_map() {
            self.mismatch(spec, "a map", "write `spec: {mode: exclusive}`");
            return NextMode::Exclusive;
        }
        self.close(&spec.value, &ROUTER_SPEC);
        if let Some(entry) = spec.value.get("on_no_match") {
            self.choice(entry, &[("complete", ()), ("quiet", ())]);
        }
        if let Some(policy) = spec.value.get("policy") {
            self.not_evaluated(policy);
        }
        let modes = [("exclusive", NextMode::Exclusive), ("inclusive", NextMode::Inclusive)];
        let mode = spec.value.get("mode").and_then(|entry| self.choice(entry, &modes));
        mode.unwrap_or(NextMode::Exclusive)
    }

    fn not_evaluated(&mut self, entry: &Entry) {
        let message = format!("`{}` has no effect here", entry.key);
        let advice = "say it with `when` of the arcs";
        self.warn("ignored-key", entry.span, message, advice);
    }

    fn arc(&mut self, node: &Node) -> Option<Target> {
        if !node.is_map() {
            let message = format!("an arc is a map, not {}", node.noun());
            self.error("wrong-type", node.span, message, "write `- step: NAME`");
            return None;
        }
        self.close(node, &ARC);
        if let Some(spec) = node.get("spec") {
            self.not_evaluated(spec);
        }
        let target = self.target_of(node, "an arc");
        let when = node.get("when").and_then(|entry| {
            self.doubt_guard(entry);
            self.condition(entry)
        });
        let set = node.get("set").and_then(|entry| self.assignments(entry));
        target.map(|target| Target { when, set, ..target })
    }

    /// An item of a plain list: a name, or `{step, args}`.
    fn target(&mut self, node: &Node) -> Option<Target> {
        if node.text().is_some() {
            return self.named_target(node);
        }
        if !node.is_map() {
            let message = format!("a target is a step's name or a map, not {}", node.noun());
            self.error("wrong-type", node.span, message, FORMS);
            return None;
        }
        let old = node.entries().iter().find(|entry| CONDITION_KEYS.contains(&entry.key.as_str()));
        if let Some(old) = old {
            let message = format!("`{}` cannot stand in a list of targets", old.key);
            self.error("v1-syntax", old.span, message, CONDITIONAL);
            return None;
        }
        self.close(node, &ITEM);
        self.target_of(node, "a target of `next`")
    }

    /// `{step, args}` among the actions of a rule (decision D3).
    pub(super) fn bare_target(&mut self, node: &Node) -> Option<Target> {
        self.target_of(node, "a target")
    }

    fn target_of(&mut self, node: &Node, what: &str) -> Option<Target> {
        let Some(entry) = node.get("step") else {
            let message = format!("{what} needs a `step`");
            self.error("missing-key", node.span, message, "write `step: NAME`");
            return None;
        };
        let name = self.text(entry)?;
        let args = self.args(node);
        self.mention_step(&name, entry.value.span);
        let position = node.span.start;
        Some(Target { step: name.into(), when: None, args, set: None, position })
    }

    fn named_target(&mut self, node: &Node) -> Option<Target> {
        let name = node.text().map(str::trim).filter(|name| !name.is_empty());
        let Some(name) = name else {
            self.error("wrong-value", node.span, "a target's name is empty", FORMS);
            return None;
        };
        self.mention_step(name, node.span);
        Some(Target {
            step: name.into(),
            when: None,
            args: serde_json::Map::default(),
            set: None,
            position: node.span.start,
        })
    }

    fn mention_step(&mut self, name: &str, span: Span) {
        if is_template(name) {
            let message = "a target cannot be a template";
            let advice = "write one rule or arc for each target, each with its `when`";
            self.error("wrong-value", span, message, advice);
        } else {
            self.mention(name, span, false);
        }
    }
}
