//! A worker as a function: commands of one kind from its queue, answers to the queue of events.
//!
//! The commands of a batch run side by side; the tool itself bounds what it does at once. Each one that has
//! its answer on the queue is done with, whatever becomes of the others.

mod config;

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use adapters::aws::queue::{Inbox, SqsCommands, SqsEvents, Undelivered};
use adapters::clock::Timer;
use adapters::lambda::sqs::{Message, again, messages};
use adapters::lambda::{Function, Handler, Invocation, Refused, chain, run};
use adapters::telemetry::{Metric, Metrics, Unit};
use async_trait::async_trait;
use engine_core::limits::{
    COMMAND_POISON_S, COMMAND_RETRIES_S, NOT_BEFORE_SLACK_MS, WORKER_ANSWER_MS,
};
use engine_core::load::Readers;
use engine_core::ports::{CommandQueue as _, PortError};
use futures_util::future::join_all;
use serde_json::Value;
use tokio::runtime::Builder;
use tokio::time::{Instant, timeout_at};
use tracing::{debug, error, info};

use self::config::Config;
use crate::execute::Workbench;
use crate::handler;
use crate::toolbox::{Toolbox, Tools};

/// The life of a worker's process, with the tools of one kind.
#[must_use]
pub fn serve(kind: &'static str, tools: fn(&Toolbox) -> Tools) -> ExitCode {
    run(&mut Builder::new_multi_thread(), move |function| Worker::new(kind, function, tools))
}

/// The function `worker-{kind}`.
pub struct Worker {
    kind: &'static str,
    bench: Workbench,
    inbox: Inbox,
    events: Arc<SqsEvents>,
    commands: Arc<SqsCommands>,
    clock: Arc<dyn Timer>,
    metrics: Metrics,
}

/// Why a message must come again.
#[derive(Debug, thiserror::Error)]
enum Undone {
    #[error(transparent)]
    Read(#[from] Undelivered),
    #[error("its answer, or what is left of its delay, is not on the queue")]
    Sent(#[from] PortError),
    #[error("there is no time left for it in this invocation")]
    Late,
}

impl Worker {
    /// A worker of one kind over an account.
    #[must_use]
    pub fn new(kind: &'static str, function: Function, tools: fn(&Toolbox) -> Tools) -> Self {
        let ports = function.ports();
        let Function { aws, metrics, .. } = function;
        let config = Config::from_lookup(|name| std::env::var(name).ok());
        let readers = Readers { store: ports.store, payloads: ports.payloads };
        let name = format!("worker-{kind}");
        let bench = Workbench::new(ports.catalog, readers, ports.clock, name);
        let toolbox = Toolbox::new(config.supplies(aws.credentials.clone()));
        Self {
            kind,
            bench: toolbox.equip(bench, tools(&toolbox)),
            inbox: aws.inbox(),
            events: aws.events.clone(),
            commands: aws.commands.clone(),
            clock: aws.clock.clone(),
            metrics,
        }
    }

    async fn batch(&self, messages: &[Message], deadline: Option<Instant>) -> Value {
        let begun = Instant::now();
        let calls = messages.iter().map(|message| Box::pin(self.one(message, deadline)));
        let ended = join_all(calls).await;
        let mut undone = Vec::new();
        let mut worked = Duration::ZERO;
        for (message, ended) in messages.iter().zip(ended) {
            match ended {
                Ok(took) => worked = worked.max(took),
                Err(cause) => {
                    error!(
                        error = chain(&cause),
                        message.id,
                        message.receives = message.receives(),
                        message.bytes = message.body.len(),
                        "the command is not done; it stays on its queue"
                    );
                    undone.push((message, delay_s(message.receives(), &cause)));
                }
            }
        }
        self.release(&undone).await;
        self.tell(worked, begun.elapsed());
        again(undone.iter().map(|(message, _)| message.id.as_str()))
    }

    /// Makes messages visible sooner than their queue would. Where that fails they come back by themselves.
    async fn release(&self, undone: &[(&Message, Option<u32>)]) {
        let releases = undone.iter().filter_map(|(message, delay_s)| {
            Some(self.commands.release(self.kind, &message.receipt_handle, (*delay_s)?))
        });
        for released in join_all(releases).await {
            if let Err(problem) = released {
                debug!(error = chain(&problem), "a message waits for its visibility timeout");
            }
        }
    }

    /// Runs the command of a message; how long that took.
    async fn one(&self, message: &Message, deadline: Option<Instant>) -> Result<Duration, Undone> {
        let command = self.inbox.command(&message.record(), self.kind).await?;
        if command.not_before_ms > self.clock.now_ms().saturating_add(NOT_BEFORE_SLACK_MS) {
            self.commands.send(&[command]).await?;
            return Ok(Duration::ZERO);
        }
        let begun = Instant::now();
        let ends = ends(deadline)?;
        let handled = handler::handle(&self.bench, &command, &*self.events, ends);
        match deadline {
            // A tool may not stop in time, or its answer find no way.
            Some(deadline) => {
                timeout_at(deadline, handled).await.map_err(|_elapsed| Undone::Late)??;
            }
            None => handled.await?,
        }
        info!(
            execution.id = %command.reply_to.execution_id(),
            command.id = %command.id,
            step.name = %command.step,
            command.attempt = command.attempt,
            message.receives = message.receives(),
            took_ms = begun.elapsed().as_millis(),
            "command answered"
        );
        Ok(begun.elapsed())
    }

    /// Which part of an invocation tools took, beside queues and stores.
    fn tell(&self, worked: Duration, all: Duration) {
        let part = worked.as_millis().saturating_mul(100) / all.as_millis().max(1);
        let busy = Metric {
            name: "WorkerBusy",
            unit: Unit::Percent,
            values: vec![u64::try_from(part.min(100)).unwrap_or(100)],
        };
        self.metrics.emit(self.clock.now_ms(), &[busy]);
    }
}

/// Seconds after which a message comes again; none for its visibility timeout.
fn delay_s(receives: u32, cause: &Undone) -> Option<u32> {
    match cause {
        Undone::Read(problem) if !problem.is_retryable() => Some(COMMAND_POISON_S),
        _ => {
            let failures = usize::try_from(receives).unwrap_or(usize::MAX).saturating_sub(1);
            COMMAND_RETRIES_S.get(failures).copied()
        }
    }
}

/// When calls must end, so that their function can still send the answer.
fn ends(deadline: Option<Instant>) -> Result<Option<Instant>, Undone> {
    let Some(deadline) = deadline else { return Ok(None) };
    let ends = deadline.checked_sub(Duration::from_millis(WORKER_ANSWER_MS));
    match ends.filter(|ends| *ends > Instant::now()) {
        Some(ends) => Ok(Some(ends)),
        None => Err(Undone::Late),
    }
}

#[async_trait]
impl Handler for Worker {
    async fn handle(&self, invocation: Invocation) -> Result<Value, Refused> {
        let Invocation { mut event, deadline } = invocation;
        match messages(&mut event)? {
            Some(messages) => Ok(self.batch(&messages, deadline).await),
            None => Err(Refused::Event(format!(
                "`worker-{}` takes commands from its queue; start an execution through the API or the start \
                 queue instead",
                self.kind
            ))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_failed_comes_again_soon_at_first_and_poison_at_once() {
        let delays = [0, 1, 2, 3, 4, 10].map(|receives| delay_s(receives, &Undone::Late));
        assert_eq!(delays, [Some(5), Some(5), Some(30), Some(120), None, None]);
        let message = "not ours".to_owned();
        let poison = Undone::Read(adapters::wire::WireError::Forged(message).into());
        assert_eq!(delay_s(9, &poison), Some(1));
    }

    #[tokio::test(start_paused = true)]
    async fn a_call_ends_while_its_function_can_still_answer() {
        let begun = Instant::now();
        let left_ms = |deadline_ms: Option<u64>| {
            let deadline = deadline_ms.map(|ms| begun + Duration::from_millis(ms));
            ends(deadline).ok().map(|ends| ends.map(|ends| (ends - begun).as_millis()))
        };
        let cases = [
            (None, Some(None)),
            (Some(60_000), Some(Some(57_000))),
            (Some(WORKER_ANSWER_MS + 1), Some(Some(1))),
            (Some(WORKER_ANSWER_MS), None),
            (Some(0), None),
        ];
        for (deadline_ms, expect) in cases {
            assert_eq!(left_ms(deadline_ms), expect, "{deadline_ms:?}");
        }
    }
}
