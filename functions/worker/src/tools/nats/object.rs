//! Object buckets: values that are larger than a message.

use async_nats::jetstream::context::ObjectStoreErrorKind;
use async_nats::jetstream::object_store::{
    Config, DeleteErrorKind, GetErrorKind, InfoErrorKind, ObjectInfo, ObjectStore,
};
use engine_core::limits::NATS_OBJECT_BYTES_MAX;
use futures_util::StreamExt as _;
use serde_json::{Map, Value, json};
use tokio::io::AsyncReadExt as _;

use super::session::Session;
use super::{names, value};
use crate::tool::{Reaction, ToolError};

type Done = Result<Map<String, Value>, ToolError>;

/// An object as a value.
pub(super) async fn get(session: &Session<'_>) -> Done {
    let (bucket, store, name) = open(session).await?;
    let mut object = match session.wait("object_get", store.get(name)).await? {
        Ok(object) => object,
        Err(error) if error.kind() == GetErrorKind::NotFound => {
            return missing(session, bucket, name);
        }
        Err(error) => return Err(session.failed("object_get", &error)),
    };
    let size = object.info().size;
    if size > NATS_OBJECT_BYTES_MAX {
        return Err(too_large(bucket, name, size));
    }
    let mut result = describe(bucket, object.info());
    let mut bytes = Vec::with_capacity(size);
    session
        .wait("object_get", object.read_to_end(&mut bytes))
        .await?
        .map_err(|error| session.failed("object_get", &error))?;
    result.insert("exists".to_owned(), json!(true));
    let raw = session.call.flag("raw") == Some(true);
    value::read(&bytes, raw, "data", &mut result);
    Ok(result)
}

/// Writes an object over the one of its name. A repeated call writes the same again.
pub(super) async fn put(session: &Session<'_>) -> Done {
    let payload = session.payload()?;
    let (bucket, store, name) = open(session).await?;
    if payload.len() > NATS_OBJECT_BYTES_MAX {
        return Err(too_large(bucket, name, payload.len()));
    }
    let mut bytes = payload.as_ref();
    let put = session.wait("object_put", store.put(name, &mut bytes)).await?;
    put.map(|info| describe(bucket, &info)).map_err(|error| session.failed("object_put", &error))
}

/// Deletes an object.
pub(super) async fn delete(session: &Session<'_>) -> Done {
    let (bucket, store, name) = open(session).await?;
    match session.wait("object_delete", store.delete(name)).await? {
        Ok(()) => {
            let mut result = begin(bucket, name);
            result.insert("deleted".to_owned(), json!(true));
            Ok(result)
        }
        Err(error) if error.kind() == DeleteErrorKind::NotFound => missing(session, bucket, name),
        Err(error) => Err(session.failed("object_delete", &error)),
    }
}

/// What is known about an object.
pub(super) async fn info(session: &Session<'_>) -> Done {
    let (bucket, store, name) = open(session).await?;
    match session.wait("object_info", store.info(name)).await? {
        Ok(info) if info.deleted => missing(session, bucket, name),
        Ok(info) => {
            let mut result = describe(bucket, &info);
            result.insert("exists".to_owned(), json!(true));
            Ok(result)
        }
        Err(error) if error.kind() == InfoErrorKind::NotFound => missing(session, bucket, name),
        Err(error) => Err(session.failed("object_info", &error)),
    }
}

/// The objects of a bucket, by name.
pub(super) async fn list(session: &Session<'_>) -> Done {
    let limit = session.limit()?;
    let prefix = session.call.text("prefix").unwrap_or_default();
    let (bucket, store) = bucket(session).await?;
    let listed = session.wait("object_list", async {
        let mut listed =
            store.list().await.map_err(|error| session.failed("object_list", &error))?;
        let mut objects = Vec::new();
        while let Some(info) = listed.next().await {
            let info = info.map_err(|error| session.failed("object_list", &error))?;
            if info.name.starts_with(prefix) && !info.deleted {
                objects.push(info);
            }
            if objects.len() > limit {
                break;
            }
        }
        Ok(objects)
    });
    let mut objects = listed.await??;
    let is_truncated = objects.len() > limit;
    objects.truncate(limit);
    objects.sort_unstable_by(|one, other| one.name.cmp(&other.name));
    let mut result = Map::new();
    result.insert("bucket".to_owned(), json!(bucket));
    result.insert("count".to_owned(), json!(objects.len()));
    result.insert("truncated".to_owned(), json!(is_truncated));
    let shown = objects.iter().map(|info| json!({"name": info.name, "bytes": info.size}));
    result.insert("objects".to_owned(), shown.collect());
    Ok(result)
}

fn begin(bucket: &str, name: &str) -> Map<String, Value> {
    let mut result = Map::new();
    result.insert("bucket".to_owned(), json!(bucket));
    result.insert("name".to_owned(), json!(name));
    result
}

fn describe(bucket: &str, info: &ObjectInfo) -> Map<String, Value> {
    let mut result = begin(bucket, &info.name);
    result.insert("bytes".to_owned(), json!(info.size));
    result.insert("digest".to_owned(), json!(info.digest));
    result
}

/// An error, unless `missing_ok: true` accepts that there is no object.
fn missing(session: &Session<'_>, bucket: &str, name: &str) -> Done {
    if session.call.flag("missing_ok") == Some(true) {
        let mut result = begin(bucket, name);
        result.insert("exists".to_owned(), json!(false));
        result.insert("data".to_owned(), Value::Null);
        return Ok(result);
    }
    let what = format!("object `{name}` in bucket `{bucket}`");
    let cure = "`operation: object_list` shows what exists, `missing_ok: true` accepts that it is \
                missing";
    Err(session.missing("ObjectNotFound", &what, cure))
}

fn too_large(bucket: &str, name: &str, bytes: usize) -> ToolError {
    let message = format!(
        "object `{name}` of bucket `{bucket}` has {bytes} bytes, and a step reads or writes at most \
         {} MiB; write several objects",
        NATS_OBJECT_BYTES_MAX >> 20
    );
    ToolError::new(Reaction::Rejected, "ObjectTooLarge", message)
}

async fn open<'a>(session: &Session<'a>) -> Result<(&'a str, ObjectStore, &'a str), ToolError> {
    let name = session.text(&["name", "key", "object"], "which object")?;
    let (bucket, store) = bucket(session).await?;
    Ok((bucket, store, name))
}

/// The bucket; made with `create_bucket: true`, and never otherwise.
async fn bucket<'a>(session: &Session<'a>) -> Result<(&'a str, ObjectStore), ToolError> {
    let name = names::bucket(session.text(&["bucket"], "which bucket")?, "bucket")?;
    let found = session.wait("object", session.js.get_object_store(name)).await?;
    let error = match found {
        Ok(store) => return Ok((name, store)),
        Err(error) => error,
    };
    let text = crate::tools::http::chain(&error);
    let is_missing = error.kind() == ObjectStoreErrorKind::GetStore && text.contains("not found");
    let place = format!("bucket `{name}`");
    if !is_missing {
        return Err(session.failed(&place, &error));
    }
    if session.call.flag("create_bucket") == Some(true) {
        let config = Config { bucket: name.to_owned(), ..Config::default() };
        let made = session.wait("object", session.js.create_object_store(config)).await?;
        return made.map(|store| (name, store)).map_err(|error| session.failed(&place, &error));
    }
    let known = session.known("OBJ_").await;
    let cure = format!("{known}; correct the name, or set `create_bucket: true`");
    Err(session.missing("BucketNotFound", &place, &cure))
}
