//! Which kinds of tools a playbook calls: which queues it needs, and which workers.

use std::collections::BTreeSet;

use engine_core::playbook::sink::{records, tool_of};
use engine_core::playbook::{Action, Playbook, Step};

/// Every kind of tool that a playbook names, wherever a tool may stand.
#[must_use]
pub fn of(playbook: &Playbook) -> BTreeSet<String> {
    let workbook = playbook.workbook.iter().map(|task| task.tool.kind.clone());
    workbook.chain(playbook.steps.iter().flat_map(of_step)).collect()
}

fn of_step(step: &Step) -> BTreeSet<String> {
    let mut kinds = BTreeSet::from([step.kind().to_owned()]);
    kinds.extend(step.tasks.iter().map(|task| task.tool.kind.clone()));
    let mut sinks = Vec::from_iter(&step.sink);
    for action in step.retries.iter().chain(&step.rules).flat_map(|rule| &rule.actions) {
        match action {
            Action::Task(task) => drop(kinds.insert(task.tool.kind.clone())),
            Action::Sink(sink) => sinks.push(sink),
            _ => {}
        }
    }
    let saved = sinks.into_iter().filter(|sink| !records(sink));
    kinds.extend(saved.map(|sink| tool_of(sink).kind));
    kinds
}

#[cfg(test)]
mod tests {
    use engine_core::playbook::parse;

    use super::*;

    const TEXT: &str = r#"
apiVersion: noetl.io/v2
kind: Playbook
metadata: {name: kinds}
workbook:
  - {name: t, tool: {kind: python, code: "result = 1"}}
workflow:
  - step: start
    tool: {kind: workbook, task: t}
    case:
      - when: "{{ event.name == 'call.done' }}"
        then:
          sink: {tool: {kind: http, url: "http://h/"}}
          next: [{step: tell}]
  - step: tell
    tool: {kind: noop}
    case:
      - when: "{{ event.name == 'call.done' }}"
        then: {sink: {tool: event_log}}
"#;

    #[test]
    fn every_place_of_a_tool_counts() {
        let playbook = parse::parse(TEXT).playbook.unwrap();
        let kinds: Vec<String> = of(&playbook).into_iter().collect();
        assert_eq!(kinds, ["http", "noop", "python", "workbook"]);
    }
}
