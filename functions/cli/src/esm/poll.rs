//! One queue and its function: messages in, batches out, what is done deleted.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use anyhow::anyhow;
use engine_core::limits::{ESM_BACKOFF_MS, ESM_BACKOFF_MS_MAX, ESM_INVOCATION_MS_MAX};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use super::functions::{Functions, Trouble};
use super::message::{Message, Parcel, parcels};
use super::queue::Queue;
use super::report::{Happening, Watch};
use super::signals::Signals;
use super::verdict::Verdict;
use super::wanted::Mapping;

/// Polls one queue for one function.
pub(super) struct Poller {
    pub(super) mapping: Mapping,
    pub(super) queue: Queue,
    pub(super) functions: Functions,
    pub(super) watch: Arc<dyn Watch>,
}

impl Poller {
    /// Polls until somebody says stop, then waits for the batches that are out.
    pub(super) async fn run(self: Arc<Self>, mut signals: Signals) {
        let places = Arc::new(Semaphore::new(self.mapping.concurrency));
        let mut batches = JoinSet::new();
        loop {
            // First a place, then messages: what waits here would wait hidden from everybody else.
            let received = async {
                let place = places.clone().acquire_owned().await;
                (place, self.receive().await)
            };
            let Some((place, messages)) = signals.unless_stopped(received).await else { break };
            if !messages.is_empty() {
                let (poller, signals) = (self.clone(), signals.clone());
                batches.spawn(async move {
                    poller.handle(messages, &signals).await;
                    drop(place);
                });
            }
            while batches.try_join_next().is_some() {}
        }
        while batches.join_next().await.is_some() {}
    }

    /// Waits for messages, and for the queue if it is out of reach.
    async fn receive(&self) -> Vec<Message> {
        let mut backoff = Duration::from_millis(ESM_BACKOFF_MS);
        let mut is_lost = false;
        loop {
            let queue = || self.queue.name().to_owned();
            match self.queue.receive(self.mapping.batch).await {
                Ok(messages) => {
                    if is_lost {
                        self.watch.saw(&Happening::Reachable { queue: queue() });
                    }
                    return messages;
                }
                Err(error) if !is_lost => {
                    let problem = error.message().to_owned();
                    self.watch.saw(&Happening::Unreachable { queue: queue(), problem });
                    is_lost = true;
                }
                Err(_told_before) => {}
            }
            sleep(backoff).await;
            backoff = (backoff * 2).min(Duration::from_millis(ESM_BACKOFF_MS_MAX));
        }
    }

    /// Hands messages to the function until they are given out again.
    async fn handle(&self, messages: Vec<Message>, signals: &Signals) {
        let facts = &self.queue.facts;
        let ms = facts.visibility_ms.min(ESM_INVOCATION_MS_MAX);
        let deadline = Instant::now() + Duration::from_millis(ms);
        // Groups of which a message comes back: what follows it must not overtake.
        let mut blocked = BTreeSet::new();
        for mut parcel in parcels(messages, facts) {
            let is_free = |message: &Message| {
                message.group(facts).is_none_or(|group| !blocked.contains(group))
            };
            parcel.messages.retain(is_free);
            if parcel.messages.is_empty() {
                continue;
            }
            let Some(verdict) = self.judge(&parcel, deadline, signals).await else { return };
            let kept = verdict.kept.iter().filter_map(|at| parcel.messages[*at].group(facts));
            blocked.extend(kept.map(str::to_owned));
            let done: Vec<&Message> = verdict.done.iter().map(|at| &parcel.messages[*at]).collect();
            let undeleted = self.queue.delete(&done).await.err();
            self.watch.saw(&Happening::Batch {
                queue: self.queue.name().to_owned(),
                function: self.mapping.function.clone(),
                messages: parcel.messages.len(),
                done: done.len(),
                problem: verdict.problem.or(undeleted),
            });
        }
    }

    /// Invokes the function; none if it is not there, which ends everything.
    async fn judge(
        &self,
        parcel: &Parcel,
        deadline: Instant,
        signals: &Signals,
    ) -> Option<Verdict> {
        let (function, facts) = (&self.mapping.function, &self.queue.facts);
        match self.functions.deliver(function, parcel.event(facts), deadline).await {
            Ok(answer) => Some(Verdict::of(&answer, &parcel.messages, facts)),
            Err(trouble @ Trouble::Unknown(_)) => {
                signals.broken(anyhow!(trouble.tell(function)));
                None
            }
            Err(trouble) => Some(Verdict::failed(&parcel.messages, trouble.tell(function))),
        }
    }
}
