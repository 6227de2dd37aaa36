//! Calls of tools that are not the step's own, and what they know of their unit.

use engine_core::command::RuleList;
use engine_core::event::ToolFailure;
use engine_core::payload::{List, Part};
use engine_core::state::{Continuation, Unit};

use super::*;

fn map(value: Value) -> Map<String, Value> {
    let Value::Object(map) = value else { panic!("a map") };
    map
}

fn inline(value: Value) -> Payload {
    Payload::Inline(value)
}

fn named(label: &str, tool: PlaybookTool) -> PlaybookTask {
    let policy = engine_core::playbook::TaskPolicy::default();
    PlaybookTask { label: label.to_owned(), tool, set: None, policy }
}

/// A named task of a rule.
fn inlined(label: &str, tool: PlaybookTool) -> Action {
    Action::Task(Box::new(named(label, tool)))
}

fn rule(actions: Vec<Action>) -> Rule {
    Rule { when: When::Else, actions, position: Position::default() }
}

/// The result or the error of the call at one site of a step.
async fn called(world: &Arc<World>, site: CallSite, unit: &Unit, scope: Value) -> Outcome {
    let unit = Some(inline(serde_json::to_value(unit).unwrap()));
    let command = Command { site, unit, scope: inline(scope), ..command("work") };
    let bench = bench(world).with_tool(Arc::new(Puppet("http")));
    only(execute(&bench, &command).await)
}

/// What the tool was given.
fn given(outcome: Outcome) -> (Value, Value) {
    assert_eq!(outcome.error, None);
    let seen = outcome.result.inline().unwrap();
    (seen["config"].clone(), seen["args"].clone())
}

const SAVE: CallSite = CallSite::Save { list: RuleList::Case, rule: 1, action: 0 };

/// A step with a tool in every place.
fn everywhere() -> Step {
    let mut step = step("work", "noop", json!({"broken": "{{ nobody }}"}));
    step.args = map(json!({"who": "step", "unused": "{{ workload.none | default(1) }}"}));
    let own = |n: u32| {
        tool("puppet", json!({"n": n, "name": "n", "output": {"o": 1}}), json!({"own": n}))
    };
    step.tasks = vec![named("first", own(0)), named("second", own(1))];
    step.retries = vec![rule(vec![Action::Fail(json!(null)), inlined("again", own(2))])];
    let sink =
        json!({"tool": {"kind": "puppet", "n": 3, "on": "x"}, "args": {"w": "{{ args.who }}"}});
    step.rules = vec![rule(vec![]), rule(vec![Action::Sink(sink)])];
    step.sink = Some(json!({"tool": "puppet", "n": 4}));
    step
}

#[tokio::test]
async fn a_command_names_the_tool_that_it_calls() {
    let world = world(everywhere());
    let again = CallSite::Named { list: RuleList::Retries, rule: 0, action: 1 };
    let arg = json!({"args": {"via": {"inline": "arc"}}});
    #[rustfmt::skip]
    let cases = [
        (CallSite::Tool, json!({}), json!({"who": "step", "unused": 1, "via": "arc"})),
        (CallSite::Task(1), json!({"n": 1}), json!({"who": "step", "unused": 1, "via": "arc", "own": 1})),
        (again, json!({"n": 2, "name": "n"}), json!({"own": 2})),
        (SAVE, json!({"n": 3, "on": "x"}), json!({"w": "step"})),
        (CallSite::Sink, json!({"n": 4}), json!({})),
    ];
    for (site, config, args) in cases {
        let outcome = called(&world, site, &Unit::default(), arg.clone()).await;
        if site == CallSite::Tool {
            assert_eq!(outcome.error.unwrap().kind, "InputError", "this worker has no `noop`");
            continue;
        }
        assert_eq!(given(outcome), (config, args), "{site:?}");
    }
}

#[tokio::test]
async fn a_place_that_is_not_there_is_an_error() {
    let world = world(everywhere());
    let named = |rule, action| CallSite::Named { list: RuleList::Case, rule, action };
    let mut bare = step("work", "puppet", json!({}));
    bare.sink = None;
    for (site, text) in [
        (CallSite::Task(2), "has no task 2 in this version"),
        (named(1, 0), "no named task in `case[1]`, action 0"),
        (named(7, 0), "no named task in `case[7]`, action 0"),
        (CallSite::Save { list: RuleList::Retries, rule: 0, action: 1 }, "no `sink` in `retry[0]`"),
    ] {
        let error = called(&world, site, &Unit::default(), json!({})).await.error.unwrap();
        assert!(error.message.contains(text), "{site:?}: {}", error.message);
        assert!(error.message.contains("line 12"), "{}", error.message);
    }
    let world = super::world(bare);
    let error = called(&world, CallSite::Sink, &Unit::default(), json!({})).await.error.unwrap();
    assert!(error.message.contains("has no `sink`"), "{}", error.message);
}

#[tokio::test]
async fn the_error_of_a_task_names_it() {
    let mut step = step("work", "noop", json!({}));
    let mut failing = tool("puppet", json!({"do": "fail"}), json!({}));
    failing.position.line = 40;
    step.tasks = vec![named("pay", failing)];
    step.sink = Some(json!({"tool": {"kind": "puppet", "do": "fail"}}));
    let world = world(step);
    for (site, text) in [
        (
            CallSite::Task(0),
            "(step `work`, task `pay`, line 40 of `demo/x`, tool `puppet`, attempt 2)",
        ),
        (CallSite::Sink, "(step `work`, sink, line 12 of `demo/x`, tool `puppet`, attempt 2)"),
    ] {
        let error = called(&world, site, &Unit::default(), json!({})).await.error.unwrap();
        assert!(error.message.ends_with(text), "{}", error.message);
    }
}

#[tokio::test]
async fn a_timeout_of_a_tool_stays_and_its_policy_goes() {
    let spec = json!({"timeout": {"read": 3}, "policy": {"rules": [{"when": "{{ output.x.y }}"}]}});
    let mut step = step("work", "puppet", json!({"spec": spec, "set": {"a": "{{ output }}"}}));
    step.tasks = vec![named("t", step.tool.clone().unwrap())];
    let world = world(step);
    for site in [CallSite::Tool, CallSite::Task(0)] {
        let (config, _) = given(called(&world, site, &Unit::default(), json!({})).await);
        assert_eq!(config, json!({"spec": {"timeout": {"read": 3}}}), "{site:?}");
    }
}

/// After the second page of a tool, with a bit of everything.
fn paged() -> Unit {
    let response = json!({"status_code": 200, "data": {"items": [1, 2], "paging": {"more": true}}});
    let then = Continuation {
        event: "call.done".to_owned(),
        alias: None,
        response: inline(response),
        error: None,
        attempt: 3,
        handled: false,
        fired: BTreeSet::default(),
        list: RuleList::Case,
        rule: 1,
        action: 0,
    };
    Unit {
        page: 2,
        vars: [("seen".to_owned(), inline(json!(5))), ("who".to_owned(), inline(json!("unit")))]
            .into(),
        results: [("fetch".to_owned(), inline(json!({"id": 7})))].into(),
        prev: Some(inline(json!({"data": {"k": "v{{ 7*7 }}"}}))),
        then: Some(then),
        ..Unit::default()
    }
}

const TEXTS: [(&str, &str); 22] = [
    ("iter", "{{ iter.seen }}"),
    ("variable", "{{ seen + 1 }}"),
    ("args win", "{{ who }}"),
    ("iter wins", "{{ iter.who }}"),
    ("result of a task", "{{ fetch.id }} {{ fetch.data.id }}"),
    ("all results", "{{ results.fetch.id }} {{ results | length }}"),
    ("before", "{{ _prev.data.k }}{{ _prev.k }}"),
    ("task", "{{ _task | default('none') }} {{ _attempt }} {{ attempt }}"),
    (
        "response",
        "{{ response.paging.more }} {{ this.data.items[0] }} {{ result.items }} {{ output.status_code }}",
    ),
    ("status", "{{ status_code }}"),
    ("event", "{{ event.name }} {{ event.step }}"),
    ("page", "{{ page.number }} {{ page.data }} {{ _page }}"),
    ("retry", "{{ _retry.index }} {{ _retry.count }}"),
    ("body", "{{ data.paging.more }}"),
    ("no error", "{{ error is defined }}"),
    ("loop variables", "{{ vars.found }} {{ ctx.found }} {{ found }} {{ kept }}"),
    ("never rendered again", "{{ _prev.data }}"),
    ("not run", "{{ 'yes' if work else 'no' }}"),
    ("not run, alone", "{{ work.rows | default([]) }}"),
    ("collected", "{{ loop_results | length }} {{ loop_results[1] }}"),
    ("elsewhere", "{{ big[0] }}"),
    ("unused", "-"),
];

#[tokio::test]
async fn a_call_knows_what_its_unit_has_done() {
    let mut step = step("work", "noop", json!({}));
    let config: Map<String, Value> =
        TEXTS.iter().map(|(key, text)| ((*key).to_owned(), json!(text))).collect();
    let mut sink = config.clone();
    sink.insert("tool".to_owned(), json!("puppet"));
    sink.insert("args".to_owned(), json!({"who": "own"}));
    step.rules = vec![rule(vec![]), rule(vec![Action::Sink(Value::Object(sink))])];
    let world = world(step);
    let big = store(&world, &json!([9])).await;
    let elsewhere = store(&world, &json!({"found": {"inline": "new"}, "big": {"ref": big}})).await;
    let list =
        List { parts: vec![Part::Item(inline(json!(1))), Part::Items(inline(json!([2, 3])))] };
    let scope = Scope {
        vars: [("found", "old"), ("kept", "k")]
            .map(|(k, v)| (k.to_owned(), inline(json!(v))))
            .into(),
        args: [("loop_results".to_owned(), Payload::List(list))].into(),
        ..Scope::default()
    };
    let command = Command {
        site: SAVE,
        unit: Some(inline(serde_json::to_value(paged()).unwrap())),
        vars: Some(Payload::Ref(elsewhere)),
        scope: inline(json!(scope)),
        ..command("work")
    };
    let (seen, args) = given(only(execute(&bench(&world), &command).await));
    assert_eq!(args, json!({"who": "own"}));
    for (key, expect) in [
        ("iter", json!(5)),
        ("variable", json!(6)),
        ("args win", json!("own")),
        ("iter wins", json!("unit")),
        ("result of a task", json!("7 7")),
        ("all results", json!("7 1")),
        ("before", json!("v{{ 7*7 }}v{{ 7*7 }}")),
        ("task", json!("none 2 3")),
        ("response", json!("True 1 [1, 2] 200")),
        ("status", json!(200)),
        ("event", json!("call.done work")),
        ("page", json!("2 [1, 2] 2")),
        ("retry", json!("2 2")),
        ("body", json!(true)),
        ("no error", json!(false)),
        ("loop variables", json!("new new new k")),
        ("never rendered again", json!({"k": "v{{ 7*7 }}"})),
        ("not run", json!("no")),
        ("not run, alone", json!([])),
        ("collected", json!("3 2")),
        ("elsewhere", json!(9)),
    ] {
        assert_eq!(seen[key], expect, "{key}");
    }
}

#[tokio::test]
async fn a_failure_is_what_a_sink_after_it_sees() {
    let mut unit = paged();
    let then = unit.then.as_mut().unwrap();
    then.event = "call.error".to_owned();
    then.response = inline(Value::Null);
    then.error = Some(ToolFailure {
        kind: "HTTPError".to_owned(),
        status: Some(503),
        ..ToolFailure::default()
    });
    let mut step = step("work", "noop", json!({}));
    let text = "{{ error.type }} {{ error.status }} {{ status_code }} {{ event.name }} {{ response is defined }}";
    step.sink = Some(json!({"tool": "puppet", "text of it": text}));
    let world = world(step);
    let (seen, _) = given(called(&world, CallSite::Sink, &unit, json!({})).await);
    assert_eq!(seen["text of it"], json!("HTTPError 503 503 call.error False"));
}

#[tokio::test]
async fn a_sink_saves_the_result_of_its_step() {
    let result = json!({"id": 1, "text": "{{ 7*7 }}"});
    let unit = Unit { prev: Some(inline(result.clone())), ..Unit::default() };
    for (sink, config, args) in [
        (
            json!({"tool": {"kind": "http", "url": "{{ response.id }}"}}),
            json!({"url": 1, "method": "POST", "json": result}),
            json!({}),
        ),
        (
            json!({"tool": {"kind": "http", "data": {"i": "{{ this.id }}"}}}),
            json!({"data": {"i": 1}, "method": "POST"}),
            json!({}),
        ),
        (
            json!({"tool": {"kind": "puppet"}, "args": {"i": "{{ result.id }}"}}),
            json!({}),
            json!({"i": 1}),
        ),
    ] {
        let mut step = step("work", "noop", json!({}));
        step.sink = Some(sink.clone());
        let outcome = called(&world(step), CallSite::Sink, &unit, json!({})).await;
        assert_eq!(given(outcome), (config, args), "{sink}");
    }
}

#[tokio::test]
async fn code_has_the_names_of_its_unit() {
    let mut step = looping(step("work", "noop", json!({})));
    let code = "iter results _prev response _page page seen work found";
    step.tasks = vec![
        named("first", tool("noop", json!({}), json!({}))),
        named("code", tool("python", json!({"do": "context", "code": code}), json!({}))),
    ];
    let world = world(step);
    let mut unit = paged();
    unit.then = None;
    let mut command = frame(&world, 3, 1).await;
    command.site = CallSite::Task(1);
    command.unit = Some(inline(serde_json::to_value(unit).unwrap()));
    command.vars = Some(inline(json!({"found": {"inline": "new"}})));
    let outcome = only(execute(&bench(&world), &command).await);
    let seen = outcome.result.inline().unwrap();
    assert_eq!(seen["iter"], json!({"item": 3, "index": 3, "seen": 5, "who": "unit"}));
    assert_eq!(seen["results"], json!({"fetch": {"id": 7}}));
    assert_eq!((&seen["_prev"]["data"]["k"], &seen["seen"]), (&json!("v{{ 7*7 }}"), &json!(5)));
    assert_eq!((&seen["_page"], &seen["found"]), (&json!(2), &json!("new")));
    assert_eq!((seen.get("response"), seen.get("work")), (None, None));
}

#[tokio::test]
async fn a_named_task_may_be_of_the_workbook() {
    let task = WorkbookTask {
        name: "t".to_owned(),
        tool: tool("puppet", json!({"n": 1, "who": "{{ b }}"}), json!({"a": 1, "b": 1})),
    };
    let mut step = step("work", "noop", json!({}));
    let call =
        tool("workbook", json!({"task": "t", "with": {"b": "{{ response.id }}"}}), json!({}));
    step.rules = vec![rule(vec![inlined("notify", call)])];
    let world = world_with(step, vec![task]);
    let mut unit = paged();
    unit.then.as_mut().unwrap().response = inline(json!({"id": 2}));
    let site = CallSite::Named { list: RuleList::Case, rule: 0, action: 0 };
    let outcome = called(&world, site, &unit, json!({})).await;
    assert_eq!(given(outcome), (json!({"n": 1, "who": 2}), json!({"a": 1, "b": 2})));
}

#[tokio::test]
async fn what_does_not_decode_is_an_error_of_the_store() {
    let world = world(step("work", "puppet", json!({})));
    for (unit, vars, text) in [
        (Some(json!(1)), None, "the unit of the command cannot be decoded"),
        (None, Some(json!({"a": 1})), "the variables of the command cannot be decoded"),
    ] {
        let command = Command { unit: unit.map(inline), vars: vars.map(inline), ..command("work") };
        let error = only(execute(&bench(&world), &command).await).error.unwrap();
        assert_eq!(error.kind, "StorageError");
        assert!(error.message.contains(text), "{}", error.message);
    }
}
