//! Policies of tasks, admission, branches that meet, and tools that wait.

use super::*;
use crate::playbook::{Directive, PolicyRule, TaskPolicy, When};
use serde_json::{Value, json};

fn start(lines: &str) -> Step {
    valid(&with_steps(&format!("- step: start\n{lines}"))).steps.remove(0)
}

/// The policy of the second of three tasks with these rules, in short.
fn policy(rules: &str) -> String {
    let step = start(&format!(
        "  tool:\n  - {{name: first, kind: noop}}\n  - name: second\n    kind: noop\n    \
         spec: {{policy: {{rules: [{rules}]}}}}\n  - {{name: third, kind: noop}}\n"
    ));
    short(&step.tasks[1].policy)
}

fn short(policy: &TaskPolicy) -> String {
    let rule = |PolicyRule { when, then, set, .. }: &PolicyRule| {
        let when = match when {
            When::Condition(text) => text.as_str(),
            When::Else => "else",
        };
        let set = set.as_ref().map(|set| format!(" {set}")).unwrap_or_default();
        match then {
            Directive::Retry(tries) => format!("{when}: retry {tries}{set}"),
            then => format!("{when}: {then:?}{set}").to_lowercase(),
        }
    };
    policy.rules.iter().map(rule).collect::<Vec<_>>().join("; ")
}

#[test]
fn a_policy_has_many_shapes() {
    #[rustfmt::skip]
    let cases = [
        ("{when: x, then: {do: continue}}", "x: continue"),
        ("{when: x, then: {do: break}}, {else: {then: {do: fail}}}", "x: break; else: fail"),
        ("{else: {do: continue}}", "else: continue"),
        ("{else: , then: {do: continue}}", "else: continue"),
        ("{then: {do: fail}}", "else: fail"),
        ("{when: true, then: {do: fail}}", "true: fail"),
        ("{when: x, then: {set: {a: 1}}}", "x: continue {\"a\":1}"),
        ("{when: x, then: {do: continue, set_ctx: {a: 1}, set_iter: {b: 2}}}",
         "x: continue {\"ctx.a\":1,\"iter.b\":2}"),
        ("{when: x, then: {do: continue, set: {iter.a: 1}, set_ctx: {a: 1}}}",
         "x: continue {\"iter.a\":1,\"ctx.a\":1}"),
        ("{when: x, then: {do: continue, set: [{name: a, value: 1}], set_ctx: {b: 2}}}",
         "x: continue {\"a\":1,\"ctx.b\":2}"),
        ("{when: x, then: {do: retry}}", "x: retry {}"),
        ("{when: x, then: {do: retry, attempts: 3, backoff: linear, delay: 1.5}}",
         "x: retry {\"attempts\":3,\"backoff\":\"linear\",\"delay\":1.5}"),
        ("{when: x, then: {do: retry, attempts: \"{{ n }}\", delay: 5s, set: {a: 1}}}",
         "x: retry {\"attempts\":\"{{ n }}\",\"delay\":\"5s\"} {\"a\":1}"),
        ("{when: x, then: {do: jump, to: third}}", "x: jump(2)"),
        ("{when: x, then: {do: jump, to: second}}", "x: jump(1)"),
        ("{when: x, then: {do: jump, to: previous}}", "x: jump(0)"),
        ("{when: x, then: {do: jump, to: \"@previous\"}}", "x: jump(0)"),
        ("{when: x, then: {do: jump, to: prev}}", "x: jump(0)"),
        ("", ""),
    ];
    for (rules, expect) in cases {
        assert_eq!(policy(rules), expect, "{rules}");
    }
}

#[test]
fn tasks_and_single_tools_have_policies() {
    let step = start(
        "  tool:\n  - {name: a, kind: noop, set: {r: \"{{ output }}\"}}\n  \
         - b: {kind: noop, spec: {policy: {on_unmatched: continue}}}\n",
    );
    assert_eq!(step.tool, None);
    assert_eq!(step.tasks[0].set, Some(json!({"r": "{{ output }}"})));
    assert!(step.tasks[1].policy.continues_unmatched && !step.tasks[0].policy.continues_unmatched);

    let rules = "spec: {policy: {rules: [{when: x, then: {do: jump, to: start}}]}}";
    let step = start(&format!("  tool: {{kind: http, url: u, args: {{q: 1}}, {rules}}}\n"));
    let tool = step.tool.unwrap();
    assert_eq!(step.tasks[0].tool, tool, "the tool stays, and is the only task");
    assert_eq!((step.tasks[0].label.as_str(), tool.kind.as_str()), ("start", "http"));
    assert_eq!(short(&step.tasks[0].policy), "x: jump(0)");
    for plain in ["", ", spec: {timeout: 3}", ", spec: {policy: {}}", ", spec: {policy: }"] {
        let step = start(&format!("  tool: {{kind: noop{plain}}}\n"));
        assert_eq!(step.tasks, [], "{plain}");
    }
}

#[test]
fn a_step_may_be_kept_from_running() {
    let step = start(
        "  tool: {kind: noop}\n  spec: {policy: {admit: {mode: exclusive, rules: [\
         {when: \"{{ enabled }}\", then: {allow: true}}, {else: {then: {allow: false}}}]}}}\n",
    );
    let short: Vec<(bool, bool)> =
        step.admit.iter().map(|rule| (rule.when == When::Else, rule.allow)).collect();
    assert_eq!(short, [(false, true), (true, false)]);
    let step = start("  tool: {kind: noop}\n  spec: {policy: {admit: {}}}\n");
    assert_eq!(step.admit, []);
}

#[test]
fn a_policy_that_makes_no_sense_is_refused() {
    #[rustfmt::skip]
    let cases: &[Broken] = &[
        ("{when: x}", "6:60 missing-key", "needs `then`", "do: continue"),
        ("{when: x, then: {}}", "6:70 missing-key", "needs `do`", "continue|retry|jump"),
        ("{when: x, then: {do: again}}", "6:81 wrong-value", "cannot be `again`", "`continue` or"),
        ("{when: x, then: {du: retry}}", "6:77 unknown-key", "`du`", "did you mean `do`?"),
        ("{when: x, do: retry}", "6:70 moved-key", "`do`", "under `then`"),
        ("{when: x, then: {do: retry, attempts: 0}}", "6:98 wrong-value", "cannot be 0", "from 1"),
        ("{when: x, then: {do: retry, delay: -1}}", "6:95 wrong-value", "cannot be -1", "0 or more"),
        ("{when: x, then: {do: retry, backoff: cubic}}", "6:97 wrong-value", "`cubic`", "`linear`"),
        ("{when: x, then: {do: continue, attempts: 3}}", "6:91 ignored-key", "`attempts`", "do: retry"),
        ("{when: x, then: {do: jump}}", "6:70 missing-key", "needs `to`", "`first`, `second`"),
        ("{when: x, then: {do: jump, to: frist}}", "6:91 unknown-task", "no task `frist`", "`first`?"),
        ("{when: x, then: {do: jump, to: elsewhere}}", "6:91 unknown-task", "no task", "`first`, `second`"),
        ("{when: x, then: {do: jump, to: prev}}", "6:91 unknown-task", "the first", "`second`"),
        ("{else: {do: fail}}, {when: x, then: {do: fail}}", "6:80 unreachable-rule", "never reached", "to the end"),
        ("{when: BAD, then: {do: fail}}", "6:67 template-syntax", "compile", ""),
    ];
    for row in cases {
        let task = "  tool: [{name: first, kind: noop, spec: {policy: {rules: [";
        let text = format!("{task}{}]}}}}}}, {{name: second, kind: noop}}]\n", row.0);
        assert_refused(&with_start(&text), *row);
    }
    #[rustfmt::skip]
    let cases: &[Broken] = &[
        ("  tool: {kind: noop, spec: {policy: {rules: {}}}}\n", "6:38 wrong-type", "a list of rules", "output"),
        ("  tool: {kind: noop, spec: {policy: {rules: [], finally: []}}}\n", "6:49 moved-key", "`finally`", "task"),
        ("  tool: {kind: noop, spec: {policy: {on_unmatched: stop}}}\n", "6:52 wrong-value", "`stop`", "`fail`"),
        ("  tool: {kind: noop}\n  spec: {policy: {admitt: {}}}\n", "7:19 unknown-key", "`admitt`", "`admit`?"),
        ("  tool: {kind: noop}\n  spec: {policy: {rules: []}}\n", "7:19 moved-key", "`rules`", "of the tool"),
        ("  tool: {kind: noop}\n  spec: {policy: {emit: {}}}\n", "7:19 ignored-key", "no effect", "drop"),
        ("  tool: {kind: noop}\n  spec: {policy: {admit: {rules: [{when: x, then: {do: fail}}]}}}\n",
         "7:35 missing-key", "needs `allow`", "allow: true"),
        ("  tool: {kind: noop}\n  spec: {policy: {admit: {rules: [{else: {allow: maybe}}]}}}\n",
         "7:50 wrong-type", "true or false", ""),
    ];
    for row in cases {
        assert_refused(&with_start(row.0), *row);
    }
}

#[test]
fn branches_that_meet_wait_for_each_other_in_the_canonical_dialect() {
    let arcs = |targets: &str| {
        let arcs: Vec<String> =
            targets.split_whitespace().map(|to| format!("{{step: {to}}}")).collect();
        format!("next: {{arcs: [{}]}}", arcs.join(", "))
    };
    let joined = |steps: &[(&str, &str)], more: &str| {
        let steps: Vec<String> =
            steps.iter().map(|(name, to)| format!("- {{step: {name}, {}}}\n", arcs(to))).collect();
        let text = with_steps(&format!("{}{more}", steps.concat()));
        let playbook = parsed(&text).playbook.unwrap();
        let joined = playbook.steps.iter().filter(|step| step.join_all);
        joined.map(|step| step.name.to_string()).collect::<Vec<_>>().join(" ")
    };
    #[rustfmt::skip]
    let cases: &[(&[(&str, &str)], &str)] = &[
        (&[("a", "b c"), ("b", "d"), ("c", "d"), ("d", "")], "d"),
        (&[("a", "b"), ("b", "b c"), ("c", "")], ""),
        (&[("a", "b"), ("b", "c"), ("c", "b d"), ("d", "")], ""),
        (&[("a", "b"), ("b", "c"), ("c", "a d"), ("d", "")], ""),
        (&[("a", "b c"), ("b", "c"), ("c", "")], "c"),
        (&[("a", "b b"), ("b", "")], ""),
        (&[("a", "b"), ("b", ""), ("lost", "b")], ""),
        (&[("a", "b c"), ("b", "d"), ("c", "d e"), ("d", "f"), ("e", "f"), ("f", "a")], "d f"),
    ];
    for (steps, expect) in cases {
        assert_eq!(joined(steps, ""), *expect, "{steps:?}");
    }
    let both = [("a", "b c"), ("b", "d"), ("c", "d")];
    let last =
        |join: &str| format!("- {{step: d, tool: {{kind: noop}}, spec: {{join: {join}}}}}\n");
    assert_eq!(joined(&both, &last("any")), "");
    assert_eq!(joined(&both, &last("all")), "d");
    let case = "- {step: start, next: [b, c]}\n- {step: b, next: d}\n- {step: c, next: d}\n\
                - {step: d, tool: {kind: noop}}\n";
    assert!(valid(&with_steps(case)).steps.iter().all(|step| !step.join_all), "the seeds' dialect");
}

#[test]
fn an_execution_has_a_timeout() {
    let text =
        format!("{HEAD}executor: {{spec: {{timeout: 1h}}}}\nworkflow: [{{step: a, next: end}}]\n");
    assert_eq!(valid(&text).timeout, Some(json!("1h")));
}

#[test]
fn tools_that_wait_are_read() {
    #[rustfmt::skip]
    let cases = [
        ("{kind: wait, seconds: 30}", json!({"seconds": 30})),
        ("{kind: wait, seconds: 5m}", json!({"seconds": "5m"})),
        ("{kind: wait, seconds: 0}", json!({"seconds": 0})),
        ("{kind: wait, seconds: \"{{ n }}\"}", json!({"seconds": "{{ n }}"})),
        ("{kind: wait, until: 2030-01-31T09:00:00Z}", json!({"until": "2030-01-31T09:00:00Z"})),
        ("{kind: wait, until: \"2030-01-31\"}", json!({"until": "2030-01-31"})),
        ("{kind: wait, until: 1900000000}", json!({"until": 1_900_000_000})),
        ("{kind: callback}", json!({})),
        ("{kind: callback, timeout: 2h}", json!({"timeout": "2h"})),
    ];
    for (tool, expect) in cases {
        let step = start(&format!("  tool: {tool}\n"));
        assert_eq!(step.timeout, None, "{tool}: how long it waits is no limit of a call");
        assert_eq!(Value::Object(step.tool.unwrap().config), expect, "{tool}");
    }
    #[rustfmt::skip]
    let cases: &[Broken] = &[
        ("{kind: wait}", "6:9 missing-key", "`seconds` or `until`", "seconds: 30"),
        ("{kind: wait, seconds: 1, until: 2}", "6:34 conflict", "say the same", "one of them"),
        ("{kind: wait, seconds: -1}", "6:31 wrong-value", "cannot be -1", "0 or more"),
        ("{kind: wait, seconds: soon}", "6:31 wrong-type", "a time", "30s"),
        ("{kind: wait, seconds: 9000h}", "6:31 limit", "longer than", "a year"),
        ("{kind: wait, until: tomorrow}", "6:29 wrong-type", "a date", "2030-01-31"),
        ("{kind: wait, duration: 5}", "6:22 moved-key", "`duration`", "`seconds`"),
        ("{kind: callback, timeout: 0}", "6:35 wrong-value", "cannot be 0", "more than 0"),
        ("{kind: callback, timout: 5}", "6:26 unknown-key", "`timout`", "`timeout`?"),
    ];
    for row in cases {
        assert_refused(&with_start(&format!("  tool: {}\n", row.0)), *row);
    }
}

#[test]
fn a_retry_that_makes_no_sense_is_refused() {
    #[rustfmt::skip]
    let cases: &[Broken] = &[
        ("{retry_when: \"{{ a }} {{ b }}\"}", "7:23 wrong-value", "a single expression", "one pair of braces"),
        ("{on_error: {max_atempts: 3}}", "7:22 unknown-key", "`max_atempts`", "`max_attempts`?"),
        ("{on_error: 3}", "7:21 wrong-type", "a map", ""),
        ("{on_success: {collect: {path: a}}}", "7:11 missing-key", "needs `while`", "has_more"),
        ("{on_success: {while: x, until: y}}", "7:34 moved-key", "`until`", "opposite"),
        ("{on_success: {while: x, max_attempts: 0}}", "7:48 wrong-value", "cannot be 0", "from 1"),
        ("{on_success: {while: x, interval: -2}}", "7:44 wrong-value", "cannot be -2", "0 or more"),
        ("[{when: x}]", "7:11 missing-key", "needs `then`", "max_attempts"),
        ("[{when: x, then: {delay: -1}}]", "7:35 wrong-value", "cannot be -1", ""),
        ("{retry_on: [timout]}", "7:22 unknown-word", "`timout`", "`timeout`?"),
        ("{backoff: -5}", "7:20 wrong-value", "cannot be -5", ""),
    ];
    for row in cases {
        let text = format!("  tool: {{kind: noop}}\n  retry: {}\n", row.0);
        assert_refused(&with_start(&text), *row);
    }
}
