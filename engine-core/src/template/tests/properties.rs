//! What holds for any text and any data.

use proptest::prelude::*;

use super::*;

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        (-1e300..1e300).prop_map(|float: f64| json!(float)),
        ".*".prop_map(Value::from),
        "\\{\\{ [a-z]{1,3} \\}\\}".prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 40, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
            prop::collection::btree_map("[a-z]{1,4}|data|result|items", inner, 0..6)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

/// Text that looks like a template often enough to reach the operators.
fn any_template() -> impl Strategy<Value = String> {
    let word = prop_oneof![
        Just("{{ "),
        Just(" }}"),
        Just("{% "),
        Just(" %}"),
        Just("if "),
        Just("for "),
        Just("x"),
        Just(" in "),
        Just("endfor"),
        Just("endif"),
        Just("set "),
        Just(" = "),
        Just("."),
        Just("a"),
        Just("data"),
        Just("["),
        Just("]"),
        Just("("),
        Just(")"),
        Just(" | "),
        Just("int"),
        Just("tojson"),
        Just("default"),
        Just("sort"),
        Just("map"),
        Just("list"),
        Just(" is defined"),
        Just(" and "),
        Just("not "),
        Just("1"),
        Just("'s'"),
        Just("9e99"),
        Just("-"),
        Just("+"),
        Just("*"),
        Just("**"),
        Just("//"),
        Just("%"),
        Just("~"),
        Just("=="),
        Just("<"),
        Just(", "),
        Just(":"),
        Just("{"),
        Just("}"),
        Just("range"),
        Just("é"),
        Just("\n"),
        Just("99999999999"),
        Just("split"),
        Just("round"),
        Just("replace"),
        Just("loop"),
        Just("slice"),
        Just("unique"),
        Just("[::-1]"),
        Just("first"),
        Just("'"),
        Just("\\"),
    ];
    prop::collection::vec(word, 0..24).prop_map(|words| words.concat())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]

    #[test]
    fn no_text_and_no_data_make_it_panic(text in any_template(), data in any_json()) {
        let mut context = Context::new(Arc::default());
        context.set_result("x", &Payload::Inline(data.clone()));
        context.set_response("a", &Payload::Inline(data.clone()));
        context.push_keys(&Payload::Inline(data));
        for text in [text.clone(), format!("{{{{ {text} }}}}"), format!("{{{{ x{text} }}}}")] {
            let first = evaluate(&text, &context);
            prop_assert_eq!(first, evaluate(&text, &context));
            let _ = condition(&text, &context);
            let _ = expression(&text, &context);
            let checked = check(&text);
            prop_assert_eq!(checked.is_ok(), checked == check(&text) && checked.is_ok());
        }
    }

    #[test]
    fn arbitrary_text_does_not_panic(text in "\\PC{0,60}", data in any_json()) {
        let context = context(&json!({ "x": data }));
        let _ = evaluate(&text, &context);
        let _ = evaluate(&format!("{{{{ {text} }}}}"), &context);
        let _ = condition(&text, &context);
    }

    #[test]
    fn a_value_comes_back_as_it_was(data in any_json()) {
        let mut context = context(&json!({ "x": data.clone() }));
        context.set_result("r", &Payload::Inline(data.clone()));
        context.set_response("q", &Payload::Inline(data.clone()));
        for name in ["x", "r", "q"] {
            let text = format!("{{{{ {name} }}}}");
            prop_assert_eq!(evaluate(&text, &context), Ok(data.clone()));
            prop_assert_eq!(condition(&format!("{name} is defined"), &context), Ok(true));
            prop_assert_eq!(condition(&format!("{name} == {name}"), &context), Ok(true));
        }
        let through_text = evaluate("{{ x | tojson }}", &context).unwrap();
        prop_assert_eq!(through_text, data);
    }

    #[test]
    fn text_survives_quoting_and_interpolation(text in ".*") {
        let context = context(&json!({ "x": text.clone() }));
        let quoted = evaluate("'{{ x | replace(\"'\", \"''\") }}'", &context).unwrap();
        let quoted = quoted.as_str().unwrap();
        prop_assert_eq!(quoted[1..quoted.len() - 1].replace("''", "'"), text.clone());
        prop_assert_eq!(evaluate("<{{ x }}>", &context), Ok(json!(format!("<{text}>"))));
        let encoded = evaluate("{{ x | b64encode | b64decode }}", &context);
        prop_assert_eq!(encoded, Ok(json!(text)));
    }

    #[test]
    fn literals_mean_themselves(text in "[^\\\\'{}%#]*", number in any::<i32>()) {
        let context = context(&json!({}));
        let written = format!("{{{{ ['{text}', {number}] }}}}");
        prop_assert_eq!(evaluate(&written, &context), Ok(json!([text, number])));
    }
}
