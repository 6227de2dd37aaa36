use serde_json::json;
use tokio::time::Instant;

use super::*;

fn request(config: Value) -> Result<Request, ToolError> {
    request_with(config, json!({}))
}

fn request_with(config: Value, args: Value) -> Result<Request, ToolError> {
    let (Value::Object(config), Value::Object(args)) = (config, args) else { panic!("maps") };
    Request::of(&Call {
        config,
        args,
        context: None,
        idempotency_key: "c1.4",
        deadline: Instant::now(),
        attempt: 1,
        execution_id: "1",
        step: "fetch",
        saves: false,
        progress: crate::tool::Progress::default(),
    })
}

/// `METHOD url | content type | body`.
fn line(request: &Request) -> String {
    let kind = request.headers.get(CONTENT_TYPE).map_or("-", |value| value.to_str().unwrap());
    let body = match &request.body {
        None => "-".to_owned(),
        Some(Body::Bytes(bytes)) => String::from_utf8(bytes.clone()).unwrap(),
        Some(Body::Multipart(fields)) => format!("{fields:?}"),
    };
    format!("{} {} | {kind} | {body}", request.method, request.url)
}

#[tokio::test]
async fn data_goes_where_the_method_says() {
    let json_type = "application/json";
    #[rustfmt::skip]
    let cases = [
        ("the default is GET", json!({"endpoint": "http://h/p"}), "GET http://h/p | - | -".to_owned()),
        ("params are the query", json!({"url": "http://h/p?a=1", "params": {"b": 2, "c": [3, 4], "d": null, "e": true, "f": "x y"}}),
            "GET http://h/p?a=1&b=2&c=3&c=4&d=&e=true&f=x+y | - | -".to_owned()),
        ("GET sends data as query", json!({"url": "http://h/", "data": {"q": "z"}, "params": {"p": 1}}), "GET http://h/?p=1&q=z | - | -".to_owned()),
        ("GET prefers data.query", json!({"url": "http://h/", "data": {"query": {"q": 1}, "body": {"x": 1}}}), "GET http://h/?q=1 | - | -".to_owned()),
        ("GET has no payload", json!({"url": "http://h/", "payload": {"x": 1}}), "GET http://h/ | - | -".to_owned()),
        ("DELETE may have an explicit body", json!({"url": "http://h/", "method": "delete", "json": {"x": 1}}), format!("DELETE http://h/ | {json_type} | {{\"x\":1}}")),
        ("POST sends payload", json!({"url": "http://h/", "method": "POST", "payload": {"x": 1}}), format!("POST http://h/ | {json_type} | {{\"x\":1}}")),
        ("POST sends data before payload", json!({"url": "http://h/", "method": "POST", "data": {"y": 2}, "payload": {"x": 1}}), format!("POST http://h/ | {json_type} | {{\"y\":2}}")),
        ("POST sends data.query and data.body", json!({"url": "http://h/", "method": "POST", "data": {"query": {"q": 1}, "body": [1]}}), format!("POST http://h/?q=1 | {json_type} | [1]")),
        ("data with only query leaves the payload", json!({"url": "http://h/", "method": "POST", "data": {"query": {"q": 1}}, "payload": {"x": 1}}), format!("POST http://h/?q=1 | {json_type} | {{\"x\":1}}")),
        ("params go with POST as well", json!({"url": "http://h/", "method": "PUT", "params": {"v": 2}, "payload": {"x": 1}}), format!("PUT http://h/?v=2 | {json_type} | {{\"x\":1}}")),
        ("an empty payload is none", json!({"url": "http://h/", "method": "POST", "payload": {}}), "POST http://h/ | - | -".to_owned()),
        ("json wins and may be empty", json!({"url": "http://h/", "method": "POST", "json": {}}), format!("POST http://h/ | {json_type} | {{}}")),
        ("form is encoded", json!({"url": "http://h/", "method": "POST", "form": {"a": "x y", "b": [1, 2]}}), "POST http://h/ | application/x-www-form-urlencoded | a=x+y&b=1&b=2".to_owned()),
        ("the content type chooses form", json!({"url": "http://h/", "method": "POST", "headers": {"content-type": "application/x-www-form-urlencoded"}, "payload": {"a": 1}}), "POST http://h/ | application/x-www-form-urlencoded | a=1".to_owned()),
        ("the content type chooses multipart", json!({"url": "http://h/", "method": "POST", "headers": {"Content-Type": "multipart/form-data"}, "payload": {"a": 1}}), "POST http://h/ | - | [(\"a\", \"1\")]".to_owned()),
        ("text stays text", json!({"url": "http://h/", "method": "POST", "body": "<a/>", "headers": {"Content-Type": "text/xml"}}), "POST http://h/ | text/xml | <a/>".to_owned()),
        ("bare text is plain", json!({"url": "http://h/", "method": "POST", "body": "hello"}), "POST http://h/ | text/plain; charset=utf-8 | hello".to_owned()),
        ("JSON text is not quoted again", json!({"url": "http://h/", "method": "POST", "payload": "{\"a\":1}"}), format!("POST http://h/ | {json_type} | {{\"a\":1}}")),
    ];
    for (name, config, expect) in cases {
        assert_eq!(line(&request(config).unwrap()), expect, "{name}");
    }
}

#[tokio::test]
async fn d36_params_and_the_query_of_data_go_with_every_method() {
    for method in ["GET", "DELETE", "HEAD", "POST", "PUT", "PATCH"] {
        let config = json!({"url": "http://h/", "method": method, "params": {"p": 1},
            "data": {"query": {"q": 2}}});
        let request = request(config).unwrap();
        assert_eq!(request.url.query(), Some("p=1&q=2"), "{method}");
        assert!(request.body.is_none(), "{method}");
    }
}

#[tokio::test]
async fn args_override_the_configuration() {
    let config =
        json!({"endpoint": "http://h/", "params": {"a": 1, "b": 2}, "headers": {"X-A": "1"}});
    let args = json!({"url": "http://other/", "params": {"b": 3}, "headers": {"X-B": "2"}});
    let request = request_with(config, args).unwrap();
    assert_eq!(line(&request), "GET http://other/?a=1&b=3 | - | -");
    assert_eq!(
        (&request.headers["x-a"], &request.headers["x-b"]),
        (&"1".parse().unwrap(), &"2".parse().unwrap())
    );
}

#[tokio::test]
async fn the_idempotency_key_is_sent_unless_the_user_set_one() {
    let own = request(json!({"url": "http://h/", "headers": {"Idempotency-Key": "mine"}})).unwrap();
    let ours = request(json!({"url": "http://h/"})).unwrap();
    assert_eq!(own.headers[IDEMPOTENCY_KEY], "mine");
    assert_eq!(ours.headers[IDEMPOTENCY_KEY], "c1.4");
}

#[tokio::test]
async fn timeouts_have_four_spellings() {
    let cases = [
        (json!({}), (10_000, 30_000, 30_000)),
        (json!({"timeout": 5}), (5_000, 5_000, 5_000)),
        (json!({"timeout": "2.5"}), (2_500, 2_500, 2_500)),
        (json!({"timeout": "500ms"}), (500, 500, 500)),
        (json!({"timeout_seconds": 60}), (10_000, 60_000, 60_000)),
        (json!({"timeout": "2m"}), (10_000, 120_000, 120_000)),
        (
            json!({"spec": {"timeout": {"connect": 1, "read": "2s", "total": 9}}}),
            (1_000, 2_000, 9_000),
        ),
    ];
    for (config, expect) in cases {
        let Value::Object(mut map) = config.clone() else { panic!() };
        map.insert("url".to_owned(), json!("http://h/"));
        let request = request(Value::Object(map)).unwrap();
        let ms = |time: Duration| time.as_millis();
        assert_eq!((ms(request.connect), ms(request.read), ms(request.total)), expect, "{config}");
    }
}

#[tokio::test]
async fn a_bad_configuration_says_what_is_expected() {
    #[rustfmt::skip]
    let cases = [
        (json!({}), "needs `endpoint`"),
        (json!({"url": ""}), "needs `endpoint`"),
        (json!({"url": 7}), "a URL as text"),
        (json!({"url": "/relative"}), "write it whole"),
        (json!({"url": "http://h/", "method": "NOT A METHOD"}), "no HTTP method"),
        (json!({"url": "http://h/", "headers": [1]}), "`headers` is a map"),
        (json!({"url": "http://h/", "headers": {"a b": "c"}}), "header `a b`"),
        (json!({"url": "http://h/", "headers": {"X": "a\nb"}}), "line breaks"),
        (json!({"url": "http://h/", "timeout": "soon"}), "is no time"),
        (json!({"url": "http://h/", "timeout": -1}), "is no time"),
        (json!({"url": "http://h/", "timeout": 1e300}), "is no time"),
        (json!({"url": "http://h/", "response_type": "xml"}), "is not known"),
        (json!({"url": "http://h/", "auth": "pg"}), "names a credential"),
    ];
    for (config, expect) in cases {
        let error = request(config.clone()).err().unwrap_or_else(|| panic!("{config} is bad"));
        assert!(error.message().contains(expect), "{config}: {error}");
    }
}
