use std::time::Duration;

use engine_core::limits::{S3_OBJECT_BYTES_MAX, S3_PART_BYTES};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::time::Instant;

use super::format::Format;
use super::*;
use crate::aws::tests::{Scripted, call, call_with, client, emulator, endpoint, soon, unique};
use crate::tool::Progress;

/// A new bucket of the emulator.
async fn bucket() -> String {
    let name = unique("bucket");
    let url = format!("{}/{name}", endpoint());
    let status = reqwest::Client::new().put(url).send().await.unwrap().status();
    assert!(status.is_success(), "{status}");
    name
}

fn s3() -> S3 {
    // The client that makes buckets needs what the first one of a worker installs.
    let url = reqwest::Url::parse("http://127.0.0.1:1").unwrap();
    emulator().http(&url).unwrap();
    S3::new(emulator())
}

/// Name of the object, what is written, what is read, format.
type Row = (&'static str, Value, Value, &'static str);

#[tokio::test]
async fn what_is_put_is_got_in_its_format() {
    let (tool, bucket) = (s3(), bucket().await);
    let rows = json!([{"id": 1, "name": "a,\"b\""}, {"id": 2, "name": null, "x": [1]}]);
    let flat = json!([
        {"id": "1", "name": "a,\"b\"", "x": ""},
        {"id": "2", "name": "", "x": "[1]"},
    ]);
    #[rustfmt::skip]
    let table: Vec<Row> = vec![
        ("dir/a.json", json!({"data": rows}), rows.clone(), "json"),
        ("plain", json!({"body": {"a": 1}, "format": "json"}), json!("{\"a\":1}"), "text"),
        ("note.txt", json!({"body": "Grüße\n"}), json!("Grüße\n"), "text"),
        ("rows.jsonl", json!({"data": rows}), rows.clone(), "jsonl"),
        ("rows.csv", json!({"data": rows}), flat, "csv"),
        ("one.ndjson", json!({"data": {"a": 1}}), json!([{"a": 1}]), "jsonl"),
        ("raw.bin", json!({"body": "/wABgA==", "format": "base64"}), json!("/wABgA=="), "base64"),
        ("with space/ü+%.txt", json!({"body": "x"}), json!("x"), "text"),
        ("empty.csv", json!({"data": []}), json!([]), "csv"),
    ];
    for (key, mut config, value, format) in table {
        config["operation"] = json!("put");
        config["bucket"] = json!(bucket);
        config["key"] = json!(key);
        let put = call(&tool, config).await.unwrap();
        let uri = format!("s3://{bucket}/{key}");
        assert_eq!((&put["status"], &put["uri"]), (&json!("success"), &json!(uri)), "{key}");
        let got = call(&tool, json!({"operation": "get", "uri": uri})).await.unwrap();
        assert_eq!((&got["data"], &got["format"]), (&value, &json!(format)), "{key}");
        assert_eq!((&got["bytes"], &got["etag"]), (&put["bytes"], &put["etag"]), "{key}");
        assert!(put["etag"].is_string(), "{put}");
    }
}

#[tokio::test]
async fn a_listing_is_bounded_and_says_if_there_is_more() {
    let (tool, bucket) = (s3(), bucket().await);
    for key in ["a/1", "a/2", "a/3", "ab", "b"] {
        let config = json!({"operation": "put", "bucket": bucket, "key": key, "body": "x"});
        call(&tool, config).await.unwrap();
    }
    #[rustfmt::skip]
    let table = [
        (json!({}), vec!["a/1", "a/2", "a/3", "ab", "b"], false),
        (json!({"prefix": "a"}), vec!["a/1", "a/2", "a/3", "ab"], false),
        (json!({"prefix": "a/", "limit": 2}), vec!["a/1", "a/2"], true),
        (json!({"prefix": "zzz"}), vec![], false),
    ];
    for (mut config, expect, truncated) in table {
        config["operation"] = json!("list");
        config["bucket"] = json!(bucket);
        let list = call(&tool, config).await.unwrap();
        let objects = list["objects"].as_array().unwrap();
        let keys: Vec<_> = objects.iter().map(|object| object["key"].as_str().unwrap()).collect();
        assert_eq!((keys, &list["truncated"]), (expect, &json!(truncated)));
        assert_eq!(list["count"], json!(objects.len()));
    }
}

#[tokio::test]
async fn head_and_delete_tell_what_is_there() {
    let (tool, bucket) = (s3(), bucket().await);
    let at = |operation: &str| json!({"operation": operation, "bucket": bucket, "key": "k.json"});
    let mut put = at("put");
    put["data"] = json!({"a": 1});
    put["metadata"] = json!({"team": "blue"});
    call(&tool, put).await.unwrap();
    let head = call(&tool, at("head")).await.unwrap();
    assert_eq!((&head["bytes"], &head["content_type"]), (&json!(7), &json!("application/json")));
    assert_eq!((&head["metadata"], &head["exists"]), (&json!({"team": "blue"}), &json!(true)));
    assert_eq!(head.get("data"), None);
    call(&tool, at("delete")).await.unwrap();
    for operation in ["head", "get"] {
        let (failure, _) = call(&tool, at(operation)).await.unwrap_err();
        assert_eq!((failure.kind.as_str(), failure.retryable), ("NoSuchKey", false));
        assert!(failure.message.contains("`k.json`"), "{}", failure.message);
        let mut config = at(operation);
        config["missing_ok"] = json!(true);
        let found = call(&tool, config).await.unwrap();
        assert_eq!((&found["exists"], &found["data"]), (&json!(false), &Value::Null));
    }
}

#[tokio::test]
async fn a_conditional_put_succeeds_once_and_again_for_the_same_command() {
    let (tool, bucket) = (s3(), bucket().await);
    let config = json!({"operation": "put", "bucket": bucket, "key": "k", "body": "1",
        "if_none_match": "*"});
    call(&tool, config.clone()).await.unwrap();
    call(&tool, config.clone()).await.unwrap();
    let Value::Object(map) = config else { panic!("a map") };
    let other = Call {
        config: map,
        args: serde_json::Map::new(),
        context: None,
        idempotency_key: "another command",
        deadline: soon(),
        attempt: 1,
        execution_id: "1",
        step: "s",
        saves: false,
        progress: Progress::default(),
    };
    let error = tool.call(&other).await.unwrap_err();
    assert_eq!(error.kind(), "PreconditionFailed");
    assert!(error.message().contains("`if_none_match`"), "{error}");
}

#[tokio::test]
async fn a_sink_puts_its_rows() {
    let (tool, bucket) = (s3(), bucket().await);
    let config = json!({"bucket": bucket, "key": "rows.jsonl", "data": [{"a": 1}, {"a": 2}]});
    let Value::Object(config) = config else { panic!("a map") };
    let sink = Call {
        config,
        args: serde_json::Map::new(),
        context: None,
        idempotency_key: "e1.s1.1",
        deadline: soon(),
        attempt: 1,
        execution_id: "1",
        step: "s",
        saves: true,
        progress: Progress::default(),
    };
    tool.call(&sink).await.unwrap();
    let config =
        json!({"operation": "get", "bucket": bucket, "key": "rows.jsonl", "format": "text"});
    let got = call(&tool, config).await.unwrap();
    assert_eq!(got["data"], json!("{\"a\":1}\n{\"a\":2}\n"));
}

#[tokio::test]
async fn what_cannot_be_done_says_what_to_change() {
    let tool = s3();
    #[rustfmt::skip]
    let table = [
        (json!({}), "InputError", "`operation` is missing; it is `get`"),
        (json!({"operation": "copy"}), "InputError", "`copy` is no operation"),
        (json!({"operation": "get"}), "InputError", "give `bucket` and `key`"),
        (json!({"operation": "get", "uri": "http://x"}), "InputError", "write `s3://bucket/key`"),
        (json!({"operation": "get", "bucket": "b?x"}), "InputError", "is no name of a bucket"),
        (json!({"operation": "get", "bucket": "bbb"}), "InputError", "the key of the object is empty"),
        (json!({"operation": "get", "bucket": "bbb", "key": "a//b"}), "InputError", "is no key"),
        (json!({"operation": "put", "bucket": "bbb", "key": "k"}), "InputError", "give `data` or `body`"),
        (json!({"operation": "put", "bucket": "bbb", "key": "k", "data": 1, "format": "xls"}), "InputError", "`format: xls` is unknown"),
        (json!({"operation": "put", "bucket": "bbb", "key": "k", "data": [1], "format": "csv"}), "InputError", "list of maps"),
        (json!({"operation": "list", "bucket": "bbb", "limit": 0}), "InputError", "`limit` is a number from 1"),
        (json!({"operation": "get", "uri": "s3://ct-no-such-bucket-1/k"}), "NoSuchBucket", "create the bucket `ct-no-such-bucket-1`"),
    ];
    for (config, kind, says) in table {
        let name = config.to_string();
        let (failure, _) = call(&tool, config).await.unwrap_err();
        assert_eq!((failure.kind.as_str(), failure.retryable), (kind, false), "{name}");
        assert!(failure.message.contains(says), "{name}: {}", failure.message);
    }
}

#[tokio::test]
async fn an_object_that_is_not_what_was_asked_for_is_no_panic() {
    #[rustfmt::skip]
    let table: [(&str, &[u8], &str); 6] = [
        ("json", b"{\"a\":", "is not JSON"),
        ("jsonl", b"{}\n\nnope\n", "line 3"),
        ("csv", b"a,b\n1\n", "1 fields in row 1, and 2 columns"),
        ("csv", b"a\n\"open", "ends inside a quoted field"),
        ("text", b"\xff", "is not UTF-8"),
        ("csv", b"\xff", "is not UTF-8"),
    ];
    for (format, bytes, says) in table {
        let error =
            Format::named(Some(format)).unwrap().unwrap().read(bytes, "s3://b/k").unwrap_err();
        assert_eq!(error.kind(), "DecodeError", "{format}");
        assert!(error.message().contains(says), "{format}: {error}");
    }
}

#[tokio::test]
async fn large_objects_are_moved_in_parts_and_refused_as_values() {
    let (tool, name) = (s3(), bucket().await);
    let bucket = Bucket::open(&emulator(), &name, soon()).unwrap();
    let mut writer = bucket.write("large.bin", "application/octet-stream").unwrap();
    let chunk: Vec<u8> = (0..=u8::MAX).cycle().take(700_001).collect();
    let chunks = S3_OBJECT_BYTES_MAX / chunk.len() + 1;
    for _ in 0..chunks {
        writer.write(&chunk).await.unwrap();
    }
    let written = writer.finish().await.unwrap();
    assert_eq!(written.bytes, (chunks * chunk.len()) as u64);
    assert!(written.bytes > 2 * S3_PART_BYTES as u64);
    let mut reader = bucket.read("large.bin").await.unwrap();
    assert_eq!(reader.bytes, written.bytes);
    let mut read = Vec::new();
    while let Some(bytes) = reader.next().await.unwrap() {
        read.extend_from_slice(&bytes);
    }
    assert!(read == chunk.repeat(chunks), "the bytes differ");
    let config = json!({"operation": "get", "bucket": name, "key": "large.bin"});
    let (failure, _) = call(&tool, config).await.unwrap_err();
    assert_eq!(failure.kind, "ObjectTooLarge");
    assert!(failure.message.contains("`transfer`"), "{}", failure.message);
}

#[tokio::test]
async fn a_small_or_aborted_stream_leaves_one_object_or_none() {
    s3();
    let name = bucket().await;
    let bucket = Bucket::open(&emulator(), &name, soon()).unwrap();
    let mut small = bucket.write("small.txt", "text/plain").unwrap();
    small.write(b"a").await.unwrap();
    small.write(b"b").await.unwrap();
    assert_eq!(small.finish().await.unwrap().bytes, 2);
    let mut aborted = bucket.write("aborted.bin", "application/octet-stream").unwrap();
    aborted.write(&vec![1; S3_PART_BYTES + 1]).await.unwrap();
    aborted.abort().await;
    let list = call(&S3::new(emulator()), json!({"operation": "list", "bucket": name})).await;
    let objects = list.unwrap()["objects"].clone();
    assert_eq!(objects.as_array().unwrap().len(), 1, "{objects}");
}

#[tokio::test]
async fn a_store_that_is_away_is_retryable() {
    let free = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let dead = S3::new(client(&format!("http://{free}")));
    let config = json!({"operation": "get", "bucket": "bbb", "key": "k"});
    let (failure, _) = call(&dead, config.clone()).await.unwrap_err();
    assert_eq!((failure.kind.as_str(), failure.retryable), ("ConnectionError", true));
    let busy = Scripted::start(vec![(503, "", "<Error><Code>SlowDown</Code></Error>")]).await;
    let (failure, _) = call(&S3::new(client(&busy.url)), config.clone()).await.unwrap_err();
    assert_eq!((failure.kind.as_str(), failure.retryable), ("SlowDown", true));
    let hanging = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let slow = S3::new(client(&format!("http://{}", hanging.local_addr().unwrap())));
    let deadline = Instant::now() + Duration::from_millis(50);
    let (failure, _) = call_with(&slow, config, json!({}), deadline).await.unwrap_err();
    assert_eq!((failure.kind.as_str(), failure.retryable), ("TimeoutError", true));
}

#[tokio::test]
async fn a_refusal_names_the_permission() {
    let answer =
        (403, "", "<Error><Code>AccessDenied</Code><Message>Access Denied</Message></Error>");
    let server = Scripted::start(vec![answer]).await;
    let config = json!({"operation": "get", "bucket": "bbb", "key": "k"});
    let (failure, _) = call(&S3::new(client(&server.url)), config).await.unwrap_err();
    assert_eq!((failure.kind.as_str(), failure.status), ("AccessDenied", Some(403)));
    assert!(
        failure.message.contains("allow `s3:GetObject` on `s3://bbb/k`"),
        "{}",
        failure.message
    );
}
