//! Where AWS is, and who asks.

use std::collections::BTreeMap;
use std::fmt;

use serde_json::{Map, Value};

use crate::tool::{Reaction, ToolError};

/// A service that is called.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) enum Service {
    S3,
    Lambda,
    SecretsManager,
    Sqs,
    Ssm,
}

impl Service {
    const ALL: [Self; 5] = [Self::S3, Self::Lambda, Self::SecretsManager, Self::Sqs, Self::Ssm];

    /// As it is signed for, and as its host begins.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::S3 => "s3",
            Self::Lambda => "lambda",
            Self::SecretsManager => "secretsmanager",
            Self::Sqs => "sqs",
            Self::Ssm => "ssm",
        }
    }

    fn variable(self) -> &'static str {
        match self {
            Self::S3 => "AWS_ENDPOINT_URL_S3",
            Self::Lambda => "AWS_ENDPOINT_URL_LAMBDA",
            Self::SecretsManager => "AWS_ENDPOINT_URL_SECRETS_MANAGER",
            Self::Sqs => "AWS_ENDPOINT_URL_SQS",
            Self::Ssm => "AWS_ENDPOINT_URL_SSM",
        }
    }
}

/// An access key; never shown.
#[derive(Clone, Eq, PartialEq)]
pub(crate) struct Keys {
    pub(crate) id: String,
    pub(crate) secret: String,
    pub(crate) token: Option<String>,
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Keys(..)")
    }
}

/// Region, keys and endpoints.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct AwsSettings {
    region: Option<String>,
    keys: Option<Keys>,
    endpoint: Option<String>,
    endpoints: BTreeMap<Service, String>,
    from_playbook: bool,
    own_keys: bool,
}

impl AwsSettings {
    /// The settings of an environment, by the names that every AWS client uses.
    ///
    /// `AWS_REGION` (or `AWS_DEFAULT_REGION`), `AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY`,
    /// `AWS_SESSION_TOKEN`, `AWS_ENDPOINT_URL` and `AWS_ENDPOINT_URL_<SERVICE>`. What is missing is
    /// an error of the call that needs it.
    #[must_use]
    pub fn from_lookup(lookup: impl Fn(&str) -> Option<String>) -> Self {
        let read = |name: &str| lookup(name).filter(|value| !value.trim().is_empty());
        let keys = match (read("AWS_ACCESS_KEY_ID"), read("AWS_SECRET_ACCESS_KEY")) {
            (Some(id), Some(secret)) => Some(Keys { id, secret, token: read("AWS_SESSION_TOKEN") }),
            _ => None,
        };
        let named = |service: Service| Some((service, read(service.variable())?));
        Self {
            region: read("AWS_REGION").or_else(|| read("AWS_DEFAULT_REGION")),
            keys,
            endpoint: read("AWS_ENDPOINT_URL"),
            endpoints: Service::ALL.into_iter().filter_map(named).collect(),
            from_playbook: false,
            own_keys: false,
        }
    }

    /// These settings, with what `auth` and the keys `region` and `endpoint` of a tool say instead.
    pub(super) fn for_tool(&self, config: &Map<String, Value>) -> Result<Self, ToolError> {
        let mut settings = self.clone();
        let none = Map::new();
        let auth = credential(config.get("auth"))?.unwrap_or(&none);
        let text = |names: &[&str]| {
            let given = names.iter().find_map(|name| auth.get(*name).and_then(Value::as_str));
            given.map(str::trim).filter(|text| !text.is_empty()).map(str::to_owned)
        };
        let own = |name: &str| config.get(name).and_then(Value::as_str).map(str::to_owned);
        let id = text(&["aws_access_key_id", "access_key_id", "access_key", "key_id"]);
        let secret = text(&["aws_secret_access_key", "secret_access_key", "secret_key", "secret"]);
        match (id, secret) {
            (Some(id), Some(secret)) => {
                let token = text(&["aws_session_token", "session_token"]);
                settings.keys = Some(Keys { id, secret, token });
                settings.own_keys = true;
            }
            (None, None) => {}
            _ => {
                return Err(ToolError::input(
                    "`auth` holds half of an access key; give `access_key_id` and \
                     `secret_access_key` (or neither, for the worker's own key)",
                ));
            }
        }
        if let Some(region) = text(&["region", "aws_region"]).or_else(|| own("region")) {
            settings.region = Some(valid_region(region)?);
        }
        if let Some(endpoint) = text(&["endpoint", "endpoint_url"]).or_else(|| own("endpoint")) {
            let url =
                if endpoint.contains("://") { endpoint } else { format!("https://{endpoint}") };
            settings.endpoint = Some(url);
            settings.endpoints.clear();
            settings.from_playbook = true;
        }
        Ok(settings)
    }

    /// Whether the playbook says which host is called.
    pub(super) fn is_from_playbook(&self) -> bool {
        self.from_playbook
    }

    /// Whether the playbook brings the keys.
    pub(super) fn has_own_keys(&self) -> bool {
        self.own_keys
    }

    /// The endpoint that replaces the one of AWS, without a slash at its end.
    pub(crate) fn endpoint(&self, service: Service) -> Option<&str> {
        let named = self.endpoints.get(&service).or(self.endpoint.as_ref())?;
        Some(named.trim_end_matches('/'))
    }

    /// Where a service is called, without a slash at its end.
    pub(crate) fn url(&self, service: Service) -> Result<String, ToolError> {
        if let Some(endpoint) = self.endpoint(service) {
            return Ok(endpoint.to_owned());
        }
        let region = self.region(service)?;
        let domain = if region.starts_with("cn-") { "amazonaws.com.cn" } else { "amazonaws.com" };
        Ok(format!("https://{}.{region}.{domain}", service.name()))
    }

    /// The region to sign for. An endpoint of one's own has none: any will do.
    pub(crate) fn region(&self, service: Service) -> Result<&str, ToolError> {
        match (&self.region, self.endpoint(service)) {
            (Some(region), _) => Ok(region),
            (None, Some(_)) => Ok("us-east-1"),
            (None, None) => Err(ToolError::new(
                Reaction::Input,
                "RegionError",
                format!(
                    "no AWS region is known for `{}`; set `AWS_REGION` for the worker, or `region` \
                     of the tool or its `auth`",
                    service.name()
                ),
            )),
        }
    }

    /// The keys to sign with.
    pub(crate) fn keys(&self, service: Service) -> Result<&Keys, ToolError> {
        self.keys.as_ref().ok_or_else(|| {
            let message = format!(
                "no AWS credentials are known for `{}`; set `AWS_ACCESS_KEY_ID` and \
                 `AWS_SECRET_ACCESS_KEY` (with `AWS_SESSION_TOKEN` if they are temporary) for the \
                 worker, or name a credential with `access_key_id` and `secret_access_key` in `auth`",
                service.name()
            );
            ToolError::new(Reaction::Rejected, "NoCredentials", message)
        })
    }
}

/// The one credential of `auth`: itself, or that of its only alias.
fn credential(auth: Option<&Value>) -> Result<Option<&Map<String, Value>>, ToolError> {
    let fields = match auth {
        None | Some(Value::Null) => return Ok(None),
        Some(Value::String(text)) if text.trim().is_empty() => return Ok(None),
        Some(Value::Object(fields)) => fields,
        Some(_) => {
            return Err(ToolError::input(
                "`auth` is the name of a registered credential or a map with `access_key_id`, \
                 `secret_access_key`, `region`, `endpoint`",
            ));
        }
    };
    let mut aliases = fields.values().filter_map(Value::as_object);
    match (aliases.next(), aliases.next()) {
        (Some(only), None) => Ok(Some(only)),
        (Some(_), Some(_)) => Err(ToolError::input(
            "`auth` lists several credentials, and a call of AWS carries one; keep one",
        )),
        (None, _) => Ok(Some(fields)),
    }
}

/// A region becomes part of a host name.
fn valid_region(region: String) -> Result<String, ToolError> {
    let is_valid = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    if region.bytes().all(is_valid) {
        return Ok(region);
    }
    Err(ToolError::input(format!("`{region}` is no AWS region; regions look like `eu-central-1`")))
}
