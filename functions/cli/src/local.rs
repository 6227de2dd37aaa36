//! The single-process runner: the driver, the tools and the queues between them.
//!
//! # Invariants
//!
//! * What runs here is what runs when deployed: the same driver, the same tools, queues of the same kind.
//! * A message is deleted last, after everything that follows from it is durable or sent.

mod interrupts;
mod pumps;
mod serving;
mod toolbox;
mod watch;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::num::NonZero;
use std::sync::Arc;
use std::thread::available_parallelism;
use std::time::Duration;

use adapters::catalog::Registry as _;
use adapters::embedded::Embedded;
use adapters::embedded::queue::Counters;
use adapters::embedded::secrets::FileSecrets;
use adapters::ids::SnowflakeIds;
use anyhow::anyhow;
use api::waiting::Wait as OpenWait;
use engine_core::driver::{Delivery, Driver};
use engine_core::event::{Envelope, IgnoreReason, Input, Start, Status};
use engine_core::ids::{AggregateKey, EventId, ExecutionId, InputId};
use engine_core::load::Readers;
use engine_core::payload::Payload;
use engine_core::playbook::{Playbook, PlaybookRef};
use engine_core::ports::{
    Catalog as _, EventQueue as _, IdGenerator as _, PortError, Ports, Secrets, StateStore as _,
};
use serde_json::Value;
use tokio::runtime::{Builder, Runtime};
use tokio::time::{sleep, timeout};
use worker::execute::Workbench;
use worker::tools::http::HttpPolicy;
use worker::tools::python::PythonPool;

pub(crate) use self::interrupts::Interrupts;
use self::pumps::Pumps;
use self::watch::Watched;
pub(crate) use self::watch::{Silent, Watch};
use crate::args::ToolArgs;
use crate::ending::invalid;
use crate::render;
use crate::serve::{Credentials, KEY, KEY_FILE};

/// What variables begin with that `secret.NAME` reads.
const SECRET_PREFIX: &str = "NOETL_SECRET_";
/// How long running calls may take to finish after the first interrupt.
const GRACE: Duration = Duration::from_secs(2);
/// How often it is looked whether they have.
const GRACE_LOOK: Duration = Duration::from_millis(10);
/// Threads that run tasks: tools wait more than they compute, and the store has a thread of its own.
const THREADS_MAX: usize = 4;

/// Everything that runs an execution in this process.
pub(crate) struct Local {
    pub(crate) embedded: Embedded,
    driver: Driver,
    bench: Workbench,
    ids: SnowflakeIds,
    interpreters: usize,
    watch: Arc<dyn Watch>,
}

/// Why the pumps stand still.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Stopped {
    /// The execution has ended.
    Ended(Status),
    /// Only these callbacks can carry it on, and nobody can call back here.
    Waiting(Vec<OpenWait>),
    /// The user wants no more.
    Interrupted,
}

/// The threads of a run.
///
/// # Errors
/// If the system gives none.
pub(crate) fn runtime() -> io::Result<Runtime> {
    let threads = available_parallelism().map_or(2, NonZero::get).clamp(2, THREADS_MAX);
    Builder::new_multi_thread().worker_threads(threads).enable_all().build()
}

impl Local {
    /// A runner on `embedded`, with the tools and credentials that the user allows.
    ///
    /// # Errors
    /// Invalid input: a credential file or a master key that cannot be used, an environment variable that is
    /// not set.
    pub(crate) fn new(
        embedded: Embedded,
        tools: &ToolArgs,
        watch: Arc<dyn Watch>,
    ) -> anyhow::Result<Self> {
        let credentials = Arc::new(Credentials::new(tools.secrets()?, &embedded)?);
        Self::with_secrets(embedded, tools, watch, credentials)
    }

    /// As [`Local::new`], with credentials from elsewhere.
    ///
    /// # Errors
    /// Invalid input: an environment variable that is not set.
    pub(crate) fn with_secrets(
        embedded: Embedded,
        tools: &ToolArgs,
        watch: Arc<dyn Watch>,
        secrets: Arc<dyn Secrets>,
    ) -> anyhow::Result<Self> {
        let cores = available_parallelism().map_or(1, NonZero::get);
        let interpreters = tools.workers.map_or(cores, usize::from);
        let env = tools.environment()?;
        let store = Arc::new(Watched::new(embedded.store.clone(), watch.clone()));
        let ports = Ports { store, ..embedded.ports() };
        let readers = Readers { store: ports.store.clone(), payloads: ports.payloads.clone() };
        let policy = HttpPolicy { guard: tools.guard };
        let python = PythonPool::new(&tools.python, interpreters);
        let bench = Workbench::new(ports.catalog.clone(), readers, ports.clock.clone(), "local");
        let bench = toolbox::equipped(bench, policy, python, secrets, env);
        let ids = SnowflakeIds::new(ports.clock.clone());
        let driver = Driver::new(ports);
        Ok(Self { embedded, driver, bench, ids, interpreters, watch })
    }

    /// Begins an execution; its first entry is written when the pumps run.
    ///
    /// # Errors
    /// Those of the queue.
    pub(crate) async fn start(&self, start: Start) -> Result<ExecutionId, PortError> {
        let id = self.ids.execution_id();
        let to = AggregateKey::Execution(id);
        let envelope =
            Envelope { id: InputId(format!("{to}:start")), to, input: Input::Start(start) };
        self.embedded.events.send(&[envelope]).await?;
        Ok(id)
    }

    /// Sends again whatever an execution waits for; how it stands, if there is such an execution.
    ///
    /// # Errors
    /// If the store cannot be read.
    pub(crate) async fn resume(&self, id: ExecutionId) -> anyhow::Result<Option<Status>> {
        Ok(self.driver.resume(id).await?)
    }

    /// Tells the step that gave out `token` what it waits for; why it counted for nothing, if it did.
    ///
    /// # Errors
    /// If the store cannot be read or written.
    pub(crate) async fn answer(
        &self,
        id: ExecutionId,
        token: &str,
        data: Value,
    ) -> anyhow::Result<Option<IgnoreReason>> {
        let mut to = AggregateKey::Execution(id);
        if let Some(asked) = loop_of(token) {
            let mut aggregates = self.embedded.store.aggregates(id).await?.into_iter();
            let found = aggregates.find(|key| match key {
                AggregateKey::Loop { event_id, .. } => *event_id == asked,
                AggregateKey::Execution(_) => false,
            });
            to = found.unwrap_or(to);
        }
        let input_id = InputId(format!("{to}:callback:{token}"));
        let input = Input::Callback { token: token.to_owned(), data: Payload::Inline(data) };
        let envelope = Envelope { id: input_id, to, input };
        let handled = self.driver.handle(&[Delivery { envelope, receive_count: 1 }]).await?;
        Ok(handled.ignored.first().map(|(_, reason)| *reason))
    }

    /// Runs until the execution ends, only callbacks can carry it on, or the user interrupts.
    ///
    /// # Errors
    /// If the store or a queue fails for good; what is committed stays, and can be resumed.
    pub(crate) async fn drive(
        self: &Arc<Self>,
        id: ExecutionId,
        playbook: &PlaybookRef,
    ) -> anyhow::Result<Stopped> {
        let playbook = self.embedded.catalog.playbook(playbook).await?;
        let mut interrupts = Interrupts::new()?;
        let mut pumps = Pumps::spawn(self, id, &self.kinds(&playbook).await?);
        let stopped = tokio::select! {
            stopped = pumps.run() => stopped,
            () = interrupts.next() => {
                self.watch.over();
                render::note(format_args!(
                    "interrupted: running calls have {} s to finish; interrupt again to stop at once",
                    GRACE.as_secs()
                ));
                pumps.stop_receiving();
                tokio::select! {
                    stopped = pumps.run() => stopped,
                    () = self.drained() => Ok(Stopped::Interrupted),
                    () = sleep(GRACE) => Ok(Stopped::Interrupted),
                    () = interrupts.next() => Ok(Stopped::Interrupted),
                }
            }
        };
        self.watch.over();
        self.embedded.close();
        // Whoever stays would keep the store open, and its lock.
        if timeout(GRACE, pumps.end()).await.is_err() {
            tracing::warn!("a call does not end; it is left behind");
        }
        stopped
    }

    /// Every kind of tool that may be called: those of the playbook, and of all others if it calls any.
    async fn kinds(&self, playbook: &Playbook) -> Result<BTreeSet<String>, PortError> {
        let mut kinds = worker::kinds::of(playbook);
        if !["playbook", "playbooks"].iter().any(|kind| kinds.contains(*kind)) {
            return Ok(kinds);
        }
        for version in self.embedded.catalog.list().await? {
            // One that cannot be read any more cannot be called either.
            if let Ok(other) = self.embedded.catalog.playbook(&version.reference).await {
                kinds.extend(worker::kinds::of(&other));
            }
        }
        Ok(kinds)
    }

    /// Returns when no call runs and every answer is committed.
    async fn drained(&self) {
        while !self.stands_still(|calls| calls.in_flight == 0) {
            sleep(GRACE_LOOK).await;
        }
    }

    /// Whether nothing happens before a time comes.
    fn is_idle(&self) -> bool {
        self.stands_still(|calls| calls.in_flight == 0 && calls.visible == 0)
    }

    /// Whether every answer is committed, and the calls of every kind of tool are as asked.
    fn stands_still(&self, calls_do: impl Fn(Counters) -> bool) -> bool {
        let commands = &self.embedded.commands;
        let calls_do =
            commands.kinds().into_iter().all(|kind| calls_do(commands.queue(&kind).counters()));
        let events = self.embedded.events.queue().counters();
        calls_do && events.in_flight == 0 && events.visible == 0
    }
}

/// The loop instance that a token belongs to: `{token}-{event id}-{index}`.
fn loop_of(token: &str) -> Option<EventId> {
    let mut parts = token.rsplitn(3, '-');
    let (index, event_id, rest) = (parts.next()?, parts.next()?, parts.next()?);
    let is_index = index.parse::<u64>().is_ok() && !rest.is_empty();
    event_id.parse().ok().filter(|_| is_index)
}

impl ToolArgs {
    /// The credentials of the files that the user names.
    ///
    /// # Errors
    /// Invalid input: a file that cannot be used.
    pub(crate) fn secrets(&self) -> anyhow::Result<FileSecrets> {
        let mut secrets = FileSecrets::default();
        for file in &self.credentials {
            secrets.add_file(file).map_err(invalid)?;
        }
        Ok(secrets)
    }

    /// The variables that templates may read: those that the user names, and secrets that are meant for them.
    fn environment(&self) -> anyhow::Result<BTreeMap<String, String>> {
        let read = |name: &String| match std::env::var(name) {
            _ if [KEY, KEY_FILE].contains(&name.as_str()) => {
                Err(invalid(anyhow!("`--env {name}`: the master key is for the store alone")))
            }
            Ok(value) => Ok((name.clone(), value)),
            Err(error) => Err(invalid(anyhow!("`--env {name}`: {error}"))),
        };
        let secrets = std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
            .filter(|(name, _)| name.starts_with(SECRET_PREFIX));
        let mut found: BTreeMap<String, String> = secrets.collect();
        found.extend(self.env.iter().map(read).collect::<anyhow::Result<Vec<_>>>()?);
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_names_the_loop_that_gave_it_out() {
        #[rustfmt::skip]
        let cases = [
            ("9f3a",          None),
            ("9f3a-17",       None),
            ("9f3a-17-x",     None),
            ("9f3a-x-3",      None),
            ("-17-3",         None),
            ("9f3a-17-3",     Some(EventId(17))),
            ("9-f-3a-17-3",   Some(EventId(17))),
        ];
        for (token, expect) in cases {
            assert_eq!(loop_of(token), expect, "{token}");
        }
    }
}
