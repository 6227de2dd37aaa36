//! `spec.policy`: what to do when a task has ended, and whether a step runs at all.

use serde_json::{Map, Value};

use super::doubts::at;
use super::node::{Entry, Node};
use super::reader::{Level, Reader, is_template, listed, nearest};
use crate::playbook::diagnostic::Span;
use crate::playbook::{Admission, Directive, PolicyRule, Position, TaskPolicy, When};

pub(super) const TASK_POLICY: Level = Level {
    name: "`policy` of a tool",
    known: &["mode", "on_unmatched", "rules"],
    moved: &[
        ("before", "write it as a task before this one"),
        ("after", "write it as a task after this one"),
        ("finally", "write it as a task after this one, reached by `do: continue` or `do: jump`"),
        ("retry", "write a rule with `then: {do: retry, attempts: 3}`"),
        ("admit", "write it under `spec.policy` of the step"),
    ],
};

pub(super) const POLICY_RULE: Level = Level {
    name: "a rule of a policy",
    known: &["when", "then", "else"],
    moved: &[
        ("if", "write `when`"),
        ("expr", "write `when`"),
        ("condition", "write `when`"),
        ("do", "write it under `then`"),
        ("set", "write it under `then`"),
        ("allow", "write it under `then`"),
    ],
};

pub(super) const POLICY_THEN: Level = Level {
    name: "`then` of a policy",
    known: &["do", "attempts", "backoff", "delay", "to", "set", "set_ctx", "set_iter"],
    moved: &[
        ("max_attempts", "write `attempts`"),
        ("initial_delay", "write `delay`"),
        ("backoff_multiplier", "write `backoff: exponential`, which doubles the delay"),
        ("retry", "write `do: retry` and `attempts` beside it"),
        ("jump", "write `do: jump` and `to` beside it"),
        ("next", "write it as an arc of the step: `next: {arcs: [{step: ..., when: ...}]}`"),
        ("allow", "write it in `spec.policy.admit.rules` of the step"),
    ],
};

pub(super) const ADMIT: Level =
    Level { name: "`admit`", known: &["mode", "rules"], moved: &[("when", "write it in `rules`")] };

pub(super) const STEP_POLICY: Level = Level {
    name: "`policy` of a step",
    known: &["admit", "failure", "exec", "lifecycle", "emit"],
    moved: &[("rules", "write it under `spec.policy` of the tool, or of a task of its list")],
};

const TASK_RULES: &str =
    "write `rules: [{when: \"{{ output.status == 'error' }}\", then: {do: fail}}]`";

const ADMIT_RULES: &str =
    "write `admit: {rules: [{when: \"{{ ... }}\", then: {allow: true}}, {else: {allow: false}}]}`";

/// The word of `do`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Verb {
    Continue,
    Retry,
    Jump,
    Break,
    Fail,
}

const VERBS: [(&str, Verb); 5] = [
    ("continue", Verb::Continue),
    ("retry", Verb::Retry),
    ("jump", Verb::Jump),
    ("break", Verb::Break),
    ("fail", Verb::Fail),
];

/// Words of `backoff`.
pub(super) const BACKOFFS: [&str; 5] = ["linear", "exponential", "fixed", "constant", "none"];

/// Spellings of the task before this one.
const PREVIOUS: [&str; 4] = ["previous", "prev", "_previous", "@previous"];

/// Which task of which list a policy belongs to.
#[derive(Clone, Copy, Debug)]
pub(super) struct Slot<'a> {
    /// The labels of the list.
    pub(super) labels: &'a [String],
    /// The task's index in it.
    pub(super) index: usize,
}

impl Reader<'_> {
    /// `spec.policy` of a task, or of the only tool of a step.
    pub(super) fn task_policy(&mut self, tool: &Node, slot: Slot<'_>) -> TaskPolicy {
        let Some(entry) = policy_of(tool) else { return TaskPolicy::default() };
        if !entry.value.is_map() {
            self.mismatch(entry, "a map", TASK_RULES);
            return TaskPolicy::default();
        }
        let node = &entry.value;
        self.close(node, &TASK_POLICY);
        if let Some(entry) = node.get("mode") {
            self.choice(entry, &[("exclusive", ())]);
        }
        let words = [("continue", true), ("fail", false)];
        let unmatched = node.get("on_unmatched").and_then(|entry| self.choice(entry, &words));
        let items = node.get("rules").map(|entry| self.policy_items(entry, TASK_RULES));
        let mut rules = Vec::new();
        for item in items.unwrap_or_default() {
            let guarded = self.guarded(item, &POLICY_RULE, "write `then: {do: continue}`");
            let Some((when, then)) = guarded else { continue };
            let Some((directive, set)) = self.directive(&then, slot) else { continue };
            rules.push(PolicyRule { when, then: directive, set, position: item.span.start });
        }
        self.behind_else(rules.iter().map(|rule| (&rule.when, rule.position)));
        TaskPolicy { rules, continues_unmatched: unmatched.unwrap_or(false) }
    }

    /// `spec.policy.admit` of a step.
    pub(super) fn admission(&mut self, policy: &Entry) -> Vec<Admission> {
        let Some(entry) = policy.value.get("admit").filter(|entry| !entry.value.is_null()) else {
            return Vec::new();
        };
        if !entry.value.is_map() {
            self.mismatch(entry, "a map", ADMIT_RULES);
            return Vec::new();
        }
        self.close(&entry.value, &ADMIT);
        if let Some(mode) = entry.value.get("mode") {
            self.choice(mode, &[("exclusive", ())]);
        }
        let items = entry.value.get("rules").map(|rules| self.policy_items(rules, ADMIT_RULES));
        let mut rules = Vec::new();
        for item in items.unwrap_or_default() {
            let Some((when, then)) = self.guarded(item, &POLICY_RULE, ADMIT_RULES) else {
                continue;
            };
            let Some(allow) = then.value.get("allow") else {
                let message = "a rule of `admit` needs `allow`";
                self.error("missing-key", item.span, message, "write `then: {allow: true}`");
                continue;
            };
            if let Some(allow) = self.flag(allow) {
                rules.push(Admission { when, allow, position: item.span.start });
            }
        }
        self.behind_else(rules.iter().map(|rule| (&rule.when, rule.position)));
        rules
    }

    fn policy_items<'n>(&mut self, entry: &'n Entry, forms: &str) -> Vec<&'n Node> {
        let Some(items) = entry.value.items() else {
            if !entry.value.is_null() {
                self.mismatch(entry, "a list of rules", forms);
            }
            return Vec::new();
        };
        items.iter().collect()
    }

    /// What `then` says: what to do next, and what to set before.
    fn directive(&mut self, then: &Entry, slot: Slot<'_>) -> Option<(Directive, Option<Value>)> {
        let node = &then.value;
        if !node.is_map() {
            self.mismatch(then, "a map", "write `then: {do: continue}`");
            return None;
        }
        self.close(node, &POLICY_THEN);
        let set = self.policy_set(node);
        let verb = match node.get("do") {
            Some(entry) => self.choice(entry, &VERBS)?,
            None if set.is_some() => Verb::Continue,
            None => {
                if !Self::misspelt(node, "do", &POLICY_THEN) {
                    let advice = format!("write `do: {}`", VERBS.map(|(word, _)| word).join("|"));
                    self.error("missing-key", then.span, "`then` of a policy needs `do`", advice);
                }
                return None;
            }
        };
        self.stray_options(node, verb);
        let directive = match verb {
            Verb::Continue => Directive::Continue,
            Verb::Retry => Directive::Retry(self.tries(node)),
            Verb::Jump => Directive::Jump(self.destination(then, slot)?),
            Verb::Break => Directive::Break,
            Verb::Fail => Directive::Fail,
        };
        Some((directive, set))
    }

    /// Options of another word than the one of `do`.
    fn stray_options(&mut self, node: &Node, verb: Verb) {
        let of = |key: &str| if key == "to" { Verb::Jump } else { Verb::Retry };
        for entry in ["attempts", "backoff", "delay", "to"].iter().filter_map(|key| node.get(key)) {
            let needed = of(&entry.key);
            if needed != verb {
                let word = if needed == Verb::Jump { "jump" } else { "retry" };
                let message = format!("`{}` is not read without `do: {word}`", entry.key);
                self.warn("ignored-key", entry.span, message, format!("write `do: {word}`"));
            }
        }
    }

    /// `{attempts, backoff, delay}`, as written.
    fn tries(&mut self, node: &Node) -> Value {
        let mut tries = Map::new();
        for entry in node.entries() {
            let value = match entry.key.as_str() {
                "attempts" => self.count(entry, 1),
                "delay" => self.duration(entry, false),
                "backoff" if entry.value.text().is_some_and(is_template) => {
                    self.mismatch(entry, "one of a few words", "write it without a template");
                    None
                }
                "backoff" => {
                    self.choice(entry, &BACKOFFS.map(|word| (word, word))).map(Value::from)
                }
                _ => None,
            };
            tries.extend(value.map(|value| (entry.key.clone(), value)));
        }
        Value::Object(tries)
    }

    /// The index of the task that `to` names.
    fn destination(&mut self, then: &Entry, slot: Slot<'_>) -> Option<u32> {
        let Slot { labels, index } = slot;
        let Some(to) = then.value.get("to") else {
            let advice = format!("write `to: NAME`, one of {}", known(labels));
            self.error("missing-key", then.span, "`do: jump` needs `to`", advice);
            return None;
        };
        let name = self.text(to)?;
        let span = to.value.span;
        let found = labels.iter().position(|label| *label == name);
        let found = match found {
            None if PREVIOUS.contains(&name.as_str()) => {
                let before = index.checked_sub(1);
                if before.is_none() {
                    let message = format!("`{name}` names the task before this one, the first");
                    let advice = format!("write the name of a task: {}", known(labels));
                    self.error("unknown-task", span, message, advice);
                }
                before
            }
            None => {
                let message = format!("there is no task `{name}` in this list");
                let advice = match nearest(&name, labels.iter().map(String::as_str)) {
                    Some(near) => format!("did you mean `{near}`?"),
                    None => format!("its tasks are {}", known(labels)),
                };
                self.error("unknown-task", span, message, advice);
                None
            }
            found => found,
        };
        found.and_then(|index| u32::try_from(index).ok())
    }

    /// `set`, `set_ctx` and `set_iter` in one.
    fn policy_set(&mut self, node: &Node) -> Option<Value> {
        let own = node.get("set").and_then(|entry| self.assignments(entry));
        let mut scoped = Map::new();
        for (key, scope) in [("set_ctx", "ctx"), ("set_iter", "iter")] {
            let values = node.get(key).map(|entry| self.object(entry)).unwrap_or_default();
            scoped
                .extend(values.into_iter().map(|(name, value)| (format!("{scope}.{name}"), value)));
        }
        if scoped.is_empty() {
            return own;
        }
        let mut all = Map::new();
        match own {
            Some(Value::Object(map)) => all.extend(map),
            Some(Value::Array(items)) => {
                let pair = |item: &Value| {
                    Some((item.get("name")?.as_str()?.to_owned(), item.get("value")?.clone()))
                };
                all.extend(items.iter().filter_map(pair));
            }
            _ => {}
        }
        all.extend(scoped);
        Some(Value::Object(all))
    }

    /// Warns about rules that stand behind one that always applies, or that has the same guard.
    fn behind_else<'r>(&mut self, rules: impl Iterator<Item = (&'r When, Position)>) {
        let rules: Vec<(&When, Span, bool)> =
            rules.map(|(when, start)| (when, at(start), false)).collect();
        self.doubt_order(&rules);
        for (_, span, _) in rules.iter().skip_while(|(when, ..)| **when != When::Else).skip(1) {
            let message = "this rule is never reached: the `else` before it always applies";
            self.warn("unreachable-rule", *span, message, "move the `else` to the end");
        }
    }
}

/// `spec.policy` of a tool.
fn policy_of(tool: &Node) -> Option<&Entry> {
    let policy = tool.get("spec").and_then(|spec| spec.value.get("policy"));
    policy.filter(|entry| !entry.value.is_null())
}

/// Whether a tool says something that only a task can: `set`, or a policy with something in it.
pub(super) fn is_task(tool: &Node) -> bool {
    let says = |entry: &Entry| {
        !entry.value.is_map()
            || ["rules", "on_unmatched"].iter().any(|key| entry.value.get(key).is_some())
    };
    tool.get("set").is_some() || policy_of(tool).is_some_and(says)
}

fn known(labels: &[String]) -> String {
    listed(labels.iter().map(String::as_str))
}
