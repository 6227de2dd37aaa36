use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_nats::jetstream::stream::Config;
use engine_core::event::ToolFailure;
use engine_core::limits::NATS_CONNECTIONS_MAX;
use futures_util::StreamExt as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::time::Instant;

use super::*;
use crate::aws::tests::{soon, unique};
use crate::tool::Progress;

fn url() -> String {
    std::env::var("NOETL_TEST_NATS")
        .expect("NOETL_TEST_NATS is not set; run the tests with `make test`")
}

fn nats() -> Nats {
    Nats::new(HttpPolicy::default())
}

/// A call of its own, to the server of the tests unless the configuration names one.
async fn call(tool: &Nats, config: Value) -> Result<Value, ToolFailure> {
    static CALLS: AtomicU64 = AtomicU64::new(0);
    let key = format!("{}.{}", unique("call"), CALLS.fetch_add(1, Ordering::Relaxed));
    call_as(tool, config, &key, soon()).await
}

async fn call_as(
    tool: &Nats,
    mut config: Value,
    key: &str,
    deadline: Instant,
) -> Result<Value, ToolFailure> {
    if config.get("auth").is_none() {
        config["auth"] = json!({"url": url()});
    }
    let Value::Object(config) = config else { panic!("a map") };
    let call = Call {
        config,
        args: Map::new(),
        context: None,
        idempotency_key: key,
        deadline,
        attempt: 1,
        execution_id: "1",
        step: "s1",
        saves: false,
        progress: Progress::default(),
    };
    let ended = tool.call(&call).await;
    ended.map(|success| success.result).map_err(|error| error.into_failure().0)
}

/// A call of a key-value bucket, which is made if it is not there.
async fn kv(
    tool: &Nats,
    bucket: &str,
    operation: &str,
    mut config: Value,
) -> Result<Value, ToolFailure> {
    config["operation"] = json!(operation);
    config["bucket"] = json!(bucket);
    config["create_bucket"] = json!(true);
    call(tool, config).await
}

/// A new stream that takes its own name and everything below it.
async fn stream() -> String {
    let name = unique("stream").replace('.', "-");
    let js = async_nats::jetstream::new(async_nats::connect(url()).await.unwrap());
    let subjects = vec![name.clone(), format!("{name}.>")];
    let config = Config { name: name.clone(), subjects, ..Config::default() };
    js.create_stream(config).await.unwrap();
    name
}

#[tokio::test]
async fn a_value_is_put_and_got_as_what_it_is() {
    let (tool, bucket) = (nats(), unique("kv"));
    #[rustfmt::skip]
    let table = [
        ("map", json!({"value": {"a": [1, null]}}), json!({}), json!({"a": [1, null]})),
        ("text", json!({"value": "plain text"}), json!({}), json!("plain text")),
        ("number", json!({"data": 7}), json!({}), json!(7)),
        ("raw", json!({"value": {"a": 1}}), json!({"raw": true}), json!("{\"a\":1}")),
        ("bytes", json!({"value": "/wA=", "encoding": "base64"}), json!({}), json!("/wA=")),
        ("a.b/c=d", json!({"value": ""}), json!({}), json!("")),
    ];
    for (key, mut put, mut get, expect) in table {
        put["key"] = json!(key);
        get["key"] = json!(key);
        let put = kv(&tool, &bucket, "kv_put", put).await.unwrap();
        let got = kv(&tool, &bucket, "kv_get", get).await.unwrap();
        assert_eq!((&got["value"], &got["exists"]), (&expect, &json!(true)), "{key}");
        assert_eq!(got["revision"], put["revision"], "{key}");
        assert_eq!((&put["status"], &put["operation"]), (&json!("success"), &json!("kv_put")));
    }
    let none = kv(&tool, &bucket, "kv_get", json!({"key": "none"})).await.unwrap();
    assert_eq!((&none["exists"], &none["value"]), (&json!(false), &Value::Null));
}

#[tokio::test]
async fn keys_are_listed_deleted_and_purged() {
    let (tool, bucket) = (nats(), unique("kv"));
    let empty = kv(&tool, &bucket, "kv_keys", json!({})).await.unwrap();
    assert_eq!((&empty["keys"], &empty["truncated"]), (&json!([]), &json!(false)));
    for key in ["b", "a.2", "a.1"] {
        kv(&tool, &bucket, "kv_put", json!({"key": key, "value": 1})).await.unwrap();
    }
    let all = kv(&tool, &bucket, "kv_keys", json!({})).await.unwrap();
    assert_eq!(all["keys"], json!(["a.1", "a.2", "b"]));
    let some = kv(&tool, &bucket, "kv_keys", json!({"prefix": "a."})).await.unwrap();
    assert_eq!(some["keys"], json!(["a.1", "a.2"]));
    let few = kv(&tool, &bucket, "kv_keys", json!({"limit": 1})).await.unwrap();
    assert_eq!((&few["count"], &few["truncated"]), (&json!(1), &json!(true)));
    kv(&tool, &bucket, "kv_delete", json!({"key": "a.1"})).await.unwrap();
    kv(&tool, &bucket, "kv_purge", json!({"key": "a.2"})).await.unwrap();
    kv(&tool, &bucket, "kv_delete", json!({"key": "never"})).await.unwrap();
    let left = kv(&tool, &bucket, "kv_keys", json!({})).await.unwrap();
    assert_eq!(left["keys"], json!(["b"]));
    let error =
        kv(&tool, &bucket, "kv_delete", json!({"key": "b", "revision": 99})).await.unwrap_err();
    assert_eq!(error.kind, "RevisionConflict", "{}", error.message);
}

#[tokio::test]
async fn a_stale_write_is_a_conflict_that_names_the_revision() {
    let (tool, bucket) = (nats(), unique("kv"));
    let put = |config: Value| kv(&tool, &bucket, "kv_put", config);
    let first = put(json!({"key": "k", "value": 1, "create": true})).await.unwrap();
    let second = put(json!({"key": "k", "value": 2, "revision": first["revision"]})).await.unwrap();
    let stale = put(json!({"key": "k", "value": 3, "revision": first["revision"]})).await;
    let again = put(json!({"key": "k", "value": 3, "create": true})).await;
    for error in [stale.unwrap_err(), again.unwrap_err()] {
        assert_eq!((error.kind.as_str(), error.retryable), ("RevisionConflict", false));
        let at = format!("is at revision {}", second["revision"]);
        assert!(error.message.contains(&at), "{}", error.message);
    }
    kv(&tool, &bucket, "kv_delete", json!({"key": "k"})).await.unwrap();
    put(json!({"key": "k", "value": 4, "create": true})).await.unwrap();
    let got = kv(&tool, &bucket, "kv_get", json!({"key": "k"})).await.unwrap();
    assert_eq!(got["value"], json!(4), "what was deleted can be created again");
    let both = put(json!({"key": "k", "value": 4, "create": true, "revision": 1})).await;
    assert!(both.unwrap_err().message.contains("exclude each other"));
}

#[tokio::test]
async fn a_repeated_call_is_not_its_own_conflict() {
    let (tool, bucket) = (nats(), unique("kv"));
    let config = json!({"operation": "kv_put", "bucket": bucket, "key": "lock", "value": "me",
        "create": true, "create_bucket": true});
    let first = call_as(&tool, config.clone(), &bucket, soon()).await.unwrap();
    let again = call_as(&tool, config, &bucket, soon()).await.unwrap();
    assert_eq!(first["revision"], again["revision"]);
    assert_eq!((&first["duplicate"], &again["duplicate"]), (&json!(false), &json!(true)));
}

#[tokio::test]
async fn compare_and_set_loses_no_increment() {
    let (tool, bucket) = (Arc::new(nats()), unique("kv"));
    kv(&tool, &bucket, "kv_put", json!({"key": "n", "value": 0})).await.unwrap();
    let tasks = (0..4).map(|_| {
        let (tool, bucket) = (tool.clone(), bucket.clone());
        tokio::spawn(async move {
            let mut done = 0;
            while done < 5 {
                let now = kv(&tool, &bucket, "kv_get", json!({"key": "n"})).await.unwrap();
                let next = now["value"].as_u64().unwrap() + 1;
                let put = json!({"key": "n", "value": next, "revision": now["revision"]});
                match kv(&tool, &bucket, "kv_put", put).await {
                    Ok(_) => done += 1,
                    Err(error) => assert_eq!(error.kind, "RevisionConflict", "{}", error.message),
                }
            }
        })
    });
    for task in tasks.collect::<Vec<_>>() {
        task.await.unwrap();
    }
    let got = kv(&tool, &bucket, "kv_get", json!({"key": "n"})).await.unwrap();
    assert_eq!(got["value"], json!(20));
}

#[tokio::test]
async fn objects_larger_than_a_message_go_there_and_back() {
    let (tool, bucket) = (nats(), unique("obj"));
    let at = |operation: &str| json!({"operation": operation, "bucket": bucket, "name": "dir/my object", "create_bucket": true});
    let text = "0123456789abcdef".repeat(1 << 17);
    let mut put = at("object_put");
    put["data"] = json!(text);
    let put = call(&tool, put).await.unwrap();
    assert_eq!(put["bytes"], json!(text.len()));
    let got = call(&tool, at("object_get")).await.unwrap();
    assert!(got["data"] == json!(text), "the data differ");
    assert_eq!(got["digest"], put["digest"]);
    let info = call(&tool, at("object_info")).await.unwrap();
    assert_eq!((&info["bytes"], &info["exists"]), (&json!(text.len()), &json!(true)));
    let list = call(&tool, at("object_list")).await.unwrap();
    assert_eq!(list["objects"], json!([{"name": "dir/my object", "bytes": text.len()}]));
    call(&tool, at("object_delete")).await.unwrap();
    for operation in ["object_get", "object_info"] {
        let error = call(&tool, at(operation)).await.unwrap_err();
        assert_eq!((error.kind.as_str(), error.retryable), ("ObjectNotFound", false));
        let mut config = at(operation);
        config["missing_ok"] = json!(true);
        assert_eq!(call(&tool, config).await.unwrap()["exists"], json!(false), "{operation}");
    }
}

#[tokio::test]
async fn messages_are_stored_once_and_read_by_sequence_or_subject() {
    let (tool, stream) = (nats(), stream().await);
    let subject = format!("{stream}.orders");
    let config = json!({"operation": "js_publish", "subject": subject, "data": {"id": 1},
        "headers": {"X-Kind": "order"}});
    let first = call_as(&tool, config.clone(), &stream, soon()).await.unwrap();
    let again = call_as(&tool, config, &stream, soon()).await.unwrap();
    assert_eq!((&first["stream"], &first["duplicate"]), (&json!(stream), &json!(false)));
    assert_eq!((&again["sequence"], &again["duplicate"]), (&first["sequence"], &json!(true)));
    for place in [json!({"sequence": first["sequence"]}), json!({"subject": subject})] {
        let mut config = place;
        config["operation"] = json!("js_get_msg");
        config["stream"] = json!(stream);
        let message = call(&tool, config).await.unwrap();
        assert_eq!((&message["data"], &message["subject"]), (&json!({"id": 1}), &json!(subject)));
        assert_eq!(message["headers"]["X-Kind"], json!("order"));
        assert_eq!(message["headers"]["Nats-Msg-Id"], json!(format!("1.{stream}")));
    }
    let info = call(&tool, json!({"operation": "js_stream_info", "stream": stream})).await.unwrap();
    assert_eq!((&info["messages"], &info["last_sequence"]), (&json!(1), &first["sequence"]));
    let config = json!({"operation": "js_get_msg", "stream": stream, "sequence": 99});
    let error = call(&tool, config).await.unwrap_err();
    assert_eq!(error.kind, "MessageNotFound");
    assert!(error.message.contains("sequences 1 to 1"), "{}", error.message);
}

#[tokio::test]
async fn a_plain_message_reaches_who_listens() {
    let subject = unique("subject");
    let listener = async_nats::connect(url()).await.unwrap();
    let mut heard = listener.subscribe(subject.clone()).await.unwrap();
    listener.flush().await.unwrap();
    let config = json!({"operation": "publish", "subject": subject, "data": "hello"});
    call(&nats(), config).await.unwrap();
    let message = heard.next().await.unwrap();
    assert_eq!(message.payload, "hello");
    assert!(message.headers.unwrap().get("Nats-Msg-Id").is_some());
}

#[tokio::test]
async fn what_does_not_exist_is_told_with_what_does() {
    let (tool, bucket, stream) = (nats(), unique("kv"), stream().await);
    kv(&tool, &bucket, "kv_put", json!({"key": "k", "value": 1})).await.unwrap();
    #[rustfmt::skip]
    let table = [
        (json!({"operation": "kv_get", "bucket": "ct-none", "key": "k"}), "BucketNotFound", "set `create_bucket: true`"),
        (json!({"operation": "object_get", "bucket": "ct-none", "name": "k"}), "BucketNotFound", "no bucket `ct-none`"),
        (json!({"operation": "js_stream_info", "stream": "ct-none"}), "StreamNotFound", "there is `"),
        (json!({"operation": "js_publish", "subject": format!("none.{stream}"), "data": 1}), "StreamNotFound", "add the subject to a stream"),
    ];
    for (config, kind, says) in table {
        let name = config.to_string();
        let error = call(&tool, config).await.unwrap_err();
        assert_eq!(
            (error.kind.as_str(), error.retryable),
            (kind, false),
            "{name}: {}",
            error.message
        );
        assert!(error.message.contains(says), "{name}: {}", error.message);
    }
}

#[tokio::test]
async fn what_cannot_be_asked_says_what_to_change() {
    let tool = nats();
    let auth = |auth: Value| json!({"operation": "publish", "auth": auth});
    let large = "x".repeat(1 << 20);
    #[rustfmt::skip]
    let table = [
        (json!({}), "`operation` is missing; it is one of kv_get, kv_put"),
        (json!({"operation": "kv_move"}), "`kv_move` is no operation"),
        (json!({"operation": "kv_get"}), "give `key`"),
        (json!({"operation": "kv_get", "key": "k"}), "give `bucket`"),
        (json!({"operation": "kv_get", "key": "a..b", "bucket": "b"}), "`a..b` is no key"),
        (json!({"operation": "kv_get", "key": "k", "bucket": "a.b"}), "`a.b` is no name of a bucket"),
        (json!({"operation": "kv_put", "key": "k", "bucket": "b"}), "give `value`"),
        (json!({"operation": "kv_put", "key": "k", "bucket": "b", "value": large}), "use `object_put`"),
        (json!({"operation": "kv_put", "key": "k", "bucket": "b", "value": "?", "encoding": "base64"}), "is not base64"),
        (json!({"operation": "kv_keys", "bucket": "b", "limit": 0}), "`limit` is a number from 1"),
        (json!({"operation": "kv_get", "key": "k", "bucket": "b", "revision": "x", "create_bucket": true}), "`revision` is a whole number"),
        (json!({"operation": "publish", "subject": "a.*", "data": 1}), "is no subject to publish to"),
        (json!({"operation": "publish", "subject": "a", "data": 1, "headers": {"a b": 1}}), "is no header"),
        (auth(json!({})), "give `auth` with `url`"),
        (auth(json!({"url": "nats://h:1:2"})), "write it as `nats://host:4222`"),
        (auth(json!({"url": "nats://h", "nkey": "SU"})), "`nkey` in `auth` is not run"),
        (auth(json!("gone")), "`auth` is the name of a registered credential"),
    ];
    for (config, says) in table {
        let name = config.to_string();
        let error = call(&tool, config).await.unwrap_err();
        assert_eq!((error.kind.as_str(), error.retryable), ("InputError", false), "{name:.200}");
        assert!(error.message.contains(says), "{name:.200}: {}", error.message);
    }
}

#[tokio::test]
async fn a_server_that_is_away_is_retryable_and_named() {
    let address = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let server = format!("nats://joe:canary-pw@{address}");
    let config =
        json!({"operation": "publish", "subject": "a", "data": 1, "auth": {"url": server}});
    let error = call(&nats(), config).await.unwrap_err();
    assert_eq!((error.kind.as_str(), error.retryable), ("ConnectionError", true));
    assert!(error.message.contains(&address.to_string()), "{}", error.message);
    assert!(!error.message.contains("canary-pw"), "{}", error.message);
}

/// A server that greets, and then says `answer` to whoever connects.
async fn greeter(answer: &'static str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut socket, _)) = listener.accept().await {
            let info = "INFO {\"server_id\":\"x\",\"version\":\"2.10.0\",\"max_payload\":1048576,\
                        \"headers\":true,\"proto\":1}\r\n";
            socket.write_all(info.as_bytes()).await.unwrap();
            let mut asked = Vec::new();
            while socket.read_buf(&mut asked).await.is_ok_and(|read| read > 0) {
                if asked.ends_with(b"PING\r\n") {
                    let _ = socket.write_all(answer.as_bytes()).await;
                    asked.clear();
                }
            }
        }
    });
    format!("nats://{address}")
}

#[tokio::test]
async fn a_refused_user_is_told_to_check_the_credential() {
    let server = greeter("-ERR 'Authorization Violation'\r\n").await;
    let config = json!({"operation": "publish", "subject": "a", "data": 1,
        "auth": {"url": server, "user": "joe", "password": "canary-pw"}});
    let error = call(&nats(), config).await.unwrap_err();
    assert_eq!((error.kind.as_str(), error.retryable), ("AuthenticationError", false));
    assert!(error.message.contains("check `user` and `password`"), "{}", error.message);
    assert!(!error.message.contains("canary-pw"), "{}", error.message);
}

#[tokio::test]
async fn a_server_that_is_silent_ends_the_call_at_its_deadline() {
    let server = greeter("PONG\r\n").await;
    let config = json!({"operation": "kv_get", "bucket": "b", "key": "k", "auth": {"url": server}});
    let deadline = Instant::now() + Duration::from_millis(100);
    let error = call_as(&nats(), config, "k1", deadline).await.unwrap_err();
    assert_eq!((error.kind.as_str(), error.retryable), ("TimeoutError", true));
}

#[tokio::test]
async fn a_connection_is_shared_by_calls_and_their_number_is_bounded() {
    let connections = Connections::new(HttpPolicy::default());
    let settings = |user: usize| {
        let auth = json!({"url": url(), "user": format!("u{user}"), "password": "p"});
        let Value::Object(config) = json!({"auth": auth}) else { panic!("a map") };
        let call = Call {
            config,
            args: Map::new(),
            context: None,
            idempotency_key: "k",
            deadline: soon(),
            attempt: 1,
            execution_id: "1",
            step: "s",
            saves: false,
            progress: Progress::default(),
        };
        Settings::of(&call).unwrap()
    };
    let first = connections.client(&settings(0), soon()).await.unwrap();
    let again = connections.client(&settings(0), soon()).await.unwrap();
    assert_eq!(first.server_info().client_id, again.server_info().client_id);
    for user in 0..=NATS_CONNECTIONS_MAX {
        connections.client(&settings(user), soon()).await.unwrap();
    }
    assert!(connections.kept() <= NATS_CONNECTIONS_MAX);
    first.flush().await.unwrap();
}

#[tokio::test]
async fn a_private_server_is_refused_where_private_hosts_are() {
    let config = json!({"operation": "publish", "subject": "a", "data": 1});
    let error = call(&Nats::new(HttpPolicy { guard: true }), config).await.unwrap_err();
    assert_eq!(error.kind, "ForbiddenAddress");
}
