//! The decisions about what a playbook means, each by its number in `dsl.md`.

mod calls;
mod loops;

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::{Bench, ID, Tool, fine, start_breaks, third_time};
use crate::event::Fact;
use crate::ids::{AggregateKey, ExecutionId, SNOWFLAKE_EPOCH_MS, snowflake_floor};
use crate::project::{Event, expand};

const MAIN: AggregateKey = AggregateKey::Execution(ID);

fn ran_by(rest: &str, tool: Tool) -> Bench {
    ran_with(rest, &json!({}), tool)
}

fn ran_with(rest: &str, payload: &Value, tool: Tool) -> Bench {
    let bench = Bench::run(rest, payload, tool);
    bench.prove();
    bench
}

fn ran(rest: &str) -> Bench {
    ran_by(rest, fine)
}

impl Bench {
    fn facts(&self) -> impl Iterator<Item = &Fact> {
        self.logs.values().flatten().flat_map(|entry| &entry.facts)
    }

    fn loops(&self) -> Vec<AggregateKey> {
        self.logs.keys().filter(|key| **key != MAIN).cloned().collect()
    }

    fn events(&self, key: &AggregateKey) -> Vec<Event> {
        self.logs[key].iter().flat_map(expand).collect()
    }
}

#[test]
fn d04_arguments_beside_a_structural_target_are_rendered_in_the_source_and_given() {
    let bench = ran("workflow:
  - step: start
    tool: {kind: noop}
    next: [{step: b, args: {x: '{{ start.n + 1 }}'}}]
  - step: b
    tool: {kind: noop}
    vars: {got: '{{ args.x }}'}
");
    assert_eq!(bench.var("got"), 1);
}

#[test]
fn d05_a_list_goes_to_all_and_a_router_to_the_first_that_holds() {
    let both = "start:1 a:1 b:1 Completed";
    #[rustfmt::skip]
    let cases = [
        ("a",                                                            "start:1 a:1 Completed"),
        ("[a, b]",                                                       both),
        ("[{step: a}, {step: b}]",                                       both),
        ("{arcs: [{step: a}, {step: b}]}",                               "start:1 a:1 Completed"),
        ("{arcs: [{step: a, when: '{{ 1 == 2 }}'}, {step: b}]}",         "start:1 b:1 Completed"),
        ("{spec: {mode: exclusive}, arcs: [{step: b}, {step: a}]}",      "start:1 b:1 Completed"),
        ("{spec: {mode: inclusive}, arcs: [{step: a}, {step: b}]}",      both),
    ];
    for (next, expect) in cases {
        let bench = ran(&format!(
            "workflow:
  - {{step: start, tool: {{kind: noop}}, next: {next}}}
  - {{step: a, tool: {{kind: noop}}}}
  - {{step: b, tool: {{kind: noop}}}}
"
        ));
        assert_eq!(bench.summary().replace(":Completed", ""), expect, "{next}");
    }
}

#[test]
fn d06_ids_are_snowflakes_and_travel_as_text() {
    let id = ExecutionId((1 << 53) + 1);
    assert_eq!(json!(id), json!("9007199254740993"), "exact, where a float would not be");
    let read = serde_json::from_value::<ExecutionId>;
    assert_eq!(read(json!("9007199254740993")).unwrap(), id);
    assert!(read(json!(9_007_199_254_740_993_i64)).is_err());
    let (now_ms, later_ms) = (SNOWFLAKE_EPOCH_MS + 5, SNOWFLAKE_EPOCH_MS + 6);
    assert!(snowflake_floor(now_ms) < snowflake_floor(later_ms), "ids are in the order of time");
}

#[test]
fn d07_every_event_of_an_iteration_says_which_loop_which_entry_and_which_index() {
    // One loop in frames, one whose iterations are units.
    for case in ["", "    case: [{when: '{{ n > 5 }}', then: {set: {x: 1}}}]\n"] {
        let bench = ran(&format!(
            "workflow:
  - step: start
    loop: {{in: [7, 8], iterator: n}}
    tool: {{kind: noop}}
{case}"
        ));
        let key = bench.loops().remove(0);
        let AggregateKey::Loop { event_id, .. } = &key else { panic!("a loop was expected") };
        let mut exits = Vec::new();
        for event in bench.events(&key) {
            assert_eq!(event.loop_name.as_deref(), Some("start"), "{event:?}");
            assert_eq!(event.loop_id, Some(*event_id), "{event:?}");
            let is_of_whole = event.event_type.starts_with("iterator_");
            assert_eq!(event.current_index.is_none(), is_of_whole, "{event:?}");
            if event.event_type == "step.exit" {
                exits.push(event.current_index);
            }
        }
        assert_eq!(exits, [Some(0), Some(1)], "{case}");
    }
}

#[test]
fn d08_events_have_the_dotted_names_and_only_loops_add_those_of_the_first_version() {
    let bench = ran("workflow:
  - {step: start, tool: {kind: noop}, next: each}
  - {step: each, loop: {in: [1], iterator: n}, tool: {kind: noop}}
");
    let names: BTreeSet<&str> =
        bench.logs.keys().flat_map(|key| bench.events(key)).map(|event| event.event_type).collect();
    let (old, dotted): (Vec<&str>, Vec<&str>) =
        names.into_iter().partition(|name| !name.contains('.'));
    assert_eq!(
        old,
        ["iteration_completed", "iteration_started", "iterator_completed", "iterator_started"]
    );
    for name in ["playbook.initialized", "step.enter", "call.done", "step.exit", "loop.done"] {
        assert!(dotted.contains(&name), "{dotted:?}");
    }
}

#[test]
fn d09_rules_and_arcs_may_call_the_exit_of_a_step_done_or_failed() {
    #[rustfmt::skip]
    let cases = [
        ("step.done",   fine as Tool,         "start:1:Completed b:1:Completed Completed"),
        ("step.failed", fine as Tool,         "start:1:Completed Completed"),
        ("step.failed", start_breaks as Tool, "start:1:Failed b:1:Completed Completed"),
        ("step.done",   start_breaks as Tool, "start:1:Failed Failed"),
    ];
    for (name, tool, expect) in cases {
        for way in [
            format!("case: [{{when: \"{{{{ event.name == '{name}' }}}}\", then: {{next: b}}}}]"),
            format!("next: {{arcs: [{{step: b, when: \"{{{{ event.name == '{name}' }}}}\"}}]}}"),
        ] {
            let bench = ran_by(
                &format!(
                    "workflow:
  - step: start
    tool: {{kind: noop}}
    {way}
  - {{step: b, tool: {{kind: noop}}}}
"
                ),
                tool,
            );
            assert_eq!(bench.summary(), expect, "{way}");
        }
    }
}

#[test]
fn d11_rules_on_entry_set_variables_and_fail_skip_or_route_where_they_say_so() {
    #[rustfmt::skip]
    let cases = [
        ("set: {seen: 1}",           1, "start:1:Completed b:1:Completed Completed"),
        ("vars: {seen: 1}",          1, "start:1:Completed b:1:Completed Completed"),
        ("skip: {reason: not now}",  0, "start:0:Completed b:1:Completed Completed"),
        ("fail: {message: no}",      0, "start:0:Failed Failed"),
        ("next: c",                  1, "start:1:Completed c:1:Completed Completed"),
    ];
    for (then, calls, expect) in cases {
        let bench = ran(&format!(
            "workflow:
  - step: start
    tool: {{kind: noop}}
    case:
      - when: \"{{{{ event.name == 'step.enter' }}}}\"
        then: {{{then}}}
    next: b
  - {{step: b, tool: {{kind: noop}}}}
  - {{step: c, tool: {{kind: noop}}}}
"
        ));
        let mut found: Vec<&str> = Vec::new();
        let summary = bench.summary();
        found.extend(summary.split(' '));
        // What was routed to on entry may finish first.
        found.sort_unstable();
        let mut expected: Vec<&str> = expect.split(' ').collect();
        expected.sort_unstable();
        assert_eq!(found, expected, "{then}");
        assert_eq!(bench.ids("start").len(), calls, "{then}");
        if then.contains("seen") {
            assert_eq!(bench.var("seen"), 1, "{then}");
        }
    }
}

#[test]
fn d12_all_actions_of_a_block_run_and_in_one_order_however_they_are_written() {
    let bench = ran("workflow:
  - step: start
    tool: {kind: noop}
    case:
      - when: \"{{ event.name == 'call.done' }}\"
        then:
          next: [{step: b, args: {x: '{{ result.doubled }}'}}]
          result: {doubled: '{{ b2 }}'}
          vars: {b2: '{{ a * 2 }}'}
          set: {a: '{{ 1 + 20 }}'}
  - step: b
    tool: {kind: noop}
    vars: {got: '{{ args.x }}'}
");
    assert_eq!(bench.result("start"), json!({"doubled": 42}));
    assert_eq!(bench.var("got"), 42);
}

#[test]
fn d14_the_first_next_of_a_run_counts_and_what_later_rules_set_still_does() {
    let bench = ran("workflow:
  - step: start
    tool: {kind: noop}
    case:
      - {when: \"{{ event.name == 'call.done' }}\", then: {next: b}}
      - {when: \"{{ event.name == 'step.exit' }}\", then: {next: c, set: {later: 1}}}
    next: d
  - {step: b, tool: {kind: noop}}
  - {step: c, tool: {kind: noop}}
  - {step: d, tool: {kind: noop}}
");
    assert_eq!(bench.summary(), "start:1:Completed b:1:Completed Completed");
    assert_eq!(bench.var("later"), 1);
}

#[test]
fn the_time_in_a_workload_is_that_of_the_start_and_is_kept() {
    let workload = "workload: {at: '{{ now() }}', late: '{{ workload.at }}'}
workflow:
  - {step: start, tool: {kind: noop}, next: b}
  - {step: b, tool: {kind: noop}, vars: {at: '{{ workload.at }}'}}
";
    let bench = ran(workload);
    let at = bench.load(&bench.state().workload)["at"].clone();
    assert!(at.as_str().is_some_and(|at| at.starts_with("1970-01-01T00:16:4")), "{at}");
    assert_eq!(bench.load(&bench.state().workload)["late"], at);
    assert_eq!(bench.var("at"), at, "later steps see the same");
}

#[test]
fn d15_inputs_are_laid_over_the_workload_in_both_forms_and_before_it_is_rendered() {
    let bench = ran_with(
        "workload: {a: {x: 1, y: 1}, b: 1, list: [1, 2], c: '{{ workload.b + 1 }}'}
workflow:
  - {step: start, tool: {kind: noop}, vars: {given: '{{ args.b }}'}}
",
        &json!({"workload": {"a": {"y": 2}, "b": 2, "list": [3]}, "b": 3, "vars": {"v": 9}}),
        fine,
    );
    let workload = bench.load(&bench.state().workload);
    assert_eq!(workload, json!({"a": {"x": 1, "y": 2}, "b": 3, "list": [3], "c": 4}));
    assert_eq!(bench.var("v"), 9, "`vars` of the inputs are variables");
    assert_eq!(bench.var("given"), 3, "inputs are arguments of the first step");
}

#[test]
fn d16_a_variable_has_many_spellings_and_three_names() {
    for set in [
        "{a: '{{ 1 + 1 }}'}",
        "{ctx: {a: '{{ 1 + 1 }}'}}",
        "{vars: {a: '{{ 1 + 1 }}'}}",
        "{ctx.a: '{{ 1 + 1 }}'}",
        "[{name: a, value: '{{ 1 + 1 }}'}]",
    ] {
        let bench = ran(&format!(
            "workflow:
  - step: start
    tool: {{kind: noop}}
    case: [{{when: \"{{{{ event.name == 'call.done' }}}}\", then: {{set: {set}}}}}]
    vars: {{all: '{{{{ [a, ctx.a, vars.a] }}}}'}}
"
        ));
        assert_eq!(bench.var("all"), json!([2, 2, 2]), "{set}");
    }
    let bench = ran("workflow:
  - step: start
    tool: {kind: noop}
    case:
      - when: \"{{ event.name == 'call.done' }}\"
        then:
          set: {flags: {f: '{{ start.n }}'}, deep: {list: ['{{ start.n + 1 }}']}, iter.own: 2, step.mine: 3}
          vars: {all: '{{ [flags.f, deep.list[0], iter.own, own, mine] }}'}
");
    assert_eq!(bench.var("all"), json!([0, 1, 2, 2, 3]), "{:?}", bench.state().failure);
    assert!(!bench.state().vars.contains_key("own"), "`iter.*` and `step.*` end with the run");
}

#[test]
fn d17_args_can_be_named_wherever_the_step_is_rendered() {
    let bench = ran("workflow:
  - {step: start, tool: {kind: noop}, next: [{step: b, args: {list: [1, 2], x: 5}}]}
  - step: b
    loop: {in: '{{ args.list }}', iterator: i}
    tool: {kind: noop}
    case:
      - when: \"{{ event.name == 'loop.done' and args.x == 5 }}\"
        then: {set: {seen: '{{ input.x + x }}'}, next: [{step: c, args: {y: '{{ args.x }}'}}]}
  - {step: c, tool: {kind: noop}, vars: {last: '{{ args.y }}'}}
");
    assert_eq!(bench.summary(), "start:1:Completed b:2:Completed c:1:Completed Completed");
    assert_eq!((bench.var("seen"), bench.var("last")), (json!(10), json!(5)));
}

#[test]
fn d20_an_execution_ends_once_and_only_when_nothing_is_open() {
    let bench = ran_by(
        "workflow:
  - {step: start, tool: {kind: noop}, next: [each, again, quick]}
  - {step: each, loop: {in: [1, 2, 3], iterator: n}, tool: {kind: noop}}
  - step: again
    tool: {kind: noop}
    case: [{when: \"{{ event.name == 'call.error' }}\", then: {retry: {max_attempts: 3, delay: 1}}}]
  - {step: quick, tool: {kind: noop}}
",
        |step, _, attempt| {
            if step == "again" { third_time(step, 0, attempt) } else { Ok(json!(1)) }
        },
    );
    let ends = bench.facts().filter(|fact| matches!(fact, Fact::Finished { .. })).count();
    assert_eq!(ends, 1);
    let last = bench.logs[&MAIN].last().unwrap().facts.last();
    assert!(matches!(last, Some(Fact::Finished { .. })), "{last:?}");
    let state = bench.state();
    assert!(state.runs.is_empty() && state.steps[&"each".into()].runs == 3);
}

#[test]
fn d21_a_step_that_two_branches_reach_runs_once_for_each() {
    let bench = ran("workflow:
  - {step: start, tool: {kind: noop}, next: [a, b]}
  - {step: a, tool: {kind: noop}, next: c}
  - {step: b, tool: {kind: noop}, next: c}
  - {step: c, tool: {kind: noop}}
");
    assert_eq!(bench.summary().replace(":Completed", ""), "start:1 a:1 b:1 c:2 Completed");
}

#[test]
fn d52_only_rules_that_name_the_entry_are_asked_on_entry() {
    for rule in [
        "else: {",
        "when: '{{ workload.yes }}', then: {",
        "when: '{{ workload.yes }}', then: {skip: {}, ",
    ] {
        let bench = ran(&format!(
            "workload: {{yes: true}}
workflow:
  - step: start
    tool: {{kind: noop}}
    case: [{{{rule}set: {{n: '{{{{ (n | default(0)) + 1 }}}}'}}}}}}]
    next: b
  - {{step: b, tool: {{kind: noop}}}}
"
        ));
        assert_eq!(bench.summary(), "start:1:Completed b:1:Completed Completed", "{rule}");
        assert_eq!(bench.ids("start").len(), 1, "{rule}");
        assert_eq!(bench.var("n"), 1, "{rule}: once, on `call.done`");
    }
}
