//! The filters, tests, functions and methods of the census (`dsl.md` 6.3), as Jinja2 has them.

use super::*;

#[track_caller]
fn table(context: &Context, cases: &[(&str, Value)]) {
    for (text, expect) in cases {
        let braced = format!("{{{{ {text} }}}}");
        assert_eq!(evaluate(&braced, context).as_ref(), Ok(expect), "{text}");
    }
}

#[test]
fn trap_12_int_and_float_never_raise_on_text() {
    let context = context(&json!({"n": null, "t": true, "l": [1]}));
    table(
        &context,
        &[
            ("'abc' | int", json!(0)),
            ("'abc' | int(7)", json!(7)),
            ("'abc' | int(default=7)", json!(7)),
            ("n | int", json!(0)),
            ("'3.7' | int", json!(3)),
            ("'-3.7' | int", json!(-3)),
            ("3.9 | int", json!(3)),
            ("' 42 ' | int", json!(42)),
            ("'+4' | int", json!(4)),
            ("'1_000' | int", json!(1000)),
            ("'ff' | int(0, 16)", json!(255)),
            ("'0x1F' | int(base=16)", json!(31)),
            ("'1e3' | int", json!(1000)),
            ("'inf' | int", json!(0)),
            ("'' | int", json!(0)),
            ("t | int", json!(1)),
            ("l | int", json!(0)),
            ("'1.5' | float", json!(1.5)),
            ("'x' | float", json!(0.0)),
            ("'x' | float(2.5)", json!(2.5)),
            ("n | float", json!(0.0)),
            ("3 | float", json!(3.0)),
        ],
    );
    assert!(undefined(evaluate("{{ missing | int }}", &context)).contains("`missing`"));
}

#[test]
fn trap_12_tojson_is_safe_inside_html_and_sql() {
    let value = json!({"k": "it's <b> & \"q\"", "n": null, "t": true, "u": "é"});
    let context = context(&json!({ "x": value }));
    let expect =
        r#"'{"k": "it\u0027s \u003cb\u003e \u0026 \"q\"", "n": null, "t": true, "u": "é"}'"#;
    for text in ["'{{ x | tojson }}'", "'{{ tojson(x) }}'", "'{{ x | to_json }}'"] {
        assert_eq!(evaluate(text, &context), Ok(json!(expect)), "{text}");
    }
    assert_eq!(evaluate("{{ x | tojson }}", &context).unwrap()["k"], json!("it's <b> & \"q\""));
    assert_eq!(evaluate("{{ [1, 2.0] | tojson }} ", &context), Ok(json!([1, 2.0])));
}

fn shelf() -> Context {
    context(&json!({
        "l": [3, 1, 2], "w": ["b", "A", "c"], "m": {"k": 1, "a": 2}, "s": "Hello World",
        "rows": [
            {"n": "x", "v": 2, "in": {"deep": "p"}, "ok": true},
            {"n": "y", "v": 1, "in": {"deep": "q"}, "ok": false},
        ],
        "q": "it's", "n": null,
    }))
}

#[test]
fn filters_of_text_and_numbers() {
    table(
        &shelf(),
        &[
            ("s | lower", json!("hello world")),
            ("s | upper", json!("HELLO WORLD")),
            ("'hello world' | title", json!("Hello World")),
            ("'hello' | capitalize", json!("Hello")),
            ("'  a ' | trim", json!("a")),
            ("q | replace(\"'\", \"''\")", json!("it''s")),
            ("'aaa' | replace('a', 'b', 2)", json!("bba")),
            ("true | string", json!("True")),
            ("n | string", json!("None")),
            ("1.0 | string", json!("1.0")),
            ("{'a': true} | string", json!("{\"a\": true}")),
            ("l | length", json!(3)),
            ("s | len", json!(11)),
            ("m | count", json!(2)),
            ("2.567 | round(2)", json!(2.57)),
            ("5 | round", json!(5.0)),
            ("2.1 | round(method='ceil')", json!(3.0)),
        ],
    );
}

#[test]
fn filters_of_lists_and_maps() {
    table(
        &shelf(),
        &[
            ("rows | map(attribute='in.deep') | list", json!(["p", "q"])),
            ("w | map('upper') | join(',')", json!("B,A,C")),
            ("l | join('-')", json!("3-1-2")),
            ("rows | join('+', attribute='n')", json!("x+y")),
            ("l | first", json!(3)),
            ("l | last", json!(2)),
            ("(rows | first).n", json!("x")),
            ("rows | selectattr('ok') | map(attribute='n') | list", json!(["x"])),
            ("rows | selectattr('in', 'defined') | list | length", json!(2)),
            ("rows | selectattr('n', 'equalto', 'y') | map(attribute='v') | list", json!([1])),
            ("rows | selectattr('in.deep', 'eq', 'q') | map(attribute='v') | first", json!(1)),
            ("rows | rejectattr('ok') | map(attribute='n') | list", json!(["y"])),
            ("l | select('odd') | list", json!([3, 1])),
            ("l | reject('gt', 2) | list", json!([1, 2])),
            ("l | sort", json!([1, 2, 3])),
            ("l | sort(reverse=true)", json!([3, 2, 1])),
            ("rows | sort(attribute='v') | map(attribute='n') | list", json!(["y", "x"])),
            ("[1, 1, 2] | unique | list", json!([1, 2])),
            ("l | sum", json!(6)),
            ("rows | sum(attribute='v')", json!(3)),
            ("l | min", json!(1)),
            ("l | max", json!(3)),
            ("-3 | abs", json!(3)),
            ("l | reverse | list", json!([2, 1, 3])),
            ("'a,b' | split(',')", json!(["a", "b"])),
            ("'a  b' | split", json!(["a", "b"])),
            ("'a b&c' | urlencode", json!("a%20b%26c")),
            ("m | keys", json!(["k", "a"])),
            ("m | values", json!([1, 2])),
            ("m | items", json!([["k", 1], ["a", 2]])),
            ("m | get('k')", json!(1)),
            ("m | get('z', 9)", json!(9)),
            ("m | get('z')", json!(null)),
            ("m | list", json!(["k", "a"])),
            ("m | dictsort | list", json!([["a", 2], ["k", 1]])),
            ("'abc' | list", json!(["a", "b", "c"])),
            ("'hi' | b64encode", json!("aGk=")),
            ("'aGk=' | b64decode", json!("hi")),
            ("'{\"a\": [1]}' | fromjson", json!({"a": [1]})),
            ("range(3) | list", json!([0, 1, 2])),
            ("range(5, 1, -2) | list", json!([5, 3])),
            ("dict(a=1, b=l)", json!({"a": 1, "b": [3, 1, 2]})),
            ("'a' | default('b')", json!("a")),
        ],
    );
}

#[test]
fn tests_and_methods_of_the_census() {
    let context = context(&json!({"m": {"a": 1}, "l": [1], "s": "Abc", "n": null}));
    table(
        &context,
        &[
            ("m is mapping", json!(true)),
            ("l is mapping", json!(false)),
            ("l is sequence", json!(true)),
            ("l is iterable", json!(true)),
            ("s is string", json!(true)),
            ("n is none", json!(true)),
            ("s is not none", json!(true)),
            ("1 is number", json!(true)),
            ("1 is integer", json!(true)),
            ("1.5 is float", json!(true)),
            ("true is boolean", json!(true)),
            ("4 is divisibleby(2)", json!(true)),
            ("1 is in [1, 2]", json!(true)),
            ("s is startingwith('A')", json!(true)),
            ("m.get('a')", json!(1)),
            ("m.get('b')", json!(null)),
            ("m.get('b', 7)", json!(7)),
            ("m.keys() | list", json!(["a"])),
            ("m.values() | list", json!([1])),
            ("m.items() | list", json!([["a", 1]])),
            ("s.upper()", json!("ABC")),
            ("s.lower()", json!("abc")),
            ("s.startswith('A')", json!(true)),
            ("s.replace('A', 'x')", json!("xbc")),
            ("'a,b'.split(',')", json!(["a", "b"])),
            ("'a b'.split()", json!(["a", "b"])),
            ("','.join(['a', 1, true])", json!("a,1,True")),
            ("' a '.strip()", json!("a")),
            ("s.find('b')", json!(1)),
            ("l.count(1)", json!(1)),
        ],
    );
}

#[test]
fn keys_win_over_methods_of_the_same_name() {
    let context = context(&json!({
        "start": {"items": [1, 2], "values": 3, "keys": 4, "get": 5, "data": {"items": []}},
    }));
    table(
        &context,
        &[
            ("start.items", json!([1, 2])),
            ("start.values", json!(3)),
            ("start.keys", json!(4)),
            ("start.get", json!(5)),
            ("start.data.items", json!([])),
            ("start.data.items() | list", json!([["items", []]])),
            ("start.get('keys')", json!(4)),
        ],
    );
}

#[test]
fn functions_that_differ_each_time_answer_only_if_their_answers_are_given() {
    let mut context = context(&json!({}));
    for text in ["{{ now() }}", "{{ generate_uuid() }}"] {
        assert!(failed(evaluate(text, &context)).contains("tool's configuration"), "{text}");
    }
    assert!(failed(evaluate("{{ token('c') }}", &context)).contains("not available"));

    context.set_functions("2026-01-06T10:00:00Z", "cmd-1");
    assert_eq!(evaluate("{{ now() }}", &context), Ok(json!("2026-01-06T10:00:00Z")));
    let twice = json!(["{{ generate_uuid() }}", "{{ generate_uuid() }}"]);
    let ids = render(&twice, &context, Coerce::Never).unwrap();
    assert_ne!(ids[0], ids[1], "each call has its own id");
    assert_eq!(render(&twice, &context, Coerce::Never).unwrap(), ids, "and the same one again");
    assert_eq!(ids[0].as_str().unwrap().len(), 36);
}
