//! The connection, and the buckets and streams behind it.

use std::sync::OnceLock;
use std::time::Duration;

use async_nats::jetstream::kv::{self, Store};
use async_nats::jetstream::message::StreamMessage;
use async_nats::jetstream::stream::{self, RawMessageErrorKind, Stream};
use async_nats::jetstream::{self, Context};
use async_nats::{Client, ConnectErrorKind, ConnectOptions};
use engine_core::limits::{NATS_CONNECT_MS, NATS_HEADER_BYTES, NATS_REQUEST_MS};
use engine_core::ports::{PortError, PortErrorKind};
use futures_util::TryStreamExt as _;

use super::failure::unavailable;

/// The variable that names the server.
const URL: &str = "NOETL_NATS_URL";
/// The variable that tells deployments on one server apart.
const PREFIX: &str = "NOETL_NATS_PREFIX";

/// Everything that is kept in a server.
pub(super) struct Place {
    client: Client,
    pub(super) context: Context,
    /// The newest entry of every aggregate, with its state.
    pub(super) state: Bucket,
    /// All entries, without states.
    pub(super) log: Bucket,
    /// Executions that have not ended.
    pub(super) running: Bucket,
    /// All executions in the order of their beginning.
    pub(super) list: List,
}

/// A stream with one empty message for each execution.
pub(super) struct List {
    pub(super) name: String,
    /// What its subjects begin with.
    pub(super) prefix: String,
    pub(super) stream: Stream,
}

/// A bucket of keys and values.
pub(super) struct Bucket {
    pub(super) name: String,
    pub(super) store: Store,
}

impl Place {
    pub(super) async fn connect(url: &str, prefix: &str) -> Result<Self, PortError> {
        static PROVIDER: OnceLock<()> = OnceLock::new();
        let is_safe = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
        if prefix.is_empty() || !prefix.bytes().all(is_safe) {
            let message = format!(
                "`{PREFIX}` is `{prefix}`; it must be of letters, digits, `-` and `_`, such as `noetl`"
            );
            return Err(PortError::new(PortErrorKind::Refused, message));
        }
        // A provider that is there already serves as well.
        PROVIDER.get_or_init(|| drop(rustls::crypto::ring::default_provider().install_default()));
        let options = ConnectOptions::new()
            .name("noetl-lambda")
            .connection_timeout(Duration::from_millis(NATS_CONNECT_MS))
            .request_timeout(Some(Duration::from_millis(NATS_REQUEST_MS)));
        let servers: Vec<&str> =
            url.split(',').map(str::trim).filter(|one| !one.is_empty()).collect();
        let client = options.connect(servers).await.map_err(|error| {
            let (kind, cure) = match error.kind() {
                ConnectErrorKind::ServerParse => {
                    (PortErrorKind::Refused, "it must be `nats://[user:password@]host:port`")
                }
                ConnectErrorKind::Authentication | ConnectErrorKind::AuthorizationViolation => {
                    (PortErrorKind::Refused, "the server wants other credentials")
                }
                _ => (PortErrorKind::Unavailable, "no server answers there"),
            };
            // The address may hold a password.
            PortError::caused(kind, format!("`{URL}` is not usable: {cure}"), error)
        })?;
        let context = jetstream::new(client.clone());
        Ok(Self {
            client,
            state: Bucket::open(&context, format!("{prefix}_execution_state")).await?,
            log: Bucket::open(&context, format!("{prefix}_entries")).await?,
            running: Bucket::open(&context, format!("{prefix}_running")).await?,
            list: List::open(&context, prefix).await?,
            context,
        })
    }

    /// Bytes of the largest value that the server takes, less what the client adds.
    pub(super) fn message_bytes_max(&self) -> usize {
        self.client.server_info().max_payload.saturating_sub(NATS_HEADER_BYTES)
    }
}

impl List {
    async fn open(context: &Context, prefix: &str) -> Result<Self, PortError> {
        let (name, prefix) = (format!("{prefix}_executions"), format!("{prefix}.executions."));
        let config = stream::Config {
            name: name.clone(),
            subjects: vec![format!("{prefix}*")],
            description: Some("executions in the order of their beginning".to_owned()),
            ..stream::Config::default()
        };
        let stream = context.get_or_create_stream(config).await;
        Ok(Self { stream: stream.map_err(|error| unavailable(&name, error))?, name, prefix })
    }
}

impl Bucket {
    /// The bucket as whoever runs the server has made it, or a new one.
    async fn open(context: &Context, name: String) -> Result<Self, PortError> {
        let store = match context.get_key_value(&name).await {
            Ok(store) => store,
            Err(_missing) => {
                let config =
                    kv::Config { bucket: name.clone(), history: 1, ..kv::Config::default() };
                // Another process may have been quicker: the same configuration is no error.
                context.create_key_value(config).await.map_err(|error| unavailable(&name, error))?
            }
        };
        Ok(Self { name, store })
    }

    pub(super) fn subject(&self, key: &str) -> String {
        format!("$KV.{}.{key}", self.name)
    }

    /// The value of a key, from the leader.
    pub(super) async fn newest(&self, key: &str) -> Result<Option<StreamMessage>, PortError> {
        last(&self.store.stream, &self.name, &self.subject(key)).await
    }

    /// The keys that match.
    pub(super) async fn names(&self, filter: &str) -> Result<Vec<String>, PortError> {
        let failed = |error| unavailable(&self.name, error);
        let prefix = self.subject("");
        let found = self.store.stream.info_with_subjects(self.subject(filter)).await;
        let subjects = found.map_err(failed)?.map_ok(|(subject, _messages)| {
            subject.strip_prefix(&prefix).map_or_else(|| subject.clone(), str::to_owned)
        });
        subjects.try_collect().await.map_err(failed)
    }

    /// Removes a key, and leaves no mark of it.
    pub(super) async fn remove(&self, key: &str) -> Result<(), PortError> {
        let purged = self.store.stream.purge().filter(self.subject(key)).await;
        purged.map(drop).map_err(|error| unavailable(&self.name, error))
    }
}

/// The newest message of a subject, from the leader.
pub(super) async fn last(
    stream: &Stream,
    name: &str,
    subject: &str,
) -> Result<Option<StreamMessage>, PortError> {
    match stream.get_last_raw_message_by_subject(subject).await {
        Ok(message) => Ok(Some(message)),
        Err(error) if matches!(error.kind(), RawMessageErrorKind::NoMessageFound) => Ok(None),
        Err(error) => Err(unavailable(name, error)),
    }
}
