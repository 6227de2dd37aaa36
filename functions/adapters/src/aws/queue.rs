//! The queues: one of events in order per aggregate, and one of commands for each kind of tool.
//!
//! # Invariants
//!
//! * A send that returns well has been taken whole. A part that was not is sent again with all that
//!   follows it in its group, so that the order of a group holds.
//! * A body that no queue can carry is in the payload store before its message is sent.

mod group;
mod incoming;
mod outgoing;

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use aws_sdk_sqs::Client;
use engine_core::command::Command;
use engine_core::event::Envelope;
use engine_core::limits::{SQS_DELAY_MS_MAX, SQS_MESSAGE_BYTES_MAX};
use engine_core::payload::Blob;
use engine_core::ports::{Clock, CommandQueue, EventQueue, PayloadStore, PortError, PortErrorKind};

pub use self::group::group_of;
pub use self::incoming::{Inbox, Received, Record, Undelivered};
use self::outgoing::{Outgoing, Queue};
use super::config::{COMMANDS_QUEUE_URL_PREFIX, EVENTS_QUEUE_URL};
use super::meter::Meter;
use crate::wire;

/// Kinds that no worker runs: their commands are timers, and the worker of `noop` answers them.
const TIMERS: [&str; 2] = ["wait", "callback"];
const TIMER_QUEUE: &str = "noop";

/// The queue whose worker answers commands of a kind of tool.
#[must_use]
pub fn queue_of(tool_kind: &str) -> &str {
    if TIMERS.contains(&tool_kind) { TIMER_QUEUE } else { tool_kind }
}

/// What both queues send with.
#[derive(Clone)]
pub(super) struct Sender {
    pub(super) client: Client,
    pub(super) payloads: Arc<dyn PayloadStore>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) meter: Arc<Meter>,
}

impl Sender {
    fn queue<'a>(&'a self, url: String, shown: String, variable: &'static str) -> Queue<'a> {
        Queue { client: &self.client, meter: &self.meter, url, shown, variable }
    }

    /// The body as it is, or where it is.
    async fn fitting(
        &self,
        body: String,
        to: &engine_core::ids::AggregateKey,
    ) -> Result<String, PortError> {
        if body.len() <= SQS_MESSAGE_BYTES_MAX {
            return Ok(body);
        }
        let blob = Blob::new(to.execution_id(), body.into_bytes());
        self.payloads.put(&blob).await?;
        wire::spilled(blob.reference, to.clone()).map_err(|error| unencoded(to, error))
    }
}

fn unencoded(what: impl std::fmt::Display, error: serde_json::Error) -> PortError {
    PortError::caused(
        PortErrorKind::Refused,
        format!("a message for `{what}` cannot be encoded"),
        error,
    )
}

/// The event queue.
pub struct SqsEvents {
    sender: Sender,
    url: String,
}

impl SqsEvents {
    pub(super) fn new(sender: Sender, url: &str) -> Self {
        Self { sender, url: url.to_owned() }
    }

    fn queue(&self) -> Queue<'_> {
        self.sender.queue(self.url.clone(), "the queue of events".to_owned(), EVENTS_QUEUE_URL)
    }

    /// Makes a received message visible again in `seconds`, so that a known failure is tried sooner than
    /// the visibility timeout says.
    ///
    /// # Errors
    /// `Unavailable` or `Refused`; the message then comes back by itself.
    pub async fn release(&self, receipt: &str, seconds: u32) -> Result<(), PortError> {
        self.queue().release(receipt, seconds).await
    }

    /// Waits up to `seconds` (at most 20) for up to ten messages, for those who are not called by Lambda.
    ///
    /// # Errors
    /// `Unavailable` or `Refused`.
    pub async fn receive(&self, seconds: u32) -> Result<Vec<Received>, PortError> {
        self.queue().receive(seconds).await
    }

    /// Deletes a received message.
    ///
    /// # Errors
    /// `Unavailable` or `Refused`.
    pub async fn delete(&self, receipt: &str) -> Result<(), PortError> {
        self.queue().delete(receipt).await
    }
}

#[async_trait]
impl EventQueue for SqsEvents {
    async fn send(&self, envelopes: &[Envelope]) -> Result<(), PortError> {
        let mut messages = Vec::with_capacity(envelopes.len());
        for envelope in envelopes {
            let to = &envelope.to;
            let body = wire::envelope(envelope).map_err(|error| unencoded(to, error))?;
            let body = self.sender.fitting(body, to).await?;
            messages.push(Outgoing { body, group: Some(group_of(to)), delay_s: 0 });
        }
        self.queue().send(messages).await
    }
}

/// The command queues.
pub struct SqsCommands {
    sender: Sender,
    url_prefix: String,
}

impl SqsCommands {
    pub(super) fn new(sender: Sender, url_prefix: &str) -> Self {
        Self { sender, url_prefix: url_prefix.to_owned() }
    }

    fn queue(&self, kind: &str) -> Queue<'_> {
        let kind = queue_of(kind);
        self.sender.queue(
            format!("{}{kind}", self.url_prefix),
            format!("the queue of commands of kind `{kind}`"),
            COMMANDS_QUEUE_URL_PREFIX,
        )
    }

    /// As [`SqsEvents::release`], on the queue of a kind.
    ///
    /// # Errors
    /// As [`SqsEvents::release`].
    pub async fn release(&self, kind: &str, receipt: &str, seconds: u32) -> Result<(), PortError> {
        self.queue(kind).release(receipt, seconds).await
    }

    /// As [`SqsEvents::receive`], on the queue of a kind.
    ///
    /// # Errors
    /// As [`SqsEvents::receive`].
    pub async fn receive(&self, kind: &str, seconds: u32) -> Result<Vec<Received>, PortError> {
        self.queue(kind).receive(seconds).await
    }

    /// As [`SqsEvents::delete`], on the queue of a kind.
    ///
    /// # Errors
    /// As [`SqsEvents::delete`].
    pub async fn delete(&self, kind: &str, receipt: &str) -> Result<(), PortError> {
        self.queue(kind).delete(receipt).await
    }
}

#[async_trait]
impl CommandQueue for SqsCommands {
    async fn send(&self, commands: &[Command]) -> Result<(), PortError> {
        let now_ms = self.sender.clock.now_ms();
        let mut by_kind: BTreeMap<&str, Vec<Outgoing>> = BTreeMap::new();
        for command in commands {
            let to = &command.reply_to;
            let body = wire::command(command).map_err(|error| unencoded(to, error))?;
            let body = self.sender.fitting(body, to).await?;
            let delay_s = delay_s(command.not_before_ms, now_ms);
            let kind = queue_of(&command.tool_kind);
            by_kind.entry(kind).or_default().push(Outgoing { body, group: None, delay_s });
        }
        for (kind, messages) in by_kind {
            self.queue(kind).send(messages).await?;
        }
        Ok(())
    }
}

/// Seconds to hold a message back: never too few, as a command must not run before its time; the engine
/// sets timers for what is longer than a queue holds.
fn delay_s(not_before_ms: i64, now_ms: i64) -> i32 {
    let wait_ms = not_before_ms.saturating_sub(now_ms).clamp(0, SQS_DELAY_MS_MAX);
    i32::try_from(wait_ms.cast_unsigned().div_ceil(1_000)).unwrap_or(i32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_held_back_for_whole_seconds_and_never_too_short() {
        let cases =
            [(0, 0), (-5, 0), (1, 1), (1_000, 1), (1_001, 2), (900_000, 900), (i64::MAX, 900)];
        for (wait_ms, expect) in cases {
            assert_eq!(delay_s(wait_ms, 0), expect, "{wait_ms}");
        }
        assert_eq!(delay_s(i64::MIN, i64::MAX), 0);
    }

    #[test]
    fn timers_wait_in_the_queue_of_a_worker_that_is_always_there() {
        let queues = ["wait", "callback", "noop", "http"].map(queue_of);
        assert_eq!(queues, ["noop", "noop", "noop", "http"]);
    }
}
