//! Pumps of a server: for every execution, and one that breaks does not stop the others.

use std::collections::BTreeSet;
use std::sync::Arc;

use adapters::executions::Executions as _;
use engine_core::playbook::support::KINDS_RUN;
use engine_core::ports::EventQueue as _;
use event_handler::overdue::ticks;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::sleep;
use tracing::{error, warn};

use super::{
    BATCH_INPUTS_MAX, DeadLetter, Delivery, EVENT_PUMPS, Local, PortError, Pumps, SWEEP_EVERY,
    chain, delivery, handle_group, pump_commands, pumps_of, put_back,
};
use crate::serve::Waiting;

/// Executions that are swept between two looks at the store.
const SWEPT_AT_ONCE: usize = 100;

impl Pumps {
    /// Begins to pump for every execution; `waiting` is told what became of inputs.
    pub(in crate::local) fn spawn_all(local: &Arc<Local>, waiting: &Arc<Waiting>) -> Self {
        let mut tasks = JoinSet::new();
        let (_stopped, stopped) = watch::channel(None);
        let settled = Arc::default();
        let (stop, stopping) = watch::channel(false);
        for _ in 0..EVENT_PUMPS {
            tasks.spawn(pump_events(local.clone(), waiting.clone()));
        }
        let kinds: BTreeSet<&str> = KINDS_RUN.into_iter().chain(local.bench.kinds()).collect();
        for kind in kinds {
            for _ in 0..pumps_of(local, kind) {
                let (local, settled) = (local.clone(), Arc::clone(&settled));
                tasks.spawn(pump_commands(local, settled, kind.to_owned(), stopping.clone()));
            }
            let (local, kind) = (local.clone(), kind.to_owned());
            tasks.spawn(async move {
                let queue = local.embedded.commands.queue(&kind);
                while let Some(letter) = queue.dead_letter().await {
                    report(&format!("command `{}`", letter.body.id), &letter);
                }
                Ok(())
            });
        }
        let events = local.clone();
        tasks.spawn(async move {
            while let Some(letter) = events.embedded.events.queue().dead_letter().await {
                report(&format!("input `{}`", letter.body.id), &letter);
            }
            Ok(())
        });
        tasks.spawn(sweep(local.clone()));
        Self { tasks, stopped, stop }
    }
}

/// What is lost here is noticed by the sweep, or sent again at the next start.
fn report<T>(what: &str, letter: &DeadLetter<T>) {
    let (times, cause) = (letter.receive_count, &letter.cause);
    error!("{what} was delivered {times} times in vain and is put aside: {cause}");
}

/// Folds batches of events until the queue closes.
async fn pump_events(local: Arc<Local>, waiting: Arc<Waiting>) -> anyhow::Result<()> {
    let queue = local.embedded.events.queue();
    loop {
        let received = queue.receive_group(BATCH_INPUTS_MAX).await;
        if received.is_empty() {
            return Ok(());
        }
        let deliveries: Vec<Delivery> = received.iter().map(delivery).collect();
        match handle_group(&local.driver, &deliveries).await {
            Ok(handled) => {
                queue.delete(received.iter().map(|one| one.receipt));
                waiting.handled(&deliveries, &handled);
            }
            Err(error) => put_back(queue, &received, &error),
        }
    }
}

/// Looks for overdue commands of all executions from time to time.
async fn sweep(local: Arc<Local>) -> anyhow::Result<()> {
    loop {
        sleep(SWEEP_EVERY).await;
        if let Err(error) = tick_all(&local).await {
            warn!("overdue commands were not looked for: {}", chain(&error));
        }
    }
}

async fn tick_all(local: &Local) -> Result<(), PortError> {
    let mut after = None;
    loop {
        let running = local.embedded.store.running(after, SWEPT_AT_ONCE).await?;
        for one in &running {
            let now_ms = local.embedded.clock.now_ms();
            let ticks = ticks(&*local.embedded.store, one.execution_id, now_ms).await?;
            local.embedded.events.send(&ticks).await?;
        }
        match running.last() {
            Some(last) => after = Some(last.position),
            None => return Ok(()),
        }
    }
}
