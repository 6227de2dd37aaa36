//! Why NATS did not do it.

use std::error::Error;

use async_nats::connection::State;

use super::session::Session;
use crate::tool::{Reaction, ToolError};
use crate::tools::http::chain;

impl Session<'_> {
    /// The error of a request that failed for no reason of its own.
    pub(super) fn failed(&self, what: &str, error: &(dyn Error + 'static)) -> ToolError {
        let text = chain(error);
        let place = &self.place;
        if self.client.connection_state() != State::Connected {
            let message = format!(
                "{what}: the connection to NATS at {place} broke off ({text}); check the server, then \
                 try again"
            );
            return ToolError::new(Reaction::Transient, "ConnectionError", message);
        }
        if text.contains("timed out") || text.contains("timeout") {
            let message = format!(
                "{what}: NATS at {place} did not answer in time ({text}); try again, and check that \
                 this user may do it: NATS does not answer what it forbids"
            );
            return ToolError::timeout(message);
        }
        let is_off = text.contains("not enabled") || text.contains("no responders");
        let advice = if is_off {
            "start the server with JetStream (`-js`), and allow it to this account"
        } else {
            "check the configuration of the bucket or stream"
        };
        let message = format!("{what}: NATS at {place} says: {text}; {advice}");
        ToolError::new(Reaction::Rejected, "NatsError", message)
    }

    pub(super) fn too_slow(&self, what: &str) -> ToolError {
        ToolError::timeout(format!(
            "{what}: NATS at {} did not answer in time; raise `timeout` of the step or its tool, or \
             check the server",
            self.place
        ))
    }

    /// There is no such bucket, stream, key or object; `cure` says what there is.
    pub(super) fn missing(&self, kind: &str, what: &str, cure: &str) -> ToolError {
        let message = format!("NATS at {} has no {what}; {cure}", self.place);
        ToolError::new(Reaction::Rejected, kind, message)
    }
}
