//! The log and the states in `JetStream` of NATS.
//!
//! | where | key | value |
//! |---|---|---|
//! | bucket `{prefix}_execution_state` | that of the aggregate | the newest entry with its state |
//! | bucket `{prefix}_entries` | the same and `.{number}` | an entry without its state |
//! | stream `{prefix}_executions` | `{prefix}.executions.{id}` | nothing: its number is the order |
//! | bucket `{prefix}_running` | `{id}` | that number, while the execution runs |
//!
//! # Invariants
//!
//! * An entry is one compare-and-set of the state: nothing of it is there, or all of it.
//! * The log follows: a writer first makes sure that the entry before its own is in the log, so that one
//!   whose author died is missing only while it is the newest, and then the state has it.
//! * States are read from the leader of their stream, never from a follower. No live key has a time to live.

mod failure;
mod keys;
mod listing;
mod place;
mod value;

use std::sync::{Mutex, PoisonError};

use async_nats::jetstream::kv::UpdateErrorKind;
use async_trait::async_trait;
use bytes::Bytes;
use engine_core::event::{Entry, Fact};
use engine_core::ids::{AggregateKey, ExecutionId};
use engine_core::limits::{NATS_PARALLEL_MAX, TAILS_KEPT};
use engine_core::ports::{PortError, PortErrorKind, StateStore, Tail};
use futures_util::stream::{StreamExt as _, TryStreamExt as _, iter};
use tracing::warn;

use self::failure::unavailable;
use self::place::Place;
use self::value::{Logged, Newest};
use crate::causes::chain;
use crate::recent::Recent;

/// The [`StateStore`] over a server or a cluster of NATS.
pub struct NatsStore {
    place: Place,
    expanded: fn(&[Fact]) -> usize,
    /// The newest entry of an aggregate that is known to be in the log.
    logged: Mutex<Recent<AggregateKey, u64>>,
}

/// A state as it was read, and the revision to replace.
struct Found {
    revision: u64,
    newest: Newest,
}

impl NatsStore {
    /// Connects to `url` (`nats://[user:password@]host:port`, several with commas) and makes the buckets
    /// that are missing; their names begin with `prefix`, so that several deployments share a server.
    /// Facts are shown as so many events as `expanded` says.
    ///
    /// # Errors
    /// `Refused` if the prefix is empty or not of letters, digits, `-` and `_`; if the address is none, or
    /// the server wants other credentials; `Unavailable` if it does not answer, or runs without `JetStream`.
    pub async fn connect(
        url: &str,
        prefix: &str,
        expanded: fn(&[Fact]) -> usize,
    ) -> Result<Self, PortError> {
        let place = Place::connect(url, prefix).await?;
        Ok(Self { place, expanded, logged: Mutex::new(Recent::new(TAILS_KEPT)) })
    }

    async fn find(&self, key: &AggregateKey) -> Result<Option<Found>, PortError> {
        let Some(message) = self.place.state.newest(&keys::encode(key)).await? else {
            return Ok(None);
        };
        let newest = Newest::decode(key, &message.payload)?;
        Ok(Some(Found { revision: message.sequence, newest }))
    }

    /// Puts an entry into the log, where it is the same whoever puts it.
    async fn log(&self, entry: &Entry) -> Result<(), PortError> {
        let known = {
            let mut logged = self.logged.lock().unwrap_or_else(PoisonError::into_inner);
            logged.get(&entry.key).copied().unwrap_or_default()
        };
        if known >= entry.seq {
            return Ok(());
        }
        let bytes = self.fitting(entry, Logged::encode(entry)?)?;
        let key = keys::of_entry(&entry.key, entry.seq);
        let put = self.place.log.store.put(key, bytes).await;
        put.map_err(|error| unavailable(&self.place.log.name, error))?;
        let mut logged = self.logged.lock().unwrap_or_else(PoisonError::into_inner);
        logged.insert(entry.key.clone(), entry.seq);
        Ok(())
    }

    /// An encoded entry, if the server takes a message of that size.
    fn fitting(&self, entry: &Entry, bytes: Vec<u8>) -> Result<Bytes, PortError> {
        let limit = self.place.message_bytes_max();
        if bytes.len() <= limit {
            return Ok(bytes.into());
        }
        let (seq, key, bytes) = (entry.seq, &entry.key, bytes.len());
        let message = format!(
            "entry {seq} of `{key}` has {bytes} bytes, and NATS takes {limit}; raise `max_payload` of \
             the server, or keep less in variables"
        );
        Err(PortError::new(PortErrorKind::Refused, message))
    }

    async fn logged(&self, key: &AggregateKey, seq: u64) -> Result<Logged, PortError> {
        let message = self.place.log.newest(&keys::of_entry(key, seq)).await?;
        let message = message.ok_or_else(|| {
            let message = format!("entry {seq} of `{key}` is missing in `{}`", self.place.log.name);
            PortError::new(PortErrorKind::Corrupt, message)
        })?;
        Logged::decode(key, seq, &message.payload)
    }
}

#[async_trait]
impl StateStore for NatsStore {
    async fn tail(&self, key: &AggregateKey) -> Result<Option<Tail>, PortError> {
        Ok(self.find(key).await?.map(|found| found.newest.into_tail()))
    }

    async fn commit(&self, entry: &Entry) -> Result<(), PortError> {
        let Entry { key, seq, .. } = entry;
        let conflict = || {
            let message = format!("entry {seq} of `{key}` is not the next one");
            PortError::new(PortErrorKind::Conflict, message)
        };
        let found = self.find(key).await?;
        let before = found.as_ref().map_or(0, |found| found.newest.entry.seq);
        if before.checked_add(1) != Some(*seq) {
            return Err(conflict());
        }
        let newest = Newest::after(entry, found.as_ref().map(|found| &found.newest), self.expanded);
        let bytes = self.fitting(entry, newest.encode()?)?;
        match &found {
            Some(found) => self.log(&found.newest.entry).await?,
            None => self.announce(entry).await?,
        }
        let revision = found.map_or(0, |found| found.revision);
        let written = self.place.state.store.update(keys::encode(key), bytes, revision).await;
        written.map_err(|error| match error.kind() {
            UpdateErrorKind::WrongLastRevision => conflict(),
            _ => unavailable(&self.place.state.name, error),
        })?;
        // From here on it stands. Whoever comes next does what is not done.
        if let Err(error) = self.log(entry).await {
            warn!(
                "entry {seq} of `{key}` is not in the log yet; its next writer puts it there: {}",
                chain(&error)
            );
        }
        self.note_end(entry).await;
        Ok(())
    }

    async fn entries(
        &self,
        key: &AggregateKey,
        from: u64,
        limit: usize,
    ) -> Result<Vec<Entry>, PortError> {
        let Some(Found { newest: Newest { entry: last, .. }, .. }) = self.find(key).await? else {
            return Ok(Vec::new());
        };
        let from = from.max(1);
        let end = last.seq.saturating_add(1).min(from.saturating_add(limit as u64));
        let logged = iter(from..end.min(last.seq)).map(|seq| self.logged(key, seq));
        let logged: Vec<Logged> = logged.buffered(NATS_PARALLEL_MAX).try_collect().await?;
        let mut entries: Vec<Entry> =
            logged.into_iter().map(|one| one.into_entry(key, &last.state)).collect();
        if (from..end).contains(&last.seq) {
            entries.push(last);
        }
        Ok(entries)
    }

    async fn aggregates(&self, execution_id: ExecutionId) -> Result<Vec<AggregateKey>, PortError> {
        let execution = AggregateKey::Execution(execution_id);
        let mut loops = Vec::new();
        for name in self.place.state.names(&keys::loops(execution_id)).await? {
            let key = keys::decode(&name).ok_or_else(|| {
                let message = format!("`{name}` in `{}` is no key of ours", self.place.state.name);
                PortError::new(PortErrorKind::Corrupt, message)
            })?;
            if let AggregateKey::Loop { event_id, .. } = &key {
                loops.push((*event_id, key));
            }
        }
        loops.sort();
        let is_there = self.place.state.newest(&keys::encode(&execution)).await?.is_some();
        let first = is_there.then_some(execution);
        Ok(first.into_iter().chain(loops.into_iter().map(|(_, key)| key)).collect())
    }
}
