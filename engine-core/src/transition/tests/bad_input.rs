//! What an execution makes of a playbook that asks for something odd: one clear end, never a hang.

use std::sync::Arc;

use serde_json::json;

use super::super::{Moment, transition};
use super::{Bench, ID, NOOP, broken, fine, playbook};
use crate::event::{Envelope, Fact, IgnoreReason, Input, Status};
use crate::ids::AggregateKey;
use crate::limits::{ERROR_BYTES_MAX, PLAYBOOK_DEPTH_MAX};
use crate::payload::Payload;
use crate::template::Loaded;

const MAIN: AggregateKey = AggregateKey::Execution(ID);

fn ran(rest: &str, tool: super::Tool) -> Bench {
    let bench = Bench::run(rest, &json!({}), tool);
    bench.prove();
    bench
}

fn failure(bench: &Bench) -> String {
    let failure = bench.state().failure.clone().unwrap();
    assert_eq!(bench.state().status, Status::Failed);
    format!("{}: {}", failure.error.kind, failure.error.message)
}

#[test]
fn a_loop_over_what_is_no_list_has_one_item_or_none_and_notes_why() {
    #[rustfmt::skip]
    let cases = [
        ("abc",          1, Some("one item, not its characters")),
        ("'[1, 2]'",     2, None),
        ("'{\"a\": 1}'", 1, None),
        ("''",           0, None),
        ("null",         0, Some("null")),
        ("5",            1, Some("no list")),
        ("false",        1, Some("no list")),
        ("{a: 1, b: 2}", 1, Some("no list")),
    ];
    for (odd, items, note) in cases {
        let bench = ran(
            &format!(
                "workload: {{odd: {odd}}}
workflow:
  - step: start
    loop: {{in: '{{{{ workload.odd }}}}', iterator: n}}
    {NOOP}
"
            ),
            fine,
        );
        assert_eq!(bench.summary(), format!("start:{items}:Completed Completed"), "{odd}");
        let facts = bench.logs.values().flatten().flat_map(|entry| &entry.facts);
        let noted = facts.filter_map(|fact| match fact {
            Fact::LoopOpened { open } => Some(open.note.clone()),
            _ => None,
        });
        let noted: Vec<Option<String>> = noted.collect();
        let text = noted[0].as_deref().unwrap_or_default();
        assert_eq!(noted[0].is_some(), note.is_some(), "{odd}: {text}");
        assert!(text.contains(note.unwrap_or_default()), "{odd}: {text}");
    }
}

#[test]
fn a_loop_over_what_is_nowhere_defined_fails_and_names_it() {
    let bench = ran(
        &format!(
            "workflow:
  - {{step: start, loop: {{in: '{{{{ workload.itmes }}}}', iterator: n}}, {NOOP}}}
"
        ),
        fine,
    );
    let told = failure(&bench);
    assert!(told.starts_with("TemplateError: ") && told.contains("itmes"), "{told}");
}

#[test]
fn a_delay_that_is_computed_and_negative_is_one_clear_failure() {
    let wait = "tool: {kind: wait, seconds: '{{ 0 - 5 }}'}".to_owned();
    let rule = |then: &str, event: &str| {
        format!(
            "{NOOP}\n    case: [{{when: \"{{{{ event.name == '{event}' }}}}\", then: {{{then}}}}}]"
        )
    };
    #[rustfmt::skip]
    let cases = [
        (wait,                                                                              fine as super::Tool, "seconds"),
        (rule("retry: {max_attempts: 3, initial_delay: '{{ 0 - 5 }}'}", "call.error"),      broken,              "initial_delay"),
        (rule("retry: {max_attempts: 3, delay: '{{ 0 - 5 }}'}", "call.done"),               fine,                "delay"),
        (rule("retry: {max_attempts: '{{ 0 - 5 }}'}", "call.error"),                        broken,              "max_attempts"),
    ];
    for (step, tool, part) in cases {
        let bench = ran(&format!("workflow:\n  - step: start\n    {step}\n"), tool);
        let told = failure(&bench);
        assert!(told.starts_with("ValueError: ") && told.contains(part), "{step}: {told}");
        assert!(told.contains("-5") && bench.commands.len() <= 1, "{step}: {told}");
    }
}

#[test]
fn a_rule_that_never_matches_ends_its_branch_or_fails_it_where_the_playbook_says_so() {
    let workflow = format!(
        "workflow:
  - step: start
    {NOOP}
    case: [{{when: \"{{{{ event.name == 'call.done' and start.n == 99 }}}}\", then: {{next: b}}}}]
  - {{step: b, {NOOP}}}
"
    );
    let bench = ran(&workflow, fine);
    assert_eq!(bench.summary(), "start:1:Completed Completed");
    let strict = format!("executor: {{spec: {{no_next_is_error: true}}}}\n{workflow}");
    let bench = ran(&strict, fine);
    assert_eq!(bench.summary(), "start:1:Completed Failed");
    let told = failure(&bench);
    assert!(told.starts_with("RoutingError: ") && told.contains("`start`"), "{told}");
}

#[test]
fn of_two_rules_that_match_the_first_wins_unless_all_are_meant() {
    let workflow = |mode: &str, first: &str| {
        format!(
            "workflow:
  - step: start
    {NOOP}
    spec: {{case_mode: {mode}}}
    case:
      - {{when: \"{{{{ event.name == 'call.done' }}}}\", then: {{{first}}}}}
      - {{when: \"{{{{ event.name == 'call.done' and 1 == 1 }}}}\", then: {{set: {{two: 1}}, next: c}}}}
  - {{step: b, {NOOP}}}
  - {{step: c, {NOOP}}}
"
        )
    };
    #[rustfmt::skip]
    let cases = [
        ("exclusive", "set: {one: 1}, next: b", "start:1:Completed b:1:Completed Completed", [true, false]),
        ("exclusive", "set: {one: 1}",          "start:1:Completed Completed",               [true, false]),
        ("inclusive", "set: {one: 1}",          "start:1:Completed c:1:Completed Completed", [true, true]),
        ("inclusive", "set: {one: 1}, next: b", "start:1:Completed b:1:Completed Completed", [true, false]),
    ];
    for (mode, first, expect, set) in cases {
        let bench = ran(&workflow(mode, first), fine);
        assert_eq!(bench.summary(), expect, "{mode}: {first}");
        let found = ["one", "two"].map(|name| bench.state().vars.contains_key(name));
        assert_eq!(found, set, "{mode}: {first}");
    }
}

#[test]
fn playbooks_that_call_each_other_in_a_circle_stop_with_one_failure_that_names_the_depth() {
    let calls = |name: &str, other: &str| {
        let step = format!("{{step: start, tool: {{kind: playbook, path: {other}}}}}");
        playbook(name, &format!("workflow:\n  - {step}\n"))
    };
    let mut bench = Bench::begin_with(calls("t", "there"), &json!({}), fine);
    for (name, other) in [("there", "back"), ("back", "there")] {
        bench.others.insert(name.to_owned(), calls(name, other));
    }
    bench.drain();
    bench.prove();
    let told = failure(&bench);
    let depth = format!("more than {PLAYBOOK_DEPTH_MAX} deep");
    assert!(told.contains(&depth), "{told}");
    assert!(told.len() <= ERROR_BYTES_MAX + 100, "{} bytes", told.len());
    let executions = bench.logs.keys().filter(|key| matches!(key, AggregateKey::Execution(_)));
    assert_eq!(executions.count(), 1 + PLAYBOOK_DEPTH_MAX as usize);
}

impl Bench {
    /// Why the execution would not listen to a callback; none if it would.
    fn refuses(&self, token: &str) -> Option<IgnoreReason> {
        let log = &self.logs[&MAIN];
        let last = log.last().unwrap();
        let playbooks = std::collections::BTreeMap::new();
        let moment = Moment {
            playbook: &self.playbook,
            key: &MAIN,
            seq: last.seq + 1,
            at_ms: self.now_ms,
            event_id: last.event_id.0 + 1_000,
            nonce: 0,
            playbooks: &playbooks,
        };
        let data = Payload::Inline(json!("yes"));
        let input = Input::Callback { token: token.to_owned(), data };
        let envelope = Envelope { id: "callback".into(), to: MAIN, input };
        let loaded = Arc::new(Loaded::default());
        let decided = transition(&moment, Some(&last.state), &[envelope], &loaded).unwrap();
        decided.unwrap().ignored.first().map(|(_, reason)| *reason)
    }
}

#[test]
fn a_callback_with_a_wrong_token_a_second_one_and_a_late_one_are_told_why() {
    let mut bench = Bench::begin(
        &format!(
            "workflow:
  - {{step: start, {NOOP}, next: [ask, hold]}}
  - {{step: ask, tool: {{kind: callback}}}}
  - {{step: hold, tool: {{kind: callback}}}}
"
        ),
        &json!({}),
        fine,
    );
    let settle = |bench: &mut Bench| {
        while let Some(envelope) = bench.queue.pop_front() {
            bench.take(envelope);
        }
    };
    settle(&mut bench);
    let runs = &bench.state().runs;
    let tokens = runs.values().filter_map(|run| run.unit.as_ref()?.token.clone());
    let tokens: Vec<String> = tokens.collect();
    assert_eq!(tokens.len(), 2);
    let call = |bench: &mut Bench, id: &str, token: &str| {
        let input =
            Input::Callback { token: token.to_owned(), data: Payload::Inline(json!("yes")) };
        bench.tell(id, MAIN, input);
        settle(bench);
    };
    assert_eq!(bench.refuses("0123456789abcdef0123456789abcdef"), Some(IgnoreReason::Unknown));
    assert_eq!(bench.refuses(""), Some(IgnoreReason::Unknown));
    assert_eq!(bench.refuses(&tokens[0]), None);
    call(&mut bench, "one", &tokens[0]);
    assert_eq!(bench.refuses(&tokens[0]), Some(IgnoreReason::Unknown), "twice");
    call(&mut bench, "two", &tokens[1]);
    assert_eq!(bench.state().status, Status::Completed);
    assert_eq!(bench.refuses(&tokens[1]), Some(IgnoreReason::Terminal), "late");
    bench.prove();
}
