//! AWS: settings, signed requests with bounded retries, secrets that are kept there, and what the local
//! event source mapping asks of queues and functions.
//!
//! One [`Aws`] serves every tool of a worker and shares its connections. The settings come from a
//! look-up that the shell passes in: nothing here reads the environment of the process.

mod error;
mod functions;
mod own;
mod queues;
mod request;
mod secrets;
mod settings;
#[cfg(test)]
pub(crate) mod tests;

use std::sync::Arc;

use engine_core::limits::HTTP_CONNECT_MS_DEFAULT;
use reqwest::{Client, Url};
use serde_json::{Map, Value};

pub(crate) use self::error::cure;
pub use self::functions::Invoked;
pub use self::own::Own;
pub(crate) use self::request::{Request, Response};
pub use self::settings::AwsSettings;
pub(crate) use self::settings::Service;
use crate::tool::ToolError;
use crate::tools::http::{Clients, HttpPolicy};

/// A client of AWS; clones share connections.
#[derive(Clone)]
pub struct Aws {
    settings: AwsSettings,
    own: Arc<Own>,
    clients: Arc<Pools>,
}

/// Connections to what the operator named, and to what a playbook named.
struct Pools {
    trusted: Clients,
    guarded: Clients,
}

impl Aws {
    /// A client with these settings; endpoints that a playbook names must satisfy `policy`.
    #[must_use]
    pub fn new(settings: AwsSettings, policy: HttpPolicy) -> Self {
        let trusted = Clients::new(HttpPolicy::default());
        let clients = Arc::new(Pools { trusted, guarded: Clients::new(policy) });
        Self { settings, own: Arc::default(), clients }
    }

    /// Keeps tools away from what is the engine's own.
    #[must_use]
    pub fn keeping(mut self, own: Own) -> Self {
        self.own = Arc::new(own);
        self
    }

    /// The same connections with the keys, the region and the endpoint of a tool.
    ///
    /// # Errors
    /// Input: keys that are incomplete, a region that is none, an endpoint without keys where the worker's
    /// own are not for it.
    pub fn for_tool(&self, config: &Map<String, Value>) -> Result<Self, ToolError> {
        let settings = self.settings.for_tool(config)?;
        self.own.check_endpoint(&settings)?;
        Ok(Self { settings, ..self.clone() })
    }

    /// Refuses the bucket that is the engine's own.
    pub(crate) fn check_bucket(&self, name: &str) -> Result<(), ToolError> {
        self.own.check_bucket(name)
    }

    pub(crate) fn settings(&self) -> &AwsSettings {
        &self.settings
    }

    /// The connections that may be used for `url`.
    pub(crate) fn http(&self, url: &Url) -> Result<Client, ToolError> {
        let from_playbook = self.settings.is_from_playbook();
        let clients = if from_playbook { &self.clients.guarded } else { &self.clients.trusted };
        clients.check(url)?;
        clients.client(true, std::time::Duration::from_millis(HTTP_CONNECT_MS_DEFAULT))
    }
}
