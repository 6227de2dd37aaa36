//! Connections, one per server and user, kept between calls.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use async_nats::connection::State;
use async_nats::{Client, ConnectError, ConnectErrorKind};
use engine_core::limits::{NATS_CONNECT_MS, NATS_CONNECTIONS_MAX, NATS_RECONNECTS_MAX};
use tokio::sync::Mutex as AsyncMutex;
use tokio::time::{Instant, timeout_at};

use super::settings::Settings;
use crate::tool::{Reaction, ToolError};
use crate::tools::http::{HttpPolicy, chain, permit};

/// A connection that one call makes, and those that wait for it use.
type Slot = Arc<AsyncMutex<Option<Client>>>;

/// The connections of a worker.
pub(super) struct Connections {
    policy: HttpPolicy,
    kept: Mutex<BTreeMap<Settings, Slot>>,
}

impl Connections {
    pub(super) fn new(policy: HttpPolicy) -> Self {
        Self { policy, kept: Mutex::new(BTreeMap::new()) }
    }

    /// The connection that is there, or a new one if there is none that works.
    pub(super) async fn client(
        &self,
        settings: &Settings,
        deadline: Instant,
    ) -> Result<Client, ToolError> {
        let slot = self.slot(settings);
        let connected = timeout_at(deadline, async {
            let mut kept = slot.lock().await;
            if let Some(client) = kept.as_ref()
                && client.connection_state() == State::Connected
            {
                return Ok(client.clone());
            }
            *kept = None;
            let client = self.connect(settings).await?;
            *kept = Some(client.clone());
            Ok(client)
        });
        connected.await.unwrap_or_else(|_elapsed| {
            Err(ToolError::timeout(format!(
                "NATS at {} was not reached in time; raise `timeout` of the step or its tool, or \
                 check the server",
                settings.place()
            )))
        })
    }

    fn slot(&self, settings: &Settings) -> Slot {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(slot) = kept.get(settings) {
            return slot.clone();
        }
        // Addresses come from playbooks; a template could make each one new. Calls keep what they use.
        if kept.len() >= NATS_CONNECTIONS_MAX {
            kept.clear();
        }
        kept.entry(settings.clone()).or_default().clone()
    }

    /// How many there are.
    #[cfg(test)]
    pub(super) fn kept(&self) -> usize {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    async fn connect(&self, settings: &Settings) -> Result<Client, ToolError> {
        static PROVIDER: OnceLock<()> = OnceLock::new();
        // A provider that is there already serves as well.
        PROVIDER.get_or_init(|| drop(rustls::crypto::ring::default_provider().install_default()));
        let addresses = settings.addresses()?;
        for address in &addresses {
            permit(self.policy, address.host(), address.port()).await?;
        }
        let mut options = settings
            .options()
            .connection_timeout(Duration::from_millis(NATS_CONNECT_MS))
            .max_reconnects(NATS_RECONNECTS_MAX);
        if self.policy.guard {
            // Servers that a server names were not looked at.
            options = options.ignore_discovered_servers();
        }
        options.connect(addresses).await.map_err(|error| unconnected(&error, &settings.place()))
    }
}

fn unconnected(error: &ConnectError, place: &str) -> ToolError {
    let text = chain(error);
    match error.kind() {
        ConnectErrorKind::Authentication | ConnectErrorKind::AuthorizationViolation => {
            let message = format!(
                "NATS at {place} refuses who asks ({text}); check `user` and `password`, or `token`, \
                 in `auth`"
            );
            ToolError::new(Reaction::Rejected, "AuthenticationError", message)
        }
        ConnectErrorKind::Tls => {
            let message = format!(
                "NATS at {place} has no trustworthy connection: {text}; set or leave out `tls: true` \
                 in `auth` as the server needs it, and install the issuer's certificate"
            );
            ToolError::new(Reaction::Rejected, "TLSError", message)
        }
        _ => {
            let message = format!(
                "NATS at {place} cannot be reached: {text}; check host, port and network, then try \
                 again"
            );
            ToolError::new(Reaction::Transient, "ConnectionError", message)
        }
    }
}
