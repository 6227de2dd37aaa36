//! What comes out of a queue: judged, and fetched where it was spilled.

use std::sync::Arc;

use engine_core::command::Command;
use engine_core::driver::Delivery;
use engine_core::ports::{PayloadStore, PortError, PortErrorKind};

use super::{group_of, queue_of};
use crate::wire::{self, Message, WireError};

/// A message as Lambda or SQS hands it over.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Record {
    /// `body`.
    pub body: String,
    /// The attribute `MessageGroupId`; none on a standard queue.
    pub group: Option<String>,
    /// The attribute `ApproximateReceiveCount`.
    pub receive_count: u32,
}

/// A message in the hands of somebody who polls.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Received {
    /// Names this delivery, to delete or release it.
    pub receipt: String,
    /// The message.
    pub record: Record,
}

/// Why a message is not handled.
#[derive(Debug, thiserror::Error)]
pub enum Undelivered {
    /// It can never be: to the dead letters with it.
    #[error(transparent)]
    Poison(#[from] WireError),
    /// Its body cannot be fetched; whether later depends on the kind.
    #[error(transparent)]
    Port(#[from] PortError),
}

impl Undelivered {
    /// Whether receiving it again may help.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Poison(_) => false,
            Self::Port(error) => error.kind == PortErrorKind::Unavailable,
        }
    }
}

/// Reads messages, also those that were spilled.
#[derive(Clone)]
pub struct Inbox {
    payloads: Arc<dyn PayloadStore>,
}

impl Inbox {
    /// An inbox whose spilled messages are in `payloads`.
    #[must_use]
    pub fn new(payloads: Arc<dyn PayloadStore>) -> Self {
        Self { payloads }
    }

    /// Reads a message of the event queue.
    ///
    /// # Errors
    /// `Poison` if it is no input, or not for the aggregate that its group says; `Port` if it was spilled
    /// and cannot be fetched.
    pub async fn delivery(&self, record: &Record) -> Result<Delivery, Undelivered> {
        let envelope = match self.message(&record.body).await? {
            Message::Envelope(envelope) => envelope,
            Message::Command(_) => return Err(misplaced("a command", "the queue of events")),
            Message::Spilled(_) => return Err(misplaced("no input", "the queue of events")),
        };
        let expect = group_of(&envelope.to);
        if let Some(group) = record.group.as_ref().filter(|group| **group != expect) {
            let said = format!("it is for `{}` and came in the group `{group}`", envelope.to);
            return Err(WireError::Forged(said).into());
        }
        Ok(Delivery { envelope, receive_count: record.receive_count })
    }

    /// Reads a message of the queue of commands of `kind`.
    ///
    /// # Errors
    /// `Poison` if it is no command, or of a kind that another queue is for; `Port` if it was spilled and
    /// cannot be fetched.
    pub async fn command(&self, record: &Record, kind: &str) -> Result<Command, Undelivered> {
        let place = format!("the queue of commands of kind `{kind}`");
        let command = match self.message(&record.body).await? {
            Message::Command(command) => *command,
            Message::Envelope(_) => return Err(misplaced("an input", &place)),
            Message::Spilled(_) => return Err(misplaced("no command", &place)),
        };
        if queue_of(&command.tool_kind) != queue_of(kind) {
            let said = format!("a command of kind `{}` came through {place}", command.tool_kind);
            return Err(WireError::Forged(said).into());
        }
        Ok(command)
    }

    /// Reads a message of any queue, as whoever looks through dead letters does.
    ///
    /// # Errors
    /// `Poison` or `Port`, as [`Inbox::delivery`].
    pub async fn message(&self, body: &str) -> Result<Message, Undelivered> {
        match wire::decode(body)? {
            Message::Spilled(spilled) => {
                let bytes = self.payloads.get(&spilled.reference).await?;
                Ok(spilled.open(&bytes)?)
            }
            message => Ok(message),
        }
    }
}

fn misplaced(what: &str, place: &str) -> Undelivered {
    WireError::Forged(format!("{what} came through {place}")).into()
}
