//! Errors of NATS as the engine reacts to them.

use std::error::Error;

use engine_core::ports::{PortError, PortErrorKind};

/// A call without a clear answer.
pub(super) fn unavailable(what: &str, error: impl Into<Box<dyn Error + Send + Sync>>) -> PortError {
    let message = format!("NATS did not do its part for `{what}`");
    PortError::caused(PortErrorKind::Unavailable, message, error)
}

/// An error and its causes on one line.
pub(super) fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}
