//! A queue with the manners of SQS: at least once, visibility, receive counts, delays, dead letters.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use engine_core::limits::RECEIVES_MAX;

use super::rng::Rng;

/// Milliseconds for which a deduplicating queue remembers an id.
const REMEMBERED_MS: i64 = 300_000;
/// Messages that one receive returns at most.
const BATCH_MAX: usize = 10;

/// A queue.
#[derive(Debug)]
pub(crate) struct Queue<T> {
    messages: BTreeMap<u64, Message<T>>,
    last: u64,
    remembered: BTreeMap<String, i64>,
    manners: Manners,
}

/// How a queue behaves.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Manners {
    /// Milliseconds for which a received message is hidden.
    pub(crate) visibility_ms: i64,
    /// Whether a group has one batch out at a time, in order.
    pub(crate) fifo: bool,
    /// Whether copies within five minutes are dropped.
    pub(crate) deduplicates: bool,
    /// Whether the receipt of an earlier receive deletes nothing, as in SQS FIFO.
    pub(crate) fences: bool,
    /// Messages per receive, at most ten.
    pub(crate) batch: usize,
}

#[derive(Debug)]
struct Message<T> {
    body: Arc<T>,
    group: String,
    visible_ms: i64,
    receives: u32,
}

/// A received message.
#[derive(Clone, Debug)]
pub(crate) struct Received<T> {
    pub(crate) number: u64,
    pub(crate) receives: u32,
    pub(crate) body: Arc<T>,
}

/// What a receive found.
#[derive(Debug)]
pub(crate) struct Receipt<T> {
    pub(crate) batch: Vec<Received<T>>,
    /// Messages that were put aside.
    pub(crate) dead: Vec<Arc<T>>,
    /// Whether a younger message was taken while an older one was visible.
    pub(crate) overtaken: bool,
}

impl<T> Queue<T> {
    pub(crate) fn new(manners: Manners) -> Self {
        let (messages, remembered) = (BTreeMap::new(), BTreeMap::new());
        Self { messages, last: 0, remembered, manners }
    }

    /// Enqueues; returns false if it was taken for a copy and dropped.
    pub(crate) fn send(&mut self, body: &Arc<T>, id: &str, group: String, at: (i64, i64)) -> bool {
        let (now_ms, visible_ms) = at;
        if self.manners.deduplicates {
            let until = self.remembered.get(id).copied().unwrap_or(i64::MIN);
            if until > now_ms {
                return false;
            }
            self.remembered.insert(id.to_owned(), now_ms + REMEMBERED_MS);
        }
        self.last += 1;
        let message = Message { body: Arc::clone(body), group, visible_ms, receives: 0 };
        self.messages.insert(self.last, message);
        true
    }

    /// Takes a batch of one group, or one message of a queue without groups.
    pub(crate) fn receive(&mut self, now_ms: i64, rng: &mut Rng) -> Receipt<T> {
        let dead = self.bury(now_ms);
        let mut overtaken = false;
        let mut numbers = Vec::new();
        let open = self.open_messages(now_ms);
        if !open.is_empty() {
            let first = if self.manners.fifo {
                let groups: BTreeSet<&str> =
                    open.iter().map(|number| self.messages[number].group.as_str()).collect();
                let groups: Vec<&str> = groups.into_iter().collect();
                let group = *rng.pick(&groups);
                open.iter().copied().find(|number| self.messages[number].group == group)
            } else {
                Some(*rng.pick(&open))
            };
            if let Some(first) = first {
                overtaken = !self.manners.fifo && first != open[0];
                let group = self.messages[&first].group.clone();
                let more = open
                    .iter()
                    .copied()
                    .filter(|number| *number != first && self.messages[number].group == group);
                numbers.push(first);
                numbers.extend(more.take(self.manners.batch.min(BATCH_MAX) - 1));
            }
        }
        let batch = numbers.into_iter().filter_map(|number| self.take(number, now_ms)).collect();
        Receipt { batch, dead, overtaken }
    }

    fn take(&mut self, number: u64, now_ms: i64) -> Option<Received<T>> {
        let message = self.messages.get_mut(&number)?;
        message.receives += 1;
        message.visible_ms = now_ms + self.manners.visibility_ms;
        Some(Received { number, receives: message.receives, body: Arc::clone(&message.body) })
    }

    /// Visible messages, oldest first; in a queue with groups those of groups that have nothing out.
    fn open_messages(&self, now_ms: i64) -> Vec<u64> {
        let hidden = |message: &&Message<T>| message.visible_ms > now_ms && message.receives > 0;
        let busy: BTreeSet<&str> = if self.manners.fifo {
            self.messages.values().filter(hidden).map(|one| one.group.as_str()).collect()
        } else {
            BTreeSet::new()
        };
        let visible = self.messages.iter().filter(|(_, message)| {
            message.visible_ms <= now_ms && !busy.contains(message.group.as_str())
        });
        visible.map(|(number, _)| *number).collect()
    }

    fn bury(&mut self, now_ms: i64) -> Vec<Arc<T>> {
        let worn =
            |message: &Message<T>| message.visible_ms <= now_ms && message.receives >= RECEIVES_MAX;
        let numbers: Vec<u64> = self
            .messages
            .iter()
            .filter(|(_, message)| worn(message))
            .map(|(number, _)| *number)
            .collect();
        numbers.iter().filter_map(|number| self.messages.remove(number)).map(|m| m.body).collect()
    }

    /// Whether a receipt still deletes its message.
    pub(crate) fn honours(&self, received: &Received<T>) -> bool {
        let current = |message: &Message<T>| message.receives == received.receives;
        !self.manners.fences || self.messages.get(&received.number).is_some_and(current)
    }

    /// Deletes a received message.
    pub(crate) fn acknowledge(&mut self, received: &Received<T>) {
        if self.honours(received) {
            self.messages.remove(&received.number);
        }
    }

    /// Makes a received message visible again at `at_ms`.
    pub(crate) fn give_back(&mut self, received: &Received<T>, at_ms: i64) {
        if let Some(message) = self.messages.get_mut(&received.number)
            && message.receives == received.receives
        {
            message.visible_ms = at_ms;
        }
    }

    /// All messages, visible or not, with their numbers.
    pub(crate) fn bodies(&self) -> impl Iterator<Item = (u64, &T)> {
        self.messages.iter().map(|(number, message)| (*number, &*message.body))
    }

    /// The number of the message sent last.
    pub(crate) fn last(&self) -> u64 {
        self.last
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.messages.is_empty()
    }

    pub(crate) fn clear(&mut self) {
        self.messages.clear();
        self.remembered.clear();
    }

    pub(crate) fn visibility_ms(&self) -> i64 {
        self.manners.visibility_ms
    }
}
