//! What names mean: order of lookup, tolerant results (D18), lists and maps behind them.

use super::*;

fn with_result(value: &Value) -> Context {
    let mut context = Context::new(Arc::default());
    context.set_result("step", &Payload::Inline(value.clone()));
    context
}

#[test]
fn names_set_one_by_one_win_over_layers_in_order() {
    let mut context = context(&json!({"a": "own"}));
    let layer = |pairs: &[(&str, &str)]| -> BTreeMap<String, Payload> {
        pairs.iter().map(|(k, v)| ((*k).to_owned(), Payload::Inline(json!(v)))).collect()
    };
    context.push_names(&layer(&[("a", "first"), ("b", "first")]));
    context.push_keys(&Payload::Inline(json!({"b": "second", "c": "second", "d": null})));
    context.push_names(&layer(&[("c", "third"), ("d", "third"), ("e", "third")]));
    for (name, expect) in [
        ("a", json!("own")),
        ("b", json!("first")),
        ("c", json!("second")),
        ("d", json!(null)),
        ("e", json!("third")),
    ] {
        assert_eq!(evaluate(&format!("{{{{ {name} }}}}"), &context), Ok(expect), "{name}");
    }
    assert_eq!(condition("f is defined", &context), Ok(false));
}

#[test]
fn a_name_like_a_function_is_a_name_until_it_is_called() {
    let context = context(&json!({"range": 5, "now": "then", "tojson": [1]}));
    assert_eq!(evaluate("{{ range }}", &context), Ok(json!(5)));
    assert_eq!(evaluate("{{ now }}", &context), Ok(json!("then")));
    assert_eq!(evaluate("{{ range(2) | list }}", &context), Ok(json!([0, 1])));
}

#[test]
fn results_of_any_type_are_their_own_data() {
    let scalars =
        [json!(5), json!("text"), json!(null), json!(true), json!([1, 2]), json!({"a": 1})];
    for value in scalars {
        let context = with_result(&value);
        for text in ["{{ step }}", "{{ step.data }}", "{{ step.result }}", "{{ step.data.data }}"] {
            let expect = if text.contains("data.data") && !value.is_object() && !value.is_array() {
                continue;
            } else {
                value.clone()
            };
            assert_eq!(evaluate(text, &context), Ok(expect), "{text} of {value}");
        }
    }
}

#[test]
fn a_result_is_a_plain_map_for_everything_else() {
    let context = with_result(&json!({"b": 1, "a": [{"c": 2}], "items": 3}));
    for (text, expect) in [
        ("step.b", json!(1)),
        ("step.data.b", json!(1)),
        ("step.result.a[0].c", json!(2)),
        ("step.items", json!(3)),
        ("step | length", json!(3)),
        ("step is mapping", json!(true)),
        ("'b' in step", json!(true)),
        ("'data' in step", json!(false)),
        ("step | list", json!(["b", "a", "items"])),
        ("step.keys() | list", json!(["b", "a", "items"])),
        ("step.get('b')", json!(1)),
        ("step.get('data').b", json!(1)),
        ("step.get('zz', 4)", json!(4)),
        ("step == {'b': 1, 'a': [{'c': 2}], 'items': 3}", json!(true)),
        ("step.data == step", json!(true)),
        ("step.zz is defined", json!(false)),
        ("step.data.zz is defined", json!(false)),
        ("step.data is defined", json!(true)),
        ("[step][0].data.b", json!(1)),
        ("step", json!({"b": 1, "a": [{"c": 2}], "items": 3})),
        ("step | tojson", json!({"b": 1, "a": [{"c": 2}], "items": 3})),
    ] {
        assert_eq!(evaluate(&format!("{{{{ {text} }}}}"), &context), Ok(expect), "{text}");
    }
    let printed = evaluate("x{{ step }}", &context);
    assert_eq!(printed, Ok(json!("x{\"b\": 1, \"a\": [{\"c\": 2}], \"items\": 3}")));
}

#[test]
fn a_key_of_the_result_wins_over_the_fallback() {
    let context = with_result(&json!({"data": [1], "result": "r", "x": 1}));
    assert_eq!(evaluate("{{ step.data }}", &context), Ok(json!([1])));
    assert_eq!(evaluate("{{ step.result }}", &context), Ok(json!("r")));
    assert_eq!(evaluate("{{ step.x }}", &context), Ok(json!(1)));
    assert_eq!(condition("step.data.x is defined", &context), Ok(false));
}

#[test]
fn d18_a_response_is_searched_at_both_depths() {
    let shapes = [
        json!({"status": 200, "data": {"paging": {"hasMore": true, "page": 2}, "data": [1]}}),
        json!({"data": {"paging": {"hasMore": true, "page": 2}}, "elapsed": 0.1}),
        json!({"paging": {"hasMore": true, "page": 2}, "data": [1]}),
        json!({"paging": {"hasMore": true, "page": 2}}),
    ];
    for shape in shapes {
        let mut context = Context::new(Arc::default());
        context.set_response("response", &Payload::Inline(shape.clone()));
        let mut texts = vec!["response.paging.hasMore"];
        if !shape["data"].is_array() {
            texts.extend(["response.data.hasMore", "response.data.paging.hasMore"]);
        }
        for text in texts {
            assert_eq!(
                condition(&format!("{text} == true"), &context),
                Ok(true),
                "{text}: {shape}"
            );
        }
        assert_eq!(condition("response.nothing is defined", &context), Ok(false));
        assert_eq!(evaluate("{{ response }}", &context), Ok(shape), "and it stays what it was");
    }
}

#[test]
fn trap_9_the_body_is_reached_with_and_without_data() {
    let context = answered();
    for (text, expect) in [
        ("response.status", json!(200)),
        ("response.items", json!([1, 2])),
        ("response.data.items", json!([1, 2])),
        ("response.paging.page", json!(2)),
        ("response.data.paging.page", json!(2)),
        ("response.data", json!({"items": [1, 2], "paging": {"hasMore": true, "page": 2}})),
        ("response.get('paging').page", json!(2)),
        ("'paging' in response", json!(false)),
    ] {
        assert_eq!(evaluate(&format!("{{{{ {text} }}}}"), &context), Ok(expect), "{text}");
    }
}

#[test]
fn d19_an_expression_needs_no_braces() {
    let context = context(&json!({"pages": [1, 2], "a": {"b": {"c": 1}}}));
    for (text, expect) in [
        ("pages", json!([1, 2])),
        ("{{ pages }}", json!([1, 2])),
        ("a.b", json!({"c": 1})),
        ("pages | length", json!(2)),
        ("{{ pages | length }} pages", json!("2 pages")),
        ("'pages'", json!("pages")),
        ("true", json!(true)),
        ("5", json!(5)),
    ] {
        assert_eq!(expression(text, &context), Ok(Payload::Inline(expect)), "{text}");
    }
}
