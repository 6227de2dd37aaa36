//! What all parts tell each other: stop, and that it cannot go on.

use std::future::Future;

use tokio::sync::{mpsc, watch};

/// One part's end of the line.
#[derive(Clone)]
pub(super) struct Signals {
    stop: watch::Receiver<bool>,
    broken: mpsc::Sender<anyhow::Error>,
}

/// The other end of all of them.
pub(super) struct Switchboard {
    stop: watch::Sender<bool>,
    broken: mpsc::Receiver<anyhow::Error>,
}

impl Switchboard {
    /// Both ends.
    pub(super) fn new() -> (Self, Signals) {
        let (stop, stopping) = watch::channel(false);
        // The first reason is enough.
        let (breaks, broken) = mpsc::channel(1);
        (Self { stop, broken }, Signals { stop: stopping, broken: breaks })
    }

    /// Tells everybody to stop.
    pub(super) fn stop(&self) {
        self.stop.send_replace(true);
    }

    /// Waits for a reason that nothing can go on; forever if there is none.
    pub(super) async fn broken(&mut self) -> anyhow::Error {
        match self.broken.recv().await {
            Some(error) => error,
            None => std::future::pending().await,
        }
    }
}

impl Signals {
    /// Returns when everything is to stop.
    pub(super) async fn stopped(&mut self) {
        // An error means that nobody can say so any more, which is a stop too.
        let _ = self.stop.wait_for(|stop| *stop).await;
    }

    /// The result of `work`; none if everything is to stop before.
    pub(super) async fn unless_stopped<T>(&mut self, work: impl Future<Output = T>) -> Option<T> {
        tokio::select! {
            biased;
            () = self.stopped() => None,
            result = work => Some(result),
        }
    }

    /// Tells that nothing can go on.
    pub(super) fn broken(&self, error: anyhow::Error) {
        // Full: somebody has said so before.
        let _ = self.broken.try_send(error);
    }
}
