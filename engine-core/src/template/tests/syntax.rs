//! What is rejected at registration, where, and with what advice.

use super::*;

fn names(text: &str) -> Vec<String> {
    check(text).unwrap().into_iter().collect()
}

#[test]
fn the_names_that_a_template_uses() {
    for (text, expect) in [
        ("plain", vec![]),
        ("{{ a.b }} {{ c['d'] | default(e) }}", vec!["a", "c", "e"]),
        ("{{ a[b].c(d) }}", vec!["a", "b", "d"]),
        ("{% for x in xs %}{{ x.y }}{{ loop.index }}{{ z }}{% endfor %}", vec!["xs", "z"]),
        ("{% set q = a %}{{ q }}", vec!["a"]),
        ("{% macro m(p, q=d) %}{{ p }}{{ r }}{% endmacro %}{{ m(s) }}", vec!["d", "r", "s"]),
        ("{{ range(n) | map('upper') }}", vec!["n"]),
        (
            "{{ {'a': b} }}{{ [c] }}{{ not d }}{{ e if f else g }}",
            vec!["b", "c", "d", "e", "f", "g"],
        ),
        ("{{ now() }}", vec![]),
        ("{{}}", vec![]),
    ] {
        assert_eq!(names(text), expect, "{text}");
    }
    for (text, expect) in [
        ("a.b == 1 and c", vec!["a", "c"]),
        ("{{ a }}", vec!["a"]),
        ("true", vec![]),
        ("", vec![]),
        ("pages", vec!["pages"]),
    ] {
        let found: Vec<String> = check_expression(text).unwrap().into_iter().collect();
        assert_eq!(found, expect, "{text}");
    }
}

#[test]
fn an_error_has_its_place_and_advice() {
    for (text, line, column, parts) in [
        ("{{ a | tojsn }}", 1, 8, vec!["unknown filter `tojsn`", "did you mean `tojson`", "known"]),
        ("x\n  {{ a | lowr }}", 2, 10, vec!["did you mean `lower`"]),
        ("{{ a is definde }}", 1, 9, vec!["unknown test `definde`", "did you mean `defined`"]),
        ("{{ nwo() }}", 1, 4, vec!["unknown function `nwo`", "did you mean `now`"]),
        ("{{ namespace() }}", 1, 4, vec!["unknown function `namespace`"]),
        ("{{ a | map('uper') | list }}", 1, 12, vec!["did you mean `upper`"]),
        ("{% include 'x' %}", 1, 4, vec!["`{% include %}` is not available"]),
        ("{% extends 'x' %}", 1, 4, vec!["not available"]),
        ("{{ __strict }}", 1, 4, vec!["cannot start with `__`"]),
        ("{{ a | __strict }}", 1, 8, vec!["unknown filter"]),
        ("é {{ a + }}", 1, 10, vec!["unexpected"]),
        ("{{ a", 1, 4, vec!["unexpected end"]),
        ("{% if a %}", 1, 9, vec!["unexpected end"]),
        ("{{.Names}}", 1, 3, vec!["unexpected"]),
        ("{{ (1)(2) }}", 1, 4, vec!["can be called"]),
    ] {
        let error = check(text).unwrap_err();
        for part in parts {
            assert!(error.message.contains(part), "{text}: {error:?}");
        }
        assert_eq!((error.line, error.column), (line, column), "{text}: {error:?}");
        assert!(failed(evaluate(text, &context(&json!({"a": 1})))).contains(&error.message));
    }
    let error = check_expression("a ==").unwrap_err();
    assert_eq!(error.line, 1, "{error:?}");
}

#[test]
fn attribute_methods_are_not_functions() {
    for text in ["{{ a.get('b') }}", "{{ 'x'.upper() }}", "{{ a.b.items() }}"] {
        assert!(check(text).is_ok(), "{text}");
    }
}
