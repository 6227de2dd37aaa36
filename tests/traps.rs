//! The behaviours that a naive engine gets wrong, each a playbook run by the real program.

use serde_json::{Value, json};
use tests::binary::{Ran, playbook, run_text};

/// Runs a workflow and returns the view; it must have ended with `status`.
fn ended(status: &str, rest: &str, payload: &Value) -> Value {
    let ran: Ran = run_text(&playbook(rest), payload);
    let view = ran.json();
    assert_eq!(view["status"], status, "{view:#}\n{}", ran.stderr);
    view
}

fn completed(rest: &str) -> Value {
    ended("COMPLETED", rest, &json!({}))
}

fn runs(view: &Value, step: &str) -> u64 {
    view["steps"][step]["runs"].as_u64().unwrap_or(0)
}

#[test]
fn trap_01_one_transition_per_step_run() {
    let view = completed(
        r#"
workflow:
  - step: start
    tool: { kind: noop }
    case:
      - when: "{{ event.name in ['step.exit', 'call.done'] }}"
        then: { set: { seen: "{{ event.name }}" }, next: after }
    next: after
  - step: after
    tool: { kind: python, args: { seen: "{{ vars.seen }}" }, code: "result = {'seen': seen}" }
"#,
    );
    assert_eq!(runs(&view, "after"), 1, "{view:#}");
}

#[test]
fn trap_02_completion_is_quiescence() {
    let view = completed(
        r#"
workflow:
  - step: start
    tool: { kind: noop }
    case:
      - when: "{{ event.name == 'call.done' }}"
        then: { next: [slow, quick] }
  - step: slow
    tool: { kind: python, code: "import time; time.sleep(0.2); result = {'slow': True}" }
    next: last
  - step: quick
    tool: { kind: noop }
  - step: last
    tool: { kind: noop }
"#,
    );
    assert_eq!([runs(&view, "slow"), runs(&view, "quick"), runs(&view, "last")], [1, 1, 1]);
}

#[test]
fn trap_03_an_empty_collection_goes_on() {
    for source in ["[]", "\"{{ workload.nothing }}\"", "\"\"", "\"{{ [] }}\""] {
        let view = completed(&format!(
            r#"
workload: {{ nothing: null }}
workflow:
  - step: start
    loop: {{ in: {source}, iterator: item }}
    tool: {{ kind: noop }}
    case:
      - when: "{{{{ event.name == 'loop.done' }}}}"
        then: {{ next: after }}
  - step: after
    tool: {{ kind: noop }}
"#
        ));
        assert_eq!(runs(&view, "after"), 1, "{source}: {view:#}");
        assert_eq!(view["steps"]["start"]["result"]["stats"]["total"], 0, "{source}");
    }
}

#[test]
fn trap_04_each_entry_into_a_step_has_a_loop_of_its_own() {
    let view = completed(
        r#"
workload: { rounds: 3 }
workflow:
  - step: start
    tool: { kind: python, args: { n: "{{ vars.n | default(0) }}" }, code: "result = {'n': int(n) + 1}" }
    vars: { n: "{{ result.n }}" }
    next: work
  - step: work
    loop: { in: "{{ range(vars.n) | list }}", iterator: i }
    tool: { kind: python, args: { i: "{{ i }}", n: "{{ vars.n }}" }, code: "result = [n, i]" }
    next:
      spec: { mode: exclusive }
      arcs:
        - { step: start, when: "{{ vars.n < workload.rounds }}" }
"#,
    );
    assert_eq!(runs(&view, "work"), 1 + 2 + 3, "{view:#}");
    assert_eq!(view["steps"]["work"]["result"]["results"], json!([[3, 0], [3, 1], [3, 2]]));
}

#[test]
fn trap_06_a_failed_iteration_is_counted_and_the_loop_goes_on() {
    let view = completed(
        r#"
workflow:
  - step: start
    loop: { in: [1, 0, 2], iterator: n }
    tool: { kind: python, args: { n: "{{ n }}" }, code: "result = 10 // n" }
    next: after
  - step: after
    tool: { kind: python, args: { all: "{{ start }}" }, code: "result = all" }
"#,
    );
    let aggregate = &view["steps"]["after"]["result"];
    assert_eq!(aggregate["stats"], json!({"total": 3, "success": 2, "failed": 1}));
    assert_eq!([&aggregate["results"][0], &aggregate["results"][2]], [&json!(10), &json!(5)]);
    assert_eq!(aggregate["results"][1]["error"]["type"], "ZeroDivisionError");
}

#[test]
fn trap_06_a_loop_in_which_everything_fails_fails() {
    let view = ended(
        "FAILED",
        r#"
workflow:
  - step: start
    loop: { in: [1, 2], iterator: n }
    tool: { kind: python, code: "raise ValueError('no')" }
    next: after
  - step: after
    tool: { kind: noop }
"#,
        &json!({}),
    );
    assert_eq!(runs(&view, "after"), 0);
    assert!(view["error"].to_string().contains("ValueError"), "{view:#}");
}

#[test]
fn trap_09_a_response_is_reached_at_either_depth() {
    let view = completed(
        r#"
workflow:
  - step: start
    tool:
      kind: python
      code: "result = {'data': {'paging': {'more': True}}, 'id': 7}"
    case:
      - when: "{{ response.paging.more and response.data.paging.more and response.id == 7 }}"
        then: { next: after }
  - step: after
    tool:
      kind: python
      args: { a: "{{ start.result.id }}", b: "{{ start.data.paging.more }}" }
      code: "result = [a, b]"
"#,
    );
    assert_eq!(view["steps"]["after"]["result"], json!([7, true]));
}

#[test]
fn trap_10_undefined_makes_a_condition_false_and_never_its_negation_true() {
    let view = completed(
        r#"
workflow:
  - step: start
    tool: { kind: python, code: "result = {'there': 1}" }
    case:
      - when: "{{ response.missing != true }}"
        then: { next: wrong }
      - when: "{{ response.missing.deeper == 1 }}"
        then: { next: wrong }
      - when: "{{ response.a.b.c is not defined and response.x.y | default('none') == 'none' }}"
        then: { next: right }
  - step: wrong
    tool: { kind: noop }
  - step: right
    tool: { kind: noop }
"#,
    );
    assert_eq!([runs(&view, "wrong"), runs(&view, "right")], [0, 1], "{view:#}");
}

#[test]
fn trap_11_types_survive_templates() {
    let view = completed(
        r#"
workload: { cities: [Oslo, Rome], page: "4" }
workflow:
  - step: start
    tool:
      kind: python
      args:
        list: "{{ workload.cities }}"
        next_page: "{{ (workload.page | int) + 1 }}"
        code7: "{{ '007' }}"
        flag: "{{ 1 == 1 }}"
        nothing: "{{ none }}"
        text: "page {{ workload.page }}"
      code: "result = [list, next_page, code7, flag, nothing, text]"
"#,
    );
    assert_eq!(view["result"], json!([["Oslo", "Rome"], 5, "007", true, null, "page 4"]));
}

#[test]
fn trap_12_int_never_raises_and_tojson_escapes_quotes() {
    let view = completed(
        r#"
workload: { name: "O'Neil" }
workflow:
  - step: start
    tool:
      kind: python
      args:
        a: "{{ 'abc' | int }}"
        b: "{{ none | int }}"
        c: "{{ 'x' | int(7) }}"
        sql: "insert '{{ workload.name | tojson }}'"
      code: "result = [a, b, c, sql]"
"#,
    );
    assert_eq!(view["result"], json!([0, 0, 7, "insert '\"O\\u0027Neil\"'"]));
}

#[test]
fn trap_13_both_forms_of_a_payload_override_the_workload() {
    let rest = r#"
workload: { count: 100, deep: { a: 1, b: 2 }, pg_auth: none }
workflow:
  - step: start
    tool:
      kind: python
      args: { w: "{{ workload }}" }
      code: "result = [w['count'], w['deep'], w['pg_auth'], count]"
"#;
    let payload =
        json!({"workload": {"count": 500, "deep": {"b": 9}}, "pg_auth": "x", "count": 600});
    let view = ended("COMPLETED", rest, &payload);
    assert_eq!(view["result"], json!([600, {"a": 1, "b": 9}, "x", 600]));
    let view = ended(
        "COMPLETED",
        rest.replace(", count]", "]").as_str(),
        &json!({"workload": {"count": 5}}),
    );
    assert_eq!(view["result"], json!([5, {"a": 1, "b": 2}, "none"]));
}

#[test]
fn trap_14_data_is_never_a_template() {
    let view = ended(
        "COMPLETED",
        r#"
workflow:
  - step: start
    tool: { kind: python, args: { given: "{{ workload.given }}" }, code: "result = {'echo': given}" }
    case:
      - when: "{{ event.name == 'step.exit' }}"
        then: { next: [ { step: after, args: { given: "{{ response.echo }}" } } ] }
  - step: after
    tool: { kind: python, args: { given: "{{ args.given }}" }, code: "result = {'echo': given}" }
"#,
        &json!({"given": "{{ 7 * 7 }} {% for %}"}),
    );
    assert_eq!(view["result"]["echo"], "{{ 7 * 7 }} {% for %}");
}

#[test]
fn trap_15_one_failure_matches_whichever_guard_is_there_once() {
    for guard in [
        "event.name == 'call.error'",
        "event.name == 'call.done' and error is defined",
        "event.name == 'step.failed'",
    ] {
        let view = completed(&format!(
            r#"
workflow:
  - step: start
    tool: {{ kind: python, code: "raise RuntimeError('broken')" }}
    case:
      - when: "{{{{ {guard} }}}}"
        then: {{ next: [ {{ step: rescue, args: {{ why: "{{{{ error.message }}}}" }} }} ] }}
    next: onward
  - step: rescue
    tool: {{ kind: python, args: {{ why: "{{{{ args.why }}}}" }}, code: "result = why" }}
  - step: onward
    tool: {{ kind: noop }}
"#
        ));
        assert_eq!([runs(&view, "rescue"), runs(&view, "onward")], [1, 0], "{guard}: {view:#}");
        assert!(view["result"].to_string().contains("broken"), "{guard}: {view:#}");
    }
}

#[test]
fn trap_15_a_failure_that_nothing_handles_never_takes_the_structural_next() {
    let view = ended(
        "FAILED",
        r#"
workflow:
  - step: start
    tool: { kind: python, code: "raise RuntimeError('broken')" }
    case:
      - when: "{{ event.name == 'call.done' and response is defined }}"
        then: { next: onward }
    next: onward
  - step: onward
    tool: { kind: noop }
"#,
        &json!({}),
    );
    assert_eq!(runs(&view, "onward"), 0);
    assert_eq!(view["steps"]["start"]["status"], "FAILED");
}

#[test]
fn trap_16_max_attempts_counts_all_tries_and_the_original_error_stands() {
    let folder = tempfile::tempdir().unwrap();
    let count = folder.path().join("tries");
    let view = ended(
        "FAILED",
        r#"
workload: { file: "" }
workflow:
  - step: start
    tool:
      kind: python
      args: { file: "{{ workload.file }}" }
      code: |
        with open(file, "a") as tries:
            tries.write("x")
        raise ValueError("the original error")
    case:
      - when: "{{ event.name == 'call.error' }}"
        then: { retry: { max_attempts: 3, initial_delay: 0.01 } }
"#,
        &json!({"file": count.to_string_lossy()}),
    );
    assert_eq!(std::fs::read_to_string(count).unwrap(), "xxx");
    assert!(view["error"].to_string().contains("the original error"), "{view:#}");
}

#[test]
fn trap_17_then_and_next_in_every_shape() {
    let shapes = [
        "then: { next: after }",
        "then: { next: [after] }",
        "then: { next: [ { step: after, args: { x: 1 } } ] }",
        "then: [ { step: after } ]",
        "then: [ { next: after } ]",
        "then: [ { set: { a: 1 } }, { next: [ { step: after } ] } ]",
        "then: { next: { next: [ { step: after } ] } }",
    ];
    for shape in shapes {
        let view = completed(&format!(
            r#"
workflow:
  - step: start
    tool: {{ kind: noop }}
    case:
      - when: "{{{{ event.name == 'call.done' }}}}"
        {shape}
  - step: after
    tool: {{ kind: noop }}
    next: end
"#
        ));
        assert_eq!(runs(&view, "after"), 1, "{shape}: {view:#}");
    }
}

#[test]
fn trap_17_result_and_next_in_one_block_both_count_and_a_list_fans_out() {
    let view = completed(
        r#"
workflow:
  - step: start
    tool: { kind: python, code: "result = {'a': 1}" }
    case:
      - when: "{{ event.name == 'call.done' }}"
        then: { next: [left, right], result: { replaced: "{{ response.a + 1 }}" } }
  - step: left
    tool: { kind: python, args: { got: "{{ start.replaced }}" }, code: "result = got" }
  - step: right
    tool: { kind: noop }
"#,
    );
    assert_eq!(view["steps"]["start"]["result"], json!({"replaced": 2}));
    assert_eq!(view["steps"]["left"]["result"], json!(2));
    assert_eq!(runs(&view, "right"), 1);
}

#[test]
fn trap_18_the_python_contract() {
    let cases = [
        ("def main(x, y=2):\n    return [x, y]", json!([1, 2])),
        ("def main(input_data):\n    return input_data['x']", json!(1)),
        ("def main():\n    return 'no arguments'", json!("no arguments")),
        ("async def main(x):\n    return x", json!(1)),
        ("def main(**rest):\n    return sorted(rest)[:2]", json!(["j", "s"])),
        (
            "import math\ndef area(r):\n    return math.floor(math.pi * r)\ndef main(x):\n    return area(x)",
            json!(3),
        ),
        ("result = 1\ndef main():\n    return 2", json!(2)),
        ("result = [s, type(s).__name__, j['k'], input_data['x']]", json!(["5", "str", 1, 1])),
        ("y = x + 1\nreturn {'y': y}", json!({"y": 2})),
        ("if x == 1:\n    return 'early'\nresult = 'late'", json!("early")),
    ];
    for (code, expect) in cases {
        let indented = code.replace('\n', "\n        ");
        let view = completed(&format!(
            r#"
workflow:
  - step: start
    tool:
      kind: python
      args: {{ x: 1, s: "5", j: '{{"k": 1}}' }}
      code: |
        {indented}
"#
        ));
        assert_eq!(view["result"], expect, "{code}");
    }
}

#[test]
fn trap_18_a_returned_error_status_fails_the_step() {
    let view = ended(
        "FAILED",
        r#"
workflow:
  - step: start
    tool: { kind: python, code: "result = {'status': 'error', 'message': 'the quota is spent'}" }
"#,
        &json!({}),
    );
    assert!(view["error"].to_string().contains("the quota is spent"), "{view:#}");
}

#[test]
fn trap_20_names_with_colons_and_dots_do_not_confuse_ids() {
    let view = completed(
        r#"
workflow:
  - step: start
    tool: { kind: noop }
    next: "a:b.c"
  - step: "a:b.c"
    loop: { in: [1, 2, 3], iterator: n }
    tool: { kind: python, args: { n: "{{ n }}" }, code: "result = n" }
    next: a_b.c
  - step: a_b.c
    loop: { in: [4], iterator: n }
    tool: { kind: python, args: { n: "{{ n }}" }, code: "result = n" }
"#,
    );
    assert_eq!(view["steps"]["a:b.c"]["result"]["results"], json!([1, 2, 3]));
    assert_eq!(view["steps"]["a_b.c"]["result"]["results"], json!([4]));
    let id = view["execution_id"].as_str().unwrap();
    assert!(id.parse::<i64>().unwrap() > 1 << 53, "{id} is a Snowflake, and text");
}
