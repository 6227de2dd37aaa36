//! D13, D46, D54 and trap 10: what is missing.

use super::*;

#[test]
fn trap_10_undefined_makes_a_condition_false() {
    let context = answered();
    for text in [
        "missing",
        "not missing",
        "{{ missing }}",
        "missing == 1",
        "missing != 1",
        "x.y == 1",
        "x.y != true",
        "x.y.z != true",
        "'a' in x.y",
        "'a' not in x.y",
        "x.y > 3",
        "x.y in [1]",
        "s.attr == 1",
        "s.attr != 1",
        "n.attr != 1",
        "n.attr",
        "workload.cities[9] != 'a'",
        "missing is none",
        "missing is not none",
        "missing | length > 0",
        "missing | int == 0",
        "x.y | lower != 'a'",
        "missing + 1 != 5",
        "not (missing == 1)",
        "missing or flag",
        "1 if missing else 2",
        "[missing]",
        "{'a': missing}",
        "'a' ~ missing",
        "missing.method()",
        "x.a.b.c.d",
        "{{ missing }} text",
        "{% if missing %}1{% else %}2{% endif %}",
    ] {
        assert_eq!(condition(text, &context), Ok(false), "{text}");
        let braced = if text.contains("{%") || text.contains("{{") {
            text.to_owned()
        } else {
            format!("{{{{ {text} }}}}")
        };
        assert_eq!(condition(&braced, &context), Ok(false), "{braced}");
    }
}

#[test]
fn d46_defined_and_default_survive_missing_parents() {
    let context = answered();
    for (text, expect) in [
        ("missing is defined", false),
        ("missing is not defined", true),
        ("missing is undefined", true),
        ("missing.a.b is defined", false),
        ("missing.a.b is not defined", true),
        ("x.y.z is defined", false),
        ("x.a.b is defined", true),
        ("x.a.b.c is defined", false),
        ("n is defined", true),
        ("n.a is defined", false),
        ("s.a is defined", false),
        ("missing['a'][0] is defined", false),
        ("x[missing] is defined", false),
        ("missing is defined and missing.x == 1", false),
        ("not (missing is defined) or missing.y == 1", true),
        ("missing is not defined or missing.y", true),
        ("flag or missing", true),
        ("zero and missing", false),
        ("x.a is defined and x.a.b == 1", true),
        ("missing | default(true)", true),
        ("missing.a.b | default(5) == 5", true),
        ("missing.a.b | d('') == ''", true),
        ("(missing.a.b | default([])) | length == 0", true),
        ("(x.y | default({})).z is defined", false),
        ("(missing if flag else 1) is defined", false),
        ("zero | default(7, true) == 7", true),
        ("n | default('a', boolean=true) == 'a'", true),
        ("n | default('a') is none", true),
    ] {
        assert_eq!(condition(text, &context), Ok(expect), "{text}");
    }
}

#[test]
fn d46_a_default_in_text_may_be_nested() {
    let context = answered();
    for (text, expect) in [
        ("{{ a.b.c | default('x') }}", json!("x")),
        ("{{ a.b.c | default }}", json!("")),
        ("{{ a.b.c | default(none) }}", json!(null)),
        ("{{ a.b.c | default([]) }}", json!([])),
        ("{{ x.a.b | default(9) }}", json!(1)),
        ("{{ a.b.c | default(0) | int + 1 }}", json!(1)),
        ("{{ a | default(b) | default(3) }}", json!(3)),
    ] {
        let result = evaluate(text, &context);
        if text.contains("default(b)") {
            // An argument is a use: Jinja evaluates it first.
            assert!(matches!(result, Err(TemplateError::Undefined(_))), "{text}: {result:?}");
        } else {
            assert_eq!(result, Ok(expect), "{text}");
        }
    }
}

#[test]
fn d54_other_errors_are_never_a_silent_false() {
    let context = answered();
    for (text, part) in [
        ("1 / 0 == 1", "division by zero"),
        ("1 // 0", "division by zero"),
        ("1 % 0", "division by zero"),
        ("s > 3", "compare text with a number"),
        ("n < 1", "compare null with a number"),
        ("s + 1", "`+` on text and a number"),
        ("'a' in n", "inside null"),
        ("1 in s", "text contains only text"),
        ("zero | length", "no length"),
        ("workload.cities | round", "round"),
        ("s.no_such_method()", "no_such_method"),
        ("{} < {}", "compare a map with a map"),
        ("'x' * 99999999", "more than"),
    ] {
        let message = failed(condition(text, &context));
        assert!(message.contains(part), "{text}: {message}");
        assert!(message.contains(", in `"), "{text} is not named: {message}");
    }
}

#[test]
fn d13_truth_of_conditions() {
    let context = answered();
    for (text, expect) in [
        ("true", true),
        ("True", true),
        ("yes", true),
        ("on", true),
        ("1", true),
        ("false", false),
        ("no", false),
        ("off", false),
        ("none", false),
        ("null", false),
        ("", false),
        ("  ", false),
        ("0", false),
        ("{{}}", false),
        ("{{ 'False' }}", false),
        ("{{ 'no' }}", false),
        ("{{ 'OFF' }}", false),
        ("{{ '' }}", false),
        ("{{ '0' }}", false),
        ("{{ 'anything' }}", true),
        ("{{ workload.on }}", false),
        ("{{ [] }}", false),
        ("{{ [0] }}", true),
        ("{{ {} }}", false),
        ("{{ 0.0 }}", false),
        ("{{ n }}", false),
        ("{{ workload.count > 2 }}{{ '' }}", true),
        ("{{ workload.count > 3 }}{{ '' }}", false),
        ("{% if flag %}yes{% else %}no{% endif %}", true),
        ("{% if not flag %}yes{% else %}no{% endif %}", false),
        ("event.name == 'call.done'", true),
        ("{{ event.name == 'call.done' and response.status == 200 }}", true),
        ("{{ event.name in ['step.exit', 'call.done'] }}", true),
        ("{{ response.status not in [500, 502] }}", true),
        ("response.data.paging.page < 3", true),
    ] {
        assert_eq!(condition(text, &context), Ok(expect), "{text}");
    }
}

#[test]
fn d46_an_undefined_value_in_text_is_named() {
    let context = answered();
    for (text, parts) in [
        ("{{ workload.citys }}", vec!["`workload` has no `citys`", "did you mean `cities`"]),
        ("{{ worklod.x }}", vec!["`worklod` is undefined", "did you mean `workload`"]),
        ("a {{ qqq }} b", vec!["`qqq` is undefined", "in `qqq`"]),
        ("{{ x.a.q | int }}", vec!["`x.a` has no `q`", "in `x.a.q | int`"]),
        ("{{ n.a }}", vec!["`n` is null and has no `a`"]),
        ("{{ s.a }}", vec!["`s` is text and has no `a`"]),
        ("{{ workload.cities[7] }}", vec!["`workload.cities` is a list and has no item 7"]),
        ("{% for q in missing %}{% endfor %}", vec!["`missing` is undefined"]),
        ("{{ workload.cities | map(attribute='zip') | list }}", vec!["undefined"]),
    ] {
        let message = undefined(evaluate(text, &context));
        for part in parts {
            assert!(message.contains(part), "{text}: {message}");
        }
    }
}

#[test]
fn in_a_value_an_undefined_name_is_false_where_truth_is_asked() {
    let context = answered();
    for (text, expect) in [
        ("{{ 1 if missing else 2 }}", json!(2)),
        ("{{ 1 if not missing else 2 }}", json!(1)),
        ("{{ missing or 'x' }}", json!("x")),
        ("{{ x.y or 'x' }}", json!("x")),
        ("{{ x.y or s.z or n.z or 3 }}", json!(3)),
        ("{{ not missing }}", json!(true)),
        ("{{ not (missing and flag) }}", json!(true)),
        ("{{ missing.b if missing else s }}", json!("text")),
        ("{{ (missing or flag) and s }}", json!("text")),
        ("{{ (missing and missing.b) | default('d') if flag else 1 }}", json!(null)),
        ("{% if missing %}1{% elif x.y %}2{% else %}3{% endif %}", json!("3")),
        ("{% for c in workload.cities if c.big %}{{ c }}{% endfor %}", json!("")),
        ("{{ 1 if missing else 2 }}{{ missing and missing.b or 3 }}", json!("23")),
    ] {
        let result = evaluate(text, &context);
        if expect.is_null() {
            assert!(undefined(result).contains("`missing` is undefined"), "{text}");
        } else {
            assert_eq!(result, Ok(expect), "{text}");
        }
    }
    for (text, part) in [
        ("{{ flag and missing }}", "`missing` is undefined"),
        ("{{ missing and flag }}", "`missing` is undefined"),
        ("{{ 1 if missing.b else 2 }}", "`missing` is undefined"),
        ("{{ 1 if x.y.z else 2 }}", "`x` has no `y`"),
        ("{{ 1 if missing == 1 else 2 }}", "`missing` is undefined"),
        ("{{ 1 if not missing | lower else 2 }}", "`missing` is undefined"),
        ("{{ [missing] or 1 }}", "`missing` is undefined"),
    ] {
        let message = undefined(evaluate(text, &context));
        assert!(message.contains(part), "{text}: {message}");
    }
}

/// `low` has a result, `high` has none, `args` and the workload have keys called like steps.
fn branched() -> Context {
    let mut context = Context::new(Arc::default());
    context.set_result("low", &Payload::Inline(json!({"category": "low", "n": 1})));
    context.push_names(&[("given".to_owned(), Payload::Inline(json!(1)))].into());
    context.push_keys(&Payload::Inline(json!({"items": [1]})));
    for step in ["high", "given", "items", "low"] {
        context.set_pending(step);
    }
    context
}

#[test]
fn a_step_without_a_result_is_false_and_so_are_its_attributes() {
    let context = branched();
    for (text, expect) in [
        ("{{ high.category if high else low.category }}", json!("low")),
        ("{{ high.category or low.category }}", json!("low")),
        ("{{ high.a.b.c[0] or low.n }}", json!(1)),
        ("{{ not high }}", json!(true)),
        ("{{ 'a' if high or low else 'b' }}", json!("a")),
        ("{{ high is defined }}", json!(false)),
        ("{{ high.data is not defined }}", json!(true)),
        ("{{ high | default('d') }}", json!("d")),
        ("{{ high.a.b | default(low.n) }}", json!(1)),
        ("{{ given }} {{ items | length }}", json!("1 1")),
        ("{% if high %}1{% elif high.x %}2{% else %}3{% endif %}", json!("3")),
        ("{% set h = high %}{% if not h.x %}1{% endif %}", json!("1")),
    ] {
        assert_eq!(evaluate(text, &context), Ok(expect), "{text}");
    }
    for (text, expect) in [
        ("high", false),
        ("not high", true),
        ("not high.a.b", true),
        ("high or low", true),
        ("high and low", false),
        ("low and not high", true),
        ("high.ok or low.n == 1", true),
        ("high is defined", false),
        ("high is not defined", true),
        ("(high | default({})) == {}", true),
        ("{% if high %}{% else %}yes{% endif %}", true),
        ("high == 1", false),
        ("high != 1", false),
        ("not (high.n == 1)", false),
        ("high is none", false),
        ("high | length == 0", false),
        ("missing or low", false),
    ] {
        assert_eq!(condition(text, &context), Ok(expect), "{text}");
    }
}

#[test]
fn a_step_without_a_result_cannot_be_used_as_a_value() {
    let context = branched();
    for text in [
        "{{ high }}",
        "a {{ high }}",
        "{{ high and 1 }}",
        "{{ [high] }}",
        "{{ {'a': high} }}",
        "{{ high ~ 'x' }}",
        "{{ high + 1 }}",
        "{{ high == 1 }}",
        "{{ high | tojson }}",
        "{{ high.get('a') }}",
        "{{ range(high) }}",
        "{% for x in high %}{% endfor %}",
    ] {
        let message = undefined(evaluate(text, &context));
        let expect = "`high` is undefined: step `high` has no result yet";
        assert!(message.contains(expect), "{text}: {message}");
    }
    let message = undefined(evaluate("{{ high.rows[0].id }}", &context));
    assert!(message.contains("`high.rows[0].id` is undefined: step `high`"), "{message}");
    let message = undefined(evaluate("{{ hig }}", &context));
    assert!(!message.contains("no result"), "{message}");
}
