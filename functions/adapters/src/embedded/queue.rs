//! Queues of one process that behave as SQS does: at least once, a visibility timeout, receive
//! counts, delays, groups in order, dead letters. Nothing is durable: the store is.

mod ledger;

use std::collections::BTreeMap;
use std::mem;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use engine_core::command::Command;
use engine_core::event::Envelope;
use engine_core::limits::{COMMAND_VISIBILITY_MS, EVENT_VISIBILITY_MS, RECEIVES_MAX};
use engine_core::ports::{CommandQueue, EventQueue, PortError, PortErrorKind};
use tokio::sync::Notify;

use self::ledger::Ledger;
use crate::clock::Timer;

/// Something to send.
#[derive(Clone, Debug)]
pub struct Message<T> {
    /// What is delivered.
    pub body: Arc<T>,
    /// Messages of one group are delivered in order, and none while another is in flight.
    pub group: Option<String>,
    /// Unix milliseconds before which it stays invisible; groups have no delays, as on SQS.
    pub not_before_ms: i64,
}

/// A message in the hands of a consumer, to delete before the visibility timeout ends.
#[derive(Clone, Debug)]
pub struct Delivery<T> {
    /// Names this delivery; void once the message is delivered again.
    pub receipt: Receipt,
    /// 1 for the first delivery.
    pub receive_count: u32,
    /// What was sent.
    pub body: Arc<T>,
}

/// One delivery of one message.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Receipt {
    id: u64,
    receive_count: u32,
}

/// A message that was delivered too often.
#[derive(Clone, Debug)]
pub struct DeadLetter<T> {
    /// What was sent.
    pub body: Arc<T>,
    /// How often it was delivered.
    pub receive_count: u32,
    /// What the last consumer said about it.
    pub cause: String,
}

/// How many messages a queue has seen, and where the present ones stand.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Counters {
    /// Ever sent.
    pub sent: u64,
    /// Ever delivered, each delivery once.
    pub received: u64,
    /// Ever deleted.
    pub deleted: u64,
    /// Ever put aside.
    pub dead: u64,
    /// Delivered, not yet deleted or visible again.
    pub in_flight: usize,
    /// Sent, not yet visible for the first time.
    pub delayed: usize,
    /// Waiting for a consumer or for their group.
    pub visible: usize,
}

/// What a queue does with what is not deleted.
#[derive(Clone, Copy, Debug)]
pub struct Redelivery {
    /// Milliseconds after which a delivered message becomes visible again.
    pub visibility_ms: i64,
    /// Deliveries after which a message is dead.
    pub receives_max: u32,
}

/// A queue of one process.
pub struct Queue<T> {
    timer: Arc<dyn Timer>,
    redelivery: Redelivery,
    shared: Mutex<Shared<T>>,
    arrived: Notify,
    died: Notify,
}

struct Shared<T> {
    ledger: Ledger<T>,
    is_closed: bool,
}

impl<T> Queue<T> {
    /// An empty queue.
    #[must_use]
    pub fn new(timer: Arc<dyn Timer>, redelivery: Redelivery) -> Self {
        let ledger = Ledger::new(redelivery.receives_max);
        let shared = Mutex::new(Shared { ledger, is_closed: false });
        Self { timer, redelivery, shared, arrived: Notify::new(), died: Notify::new() }
    }

    /// Takes all messages, or none.
    ///
    /// # Errors
    /// `Unavailable` if the queue is closed.
    pub fn send(&self, messages: impl IntoIterator<Item = Message<T>>) -> Result<(), PortError> {
        let now_ms = self.timer.now_ms();
        let mut shared = self.lock();
        if shared.is_closed {
            let message = "the queue is closed: the process is about to end";
            return Err(PortError::new(PortErrorKind::Unavailable, message));
        }
        for message in messages {
            shared.ledger.send(message, now_ms);
        }
        drop(shared);
        self.arrived.notify_one();
        Ok(())
    }

    /// Waits for messages and returns 1 to `max` of them, or none once the queue is closed.
    pub async fn receive(&self, max: usize) -> Vec<Delivery<T>> {
        self.wait_for(max, false).await
    }

    /// As [`Queue::receive`], but a message of a group comes with others of that group only.
    pub async fn receive_group(&self, max: usize) -> Vec<Delivery<T>> {
        self.wait_for(max, true).await
    }

    async fn wait_for(&self, max: usize, one_group: bool) -> Vec<Delivery<T>> {
        loop {
            // Made before the look, so that what arrives in between is not missed.
            let arrived = self.arrived.notified();
            let next_due_ms = match self.look(max, one_group) {
                Ok(taken) => return taken,
                Err(next_due_ms) => next_due_ms,
            };
            // Another consumer may sleep without a time because this one watches the clock: if this
            // one is dropped in its sleep, that other must take over.
            let watch = PassOn(&self.arrived);
            match next_due_ms {
                Some(due_ms) => tokio::select! {
                    () = arrived => {}
                    () = self.timer.until(due_ms) => {}
                },
                None => arrived.await,
            }
            mem::forget(watch);
        }
    }

    /// Takes what is visible, or returns when something will be.
    fn look(&self, max: usize, one_group: bool) -> Result<Vec<Delivery<T>>, Option<i64>> {
        let now_ms = self.timer.now_ms();
        let mut shared = self.lock();
        if shared.is_closed {
            return Ok(Vec::new());
        }
        shared.ledger.wake(now_ms);
        let hidden_until_ms = now_ms.saturating_add(self.redelivery.visibility_ms);
        let taken = shared.ledger.take(max.max(1), one_group, hidden_until_ms);
        if shared.ledger.has_dead() {
            self.died.notify_one();
        }
        if taken.is_empty() {
            return Err(shared.ledger.next_due_ms());
        }
        // What is left is for the next consumer; so is the clock, now that this one stops watching
        // it.
        if shared.ledger.has_ready() || shared.ledger.next_due_ms().is_some() {
            self.arrived.notify_one();
        }
        Ok(taken)
    }

    /// Deletes what was delivered; a receipt that is void changes nothing.
    pub fn delete(&self, receipts: impl IntoIterator<Item = Receipt>) {
        let mut shared = self.lock();
        for receipt in receipts {
            shared.ledger.delete(receipt);
        }
        // The end of a group's batch makes its next messages visible.
        if shared.ledger.has_ready() {
            self.arrived.notify_one();
        }
    }

    /// Makes a delivered message visible again in `ms` milliseconds from now; 0 for at once.
    pub fn change_visibility(&self, receipt: Receipt, ms: i64) {
        self.hide(receipt, ms, None);
    }

    /// As [`Queue::change_visibility`], with the reason that a dead letter shows.
    pub fn release(&self, receipt: Receipt, ms: i64, cause: &str) {
        self.hide(receipt, ms, Some(cause));
    }

    fn hide(&self, receipt: Receipt, ms: i64, cause: Option<&str>) {
        let due_ms = self.timer.now_ms().saturating_add(ms.max(0));
        self.lock().ledger.hide_until(receipt, due_ms, cause);
        self.arrived.notify_one();
    }

    /// Waits for a message that was delivered too often; none once the queue is closed.
    pub async fn dead_letter(&self) -> Option<DeadLetter<T>> {
        loop {
            let died = self.died.notified();
            {
                let mut shared = self.lock();
                if let Some(letter) = shared.ledger.pop_dead() {
                    if shared.ledger.has_dead() {
                        self.died.notify_one();
                    }
                    return Some(letter);
                }
                if shared.is_closed {
                    return None;
                }
            }
            died.await;
        }
    }

    /// Ends all waiting; whatever was not delivered is forgotten with the queue.
    pub fn close(&self) {
        self.lock().is_closed = true;
        self.arrived.notify_waiters();
        self.died.notify_waiters();
    }

    /// What the queue has seen, and what it holds.
    #[must_use]
    pub fn counters(&self) -> Counters {
        let now_ms = self.timer.now_ms();
        let mut shared = self.lock();
        shared.ledger.wake(now_ms);
        shared.ledger.counters()
    }

    fn lock(&self) -> MutexGuard<'_, Shared<T>> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Wakes another consumer when the one that watches the clock goes away.
struct PassOn<'a>(&'a Notify);

impl Drop for PassOn<'_> {
    fn drop(&mut self) {
        self.0.notify_one();
    }
}

/// The event queue: one group per aggregate.
pub struct Events {
    queue: Queue<Envelope>,
}

impl Events {
    /// An empty queue.
    #[must_use]
    pub fn new(timer: Arc<dyn Timer>) -> Self {
        let redelivery =
            Redelivery { visibility_ms: EVENT_VISIBILITY_MS, receives_max: RECEIVES_MAX };
        Self { queue: Queue::new(timer, redelivery) }
    }

    /// The consumer's side.
    #[must_use]
    pub fn queue(&self) -> &Queue<Envelope> {
        &self.queue
    }
}

#[async_trait]
impl EventQueue for Events {
    async fn send(&self, envelopes: &[Envelope]) -> Result<(), PortError> {
        self.queue.send(envelopes.iter().map(|envelope| Message {
            group: Some(envelope.to.to_string()),
            body: Arc::new(envelope.clone()),
            not_before_ms: 0,
        }))
    }
}

/// The command queues: one per tool kind, made when it is first named.
pub struct Commands {
    timer: Arc<dyn Timer>,
    by_kind: Mutex<ByKind>,
}

#[derive(Default)]
struct ByKind {
    queues: BTreeMap<String, Arc<Queue<Command>>>,
    is_closed: bool,
}

impl Commands {
    /// No queues yet.
    #[must_use]
    pub fn new(timer: Arc<dyn Timer>) -> Self {
        Self { timer, by_kind: Mutex::default() }
    }

    /// The queue of a tool kind.
    #[must_use]
    pub fn queue(&self, tool_kind: &str) -> Arc<Queue<Command>> {
        let mut by_kind = self.lock();
        if let Some(queue) = by_kind.queues.get(tool_kind) {
            return queue.clone();
        }
        let redelivery =
            Redelivery { visibility_ms: COMMAND_VISIBILITY_MS, receives_max: RECEIVES_MAX };
        let queue = Arc::new(Queue::new(self.timer.clone(), redelivery));
        if by_kind.is_closed {
            queue.close();
        }
        by_kind.queues.insert(tool_kind.to_owned(), queue.clone());
        queue
    }

    /// The tool kinds that have a queue.
    #[must_use]
    pub fn kinds(&self) -> Vec<String> {
        self.lock().queues.keys().cloned().collect()
    }

    /// Closes every queue, also those that are not made yet.
    pub fn close(&self) {
        let mut by_kind = self.lock();
        by_kind.is_closed = true;
        for queue in by_kind.queues.values() {
            queue.close();
        }
    }

    fn lock(&self) -> MutexGuard<'_, ByKind> {
        self.by_kind.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl CommandQueue for Commands {
    async fn send(&self, commands: &[Command]) -> Result<(), PortError> {
        commands.iter().try_for_each(|command| {
            self.queue(&command.tool_kind).send([Message {
                body: Arc::new(command.clone()),
                group: None,
                not_before_ms: command.not_before_ms,
            }])
        })
    }
}

#[cfg(test)]
mod tests;
