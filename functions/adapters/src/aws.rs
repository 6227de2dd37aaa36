//! The ports over `DynamoDB`, `SQS` and `S3`: what every function is built of.
//!
//! # Invariants
//!
//! * One client for each service and process, over one pool of connections.
//! * What is read is read consistently; what is written is written under a condition, or is the same
//!   whoever writes it.

pub mod catalog;
pub mod config;
pub mod credentials;
pub mod dead_letters;
pub mod meter;
pub mod payload_store;
pub mod provision;
pub mod queue;
pub mod store;
pub mod transport;

mod failure;
mod item;
mod key_secret;
mod objects;
mod signed;
mod table;

use std::sync::Arc;
use std::time::Duration;

use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_smithy_runtime_api::client::http::SharedHttpConnector;
use aws_smithy_types::retry::RetryConfig;
use aws_smithy_types::timeout::TimeoutConfig;
use engine_core::limits::{AWS_ATTEMPTS_MAX, AWS_BACKOFF_MS, AWS_REQUEST_MS, AWS_TRY_MS};
use engine_core::ports::{PayloadStore, PortError, PortErrorKind, Ports};

use self::catalog::DynamoCatalog;
use self::config::{Access, Config};
use self::credentials::DynamoCredentials;
use self::key_secret::KeySecret;
use self::meter::Meter;
use self::objects::Objects;
use self::payload_store::S3PayloadStore;
use self::queue::{Inbox, Sender, SqsCommands, SqsEvents};
use self::signed::Signer;
use self::store::DynamoStore;
use self::transport::{client, transport};
use crate::clock::Timer;
use crate::ids::SnowflakeIds;
use crate::options::Options;

/// The ports of an account, with the sides that only a shell may touch.
pub struct Aws {
    /// The log, and the list of executions.
    pub store: Arc<DynamoStore>,
    /// Work for the event handler.
    pub events: Arc<SqsEvents>,
    /// Work for workers.
    pub commands: Arc<SqsCommands>,
    /// Large values.
    pub payloads: Arc<dyn PayloadStore>,
    /// Playbooks.
    pub catalog: Arc<DynamoCatalog>,
    /// Secret values, and their store.
    pub credentials: Arc<DynamoCredentials>,
    /// What was used.
    pub meter: Arc<Meter>,
    /// The time.
    pub clock: Arc<dyn Timer>,
    /// Ids and secrets.
    pub ids: Arc<SnowflakeIds>,
    config: Config,
    clients: Clients,
}

/// One client for each service.
struct Clients {
    dynamodb: aws_sdk_dynamodb::Client,
    sqs: aws_sdk_sqs::Client,
    objects: Objects,
}

impl Aws {
    /// Opens what `config` names. Nothing is asked of AWS before the first call of a port.
    ///
    /// # Errors
    /// `Refused` if there is no way to credentials.
    pub async fn open(config: Config, options: Options) -> Result<Self, PortError> {
        Self::open_over(config, options, transport()).await
    }

    /// As [`Aws::open`], over other connections: whoever wraps [`transport`] sees and may spoil every try
    /// of every request.
    ///
    /// # Errors
    /// As [`Aws::open`].
    pub async fn open_over(
        config: Config,
        options: Options,
        connector: SharedHttpConnector,
    ) -> Result<Self, PortError> {
        let access = &config.access;
        let sdk = sdk(access, connector.clone()).await;
        let credentials = sdk.credentials_provider().ok_or_else(|| {
            let message = "there is no way to credentials of AWS; give the function its role";
            PortError::new(PortErrorKind::Refused, message)
        })?;
        let signer = Signer { connector, credentials, region: access.region.clone() };
        let meter = Arc::new(Meter::default());
        let objects = Objects::new(signer.clone(), access, &config.payloads_bucket, meter.clone());
        let clients = Clients { dynamodb: dynamodb(&sdk, access), sqs: sqs(&sdk, access), objects };
        let secret = config.master_key_secret.as_deref();
        let secret = KeySecret::new(signer, access, secret, meter.clone());
        Ok(Self::built(config, options, (clients, secret, meter)))
    }

    fn built(
        config: Config,
        options: Options,
        (clients, secret, meter): (Clients, KeySecret, Arc<Meter>),
    ) -> Self {
        let Options { parse, expanded, clock } = options;
        let dynamodb = || clients.dynamodb.clone();
        let payloads: Arc<dyn PayloadStore> =
            Arc::new(S3PayloadStore::new(clients.objects.clone()));
        let sender = Sender {
            client: clients.sqs.clone(),
            payloads: payloads.clone(),
            clock: clock.clone(),
            meter: meter.clone(),
        };
        let store = DynamoStore::new(dynamodb(), &config.state_table, expanded, meter.clone());
        let catalog = DynamoCatalog::new(
            dynamodb(),
            &config.catalog_table,
            clients.objects.clone(),
            (parse, clock.clone()),
            meter.clone(),
        );
        let credentials = DynamoCredentials::new(
            dynamodb(),
            config.credentials_table.as_deref(),
            secret,
            meter.clone(),
        );
        Self {
            store: Arc::new(store),
            events: Arc::new(SqsEvents::new(sender.clone(), &config.events_queue_url)),
            commands: Arc::new(SqsCommands::new(sender, &config.commands_queue_url_prefix)),
            payloads,
            catalog: Arc::new(catalog),
            credentials: Arc::new(credentials),
            meter,
            ids: Arc::new(SnowflakeIds::new(clock.clone())),
            clock,
            config,
            clients,
        }
    }

    /// The driver's view.
    #[must_use]
    pub fn ports(&self) -> Ports {
        Ports {
            store: self.store.clone(),
            commands: self.commands.clone(),
            events: self.events.clone(),
            payloads: self.payloads.clone(),
            catalog: self.catalog.clone(),
            clock: self.clock.clone(),
            ids: self.ids.clone(),
        }
    }

    /// The reader of messages, also of those that were spilled.
    #[must_use]
    pub fn inbox(&self) -> Inbox {
        Inbox::new(self.payloads.clone())
    }
}

/// What all clients share. Retries are few and short: what lasts longer goes back to its queue. Not the
/// adaptive ones, which slow down every request of the process, for half a minute, when one partition of
/// one table throttles.
async fn sdk(access: &Access, connector: SharedHttpConnector) -> SdkConfig {
    let timeouts = TimeoutConfig::builder()
        .operation_attempt_timeout(Duration::from_millis(AWS_TRY_MS))
        .operation_timeout(Duration::from_millis(AWS_REQUEST_MS))
        .build();
    let retries = RetryConfig::standard()
        .with_max_attempts(AWS_ATTEMPTS_MAX)
        .with_initial_backoff(Duration::from_millis(AWS_BACKOFF_MS));
    let loader = aws_config::defaults(BehaviorVersion::v2026_01_12())
        .region(Region::new(access.region.clone()))
        .http_client(client(connector))
        .retry_config(retries)
        .timeout_config(timeouts);
    match &access.credentials {
        Some(credentials) => loader.credentials_provider(credentials.clone()).load().await,
        None => loader.load().await,
    }
}

fn dynamodb(sdk: &SdkConfig, access: &Access) -> aws_sdk_dynamodb::Client {
    let mut config = aws_sdk_dynamodb::config::Builder::from(sdk);
    config.set_endpoint_url(access.dynamodb.clone());
    aws_sdk_dynamodb::Client::from_conf(config.build())
}

fn sqs(sdk: &SdkConfig, access: &Access) -> aws_sdk_sqs::Client {
    let mut config = aws_sdk_sqs::config::Builder::from(sdk);
    config.set_endpoint_url(access.sqs.clone());
    aws_sdk_sqs::Client::from_conf(config.build())
}
