//! The list of executions, beside the log: for people who look, and for the sweeper.

use async_trait::async_trait;
use engine_core::event::Status;
use engine_core::ids::ExecutionId;
use engine_core::ports::PortError;

/// One line of a list of executions.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ExecutionSummary {
    /// Ascending in the order of the beginning: pass the last one on to get the next page.
    pub position: i64,
    /// Which.
    pub execution_id: ExecutionId,
    /// Of which playbook.
    pub path: String,
    /// Where it stands.
    pub status: Status,
    /// Unix milliseconds of its beginning.
    pub started_ms: i64,
    /// Unix milliseconds of its end.
    pub ended_ms: Option<i64>,
}

/// The executions of a store.
#[async_trait]
pub trait Executions: Send + Sync {
    /// Returns up to `limit` executions that began before `before` (none: the newest), newest
    /// first.
    ///
    /// # Errors
    /// `Unavailable` if the store does not answer, `Corrupt` if a line does not decode.
    async fn executions(
        &self,
        before: Option<i64>,
        limit: usize,
    ) -> Result<Vec<ExecutionSummary>, PortError>;

    /// Returns up to `limit` executions that have not ended and began after `after`, oldest first.
    ///
    /// # Errors
    /// As [`Executions::executions`].
    async fn running(
        &self,
        after: Option<i64>,
        limit: usize,
    ) -> Result<Vec<ExecutionSummary>, PortError>;

    /// Returns the line of one execution; none if it is unknown.
    ///
    /// # Errors
    /// As [`Executions::executions`].
    async fn execution(
        &self,
        execution_id: ExecutionId,
    ) -> Result<Option<ExecutionSummary>, PortError>;
}
