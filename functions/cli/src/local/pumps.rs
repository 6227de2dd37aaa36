//! What carries messages from the queues to the driver and to the tools.

mod all;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use adapters::embedded::queue::{DeadLetter, Delivery as Received, Queue};
use anyhow::{Context as _, anyhow};
use engine_core::command::Command;
use engine_core::driver::{Delivery, DriverError};
use engine_core::event::{Envelope, Input, Status};
use engine_core::ids::{AggregateKey, ExecutionId, InputId};
use engine_core::limits::BATCH_INPUTS_MAX;
use engine_core::ports::{EventQueue as _, PortError, PortErrorKind, StateStore as _};
use engine_core::state::{State, Waits};
use event_handler::handler::handle_group;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::sleep;
use tracing::{debug, warn};
use worker::handler;

use super::{Local, Stopped};

/// Batches of events that are folded at a time; each is of another aggregate.
const EVENT_PUMPS: usize = 4;
/// Calls of a tool kind at a time.
const HTTP_PUMPS: usize = 32;
const NOOP_PUMPS: usize = 2;
const OTHER_PUMPS: usize = 4;
/// How often overdue commands are looked for: queues in memory lose none, tools may hang.
const SWEEP_EVERY: Duration = Duration::from_mins(1);
/// Milliseconds before a failed batch is tried again, doubled with every failure.
const BACKOFF_MS: i64 = 100;
const BACKOFF_MS_MAX: i64 = 5_000;

type Ended = watch::Sender<Option<Status>>;

/// All tasks of a run.
pub(super) struct Pumps {
    tasks: JoinSet<anyhow::Result<()>>,
    ended: watch::Receiver<Option<Status>>,
    stop: watch::Sender<bool>,
}

impl Pumps {
    /// Begins to pump for one execution, whose playbook has tools of these kinds.
    pub(super) fn spawn(local: &Arc<Local>, id: ExecutionId, kinds: &BTreeSet<String>) -> Self {
        let mut tasks = JoinSet::new();
        let (end, ended) = watch::channel(None);
        let (stop, stopping) = watch::channel(false);
        for _ in 0..EVENT_PUMPS {
            tasks.spawn(pump_events(local.clone(), id, end.clone()));
        }
        for kind in kinds {
            for _ in 0..pumps_of(local, kind) {
                tasks.spawn(pump_commands(local.clone(), kind.clone(), stopping.clone()));
            }
            let (local, kind) = (local.clone(), kind.clone());
            tasks.spawn(async move {
                let queue = local.embedded.commands.queue(&kind);
                let letter = queue.dead_letter().await;
                letter.map_or(Ok(()), |letter| Err(dead(&format!("a `{kind}` command"), &letter)))
            });
        }
        let events = local.clone();
        tasks.spawn(async move {
            let letter = events.embedded.events.queue().dead_letter().await;
            letter
                .map_or(Ok(()), |letter| Err(dead(&format!("input `{}`", letter.body.id), &letter)))
        });
        tasks.spawn(sweep(local.clone(), id));
        Self { tasks, ended, stop }
    }

    /// Lets running calls finish and begins no others.
    pub(super) fn stop_receiving(&self) {
        self.stop.send_replace(true);
    }

    /// Ends all tasks, running calls too, and returns when they are gone.
    pub(super) async fn end(mut self) {
        self.tasks.shutdown().await;
    }

    /// Returns when the execution has ended.
    ///
    /// # Errors
    /// If a pump breaks.
    pub(super) async fn run(&mut self) -> anyhow::Result<Stopped> {
        loop {
            tokio::select! {
                Ok(ended) = self.ended.wait_for(Option::is_some) => {
                    if let Some(status) = *ended {
                        return Ok(Stopped::Ended(status));
                    }
                }
                Some(done) = self.tasks.join_next() => {
                    done.context("a part of the runner crashed")??;
                }
            }
        }
    }
}

/// How many calls of a kind of tool may run at a time.
fn pumps_of(local: &Local, kind: &str) -> usize {
    match kind {
        "http" => HTTP_PUMPS,
        "noop" => NOOP_PUMPS,
        "python" => local.interpreters,
        _ => OTHER_PUMPS,
    }
}

/// Folds batches of events until the queue closes.
async fn pump_events(local: Arc<Local>, id: ExecutionId, ended: Ended) -> anyhow::Result<()> {
    let execution = AggregateKey::Execution(id);
    let queue = local.embedded.events.queue();
    loop {
        let received = queue.receive_group(BATCH_INPUTS_MAX).await;
        let Some(first) = received.first() else { return Ok(()) };
        let key = first.body.to.clone();
        let deliveries: Vec<Delivery> = received.iter().map(delivery).collect();
        match handle_group(&local.driver, &deliveries).await {
            Ok(handled) => {
                queue.delete(received.iter().map(|one| one.receipt));
                if handled.ended.is_some() && key == execution {
                    ended.send_replace(handled.ended);
                }
            }
            Err(error) if is_final(&error) => {
                return Err(anyhow::Error::new(error).context("events cannot be folded"));
            }
            Err(error) => put_back(queue, &received, &error),
        }
    }
}

fn delivery(received: &Received<Envelope>) -> Delivery {
    Delivery { envelope: Envelope::clone(&received.body), receive_count: received.receive_count }
}

/// Whether trying again would fail again.
fn is_final(error: &DriverError) -> bool {
    match error {
        DriverError::Port(error) => match error.kind {
            PortErrorKind::Refused | PortErrorKind::Corrupt | PortErrorKind::NotFound => true,
            PortErrorKind::Conflict | PortErrorKind::Unavailable => false,
        },
        DriverError::Loads(_) => true,
        DriverError::Contended(_) => false,
    }
}

/// Returns a batch to its queue, to be tried again a little later.
fn put_back(queue: &Queue<Envelope>, received: &[Received<Envelope>], error: &DriverError) {
    let attempt = received.first().map_or(1, |one| one.receive_count);
    let delay_ms = backoff_ms(attempt);
    let cause = chain(error);
    warn!(
        delay_ms,
        input.receives = attempt,
        "events were not folded and are tried again: {cause}"
    );
    for one in received {
        queue.release(one.receipt, delay_ms, &cause);
    }
}

fn backoff_ms(receives: u32) -> i64 {
    let doublings = receives.saturating_sub(1).min(16);
    (BACKOFF_MS << doublings).min(BACKOFF_MS_MAX)
}

/// An error and its causes on one line.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

/// Runs commands of one kind until the queue closes or the user interrupts.
async fn pump_commands(
    local: Arc<Local>,
    kind: String,
    mut stopping: watch::Receiver<bool>,
) -> anyhow::Result<()> {
    let queue: Arc<Queue<Command>> = local.embedded.commands.queue(&kind);
    loop {
        let received = tokio::select! {
            biased;
            _ = stopping.wait_for(|stop| *stop) => return Ok(()),
            received = queue.receive(1) => received,
        };
        let Some(one) = received.into_iter().next() else { return Ok(()) };
        match handler::handle(&local.bench, &one.body, &*local.embedded.events).await {
            Ok(()) => {
                queue.delete([one.receipt]);
                debug!(command.id = %one.body.id, step.name = %one.body.step, "command answered");
            }
            Err(error) => queue.release(one.receipt, backoff_ms(one.receive_count), &chain(&error)),
        }
    }
}

/// Looks for overdue commands from time to time.
async fn sweep(local: Arc<Local>, id: ExecutionId) -> anyhow::Result<()> {
    loop {
        sleep(SWEEP_EVERY).await;
        if let Err(error) = tick(&local, id).await {
            warn!("overdue commands were not looked for: {}", chain(&error));
        }
    }
}

/// Tells the execution and its open loops that time has passed.
async fn tick(local: &Local, id: ExecutionId) -> Result<(), PortError> {
    let execution = AggregateKey::Execution(id);
    let tail = local.embedded.store.tail(&execution).await?;
    let mut keys = vec![execution];
    if let Some(State::Execution(state)) = tail.map(|tail| tail.state) {
        keys.extend(state.runs.into_values().filter_map(|run| match run.waits {
            Waits::Loop { key, .. } => Some(key),
            _ => None,
        }));
    }
    let now_ms = local.embedded.clock.now_ms();
    let ticks: Vec<Envelope> = keys
        .into_iter()
        .map(|to| Envelope { id: InputId(format!("{to}:tick:{now_ms}")), to, input: Input::Tick })
        .collect();
    local.embedded.events.send(&ticks).await
}

fn dead<T>(what: &str, letter: &DeadLetter<T>) -> anyhow::Error {
    anyhow!("{what} was delivered {} times in vain: {}", letter.receive_count, letter.cause)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failed_batches_wait_longer_each_time_up_to_a_limit() {
        let waits: Vec<i64> = (1..=8).map(backoff_ms).collect();
        assert_eq!(waits, [100, 200, 400, 800, 1_600, 3_200, 5_000, 5_000]);
        assert_eq!(backoff_ms(0), 100);
        assert_eq!(backoff_ms(u32::MAX), BACKOFF_MS_MAX);
    }

    #[test]
    fn only_what_may_pass_is_tried_again() {
        let port = |kind| DriverError::Port(PortError::new(kind, "no"));
        let key = AggregateKey::Execution(ExecutionId(1));
        #[rustfmt::skip]
        let cases = [
            (port(PortErrorKind::Unavailable),    false),
            (port(PortErrorKind::Conflict),       false),
            (DriverError::Contended(key.clone()), false),
            (port(PortErrorKind::Refused),        true),
            (port(PortErrorKind::Corrupt),        true),
            (port(PortErrorKind::NotFound),       true),
            (DriverError::Loads(key),             true),
        ];
        for (error, expect) in cases {
            assert_eq!(is_final(&error), expect, "{error}");
        }
    }
}
