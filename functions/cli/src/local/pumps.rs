//! What carries messages from the queues to the driver and to the tools.

mod all;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use adapters::causes::chain;
use adapters::embedded::queue::{DeadLetter, Delivery as Received, Queue};
use anyhow::{Context as _, anyhow};
use api::waiting::{only_callbacks, open_tree};
use engine_core::command::Command;
use engine_core::driver::{Delivery, DriverError};
use engine_core::event::Envelope;
use engine_core::ids::{AggregateKey, ExecutionId};
use engine_core::limits::BATCH_INPUTS_MAX;
use engine_core::ports::{EventQueue as _, PortError, PortErrorKind};
use event_handler::handler::handle_group;
use event_handler::overdue;
use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;
use tokio::time::sleep;
use tracing::{debug, warn};
use worker::handler;

use super::{Local, Stopped};
use crate::place::readers;

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

/// What all tasks of a run share.
struct Shared {
    local: Arc<Local>,
    id: ExecutionId,
    stopped: watch::Sender<Option<Stopped>>,
    /// Told when something was deleted from a queue.
    settled: Arc<Notify>,
}

/// All tasks of a run.
pub(super) struct Pumps {
    tasks: JoinSet<anyhow::Result<()>>,
    stopped: watch::Receiver<Option<Stopped>>,
    stop: watch::Sender<bool>,
}

impl Pumps {
    /// Begins to pump for one execution, whose playbook has tools of these kinds.
    pub(super) fn spawn(local: &Arc<Local>, id: ExecutionId, kinds: &BTreeSet<String>) -> Self {
        let mut tasks = JoinSet::new();
        let (stopped, when_stopped) = watch::channel(None);
        let (stop, stopping) = watch::channel(false);
        let shared =
            Arc::new(Shared { local: local.clone(), id, stopped, settled: Arc::default() });
        for _ in 0..EVENT_PUMPS {
            tasks.spawn(pump_events(shared.clone()));
        }
        if kinds.contains("callback") {
            tasks.spawn(watch_callbacks(shared.clone()));
        }
        for kind in kinds {
            for _ in 0..pumps_of(local, kind) {
                let (local, settled) = (local.clone(), shared.settled.clone());
                tasks.spawn(pump_commands(local, settled, kind.clone(), stopping.clone()));
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
        Self { tasks, stopped: when_stopped, stop }
    }

    /// Lets running calls finish and begins no others.
    pub(super) fn stop_receiving(&self) {
        self.stop.send_replace(true);
    }

    /// Ends all tasks, running calls too, and returns when they are gone.
    pub(super) async fn end(mut self) {
        self.tasks.shutdown().await;
    }

    /// Returns when the execution has ended, or nothing but callbacks can carry it on.
    ///
    /// # Errors
    /// If a pump breaks.
    pub(super) async fn run(&mut self) -> anyhow::Result<Stopped> {
        loop {
            tokio::select! {
                Ok(stopped) = self.stopped.wait_for(Option::is_some) => {
                    if let Some(stopped) = &*stopped {
                        return Ok(stopped.clone());
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
async fn pump_events(shared: Arc<Shared>) -> anyhow::Result<()> {
    let local = &shared.local;
    let execution = AggregateKey::Execution(shared.id);
    let queue = local.embedded.events.queue();
    loop {
        let received = queue.receive_group(BATCH_INPUTS_MAX).await;
        let Some(first) = received.first() else { return Ok(()) };
        let key = first.body.to.clone();
        let deliveries: Vec<Delivery> = received.iter().map(delivery).collect();
        match handle_group(&local.driver, &deliveries).await {
            Ok(handled) => {
                queue.delete(received.iter().map(|one| one.receipt));
                shared.settled.notify_one();
                if let Some(status) = handled.ended.filter(|_| key == execution) {
                    shared.stopped.send_replace(Some(Stopped::Ended(status)));
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

/// Runs commands of one kind until the queue closes or the user interrupts.
async fn pump_commands(
    local: Arc<Local>,
    settled: Arc<Notify>,
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
        match handler::handle(&local.bench, &one.body, &*local.embedded.events, None).await {
            Ok(()) => {
                queue.delete([one.receipt]);
                settled.notify_one();
                debug!(command.id = %one.body.id, step.name = %one.body.step, "command answered");
            }
            Err(error) => queue.release(one.receipt, backoff_ms(one.receive_count), &chain(&error)),
        }
    }
}

/// Ends the run when only people can carry it on: nobody can call back here.
async fn watch_callbacks(shared: Arc<Shared>) -> anyhow::Result<()> {
    let Shared { local, id, .. } = &*shared;
    let readers = readers(&local.embedded);
    loop {
        if local.is_idle() {
            let waits = only_callbacks(&readers, *id).await;
            let waits = waits.context("it is not known what the execution waits for")?;
            // A time may have come while the states were read.
            if !waits.is_empty() && local.is_idle() {
                shared.stopped.send_replace(Some(Stopped::Waiting(waits)));
                return Ok(());
            }
        }
        shared.settled.notified().await;
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

/// Tells the execution, its open loops and its children that time has passed.
async fn tick(local: &Local, id: ExecutionId) -> Result<(), PortError> {
    let tree = open_tree(&readers(&local.embedded), id).await?;
    let now_ms = local.embedded.clock.now_ms();
    let ticks: Vec<Envelope> = tree.into_iter().map(|(to, _)| overdue::tick(to, now_ms)).collect();
    local.embedded.events.send(&ticks).await
}

fn dead<T>(what: &str, letter: &DeadLetter<T>) -> anyhow::Error {
    anyhow!("{what} was delivered {} times in vain: {}", letter.receive_count, letter.cause)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use adapters::embedded::Embedded;
    use api::waiting::Waiting;
    use engine_core::command::CallSite;
    use engine_core::event::{Entry, Fact, Input};
    use engine_core::ids::EventId;
    use engine_core::payload::Payload;
    use engine_core::playbook::PlaybookRef;
    use engine_core::ports::StateStore as _;
    use engine_core::state::{ExecutionState, State, Unit};
    use serde_json::Value;

    use super::*;
    use crate::args::ToolArgs;
    use crate::local::Silent;
    use crate::place::Place;

    const ID: ExecutionId = ExecutionId(7);

    /// A store in which an execution waits for two callbacks.
    async fn asking() -> Embedded {
        let nothing = Payload::Inline(Value::Null);
        let playbook = PlaybookRef { path: "tests/asks".to_owned(), hash: "0".repeat(64) };
        let (key, entry, workload) = (AggregateKey::Execution(ID), "a".into(), nothing.clone());
        let begun = Fact::Started {
            playbook: playbook.clone(),
            entry,
            workload,
            vars: BTreeMap::new(),
            parent: None,
        };
        let mut facts = vec![begun];
        for (run, step) in [(EventId(1), "a"), (EventId(2), "b")] {
            let args = BTreeMap::new();
            facts.push(Fact::StepEntered { step: step.into(), run, cause: None, args });
            let command = Command {
                id: format!("{ID}:{step}:{run}").into(),
                attempt: 1,
                reply_to: key.clone(),
                playbook: playbook.clone(),
                step: step.into(),
                tool_kind: "callback".to_owned(),
                frame: None,
                site: CallSite::Tool,
                overrides: None,
                unit: None,
                vars: None,
                scope: nothing.clone(),
                not_before_ms: 0,
                timeout_ms: 1_000,
            };
            let unit = Some(Box::new(Unit { token: Some(step.to_owned()), ..Unit::default() }));
            facts.push(Fact::CommandIssued { run, command: Box::new(command), unit });
        }
        let state = ExecutionState::begin(&playbook, nothing, BTreeMap::new());
        let state = State::Execution(Box::new(state));
        let (event_id, inputs) = (EventId(1), Vec::new());
        let mut entry = Entry { key, seq: 1, at_ms: 0, event_id, inputs, facts, state };
        entry.state = State::advance(None, &entry).unwrap();
        let embedded = Place::Memory.open().unwrap();
        embedded.store.commit(&entry).await.unwrap();
        embedded
    }

    fn local(embedded: Embedded) -> Arc<Local> {
        let (credentials, env, python) = (Vec::new(), Vec::new(), "python3".into());
        let tools = ToolArgs { credentials, workers: Some(1), python, env, guard: false };
        Arc::new(Local::new(embedded, &tools, Arc::new(Silent)).unwrap())
    }

    #[tokio::test]
    async fn a_run_that_only_callbacks_can_carry_on_stops_and_names_them() {
        let local = local(asking().await);
        let mut pumps = Pumps::spawn(&local, ID, &BTreeSet::from(["callback".to_owned()]));
        let stopped = pumps.run().await.unwrap();
        local.embedded.close();
        pumps.end().await;
        let Stopped::Waiting(waits) = stopped else { panic!("{stopped:?}") };
        let told: Vec<_> = waits.iter().map(|wait| (wait.step.as_str(), &wait.what)).collect();
        let callback = |token: &str| Waiting::Callback {
            execution_id: ID,
            token: token.to_owned(),
            until_ms: None,
        };
        assert_eq!(told, [("a", &callback("a")), ("b", &callback("b"))]);
    }

    #[tokio::test]
    async fn ticks_reach_every_open_aggregate() {
        let local = local(asking().await);
        tick(&local, ID).await.unwrap();
        let received = local.embedded.events.queue().receive_group(1).await;
        assert_eq!(received[0].body.to, AggregateKey::Execution(ID));
        assert_eq!(received[0].body.input, Input::Tick);
    }

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
