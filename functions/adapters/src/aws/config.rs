//! What the functions are told by their environment. The template sets it; `infra/README.md` lists it.

use aws_credential_types::Credentials;
use engine_core::ports::{PortError, PortErrorKind};

/// The variable that names the table of entries.
pub const STATE_TABLE: &str = "NOETL_STATE_TABLE";
/// The variable that names the table of playbooks.
pub const CATALOG_TABLE: &str = "NOETL_CATALOG_TABLE";
/// The variable that names the table of credentials.
pub const CREDENTIALS_TABLE: &str = "NOETL_CREDENTIALS_TABLE";
/// The variable that names the bucket of large values.
pub const PAYLOADS_BUCKET: &str = "NOETL_PAYLOADS_BUCKET";
/// The variable that holds the URL of the event queue.
pub const EVENTS_QUEUE_URL: &str = "NOETL_EVENTS_QUEUE_URL";
/// The variable that holds the URL of the command queues, less the kind of tool at its end.
pub const COMMANDS_QUEUE_URL_PREFIX: &str = "NOETL_COMMANDS_QUEUE_URL_PREFIX";
/// The variable that names the secret with the key of stored credentials.
pub const MASTER_KEY_SECRET: &str = "NOETL_MASTER_KEY_SECRET";

/// Names of resources, and how AWS is reached.
#[derive(Clone, Debug)]
pub struct Config {
    /// `pk` (S), `sk` (N): entries, loop index, list of executions, running executions.
    pub state_table: String,
    /// `pk` (S) the path, `sk` (N) the version.
    pub catalog_table: String,
    /// `pk` (S) the name. Only the API and workers have one.
    pub credentials_table: Option<String>,
    /// `payloads/{execution_id}/{sha256}` and `playbooks/{hash}`.
    pub payloads_bucket: String,
    /// A FIFO queue.
    pub events_queue_url: String,
    /// `{prefix}{kind}` is the URL of the queue of a kind of tool.
    pub commands_queue_url_prefix: String,
    /// ARN or name. Only the API and workers have one.
    pub master_key_secret: Option<String>,
    /// Where AWS is, and who asks.
    pub access: Access,
}

/// The SDK's own variables. They are read here, so that requests that the SDK does not make go the same
/// way as those that it makes.
#[derive(Clone, Debug)]
pub struct Access {
    /// `AWS_REGION`.
    pub region: String,
    /// `AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY` and `AWS_SESSION_TOKEN`, as Lambda gives them; none for
    /// the SDK's chain of providers. `Debug` shows no secret of it.
    pub credentials: Option<Credentials>,
    /// `AWS_ENDPOINT_URL_DYNAMODB`, or `AWS_ENDPOINT_URL`.
    pub dynamodb: Option<String>,
    /// `AWS_ENDPOINT_URL_SQS`, or `AWS_ENDPOINT_URL`.
    pub sqs: Option<String>,
    /// `AWS_ENDPOINT_URL_S3`, or `AWS_ENDPOINT_URL`.
    pub s3: Option<String>,
    /// `AWS_ENDPOINT_URL_SECRETS_MANAGER`, or `AWS_ENDPOINT_URL`.
    pub secrets_manager: Option<String>,
}

impl Config {
    /// Reads the variables that `lookup` knows; an empty one counts as missing.
    ///
    /// # Errors
    /// `Refused`, naming every variable that is missing.
    pub fn from_lookup(lookup: impl Fn(&str) -> Option<String>) -> Result<Self, PortError> {
        let given = |name: &str| lookup(name).filter(|value| !value.trim().is_empty());
        let mut missing = Vec::new();
        let mut required = |name: &'static str| {
            given(name).unwrap_or_else(|| {
                missing.push(name);
                String::new()
            })
        };
        let config = Self {
            state_table: required(STATE_TABLE),
            catalog_table: required(CATALOG_TABLE),
            credentials_table: given(CREDENTIALS_TABLE),
            payloads_bucket: required(PAYLOADS_BUCKET),
            events_queue_url: required(EVENTS_QUEUE_URL),
            commands_queue_url_prefix: required(COMMANDS_QUEUE_URL_PREFIX),
            master_key_secret: given(MASTER_KEY_SECRET),
            access: Access {
                region: given("AWS_REGION")
                    .or_else(|| given("AWS_DEFAULT_REGION"))
                    .unwrap_or_else(|| required("AWS_REGION")),
                credentials: credentials(&given),
                dynamodb: endpoint(&given, "DYNAMODB"),
                sqs: endpoint(&given, "SQS"),
                s3: endpoint(&given, "S3"),
                secrets_manager: endpoint(&given, "SECRETS_MANAGER"),
            },
        };
        if missing.is_empty() {
            return Ok(config);
        }
        let message = format!(
            "missing environment variables: {}; the template sets them, and `infra/README.md` says what \
             each one names",
            missing.join(", ")
        );
        Err(PortError::new(PortErrorKind::Refused, message))
    }
}

/// Keys that are given whole; the chain of providers says what is wrong with half of them.
fn credentials(given: &impl Fn(&str) -> Option<String>) -> Option<Credentials> {
    let (id, secret) = (given("AWS_ACCESS_KEY_ID")?, given("AWS_SECRET_ACCESS_KEY")?);
    Some(Credentials::new(id, secret, given("AWS_SESSION_TOKEN"), None, "environment"))
}

fn endpoint(given: &impl Fn(&str) -> Option<String>, service: &str) -> Option<String> {
    let url =
        given(&format!("AWS_ENDPOINT_URL_{service}")).or_else(|| given("AWS_ENDPOINT_URL"))?;
    Some(url.trim_end_matches('/').to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(pairs: &[(&str, &str)]) -> Result<Config, PortError> {
        Config::from_lookup(|name| {
            let found = pairs.iter().find(|(known, _)| *known == name);
            found.map(|(_, value)| (*value).to_owned())
        })
    }

    const GIVEN: [(&str, &str); 6] = [
        (STATE_TABLE, "state"),
        (CATALOG_TABLE, "catalog"),
        (PAYLOADS_BUCKET, "payloads"),
        (EVENTS_QUEUE_URL, "https://sqs/events.fifo"),
        (COMMANDS_QUEUE_URL_PREFIX, "https://sqs/commands-"),
        ("AWS_REGION", "eu-central-1"),
    ];

    #[test]
    fn every_missing_variable_is_named_at_once() {
        let error = of(&[(STATE_TABLE, "state"), (CATALOG_TABLE, " ")]).unwrap_err();
        assert_eq!(error.kind, PortErrorKind::Refused);
        let expect = "missing environment variables: NOETL_CATALOG_TABLE, NOETL_PAYLOADS_BUCKET, \
            NOETL_EVENTS_QUEUE_URL, NOETL_COMMANDS_QUEUE_URL_PREFIX, AWS_REGION; the template sets them, \
            and `infra/README.md` says what each one names";
        assert_eq!(error.to_string(), expect);
    }

    #[test]
    fn an_endpoint_of_a_service_wins_over_that_of_all() {
        let mut given = GIVEN.to_vec();
        assert_eq!(of(&given).unwrap().access.sqs, None);
        given.push(("AWS_ENDPOINT_URL", "http://localhost:1/"));
        given.push(("AWS_ENDPOINT_URL_DYNAMODB", "http://localhost:2"));
        let access = of(&given).unwrap().access;
        assert_eq!(access.dynamodb.as_deref(), Some("http://localhost:2"));
        assert_eq!(access.sqs.as_deref(), Some("http://localhost:1"));
        assert!(access.credentials.is_none());
    }

    #[test]
    fn what_is_printed_of_a_config_tells_no_secret() {
        let mut given = GIVEN.to_vec();
        given.push(("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE"));
        given.push(("AWS_SECRET_ACCESS_KEY", "canary-4711"));
        given.push(("AWS_SESSION_TOKEN", "canary-4712"));
        let config = of(&given).unwrap();
        assert!(config.access.credentials.is_some());
        assert!(!format!("{config:?}").contains("canary"));
    }
}
