use axum::http::header::HOST;

use super::*;

/// An event as the service documents it, with less of what nobody reads.
fn event() -> Value {
    json!({
        "version": "2.0",
        "routeKey": "$default",
        "rawPath": "/api/executions/7/events",
        "rawQueryString": "limit=2&after=5",
        "cookies": ["cookie1"],
        "headers": {"host": "id.execute-api.eu-west-1.amazonaws.com", "x-many": "a,b"},
        "queryStringParameters": {"limit": "2", "after": "5"},
        "requestContext": {
            "accountId": "123456789012",
            "http": {
                "method": "POST", "path": "/api/executions/7/events", "protocol": "HTTP/1.1",
                "sourceIp": "192.0.2.1", "userAgent": "agent",
            },
            "requestId": "id",
            "stage": "$default",
        },
        "body": "{\"a\": 1}",
        "isBase64Encoded": false,
    })
}

async fn body_of(request: Request) -> Vec<u8> {
    to_bytes(request.into_body(), usize::MAX).await.unwrap().to_vec()
}

#[tokio::test]
async fn an_event_becomes_the_request_that_was_made() {
    let request = request(&event()).unwrap();
    assert_eq!(
        (request.method(), request.uri().to_string().as_str()),
        (&Method::POST, "/api/executions/7/events?limit=2&after=5")
    );
    assert_eq!(request.headers()[HOST], "id.execute-api.eu-west-1.amazonaws.com");
    assert_eq!(request.headers()["x-many"], "a,b");
    assert_eq!(body_of(request).await, b"{\"a\": 1}");
}

#[tokio::test]
async fn a_body_may_be_encoded_or_missing() {
    let mut encoded = event();
    encoded["body"] = STANDARD.encode([0xff, 0x00]).into();
    encoded["isBase64Encoded"] = true.into();
    assert_eq!(body_of(request(&encoded).unwrap()).await, [0xff, 0x00]);
    encoded["body"] = "*".into();
    assert!(request(&encoded).unwrap_err().contains("no base64"));
    let mut empty = event();
    empty.as_object_mut().unwrap().shift_remove("body");
    assert!(body_of(request(&empty).unwrap()).await.is_empty());
}

#[test]
fn what_is_no_request_is_told_what_the_function_is_for() {
    for event in [json!({}), json!({"Records": []}), json!([1]), json!({"rawPath": "/health"})] {
        assert!(request(&event).unwrap_err().contains("requests of an HTTP API"), "{event}");
    }
}

#[test]
fn a_path_may_come_decoded_and_with_its_stage() {
    #[rustfmt::skip]
    let cases = [
        ("$default", "/health",                  "",          "/health"),
        ("prod",     "/prod/health",             "",          "/health"),
        ("prod",     "/product/health",          "",          "/product/health"),
        ("prod",     "/prod",                    "",          "/prod"),
        ("$default", "/api/credentials/a b",     "",          "/api/credentials/a%20b"),
        ("$default", "/api/credentials/a%20b",   "",          "/api/credentials/a%20b"),
        ("$default", "/api/credentials/100%",    "",          "/api/credentials/100%25"),
        ("$default", "/api/credentials/\u{fc}?#", "",          "/api/credentials/%C3%BC%3F%23"),
        ("$default", "/x",                       "a=1&b=%2F", "/x?a=1&b=%2F"),
        ("$default", "/x",                       "a=?",       "/x?a=?"),
        ("$default", "",                         "",          "/"),
    ];
    for (stage, path, query, expect) in cases {
        let uri = uri(stage, path, query).unwrap();
        assert_eq!(uri.to_string(), expect, "{stage} {path} {query}");
    }
}

#[tokio::test]
async fn an_answer_has_a_status_headers_and_a_body_of_text_or_base64() {
    let response = |body: Vec<u8>| {
        let response = Response::builder().status(202).header(CONTENT_TYPE, "application/json");
        response.body(Body::from(body)).unwrap()
    };
    let expect = json!({
        "statusCode": 202,
        "headers": {"content-type": "application/json"},
        "body": "{}",
        "isBase64Encoded": false,
    });
    assert_eq!(answer(response(b"{}".to_vec())).await, expect);
    let binary = answer(response(vec![0xff])).await;
    assert_eq!((&binary["body"], &binary["isBase64Encoded"]), (&json!("/w=="), &json!(true)));
}

#[tokio::test]
async fn an_answer_that_no_function_can_give_says_so() {
    let quotes = LAMBDA_PAYLOAD_BYTES_MAX / 2;
    #[rustfmt::skip]
    let cases = [
        ("x".repeat(LAMBDA_PAYLOAD_BYTES_MAX - FRAME_BYTES), 200),
        ("x".repeat(LAMBDA_PAYLOAD_BYTES_MAX - 1),           422),
        ("x".repeat(LAMBDA_PAYLOAD_BYTES_MAX + 1),           422),
        ("\"".repeat(quotes),                               422),
    ];
    for (body, expect) in cases {
        let bytes = body.len();
        let answered = answer(Response::new(Body::from(body))).await;
        assert_eq!(answered["statusCode"], expect, "{bytes}");
        assert!(answered.to_string().len() <= LAMBDA_PAYLOAD_BYTES_MAX);
    }
}
