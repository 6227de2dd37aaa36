//! `event-handler`: inputs from the queue of events, plain messages from the start queue, and calls.

use std::collections::BTreeMap;
use std::sync::Arc;

use adapters::aws::queue::{Inbox, SqsEvents, Undelivered};
use adapters::clock::Timer;
use adapters::lambda::sqs::{Message, again, messages};
use adapters::lambda::{Function, Handler, Invocation, Refused, chain};
use adapters::telemetry::{Metric, Metrics, Unit};
use async_trait::async_trait;
use engine_core::driver::{Delivery, Driver};
use engine_core::limits::{EVENT_RETRIES_S, POISON_RETRY_S};
use engine_core::ports::{PortError, PortErrorKind, Ports};
use futures_util::future::join_all;
use serde_json::{Value, json};
use tokio::time::Instant;
use tracing::{debug, error};

use super::counted::{Counted, Counts};
use super::start::Starter;
use crate::handler::{Folded, handle_batch, within};

/// How the name of the start queue ends.
const START_QUEUE: &str = "-start";

/// The function `event-handler`.
pub struct EventHandler {
    driver: Driver,
    inbox: Inbox,
    starter: Starter,
    events: Arc<SqsEvents>,
    clock: Arc<dyn Timer>,
    counts: Arc<Counts>,
    metrics: Metrics,
}

/// A message that must come again, and in how many seconds; none for its visibility timeout.
struct Failed<'a> {
    message: &'a Message,
    delay_s: Option<u32>,
}

impl EventHandler {
    /// A handler over an account.
    #[must_use]
    pub fn new(function: Function) -> Self {
        let Function { aws, store, metrics, .. } = function;
        let counts: Arc<Counts> = Arc::default();
        let store = Arc::new(Counted::new(store, counts.clone()));
        let driver = Driver::new(Ports { store, ..aws.ports() });
        let starter = Starter {
            catalog: aws.catalog.clone(),
            events: aws.events.clone(),
            ids: aws.ids.clone(),
        };
        let (inbox, events, clock) = (aws.inbox(), aws.events.clone(), aws.clock.clone());
        Self { driver, inbox, starter, events, clock, counts, metrics }
    }

    async fn batch(&self, messages: &[Message], deadline: Option<Instant>) -> Value {
        let (starts, inputs): (Vec<&Message>, Vec<&Message>) =
            messages.iter().partition(|message| message.queue().ends_with(START_QUEUE));
        let mut failed = self.fold(&inputs, deadline).await;
        self.release(&failed).await;
        failed.extend(self.start(&starts, deadline).await);
        again(failed.iter().map(|one| one.message.id.as_str()))
    }

    /// Folds inputs; returns those that must come again.
    async fn fold<'a>(&self, inputs: &[&'a Message], deadline: Option<Instant>) -> Vec<Failed<'a>> {
        let mut failed = Vec::new();
        let (mut read, mut deliveries) = (Vec::new(), Vec::new());
        // What failed first in a group holds all of it back.
        let mut held: BTreeMap<&str, Option<u32>> = BTreeMap::new();
        for message in inputs.iter().copied() {
            if let Some(delay_s) = message.group().and_then(|group| held.get(group)) {
                failed.push(Failed { message, delay_s: *delay_s });
                continue;
            }
            match self.read(message, deadline).await {
                Ok(delivery) => {
                    read.push(message);
                    deliveries.push(delivery);
                }
                Err(problem) => {
                    let delay_s = if problem.is_retryable() {
                        delay_s(message.receives())
                    } else {
                        Some(POISON_RETRY_S)
                    };
                    held.extend(message.group().map(|group| (group, delay_s)));
                    failed.push(Failed { message, delay_s });
                }
            }
        }
        let folded = Box::pin(handle_batch(&self.driver, deliveries, deadline)).await;
        let again = folded.again.iter().filter_map(|index| read.get(*index).copied());
        let again: Vec<&Message> = again.collect();
        self.tell(&read, &again, &folded);
        for message in again {
            let delay_s = delay_s(message.receives());
            let delay_s = match message.group() {
                Some(group) => *held.entry(group).or_insert(delay_s),
                None => delay_s,
            };
            failed.push(Failed { message, delay_s });
        }
        failed
    }

    /// Reads one message; why it cannot be is logged here.
    async fn read(
        &self,
        message: &Message,
        deadline: Option<Instant>,
    ) -> Result<Delivery, Undelivered> {
        let read = within(deadline, self.inbox.delivery(&message.record())).await;
        let read = read.unwrap_or_else(|| {
            let said = "there is no time left to read the message";
            Err(PortError::new(PortErrorKind::Unavailable, said).into())
        });
        read.inspect_err(|problem| {
            let group = message.group().unwrap_or_default();
            error!(
                error = chain(problem),
                message.id,
                message.group = group,
                message.receives = message.receives(),
                message.bytes = message.body.len(),
                "the message is not handled; it stays on its queue"
            );
        })
    }

    /// Makes messages visible sooner than their queue would. Where that fails they come back by themselves.
    async fn release(&self, failed: &[Failed<'_>]) {
        let releases = failed.iter().filter_map(|one| {
            let delay_s = one.delay_s?;
            Some(self.events.release(&one.message.receipt_handle, delay_s))
        });
        for released in join_all(releases).await {
            if let Err(problem) = released {
                debug!(error = chain(&problem), "a message waits for its visibility timeout");
            }
        }
    }

    /// Starts executions; returns the messages that must come again.
    async fn start<'a>(
        &self,
        starts: &[&'a Message],
        deadline: Option<Instant>,
    ) -> Vec<Failed<'a>> {
        let mut failed = Vec::new();
        for message in starts.iter().copied() {
            let started = self.starter.message(&message.id, &message.body);
            let cause = match within(deadline, Box::pin(started)).await {
                Some(Ok(_id)) => continue,
                Some(Err(refused)) => chain(&refused),
                None => "there is no time left".to_owned(),
            };
            error!(
                error = cause,
                message.id,
                message.receives = message.receives(),
                "nothing was started; the message stays on its queue"
            );
            failed.push(Failed { message, delay_s: None });
        }
        failed
    }

    /// Tells the metrics of a batch.
    fn tell(&self, read: &[&Message], again: &[&Message], folded: &Folded) {
        let now_ms = self.clock.now_ms();
        let done = read.iter().filter(|one| !again.iter().any(|other| std::ptr::eq(**one, *other)));
        let sent = done.filter_map(|message| message.sent_ms());
        let latencies = sent.map(|sent_ms| u64::try_from(now_ms - sent_ms).unwrap_or_default());
        let handled = read.len() - again.len();
        let Folded { ignored, rules, .. } = *folded;
        let latency =
            Metric { name: "EventLatency", unit: Unit::Milliseconds, values: latencies.collect() };
        let mut metrics = vec![
            latency,
            Metric::count("InputsApplied", handled.saturating_sub(ignored) as u64),
            Metric::count("InputsIgnored", ignored as u64),
            Metric::count("RulesEvaluated", rules.evaluated),
            Metric::count("RulesMatched", rules.matched),
        ];
        metrics.extend(self.counts.take());
        self.metrics.emit(now_ms, &metrics);
    }
}

#[async_trait]
impl Handler for EventHandler {
    async fn handle(&self, invocation: Invocation) -> Result<Value, Refused> {
        let Invocation { mut event, deadline } = invocation;
        match messages(&mut event)? {
            Some(messages) => Ok(self.batch(&messages, deadline).await),
            None => Ok(json!({"execution_id": self.starter.call(event).await?})),
        }
    }
}

/// Seconds after which an input that was not folded comes again; none for its visibility timeout.
fn delay_s(receives: u32) -> Option<u32> {
    let failures = usize::try_from(receives).unwrap_or(usize::MAX).saturating_sub(1);
    EVENT_RETRIES_S.get(failures).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn inputs_come_again_soon_at_first_and_then_at_their_queues_pace() {
        let delays = [0, 1, 2, 3, 4, 10].map(delay_s);
        assert_eq!(delays, [Some(1), Some(1), Some(3), Some(9), None, None]);
    }
}
