//! Hostile templates end with a message, in milliseconds, without allocating much.

use super::*;
use crate::limits::*;

/// Counted, not timed: every one of these is refused before it is made.
#[test]
fn hostile_templates_fail() {
    let context = context(&json!({
        "s": "0123456789".repeat(100), "l": (0..1000).collect::<Vec<_>>(), "a": "a",
        "texts": vec!["x".repeat(100); 1000],
    }));
    let doubling = "{% set a = a ~ a %}".repeat(40) + "{{ a }}";
    let adding = "{% set a = a + a %}".repeat(40) + "{{ a }}";
    let nesting = "{% set q = [1] %}".to_owned() + &"{% set q = [q, q] %}".repeat(60);
    let equal = nesting.clone() + "{{ q == [q, q] }}";
    let deep = "{% set q = [1] %}".to_owned() + &"{% set q = [q] %}".repeat(3000) + "{{ q }}";
    let lists = "{% set q = [1] %}".to_owned() + &"{% set q = q + q %}".repeat(40);
    let replacing = "{% set a = s %}".to_owned() + &"{% set a = a | replace('0', s) %}".repeat(9);
    let joining = "{{ range(100000) | join(s) }}";
    let sums = "{% for a in range(100000) %}{{ range(1000000) | sum }}{% endfor %}";
    let searches = "{% for a in range(100000) %}{{ -1 in range(1000000) }}{% endfor %}";
    let blanks = "{% for a in range(100000) %}{{ range(1000000) | join | length }}{% endfor %}";
    let loops =
        "{% for a in range(100000) %}{% for b in range(100000) %}{{ b }}{% endfor %}{% endfor %}";
    let cases: Vec<String> = vec![
        "{{ 'x' * 99999999 }}".into(),
        "{{ 99999999 * 'x' }}".into(),
        "{{ [0] * 99999999 }}".into(),
        "{{ ('x' * 1000000) * 9 }}".into(),
        "{{ [] * 9223372036854775807 + [s * 9223372036854775807] }}".into(),
        "{{ range(1000000000) }}".into(),
        "{{ range(10 ** 9) | list }}".into(),
        "{{ l | map('string') | join(s * 100) }}".into(),
        "{{ s.replace('', s * 100) }}".into(),
        "{{ (s * 5).join(texts * 10) }}".into(),
        "{{ '{:>99999999}'.format(1) }}".into(),
        "{{ 10 ** 1000 }}".into(),
        "{{ 10 ** 30 }}".into(),
        "{% macro m(n) %}{{ m(n + 1) }}{% endmacro %}{{ m(0) }}".into(),
        "{% macro m(n) %}x{{ m(n) }}{{ m(n) }}{% endmacro %}{{ m(0) }}".into(),
        "{% for x in l recursive %}{{ loop(l) }}{% endfor %}".into(),
        "{% for a in range(90000) %}{% set q = range(90000) %}{% endfor %}".into(),
        "{% for a in l %}{% for b in l %}{{ texts == texts + [] }}{% endfor %}{% endfor %}".into(),
        "{% for a in range(90000) %}{{ l | sort | first }}{% endfor %}".into(),
        "{% for a in range(90000) %}{{ l | unique | list | length }}{% endfor %}".into(),
        "{% for a in range(90000) %}{{ s * 10 }}{% endfor %}".into(),
        "{% set x %}{% for a in range(90000) %}{{ s }}{% endfor %}{% endset %}".into(),
        format!("{{% macro m() %}}{}{{% endmacro %}}{{{{ m() }}}}", loops),
        joining.into(),
        doubling,
        adding,
        nesting,
        equal,
        deep,
        lists,
        replacing,
        loops.into(),
        sums.into(),
        searches.into(),
        blanks.into(),
        "{% for a in range(90000) %}{{ texts[:] | length }}{% endfor %}".into(),
        "{{ range(-9223372036854775807, 9223372036854775807) }}".into(),
    ];
    for text in cases {
        let message = failed(evaluate(&text, &context));
        assert!(!message.is_empty() && message.len() < 600, "{message}");
    }
}

#[test]
fn deep_and_long_sources_are_refused() {
    let deep = |open: &str, close: &str, n: usize| {
        format!("{{{{ {}1{} }}}}", open.repeat(n), close.repeat(n))
    };
    let cases = vec![
        deep("(", ")", 5_000),
        deep("[", "]", 5_000),
        deep("{'a': ", "}", 5_000),
        deep("not ", "", 5_000),
        deep("-", "", 5_000),
        deep("1 + ", "", 10_000),
        deep("1 if 1 else ", "", 3_000),
        deep("", " | int", 5_000),
        deep("a", ".b", 10_000),
        deep("a", "[0]", 10_000),
        deep("f(", ")", 5_000),
        deep("1 ** ", "", 5_000),
        deep("1 < ", "", 5_000),
        deep("1 and ", "", 5_000),
        "{% if 1 %}".repeat(5_000),
        "{% if 1 %}".to_owned() + &"{% elif 1 %}".repeat(4_000) + "{% endif %}",
        "{% for x in y %}".repeat(3_000),
        "{% macro m() %}".repeat(500) + &"{% endmacro %}".repeat(500),
        "{{ ".repeat(20_000),
        format!("{{{{ 1 }}}}{}", "x".repeat(TEMPLATE_SOURCE_BYTES_MAX)),
    ];
    for text in cases {
        assert!(check(&text).is_err(), "{}", &text[..40]);
        failed(evaluate(&text, &context(&json!({}))));
    }
}

#[test]
fn large_but_honest_templates_pass() {
    let fields: Vec<String> = (0..300).map(|i| format!("'k{i}': a + {i}")).collect();
    let list = format!("{{{{ {{ {} }} | length }}}}", fields.join(", "));
    let text = "{{ a }} and {{ b.c | default('x') }}; ".repeat(500);
    let sum = format!("{{{{ {} }}}}", vec!["a"; TEMPLATE_CHAIN_MAX].join(" + "));
    let or = format!("{{{{ {} }}}}", vec!["a == 2"; TEMPLATE_CHAIN_MAX / 2].join(" or "));
    let nested = format!("{{{{ {}a{} }}}}", "[".repeat(30), "]".repeat(30));
    let elif = "{% if a == 0 %}".to_owned() + &"{% elif a == 2 %}".repeat(100) + "{% endif %}";
    for text in [list, text, sum, or, nested, elif] {
        let context = context(&json!({"a": 1}));
        assert!(evaluate(&text, &context).is_ok(), "{:?}", evaluate(&text, &context));
    }
    let items: Vec<Value> = (0..50_000).map(|i| json!({"id": i, "name": "row"})).collect();
    let big = context(&json!({ "rows": items }));
    assert_eq!(evaluate("{{ rows | length }}", &big), Ok(json!(50_000)));
    assert_eq!(evaluate("{{ rows | map(attribute='id') | sum }}", &big), Ok(json!(1_249_975_000)));
    assert!(evaluate("{{ rows }}", &big).is_ok());
    assert_eq!(
        evaluate("{{ rows[-1].id }} {{ (rows | last).id }}", &big),
        Ok(json!("49999 49999"))
    );
    assert_eq!(evaluate("{{ rows[10:12] | length }}", &big), Ok(json!(2)));
}

#[test]
fn a_context_nested_too_deeply_is_an_error_and_not_a_crash() {
    let mut deep = json!(1);
    for _ in 0..TEMPLATE_VALUE_DEPTH_MAX + 10 {
        deep = json!([deep]);
    }
    let context = context(&json!({ "x": deep }));
    assert!(failed(evaluate("{{ x }}", &context)).contains("nested"));
    assert!(failed(evaluate("a {{ x | tojson }}", &context)).contains("nested"));
}

#[test]
fn a_loop_of_a_million_can_be_written_down() {
    let context = context(&json!({"n": TEMPLATE_RANGE_MAX, "big": vec!["x".repeat(99); 100_000]}));
    for text in ["{{ range(n) }}", "{{ range(n) | list }}", "{{ range(1, n + 1) }}"] {
        let Ok(Value::Array(items)) = evaluate(text, &context) else { panic!("{text}") };
        assert_eq!(items.len(), TEMPLATE_RANGE_MAX, "{text}");
    }
    assert!(failed(evaluate("{{ range(n + 1) }}", &context)).contains("more than 1000000"));
    assert_eq!(evaluate("{{ range(n)[-1] }} {{ range(3)[1] }}", &context), Ok(json!("999999 1")));
    // Nine megabytes that were given may be handed on; twice as many may not be made of them.
    assert!(evaluate("{{ big }}", &context).is_ok());
    assert!(failed(evaluate("{{ [big, big] }}", &context)).contains("more than"));
    assert!(failed(evaluate("a {{ big }}", &context)).contains("more than"));
}

#[test]
fn text_that_grows_too_much_when_it_is_guarded_is_refused() {
    let grows = format!("{{{{ [{}] }}}}", format!("{}a, ", "-".repeat(20)).repeat(2_600));
    assert!(grows.len() < TEMPLATE_SOURCE_BYTES_MAX);
    assert!(check(&grows).unwrap_err().message.contains("too complex"));
}

#[test]
fn the_cache_of_compiled_templates_is_bounded() {
    let context = context(&json!({"a": 1}));
    for index in 0..TEMPLATE_CACHE_ENTRIES_MAX + 10 {
        assert_eq!(condition(&format!("a + {index} > {index}"), &context), Ok(true));
    }
}
