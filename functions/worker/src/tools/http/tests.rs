use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use engine_core::event::ToolFailure;
use serde_json::{Map, Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::Instant;

use super::*;

/// What the server does with a request.
enum Reply {
    /// Sends these bytes and keeps the connection.
    Bytes(Vec<u8>),
    /// Sends nothing.
    Hang,
    /// Closes without an answer.
    Drop,
    /// Announces nothing and sends megabytes until the client leaves.
    Flood,
}

/// A local server: its address, what it was asked, how often it was connected to.
struct Server {
    url: String,
    seen: Arc<std::sync::Mutex<Vec<String>>>,
    connections: Arc<AtomicUsize>,
}

impl Server {
    async fn start(answer: impl Fn(&str) -> Reply + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let seen = Arc::new(std::sync::Mutex::new(Vec::new()));
        let connections = Arc::new(AtomicUsize::new(0));
        let (log, count, answer) = (seen.clone(), connections.clone(), Arc::new(answer));
        tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                count.fetch_add(1, Ordering::Relaxed);
                tokio::spawn(converse(socket, log.clone(), answer.clone()));
            }
        });
        Self { url, seen, connections }
    }

    fn requests(&self) -> Vec<String> {
        self.seen.lock().unwrap().clone()
    }

    fn connections(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }
}

async fn converse(
    mut socket: TcpStream,
    log: Arc<std::sync::Mutex<Vec<String>>>,
    answer: Arc<impl Fn(&str) -> Reply>,
) {
    while let Some(request) = receive(&mut socket).await {
        log.lock().unwrap().push(request.clone());
        match answer(&request) {
            Reply::Bytes(bytes) => {
                if socket.write_all(&bytes).await.is_err() {
                    return;
                }
            }
            Reply::Hang => std::future::pending().await,
            Reply::Drop => return,
            Reply::Flood => {
                let head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
                let mut chunk = b"100000\r\n".to_vec();
                chunk.resize(chunk.len() + (1 << 20), b'x');
                chunk.extend_from_slice(b"\r\n");
                let _ = socket.write_all(head).await;
                for _ in 0..200 {
                    if socket.write_all(&chunk).await.is_err() {
                        return;
                    }
                }
            }
        }
    }
}

/// One request, head and body; none at the end of the connection.
async fn receive(socket: &mut TcpStream) -> Option<String> {
    let mut bytes = Vec::new();
    loop {
        if socket.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        let length = head.lines().find_map(|line| {
            line.to_ascii_lowercase().strip_prefix("content-length:")?.trim().parse::<usize>().ok()
        });
        if body.len() >= length.unwrap_or(0) {
            return Some(text);
        }
    }
}

fn answer(status: &str, headers: &str, body: &[u8]) -> Reply {
    let mut bytes = format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\n{headers}\r\n", body.len())
        .into_bytes();
    bytes.extend_from_slice(body);
    Reply::Bytes(bytes)
}

fn json_answer(body: &Value) -> Reply {
    answer("200 OK", "Content-Type: application/json\r\n", body.to_string().as_bytes())
}

fn map(value: Value) -> Map<String, Value> {
    let Value::Object(map) = value else { panic!("a map") };
    map
}

async fn call(tool: &Http, config: Value) -> Result<Value, (ToolFailure, Value)> {
    let call = Call {
        config: map(config),
        args: Map::new(),
        context: None,
        idempotency_key: "c1.0",
        deadline: Instant::now() + Duration::from_secs(20),
        attempt: 1,
        execution_id: "1",
        step: "fetch",
        saves: false,
        progress: crate::tool::Progress::default(),
    };
    tool.call(&call).await.map(|success| success.result).map_err(|error| {
        let (failure, left) = error.into_failure();
        (failure, left.result)
    })
}

fn open() -> Http {
    Http::new(HttpPolicy { guard: false })
}

#[tokio::test]
async fn a_json_answer_is_a_value() {
    let server =
        Server::start(|_| json_answer(&json!({"items": [1], "paging": {"more": false}}))).await;
    let config = json!({"endpoint": format!("{}/a", server.url), "method": "post", "payload": {"x": 1},
        "auth": {"type": "bearer", "token": "t0k"}});
    let mut result = call(&open(), config).await.unwrap();
    assert!(result["elapsed"].as_f64().unwrap() >= 0.0);
    result["elapsed"] = json!(0);
    let body = json!({"items": [1], "paging": {"more": false}});
    assert_eq!(
        result,
        json!({
            "id": "c1.0", "status": 200, "status_code": 200,
            "headers": {"content-length": "37", "content-type": "application/json"},
            "url": format!("{}/a", server.url), "elapsed": 0, "data": body, "body": body,
            "metadata": {"status_code": 200},
        })
    );
    let request = server.requests().remove(0).to_ascii_lowercase();
    for part in
        ["post /a", "authorization: bearer t0k", "idempotency-key: c1.0", "\r\n\r\n{\"x\":1}"]
    {
        assert!(request.contains(part), "{part} in {request}");
    }
}

/// Name, content type, body, value, encoding.
type Row = (&'static str, &'static str, &'static [u8], Value, Option<&'static str>);

#[tokio::test]
async fn a_body_is_decoded_by_its_content_type() {
    #[rustfmt::skip]
    let cases: [Row; 10] = [
        ("suffix +json", "application/problem+json", b"{\"a\":1}", json!({"a": 1}), None),
        ("bad JSON is text", "application/json", b"{oops", json!("{oops"), None),
        ("empty JSON is null", "application/json", b"", json!(null), None),
        ("text", "text/plain", "h\u{e9}".as_bytes(), json!("h\u{e9}"), None),
        ("latin-1 text", "text/plain; charset=iso-8859-1", b"h\xe9", json!("h\u{e9}"), None),
        ("utf-16 text", "text/html; charset=utf-16le", b"h\x00i\x00", json!("hi"), None),
        ("unlabelled text", "application/octet-stream", b"plain", json!("plain"), None),
        ("bytes", "image/png", b"\x89PNG\xff", json!("iVBOR/8="), Some("base64")),
        ("CSV", "text/csv", b"a,b\n", json!("a,b\n"), None),
        ("broken text", "text/plain", b"a\xffb", json!("a\u{fffd}b"), None),
    ];
    for (name, kind, body, expect, encoding) in cases {
        let (kind, body) = (format!("Content-Type: {kind}\r\n"), body.to_vec());
        let server = Server::start(move |_| answer("200 OK", &kind, &body)).await;
        let result = call(&open(), json!({"url": server.url})).await.unwrap();
        assert_eq!((&result["data"], &result["body"]), (&expect, &expect), "{name}");
        assert_eq!(result.get("encoding").and_then(Value::as_str), encoding, "{name}");
    }
}

#[tokio::test]
async fn response_type_overrides_the_content_type() {
    let server =
        Server::start(|_| answer("200 OK", "Content-Type: text/html\r\n", b"{\"a\":1}")).await;
    for (kind, expect) in
        [("json", json!({"a": 1})), ("text", json!("{\"a\":1}")), ("binary", json!("eyJhIjoxfQ=="))]
    {
        let result =
            call(&open(), json!({"url": server.url, "response_type": kind})).await.unwrap();
        assert_eq!(result["data"], expect, "{kind}");
    }
    let server = Server::start(|_| answer("200 OK", "Content-Type: text/html\r\n", b"<p>")).await;
    let (failure, _) =
        call(&open(), json!({"url": server.url, "response_type": "json"})).await.unwrap_err();
    assert_eq!(failure.kind, "DecodeError");
    assert!(failure.message.contains("leave out `response_type: json`"), "{}", failure.message);
}

#[tokio::test]
async fn d38_a_response_has_its_status_under_both_names() {
    let server = Server::start(|_| answer("202 Accepted", "", b"")).await;
    let result = call(&open(), json!({"url": server.url})).await.unwrap();
    assert_eq!((&result["status"], &result["status_code"]), (&json!(202), &json!(202)));
}

#[tokio::test]
async fn d37_a_status_that_is_no_success_is_an_error_with_its_result() {
    for (status, retryable, text) in [
        ("404 Not Found", false, "HTTP 404: Not Found (GET "),
        ("429 Too Many Requests", true, "HTTP 429: Too Many Requests"),
        ("500 Internal Server Error", true, "HTTP 500"),
        ("503 Service Unavailable", true, "HTTP 503: Service Unavailable"),
        ("401 Unauthorized", false, "check `auth`"),
        ("304 Not Modified", false, "HTTP 304"),
    ] {
        let body = if status.starts_with("304") { &b""[..] } else { br#"{"why":"x"}"# };
        let server =
            Server::start(move |_| answer(status, "Content-Type: application/json\r\n", body))
                .await;
        let (failure, result) = call(&open(), json!({"url": server.url})).await.unwrap_err();
        let code: i64 = status[..3].parse().unwrap();
        assert_eq!(
            (failure.kind.as_str(), failure.status, failure.retryable),
            ("HTTPError", Some(code), retryable)
        );
        assert!(failure.message.contains(text), "{}", failure.message);
        assert_eq!(result["status"], json!(code));
        if !body.is_empty() {
            assert_eq!(result["data"], json!({"why": "x"}));
        }
    }
}

#[tokio::test]
async fn a_connection_that_fails_is_transient_and_says_the_cure() {
    let nobody = {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        format!("http://{}", listener.local_addr().unwrap())
    };
    let reset = Server::start(|_| Reply::Drop).await;
    let cut =
        Server::start(|_| Reply::Bytes(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nab".to_vec()))
            .await;
    let hang = Server::start(|_| Reply::Hang).await;
    #[rustfmt::skip]
    let cases = [
        ("refused", nobody, "ConnectionError", "check host, port"),
        ("reset", reset.url, "ConnectionError", "try again"),
        ("silence in the body", cut.url, "TimeoutError", "raise the tool's `timeout`"),
        ("no such host", "http://no-such-host.invalid/".to_owned(), "ConnectionError", "check host"),
        ("silence", hang.url, "TimeoutError", "raise the tool's `timeout`"),
    ];
    for (name, url, kind, cure) in cases {
        let config = json!({"url": url, "timeout": {"connect": 5, "read": 0.2, "total": 5.2}});
        let config =
            if name == "silence" { json!({"url": url, "timeout": "200ms"}) } else { config };
        let (failure, _) = call(&open(), config).await.unwrap_err();
        assert_eq!(
            (failure.kind.as_str(), failure.retryable),
            (kind, true),
            "{name}: {}",
            failure.message
        );
        assert!(failure.message.contains(cure), "{name}: {}", failure.message);
    }
}

#[tokio::test]
async fn a_flood_is_cut_off() {
    let flood = Server::start(|_| Reply::Flood).await;
    let announced = Server::start(|_| {
        Reply::Bytes(b"HTTP/1.1 200 OK\r\nContent-Length: 209715200\r\n\r\n".to_vec())
    })
    .await;
    for url in [flood.url, announced.url] {
        let (failure, _) = call(&open(), json!({"url": url})).await.unwrap_err();
        assert_eq!((failure.kind.as_str(), failure.retryable), ("ResponseTooLarge", false));
        assert!(failure.message.contains("32 MiB"), "{}", failure.message);
    }
}

/// Answers `/{status}` with a redirect to `/end`, and `/end` with what was asked.
async fn redirecting() -> Server {
    Server::start(|request| {
        let path = request.split(' ').nth(1).unwrap();
        match path {
            "/end" => json_answer(&json!(request.split("\r\n").next().unwrap())),
            "/loop" => answer("302 Found", "Location: /loop\r\n", b""),
            _ => answer(&format!("{} Moved", &path[1..]), "Location: /end\r\n", b"no"),
        }
    })
    .await
}

#[tokio::test]
async fn redirects_are_followed_only_when_asked() {
    let server = redirecting().await;
    let (failure, result) =
        call(&open(), json!({"url": format!("{}/302", server.url)})).await.unwrap_err();
    assert!(failure.message.contains("`follow_redirects: true`"), "{}", failure.message);
    assert_eq!((failure.status, &result["headers"]["location"]), (Some(302), &json!("/end")));

    #[rustfmt::skip]
    let cases = [
        ("GET", 301, "GET"), ("POST", 301, "GET"), ("POST", 302, "GET"), ("POST", 303, "GET"),
        ("PUT", 303, "GET"), ("PUT", 302, "PUT"), ("POST", 307, "POST"), ("POST", 308, "POST"),
    ];
    for (method, status, becomes) in cases {
        let config = json!({"url": format!("{}/{status}", server.url), "method": method,
            "json": {"x": 1}, "follow_redirects": true});
        let result = call(&open(), config).await.unwrap();
        assert_eq!(result["data"], json!(format!("{becomes} /end HTTP/1.1")), "{method} {status}");
        let last = server.requests().pop().unwrap();
        let expect = method == becomes;
        assert_eq!(last.contains("{\"x\":1}"), expect, "{method} {status}: {last}");
        assert_eq!(result["url"], json!(format!("{}/end", server.url)));
    }
    let config = json!({"url": format!("{}/loop", server.url), "follow_redirects": true});
    assert_eq!(call(&open(), config).await.unwrap_err().0.kind, "TooManyRedirects");
}

#[tokio::test]
async fn credentials_stay_with_their_origin() {
    let target = Server::start(|_| json_answer(&json!("ok"))).await;
    let location = format!("Location: {}/x\r\n", target.url);
    let source = Server::start(move |request| {
        if request.starts_with("GET /same") {
            answer("302 Found", "Location: /x\r\n", b"")
        } else if request.starts_with("GET /x") {
            json_answer(&json!("ok"))
        } else {
            answer("302 Found", &location, b"")
        }
    })
    .await;
    let config = |path: &str| {
        json!({"url": format!("{}/{path}", source.url), "follow_redirects": true,
            "headers": {"Cookie": "c=1", "Authorization": "Bearer s3cret", "X-Plain": "p"},
            "auth": {"type": "api_key", "header_name": "X-Key", "value": "k3y"}})
    };
    call(&open(), config("other")).await.unwrap();
    call(&open(), config("same")).await.unwrap();
    let away = target.requests().remove(0);
    assert!(away.contains("x-plain: p"), "{away}");
    assert!(!away.contains("s3cret") && !away.contains("c=1") && !away.contains("k3y"), "{away}");
    let home = source.requests().pop().unwrap();
    assert!(home.contains("s3cret") && home.contains("c=1") && home.contains("k3y"), "{home}");
}

#[tokio::test]
async fn connections_are_kept() {
    let server = Server::start(|_| json_answer(&json!(1))).await;
    let tool = open();
    for _ in 0..1_000 {
        call(&tool, json!({"url": server.url})).await.unwrap();
    }
    assert_eq!((server.connections(), server.requests().len()), (1, 1_000));
}

#[tokio::test]
async fn multipart_fields_are_sent_with_a_boundary() {
    let server = Server::start(|_| json_answer(&json!(1))).await;
    let config = json!({"url": server.url, "method": "POST", "payload": {"a": "x"},
        "headers": {"Content-Type": "multipart/form-data"}});
    call(&open(), config).await.unwrap();
    let request = server.requests().remove(0).to_ascii_lowercase();
    assert!(request.contains("content-type: multipart/form-data; boundary="), "{request}");
    assert!(request.contains("name=\"a\""), "{request}");
}

#[tokio::test]
async fn a_guarded_worker_reaches_nothing_private() {
    let trap = Server::start(|_| json_answer(&json!("caught"))).await;
    let port = trap.url.rsplit(':').next().unwrap().to_owned();
    let tool = Http::new(HttpPolicy { guard: true });
    let hosts = [
        "127.0.0.1",
        "localhost",
        "LOCALHOST",
        "127.1",
        "127.0.1",
        "2130706433",
        "0x7f000001",
        "0x7f.0.0.1",
        "0x7f.1",
        "0177.0.0.1",
        "017700000001",
        "127.0.0.1.",
        "user@127.0.0.1",
        "user:pass@127.0.0.1",
        "example.com@127.0.0.1",
        "%31%32%37.0.0.1",
        "\u{ff11}\u{ff12}\u{ff17}.0.0.1",
        "127\u{3002}0\u{3002}0\u{3002}1",
        "127.255.255.254",
        "0.0.0.0",
        "0",
        "0.0.0.1",
        "[::1]",
        "[::]",
        "[0:0:0:0:0:0:0:1]",
        "[::ffff:127.0.0.1]",
        "[::ffff:7f00:1]",
        "[::127.0.0.1]",
        "[64:ff9b::7f00:1]",
        "[2002:7f00:1::]",
        "10.0.0.1",
        "172.16.0.1",
        "172.31.255.255",
        "192.168.0.1",
        "100.64.0.1",
        "169.254.169.254",
        "[fd00:ec2::254]",
        "[fe80::1]",
        "[fc00::1]",
        "[ff02::1]",
        "224.0.0.1",
        "255.255.255.255",
        "169.254.170.2",
        "2852039166",
        "0xa9fea9fe",
        "[::ffff:169.254.169.254]",
        "198.18.0.1",
    ];
    for host in hosts {
        let config = json!({"url": format!("http://{host}:{port}/"), "timeout": 5});
        let (failure, _) = call(&tool, config).await.unwrap_err();
        assert_eq!(failure.kind, "ForbiddenAddress", "{host}: {}", failure.message);
        assert!(!failure.retryable, "{host}");
    }
    // Whether this name resolves is the system's choice; that nobody is reached is ours.
    call(&tool, json!({"url": format!("http://localhost.:{port}/")})).await.unwrap_err();
    for url in ["file:///etc/passwd", "ftp://127.0.0.1/", "gopher://127.0.0.1:1/", "data:,x"] {
        let (failure, _) = call(&tool, json!({"url": url})).await.unwrap_err();
        assert!(failure.message.contains("not an http or https URL"), "{url}: {}", failure.message);
    }
    assert_eq!(trap.connections(), 0);
}

#[tokio::test]
async fn each_redirect_is_checked_again() {
    let clients = Clients::new(HttpPolicy { guard: true });
    let mut request = Request::of(&Call {
        config: map(json!({"url": "http://93.184.216.34/", "follow_redirects": true})),
        args: Map::new(),
        context: None,
        idempotency_key: "c",
        deadline: Instant::now(),
        attempt: 1,
        execution_id: "1",
        step: "s",
        saves: false,
        progress: crate::tool::Progress::default(),
    })
    .unwrap();
    assert!(clients.check(&request.url).is_ok());
    request.url = request.url.join("http://169.254.169.254/latest/meta-data/").unwrap();
    assert_eq!(clients.check(&request.url).unwrap_err().kind(), "ForbiddenAddress");
}
