//! Every accepted spelling, and what it means.

use super::*;
use crate::playbook::{CaseMode, Loop, LoopMode, NextMode, OnError, Target, When};
use serde_json::{Value, json};

fn start(lines: &str) -> Step {
    let mut playbook = valid(&with_start(lines));
    playbook.steps.remove(0)
}

fn repeat(spelling: &str) -> Loop {
    start(&format!("  loop: {spelling}\n  next: b\n")).repeat.unwrap()
}

fn names(targets: &[Target]) -> Vec<&str> {
    targets.iter().map(|target| target.step.as_str()).collect()
}

/// The actions of one rule, in short.
fn actions(then: &str) -> String {
    let step = start(&format!("  case:\n  - when: x\n    then: {then}\n  next: b\n"));
    let short = |action: &Action| match action {
        Action::Set(value) => format!("set {value}"),
        Action::Vars(value) => format!("vars {value}"),
        Action::Collect(value) => format!("collect {:?}", value.from),
        Action::Result(value) => format!("result {value}"),
        Action::Sink(value) => format!("sink {value}"),
        Action::Task(task) => format!("task {} {}", task.label, task.tool.kind),
        Action::Call(value) => format!("call {value}"),
        Action::Retry(value) => format!("retry {value}"),
        Action::Next(targets) => format!("next {}", names(targets).join(" ")),
        Action::Fail(value) => format!("fail {value}"),
        Action::Skip(value) => format!("skip {value}"),
    };
    step.rules[0].actions.iter().map(short).collect::<Vec<_>>().join("; ")
}

#[test]
fn the_head_of_a_playbook_is_read() {
    let text = "apiVersion: noetl.io/v10\nkind: Playbook\nmetadata: {name: p, path: a/b, x: [1]}\n\
                workload: {n: 1, t: \"{{ n }}\"}\nkeychain: [{name: k, kind: bearer, token: t}]\n\
                workbook: [{name: w, args: {a: 1}, tool: {kind: Python, args: {b: 2}, code: x}}]\n\
                executor: {profile: auto, spec: {entry_step: b, \
        final_step: c, no_next_is_error: true}}\n\
                workflow: [{step: b, tool: {kind: workbook, task: w}}, \
        {step: c, tool: {kind: noop}}]\n";
    let playbook = valid(text);
    assert_eq!(playbook.reference.path, "a/b");
    assert_eq!(playbook.reference.hash, payload::sha256_hex(text.as_bytes()));
    assert_eq!((playbook.name.as_str(), playbook.dialect), ("p", Dialect::Canonical));
    assert_eq!(playbook.workload["n"], json!(1));
    assert_eq!(playbook.keychain.len(), 1);
    let task = &playbook.workbook[0];
    assert_eq!((task.name.as_str(), task.tool.kind.as_str()), ("w", "python"));
    assert_eq!(Value::Object(task.tool.args.clone()), json!({"a": 1, "b": 2}));
    assert_eq!(playbook.entry.as_str(), "b");
    assert_eq!(playbook.final_step, Some("c".into()));
    assert!(playbook.no_next_is_error);
    let same = valid(&format!("\u{feff}{text}"));
    assert_eq!(same.steps, playbook.steps);
}

#[test]
fn the_dialect_is_found_and_decides_the_entry() {
    #[rustfmt::skip]
    let cases = [
        ("- {step: start, next: end}\n", Dialect::Case),
        ("- {step: start, case: [{else: {next: end}}]}\n", Dialect::Case),
        ("- {step: start, input: {a: 1}, case: [{else: {next: end}}]}\n", Dialect::Case),
        ("- {step: a, next: {arcs: [{step: end}]}}\n", Dialect::Canonical),
        ("- {step: a, next: {spec: {mode: inclusive}, arcs: []}}\n", Dialect::Canonical),
        ("- {step: a, tool: [{kind: noop}]}\n", Dialect::Canonical),
        ("- {step: a, tool: {kind: noop, input: {}}}\n", Dialect::Canonical),
        ("- {step: a, tool: {kind: noop}, set: {ctx.a: 1}}\n", Dialect::Canonical),
        ("- {step: a, tool: {kind: noop, spec: {timeout: 3}}}\n", Dialect::Canonical),
    ];
    for (steps, dialect) in cases {
        let playbook = valid(&with_steps(steps));
        assert_eq!(playbook.dialect, dialect, "{steps}");
        assert_eq!(playbook.entry, playbook.steps[0].name, "{steps}");
    }
}

#[test]
fn a_step_is_read() {
    let step = start(
        "  desc: \"what {{ it }} does\"\n  \
         tool: {kind: HTTP, url: x, timeout: 5, args: {t: 1}, \
        retry: {max_attempts: 2}, sink: {table: t}}\n  \
         args: {s: 1}\n  vars: {v: \"{{ result }}\"}\n  set: {ctx.a: 1}\n  next: b\n  \
         spec: {timeout: 30s, on_error: continue, case_mode: inclusive, join: all, \
        policy: {admit: {rules: []}}}\n",
    );
    let tool = step.tool.unwrap();
    assert_eq!((tool.kind.as_str(), Value::Object(tool.args)), ("http", json!({"t": 1})));
    assert_eq!(Value::Object(tool.config), json!({"url": "x", "timeout": 5}));
    assert_eq!(Value::Object(step.args), json!({"s": 1}));
    assert_eq!(step.desc.as_deref(), Some("what {{ it }} does"));
    assert_eq!((step.timeout, step.on_error), (Some(json!("30s")), OnError::Continue));
    assert_eq!((step.case_mode, step.join_all), (CaseMode::Inclusive, true));
    assert_eq!(step.policy, Some(json!({"admit": {"rules": []}})));
    assert_eq!(step.retry, Some(json!({"max_attempts": 2})));
    assert_eq!(step.sink, Some(json!({"table": "t"})));
    assert_eq!(step.set, Some(json!({"ctx.a": 1})));
    assert_eq!(step.vars["v"], json!("{{ result }}"));
    assert_eq!(step.position, Position { line: 5, column: 3 });
}

#[test]
fn a_tool_timeout_counts_for_kinds_without_one_of_their_own() {
    let timeout =
        |kind: &str| start(&format!("  tool: {{kind: {kind}, timeout: 5}}\n  next: b\n")).timeout;
    assert_eq!(timeout("python"), Some(json!(5)));
    assert_eq!(timeout("http"), None);
}

#[test]
fn a_single_plain_task_is_a_tool() {
    for tool in [
        "[{name: a, kind: noop, x: 1}]",
        "[{kind: noop, x: 1}]",
        "[{a: {kind: noop, x: 1}}]",
        "{kind: noop, x: 1}",
    ] {
        let step = start(&format!("  tool: {tool}\n  next: b\n"));
        assert_eq!(step.tasks, [], "{tool}");
        assert_eq!(Value::Object(step.tool.unwrap().config), json!({"x": 1}), "{tool}");
    }
    for tool in [
        "[{name: a, kind: noop, spec: {policy: {rules: []}}}]",
        "[{name: a, kind: noop, set: {x: 1}}]",
    ] {
        let step = start(&format!("  tool: {tool}\n  next: b\n"));
        assert_eq!((step.tool, step.tasks[0].label.as_str()), (None, "a"), "{tool}");
    }
    let step =
        start("  tool: [{kind: noop}, {b: {kind: noop}}, {name: c, kind: noop}]\n  next: b\n");
    let labels: Vec<_> = step.tasks.iter().map(|task| task.label.as_str()).collect();
    assert_eq!(labels, ["task_0", "b", "c"]);
}

#[test]
fn d02_loops_have_many_spellings_and_one_meaning() {
    let plain = repeat("{in: \"{{ a }}\", iterator: i, mode: parallel, spec: {max_in_flight: 4}}");
    for spelling in [
        "{collection: \"{{ a }}\", element: i, mode: parallel, concurrency: 4}",
        "{in: \"{{ a }}\", iterator: i, mode: async, max_in_flight: 4}",
        "{in: \"{{ a }}\", iterator: i, spec: {mode: parallel, max_in_flight: 4}}",
        "{in: \"{{ a }}\", iterator: i, mode: async, spec: {max_in_flight: 4}, filter: \"{{}}\"}",
        "{in: \"{{ a }}\", iterator: i, mode: async, spec: {max_in_flight: 4}, where: \"{{ }}\"}",
    ] {
        assert_eq!(repeat(spelling), plain, "{spelling}");
    }
    let full = repeat(
        "{in: [1, 2], iterator: i, mode: chunked, chunk: 2, filter: i > 1, order_by: i, \
         limit: \"{{ n }}\", enumerate: true, spec: {policy: {failure: {mode: fail_fast}}}}",
    );
    assert_eq!((full.mode, full.chunk), (LoopMode::Sequential, Some(json!(2))));
    assert_eq!((full.filter.as_deref(), full.order_by.as_deref()), (Some("i > 1"), Some("i")));
    assert_eq!((full.limit, full.source), (Some(json!("{{ n }}")), json!([1, 2])));
    assert!(full.enumerate && full.fail_fast);
    let step = start(
        "  loop: {in: [1], iterator: i}\n  spec: {policy: {failure: {mode: fail_fast}}}\n  \
        next: b\n",
    );
    assert!(step.repeat.unwrap().fail_fast);
}

#[test]
fn then_has_many_shapes() {
    #[rustfmt::skip]
    let cases = [
        ("{next: b}", "next b"),
        ("{next: [b, end]}", "next b end"),
        ("{next: [{step: b}, {step: end, args: {a: 1}}]}", "next b end"),
        ("{next: {step: b}}", "next b"),
        ("{next: {next: [{step: b}]}}", "next b"),
        ("[{next: [b]}]", "next b"),
        ("[{step: b}, {step: end}]", "next b end"),
        ("{step: b, args: {a: 1}}", "next b"),
        ("[{step: b, set: {x: 1}}]", "set {\"x\":1}; next b"),
        ("{}", ""),
        ("[]", ""),
        ("{skip: {reason: r}, fail: {message: m}, next: b, retry: 3, \
        result: 1, vars: {v: 1}, set: {s: 1}}",
         "set {\"s\":1}; vars {\"v\":1}; result 1; retry {\"max_attempts\":3}; \
        next b; fail {\"message\":\"m\"}; skip {\"reason\":\"r\"}"),
        ("{retry: true, collect: {path: d}, save: {table: t}}",
         "collect Path(\"d\"); sink {\"table\":\"t\"}; retry {}"),
        ("{call: {params: {p: 1}}, sink: {tool: {kind: event_log}}}",
         "sink {\"tool\":{\"kind\":\"event_log\"}}; call {\"params\":{\"p\":1}}"),
        ("[{next: b}, {set: {x: 1}}]", "next b; set {\"x\":1}"),
        ("{more: {tool: {kind: noop}}, next: b}", "task more noop; next b"),
        ("{set: [{name: a, value: 1}]}", "set [{\"name\":\"a\",\"value\":1}]"),
        ("{fail: }", "fail null"),
    ];
    for (then, expect) in cases {
        assert_eq!(actions(then), expect, "{then}");
    }
}

#[test]
fn a_rule_may_have_no_guard() {
    for rule in [
        "{else: {next: b}}",
        "{else: [{next: b}]}",
        "{else: true, then: {next: b}}",
        "{else: , then: {next: b}}",
        "{else: {then: {next: b}}}",
        "{then: {next: b}}",
    ] {
        let step = start(&format!("  case:\n  - {rule}\n"));
        assert_eq!(step.rules[0].when, When::Else, "{rule}");
        assert!(matches!(&step.rules[0].actions[..], [Action::Next(_)]), "{rule}");
    }
    let step = start("  case: [{when: true, then: {next: b}}, {when: \"{{ x }}\", then: {}}]\n");
    assert_eq!(step.rules[0].when, When::Condition("true".to_owned()));
    assert_eq!(step.rules[1].when, When::Condition("{{ x }}".to_owned()));
}

#[test]
fn a_rule_on_entry_may_follow_an_else() {
    start(
        "  case:\n  - else: {next: b}\n  - {when: \"event.name == 'step.enter'\", \
        then: {set: {a: 1}}}\n",
    );
    start(
        "  case:\n  - else: {next: b}\n  - {when: x, then: {next: b}}\n  \
        spec: {case_mode: inclusive}\n",
    );
}

#[test]
fn next_has_many_shapes() {
    let next = |shape: &str| start(&format!("  next: {shape}\n  tool: {{kind: noop}}\n")).next;
    for shape in ["b", "[b]", "[{step: b}]", "{step: b}"] {
        let next = valid(&with_start(&format!("  next: {shape}\n"))).steps[0].next.clone();
        assert_eq!((next.mode, names(&next.targets)), (NextMode::Inclusive, vec!["b"]), "{shape}");
    }
    let list = next("[b, {step: end, input: {a: 1}}]");
    assert_eq!((list.mode, names(&list.targets)), (NextMode::Inclusive, vec!["b", "end"]));
    assert_eq!(list.targets[1].args["a"], json!(1));
    let router = next("{arcs: [{step: b, when: x, args: {a: 1}, set: {ctx.x: 1}}, {step: end}]}");
    assert_eq!((router.mode, names(&router.targets)), (NextMode::Exclusive, vec!["b", "end"]));
    let arc = &router.targets[0];
    assert_eq!((arc.when.as_deref(), arc.set.clone()), (Some("x"), Some(json!({"ctx.x": 1}))));
    let all = next("{spec: {mode: inclusive, on_no_match: quiet}, arcs: [{step: b}]}");
    assert_eq!(all.mode, NextMode::Inclusive);
}

#[test]
fn anchors_and_merge_keys_work() {
    let text = format!(
        "{HEAD}workload:\n  base: &base {{a: 1, b: 2}}\n  \
        more: {{<<: *base, b: 3}}\n  same: *base\n\
         workflow: [{{step: start, next: end}}]\n"
    );
    let workload = Value::Object(valid(&text).workload);
    assert_eq!(workload["more"], json!({"b": 3, "a": 1}));
    assert_eq!(workload["same"], workload["base"]);
}

#[test]
fn keys_may_be_numbers_and_tags_may_say_text() {
    let text = format!(
        "{HEAD}workload: {{200: ok, true: x, n: !!str 5, q: \"5\", z: ~}}\n\
         workflow: [{{step: start, next: end}}]\n"
    );
    let workload = Value::Object(valid(&text).workload);
    assert_eq!(workload, json!({"200": "ok", "true": "x", "n": "5", "q": "5", "z": null}));
}
