//! Errors of NATS as the engine reacts to them.

use std::error::Error;

use engine_core::ports::{PortError, PortErrorKind};

/// A call without a clear answer.
pub(super) fn unavailable(what: &str, error: impl Into<Box<dyn Error + Send + Sync>>) -> PortError {
    let message = format!("NATS did not do its part for `{what}`");
    PortError::caused(PortErrorKind::Unavailable, message, error)
}
