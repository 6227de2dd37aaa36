use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::Instant;

use super::*;

async fn call_for(code: &str, args: Value, allowed: Duration) -> Result<Success, ToolError> {
    let Value::Object(args) = args else { panic!("a map") };
    let call = Call {
        config: json!({"code": code}).as_object().cloned().unwrap(),
        args,
        context: None,
        idempotency_key: "c1",
        deadline: Instant::now() + allowed,
        attempt: 1,
        execution_id: "9",
        step: "work",
        saves: false,
        progress: crate::tool::Progress::default(),
    };
    Rhai.call(&call).await
}

async fn call(code: &str, args: Value) -> Result<Success, ToolError> {
    call_for(code, args, Duration::from_mins(5)).await
}

#[tokio::test]
async fn a_script_says_its_result_in_many_ways() {
    #[rustfmt::skip]
    let cases = [
        ("the last expression", "1 + 2", json!({}), json!(3)),
        ("a variable", "let result = #{a: 1};", json!({}), json!({"a": 1})),
        ("the expression beats the variable", "let result = 1; 2", json!({}), json!(2)),
        ("nothing", "let x = 1;", json!({}), Value::Null),
        ("a return", "if true { return [1, 2]; } 3", json!({}), json!([1, 2])),
        ("args by name", "x * 2", json!({"x": 21}), json!(42)),
        ("args as a map", "args.x + args[\"a b\"]", json!({"x": 1, "a b": 2}), json!(3)),
        ("an arg named result is no result", "let y = 1;", json!({"result": 5}), Value::Null),
        ("values keep their types", "x", json!({"x": {"a": [1, -9_007_199_254_740_993_i64, 1.5, "t", true, null]}}), json!({"a": [1, -9_007_199_254_740_993_i64, 1.5, "t", true, null]})),
        ("functions", "fn twice(n) { n * 2 } [1, 2, 3].map(|n| twice(n))", json!({}), json!([2, 4, 6])),
        ("an arg may hide nothing of the language", "let s = \"a,b\"; s.split(\",\")", json!({"print": 1}), json!(["a", "b"])),
    ];
    for (name, code, args, expect) in cases {
        match call(code, args).await {
            Ok(success) => assert_eq!(success.result, expect, "{name}"),
            Err(error) => panic!("{name}: {error}"),
        }
    }
}

#[tokio::test]
async fn a_failed_script_says_where_and_why() {
    #[rustfmt::skip]
    let cases = [
        ("syntax", "let x = ;", "SyntaxError", "line 1, column 9"),
        ("a name", "1 +\n  missing", "NameError", "line 2, column 3: `missing` is not defined; the step's args are `given`"),
        ("a function", "nowhere(1)", "NameError", "there is no function `nowhere"),
        ("inside a function", "fn f() {\n  let a = 1;\n  a / 0\n}\nf()", "ScriptError", "line 3, column"),
        ("thrown text", "throw \"no luck\"", "RuntimeError", "line 1, column 1: no luck"),
        ("a thrown map", "throw #{type: \"Mine\", message: \"no luck\"}", "Mine", "no luck"),
        ("a result that is no JSON", "Fn(\"f\")", "ResultError", "return maps"),
        ("a bad overflow", "9223372036854775807 + 1", "ScriptError", "overflow"),
    ];
    for (name, code, kind, message) in cases {
        let error = call(code, json!({"given": 1})).await.unwrap_err();
        assert_eq!(error.kind(), kind, "{name}: {error}");
        assert!(error.message().contains(message), "{name}: {error}");
        assert_ne!(error.reaction(), Reaction::Transient, "{name}");
    }
    let error = call(" ", json!({})).await.unwrap_err();
    assert!(error.message().contains("needs `code`"), "{error}");
}

#[tokio::test]
async fn hostile_scripts_end_with_an_error() {
    #[rustfmt::skip]
    let cases = [
        ("deep recursion", "fn f(n) { f(n + 1) } f(0)", "LimitError"),
        ("a growing text", "let s = \"x\"; loop { s += s; }", "LimitError"),
        ("a growing list", "let a = []; loop { a.push(1); }", "LimitError"),
        ("lists in lists", "let a = [1]; loop { a = [a, a]; }", "LimitError"),
        ("a growing map", "let m = #{}; let i = 0; loop { m[i.to_string()] = i; i += 1; }", "LimitError"),
        ("padding", "let s = \"\"; s.pad(1000000000, 'x'); s", "LimitError"),
        ("an import", "import \"/etc/passwd\" as p; p", "SyntaxError"),
        ("eval", "eval(\"1\")", "SyntaxError"),
        ("sleep", "sleep(1000000)", "RuntimeError"),
        ("sleep of a fraction", "sleep(1000000.5)", "RuntimeError"),
        ("a file", "open_file(\"/etc/passwd\")", "NameError"),
    ];
    for (name, code, kind) in cases {
        let error = call(code, json!({})).await.unwrap_err();
        assert_eq!(error.kind(), kind, "{name}: {error}");
    }
    let deep = format!("{}1{}", "(".repeat(5_000), ")".repeat(5_000));
    assert_eq!(call(&deep, json!({})).await.unwrap_err().kind(), "SyntaxError");
}

#[tokio::test]
async fn a_script_without_an_end_stops_at_its_deadline() {
    let allowed = Duration::from_millis(50);
    let error = call_for("loop { }", json!({}), allowed).await.unwrap_err();
    assert_eq!((error.kind(), error.reaction()), ("TimeoutError", Reaction::Transient));
    assert!(error.message().contains("raise the step's `timeout`"), "{error}");
}

#[tokio::test]
async fn printed_text_is_captured_and_cut() {
    let success = call("print(\"one\"); debug(2); 3", json!({})).await.unwrap();
    assert_eq!(success.output, "one\n2\n");
    let flood = "let s = \"\"; s.pad(1000, 'x'); for i in 0..10000 { print(s); } 1";
    let success = call(flood, json!({})).await.unwrap();
    assert!(success.output.contains("bytes cut") && success.output.len() < 20_000);
    let error = call("print(\"before\"); throw 1", json!({})).await.unwrap_err();
    assert_eq!(error.into_failure().1.output, "before\n");
}
