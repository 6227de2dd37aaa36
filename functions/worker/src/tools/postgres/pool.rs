//! Connections, kept between calls: one pool for each server, user and protection.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use deadpool_postgres::{
    Manager, ManagerConfig, Object, Pool, PoolError, RecyclingMethod, Runtime, TimeoutType,
    Timeouts,
};
use engine_core::limits::{
    POSTGRES_CLIENTS_MAX, POSTGRES_CONNECT_MS, POSTGRES_POOLS_MAX, TOOL_GRACE_MS,
};
use tokio::time::{Instant, timeout};
use tokio_postgres::{CancelToken, Client};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::error;
use super::settings::Settings;
use crate::tool::{Reaction, ToolError};

/// The pools of a worker. Cheap to clone: all clones share them.
#[derive(Clone, Default)]
pub(crate) struct Pools(Arc<Mutex<Kept>>);

#[derive(Default)]
struct Kept {
    pools: BTreeMap<Settings, (u64, Pool, MakeRustlsConnect)>,
    /// Counts uses, so that the pool that has rested longest is known.
    uses: u64,
}

impl Pools {
    /// A connection of its own until `deadline`, with that much time for its statements.
    ///
    /// # Errors
    /// What [`error::connecting`] says of a server that cannot be used, or a full pool.
    pub(crate) async fn session(
        &self,
        settings: &Settings,
        deadline: Instant,
    ) -> Result<Session, ToolError> {
        let (pool, tls) = self.pool(settings)?;
        let left = deadline.saturating_duration_since(Instant::now());
        let connecting = left.min(Duration::from_millis(POSTGRES_CONNECT_MS));
        let timeouts =
            Timeouts { wait: Some(left), create: Some(connecting), recycle: Some(connecting) };
        let client = pool.timeout_get(&timeouts).await.map_err(|error| match error {
            PoolError::Backend(error) => error::connecting(&error, settings),
            PoolError::Timeout(TimeoutType::Wait) => ToolError::timeout(format!(
                "all {POSTGRES_CLIENTS_MAX} connections to {} were in use until the time was up; \
                 lower `max_in_flight` of the loop, or raise `timeout`",
                settings.place()
            )),
            PoolError::Timeout(_) => error::unreachable(settings, "no answer in time"),
            other => error::unreachable(settings, &other.to_string()),
        })?;
        let session = Session {
            token: client.cancel_token(),
            client: Some(client),
            tls,
            place: settings.place(),
            abandoned: AtomicBool::new(false),
        };
        let left_ms = deadline.saturating_duration_since(Instant::now()).as_millis().max(1);
        let limit = format!("SET statement_timeout = {left_ms}");
        let set = session.client()?.batch_execute(&limit).await;
        set.map_err(|error| error::connecting(&error, settings))?;
        Ok(session)
    }

    fn pool(&self, settings: &Settings) -> Result<(Pool, MakeRustlsConnect), ToolError> {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.uses += 1;
        let uses = kept.uses;
        if let Some((used, pool, tls)) = kept.pools.get_mut(settings) {
            *used = uses;
            return Ok((pool.clone(), tls.clone()));
        }
        let tls = super::tls::connector(settings)?;
        let recycling = ManagerConfig { recycling_method: RecyclingMethod::Verified };
        let manager = Manager::from_config(settings.driver(), tls.clone(), recycling);
        let pool = Pool::builder(manager)
            .max_size(POSTGRES_CLIENTS_MAX)
            .runtime(Runtime::Tokio1)
            .build()
            .map_err(|error| {
                ToolError::new(Reaction::Transient, "WorkerError", format!("no pool: {error}"))
            })?;
        if kept.pools.len() >= POSTGRES_POOLS_MAX {
            let oldest = kept.pools.iter().min_by_key(|(_, (used, _, _))| *used);
            if let Some(oldest) = oldest.map(|(settings, _)| settings.clone()) {
                // Connections that are in use live until they are given back.
                if let Some((_, pool, _)) = kept.pools.remove(&oldest) {
                    pool.close();
                }
            }
        }
        kept.pools.insert(settings.clone(), (uses, pool.clone(), tls.clone()));
        Ok((pool, tls))
    }

    #[cfg(test)]
    pub(super) fn count(&self) -> usize {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).pools.len()
    }
}

/// One connection. It goes back to its pool only through [`Session::finish`]; dropped before that, what it
/// runs is cancelled and it is closed: nobody knows its state.
pub(crate) struct Session {
    client: Option<Object>,
    token: CancelToken,
    tls: MakeRustlsConnect,
    place: String,
    abandoned: AtomicBool,
}

/// What a session may leave behind that the next one must not see; as `DISCARD ALL`, without the plans.
const CLEAN: &str = "CLOSE ALL; SET SESSION AUTHORIZATION DEFAULT; RESET ALL; UNLISTEN *; \
    SELECT pg_advisory_unlock_all(); DISCARD TEMP; DISCARD SEQUENCES";

impl Session {
    /// The connection.
    ///
    /// # Errors
    /// Never while it is in use; the type cannot say so.
    pub(crate) fn client(&self) -> Result<&Client, ToolError> {
        let lost = || ToolError::new(Reaction::Transient, "WorkerError", "the connection is gone");
        self.client.as_deref().map(|wrapper| &**wrapper).ok_or_else(lost)
    }

    /// `host:port/database`.
    pub(crate) fn place(&self) -> &str {
        &self.place
    }

    /// Lets nobody use the connection again: something still runs on it, or it is lost.
    pub(crate) fn abandon(&self) {
        self.abandoned.store(true, Ordering::Relaxed);
    }

    /// Cleans the connection and gives it back; one that cannot be cleaned is closed.
    pub(crate) async fn finish(mut self) {
        if self.abandoned.load(Ordering::Relaxed) {
            return;
        }
        let Some(client) = self.client.as_ref().filter(|client| !client.is_closed()) else {
            return;
        };
        let grace = Duration::from_millis(TOOL_GRACE_MS);
        // A timeout leaves the connection here, to be cancelled and closed.
        if matches!(timeout(grace, client.batch_execute(CLEAN)).await, Ok(Ok(()))) {
            self.client.take();
        }
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        let Some(client) = self.client.take() else { return };
        let (token, tls) = (self.token.clone(), self.tls.clone());
        let client = Object::take(client);
        if client.is_closed() {
            return;
        }
        drop(client);
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            // Nobody is left to hear of an error; the server's own timeout stands behind it.
            runtime.spawn(async move { token.cancel_query(tls).await.ok() });
        }
    }
}
