//! Runs and iterations of several calls: pages, saves, named tasks, and what they leave.

use super::*;
use crate::command::CallSite;
use crate::playbook::{Directive, PolicyRule, Position, When};

/// A server of 35 numbered items, `size` a page; page 1 where nothing is asked for.
#[expect(clippy::unnecessary_wraps, reason = "a caller may fail")]
fn paged(command: &Command, _index: u64) -> Result<Value, &'static str> {
    if command.site.is_save() {
        return Ok(json!({"saved": true}));
    }
    if command.step.as_str() != "fetch" {
        return Ok(json!({"ok": true}));
    }
    let page = command.overrides.as_ref().and_then(|over| over["params"]["page"].as_u64());
    let page = page.unwrap_or(1);
    let items: Vec<u64> = ((page - 1) * 10 + 1..=(page * 10).min(35)).collect();
    let body = json!({"data": items, "paging": {"page": page, "hasMore": page < 4}});
    Ok(json!({"status_code": 200, "data": body}))
}

fn run_paged(workflow: &str) -> Bench {
    let mut bench = Bench::begin(workflow, &json!({}), |_, _, _| Ok(Value::Null));
    bench.caller = Some(paged);
    bench.drain();
    bench.prove();
    bench
}

impl Bench {
    /// The result of a step, in full.
    pub(super) fn result(&self, step: &str) -> Value {
        let found = self.state().steps[&step.into()].result.clone();
        self.load(&found.unwrap_or(Payload::Inline(Value::Null)))
    }

    pub(super) fn var(&self, name: &str) -> Value {
        self.load(&self.state().vars[name])
    }

    /// Commands of a step, as `site@call-number-suffix`.
    pub(super) fn ids(&self, step: &str) -> Vec<String> {
        let of = self.commands.iter().filter(|command| command.step.as_str() == step);
        of.map(|command| command.id.to_string()).collect()
    }
}

fn numbers(range: std::ops::RangeInclusive<u64>) -> Value {
    json!(range.collect::<Vec<_>>())
}

#[test]
fn d58_pages_that_a_rule_collects_are_the_result_beside_the_last_page() {
    let bench = run_paged(
        "workflow:
  - step: start
    tool: {kind: noop}
    next: fetch
  - step: fetch
    tool: {kind: http, url: x, params: {page: 1, size: 10}}
    case:
      - when: \"{{ event.name == 'call.done' and response.data.paging.hasMore == true }}\"
        then:
          collect: {strategy: append, path: data.data, into: pages}
          retry: {max_attempts: 10, params: {page: '{{ (response.data.paging.page | int) + 1 }}'}}
      - when: \"{{ event.name == 'call.done' and response.data.paging.hasMore != true }}\"
        then:
          collect: {strategy: append, path: data.data, into: pages}
          next: [{step: use, args: {all: '{{ pages }}', whole: '{{ fetch }}'}}]
  - step: use
    tool: {kind: noop}
",
    );
    assert_eq!(bench.summary(), "start:1:Completed fetch:1:Completed use:1:Completed Completed");
    assert_eq!(bench.result("fetch")["_all_collected_items"], numbers(1..=35));
    assert_eq!(bench.result("fetch")["data"]["paging"]["page"], 4);
    assert_eq!(bench.var("pages"), numbers(1..=35));
    let ids = bench.ids("fetch");
    assert_eq!(ids.len(), 4);
    assert_eq!(ids[3], format!("{}/4", ids[0]), "every page is a call of its own");
}

#[test]
fn seed_004_collect_and_call_fill_a_variable_that_the_rules_made() {
    let bench = run_paged(
        "workflow:
  - step: start
    tool: {kind: noop}
    next: fetch
  - step: fetch
    tool: {kind: http, url: x, params: {page: 1}}
    case:
      - when: \"{{ event.name == 'step.enter' }}\"
        then: {set: {ctx: {pages: []}}}
      - when: \"{{ event.name == 'call.done' and response.data.paging.hasMore }}\"
        then:
          collect: {from: response.data.data, into: pages, mode: extend}
          call: {params: {page: '{{ (response.data.paging.page | int) + 1 }}'}}
      - when: \"{{ event.name == 'call.done' and not response.data.paging.hasMore }}\"
        then:
          collect: {from: response.data.data, into: pages, mode: extend}
          result: {from: pages}
",
    );
    assert_eq!(bench.summary(), "start:1:Completed fetch:1:Completed Completed");
    assert_eq!(bench.result("fetch"), numbers(1..=35));
}

#[test]
fn trap_07_pages_inside_a_loop_belong_to_their_item_and_do_not_advance_it() {
    for mode in ["sequential", "parallel"] {
        let bench = run_paged(&format!(
            "workflow:
  - step: start
    tool: {{kind: noop}}
    next: fetch
  - step: fetch
    loop: {{in: [a, b, c], iterator: item, mode: {mode}}}
    tool: {{kind: http, url: x}}
    case:
      - when: \"{{{{ event.name == 'call.done' and response.data.paging.hasMore == true }}}}\"
        then:
          collect: {{strategy: append, path: data, into: pages}}
          retry: {{max_attempts: 10, params: {{page: '{{{{ response.data.paging.page + 1 }}}}'}}}}
      - when: \"{{{{ event.name == 'call.done' }}}}\"
        then: {{collect: {{strategy: append, path: data, into: pages}}}}
"
        ));
        assert_eq!(bench.summary(), "start:1:Completed fetch:3:Completed Completed", "{mode}");
        let outcomes: Vec<Value> = bench.settled();
        assert_eq!(outcomes.len(), 3, "{mode}");
        for outcome in outcomes {
            assert_eq!(outcome["_all_collected_items"], numbers(1..=35), "{mode}");
        }
        assert!(!bench.state().vars.contains_key("pages"), "a page of one item is nobody else's");
    }
}

impl Bench {
    /// The results of all iterations that were settled as units.
    fn settled(&self) -> Vec<Value> {
        let facts = self.logs.values().flatten().flat_map(|entry| &entry.facts);
        let outcomes = facts.filter_map(|fact| match fact {
            Fact::IterationSettled { outcome, .. } => Some(self.load(&outcome.result)),
            _ => None,
        });
        outcomes.collect()
    }
}

#[test]
fn d34_a_sink_runs_between_the_call_and_the_exit_and_its_failure_fails_the_step() {
    let workflow = |options: &str| {
        format!(
            "workflow:
  - step: start
    tool: {{kind: noop}}
    case:
      - when: \"{{{{ event.name == 'call.done' }}}}\"
        then:
          sink: {{tool: {{kind: http, url: x}}{options}}}
          next: after
  - step: after
    tool: {{kind: noop}}
"
        )
    };
    let fails = |command: &Command, _: u64| {
        if command.site.is_save() { Err("table is full") } else { Ok(json!({"ok": true})) }
    };
    let bench = run_paged(&workflow(""));
    assert_eq!(bench.summary(), "start:1:Completed after:1:Completed Completed");
    let mut bench = Bench::begin(&workflow(""), &json!({}), |_, _, _| Ok(Value::Null));
    bench.caller = Some(fails);
    bench.drain();
    assert_eq!(bench.summary(), "start:1:Failed Failed");
    let message = bench.state().failure.clone().unwrap().error.message;
    assert_eq!(message, "the sink failed: table is full");
    let forgiving = workflow(", on_error: continue");
    let mut bench = Bench::begin(&forgiving, &json!({}), |_, _, _| Ok(Value::Null));
    bench.caller = Some(fails);
    bench.drain();
    assert_eq!(bench.summary(), "start:1:Completed after:1:Completed Completed");
}

#[test]
fn a_cursor_that_comes_again_fails_the_step_whatever_its_circle() {
    for circle in ["'same'", "'{{ (_page | int) % 5 }}'"] {
        let bench = run_paged(&format!(
            "workflow:
  - step: start
    tool: {{kind: noop}}
    next: fetch
  - step: fetch
    tool: {{kind: http, url: x}}
    case:
      - when: \"{{{{ event.name == 'call.done' }}}}\"
        then:
          collect: {{strategy: append, path: data, into: pages}}
          retry: {{max_attempts: 1000, params: {{cursor: {circle}}}}}
"
        ));
        assert_eq!(bench.summary(), "start:1:Completed fetch:1:Failed Failed", "{circle}");
        let error = bench.state().failure.clone().unwrap().error;
        assert_eq!(error.kind, "PaginationError", "{circle}: {}", error.message);
    }
}

#[test]
fn pagination_without_an_end_stops_with_one_clear_failure() {
    let bench = run_paged(
        "workflow:
  - step: start
    tool: {kind: noop}
    next: fetch
  - step: fetch
    tool: {kind: http, url: x}
    case:
      - when: \"{{ event.name == 'call.done' }}\"
        then: {call: {params: {n: '{{ _page }}'}}}
",
    );
    let error = bench.state().failure.clone().unwrap().error;
    assert_eq!(error.kind, "LimitError");
    assert!(error.message.contains("names no end"), "{}", error.message);
    assert_eq!(bench.ids("fetch").len(), 100);
}

#[test]
fn a_set_in_an_iteration_reaches_the_later_iterations_of_its_loop() {
    let bench = run_paged(
        "workflow:
  - step: start
    tool: {kind: noop}
    vars: {total: '{{ 0 }}'}
    next: add
  - step: add
    loop: {in: [1, 2, 3, 4], iterator: n}
    tool: {kind: noop}
    case:
      - when: \"{{ event.name == 'call.done' }}\"
        then: {set: {total: '{{ total + n }}'}}
",
    );
    assert_eq!(bench.summary(), "start:1:Completed add:4:Completed Completed");
    assert_eq!(bench.var("total"), 10);
}

/// A list of three tasks whose policies the test writes itself.
fn listed(policies: [Vec<PolicyRule>; 3]) -> Bench {
    let mut bench = Bench::begin(
        "workflow:
  - step: start
    tool: {kind: noop}
    next: list
  - step: list
    tool:
      - {name: one, kind: noop}
      - {name: two, kind: noop}
      - {name: three, kind: noop}
",
        &json!({}),
        |_, _, _| Ok(Value::Null),
    );
    for (task, rules) in bench.playbook.steps[1].tasks.iter_mut().zip(policies) {
        task.policy.rules = rules;
    }
    bench.caller = Some(|command, _| match (command.site, command.attempt) {
        (CallSite::Task(1), 1) => Err("not yet"),
        (site, _) => Ok(json!({"site": format!("{site:?}")})),
    });
    bench.playbook = bench.playbook.clone().analysed();
    bench.playbook.steps[1].names.engine.insert("output".to_owned());
    bench.drain();
    bench.prove();
    bench
}

fn rule(then: Directive) -> PolicyRule {
    let when = When::Condition("output.status == 'error'".to_owned());
    PolicyRule { when, then, set: None, position: Position::default() }
}

#[test]
fn tasks_follow_each_other_and_the_last_one_is_the_result() {
    let retry = || rule(Directive::Retry(json!({"attempts": 2})));
    let bench = listed([vec![], vec![retry()], vec![]]);
    assert_eq!(bench.summary(), "start:1:Completed list:1:Completed Completed");
    assert_eq!(bench.result("list"), json!({"site": "Task(2)"}));
    assert_eq!(bench.ids("list").len(), 4, "the second task was tried twice");
}

#[test]
fn row_30_an_error_that_no_rule_of_a_task_applies_to_fails_the_list() {
    let bench = listed([vec![], vec![], vec![]]);
    assert_eq!(bench.summary(), "start:1:Completed list:1:Failed Failed");
    let bench = listed([vec![], vec![rule(Directive::Continue)], vec![]]);
    assert_eq!(bench.summary(), "start:1:Completed list:1:Completed Completed");
    let bench = listed([vec![], vec![rule(Directive::Break)], vec![]]);
    assert_eq!(bench.summary(), "start:1:Completed list:1:Completed Completed");
    assert_eq!(bench.ids("list").len(), 2);
}
