//! The ports of a deployment: AWS, and the place of the states that its environment names.

use std::sync::Arc;

use engine_core::ports::{PortError, PortErrorKind, Ports, StateStore};

use crate::aws::Aws;
use crate::aws::config::Config;
use crate::executions::Executions;
use crate::nats::NatsStore;
use crate::options::Options;

/// The variable that names the place of the states: `dynamodb`, which it is when nothing is said, or `nats`.
pub const STATE: &str = "NOETL_STATE";
/// The variable that names the server, where the states are in NATS.
pub const NATS_URL: &str = "NOETL_NATS_URL";
/// The variable that tells deployments on one NATS server apart; `noetl` when nothing is said.
pub const NATS_PREFIX: &str = "NOETL_NATS_PREFIX";

const DEFAULT_PREFIX: &str = "noetl";

/// Where states are.
#[derive(Clone, Debug, Eq, PartialEq)]
enum StatePlace {
    DynamoDb,
    Nats { url: String, prefix: String },
}

/// Everything that functions reach.
pub struct Cloud {
    /// Queues, values, playbooks, credentials.
    pub aws: Aws,
    /// The log and the states.
    pub store: Arc<dyn StateStore>,
    /// The executions in it.
    pub executions: Arc<dyn Executions>,
}

impl Cloud {
    /// Opens what the environment names.
    ///
    /// # Errors
    /// `Refused`, naming the variables that are missing or not understood; those of [`Aws::open`] and
    /// [`NatsStore::connect`].
    pub async fn open(
        lookup: impl Fn(&str) -> Option<String>,
        options: Options,
    ) -> Result<Self, PortError> {
        let place = StatePlace::from_lookup(&lookup)?;
        let expanded = options.expanded;
        let aws = Aws::open(Config::from_lookup(&lookup)?, options).await?;
        Ok(match place {
            StatePlace::DynamoDb => Self::on_dynamodb(aws),
            StatePlace::Nats { url, prefix } => {
                let store = Arc::new(NatsStore::connect(&url, &prefix, expanded).await?);
                Self { aws, store: store.clone(), executions: store }
            }
        })
    }

    /// A deployment that keeps its states in `DynamoDB`.
    #[must_use]
    pub fn on_dynamodb(aws: Aws) -> Self {
        let store = aws.store.clone();
        Self { aws, store: store.clone(), executions: store }
    }

    /// The driver's view.
    #[must_use]
    pub fn ports(&self) -> Ports {
        Ports { store: self.store.clone(), ..self.aws.ports() }
    }
}

impl StatePlace {
    fn from_lookup(lookup: impl Fn(&str) -> Option<String>) -> Result<Self, PortError> {
        let given = |name: &str| lookup(name).filter(|value| !value.trim().is_empty());
        let refused = |message: String| Err(PortError::new(PortErrorKind::Refused, message));
        match given(STATE).as_deref() {
            None | Some("dynamodb") => Ok(Self::DynamoDb),
            Some("nats") => match given(NATS_URL) {
                Some(url) => {
                    let prefix = given(NATS_PREFIX).unwrap_or_else(|| DEFAULT_PREFIX.to_owned());
                    Ok(Self::Nats { url, prefix })
                }
                None => refused(format!(
                    "`{STATE}` is `nats`, and `{NATS_URL}` is not set; name the server, such as \
                     `nats://host:4222`"
                )),
            },
            Some(other) => {
                refused(format!("`{STATE}` is `{other}`; it must be `dynamodb` or `nats`"))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_place_of_the_states_is_named_by_the_environment() {
        let of = |pairs: &[(&str, &str)]| {
            StatePlace::from_lookup(|name| {
                let found = pairs.iter().find(|(known, _)| *known == name);
                found.map(|(_, value)| (*value).to_owned())
            })
            .map_err(|error| error.to_string())
        };
        let nats = |url: &str, prefix: &str| {
            Ok(StatePlace::Nats { url: url.to_owned(), prefix: prefix.to_owned() })
        };
        let wrong = |text: &str| Err(text.to_owned());
        #[rustfmt::skip]
        let cases: [(&[(&str, &str)], _); 6] = [
            (&[],                                                              Ok(StatePlace::DynamoDb)),
            (&[(STATE, " ")],                                                  Ok(StatePlace::DynamoDb)),
            (&[(STATE, "dynamodb"), (NATS_URL, "nats://h")],                   Ok(StatePlace::DynamoDb)),
            (&[(STATE, "nats"), (NATS_URL, "nats://h")],                       nats("nats://h", "noetl")),
            (&[(STATE, "nats")],                                               wrong("`NOETL_STATE` is `nats`, and `NOETL_NATS_URL` is not set; name the server, such as `nats://host:4222`")),
            (&[(STATE, "sqlite")],                                             wrong("`NOETL_STATE` is `sqlite`; it must be `dynamodb` or `nats`")),
        ];
        for (pairs, expect) in cases {
            assert_eq!(of(pairs), expect, "{pairs:?}");
        }
        let named = [(STATE, "nats"), (NATS_URL, "nats://h"), (NATS_PREFIX, "prod")];
        assert_eq!(of(&named), nats("nats://h", "prod"));
    }
}
