//! Messages as queues carry them: `{"v":1,"envelope":{..}}`, `{"v":1,"command":{..}}`, and
//! `{"v":1,"spilled":{..},"to":".."}` for a body that is too long for a queue.
//!
//! Pure: what is spilled is read and written by whoever has a payload store. Queues are open to
//! everyone with the permission to send, so what comes out of one is judged, not believed.

use engine_core::command::Command;
use engine_core::event::Envelope;
use engine_core::ids::AggregateKey;
use engine_core::payload::PayloadRef;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_json::error::Category;

/// The version that this build writes, and the newest that it reads.
pub const VERSION: u64 = 1;

/// A message.
#[derive(Clone, Debug, PartialEq)]
pub enum Message {
    /// For the event handler.
    Envelope(Envelope),
    /// For a worker.
    Command(Box<Command>),
    /// Either of them, in the payload store.
    Spilled(Spilled),
}

/// A message that was too long for its queue.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Spilled {
    /// The body of the message.
    #[serde(rename = "spilled")]
    pub reference: PayloadRef,
    /// The aggregate that it is for, or that waits for its answer.
    pub to: AggregateKey,
}

/// A message that is not one of ours, or not as it should be. Receiving it again changes nothing.
#[derive(Debug, thiserror::Error)]
pub enum WireError {
    /// No message of this engine.
    #[error(
        "the message is not of this engine ({0}); whoever sends it should call the API, or send \
         `{{\"path\", \"payload\"}}` to the start queue"
    )]
    NotOurs(String),
    /// It ends too early.
    #[error("the message ends after {bytes} bytes, in the middle of a value")]
    Truncated {
        /// Length of what is there.
        bytes: usize,
    },
    /// Written by a newer version.
    #[error(
        "the message has version {found}, and this build reads up to {VERSION}; deploy the version \
         that sent it to every function, then redrive the dead-letter queue"
    )]
    FutureVersion {
        /// The version that it says.
        found: u64,
    },
    /// It says something else than the queue does.
    #[error("the message is forged: {0}")]
    Forged(String),
}

#[derive(Serialize)]
struct Written<'a, T> {
    v: u64,
    #[serde(flatten)]
    message: &'a T,
}

#[derive(Serialize)]
#[serde(rename_all = "snake_case")]
enum Borrowed<'a> {
    Envelope(&'a Envelope),
    Command(&'a Command),
}

/// The body of a message for the event handler.
///
/// # Errors
/// A value that JSON cannot hold.
pub fn envelope(envelope: &Envelope) -> Result<String, serde_json::Error> {
    written(&Borrowed::Envelope(envelope))
}

/// The body of a message for a worker.
///
/// # Errors
/// A value that JSON cannot hold.
pub fn command(command: &Command) -> Result<String, serde_json::Error> {
    written(&Borrowed::Command(command))
}

/// The body of a message that says where its body is.
///
/// # Errors
/// A value that JSON cannot hold.
pub fn spilled(reference: PayloadRef, to: AggregateKey) -> Result<String, serde_json::Error> {
    written(&Spilled { reference, to })
}

fn written<T: Serialize>(message: &T) -> Result<String, serde_json::Error> {
    Ok(acceptable(serde_json::to_string(&Written { v: VERSION, message })?))
}

/// JSON with the two characters escaped that XML, and so SQS, cannot carry; JSON itself escapes the
/// others. They can only be inside of strings.
fn acceptable(json: String) -> String {
    if json.contains(['\u{FFFE}', '\u{FFFF}']) {
        return json.replace('\u{FFFE}', "\\ufffe").replace('\u{FFFF}', "\\uffff");
    }
    json
}

/// Reads the body of a message.
///
/// # Errors
/// [`WireError`], but for [`WireError::Forged`] that of a spilled message only.
pub fn decode(body: &str) -> Result<Message, WireError> {
    let mut value: Value = serde_json::from_str(body).map_err(|error| match error.classify() {
        // Text that is no JSON at all ends somewhere, too: ours begins with a brace.
        Category::Eof if body.trim_start().starts_with('{') => {
            WireError::Truncated { bytes: body.len() }
        }
        _ => WireError::NotOurs(format!("no JSON: {error}")),
    })?;
    let version = value.as_object_mut().and_then(|object| object.shift_remove("v"));
    match version.as_ref().and_then(Value::as_u64) {
        None | Some(0) => {
            let what = if version.is_some() { "`v` is no version" } else { "`v` is missing" };
            return Err(WireError::NotOurs(what.to_owned()));
        }
        Some(VERSION) => {}
        Some(found) => return Err(WireError::FutureVersion { found }),
    }
    let message = known(value).map_err(|error| WireError::NotOurs(error.to_string()))?;
    if let Message::Spilled(spilled) = &message {
        spilled.check()?;
    }
    Ok(message)
}

/// Reads one of the three; unlike a derived reader it says what is wrong with the one that it is.
fn known(value: Value) -> Result<Message, serde_json::Error> {
    if value.get("spilled").is_some() {
        return Spilled::deserialize(value).map(Message::Spilled);
    }
    let Value::Object(mut object) = value else { return Err(unknown()) };
    if let Some(envelope) = object.shift_remove("envelope") {
        return Envelope::deserialize(envelope).map(Message::Envelope);
    }
    let command = object.shift_remove("command").ok_or_else(unknown)?;
    Command::deserialize(command).map(|command| Message::Command(Box::new(command)))
}

fn unknown() -> serde_json::Error {
    serde::de::Error::custom("it has no `envelope`, `command` or `spilled`")
}

impl Spilled {
    /// A body may only be fetched from the space of the execution that it is for.
    fn check(&self) -> Result<(), WireError> {
        let execution_id = self.to.execution_id();
        let prefix = format!("{execution_id}/");
        if self.reference.uri.starts_with(&prefix) {
            return Ok(());
        }
        Err(WireError::Forged(format!(
            "it is for execution {execution_id} and names the payload `{}`",
            self.reference.uri
        )))
    }

    /// Reads the message that was spilled, from its bytes.
    ///
    /// # Errors
    /// [`WireError`]; `Forged` if it is for somebody else than it says outside.
    pub fn open(&self, bytes: &[u8]) -> Result<Message, WireError> {
        let body = std::str::from_utf8(bytes)
            .map_err(|error| WireError::NotOurs(format!("no text: {error}")))?;
        let message = decode(body)?;
        let to = match &message {
            Message::Envelope(envelope) => &envelope.to,
            Message::Command(command) => &command.reply_to,
            Message::Spilled(_) => {
                return Err(WireError::NotOurs("a spilled message in another one".to_owned()));
            }
        };
        if *to == self.to {
            return Ok(message);
        }
        Err(WireError::Forged(format!("it is for `{to}` inside and for `{}` outside", self.to)))
    }
}

#[cfg(test)]
mod tests;
