//! `dead-letter`: messages that were tried in vain, from every queue.
//!
//! Each is logged once with its cause and kept in the bucket. A command is answered, so that nothing waits
//! for it without a reason. A message of a future version stays on its queue besides: it waits for the
//! functions that can read it.

use std::sync::Arc;

use adapters::aws::dead_letters::DeadLetterStore;
use adapters::aws::queue::{Inbox, SqsEvents, Undelivered, queue_of};
use adapters::clock::Timer;
use adapters::lambda::sqs::{Message, again, messages};
use adapters::lambda::{Function, Handler, Invocation, Refused, chain};
use adapters::telemetry::{Metric, Metrics};
use adapters::wire::{self, WireError};
use async_trait::async_trait;
use engine_core::command::Command;
use engine_core::event::{Answer, Envelope, Input, Outcome, ToolFailure};
use engine_core::limits::FRAME_ITEMS_MAX;
use engine_core::payload::Payload;
use engine_core::ports::{EventQueue as _, PortError, PortErrorKind};
use serde_json::Value;
use tokio::time::Instant;
use tracing::error;

use crate::handler::within;

/// Who answers for a worker that did not.
const WORKER: &str = "dead-letter";

/// The function `dead-letter`.
pub struct DeadLetters {
    store: DeadLetterStore,
    inbox: Inbox,
    events: Arc<SqsEvents>,
    clock: Arc<dyn Timer>,
    metrics: Metrics,
}

/// What a message turns out to be.
enum Found {
    Command(Box<Command>),
    Input(Box<Envelope>),
    /// Nothing that can be handled, and why.
    Nothing(Undelivered),
}

/// What became of a message.
struct Buried {
    is_new: bool,
    is_done: bool,
}

impl DeadLetters {
    /// A handler over an account.
    #[must_use]
    pub fn new(function: Function) -> Self {
        let Function { aws, metrics, .. } = function;
        let (store, inbox) = (aws.dead_letters(), aws.inbox());
        Self { store, inbox, events: aws.events.clone(), clock: aws.clock.clone(), metrics }
    }

    /// Deals with one message.
    ///
    /// # Errors
    /// If nobody can be told, or it cannot be kept: it comes again.
    async fn bury(&self, message: &Message) -> Result<Buried, PortError> {
        let found = self.look(message).await?;
        if let Found::Command(command) = &found {
            let answer = answer(command, message.queue(), self.clock.now_ms());
            self.events.send(&[answer]).await?;
        }
        // Last: what is kept has been dealt with, and is neither told nor counted again.
        let is_new = self.store.keep(message.queue(), &message.id, &message.body).await?;
        if is_new {
            log(message, &found, &DeadLetterStore::key(message.queue(), &message.id));
        }
        let is_future =
            matches!(found, Found::Nothing(Undelivered::Poison(WireError::FutureVersion { .. })));
        Ok(Buried { is_new, is_done: !is_future })
    }

    async fn look(&self, message: &Message) -> Result<Found, PortError> {
        match self.inbox.message(&message.body).await {
            Ok(wire::Message::Command(command)) => Ok(believed(command, message.queue())),
            Ok(wire::Message::Envelope(envelope)) => Ok(Found::Input(Box::new(envelope))),
            Ok(wire::Message::Spilled(_)) => {
                let said = "a spilled message in another one".to_owned();
                Ok(Found::Nothing(WireError::NotOurs(said).into()))
            }
            Err(Undelivered::Port(problem)) if problem.kind == PortErrorKind::Unavailable => {
                Err(problem)
            }
            Err(problem) => Ok(Found::Nothing(problem)),
        }
    }

    async fn batch(&self, messages: &[Message], deadline: Option<Instant>) -> Value {
        let (mut left, mut new) = (Vec::new(), 0);
        for message in messages {
            let buried = within(deadline, Box::pin(self.bury(message))).await;
            let is_done = match buried {
                Some(Ok(buried)) => {
                    new += u64::from(buried.is_new);
                    buried.is_done
                }
                Some(Err(problem)) => {
                    error!(
                        error = chain(&problem),
                        message.id, "a dead letter is tried again later"
                    );
                    false
                }
                None => false,
            };
            if !is_done {
                left.push(message.id.as_str());
            }
        }
        self.metrics.emit(self.clock.now_ms(), &[Metric::count("DeadLetters", new)]);
        again(left)
    }
}

#[async_trait]
impl Handler for DeadLetters {
    async fn handle(&self, invocation: Invocation) -> Result<Value, Refused> {
        let Invocation { mut event, deadline } = invocation;
        let messages = messages(&mut event)?.ok_or_else(|| {
            let message = "the function takes events of dead-letter queues, and this is none";
            Refused::Event(message.to_owned())
        })?;
        Ok(self.batch(&messages, deadline).await)
    }
}

/// A command, if its queue is the one of its kind: nobody is answered on behalf of a forger.
fn believed(command: Box<Command>, queue: &str) -> Found {
    let kind = &command.tool_kind;
    if queue.ends_with(&format!("-commands-{}-dead", queue_of(kind))) {
        return Found::Command(command);
    }
    let said = format!("a command of kind `{kind}` came through the queue `{queue}`");
    Found::Nothing(WireError::Forged(said).into())
}

/// One line for each message: what it is, where it was for, and where its body is.
fn log(message: &Message, found: &Found, key: &str) {
    let (queue, id) = (message.queue(), message.id.as_str());
    match found {
        Found::Command(command) => error!(
            cause = "CommandNotAnswered",
            message.queue = queue,
            message.id = id,
            object.key = key,
            execution.id = %command.reply_to.execution_id(),
            aggregate.key = %command.reply_to,
            step.name = %command.step,
            command.id = %command.id,
            command.attempt = command.attempt,
            "dead letter: a command that no worker answered; its step is told so"
        ),
        Found::Input(envelope) => error!(
            cause = "InputNotFolded",
            message.queue = queue,
            message.id = id,
            object.key = key,
            execution.id = %envelope.to.execution_id(),
            aggregate.key = %envelope.to,
            input.id = %envelope.id,
            "dead letter: an input that could not be folded; the log of event-handler says why"
        ),
        Found::Nothing(problem) => error!(
            cause = class(problem),
            message.queue = queue,
            message.id = id,
            message.bytes = message.body.len(),
            object.key = key,
            error = chain(problem),
            "dead letter: a message that cannot be read"
        ),
    }
}

/// A name for the cause, to count and to filter by.
fn class(problem: &Undelivered) -> &'static str {
    match problem {
        Undelivered::Poison(WireError::NotOurs(_)) => "NotOurs",
        Undelivered::Poison(WireError::Truncated { .. }) => "Truncated",
        Undelivered::Poison(WireError::FutureVersion { .. }) => "FutureVersion",
        Undelivered::Poison(WireError::Forged(_)) => "Forged",
        Undelivered::Port(_) => "BodyLost",
    }
}

/// The answer to a command that nobody could run: every call of it failed, and for good.
fn answer(command: &Command, queue: &str, now_ms: i64) -> Envelope {
    let message = format!(
        "no worker of kind `{}` could answer the command: it was tried until it went to `{queue}`; the log \
         of that worker says why",
        command.tool_kind
    );
    let error = ToolFailure { kind: "DeadLetter".to_owned(), message, ..ToolFailure::default() };
    let outcome = Outcome {
        result: Payload::Inline(Value::Null),
        error: Some(error),
        started_ms: now_ms,
        duration_ms: 0,
        output: String::new(),
    };
    let calls = command.frame.as_ref().map_or(1, |frame| {
        // Whoever fails fast leaves the rest undone.
        if frame.fail_fast { 1 } else { frame.len.clamp(1, FRAME_ITEMS_MAX) }
    });
    let answer = Answer {
        command_id: command.id.clone(),
        attempt: command.attempt,
        worker: WORKER.to_owned(),
        outcomes: vec![outcome; calls as usize],
        cut: false,
    };
    Envelope {
        // Beside a worker's answer, which may still come: the engine takes the first.
        id: format!("{}.{}.dead", command.id, command.attempt).into(),
        to: command.reply_to.clone(),
        input: Input::Answer(answer),
    }
}

#[cfg(test)]
mod tests;
