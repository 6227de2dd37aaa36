//! What can be read, and cannot be meant: guards that never hold, rules that are never reached.

use std::collections::{BTreeMap, BTreeSet};

use super::node::{Entry, Node};
use super::reader::{Reader, listed, nearest};
use super::step::Draft;
use crate::playbook::diagnostic::Span;
use crate::playbook::names::of_step;
use crate::playbook::retries::expression;
use crate::playbook::{Action, CaseMode, Position, Rule, When, WorkbookTask};
use crate::template::check;

/// The events that rules and arcs are asked about, with their other names.
pub(super) const EVENTS: [&str; 7] =
    ["step.enter", "call.done", "call.error", "step.exit", "loop.done", "step.done", "step.failed"];

/// Kinds of tools and sinks that run SQL.
const SQL_KINDS: [&str; 5] = ["postgres", "sqlite", "duckdb", "snowflake", "ducklake"];
/// Where their SQL stands.
const SQL_KEYS: [&str; 8] =
    ["query", "queries", "command", "commands", "cmd", "cmds", "statement", "sql"];

/// Names behind which secrets are: a worker resolves them, the engine never sees them.
const SECRETS: [&str; 2] = ["secret", "keychain"];

impl Reader<'_> {
    /// Warns about values that become part of SQL: a quote in one of them ends the text around it.
    pub(super) fn doubt_sql(&mut self, tool: &Node, kind: &str) {
        if !SQL_KINDS.contains(&kind.to_lowercase().as_str()) {
            return;
        }
        for entry in SQL_KEYS.into_iter().filter_map(|key| tool.get(key)) {
            let texts = entry.value.items().unwrap_or_else(|| std::slice::from_ref(&entry.value));
            let found = texts.iter().find_map(|text| interpolated(text.text()?));
            let Some(found) = found else { continue };
            let message = format!(
                "`{}` writes the value of `{found}` into SQL: a quote in it would change the statement",
                entry.key
            );
            let advice = "write `:name` (or `$1`) there, and the value under `params`";
            self.warn("sql-interpolation", entry.span, message, advice);
        }
    }

    /// Warns about a guard that can never hold.
    pub(super) fn doubt_guard(&mut self, when: &Entry) {
        let scalar = when.value.scalar().filter(|scalar| !scalar.text.trim().is_empty());
        let Some(scalar) = scalar else { return };
        if expression(&scalar.value()).as_deref() == Some("false") {
            let message = format!("this `{}` never holds", when.key);
            self.warn(
                "never-holds",
                when.value.span,
                message,
                "drop the rule, or write a condition",
            );
        }
        for name in event_names(&scalar.text) {
            if EVENTS.contains(&name) {
                continue;
            }
            let message = format!("no event is called `{name}`: this never holds");
            let advice = match nearest(name, EVENTS.into_iter()) {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!("the events are {}", listed(EVENTS.into_iter())),
            };
            self.warn("unknown-event", when.value.span, message, advice);
        }
    }

    /// Warns about rules that repeat the guard of an earlier one, and refuses saves before the call.
    pub(super) fn doubt_rules(&mut self, rules: &[(Rule, &Node)], mode: CaseMode) {
        let repeats = |action: &Action| matches!(action, Action::Retry(_) | Action::Call(_));
        let once: Vec<(&When, Span, bool)> = rules
            .iter()
            .map(|(rule, node)| (&rule.when, node.span, rule.actions.iter().any(repeats)))
            .collect();
        if mode == CaseMode::Exclusive {
            self.doubt_order(&once);
        }
        for (rule, node) in rules {
            let When::Condition(text) = &rule.when else { continue };
            let names = event_names(text);
            let saves = |action: &Action| matches!(action, Action::Sink(_) | Action::Task(_));
            let on_entry = !names.is_empty() && names.iter().all(|name| *name == "step.enter");
            if on_entry && rule.actions.iter().any(saves) {
                let message = "a rule on `step.enter` cannot save: nothing has run yet";
                let advice = "write it on `call.done`, or as a step before this one";
                self.error("too-early", node.span, message, advice);
            }
        }
    }

    /// Warns about guards that an earlier rule has already; what may be used up leaves the next its turn.
    pub(super) fn doubt_order(&mut self, rules: &[(&When, Span, bool)]) {
        let mut seen: BTreeMap<String, u32> = BTreeMap::new();
        for (when, span, is_used_up) in rules {
            let When::Condition(text) = when else { continue };
            let text: String = text.split_whitespace().collect::<Vec<_>>().join(" ");
            if let Some(line) = seen.get(&text) {
                let message =
                    format!("this rule is never reached: line {line} has the same `when`");
                self.warn("unreachable-rule", *span, message, "put both into one rule");
            } else if !is_used_up {
                seen.insert(text, span.start.line);
            }
        }
    }

    /// Refuses secrets in what the engine renders: they would be in its log.
    pub(super) fn refuse_secrets(
        &mut self,
        drafts: &[Draft],
        workbook: &[WorkbookTask],
        is_variable: impl Fn(&str) -> bool,
    ) {
        for draft in drafts {
            let names = of_step(&draft.step, workbook).engine;
            let step = &draft.step.name;
            for secret in SECRETS.into_iter().filter(|name| names.contains(*name)) {
                if is_variable(secret)
                    || drafts.iter().any(|draft| draft.step.name.as_str() == secret)
                {
                    continue;
                }
                let message = format!(
                    "the step `{step}` uses `{secret}` where the engine renders (its rules, `set`, \
                     `vars`, `next`, or a tool that it runs itself), which would write it to the log"
                );
                let advice = "use it in the configuration of the tool that needs it";
                self.error("exposed-secret", draft.span, message, advice);
            }
        }
    }
}

impl Reader<'_> {
    /// Refuses secrets in the workload: it is rendered once, at the start, into the log.
    pub(super) fn refuse_secret_inputs(&mut self, root: &Node, is_variable: impl Fn(&str) -> bool) {
        let Some(workload) = root.get("workload") else { return };
        for entry in workload.value.entries() {
            let mut names = BTreeSet::new();
            names_in(&entry.value, &mut names);
            let found = SECRETS.into_iter().find(|name| names.contains(*name));
            let Some(secret) = found.filter(|name| !is_variable(name)) else { continue };
            let message = format!(
                "`workload.{}` uses `{secret}`, and inputs are written to the log when a run starts",
                entry.key
            );
            let advice = format!(
                "write `{{{{ {secret}. ... }}}}` in the tool that needs it, in the place of \
                 `{{{{ workload.{} }}}}`",
                entry.key
            );
            self.error("exposed-secret", entry.span, message, advice);
        }
    }
}

/// The top-level names that the templates in a value use.
fn names_in(node: &Node, names: &mut BTreeSet<String>) {
    if let Some(text) = node.text() {
        names.extend(check(text).unwrap_or_default());
    }
    node.items().into_iter().flatten().for_each(|item| names_in(item, names));
    node.entries().iter().for_each(|entry| names_in(&entry.value, names));
}

/// The span of one place.
pub(super) fn at(start: Position) -> Span {
    Span { start, length: 1 }
}

/// The first template inside a text of SQL that is no number of the engine's own.
fn interpolated(sql: &str) -> Option<&str> {
    let trimmed = sql.trim();
    let is_lone = trimmed.starts_with("{{") && trimmed.find("}}") == Some(trimmed.len() - 2);
    if is_lone {
        return None;
    }
    let mut rest = sql;
    while let Some(start) = rest.find('{') {
        rest = rest.get(start..)?;
        let close = match rest.get(..2) {
            Some("{{") => "}}",
            Some("{%") => "%}",
            _ => {
                rest = rest.get(1..)?;
                continue;
            }
        };
        let (inner, after) = rest.get(2..)?.split_once(close)?;
        let inner = inner.trim_matches(|c: char| c == '-' || c.is_whitespace());
        if inner != "execution_id" {
            return Some(inner);
        }
        rest = after;
    }
    None
}

/// The names that a condition compares `event.name` with.
fn event_names(text: &str) -> Vec<&str> {
    let mut names = Vec::new();
    for (start, found) in text.match_indices("event.name") {
        let rest = text.get(start + found.len()..).unwrap_or_default().trim_start();
        let (many, rest) = match (rest.strip_prefix("=="), rest.strip_prefix("in ")) {
            (Some(rest), _) => (false, rest.trim_start()),
            (None, Some(rest)) => match rest.trim_start().strip_prefix(['[', '(']) {
                Some(rest) => (true, rest),
                None => continue,
            },
            (None, None) => continue,
        };
        let end = rest.find([']', ')']).filter(|_| many).unwrap_or(rest.len());
        let parts = rest.get(..end).unwrap_or_default().split(',').filter_map(quoted);
        names.extend(parts.take(if many { usize::MAX } else { 1 }));
    }
    names
}

/// The text between the quotes that this begins with.
fn quoted(text: &str) -> Option<&str> {
    let text = text.trim_start();
    let quote = text.chars().next().filter(|quote| ['\'', '"'].contains(quote))?;
    text.get(1..)?.split_once(quote).map(|(inner, _)| inner)
}

#[cfg(test)]
mod tests {
    use super::interpolated;

    #[test]
    fn only_values_inside_sql_are_doubted() {
        let cases = [
            ("SELECT 1", None),
            ("{{ workload.query }}", None),
            (" {{ workload.query }}\n", None),
            ("DELETE FROM t WHERE id = {{ execution_id }}", None),
            ("SELECT '{}'::jsonb, '{a,b}'", None),
            ("SELECT '{{ name }}'", Some("name")),
            ("{{ a }} {{ b }}", Some("a")),
            ("SELECT {{ execution_id }}, {{- x.y -}}", Some("x.y")),
            ("{% for item in items %} SELECT 1; {% endfor %}", Some("for item in items")),
            ("SELECT {{ open", None),
        ];
        for (sql, expect) in cases {
            assert_eq!(interpolated(sql), expect, "{sql}");
        }
    }
}
