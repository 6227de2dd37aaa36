//! A bucket: whole objects, and objects in chunks for those who move more than fits into memory.

use std::future::Future;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use engine_core::limits::{
    AWS_ATTEMPTS_MAX, AWS_BACKOFF_MS, S3_PART_BYTES, S3_PARTS_MAX, TOOL_TIMEOUT_MS_MAX,
};
use futures_util::TryStreamExt as _;
use futures_util::stream::BoxStream;
use object_store::aws::{AmazonS3, AmazonS3Builder, Checksum};
use object_store::client::{HttpClient, HttpConnector};
use object_store::path::Path;
use object_store::{
    Attribute, Attributes, BackoffConfig, ClientOptions, GetOptions, GetResult, MultipartUpload,
    ObjectStore as _, ObjectStoreExt as _, PutOptions, PutResult, RetryConfig,
};
use tokio::time::{Instant, timeout_at};

use super::error::Deed;
use crate::aws::{Aws, Service};
use crate::tool::{Reaction, ToolError};

/// A bucket that can be used until its deadline; clones share everything.
#[derive(Clone)]
pub struct Bucket {
    pub(super) store: AmazonS3,
    pub(super) name: String,
    pub(super) deadline: Instant,
}

/// The connections of the worker, not some of the store's own.
#[derive(Debug)]
struct Shared(reqwest::Client);

impl HttpConnector for Shared {
    fn connect(&self, _options: &ClientOptions) -> object_store::Result<HttpClient> {
        Ok(HttpClient::new(self.0.clone()))
    }
}

impl Bucket {
    /// The bucket `name`, with the keys, the region and the endpoint of `aws`; asks nobody yet.
    ///
    /// # Errors
    /// `NoCredentials`, `RegionError`, a name or endpoint that is none; `Forbidden` for the engine's own.
    pub fn open(aws: &Aws, name: &str, deadline: Instant) -> Result<Self, ToolError> {
        aws.check_bucket(name)?;
        let settings = aws.settings();
        let keys = settings.keys(Service::S3)?;
        let base = settings.url(Service::S3)?;
        let url = reqwest::Url::parse(&base).map_err(|error| {
            ToolError::input(format!(
                "`{base}` is no endpoint of S3 ({error}); write it as `https://host[:port]`"
            ))
        })?;
        let mut builder = AmazonS3Builder::new()
            .with_bucket_name(valid_bucket(name)?)
            .with_region(settings.region(Service::S3)?)
            .with_endpoint(base.as_str())
            .with_virtual_hosted_style_request(false)
            .with_allow_http(true)
            .with_access_key_id(&keys.id)
            .with_secret_access_key(&keys.secret)
            .with_checksum_algorithm(Checksum::SHA256)
            .with_http_connector(Shared(aws.http(&url)?))
            .with_retry(retries());
        if let Some(token) = &keys.token {
            builder = builder.with_token(token);
        }
        let store = builder.build().map_err(|error| {
            ToolError::input(format!("the bucket `{name}` cannot be used: {error}"))
        })?;
        Ok(Self { store, name: name.to_owned(), deadline })
    }

    pub(super) fn deed<'a>(&'a self, action: &'static str, key: &'a str) -> Deed<'a> {
        Deed { action, bucket: &self.name, key }
    }

    /// What a request is answered, before the deadline.
    pub(super) async fn wait<T>(
        &self,
        deed: Deed<'_>,
        request: impl Future<Output = object_store::Result<T>> + Send,
    ) -> Result<T, ToolError> {
        match timeout_at(self.deadline, request).await {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(error)) => Err(deed.failed(&error)),
            Err(_elapsed) => Err(deed.too_slow()),
        }
    }

    /// The object, or only what is known about it.
    pub(super) async fn open_object(&self, key: &str, head: bool) -> Result<GetResult, ToolError> {
        let options = GetOptions { head, ..GetOptions::default() };
        let path = path(key)?;
        self.wait(self.deed("s3:GetObject", key), self.store.get_opts(&path, options)).await
    }

    /// Begins to read an object in chunks.
    ///
    /// # Errors
    /// `NoSuchKey`, `NoSuchBucket`, `AccessDenied`; `ConnectionError`, `TimeoutError`.
    pub async fn read(&self, key: &str) -> Result<Reader, ToolError> {
        let object = self.open_object(key, false).await?;
        let bytes = object.meta.size;
        let stream = object.into_stream();
        Ok(Reader { bytes, bucket: self.clone(), key: key.to_owned(), stream })
    }

    /// Writes a whole object at once.
    pub(super) async fn put(
        &self,
        key: &str,
        body: Bytes,
        options: PutOptions,
    ) -> Result<PutResult, ToolError> {
        let path = path(key)?;
        let sent = self.store.put_opts(&path, body.into(), options);
        self.wait(self.deed("s3:PutObject", key), sent).await
    }

    pub(super) async fn delete(&self, key: &str) -> Result<(), ToolError> {
        let path = path(key)?;
        self.wait(self.deed("s3:DeleteObject", key), self.store.delete(&path)).await
    }

    /// Begins to write an object in chunks; it exists only when [`Writer::finish`] has returned.
    ///
    /// # Errors
    /// Input: a key that is none.
    pub fn write(&self, key: &str, content_type: &'static str) -> Result<Writer, ToolError> {
        Ok(Writer {
            path: path(key)?,
            bucket: self.clone(),
            key: key.to_owned(),
            content_type,
            pending: BytesMut::new(),
            upload: None,
            parts: 0,
            bytes: 0,
        })
    }
}

/// An object that is read in chunks of the size in which they arrive.
pub struct Reader {
    /// Of the whole object.
    pub bytes: u64,
    bucket: Bucket,
    key: String,
    stream: BoxStream<'static, object_store::Result<Bytes>>,
}

impl Reader {
    /// The next bytes; none at the end.
    ///
    /// # Errors
    /// `ConnectionError` if the object breaks off, `TimeoutError` at the deadline.
    pub async fn next(&mut self) -> Result<Option<Bytes>, ToolError> {
        let deed = self.bucket.deed("s3:GetObject", &self.key);
        self.bucket.wait(deed, self.stream.try_next()).await
    }
}

/// An object that is written in chunks; at most one part of it is in memory.
///
/// Whoever gives up calls [`Writer::abort`]: parts without an end are paid for until they are deleted.
pub struct Writer {
    bucket: Bucket,
    key: String,
    path: Path,
    content_type: &'static str,
    pending: BytesMut,
    upload: Option<Box<dyn MultipartUpload>>,
    parts: usize,
    bytes: u64,
}

/// What was written.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Written {
    /// Of the whole object.
    pub bytes: u64,
    /// The tag that S3 gave it.
    pub etag: Option<String>,
}

impl Writer {
    /// Adds bytes; sends a part when one is full.
    ///
    /// # Errors
    /// Those of S3; `ObjectTooLarge` after [`S3_PARTS_MAX`] parts. The upload is aborted then.
    pub async fn write(&mut self, mut bytes: &[u8]) -> Result<(), ToolError> {
        while !bytes.is_empty() {
            let room = S3_PART_BYTES - self.pending.len();
            let (now, later) = bytes.split_at(room.min(bytes.len()));
            self.pending.extend_from_slice(now);
            bytes = later;
            if self.pending.len() == S3_PART_BYTES
                && let Err(error) = self.send_part().await
            {
                self.abort().await;
                return Err(error);
            }
        }
        Ok(())
    }

    async fn send_part(&mut self) -> Result<(), ToolError> {
        if self.parts >= S3_PARTS_MAX {
            let message = format!(
                "`s3://{}/{}` would have more than {S3_PARTS_MAX} parts of {} MiB; write several \
                 objects",
                self.bucket.name,
                self.key,
                S3_PART_BYTES >> 20
            );
            return Err(ToolError::new(Reaction::Rejected, "ObjectTooLarge", message));
        }
        let deed = self.bucket.deed("s3:PutObject", &self.key);
        if self.upload.is_none() {
            let options = attributes(self.content_type).into();
            let begun = self.bucket.store.put_multipart_opts(&self.path, options);
            self.upload = Some(self.bucket.wait(deed, begun).await?);
        }
        if let Some(upload) = &mut self.upload {
            let part = self.pending.split().freeze();
            self.bytes += part.len() as u64;
            self.parts += 1;
            self.bucket.wait(deed, upload.put_part(part.into())).await?;
        }
        Ok(())
    }

    /// Makes the object exist.
    ///
    /// # Errors
    /// Those of S3; the upload is aborted then.
    pub async fn finish(mut self) -> Result<Written, ToolError> {
        if self.upload.is_none() {
            let body = self.pending.split().freeze();
            let (bytes, attributes) = (body.len() as u64, attributes(self.content_type));
            let options = PutOptions { attributes, ..PutOptions::default() };
            let put = self.bucket.put(&self.key, body, options).await?;
            return Ok(Written { bytes, etag: put.e_tag });
        }
        let ended = self.complete().await;
        if ended.is_err() {
            self.abort().await;
        }
        ended
    }

    async fn complete(&mut self) -> Result<Written, ToolError> {
        if !self.pending.is_empty() {
            self.send_part().await?;
        }
        let deed = self.bucket.deed("s3:PutObject", &self.key);
        let etag = match &mut self.upload {
            Some(upload) => self.bucket.wait(deed, upload.complete()).await?.e_tag,
            None => None,
        };
        Ok(Written { bytes: self.bytes, etag })
    }

    /// Takes back what was sent.
    pub async fn abort(&mut self) {
        if let Some(mut upload) = self.upload.take() {
            let grace = Duration::from_millis(engine_core::limits::TOOL_GRACE_MS / 2);
            // Nobody waits for it any more; a bucket's lifecycle rule removes what is left.
            if !matches!(tokio::time::timeout(grace, upload.abort()).await, Ok(Ok(()))) {
                tracing::warn!(bucket = %self.bucket.name, key = %self.key, "an upload was not taken back");
            }
        }
    }
}

pub(super) fn attributes(content_type: &str) -> Attributes {
    let mut attributes = Attributes::new();
    attributes.insert(Attribute::ContentType, content_type.to_owned().into());
    attributes
}

fn retries() -> RetryConfig {
    RetryConfig {
        backoff: BackoffConfig {
            init_backoff: Duration::from_millis(AWS_BACKOFF_MS),
            max_backoff: Duration::from_secs(1),
            base: 2.0,
        },
        max_retries: AWS_ATTEMPTS_MAX as usize - 1,
        retry_timeout: Duration::from_millis(TOOL_TIMEOUT_MS_MAX),
    }
}

fn path(key: &str) -> Result<Path, ToolError> {
    let path = Path::parse(key)
        .map_err(|error| ToolError::input(format!("`{key}` is no key of an object: {error}")))?;
    if path.as_ref().is_empty() {
        return Err(ToolError::input(
            "the key of the object is empty; name one with `key` or `uri`",
        ));
    }
    Ok(path)
}

/// A name becomes part of a URL.
fn valid_bucket(name: &str) -> Result<&str, ToolError> {
    let is_valid = |byte: u8| byte.is_ascii_alphanumeric() || b".-_".contains(&byte);
    if (3..=63).contains(&name.len()) && name.bytes().all(is_valid) && !name.starts_with('.') {
        return Ok(name);
    }
    Err(ToolError::input(format!(
        "`{name}` is no name of a bucket; they have 3 to 63 letters, digits, `-` and `.`"
    )))
}
