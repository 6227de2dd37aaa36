use axum::body::to_bytes;
use axum::http::Request;

use super::*;

#[test]
fn a_request_becomes_an_event_of_format_2() {
    let request = Request::builder()
        .method("POST")
        .uri("/api/executions/a%20b?limit=5&tag=x&tag=y%2Fz")
        .header("Host", "127.0.0.1:8083")
        .header("User-Agent", "tests")
        .header("Content-Type", "application/json; charset=utf-8")
        .header("X-Two", "one")
        .header("X-Two", "two")
        .header("Cookie", "a=1; b=2")
        .body(())
        .unwrap();
    let (head, ()) = request.into_parts();
    let expect = json!({
        "version": "2.0",
        "routeKey": "$default",
        "rawPath": "/api/executions/a%20b",
        "rawQueryString": "limit=5&tag=x&tag=y%2Fz",
        "cookies": ["a=1", "b=2"],
        "headers": {
            "host": "127.0.0.1:8083",
            "user-agent": "tests",
            "content-type": "application/json; charset=utf-8",
            "x-two": "one,two",
        },
        "queryStringParameters": {"limit": "5", "tag": "x,y/z"},
        "requestContext": {
            "accountId": "000000000000",
            "apiId": "local",
            "domainName": "127.0.0.1:8083",
            "domainPrefix": "local",
            "http": {
                "method": "POST",
                "path": "/api/executions/a%20b",
                "protocol": "HTTP/1.1",
                "sourceIp": "127.0.0.1",
                "userAgent": "tests",
            },
            "requestId": "local-1584039838123",
            "routeKey": "$default",
            "stage": "$default",
            "time": "12/Mar/2020:19:03:58 +0000",
            "timeEpoch": 1_584_039_838_123_i64,
        },
        "body": "{\"a\":1}",
        "isBase64Encoded": false,
    });
    assert_eq!(event(&head, b"{\"a\":1}", 1_584_039_838_123), expect);
}

#[test]
fn a_body_travels_as_text_or_as_base64() {
    #[rustfmt::skip]
    let cases: [(Option<&str>, &[u8], Value, bool); 8] = [
        (None,                                      b"",           Value::Null,       false),
        (None,                                      b"text",       json!("text"),     false),
        (None,                                      b"\xff\xfe",   json!("//4="),     true),
        (Some("text/yaml"),                         b"a: 1",       json!("a: 1"),     false),
        (Some("application/problem+json"),          b"{}",         json!("{}"),       false),
        (Some("application/json"),                  b"\xff",       json!("/w=="),     true),
        (Some("application/octet-stream"),          b"text",       json!("dGV4dA=="), true),
        (Some("application/x-www-form-urlencoded"), b"a=1",        json!("YT0x"),     true),
    ];
    for (kind, body, expect, is_base64) in cases {
        let mut request = Request::builder().uri("/");
        if let Some(kind) = kind {
            request = request.header("Content-Type", kind);
        }
        let (head, ()) = request.body(()).unwrap().into_parts();
        let event = event(&head, body, 0);
        assert_eq!(event.get("body").cloned().unwrap_or_default(), expect, "{kind:?} {body:?}");
        assert_eq!(event["isBase64Encoded"], is_base64, "{kind:?} {body:?}");
        assert!(event.get("cookies").is_none() && event.get("queryStringParameters").is_none());
    }
}

/// Status, type and body; or what is said about an answer that is none.
type Expected = Result<(u16, &'static str, &'static [u8]), &'static str>;

#[tokio::test]
async fn an_answer_becomes_a_response_or_a_reason_why_not() {
    #[rustfmt::skip]
    let cases: [(Value, Expected); 12] = [
        (json!({"statusCode": 201, "headers": {"Content-Type": "text/html"}, "body": "<p>"}), Ok((201, "text/html", b"<p>"))),
        (json!({"statusCode": 204}),                                    Ok((204, "text/plain;charset=UTF-8", b""))),
        (json!({"statusCode": 200, "body": null, "headers": null}),     Ok((200, "text/plain;charset=UTF-8", b""))),
        (json!({"statusCode": 200, "body": "/w==", "isBase64Encoded": true}), Ok((200, "text/plain;charset=UTF-8", b"\xff"))),
        (json!({"a": 1}),                                               Ok((200, "application/json", b"{\"a\":1}"))),
        (json!("text"),                                                 Ok((200, "application/json", b"\"text\""))),
        (json!(null),                                                   Ok((200, "application/json", b"null"))),
        (json!({"statusCode": "200"}),                                  Err("is no status")),
        (json!({"statusCode": 99}),                                     Err("is no status")),
        (json!({"statusCode": 200, "body": {"a": 1}}),                  Err("must be a text")),
        (json!({"statusCode": 200, "body": "%", "isBase64Encoded": true}), Err("no base64")),
        (json!({"statusCode": 200, "headers": {"a b": "c"}}),           Err("is no header")),
    ];
    for (answer, expect) in cases {
        match (response(answer.to_string().as_bytes()), expect) {
            (Ok(response), Ok((status, kind, body))) => {
                assert_eq!(response.status(), status, "{answer}");
                assert_eq!(response.headers()[CONTENT_TYPE], kind, "{answer}");
                let read = to_bytes(response.into_body(), 1_000).await.unwrap();
                assert_eq!(read, body, "{answer}");
            }
            (Err(problem), Err(says)) => assert!(problem.contains(says), "{answer}: {problem}"),
            (ended, _) => panic!("{answer}: {ended:?}"),
        }
    }
    assert!(response(b"").unwrap_err().contains("no JSON"));
}

#[test]
fn headers_and_cookies_of_the_function_arrive_and_those_of_the_connection_do_not() {
    let answer = json!({
        "statusCode": 200,
        "headers": {"X-Number": 5, "Content-Length": "9000", "Connection": "upgrade"},
        "cookies": ["a=1", "b=2; Secure"],
    });
    let response = response(answer.to_string().as_bytes()).unwrap();
    let headers = response.headers();
    assert_eq!(headers["x-number"], "5");
    let cookies: Vec<_> = headers.get_all(SET_COOKIE).iter().collect();
    assert_eq!(cookies, ["a=1", "b=2; Secure"]);
    assert!(!headers.contains_key(CONTENT_LENGTH) && !headers.contains_key(CONNECTION));
}
