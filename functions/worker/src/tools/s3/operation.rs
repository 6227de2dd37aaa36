//! The five operations.

use engine_core::limits::{S3_LIST_DEFAULT, S3_LIST_MAX, S3_OBJECT_BYTES_MAX};
use object_store::list::{PaginatedListOptions, PaginatedListStore as _};
use object_store::{
    Attribute, AttributeValue, Attributes, ObjectMeta, PutMode, PutOptions, PutResult,
    UpdateVersion,
};
use serde_json::{Map, Value, json};

use super::format::Format;
use super::store::{Bucket, attributes};
use crate::tool::{Call, Reaction, ToolError};

/// Metadata that tells a put of this command from one of another.
const OWNER: &str = "noetl-key";

/// What is done, and where.
pub(super) struct Place {
    operation: String,
    pub(super) bucket: String,
    key: String,
}

impl Place {
    /// From `operation`, and `bucket` with `key`, or `uri`.
    pub(super) fn of(call: &Call<'_>) -> Result<Self, ToolError> {
        let operation = match call.text("operation").or_else(|| call.text("action")) {
            Some(operation) => operation.trim().to_ascii_lowercase(),
            None if call.saves => "put".to_owned(),
            None => return Err(unknown("`operation` is missing")),
        };
        if !["get", "put", "list", "delete", "head"].contains(&operation.as_str()) {
            return Err(unknown(&format!("`{operation}` is no operation of `s3`")));
        }
        let (bucket, in_uri) = match (
            call.text("uri").or_else(|| call.text("url")),
            call.text("bucket"),
        ) {
            (Some(uri), _) => split(uri)?,
            (None, Some(bucket)) => (bucket.trim().to_owned(), String::new()),
            (None, None) => {
                return Err(ToolError::input(
                    "`s3` does not know where; give `bucket` and `key`, or `uri: s3://bucket/key`",
                ));
            }
        };
        let fields: &[&str] = if operation == "list" { &["prefix", "key"] } else { &["key"] };
        let given = fields.iter().find_map(|field| call.text(field));
        let key = given.map_or(in_uri, str::to_owned);
        Ok(Self { operation, bucket, key })
    }

    fn uri(&self) -> String {
        uri(&self.bucket, &self.key)
    }

    /// What every result begins with.
    fn result(&self) -> Map<String, Value> {
        let mut result = Map::new();
        result.insert("status".to_owned(), json!("success"));
        result.insert("operation".to_owned(), json!(self.operation));
        result.insert("uri".to_owned(), json!(self.uri()));
        result.insert("bucket".to_owned(), json!(self.bucket));
        if self.operation != "list" {
            result.insert("key".to_owned(), json!(self.key));
        }
        result
    }
}

/// Does it.
pub(super) async fn run(
    bucket: &Bucket,
    place: &Place,
    call: &Call<'_>,
) -> Result<Value, ToolError> {
    let done = match place.operation.as_str() {
        "put" => put(bucket, place, call).await,
        "list" => list(bucket, place, call).await,
        "delete" => bucket.delete(&place.key).await.map(|()| place.result()),
        "head" => head(bucket, place).await,
        _ => get(bucket, place, call).await,
    };
    match done {
        Err(error) if error.kind() == "NoSuchKey" && call.flag("missing_ok") == Some(true) => {
            let mut result = place.result();
            result.insert("exists".to_owned(), json!(false));
            result.insert("data".to_owned(), Value::Null);
            Ok(Value::Object(result))
        }
        done => done.map(Value::Object),
    }
}

async fn get(
    bucket: &Bucket,
    place: &Place,
    call: &Call<'_>,
) -> Result<Map<String, Value>, ToolError> {
    let format = Format::named(call.text("format"))?;
    let object = bucket.open_object(&place.key, false).await?;
    let mut result = place.result();
    describe(&object.meta, &object.attributes, &mut result);
    let size = usize::try_from(object.meta.size).unwrap_or(usize::MAX);
    if size > S3_OBJECT_BYTES_MAX {
        return Err(too_large(place, size, "move it with the `transfer` tool"));
    }
    let body = bucket.wait(bucket.deed("s3:GetObject", &place.key), object.bytes()).await?;
    let format = format.unwrap_or_else(|| Format::guess(&place.key, &body));
    result.insert("exists".to_owned(), json!(true));
    result.insert("format".to_owned(), json!(format.name()));
    result.insert("data".to_owned(), format.read(&body, &place.uri())?);
    Ok(result)
}

async fn head(bucket: &Bucket, place: &Place) -> Result<Map<String, Value>, ToolError> {
    let object = bucket.open_object(&place.key, true).await?;
    let mut result = place.result();
    describe(&object.meta, &object.attributes, &mut result);
    result.insert("exists".to_owned(), json!(true));
    Ok(result)
}

async fn put(
    bucket: &Bucket,
    place: &Place,
    call: &Call<'_>,
) -> Result<Map<String, Value>, ToolError> {
    let given = ["data", "body", "payload"].iter().find_map(|name| call.config.get(*name));
    let inputs = Value::Object(call.args.clone());
    let value = match given {
        Some(value) => value,
        None if !call.args.is_empty() => &inputs,
        None => return Err(ToolError::input("`put` has nothing to write; give `data` or `body`")),
    };
    let format = Format::named(call.text("format"))?;
    let format = format.unwrap_or_else(|| Format::fitting(&place.key, value));
    let body = format.write(value)?;
    let size = body.len();
    if size > S3_OBJECT_BYTES_MAX {
        return Err(too_large(place, size, "write several objects, or use the `transfer` tool"));
    }
    let mut attributes =
        attributes(call.text("content_type").unwrap_or_else(|| format.content_type()));
    if let Some(Value::Object(metadata)) = call.config.get("metadata") {
        for (name, value) in metadata {
            let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            attributes.insert(Attribute::Metadata(name.clone().into()), text.into());
        }
    }
    attributes.insert(Attribute::Metadata(OWNER.into()), call.idempotency_key.to_owned().into());
    let options = PutOptions { mode: mode(call), attributes, ..PutOptions::default() };
    let is_new_only = options.mode == PutMode::Create;
    let etag = match bucket.put(&place.key, body.into(), options).await {
        Ok(PutResult { e_tag, .. }) => e_tag,
        Err(error) if is_new_only && error.kind() == "PreconditionFailed" => {
            written_before(bucket, place, call).await?.ok_or(error)?
        }
        Err(error) => return Err(error),
    };
    let mut result = place.result();
    result.insert("format".to_owned(), json!(format.name()));
    result.insert("bytes".to_owned(), json!(size));
    result.insert("etag".to_owned(), json!(etag));
    Ok(result)
}

/// The tag of the object if an earlier attempt of the same command wrote it: it need not be new twice.
async fn written_before(
    bucket: &Bucket,
    place: &Place,
    call: &Call<'_>,
) -> Result<Option<Option<String>>, ToolError> {
    let object = bucket.open_object(&place.key, true).await?;
    let owner = object.attributes.get(&Attribute::Metadata(OWNER.into()));
    let is_own = owner.map(AttributeValue::as_ref) == Some(call.idempotency_key);
    Ok(is_own.then_some(object.meta.e_tag))
}

fn mode(call: &Call<'_>) -> PutMode {
    if let Some(etag) = call.text("if_match") {
        return PutMode::Update(UpdateVersion { e_tag: Some(etag.to_owned()), version: None });
    }
    let is_new_only =
        call.text("if_none_match") == Some("*") || call.flag("if_none_match") == Some(true);
    if is_new_only { PutMode::Create } else { PutMode::Overwrite }
}

async fn list(
    bucket: &Bucket,
    place: &Place,
    call: &Call<'_>,
) -> Result<Map<String, Value>, ToolError> {
    let limit = limit(call)?;
    let prefix = (!place.key.is_empty()).then_some(place.key.as_str());
    let (mut objects, mut page_token) = (Vec::new(), None);
    // Every page but the last holds an object, so this ends.
    loop {
        let options = PaginatedListOptions {
            max_keys: Some((limit - objects.len()).min(S3_LIST_DEFAULT)),
            page_token: page_token.take(),
            ..PaginatedListOptions::default()
        };
        let asked = bucket.store.list_paginated(prefix, options);
        let page = bucket.wait(bucket.deed("s3:ListBucket", &place.key), asked).await?;
        let found = page.result.objects;
        let is_empty = found.is_empty();
        objects.extend(found.iter().map(|meta| listed(&place.bucket, meta)));
        page_token = page.page_token;
        if page_token.is_none() || is_empty || objects.len() >= limit {
            break;
        }
    }
    objects.truncate(limit);
    let mut result = place.result();
    result.insert("prefix".to_owned(), json!(place.key));
    result.insert("count".to_owned(), json!(objects.len()));
    result.insert("truncated".to_owned(), json!(page_token.is_some()));
    result.insert("objects".to_owned(), Value::Array(objects));
    Ok(result)
}

fn limit(call: &Call<'_>) -> Result<usize, ToolError> {
    let given = match call.config.get("limit") {
        None | Some(Value::Null) => return Ok(S3_LIST_DEFAULT),
        Some(Value::String(text)) => text.trim().parse().ok(),
        Some(other) => other.as_u64().and_then(|limit| usize::try_from(limit).ok()),
    };
    given.filter(|limit| (1..=S3_LIST_MAX).contains(limit)).ok_or_else(|| {
        ToolError::input(format!(
            "`limit` is a number from 1 to {S3_LIST_MAX}; use `prefix` to ask for less"
        ))
    })
}

fn listed(bucket: &str, meta: &ObjectMeta) -> Value {
    json!({
        "key": meta.location.as_ref(),
        "uri": uri(bucket, meta.location.as_ref()),
        "bytes": meta.size,
        "etag": meta.e_tag,
        "last_modified": meta.last_modified.to_rfc3339(),
    })
}

fn describe(meta: &ObjectMeta, attributes: &Attributes, result: &mut Map<String, Value>) {
    result.insert("bytes".to_owned(), json!(meta.size));
    result.insert("etag".to_owned(), json!(meta.e_tag));
    result.insert("last_modified".to_owned(), json!(meta.last_modified.to_rfc3339()));
    let mut metadata = Map::new();
    for (attribute, value) in attributes {
        match attribute {
            Attribute::ContentType => {
                result.insert("content_type".to_owned(), json!(value.as_ref()));
            }
            Attribute::Metadata(name) if name != OWNER => {
                metadata.insert(name.to_string(), json!(value.as_ref()));
            }
            _ => {}
        }
    }
    if !metadata.is_empty() {
        result.insert("metadata".to_owned(), Value::Object(metadata));
    }
}

fn split(uri: &str) -> Result<(String, String), ToolError> {
    let rest = uri.trim().strip_prefix("s3://");
    let parts = rest.map(|rest| rest.split_once('/').unwrap_or((rest, "")));
    match parts {
        Some((bucket, key)) if !bucket.is_empty() => Ok((bucket.to_owned(), key.to_owned())),
        _ => Err(ToolError::input(format!("`{uri}` is no object; write `s3://bucket/key`"))),
    }
}

fn uri(bucket: &str, key: &str) -> String {
    format!("s3://{bucket}/{key}")
}

fn unknown(what: &str) -> ToolError {
    ToolError::input(format!("{what}; it is `get`, `put`, `list`, `delete` or `head`"))
}

fn too_large(place: &Place, bytes: usize, advice: &str) -> ToolError {
    let message = format!(
        "`{}` has {bytes} bytes, and a step reads or writes at most {} MiB; {advice}",
        place.uri(),
        S3_OBJECT_BYTES_MAX >> 20
    );
    ToolError::new(Reaction::Rejected, "ObjectTooLarge", message)
}
