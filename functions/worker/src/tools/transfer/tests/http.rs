//! From HTTP to HTTP: the loop, the pages, the failures.

use serde_json::{Value, json};

use super::servers::{Server, answer, json_answer, tool, transfer, transfer_with, watched};

/// Accepts every chunk.
async fn sink() -> Server {
    Server::start(|_| json_answer(&json!({"ok": true}))).await
}

/// The bodies that a sink was sent.
fn bodies(sink: &Server) -> Vec<Value> {
    let body =
        |request: String| serde_json::from_str(request.split_once("\r\n\r\n").unwrap().1).unwrap();
    sink.requests().into_iter().map(body).collect()
}

#[tokio::test]
async fn rows_go_through_chunk_by_chunk() {
    let rows: Vec<_> =
        (0..25).map(|n| json!({"id": n, "user": {"name": format!("u{n}")}})).collect();
    let source = Server::start(move |_| json_answer(&json!({"data": {"rows": rows}}))).await;
    let sink = sink().await;
    let (progress, seen) = watched();
    let config = json!({
        "source": {"type": "http", "url": source.url, "data_path": "data.rows"},
        "target": {"type": "http", "url": sink.url},
        "mapping": {"n": "id", "who": "user.name"}, "chunk_size": 10,
    });
    let result = transfer_with(&tool(), config, progress).await.unwrap();
    assert_eq!(
        result,
        json!({"status": "success", "rows_transferred": 25, "rows_affected": 25,
        "chunks_processed": 3, "records_fetched": 25})
    );
    assert_eq!(*seen.borrow(), json!({"rows_transferred": 25, "chunks": 3}));
    let bodies = bodies(&sink);
    assert_eq!(
        bodies.iter().map(|body| body.as_array().unwrap().len()).collect::<Vec<_>>(),
        [10, 10, 5]
    );
    assert_eq!(bodies[2][4], json!({"n": 24, "who": "u24"}));
    let keys = ["idempotency-key: c1.0", "idempotency-key: c1.1", "idempotency-key: c1.2"];
    for (request, key) in sink.requests().iter().zip(keys) {
        assert!(request.contains(key) && request.starts_with("POST "), "{request}");
    }
}

#[tokio::test]
async fn nothing_to_carry_is_no_error() {
    let source = Server::start(|_| json_answer(&json!([]))).await;
    let sink = sink().await;
    let result = transfer(json!({
        "source": {"type": "http", "url": source.url}, "target": {"type": "http", "url": sink.url},
        "mapping": {"a": "b"},
    }));
    assert_eq!(result.await.unwrap()["rows_transferred"], json!(0));
    assert!(sink.requests().is_empty());
}

#[tokio::test]
async fn lines_csv_and_other_character_sets_are_rows() {
    let latin = b"a,b\n1,h\xe9\n".to_vec();
    #[rustfmt::skip]
    let cases = [
        ("application/x-ndjson", b"{\"a\":1}\n{\"a\":2}\n".to_vec(), json!({}), json!([{"a": 1}, {"a": 2}])),
        ("text/plain", b"{\"a\":1}\n".to_vec(), json!({"format": "jsonl"}), json!([{"a": 1}])),
        ("text/csv; charset=utf-8", "a,b\n1,hé\n".as_bytes().to_vec(), json!({}), json!([{"a": "1", "b": "hé"}])),
        ("text/csv; charset=iso-8859-1", latin, json!({}), json!([{"a": "1", "b": "hé"}])),
        ("text/plain", b"a\tb\n1\t2\n".to_vec(), json!({"format": "csv", "delimiter": "\\t"}), json!([{"a": "1", "b": "2"}])),
    ];
    for (kind, body, extra, expect) in cases {
        let header = format!("Content-Type: {kind}\r\n");
        let source = Server::start(move |_| answer(&header, &body)).await;
        let sink = sink().await;
        let mut config = json!({"type": "http", "url": source.url});
        config.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
        let config = json!({"source": config, "target": {"type": "http", "url": sink.url}});
        transfer(config).await.unwrap();
        assert_eq!(bodies(&sink), [expect], "{kind}");
    }
}

#[tokio::test]
async fn pages_are_followed_and_credentials_stay_at_home() {
    let elsewhere =
        Server::start(|_| json_answer(&json!({"items": [{"a": 3}], "next": null}))).await;
    let away = format!("{}/p3", elsewhere.url);
    let source = Server::start(move |request| {
        if request.starts_with("GET /p1?size=2 ") {
            json_answer(&json!({"next": "/p2?size=2", "items": [{"a": 1}]}))
        } else {
            assert!(request.starts_with("GET /p2?size=2 "), "{request}");
            json_answer(&json!({"items": [{"a": 2}], "next": away}))
        }
    })
    .await;
    let sink = sink().await;
    let config = json!({
        "source": {"type": "http", "url": format!("{}/p1", source.url), "params": {"size": 2},
            "data_path": "items", "next_url_path": "next", "auth": {"type": "bearer", "token": "t0k"}},
        "target": {"type": "http", "url": sink.url},
    });
    assert_eq!(transfer(config).await.unwrap()["records_fetched"], json!(3));
    assert_eq!(bodies(&sink), [json!([{"a": 1}, {"a": 2}, {"a": 3}])]);
    assert!(source.requests().iter().all(|request| request.contains("Bearer t0k")));
    assert!(!elsewhere.requests()[0].contains("t0k"));
}

#[tokio::test]
async fn a_link_header_names_the_next_page() {
    let source = Server::start(|request| {
        let (link, rows) = if request.starts_with("GET /?page=2 ") {
            ("</>; rel=\"first\"", json!([{"a": 2}]))
        } else {
            ("</a,b>; rel=\"prev\", </?page=2>; rel=\"next\"", json!([{"a": 1}]))
        };
        answer(&format!("Link: {link}\r\nContent-Type: application/json\r\n"), rows.to_string())
    })
    .await;
    let sink = sink().await;
    transfer(json!({"source": {"type": "http", "url": source.url}, "target": {"type": "http", "url": sink.url}}))
        .await
        .unwrap();
    assert_eq!(bodies(&sink), [json!([{"a": 1}, {"a": 2}])]);
}

#[tokio::test]
async fn a_page_that_names_itself_is_refused() {
    let source =
        Server::start(|_| json_answer(&json!({"items": [{"a": 1}], "next": "/same"}))).await;
    let sink = sink().await;
    let (failure, _) = transfer(json!({
        "source": {"type": "http", "url": source.url, "data_path": "items", "next_url_path": "next"},
        "target": {"type": "http", "url": sink.url},
    }))
    .await
    .unwrap_err();
    assert_eq!((failure.kind.as_str(), failure.retryable), ("PaginationLoop", false));
}

#[tokio::test]
async fn a_source_that_dies_in_the_middle_is_retryable_and_says_how_far_it_came() {
    let rows: Vec<_> = (0..30).map(|n| json!({"id": n}).to_string()).collect();
    let cut = format!("[{}", rows.join(","));
    let announced = format!("HTTP/1.1 200 OK\r\nContent-Length: 9999\r\n\r\n{cut}");
    let unannounced = format!("HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n{cut}");
    for head in [announced, unannounced] {
        let source = Server::start(move |_| head.clone().into_bytes()).await;
        let sink = sink().await;
        let (failure, left) = transfer(json!({
            "source": {"type": "http", "url": source.url},
            "target": {"type": "http", "url": sink.url}, "chunk_size": 10,
        }))
        .await
        .unwrap_err();
        assert_eq!(
            (failure.kind.as_str(), failure.retryable),
            ("ConnectionError", true),
            "{}",
            failure.message
        );
        let (written, sent) = (&left["rows_transferred"], bodies(&sink).len());
        assert_eq!(*written, json!(sent * 10), "{}", failure.message);
        let begin = format!("chunk {}: ", sent + 1);
        let place = format!("GET {}", source.url);
        assert!(failure.message.starts_with(&begin), "{}", failure.message);
        assert!(failure.message.contains(&place), "{}", failure.message);
    }
}

#[tokio::test]
async fn a_target_that_refuses_a_chunk_says_which_rows_stay() {
    let source = Server::start(|_| json_answer(&(0..30).map(|n| json!({"id": n})).collect())).await;
    let sink = Server::start(|request| {
        if request.contains("\"id\":20") {
            b"HTTP/1.1 422 Unprocessable\r\nContent-Length: 0\r\n\r\n".to_vec()
        } else {
            json_answer(&json!(1))
        }
    })
    .await;
    let (failure, left) = transfer(json!({
        "source": {"type": "http", "url": source.url},
        "target": {"type": "http", "url": sink.url, "data_path": "rows"}, "chunk_size": 10,
    }))
    .await
    .unwrap_err();
    assert_eq!(
        (failure.kind.as_str(), failure.status, failure.retryable),
        ("HTTPError", Some(422), false)
    );
    assert!(
        failure.message.starts_with("chunk 3: rows 21 to 30 of the source: HTTP 422")
            && failure.message.contains("the 20 rows of the 2 chunks before are written and stay"),
        "{}",
        failure.message
    );
    assert_eq!((&left["status"], &left["rows_transferred"]), (&json!("error"), &json!(20)));
}

#[tokio::test]
async fn what_a_source_answers_is_judged_before_anything_is_written() {
    let sink = sink().await;
    for (body, extra, kind, expect) in [
        (json!({"items": []}), json!({"data_path": "rows"}), "DecodeError", "there is `items`"),
        (json!([1]), json!({}), "DecodeError", "row 1 is a number"),
        (json!([{"a": 1}]), json!({"format": "xml"}), "InputError", "`format: xml`"),
        (json!([{"a": 1}]), json!({"next_url_path": "n"}), "InputError", "`data_path` must say"),
    ] {
        let source = Server::start(move |_| json_answer(&body)).await;
        let mut config = json!({"type": "http", "url": source.url});
        config.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
        let config = json!({"source": config, "target": {"type": "http", "url": sink.url}});
        let (failure, _) = transfer(config).await.unwrap_err();
        assert_eq!((failure.kind.as_str(), failure.retryable), (kind, false));
        assert!(failure.message.contains(expect), "{}", failure.message);
    }
    assert!(sink.requests().is_empty());
}
