//! `sweeper`: every minute, ticks for what may have been forgotten.
//!
//! One sweep looks at [`SWEEP_EXECUTIONS_MAX`] executions at most, oldest first. Where it stops, it says so,
//! and the next one of the same process goes on behind it; a new process begins with the oldest again.

use std::sync::{Arc, Mutex, PoisonError};

use adapters::clock::Timer;
use adapters::executions::Executions;
use adapters::lambda::{Function, Handler, Invocation, Refused, chain};
use adapters::telemetry::{Metric, Metrics};
use async_trait::async_trait;
use engine_core::event::Envelope;
use engine_core::ids::ExecutionId;
use engine_core::limits::{AWS_PARALLEL_MAX, SWEEP_EXECUTIONS_MAX, SWEEP_PAGE};
use engine_core::ports::{EventQueue, PortError, StateStore};
use futures_util::stream::{StreamExt as _, iter};
use serde_json::{Value, json};
use tokio::time::Instant;
use tracing::{info, warn};

use crate::handler::within;
use crate::overdue::ticks;

/// The function `sweeper`.
pub struct Sweeper {
    executions: Arc<dyn Executions>,
    store: Arc<dyn StateStore>,
    events: Arc<dyn EventQueue>,
    clock: Arc<dyn Timer>,
    metrics: Metrics,
    /// Where the last sweep stopped before the end of the list.
    after: Mutex<Option<i64>>,
}

/// What a sweep did.
#[derive(Debug, Default)]
struct Swept {
    executions: usize,
    ticks: usize,
    /// Executions that could not be looked at.
    failed: usize,
}

impl Sweeper {
    /// A sweeper over an account.
    #[must_use]
    pub fn new(function: Function) -> Self {
        let Function { aws, store, executions, metrics } = function;
        Self {
            executions,
            store,
            events: aws.events.clone(),
            clock: aws.clock.clone(),
            metrics,
            after: Mutex::default(),
        }
    }

    fn after(&self) -> Option<i64> {
        *self.after.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn stop_at(&self, after: Option<i64>) {
        *self.after.lock().unwrap_or_else(PoisonError::into_inner) = after;
    }

    /// The ticks of one execution. Where it cannot be looked at, the others go on.
    async fn look(&self, id: ExecutionId, now_ms: i64) -> Result<Vec<Envelope>, PortError> {
        let looked = ticks(&*self.store, id, now_ms).await;
        looked.inspect_err(|problem| {
            warn!(execution.id = %id, error = chain(problem), "the execution cannot be looked at");
        })
    }

    async fn sweep(&self, deadline: Option<Instant>, swept: &mut Swept) -> Result<(), PortError> {
        let is_late = || deadline.is_some_and(|deadline| deadline <= Instant::now());
        while swept.executions < SWEEP_EXECUTIONS_MAX && !is_late() {
            let page = self.executions.running(self.after(), SWEEP_PAGE).await?;
            let Some(last) = page.last() else {
                self.stop_at(None);
                return Ok(());
            };
            let now_ms = self.clock.now_ms();
            let ids: Vec<ExecutionId> = page.iter().map(|one| one.execution_id).collect();
            let looks = ids.into_iter().map(|id| self.look(id, now_ms));
            let looked: Vec<_> = iter(looks).buffered(AWS_PARALLEL_MAX).collect().await;
            swept.executions += looked.len();
            swept.failed += looked.iter().filter(|one| one.is_err()).count();
            let ticks: Vec<Envelope> = looked.into_iter().flatten().flatten().collect();
            self.events.send(&ticks).await?;
            swept.ticks += ticks.len();
            self.stop_at(Some(last.position));
        }
        Ok(())
    }
}

#[async_trait]
impl Handler for Sweeper {
    async fn handle(&self, invocation: Invocation) -> Result<Value, Refused> {
        let mut swept = Swept::default();
        let ended =
            within(invocation.deadline, Box::pin(self.sweep(invocation.deadline, &mut swept)));
        let ended = ended.await.transpose();
        let Swept { executions, ticks, failed } = swept;
        let is_cut = self.after().is_some();
        if is_cut {
            warn!(
                executions,
                "the sweep is not at the end of what runs; the next one goes on from here"
            );
        }
        info!(executions, ticks, failed, "swept");
        self.metrics.emit(
            self.clock.now_ms(),
            &[
                Metric::count("SweptExecutions", executions as u64),
                Metric::count("TicksSent", ticks as u64),
            ],
        );
        ended?;
        Ok(json!({"executions": executions, "ticks": ticks, "failed": failed, "is_cut": is_cut}))
    }
}
