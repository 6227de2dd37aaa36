//! What the core needs from the world. Each promise is in the doc; adapters keep it and decide nothing.

use std::error::Error as StdError;
use std::sync::Arc;

use async_trait::async_trait;
use serde_json::Value;

use crate::command::Command;
use crate::event::{Entry, Envelope};
use crate::ids::{AggregateKey, ExecutionId};
use crate::payload::{Blob, PayloadRef};
use crate::playbook::{Playbook, PlaybookRef};
use crate::state::State;

/// What the caller should do about a failed port call.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum PortErrorKind {
    /// Someone else wrote first: load again and decide again.
    Conflict,
    /// No clear answer: the call may or may not have worked. Load again, or let the queue redeliver.
    Unavailable,
    /// The named thing does not exist.
    NotFound,
    /// Stored bytes do not decode, or are not what their name says: leave it to a person.
    Corrupt,
    /// The call can never work as it is: read-only, full, newer version, no permission.
    Refused,
}

/// A failed call to the outside world: kind by reaction, precise message, whole cause.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct PortError {
    /// What to do about it.
    pub kind: PortErrorKind,
    message: String,
    #[source]
    source: Option<Box<dyn StdError + Send + Sync>>,
}

impl PortError {
    /// An error that has no deeper cause.
    #[must_use]
    pub fn new(kind: PortErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), source: None }
    }

    /// An error with its cause.
    #[must_use]
    pub fn caused(
        kind: PortErrorKind,
        message: impl Into<String>,
        source: impl Into<Box<dyn StdError + Send + Sync>>,
    ) -> Self {
        Self { kind, message: message.into(), source: Some(source.into()) }
    }
}

/// Where an aggregate stands: its last entry without the facts.
#[derive(Clone, Debug, PartialEq)]
pub struct Tail {
    /// The last entry's number; the next is one more.
    pub seq: u64,
    /// Its time.
    pub at_ms: i64,
    /// An event id that no event of the aggregate has reached yet.
    pub next_event_id: i64,
    /// The state after it.
    pub state: State,
}

/// The log of every aggregate, and the state at its end: the only source of truth.
#[async_trait]
pub trait StateStore: Send + Sync {
    /// Returns where `key` stands, read with full consistency; none if it has no entry.
    ///
    /// # Errors
    /// `Unavailable` if the store does not answer, `Corrupt` if the state does not decode.
    async fn tail(&self, key: &AggregateKey) -> Result<Option<Tail>, PortError>;

    /// Appends `entry` if and only if its `seq` is the next one, durably, before it returns.
    ///
    /// # Errors
    /// `Conflict` if the entry exists or one is missing before it; `Unavailable` if it is not known
    /// whether the entry was written; `Refused` if nothing can be written at all.
    async fn commit(&self, entry: &Entry) -> Result<(), PortError>;

    /// Returns up to `limit` entries from number `from` on, ascending.
    ///
    /// Only the newest state has to be kept: an older entry may come with the state of the newest one.
    /// Whoever needs the state after an older entry folds the facts.
    ///
    /// # Errors
    /// As [`StateStore::tail`].
    async fn entries(
        &self,
        key: &AggregateKey,
        from: u64,
        limit: usize,
    ) -> Result<Vec<Entry>, PortError>;

    /// Returns the aggregates of an execution: itself first, then its loops in the order of the step
    /// entries that opened them.
    ///
    /// # Errors
    /// As [`StateStore::tail`].
    async fn aggregates(&self, execution_id: ExecutionId) -> Result<Vec<AggregateKey>, PortError>;
}

/// Where commands wait for workers. At least once, in any order, not before a command's `not_before_ms`.
#[async_trait]
pub trait CommandQueue: Send + Sync {
    /// Enqueues all of them.
    ///
    /// # Errors
    /// `Unavailable` if some may not have been taken; sending all again is safe.
    async fn send(&self, commands: &[Command]) -> Result<(), PortError>;
}

/// Where inputs wait for the event handler. At least once; in order per aggregate.
#[async_trait]
pub trait EventQueue: Send + Sync {
    /// Enqueues all of them.
    ///
    /// # Errors
    /// `Unavailable` if some may not have been taken; sending all again is safe.
    async fn send(&self, envelopes: &[Envelope]) -> Result<(), PortError>;
}

/// Large values, by content. Objects never change.
#[async_trait]
pub trait PayloadStore: Send + Sync {
    /// Stores an object durably; one that is there already is fine.
    ///
    /// # Errors
    /// `Unavailable` or `Refused`.
    async fn put(&self, blob: &Blob) -> Result<(), PortError>;

    /// Returns an object's bytes.
    ///
    /// # Errors
    /// `NotFound`, `Corrupt` if the bytes are not those of the checksum, or `Unavailable`.
    async fn get(&self, reference: &PayloadRef) -> Result<Vec<u8>, PortError>;
}

/// Registered playbooks; a version never changes.
#[async_trait]
pub trait Catalog: Send + Sync {
    /// Returns a checked playbook.
    ///
    /// # Errors
    /// `NotFound`, `Corrupt` if its text is no longer accepted, or `Unavailable`.
    async fn playbook(&self, reference: &PlaybookRef) -> Result<Arc<Playbook>, PortError>;

    /// Returns the newest version of a path; none if nothing is registered under it.
    ///
    /// # Errors
    /// `Unavailable` or `Corrupt`.
    async fn newest(&self, path: &str) -> Result<Option<PlaybookRef>, PortError>;
}

/// Secret values. Only a worker has this port.
#[async_trait]
pub trait Secrets: Send + Sync {
    /// Returns the fields of a credential.
    ///
    /// # Errors
    /// `NotFound` naming what exists, or `Unavailable`.
    async fn credential(&self, name: &str) -> Result<Value, PortError>;
}

/// What is known about a credential beside its fields.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct CredentialNote {
    /// Unique.
    pub name: String,
    /// `postgres`, `bearer` and the like; may be empty.
    pub kind: String,
    /// Text for people.
    pub description: String,
    /// Words to find it by.
    pub tags: Vec<String>,
    /// Whatever its owner wants to keep with it, openly.
    pub meta: Value,
    /// Unix milliseconds of its first registration; 0 where nobody counts.
    pub created_ms: i64,
    /// Unix milliseconds of its newest one.
    pub updated_ms: i64,
}

/// The time. Shells ask; the core is told.
pub trait Clock: Send + Sync {
    /// Unix milliseconds.
    fn now_ms(&self) -> i64;
}

/// New ids and secrets for what has no cause inside the engine.
pub trait IdGenerator: Send + Sync {
    /// Returns an id that no other execution has: a Snowflake, positive.
    fn execution_id(&self) -> ExecutionId;

    /// Returns 128 bits that nobody can guess: the secret part of callback tokens.
    ///
    /// # Errors
    /// `Unavailable` if the system has no chance to give: a guessable secret is worse than none.
    fn nonce(&self) -> Result<u128, PortError>;
}

/// Everything that the driver can reach. Built once, at start.
#[derive(Clone)]
pub struct Ports {
    /// The log.
    pub store: Arc<dyn StateStore>,
    /// Work for workers.
    pub commands: Arc<dyn CommandQueue>,
    /// Work for the event handler.
    pub events: Arc<dyn EventQueue>,
    /// Large values.
    pub payloads: Arc<dyn PayloadStore>,
    /// Playbooks.
    pub catalog: Arc<dyn Catalog>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Ids and secrets.
    pub ids: Arc<dyn IdGenerator>,
}
