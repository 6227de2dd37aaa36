//! What the API needs of the process that it runs in, beyond the ports of the engine.

use async_trait::async_trait;
use engine_core::event::{Envelope, IgnoreReason, Status};
use engine_core::ids::ExecutionId;
use engine_core::playbook::PlaybookRef;
use engine_core::ports::{CredentialNote, PortError};
use serde_json::Value;

/// Where inputs go.
#[async_trait]
pub trait Inputs: Send + Sync {
    /// Hands an input over, durably, before it returns: why it changed nothing, where that is known by then.
    ///
    /// # Errors
    /// `Unavailable` if it may not have been taken; handing the same one over again is safe.
    async fn deliver(&self, envelope: Envelope) -> Result<Option<IgnoreReason>, PortError>;
}

/// A registered version of a playbook.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Registered {
    /// What an execution is pinned to.
    pub reference: PlaybookRef,
    /// 1, 2, 3, ... of its path.
    pub version: u32,
}

/// A line of the list of executions.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Listed {
    /// Which.
    pub execution_id: ExecutionId,
    /// The path of its playbook.
    pub path: String,
    /// How it stands.
    pub status: Status,
    /// Unix milliseconds of its first entry.
    pub started_ms: i64,
    /// Unix milliseconds of its end.
    pub ended_ms: Option<i64>,
}

/// Registered playbooks by path, and the list of executions.
#[async_trait]
pub trait Directory: Send + Sync {
    /// Registers a checked text as the newest version of its path; the newest one again stays as it is.
    ///
    /// # Errors
    /// `Refused` if nothing can be written, `Unavailable`.
    async fn register(&self, text: &str) -> Result<Registered, PortError>;

    /// Returns a version of a path, the newest one if none is named; none if there is none.
    ///
    /// # Errors
    /// `Unavailable` or `Corrupt`.
    async fn find(&self, path: &str, version: Option<u32>)
    -> Result<Option<Registered>, PortError>;

    /// Returns the number of the version that an execution is pinned to; none if it is not registered.
    ///
    /// # Errors
    /// `Unavailable` or `Corrupt`.
    async fn number(&self, reference: &PlaybookRef) -> Result<Option<u32>, PortError>;

    /// Returns every version, the newest registration first.
    ///
    /// # Errors
    /// `Unavailable` or `Corrupt`.
    async fn playbooks(&self) -> Result<Vec<Registered>, PortError>;

    /// Returns up to `limit` executions that began before `before` (none: the newest), newest first.
    ///
    /// # Errors
    /// `Unavailable` or `Corrupt`; `NotFound` if `before` is unknown.
    async fn executions(
        &self,
        before: Option<ExecutionId>,
        limit: usize,
    ) -> Result<Vec<Listed>, PortError>;
}

/// Credentials that tools may use. Their values go in and never come out.
#[async_trait]
pub trait Keyring: Send + Sync {
    /// Keeps a credential; a name that is known gets the new one. Its times are set here.
    ///
    /// # Errors
    /// `Refused` if there is no room for it or no key to encrypt it with, `Unavailable`.
    async fn add(&self, note: CredentialNote, data: Value) -> Result<(), PortError>;

    /// Returns what is known about all of them beside their data, by name.
    ///
    /// # Errors
    /// `Unavailable` or `Corrupt`.
    async fn notes(&self) -> Result<Vec<CredentialNote>, PortError>;

    /// Removes a credential; whether there was one that can be removed.
    ///
    /// # Errors
    /// `Unavailable`.
    async fn remove(&self, name: &str) -> Result<bool, PortError>;
}
