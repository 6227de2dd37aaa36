//! Where each message of a queue stands. Pure: the time is a parameter. Every step is O(log n).

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::Arc;

use super::{Counters, DeadLetter, Delivery, Message, Receipt};

/// All messages, each in exactly one place: ready, waiting in its group, or due later.
pub(super) struct Ledger<T> {
    messages: HashMap<u64, Held<T>>,
    groups: HashMap<String, Group>,
    /// Messages without a group, and the first of each group that is not blocked; oldest first.
    ready: BTreeSet<u64>,
    /// Delayed ones and those in flight, by the time when they become visible.
    later: BTreeSet<(i64, u64)>,
    dead: VecDeque<DeadLetter<T>>,
    counters: Counters,
    receives_max: u32,
}

struct Held<T> {
    body: Arc<T>,
    group: Option<String>,
    receive_count: u32,
    /// Its place in `later`, if it is there.
    due_ms: Option<i64>,
    is_in_flight: bool,
    cause: Option<String>,
}

/// One message batch of a group is in flight at a time; the others wait in the order of sending.
#[derive(Default)]
struct Group {
    waiting: BTreeSet<u64>,
    in_flight: usize,
}

impl<T> Ledger<T> {
    pub(super) fn new(receives_max: u32) -> Self {
        Self {
            messages: HashMap::new(),
            groups: HashMap::new(),
            ready: BTreeSet::new(),
            later: BTreeSet::new(),
            dead: VecDeque::new(),
            counters: Counters::default(),
            receives_max,
        }
    }

    pub(super) fn send(&mut self, message: Message<T>, now_ms: i64) {
        let id = self.counters.sent;
        self.counters.sent += 1;
        let due_ms =
            Some(message.not_before_ms).filter(|due| *due > now_ms && message.group.is_none());
        match (&message.group, due_ms) {
            (Some(group), _) => {
                self.groups.entry(group.clone()).or_default().waiting.insert(id);
            }
            (None, Some(due_ms)) => {
                self.later.insert((due_ms, id));
                self.counters.delayed += 1;
            }
            (None, None) => {
                self.ready.insert(id);
            }
        }
        let group = message.group.clone();
        let held = Held {
            body: message.body,
            group: message.group,
            receive_count: 0,
            due_ms,
            is_in_flight: false,
            cause: None,
        };
        self.messages.insert(id, held);
        self.settle(group.as_deref());
    }

    /// Makes everything visible whose time has come.
    pub(super) fn wake(&mut self, now_ms: i64) {
        while let Some(&(due_ms, id)) = self.later.first() {
            if due_ms > now_ms {
                return;
            }
            self.later.pop_first();
            self.show(id);
        }
    }

    fn show(&mut self, id: u64) {
        let Some(held) = self.messages.get_mut(&id) else { return };
        held.due_ms = None;
        if std::mem::take(&mut held.is_in_flight) {
            self.counters.in_flight -= 1;
        } else {
            self.counters.delayed -= 1;
        }
        let group = held.group.clone();
        match group.as_deref().and_then(|name| self.groups.get_mut(name)) {
            Some(group) => {
                group.in_flight -= 1;
                group.waiting.insert(id);
            }
            None => {
                self.ready.insert(id);
            }
        }
        self.settle(group.as_deref());
    }

    /// Lets a group that is no longer blocked offer its first message, and forgets an empty one.
    fn settle(&mut self, group: Option<&str>) {
        let Some(name) = group else { return };
        let Some(group) = self.groups.get(name) else { return };
        if group.in_flight > 0 {
            return;
        }
        match group.waiting.first() {
            Some(first) => {
                self.ready.insert(*first);
            }
            None => {
                self.groups.remove(name);
            }
        }
    }

    /// Takes up to `max` visible messages, oldest first; with `one_group`, of one group only.
    pub(super) fn take(
        &mut self,
        max: usize,
        one_group: bool,
        hidden_until_ms: i64,
    ) -> Vec<Delivery<T>> {
        let mut taken = Vec::new();
        while taken.len() < max
            && let Some(first) = self.ready.pop_first()
        {
            let group = self.messages.get(&first).and_then(|held| held.group.clone());
            match &group {
                None => taken.extend(self.deliver(first, hidden_until_ms)),
                Some(name) => {
                    while taken.len() < max
                        && let Some(group) = self.groups.get_mut(name)
                        && let Some(id) = group.waiting.pop_first()
                    {
                        taken.extend(self.deliver(id, hidden_until_ms));
                    }
                }
            }
            self.settle(group.as_deref());
            if one_group && group.is_some() && !taken.is_empty() {
                break;
            }
        }
        taken
    }

    /// Hands a message out, or puts it aside as dead when it was handed out often enough.
    fn deliver(&mut self, id: u64, hidden_until_ms: i64) -> Option<Delivery<T>> {
        let held = self.messages.get_mut(&id)?;
        if held.receive_count >= self.receives_max {
            self.bury(id);
            return None;
        }
        held.receive_count += 1;
        held.is_in_flight = true;
        held.due_ms = Some(hidden_until_ms);
        self.later.insert((hidden_until_ms, id));
        if let Some(group) = held.group.as_deref().and_then(|name| self.groups.get_mut(name)) {
            group.in_flight += 1;
        }
        self.counters.received += 1;
        self.counters.in_flight += 1;
        let receive_count = held.receive_count;
        let receipt = Receipt { id, receive_count };
        Some(Delivery { receipt, receive_count, body: held.body.clone() })
    }

    fn bury(&mut self, id: u64) {
        let Some(held) = self.messages.remove(&id) else { return };
        let cause = held.cause.unwrap_or_else(|| {
            format!("received {} times and never acknowledged", held.receive_count)
        });
        self.counters.dead += 1;
        self.dead.push_back(DeadLetter {
            body: held.body,
            receive_count: held.receive_count,
            cause,
        });
    }

    /// Forgets a message for good, unless it was handed out again since.
    pub(super) fn delete(&mut self, receipt: Receipt) {
        if !self.is_current(receipt) {
            return;
        }
        let Some(held) = self.messages.remove(&receipt.id) else { return };
        self.counters.deleted += 1;
        self.ready.remove(&receipt.id);
        if let Some(due_ms) = held.due_ms {
            self.later.remove(&(due_ms, receipt.id));
        }
        if let Some(group) = held.group.as_deref().and_then(|name| self.groups.get_mut(name)) {
            group.waiting.remove(&receipt.id);
            group.in_flight -= usize::from(held.is_in_flight);
        }
        self.counters.in_flight -= usize::from(held.is_in_flight);
        self.settle(held.group.as_deref());
    }

    /// Moves the time when a message in flight becomes visible again.
    pub(super) fn hide_until(&mut self, receipt: Receipt, due_ms: i64, cause: Option<&str>) {
        if !self.is_current(receipt) {
            return;
        }
        let Some(held) = self.messages.get_mut(&receipt.id) else { return };
        if let Some(cause) = cause {
            held.cause = Some(cause.to_owned());
        }
        if held.is_in_flight
            && let Some(before_ms) = held.due_ms.replace(due_ms)
        {
            self.later.remove(&(before_ms, receipt.id));
            self.later.insert((due_ms, receipt.id));
        }
    }

    pub(super) fn pop_dead(&mut self) -> Option<DeadLetter<T>> {
        self.dead.pop_front()
    }

    fn is_current(&self, receipt: Receipt) -> bool {
        self.messages
            .get(&receipt.id)
            .is_some_and(|held| held.receive_count == receipt.receive_count)
    }

    pub(super) fn has_ready(&self) -> bool {
        !self.ready.is_empty()
    }

    pub(super) fn has_dead(&self) -> bool {
        !self.dead.is_empty()
    }

    /// When something becomes visible next without anybody's doing.
    pub(super) fn next_due_ms(&self) -> Option<i64> {
        self.later.first().map(|(due_ms, _)| *due_ms)
    }

    pub(super) fn counters(&self) -> Counters {
        let hidden = self.counters.in_flight + self.counters.delayed;
        Counters { visible: self.messages.len() - hidden, ..self.counters }
    }
}
