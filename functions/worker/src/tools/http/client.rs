//! Connections: who may be reached, how names resolve, which clients are shared.

use std::collections::BTreeMap;
use std::error::Error as StdError;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::{Client, Url, redirect};

use super::address::is_public;
use crate::tool::{Reaction, ToolError};

/// What the `http` tool may reach.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct HttpPolicy {
    /// Refuse all but the public internet: no own network, no own machine, no metadata.
    pub guard: bool,
}

/// An address or a name that the policy forbids.
#[derive(Debug, thiserror::Error)]
#[error(
    "`{host}` is {address}, which is not a public address; this worker reaches public hosts only"
)]
pub(super) struct Forbidden {
    host: String,
    address: IpAddr,
}

/// One client per way of connecting, made when first needed: connections are reused.
pub(crate) struct Clients {
    policy: HttpPolicy,
    made: Mutex<BTreeMap<(bool, u64), Client>>,
}

impl Clients {
    pub(crate) fn new(policy: HttpPolicy) -> Self {
        Self { policy, made: Mutex::new(BTreeMap::new()) }
    }

    /// The client that checks certificates or not, and gives up connecting after `connect`.
    pub(crate) fn client(&self, verify: bool, connect: Duration) -> Result<Client, ToolError> {
        let key = (verify, u64::try_from(connect.as_millis()).unwrap_or(u64::MAX));
        let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(client) = made.get(&key) {
            return Ok(client.clone());
        }
        let client = build(self.policy, verify, connect)?;
        // Connect timeouts come from playbooks; a template could make each one new.
        if made.len() >= CLIENTS_MAX {
            made.clear();
        }
        made.insert(key, client.clone());
        Ok(client)
    }

    /// Refuses URLs that no client may open: connecting by literal address asks no resolver.
    pub(crate) fn check(&self, url: &Url) -> Result<(), ToolError> {
        if !matches!(url.scheme(), "http" | "https") {
            let message = format!("`{url}` is not an http or https URL");
            return Err(ToolError::new(Reaction::Input, "InputError", message));
        }
        if !self.policy.guard {
            return Ok(());
        }
        let host = url.host_str().unwrap_or_default();
        let literal = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
        match literal {
            Ok(address) if !is_public(address) => {
                Err(forbidden(&Forbidden { host: host.to_owned(), address }))
            }
            _ => Ok(()),
        }
    }
}

/// Refuses a host that the policy forbids; for connections that are not made by an HTTP client.
pub(crate) async fn permit(policy: HttpPolicy, host: &str, port: u16) -> Result<(), ToolError> {
    if !policy.guard {
        return Ok(());
    }
    // A name that cannot be resolved cannot be connected to either, which says it better.
    let Ok(found) = tokio::net::lookup_host((host, port)).await else { return Ok(()) };
    let private = found.map(|found| found.ip()).find(|address| !is_public(*address));
    match private {
        Some(address) => Err(forbidden(&Forbidden { host: host.to_owned(), address })),
        None => Ok(()),
    }
}

/// Distinct clients kept.
const CLIENTS_MAX: usize = 16;

/// The refusal, as rules and people see it.
pub(super) fn forbidden(error: &Forbidden) -> ToolError {
    let message = format!("{error}; call a public host, or run where private hosts are allowed");
    ToolError::new(Reaction::Rejected, "ForbiddenAddress", message)
}

fn build(policy: HttpPolicy, verify: bool, connect: Duration) -> Result<Client, ToolError> {
    static PROVIDER: OnceLock<()> = OnceLock::new();
    // A provider that is there already serves as well.
    PROVIDER.get_or_init(|| drop(rustls::crypto::ring::default_provider().install_default()));
    let mut builder = Client::builder()
        .connect_timeout(connect)
        .redirect(redirect::Policy::none())
        .tcp_nodelay(true)
        .tls_danger_accept_invalid_certs(!verify)
        .user_agent(concat!("noetl-lambda/", env!("CARGO_PKG_VERSION")));
    if policy.guard {
        // A proxy would resolve names itself, out of the guard's sight.
        builder = builder.no_proxy().dns_resolver(Arc::new(PublicOnly));
    }
    builder.build().map_err(|error| {
        let message = format!(
            "the HTTP client cannot start: {}; install root certificates (`ca-certificates`)",
            chain(&error)
        );
        ToolError::new(Reaction::Rejected, "TLSError", message)
    })
}

/// Resolves as the system does, then refuses a name if any of its addresses is not public.
///
/// The connection goes to the addresses that were checked: there is no second look-up to rebind.
struct PublicOnly;

impl Resolve for PublicOnly {
    fn resolve(&self, name: Name) -> Resolving {
        Box::pin(async move {
            let host = name.as_str().to_owned();
            let found: Vec<SocketAddr> =
                tokio::net::lookup_host((host.as_str(), 0)).await?.collect();
            match found.iter().map(SocketAddr::ip).find(|address| !is_public(*address)) {
                Some(address) => Err(Forbidden { host, address }.into()),
                None => Ok(Box::new(found.into_iter()) as Addrs),
            }
        })
    }
}

/// An error with all its causes, in one line.
pub(crate) fn chain(error: &dyn StdError) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        next = cause.source();
    }
    text
}

/// The first cause of a type.
pub(super) fn cause<'a, E: StdError + 'static>(
    error: &'a (dyn StdError + 'static),
) -> Option<&'a E> {
    let mut next = Some(error);
    while let Some(current) = next {
        if let Some(found) = current.downcast_ref::<E>() {
            return Some(found);
        }
        next = current.source();
    }
    None
}
