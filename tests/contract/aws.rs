//! The ports over AWS: an emulator of all of it, `DynamoDB` of AWS itself for this machine, and both
//! behind faults of our own.

#[path = "aws/faults.rs"]
mod faults;

#[path = "aws/store.rs"]
mod store;

#[path = "aws/queues.rs"]
mod queues;

#[path = "aws/resources.rs"]
mod resources;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use adapters::aws::Aws;
use adapters::aws::config::Config;
use adapters::aws::transport::transport;
use adapters::clock::ManualClock;
use adapters::options::Options;
use engine_core::payload::sha256_hex;

use self::faults::Faults;
use crate::samples::{START_MS, expanded};

/// Kinds of tool that tests send commands to.
pub(crate) const KINDS: [&str; 3] = ["http", "python", "noop"];
/// The key that the secret holds.
const MASTER_KEY: &str = "ff0102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";

/// Resources of one test.
pub(crate) struct World {
    pub(crate) aws: Aws,
    pub(crate) faults: Faults,
    pub(crate) clock: Arc<ManualClock>,
    pub(crate) config: Config,
}

fn server(variable: &str) -> String {
    std::env::var(variable)
        .unwrap_or_else(|_| panic!("{variable} is not set; run the tests with `make test`"))
}

/// A name that no other test has, in this run or another on the same servers.
fn unique() -> String {
    static WORLDS: AtomicU64 = AtomicU64::new(0);
    let number = WORLDS.fetch_add(1, Ordering::Relaxed);
    let process = std::process::id();
    // Chance of the operating system: emulators that are given may outlive a process id.
    let chance = std::hash::BuildHasher::hash_one(&std::hash::RandomState::new(), number);
    format!("contract-{process}-{number}-{:08x}", chance & 0xffff_ffff)
}

/// A configuration with names of its own. `dynamodb` is the variable with the address of `DynamoDB`.
fn config(name: &str, dynamodb: &str) -> Config {
    let emulator = server("NOETL_TEST_AWS");
    let queues = format!("{emulator}/000000000000/{name}");
    Config::from_lookup(|variable| {
        Some(match variable {
            "NOETL_STATE_TABLE" => format!("{name}-state"),
            "NOETL_CATALOG_TABLE" => format!("{name}-catalog"),
            "NOETL_CREDENTIALS_TABLE" => format!("{name}-credentials"),
            "NOETL_PAYLOADS_BUCKET" => format!("{name}-payloads"),
            "NOETL_EVENTS_QUEUE_URL" => format!("{queues}-events.fifo"),
            "NOETL_COMMANDS_QUEUE_URL_PREFIX" => format!("{queues}-commands-"),
            "NOETL_MASTER_KEY_SECRET" => format!("{name}-key"),
            "AWS_ENDPOINT_URL" => emulator.clone(),
            "AWS_ENDPOINT_URL_DYNAMODB" => server(dynamodb),
            "AWS_REGION" => "us-east-1".to_owned(),
            "AWS_ACCESS_KEY_ID" => "AKIDEXAMPLE".to_owned(),
            "AWS_SECRET_ACCESS_KEY" => "secret".to_owned(),
            _ => return None,
        })
    })
    .unwrap()
}

/// What a test says to AWS, but before anything is made there.
async fn unprovisioned(dynamodb: &str) -> World {
    let config = config(&unique(), dynamodb);
    let clock = Arc::new(ManualClock::new(START_MS));
    let faults = Faults::new(transport());
    let aws = opened(&config, &clock, &faults).await;
    World { aws, faults, clock, config }
}

/// The same resources, as another process sees them.
async fn opened(config: &Config, clock: &Arc<ManualClock>, faults: &Faults) -> Aws {
    let options = Options { parse: crate::catalog::parse, expanded, clock: clock.clone() };
    Aws::open_over(config.clone(), options, faults.connector()).await.unwrap()
}

/// A world of its own on the emulator, with `DynamoDB` at the address in the variable `dynamodb`.
pub(crate) async fn world(dynamodb: &str) -> World {
    let world = unprovisioned(dynamodb).await;
    world.aws.provision(&KINDS).await.unwrap();
    world
}

/// The names of the two servers with tables: the emulator of everything, and AWS's own.
macro_rules! on_both {
    ($($name:ident),* $(,)?) => {
        mod emulator {
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $name() {
                super::$name(&crate::aws::world("NOETL_TEST_AWS").await).await;
            })*
        }
        mod dynamodb_local {
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $name() {
                super::$name(&crate::aws::world("NOETL_TEST_DYNAMODB").await).await;
            })*
        }
    };
}
pub(crate) use on_both;

/// Asks a service of AWS without the SDK.
async fn ask(world: &World, endpoint: &str, target: &str, service: &str, body: String) {
    let scope = format!("20240101/us-east-1/{service}/aws4_request");
    let signed =
        format!("AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/{scope}, SignedHeaders=host, Signature=0");
    let version = if service == "dynamodb" { "1.0" } else { "1.1" };
    let headers = [
        ("content-type", format!("application/x-amz-json-{version}")),
        ("x-amz-target", target.to_owned()),
        ("authorization", signed),
        ("x-amz-content-sha256", sha256_hex(body.as_bytes())),
    ];
    let headers: Vec<_> = headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let url = format!("{}/", endpoint.trim_end_matches('/'));
    assert_eq!(faults::post(&world.faults, &url, &headers, body).await, 200, "{target}");
}

/// Puts an item into the table of states as nobody should.
async fn put_raw(world: &World, item: &serde_json::Value) {
    let body = serde_json::json!({"TableName": world.config.state_table, "Item": item});
    let endpoint = world.config.access.dynamodb.as_deref().unwrap();
    ask(world, endpoint, "DynamoDB_20120810.PutItem", "dynamodb", body.to_string()).await;
}

/// Stores the master key where `config` says.
async fn store_master_key(world: &World, text: &str) {
    let name = world.config.master_key_secret.clone().unwrap();
    let body = serde_json::json!({"Name": name, "SecretString": text}).to_string();
    let (endpoint, target) = (server("NOETL_TEST_AWS"), "secretsmanager.CreateSecret");
    ask(world, &endpoint, target, "secretsmanager", body).await;
}
