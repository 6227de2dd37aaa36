//! D13, D44, D45, D51: what type a scalar has, and how it prints.

use super::*;

#[test]
fn d44_a_lone_expression_keeps_its_type() {
    let context = context(&json!({
        "workload": {"cities": ["Bern", "Basel"], "n": 3, "f": 1.0, "map": {"b": 1, "a": [null]}},
        "page": "4", "none": null, "yes": true, "text": "[1, 2]",
        "big": 18_446_744_073_709_551_615_u64,
    }));
    let cases = [
        ("{{ workload.cities }}", json!(["Bern", "Basel"])),
        ("  {{ workload.map }}\n", json!({"b": 1, "a": [null]})),
        ("{{ (page | int) + 1 }}", json!(5)),
        ("{{ '007' }}", json!("007")),
        ("{{ page }}", json!("4")),
        ("{{ workload.f }}", json!(1.0)),
        ("{{ workload.n / 2 }}", json!(1.5)),
        ("{{ workload.n // 2 }}", json!(1)),
        ("{{ -workload.n }}", json!(-3)),
        ("{{ yes }}", json!(true)),
        ("{{ not yes }}", json!(false)),
        ("{{ none }}", json!(null)),
        ("{{ big }}", json!(18_446_744_073_709_551_615_u64)),
        ("{{ text }}", json!("[1, 2]")),
        ("{{ workload.map | tojson }}", json!({"b": 1, "a": [null]})),
        ("{{ tojson(workload.cities) }}", json!(["Bern", "Basel"])),
        ("{{ workload.map | tojson | string }}", json!("{\"b\": 1, \"a\": [null]}")),
        ("{{ [workload.n, {'k': yes}] }}", json!([3, {"k": true}])),
        ("{{ workload.n if yes else 0 }}", json!(3)),
        ("{{ workload.n if not yes }}", json!("")),
        ("{{ workload.cities[0] }}", json!("Bern")),
        ("{{ workload.cities[-1] }}", json!("Basel")),
        ("{{ workload.cities[1:] }}", json!(["Basel"])),
        ("{{ workload.map.b }}", json!(1)),
        ("{{ workload['map']['b'] }}", json!(1)),
        ("{{}}", json!("")),
        ("{{  }}", json!("")),
    ];
    for (text, expect) in cases {
        assert_eq!(evaluate(text, &context), Ok(expect), "{text}");
    }
}

#[test]
fn d44_mixed_text_is_coerced_only_where_any_type_will_do() {
    let context =
        context(&json!({"n": 5, "f": 1.5, "t": true, "none": null, "z": "007", "m": "-"}));
    let cases = [
        ("{{ n }}{{ n }}", json!(55)),
        ("{{ m }}{{ n }}", json!(-5)),
        ("{{ n }}.{{ n }}", json!(5.5)),
        ("{{ n }}e{{ n }}", json!(5e5)),
        ("{{ t }}{{ '' }}", json!(true)),
        ("{{ none }}{{ '' }}", json!(null)),
        ("{% if t %}false{% endif %}", json!(false)),
        ("{{ z }}{{ '' }}", json!("007")),
        ("0{{ n }}", json!("05")),
        ("{{ n }}_000", json!("5_000")),
        ("{{ n }}.", json!("5.")),
        ("+{{ n }}", json!("+5")),
        ("{{ n }}{{ '99999999999999999999' }}", json!("599999999999999999999")),
        ("({{ n }},2)", json!("(5,2)")),
        ("n{{ 'an' }}", json!("nan")),
        ("[{{ n }}]", json!("[5]")),
        ("5", json!("5")),
        ("true", json!("true")),
    ];
    for (text, expect) in cases {
        let value = json!({ "k": [text] });
        assert_eq!(render(&value, &context, Coerce::Mixed), Ok(json!({"k": [expect]})), "{text}");
        let Ok(Value::Object(plain)) = render(&value, &context, Coerce::Never) else {
            panic!("{text} is not a map any more");
        };
        assert!(plain["k"][0].is_string(), "{text} must stay text where nothing is coerced");
    }
}

#[test]
fn d44_tojson_stays_text_where_nothing_is_coerced() {
    let context = context(&json!({"q": {"a": "it's"}}));
    let text = json!("{{ q | tojson }}");
    assert_eq!(render(&text, &context, Coerce::Never), Ok(json!("{\"a\": \"it\\u0027s\"}")));
    assert_eq!(render(&text, &context, Coerce::Mixed), Ok(json!({"a": "it's"})));
}

#[test]
fn d45_text_prints_as_python_and_maps_as_json() {
    let context = context(&json!({
        "t": true, "f": false, "n": null, "one": 1.0, "big": 1e16, "small": 1e-7, "i": 12,
        "list": [1, "a", null, true, 1.0], "map": {"k": "it's <b>", "a": {}}, "s": "ü",
    }));
    let cases = [
        ("{{ t }} {{ f }} {{ n }}", "True False None"),
        ("{{ one }} {{ i }}", "1.0 12"),
        ("{{ big }} {{ small }}", "1e+16 1e-07"),
        ("x{{ list }}", "x[1, \"a\", null, true, 1.0]"),
        ("x{{ map }}", "x{\"k\": \"it's <b>\", \"a\": {}}"),
        ("x{{ [t, {'a': s}] }}", "x[true, {\"a\": \"ü\"}]"),
        ("'{{ map | tojson }}'", "'{\"k\": \"it\\u0027s \\u003cb\\u003e\", \"a\": {}}'"),
        ("{{ t | string | lower }}!", "true!"),
        ("{{ 'a' ~ 1 ~ t ~ n }}!", "a1TrueNone!"),
        ("{{ 10 / 2 }}!", "5.0!"),
        ("{{ i if f }}!", "!"),
        ("{% for x in list %}{{ loop.index }}{{ x }};{% endfor %}", "11;2a;3None;4True;51.0;"),
        (
            "{% for k, v in map.items() %}{{ k }}{% if not loop.last %},{% endif %}{% endfor %}",
            "k,a",
        ),
        ("{% set a = i + 1 %}{{ a }}!", "13!"),
        ("{% macro m(a, b=2) %}{{ a }}-{{ b }}{% endmacro %}{{ m(1) }}", "1-2"),
        ("{% if i > 20 %}a{% elif i > 10 %}b{% else %}c{% endif %}", "b"),
        ("{% raw %}{{ x }}{% endraw %}{{ i }}", "{{ x }}12"),
        ("a {# gone #}{{ i }}", "a 12"),
        ("{% filter upper %}a{{ t }}{% endfilter %}", "ATRUE"),
        ("{% with q = i, r = 2 %}{{ q * r }}{% endwith %}", "24"),
        ("{% set x %}a{{ i }}{% endset %}{{ x }}{{ x }}", "a12a12"),
        ("{% for x in [3, 1, 2] if x > 1 %}{{ x }}{% else %}none{% endfor %}", "32"),
        ("{% for x in [] %}{{ x }}{% else %}none{% endfor %}", "none"),
        (
            "{% macro b() %}{{ caller(1) }}{% endmacro %}{% call(q) b() %}{{ q + i }}{% endcall %}",
            "13",
        ),
        (
            "{% for x in [[1, [2]], 3] recursive %}{{ x if x is number else loop(x) }}{% endfor %}",
            "123",
        ),
    ];
    for (text, expect) in cases {
        assert_eq!(evaluate(text, &context), Ok(json!(expect)), "{text}");
    }
}

#[test]
fn d45_booleans_equal_their_spelling() {
    let context = context(&json!({"t": true, "f": false}));
    for (text, expect) in [
        ("t == 'true'", true),
        ("'True' == t", true),
        ("t == 'TRUE'", true),
        ("f == 'False'", true),
        ("f == 'true'", false),
        ("t == 'yes'", false),
        ("t != 'false'", true),
        ("t == 1", true),
        ("'1' == 1", false),
    ] {
        assert_eq!(condition(text, &context), Ok(expect), "{text}");
    }
}

#[test]
fn text_without_braces_is_unchanged() {
    let context = context(&json!({}));
    for text in ["", " a ", "{ x }", "}} a", "{# no #}", "line\n", "{", "$ {x}"] {
        assert_eq!(evaluate(text, &context), Ok(json!(text)));
    }
}

#[test]
fn trap_11_types_survive() {
    let context = context(&json!({"workload": {"cities": ["a"]}, "page": 1, "z": "007"}));
    assert_eq!(evaluate("{{ workload.cities }}", &context), Ok(json!(["a"])));
    assert_eq!(evaluate("{{ (page | int) + 1 }}", &context), Ok(json!(2)));
    assert_eq!(evaluate("{{ z }}", &context), Ok(json!("007")));
}

#[test]
fn d51_a_value_is_never_rendered_again() {
    let hostile = "{{ 7*7 }} {% for x in y %}{% endfor %}";
    let mut value = json!(hostile);
    for _ in 0..3 {
        let context = context(&json!({ "x": value }));
        value = evaluate("{{ x }}", &context).unwrap();
        assert_eq!(value, json!(hostile));
        assert_eq!(evaluate("<{{ x }}>", &context), Ok(json!(format!("<{hostile}>"))));
    }
}

#[test]
fn keys_are_not_rendered_and_other_scalars_are_unchanged() {
    let context = context(&json!({"x": 1}));
    let value = json!({"{{ x }}": ["{{ x }}", 1, null, true, 1.5]});
    let expect = json!({"{{ x }}": [1, 1, null, true, 1.5]});
    assert_eq!(render(&value, &context, Coerce::Never), Ok(expect));
}

#[test]
fn python_arithmetic() {
    let context = context(&json!({"a": 7, "b": -2}));
    for (text, expect) in [
        ("a // b", json!(-4)),
        ("a % b", json!(-1)),
        ("b % a", json!(5)),
        ("b // a", json!(-1)),
        ("b // b", json!(1)),
        ("2 ** 10", json!(1024)),
        ("2 ** -1", json!(0.5)),
        ("7.5 % 2", json!(1.5)),
        ("7.5 // 2", json!(3.0)),
        ("true + true", json!(2)),
        ("1 + 2 * 3 - 4 / 2", json!(5.0)),
        ("(1 + 2) * 3", json!(9)),
        ("10 - 2 - 3", json!(5)),
        ("'ab' * 2", json!("abab")),
        ("[0] * 3 + [1]", json!([0, 0, 0, 1])),
        ("'a' * -1", json!("")),
        ("'hello'[1:3]", json!("el")),
        ("'hello'[::-1]", json!("olleh")),
        ("'hello'[-3:]", json!("llo")),
        ("[1, 2, 3][::2]", json!([1, 3])),
        ("range(10)[2:8:3]", json!([2, 5])),
        ("range(0, 9223372036854775807, 9223372036854775806)", json!([0, i64::MAX - 1])),
        ("range(5, 5)", json!([])),
        ("range(3, 0, -1)", json!([3, 2, 1])),
        ("[1, 2, 3][5:]", json!([])),
        ("'abc'[0:2:-1]", json!("")),
        ("'abc'[::-9223372036854775807]", json!("c")),
        ("1 < 2 < 3", json!(true)),
        ("1 < 3 < 2", json!(false)),
    ] {
        let text = format!("{{{{ {text} }}}}");
        assert_eq!(evaluate(&text, &context), Ok(expect), "{text}");
    }
}
