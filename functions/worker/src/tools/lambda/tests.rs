use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::*;
use crate::aws::tests::{Scripted, call, call_with, client, emulator, endpoint, soon, unique};

/// `handler.py`: `main` returns `{"echo": event}`, raises `ValueError` for `raise`, or returns
/// a text of `big` characters.
const CODE: &str = "UEsDBBQAAAAIAAAAIVDem7gWsQAAADUBAAAKAAAAaGFuZGxlci5weW2QwQrCMBBE7/2KYU+NFj+g4NGrRy9SJG23NdImkm6lIP67bUxBwb0EZufNLDH93XnBbXA2g5iek5ob9NrYlB9sJUPlrPAkKk8wj2kQ9F3LkpLXZmCKq2WCgJPuRj5473xKpa5B2GIQ/0k8R6pQ6k9iadqfPJbRW9BE2CDii6UIjmocxPXYY0a1zAXrG2/OQFVnZugSBcpwdJbVsgjsKiRfZU/i6uooR/yA1ZrHvlfyBlBLAQIUAxQAAAAIAAAAIVDem7gWsQAAADUBAAAKAAAAAAAAAAAAAACkAQAAAABoYW5kbGVyLnB5UEsFBgAAAAABAAEAOAAAANkAAAAAAA==";

/// A new function of the emulator.
async fn function() -> String {
    let name = unique("function");
    let body = json!({"FunctionName": name, "Runtime": "python3.11", "Handler": "handler.main",
        "Role": "arn:aws:iam::000000000000:role/test", "Code": {"ZipFile": CODE}});
    let url = format!("{}/2015-03-31/functions", endpoint());
    let signed = "AWS4-HMAC-SHA256 Credential=test/20260101/us-east-1/lambda/aws4_request, \
                  SignedHeaders=host, Signature=x";
    let request = reqwest::Client::new().post(url).header("authorization", signed);
    let answer = request.body(body.to_string()).send().await.unwrap();
    assert_eq!(answer.status().as_u16(), 201);
    name
}

fn lambda() -> Lambda {
    // The client that makes functions needs what the first one of a worker installs.
    let url = reqwest::Url::parse("http://127.0.0.1:1").unwrap();
    emulator().http(&url).unwrap();
    Lambda::new(emulator())
}

#[tokio::test]
async fn a_function_is_called_and_its_value_returned() {
    let (tool, name) = (lambda(), function().await);
    let config = json!({"function": name, "payload": {"a": [1, "ü"]}});
    let result = call(&tool, config).await.unwrap();
    assert_eq!((&result["status"], &result["status_code"]), (&json!("success"), &json!(200)));
    assert_eq!(result["data"]["echo"], json!({"a": [1, "ü"]}));
    let arn = format!("arn:aws:lambda:us-east-1:000000000000:function:{name}");
    let config = json!({"function": arn, "qualifier": "$LATEST"});
    let result = call_with(&tool, config, json!({"n": 1}), soon()).await.unwrap();
    assert_eq!(result["data"]["echo"], json!({"n": 1}), "inputs are the payload");
}

#[tokio::test]
async fn an_event_and_a_dry_run_return_no_data() {
    let (tool, name) = (lambda(), function().await);
    for (mode, status) in [("event", 202), ("dry_run", 204)] {
        let config = json!({"function": name, "invocation": mode, "payload": {}});
        let result = call(&tool, config).await.unwrap();
        assert_eq!((&result["status_code"], &result["data"]), (&json!(status), &Value::Null));
        assert_eq!(result["invocation"], json!(mode));
    }
}

#[tokio::test]
async fn an_error_of_the_function_is_one_of_the_tool() {
    let (tool, name) = (lambda(), function().await);
    let (failure, left) =
        call(&tool, json!({"function": name, "payload": {"raise": 7}})).await.unwrap_err();
    assert!(!failure.retryable);
    assert!(failure.message.contains("bad 7"), "{}", failure.message);
    assert_eq!(left["errorMessage"], json!("bad 7"));
}

#[tokio::test]
async fn answers_become_results_or_errors() {
    let failed = "X-Amz-Function-Error: Unhandled\r\n";
    #[rustfmt::skip]
    let table = [
        ("raised", (200, failed, "{\"errorType\":\"KeyError\",\"errorMessage\":\"'id'\",\"stackTrace\":[\"line 1\\n\",\"line 2\\n\"]}"),
            "KeyError", false, "failed with KeyError: 'id'", Some("line 1\nline 2")),
        ("timed out", (200, failed, "{\"errorMessage\":\"2026 x Task timed out after 3.00 seconds\"}"),
            "Sandbox.Timedout", true, "raise the timeout of the function", None),
        ("crashed", (200, failed, "{\"errorType\":\"Runtime.ExitError\"}"), "Runtime.ExitError", true, "no message", None),
        ("no JSON", (200, failed, "oops"), "FunctionError", false, "no message", None),
        ("throttled", (429, "", "{\"Type\":\"User\",\"message\":\"Rate Exceeded.\"}"), "HTTP429", true, "throttles", None),
        ("unavailable", (502, "", ""), "HTTP502", true, "try again", None),
        ("unknown", (404, "x-amzn-errortype: ResourceNotFoundException\r\n", "{\"Message\":\"Function not found\"}"),
            "ResourceNotFoundException", false, "`f` failed", None),
        ("forbidden", (403, "x-amzn-errortype: AccessDeniedException\r\n", "{}"), "AccessDeniedException", false,
            "allow `lambda:InvokeFunction` on `f`", None),
        ("dropped", (0, "", ""), "ConnectionError", true, "did not reach", None),
    ];
    for (name, answer, kind, retryable, says, trace) in table {
        let server = Scripted::start(vec![answer]).await;
        let tool = Lambda::new(client(&server.url));
        let (failure, _) = call(&tool, json!({"function": "f"})).await.unwrap_err();
        assert_eq!((failure.kind.as_str(), failure.retryable), (kind, retryable), "{name}");
        assert!(failure.message.contains(says), "{name}: {}", failure.message);
        assert_eq!(failure.traceback.as_deref(), trace, "{name}");
        let requests = server.requests().len();
        assert_eq!(requests, if name == "throttled" { 4 } else { 1 }, "{name}");
    }
}

#[tokio::test]
async fn the_function_learns_the_idempotency_key() {
    let server = Scripted::start(vec![(200, "", "1")]).await;
    let tool = Lambda::new(client(&server.url));
    let config = json!({"function": "a b", "qualifier": "blue", "payload": "x"});
    assert_eq!(call(&tool, config).await.unwrap()["data"], json!(1));
    let request = server.requests().remove(0);
    assert!(request.starts_with("POST /2015-03-31/functions/a%20b/invocations?Qualifier=blue "));
    assert!(request.ends_with("\r\n\r\n\"x\""), "{request}");
    let context = request.lines().find_map(|line| line.strip_prefix("x-amz-client-context: "));
    let context: Value =
        serde_json::from_slice(&STANDARD.decode(context.unwrap().trim()).unwrap()).unwrap();
    assert_eq!(context["custom"]["idempotency_key"], json!("e1.s1.0"));
}

#[tokio::test]
async fn what_cannot_be_invoked_says_what_to_change() {
    let tool = lambda();
    let large = "x".repeat(engine_core::limits::LAMBDA_EVENT_BYTES_MAX);
    let table = [
        (json!({}), "give `function`"),
        (json!({"function": "f", "invocation": "later"}), "`invocation: later` is unknown"),
        (json!({"function": "f", "invocation": "event", "payload": large}), "put the data into S3"),
    ];
    for (config, says) in table {
        let (failure, _) = call(&tool, config).await.unwrap_err();
        assert_eq!(failure.kind, "InputError");
        assert!(failure.message.contains(says), "{}", failure.message);
    }
    let (failure, _) = call(&tool, json!({"function": "ct-no-such"})).await.unwrap_err();
    assert_eq!(failure.kind, "ResourceNotFoundException");
    assert!(failure.message.contains("`ct-no-such`"), "{}", failure.message);
}
