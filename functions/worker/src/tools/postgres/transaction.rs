//! All or nothing: the limits of a transaction, and what is known after them.

use tokio_postgres::Client;

use super::error;
use crate::tool::{Reaction, ToolError};

pub(crate) async fn begin(client: &Client, place: &str) -> Result<(), ToolError> {
    let begun = client.batch_execute("BEGIN").await;
    begun.map_err(|error| error::statement(&error, place, "BEGIN"))
}

/// # Errors
/// What the server says; a connection that is lost here leaves it open whether the work was kept.
pub(crate) async fn commit(client: &Client, place: &str) -> Result<(), ToolError> {
    let Err(error) = client.batch_execute("COMMIT").await else { return Ok(()) };
    if error.as_db_error().is_some() {
        return Err(error::statement(&error, place, "COMMIT"));
    }
    Err(ToolError::new(
        Reaction::Transient,
        "ConnectionError",
        format!(
            "the connection to PostgreSQL at {place} was lost while the work was being committed: \
             nobody knows whether it was kept; another attempt may do it twice, unless it is an \
             `upsert`"
        ),
    ))
}

/// Undoes what is open. A connection that cannot even do that is closed by whoever holds it.
pub(crate) async fn roll_back(client: &Client) {
    if let Err(error) = client.batch_execute("ROLLBACK").await {
        tracing::debug!(%error, "no rollback: the connection is lost, which undoes the work, too");
    }
}
