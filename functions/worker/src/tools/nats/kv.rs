//! Key-value buckets.

use async_nats::jetstream::context::{KeyValueErrorKind, PublishErrorKind};
use async_nats::jetstream::kv::{Config, Entry, Operation, Store};
use async_nats::jetstream::message::PublishMessage;
use bytes::Bytes;
use futures_util::StreamExt as _;
use serde_json::{Map, Value, json};

use super::session::Session;
use super::{names, value};
use crate::tool::{Reaction, ToolError};

type Done = Result<Map<String, Value>, ToolError>;

/// A value; `exists: false` if there is none.
pub(super) async fn get(session: &Session<'_>) -> Done {
    let (store, key) = open(session).await?;
    let entry = match session.number("revision")? {
        Some(revision) => {
            let asked = store.entry_for_revision(key, revision);
            session.wait("kv_get", asked).await?
        }
        None => session.wait("kv_get", store.entry(key)).await?,
    };
    let entry = entry.map_err(|error| session.failed("kv_get", &error))?;
    let mut result = begin(&store, key);
    let Some(entry) = entry.filter(is_there) else {
        result.insert("exists".to_owned(), json!(false));
        result.insert("value".to_owned(), Value::Null);
        return Ok(result);
    };
    result.insert("exists".to_owned(), json!(true));
    result.insert("revision".to_owned(), json!(entry.revision));
    let created_ms = entry.created.unix_timestamp_nanos() / 1_000_000;
    result.insert("created_ms".to_owned(), json!(i64::try_from(created_ms).ok()));
    let raw = session.call.flag("raw") == Some(true);
    value::read(&entry.value, raw, "value", &mut result);
    Ok(result)
}

/// Writes a value: whatever is there, only if nothing is (`create`), or only over a `revision`.
pub(super) async fn put(session: &Session<'_>) -> Done {
    let payload = session.message()?;
    let (store, key) = open(session).await?;
    let is_new_only = session.call.flag("create") == Some(true);
    let revision = match (is_new_only, session.number("revision")?) {
        (true, Some(_)) => {
            return Err(ToolError::input(
                "`create` and `revision` exclude each other; keep the one that is meant",
            ));
        }
        (true, None) => Some(0),
        (false, revision) => revision,
    };
    let mut sent = send(session, &store, key, payload.clone(), revision).await?;
    if is_new_only && sent.is_none() {
        // What was deleted has left a marker, and may be created again over it.
        let left = session.wait("kv_put", store.entry(key)).await?;
        let left = left.map_err(|error| session.failed("kv_put", &error))?;
        if let Some(marker) = left.filter(|entry| !is_there(entry)) {
            sent = send(session, &store, key, payload, Some(marker.revision)).await?;
        }
    }
    let sent = match sent {
        None => written_before(session, &store, key).await?,
        sent => sent,
    };
    let Some((written, is_duplicate)) = sent else {
        return Err(conflict(session, &store, key, revision).await);
    };
    let mut result = begin(&store, key);
    result.insert("revision".to_owned(), json!(written));
    result.insert("duplicate".to_owned(), json!(is_duplicate));
    Ok(result)
}

/// The revision that was written, and whether it was there already; none if another one is in the way.
///
/// Not by the client's own `put`: that gives no id, and a repeated call would be its own conflict.
async fn send(
    session: &Session<'_>,
    store: &Store,
    key: &str,
    payload: Bytes,
    expected: Option<u64>,
) -> Result<Option<(u64, bool)>, ToolError> {
    let prefix = store.put_prefix.as_ref().unwrap_or(&store.prefix);
    let subject = format!("{prefix}{key}");
    let mut message = PublishMessage::build().payload(payload).message_id(session.message_id());
    if let Some(expected) = expected {
        message = message.expected_last_subject_sequence(expected);
    }
    let sent =
        session.wait("kv_put", async { session.js.send_publish(subject, message).await?.await });
    match sent.await? {
        Ok(ack) => Ok(Some((ack.sequence, ack.duplicate))),
        Err(error) if error.kind() == PublishErrorKind::WrongLastSequence => Ok(None),
        Err(error) => Err(session.failed("kv_put", &error)),
    }
}

/// The revision that is there, if an earlier attempt of the same command wrote it: servers look at
/// the expected revision before they look for duplicates.
async fn written_before(
    session: &Session<'_>,
    store: &Store,
    key: &str,
) -> Result<Option<(u64, bool)>, ToolError> {
    let subject = format!("{}{key}", store.prefix);
    let asked = store.stream.get_last_raw_message_by_subject(&subject);
    let Ok(last) = session.wait("kv_put", asked).await? else { return Ok(None) };
    let id = last.headers.get(async_nats::header::NATS_MESSAGE_ID);
    let is_own = id.is_some_and(|id| id.as_str() == session.message_id());
    Ok(is_own.then_some((last.sequence, true)))
}

async fn conflict(
    session: &Session<'_>,
    store: &Store,
    key: &str,
    expected: Option<u64>,
) -> ToolError {
    let now = session.wait("kv_put", store.entry(key)).await;
    let now = now.ok().and_then(Result::ok).flatten().map(|entry| entry.revision);
    let now = now.map_or_else(|| "none".to_owned(), |revision| revision.to_string());
    let expected = match expected {
        Some(0) | None => "no value".to_owned(),
        Some(revision) => format!("revision {revision}"),
    };
    let message = format!(
        "key `{key}` of bucket `{}` is at revision {now}, and `kv_put` expected {expected}; read it \
         again (`kv_get`) and write over what it is now",
        store.name
    );
    ToolError::new(Reaction::Rejected, "RevisionConflict", message)
}

/// Deletes a key, or purges it with its history; one that does not exist is no error.
pub(super) async fn remove(session: &Session<'_>, purge: bool) -> Done {
    let (store, key) = open(session).await?;
    let what = if purge { "kv_purge" } else { "kv_delete" };
    let revision = session.number("revision")?;
    let failed = if purge {
        let removed = session.wait(what, store.purge_expect_revision(key, revision)).await?;
        removed.err().map(|error| session.failed(what, &error))
    } else {
        let removed = session.wait(what, store.delete_expect_revision(key, revision)).await?;
        removed.err().map(|error| session.failed(what, &error))
    };
    match failed {
        Some(error) if error.message().contains("wrong last sequence") => {
            Err(conflict(session, &store, key, revision).await)
        }
        Some(error) => Err(error),
        None => {
            let mut result = begin(&store, key);
            result.insert("deleted".to_owned(), json!(true));
            Ok(result)
        }
    }
}

/// The keys that exist, ascending.
pub(super) async fn keys(session: &Session<'_>) -> Done {
    let limit = session.limit()?;
    let prefix = session.call.text("prefix").unwrap_or_default();
    let store = bucket(session).await?;
    let listed = session.wait("kv_keys", async {
        let mut listed = store.keys().await.map_err(|error| session.failed("kv_keys", &error))?;
        let mut keys = Vec::new();
        while let Some(key) = listed.next().await {
            let key = key.map_err(|error| session.failed("kv_keys", &error))?;
            if key.starts_with(prefix) {
                keys.push(key);
            }
            if keys.len() > limit {
                break;
            }
        }
        Ok(keys)
    });
    let mut keys = listed.await??;
    let is_truncated = keys.len() > limit;
    keys.truncate(limit);
    keys.sort_unstable();
    let mut result = Map::new();
    result.insert("bucket".to_owned(), json!(store.name));
    result.insert("count".to_owned(), json!(keys.len()));
    result.insert("truncated".to_owned(), json!(is_truncated));
    result.insert("keys".to_owned(), json!(keys));
    Ok(result)
}

fn is_there(entry: &Entry) -> bool {
    entry.operation == Operation::Put
}

fn begin(store: &Store, key: &str) -> Map<String, Value> {
    let mut result = Map::new();
    result.insert("bucket".to_owned(), json!(store.name));
    result.insert("key".to_owned(), json!(key));
    result
}

async fn open<'a>(session: &Session<'a>) -> Result<(Store, &'a str), ToolError> {
    let key = names::key(session.text(&["key"], "which key")?)?;
    Ok((bucket(session).await?, key))
}

/// The bucket; made with `create_bucket: true`, and never otherwise.
async fn bucket(session: &Session<'_>) -> Result<Store, ToolError> {
    let name = names::bucket(session.text(&["bucket"], "which bucket")?, "bucket")?;
    let found = session.wait("kv", session.js.get_key_value(name)).await?;
    let error = match found {
        Ok(store) => return Ok(store),
        Err(error) => error,
    };
    let text = crate::tools::http::chain(&error);
    let is_missing = error.kind() == KeyValueErrorKind::GetBucket && text.contains("not found");
    if !is_missing {
        return Err(session.failed(&format!("bucket `{name}`"), &error));
    }
    if session.call.flag("create_bucket") == Some(true) {
        let history = session.number("history")?.unwrap_or(1).clamp(1, 64);
        let config = Config {
            bucket: name.to_owned(),
            history: i64::try_from(history).unwrap_or(1),
            ..Config::default()
        };
        let made = session.wait("kv", session.js.create_key_value(config)).await?;
        return made.map_err(|error| session.failed(&format!("bucket `{name}`"), &error));
    }
    let known = session.known("KV_").await;
    let cure = format!("{known}; correct the name, or set `create_bucket: true`");
    Err(session.missing("BucketNotFound", &format!("bucket `{name}`"), &cure))
}
