//! Which playbooks call which, as far as their text says it.

use std::collections::BTreeMap;

use super::diagnostic::{Diagnostic, Span};
use super::{Action, Playbook, Tool};
use crate::limits::PLAYBOOK_DEPTH_MAX;

/// Circles of calls among `playbooks`, each as a warning at the call that closes it, with the index of
/// the playbook that it stands in. Calls whose `path` is a template are not followed.
#[must_use]
pub fn circles(playbooks: &[&Playbook]) -> Vec<(usize, Diagnostic)> {
    let by_path: BTreeMap<&str, usize> = playbooks
        .iter()
        .enumerate()
        .map(|(index, playbook)| (playbook.reference.path.as_str(), index))
        .collect();
    let calls: Vec<Vec<(usize, &Tool)>> = playbooks
        .iter()
        .map(|playbook| {
            let called = |tool| Some((*by_path.get(called(tool)?)?, tool));
            tools(playbook).into_iter().filter_map(called).collect()
        })
        .collect();
    let mut found = Vec::new();
    let mut done = vec![false; playbooks.len()];
    for start in 0..playbooks.len() {
        // The way from `start`: each playbook, and how many of its calls were followed.
        let mut way = vec![(start, 0)];
        while let Some((from, followed)) = way.last_mut() {
            let (from, number) = (*from, *followed);
            *followed += 1;
            match calls.get(from).and_then(|calls| calls.get(number)) {
                _ if done.get(from) == Some(&true) => drop(way.pop()),
                None => {
                    if let Some(done) = done.get_mut(from) {
                        *done = true;
                    }
                    way.pop();
                }
                Some((to, tool)) => match way.iter().position(|(on_the_way, _)| on_the_way == to) {
                    Some(since) => {
                        let circle = way.iter().skip(since).map(|(index, _)| *index).chain([*to]);
                        found.push((from, circle_of(playbooks, circle, tool)));
                    }
                    None => way.push((*to, 0)),
                },
            }
        }
    }
    found
}

fn circle_of(
    playbooks: &[&Playbook],
    circle: impl Iterator<Item = usize>,
    tool: &Tool,
) -> Diagnostic {
    let paths = circle.filter_map(|index| playbooks.get(index));
    let paths: Vec<String> =
        paths.map(|playbook| format!("`{}`", playbook.reference.path)).collect();
    let message = format!("playbooks call each other in a circle: {}", paths.join(" -> "));
    let advice = format!(
        "let a condition end it; no more than {PLAYBOOK_DEPTH_MAX} executions stand above each other"
    );
    let span = Span { start: tool.position, length: 1 };
    Diagnostic::warning("call-circle", span, message).advised(advice)
}

/// The path that a tool calls, if it calls a playbook by a plain name.
fn called(tool: &Tool) -> Option<&str> {
    let path = tool.config.get("path")?.as_str()?.trim();
    (tool.kind == "playbook" && !path.contains("{{") && !path.contains("{%")).then_some(path)
}

/// Every tool of a playbook, once.
fn tools(playbook: &Playbook) -> Vec<&Tool> {
    let mut tools: Vec<&Tool> = playbook.workbook.iter().map(|task| &task.tool).collect();
    for step in &playbook.steps {
        match &step.tool {
            Some(tool) => tools.push(tool),
            None => tools.extend(step.tasks.iter().map(|task| &task.tool)),
        }
        let actions = step.rules.iter().flat_map(|rule| &rule.actions);
        tools.extend(actions.filter_map(|action| match action {
            Action::Task(task) => Some(&task.tool),
            _ => None,
        }));
    }
    tools
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::playbook::parse::parse;

    /// A playbook of that path that calls these others, one after the other.
    fn caller((path, calls): &(&str, &[&str])) -> Playbook {
        let task = |call: &&str| format!("{{kind: playbook, path: \"{call}\"}}");
        let tasks: Vec<String> = calls.iter().map(task).collect();
        let text = format!(
            "apiVersion: noetl.io/v2\nkind: Playbook\nmetadata: {{name: n, path: {path}}}\n\
             workflow: [{{step: start, tool: [{{kind: noop}}, {}]}}]\n",
            tasks.join(", ")
        );
        parse(&text).playbook.unwrap()
    }

    #[test]
    fn circles_of_calls_are_named_once() {
        let circle = |calls: &[(&str, &[&str])]| {
            let playbooks: Vec<Playbook> = calls.iter().map(caller).collect();
            let playbooks: Vec<&Playbook> = playbooks.iter().collect();
            let told = circles(&playbooks).into_iter().map(|(index, found)| {
                let (_, circle) = found.message.split_once(": ").unwrap();
                format!("{index}: {circle}")
            });
            told.collect::<Vec<_>>().join("; ")
        };
        #[rustfmt::skip]
        let cases = [
            (circle(&[("a", &["b"]), ("b", &["c"]), ("c", &[])]), ""),
            (circle(&[("a", &["a"])]), "0: `a` -> `a`"),
            (circle(&[("a", &["b"]), ("b", &["a"])]), "1: `a` -> `b` -> `a`"),
            (circle(&[("x", &["a"]), ("a", &["b"]), ("b", &["a"])]), "2: `a` -> `b` -> `a`"),
            (circle(&[("a", &["b", "c"]), ("b", &["d"]), ("c", &["d"]), ("d", &[])]), ""),
            (circle(&[("a", &["b", "a"]), ("b", &["a"])]), "1: `a` -> `b` -> `a`; 0: `a` -> `a`"),
            (circle(&[("a", &["elsewhere", "{{ path }}"])]), ""),
        ];
        for (found, expect) in cases {
            assert_eq!(found, expect);
        }
    }
}
