//! `case`: rules and what they do.

use serde_json::Value;

use super::node::{Entry, Node};
use super::reader::{Inside, Level, Reader};
use crate::playbook::{Action, CaseMode, Collect, Rule, Target, Task, TaskPolicy, When};

pub(super) const RULE: Level = Level {
    name: "a rule",
    known: &["when", "then", "else"],
    moved: &[
        ("if", "write `when`"),
        ("condition", "write `when`"),
        ("cond", "write `when`"),
        ("expr", "write `when`"),
        ("do", "write `then: {...}`"),
        ("next", "write it under `then`"),
        ("retry", "write it under `then`"),
        ("set", "write it under `then`"),
        ("sink", "write it under `then`"),
        ("collect", "write it under `then`"),
        ("result", "write it under `then`"),
        ("step", "write `then: {next: [{step: ...}]}`"),
    ],
};

const THEN: Level = Level {
    name: "`then`",
    known: &[
        "next", "set", "vars", "collect", "result", "sink", "save", "call", "retry", "fail",
        "skip", "step", "args", "input",
    ],
    moved: &[
        ("do", "write it in `tool.spec.policy.rules`; here, write `next`, `retry` or `fail`"),
        ("pipe", "write one step for each part"),
        ("catch", "write a rule on `call.error`"),
        ("finally", "write a rule on `step.exit`"),
        ("log", "drop it; use `sink: {tool: {kind: event_log}}` to record something"),
        ("set_ctx", "write `set`"),
        ("set_iter", "write `set`"),
        ("then", "write the actions directly under `then` of the rule"),
        ("else", "write it as a rule of its own: `- else: ...`"),
        ("when", "write one rule for each condition"),
        ("goto", "write `next`"),
    ],
};

const THEN_FORMS: &str = "write `then: {next: [{step: NAME}]}`, or other actions";

impl Reader<'_> {
    /// Reads `case`.
    pub(super) fn rules(&mut self, entry: &Entry, mode: CaseMode) -> Vec<Rule> {
        let Some(items) = entry.value.items() else {
            self.mismatch(entry, "a list of rules", "write `- when: ...` and `then: ...` below it");
            return Vec::new();
        };
        let rules: Vec<(Rule, &Node)> =
            items.iter().filter_map(|item| self.rule(item).map(|rule| (rule, item))).collect();
        let catch_all = rules.iter().position(|(rule, _)| rule.when == When::Else);
        let behind = catch_all.map_or(rules.len(), |index| index + 1);
        for (rule, item) in rules.iter().skip(behind) {
            // An `else` never answers `step.enter`.
            let may_enter = |text: &String| text.contains("step.enter");
            let reached = matches!(&rule.when, When::Condition(text) if may_enter(text));
            if mode == CaseMode::Exclusive && !reached {
                let message = "this rule is never reached: the `else` before it always applies";
                self.warn("unreachable-rule", item.span, message, "move the `else` to the end");
            }
        }
        self.doubt_rules(&rules, mode);
        rules.into_iter().map(|(rule, _)| rule).collect()
    }

    fn rule(&mut self, node: &Node) -> Option<Rule> {
        let (when, block) = self.guarded(node, &RULE, THEN_FORMS)?;
        let actions = self.actions(&block);
        Some(Rule { when, actions, position: node.span.start })
    }

    /// The guard of a rule and what stands behind it, in any of `{when, then}`, `{then}`,
    /// `{else: {...}}`, `{else: {then: ...}}`, and `else` with `then` beside it.
    pub(super) fn guarded(
        &mut self,
        node: &Node,
        level: &Level,
        forms: &str,
    ) -> Option<(When, Entry)> {
        if !node.is_map() {
            let message = format!("a rule is a map, not {}", node.noun());
            self.error("wrong-type", node.span, message, "write `- when: ...` and `then: ...`");
            return None;
        }
        self.close(node, level);
        let (when, then, otherwise) = (node.get("when"), node.get("then"), node.get("else"));
        if let (Some(_), Some(otherwise)) = (when, otherwise) {
            let message = "`when` and `else` cannot stand in one rule";
            self.error("conflict", otherwise.span, message, "write `- else: ...` as the next rule");
        }
        let guard = match when {
            Some(entry) => {
                self.doubt_guard(entry);
                When::Condition(self.condition(entry)?)
            }
            None => When::Else,
        };
        let inner = otherwise.and_then(|entry| entry.value.get("then"));
        let Some(block) = then.or(inner).or_else(|| otherwise.filter(|_| when.is_none())) else {
            if !Self::misspelt(node, "then", level) {
                self.error("missing-key", node.span, "a rule needs `then`", forms);
            }
            return None;
        };
        Some((guard, block.clone()))
    }

    /// Blocks in document order; inside a block the order of decision D12.
    fn actions(&mut self, entry: &Entry) -> Vec<Action> {
        let node = &entry.value;
        let mut actions = Vec::new();
        if node.is_map() {
            self.block(node, &mut actions);
        } else if let Some(items) = node.items() {
            for item in items {
                if item.is_map() {
                    self.block(item, &mut actions);
                } else {
                    let message =
                        format!("an item of `{}` is a map, not {}", entry.key, item.noun());
                    let advice = "write `- step: NAME`, or `- next: ...` or another action";
                    self.error("wrong-type", item.span, message, advice);
                }
            }
        } else {
            self.mismatch(entry, "a map or a list of actions", THEN_FORMS);
        }
        actions
    }

    fn block(&mut self, node: &Node, actions: &mut Vec<Action>) {
        let mut block = Vec::new();
        if node.get("step").is_some() {
            block.extend(self.bare_target(node).map(|target| Action::Next(vec![target])));
        }
        for entry in node.entries() {
            block.extend(self.action(entry));
        }
        if node.get("step").is_none() {
            for entry in ["args", "input"].into_iter().filter_map(|key| node.get(key)) {
                let message = format!("`{}` stands here without a `step`", entry.key);
                let advice = "write it beside `step`: `next: [{step: NAME, args: {...}}]`";
                self.error("misplaced-key", entry.span, message, advice);
            }
        }
        block.sort_by_key(rank);
        for action in block {
            match (actions.last_mut(), action) {
                // Several targets fan out together; a second `next` would find the step routed.
                (Some(Action::Next(targets)), Action::Next(more)) => targets.extend(more),
                (_, action) => actions.push(action),
            }
        }
    }

    fn action(&mut self, entry: &Entry) -> Option<Action> {
        Some(match entry.key.as_str() {
            "step" | "args" | "input" => return None,
            "next" => Action::Next(self.rule_targets(entry)),
            "set" => Action::Set(self.assignments(entry)?),
            "vars" => Action::Vars(self.assignments(entry)?),
            "collect" => Action::Collect(self.collect(entry)?),
            "result" => Action::Result(self.result(entry)),
            "sink" | "save" => Action::Sink(self.sink(entry)),
            "call" => Action::Call(self.call(entry)),
            "retry" => Action::Retry(self.retry(entry)),
            "fail" => Action::Fail(self.value(&entry.value, Inside::Data)),
            "skip" => Action::Skip(self.value(&entry.value, Inside::Data)),
            _ => return self.inline_task(entry).map(Box::new).map(Action::Task),
        })
    }

    fn rule_targets(&mut self, entry: &Entry) -> Vec<Target> {
        if let Some(inner) = entry.value.get("next").filter(|_| entry.value.entries().len() == 1) {
            return self.rule_targets(inner);
        }
        if let Some(arcs) = entry.value.get("arcs") {
            let message = "arcs cannot stand in a rule";
            let advice = "write `next: [{step: NAME}]`: the rule's `when` is the condition";
            self.error("mixed-dialects", arcs.span, message, advice);
            return Vec::new();
        }
        self.next(entry).targets
    }

    fn collect(&mut self, entry: &Entry) -> Option<Collect> {
        if !entry.value.is_map() {
            self.mismatch(entry, "a map", "write `collect: {path: data.items, into: pages}`");
            return None;
        }
        if let Some(from) = entry.value.get("from") {
            self.condition(from);
        }
        Some(Collect::read(&self.value(&entry.value, Inside::Data)))
    }

    /// `{from: expression}`, or any value.
    fn result(&mut self, entry: &Entry) -> Value {
        if let Some(from) = entry.value.get("from").filter(|from| from.value.text().is_some()) {
            self.condition(from);
        }
        self.value(&entry.value, Inside::Data)
    }

    fn call(&mut self, entry: &Entry) -> Value {
        if !entry.value.is_map() {
            self.mismatch(entry, "a map", "write `call: {params: {...}}`");
            return Value::Null;
        }
        if let Some(step) = entry.value.get("step")
            && let Some(name) = self.text(step)
        {
            self.mention(&name, step.value.span, false);
        }
        self.value(&entry.value, Inside::Data)
    }

    /// `label: {tool: {kind, ...}, args}`.
    fn inline_task(&mut self, entry: &Entry) -> Option<Task> {
        let Some(tool) = entry.value.get("tool") else {
            self.unknown(entry, &THEN);
            return None;
        };
        let mut tool = self.tool_map(tool)?;
        let outer = self.args(&entry.value);
        tool.args.extend(outer);
        Some(Task { label: entry.key.clone(), tool, set: None, policy: TaskPolicy::default() })
    }
}

/// The order of decision D12.
fn rank(action: &Action) -> u8 {
    match action {
        Action::Set(_) => 0,
        Action::Vars(_) => 1,
        Action::Collect(_) => 2,
        Action::Result(_) => 3,
        Action::Sink(_) | Action::Task(_) => 4,
        Action::Call(_) | Action::Retry(_) => 5,
        Action::Next(_) => 6,
        Action::Fail(_) => 7,
        Action::Skip(_) => 8,
    }
}
