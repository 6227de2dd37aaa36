//! Running whatever comes, until somebody says stop.

use std::future::IntoFuture as _;
use std::sync::Arc;
use std::time::Duration;

use adapters::executions::Executions as _;
use anyhow::Context as _;
use axum::Router;
use engine_core::limits::SERVE_GRACE_MS;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::time::{sleep, timeout};
use tracing::warn;

use super::pumps::Pumps;
use super::{GRACE, Interrupts, Local};
use crate::render::note;
use crate::serve::Waiting;

/// Executions that are resumed between two looks at the store.
const RESUMED_AT_ONCE: usize = 100;

impl Local {
    /// Serves `routes` and runs every execution of the store, until the user interrupts.
    ///
    /// # Errors
    /// If the system gives no signals, or the store cannot be read at the start.
    pub(crate) async fn serve(
        self: &Arc<Self>,
        listener: TcpListener,
        routes: Router,
        waiting: Arc<Waiting>,
    ) -> anyhow::Result<()> {
        let grace = Duration::from_millis(SERVE_GRACE_MS);
        let mut interrupts = Interrupts::new()?;
        let mut pumps = Pumps::spawn_all(self, &waiting);
        let resumed = self.resume_all().await?;
        if resumed > 0 {
            note(format_args!("resumed {resumed} executions that had not ended"));
        }
        let (stop, mut stopping) = watch::channel(false);
        let server = axum::serve(listener, routes).with_graceful_shutdown(async move {
            // An error means that this function is gone, which is a stop too.
            let _ = stopping.wait_for(|stop| *stop).await;
        });
        let mut server = tokio::spawn(server.into_future());
        let ended = tokio::select! {
            broken = pumps.run() => broken.map(|_stopped| ()),
            gone = &mut server => gone.context("the server crashed")?.context("the server ended"),
            () = interrupts.next() => {
                note(format_args!(
                    "stopping: running calls have {} s to finish; interrupt again to stop at once",
                    grace.as_secs()
                ));
                stop.send_replace(true);
                pumps.stop_receiving();
                let finished = async {
                    // Its last answers may wait for inputs that the pumps are handling.
                    let _ = (&mut server).await;
                    self.drained().await;
                };
                tokio::select! {
                    broken = pumps.run() => broken.map(|_stopped| ()),
                    () = finished => Ok(()),
                    () = sleep(grace) => Ok(()),
                    () = interrupts.next() => Ok(()),
                }
            }
        };
        server.abort();
        self.embedded.close();
        // Whoever stays would keep the store open, and its lock.
        if timeout(GRACE, pumps.end()).await.is_err() {
            warn!("a call does not end; it is left behind");
        }
        ended
    }

    /// Sends again what the executions of the store wait for; how many there are.
    async fn resume_all(&self) -> anyhow::Result<u64> {
        let (mut resumed, mut after) = (0, None);
        loop {
            let running = self.embedded.store.running(after, RESUMED_AT_ONCE).await?;
            for one in &running {
                match self.driver.resume(one.execution_id).await {
                    Ok(_) => resumed += 1,
                    // The others can go on.
                    Err(error) => warn!(
                        error = &error as &dyn std::error::Error,
                        execution.id = %one.execution_id,
                        "the execution cannot be resumed"
                    ),
                }
            }
            match running.last() {
                Some(last) => after = Some(last.position),
                None => return Ok(resumed),
            }
        }
    }
}
