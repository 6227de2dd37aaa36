//! The decisions about what a playbook's text may say, each by its number in `dsl.md`.

use super::*;
use serde_json::json;

#[test]
fn d01_a_target_that_does_not_exist_is_refused_and_end_need_not_exist() {
    #[rustfmt::skip]
    let cases: &[Broken] = &[
        ("  next: c\n", "6:9 unknown-step", "no step `c`", "did you mean `b`?"),
        ("  next: {arcs: [{step: c}]}\n", "6:24 unknown-step", "no step `c`", ""),
        ("  case: [{when: x, then: {next: c}}]\n", "6:33 unknown-step", "no step `c`", ""),
        ("  case: [{when: x, then: {call: {step: c}}}]\n", "6:40 unknown-step", "no step `c`", ""),
    ];
    for row in cases {
        assert_refused(&with_start(row.0), *row);
    }
    let playbook = valid(&with_steps("- step: start\n  tool: {kind: noop}\n  next: end\n"));
    assert_eq!(playbook.steps.len(), 1);
}

#[test]
fn d03_a_bare_step_among_actions_is_a_target() {
    for then in [
        "{step: b, args: {x: 1}}",
        "[{step: b, args: {x: 1}}]",
        "{next: [{step: b, args: {x: 1}}]}",
    ] {
        let text =
            with_start(&format!("  case: [{{when: x, then: {then}}}]\n  tool: {{kind: noop}}\n"));
        let playbook = valid(&text);
        let [Action::Next(targets)] = &playbook.steps[0].rules[0].actions[..] else {
            panic!("{then}: {:?}", playbook.steps[0].rules)
        };
        assert_eq!((targets[0].step.as_str(), &targets[0].args["x"]), ("b", &json!(1)), "{then}");
    }
}

#[test]
fn d55_what_is_defined_twice_or_not_at_all_is_refused() {
    #[rustfmt::skip]
    let cases: &[Broken] = &[
        ("- step: start\n  next: a\n- step: a\n  next: end\n- step: a\n  next: end\n",
         "9:9 duplicate-step", "already defined in line 7", "rename"),
        ("- step: start\n  tool: {kind: noop}\n  next: end\n  next: end\n",
         "8:3 duplicate-key", "`next` is written twice", "keep one"),
        ("- step: start\n  tool: {kind: noop, args: {a: 1, a: 2}}\n",
         "6:35 duplicate-key", "`a` is written twice", "keep one"),
        ("- step: start\n  tool: {kind: workbook, task: nobody}\n",
         "6:32 unknown-task", "no workbook task `nobody`", "define"),
    ];
    for row in cases {
        assert_refused(&with_steps(row.0), *row);
    }
}
