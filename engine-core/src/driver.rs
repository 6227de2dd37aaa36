//! Carries inputs to their durable consequences: load, decide, commit, send. Safe to repeat.
//!
//! The order is the correctness of the engine:
//!
//! 1. read the tail; 2. decide, loading what the decision touches; 3. store large values;
//! 4. commit one entry, on condition that it is the next; 5. send what the entry says;
//! 6. for inputs that were delivered before, send again what their entries left pending, judged by the
//!    state after the last read. Only then may the caller acknowledge.

mod again;
mod outbox;
mod wanted;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use tracing::debug;

pub use self::outbox::{Outbox, outbox};
use self::outbox::{still_pending, unwanted};

use crate::event::{Entry, Envelope, Fact, IgnoreReason, Input, Parent, Status};
use crate::ids::{AggregateKey, EventId, InputId, snowflake_floor};
use crate::limits::{
    CACHED_AGGREGATES_MAX, COMMIT_ATTEMPTS_MAX, LOADED_VALUES_MAX, LOADS_MAX, REDRIVE_ENTRIES,
};
use crate::load::{Readers, load};
use crate::payload::Payload;
use crate::playbook::{Playbook, PlaybookRef};
use crate::ports::{PortError, PortErrorKind, Ports, Tail};
use crate::state::State;
use crate::template::Loaded;
use crate::transition::{Moment, Needs, RuleCount, Transition, transition};

/// Aggregates of one execution that have event ids of their own in one millisecond.
const EVENT_ID_SHARDS: i64 = 1 << 5;
/// Event ids of each of them in one millisecond; more run over into the next.
const EVENT_IDS_PER_SHARD: i64 = 1 << 17;

/// One delivery of an input.
#[derive(Clone, Debug, PartialEq)]
pub struct Delivery {
    /// The input.
    pub envelope: Envelope,
    /// How often it was delivered, this time included.
    pub receive_count: u32,
}

/// What became of a batch.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Handled {
    /// The entry that was committed, if one was.
    pub seq: Option<u64>,
    /// Inputs that changed nothing, and why.
    pub ignored: Vec<(InputId, IgnoreReason)>,
    /// How the execution ended, if this batch ended it.
    pub ended: Option<Status>,
    /// How often rules were asked.
    pub rules: RuleCount,
}

/// Why inputs must stay on their queue.
#[derive(Debug, thiserror::Error)]
pub enum DriverError {
    /// A port did not do its part.
    #[error(transparent)]
    Port(#[from] PortError),
    /// Others kept committing first.
    #[error("`{0}` was changed by others {COMMIT_ATTEMPTS_MAX} times in a row; it stays queued")]
    Contended(AggregateKey),
    /// The decision asked for more and more values.
    #[error("a decision of `{0}` needs more than {LOADS_MAX} rounds of loading")]
    Loads(AggregateKey),
}

/// The driver of all aggregates of a process.
pub struct Driver {
    ports: Ports,
    readers: Readers,
    /// Values that recent decisions of an aggregate needed: they never change, so none can be stale.
    recent: Mutex<BTreeMap<AggregateKey, Arc<Loaded>>>,
}

impl Driver {
    /// A driver over `ports`.
    #[must_use]
    pub fn new(ports: Ports) -> Self {
        let readers =
            Readers { store: Arc::clone(&ports.store), payloads: Arc::clone(&ports.payloads) };
        Self { ports, readers, recent: Mutex::default() }
    }

    /// Folds a batch of inputs of one aggregate and sends what follows.
    ///
    /// # Errors
    /// [`DriverError`] if the batch must stay on its queue.
    pub async fn handle(&self, batch: &[Delivery]) -> Result<Handled, DriverError> {
        let Some(first) = batch.first() else { return Ok(Handled::default()) };
        let key = first.envelope.to.clone();
        let inputs: Vec<Envelope> = batch.iter().map(|one| one.envelope.clone()).collect();
        let mut unclear = false;
        for _ in 0..COMMIT_ATTEMPTS_MAX {
            let tail = self.ports.store.tail(&key).await?;
            let Some(decided) = self.decide(&key, tail.as_ref(), &inputs).await? else {
                self.decline(&key, &inputs).await?;
                return Ok(unknown(&inputs));
            };
            let Decided { transition, seq, at_ms, event_id } = decided;
            let (ignored, rules) = (transition.ignored.clone(), transition.rules);
            let mut handled = Handled { ignored, rules, ..Handled::default() };
            if !transition.facts.is_empty() {
                for blob in &transition.blobs {
                    self.ports.payloads.put(blob).await?;
                }
                handled.ended = ended(&transition.facts);
                let entry = Entry {
                    key: key.clone(),
                    seq,
                    at_ms,
                    event_id: EventId(event_id),
                    inputs: inputs.iter().map(|input| input.id.clone()).collect(),
                    facts: transition.facts,
                    state: transition.state,
                };
                if !self.commit(&entry, &mut unclear).await? {
                    continue;
                }
                handled.seq = Some(seq);
                if seq > 1 || self.is_wanted(&key, &inputs).await? {
                    self.send(outbox(&entry)).await?;
                } else {
                    // Who asked for it ended meanwhile, and the order to stop may have come too early.
                    self.send(Outbox { envelopes: vec![unwanted(&key)], ..Outbox::default() })
                        .await?;
                }
            }
            self.redrive(&key, batch, handled.seq, unclear).await?;
            return Ok(handled);
        }
        Err(DriverError::Contended(key))
    }

    /// Decides on the state of `tail`, loading what the decision touches.
    async fn decide(
        &self,
        key: &AggregateKey,
        tail: Option<&Tail>,
        inputs: &[Envelope],
    ) -> Result<Option<Decided>, DriverError> {
        let state = tail.map(|tail| &tail.state);
        if state.is_none() && !self.is_wanted(key, inputs).await? {
            return Ok(None);
        }
        let Some(reference) = state.map(playbook_of).or_else(|| begins(inputs)) else {
            return Ok(None);
        };
        let playbook: Arc<Playbook> = self.ports.catalog.playbook(&reference).await?;
        let seq = tail.map_or(1, |tail| tail.seq + 1);
        let at_ms = tail.map_or(i64::MIN, |tail| tail.at_ms).max(self.ports.clock.now_ms());
        let event_id = tail.map_or(1, |tail| tail.next_event_id).max(first_id(key, at_ms));
        let nonce = self.ports.ids.nonce()?;
        let mut playbooks = BTreeMap::new();
        let mut kept = self.recall(key);
        let mut loaded = Arc::clone(&kept);
        for _ in 0..LOADS_MAX {
            let playbook = &playbook;
            let moment =
                Moment { playbook, key, seq, at_ms, event_id, nonce, playbooks: &playbooks };
            match transition(&moment, state, inputs, &loaded) {
                Ok(Some(transition)) => {
                    self.keep(key, kept, &transition.state);
                    return Ok(Some(Decided { transition, seq, at_ms, event_id }));
                }
                Ok(None) => return Ok(None),
                Err(Needs { payloads, paths }) => {
                    for payload in &payloads {
                        let value = load(&self.readers, payload).await?;
                        Arc::make_mut(&mut loaded).insert(payload, &value);
                        if is_asked_again(key, payload) {
                            Arc::make_mut(&mut kept).insert(payload, &value);
                        }
                    }
                    for path in paths {
                        let newest = self.ports.catalog.newest(&path).await?;
                        playbooks.insert(path, newest);
                    }
                }
            }
        }
        Err(DriverError::Loads(key.clone()))
    }

    /// Commits; whether the entry is now in the log. A call without a clear answer is looked up.
    async fn commit(&self, entry: &Entry, unclear: &mut bool) -> Result<bool, DriverError> {
        match self.ports.store.commit(entry).await {
            Ok(()) => Ok(true),
            Err(error) if error.kind == PortErrorKind::Conflict => Ok(false),
            Err(error) if error.kind == PortErrorKind::Unavailable => {
                debug!(%error, key = %entry.key, seq = entry.seq, "commit without an answer");
                *unclear = true;
                let found = self.ports.store.entries(&entry.key, entry.seq, 1).await?;
                match found.first().filter(|found| found.seq == entry.seq) {
                    Some(found) => Ok(found.inputs == entry.inputs && found.facts == entry.facts),
                    None => Ok(false),
                }
            }
            Err(error) => Err(error.into()),
        }
    }

    async fn send(&self, outbox: Outbox) -> Result<(), DriverError> {
        if !outbox.commands.is_empty() {
            self.ports.commands.send(&outbox.commands).await?;
        }
        if !outbox.envelopes.is_empty() {
            self.ports.events.send(&outbox.envelopes).await?;
        }
        Ok(())
    }

    /// Sends again what redelivered inputs may have left unsent, or a write that came through late.
    async fn redrive(
        &self,
        key: &AggregateKey,
        batch: &[Delivery],
        mine: Option<u64>,
        unclear: bool,
    ) -> Result<(), DriverError> {
        let doubtful = |one: &&Delivery| unclear || one.receive_count > 1;
        let again: Vec<&Delivery> = batch.iter().filter(doubtful).collect();
        let ticks = batch.iter().any(|one| matches!(one.envelope.input, Input::Tick));
        let heard = batch.iter().find_map(|one| match &one.envelope.input {
            Input::LoopOpen(open) if mine != Some(1) => Some(open.heard),
            _ => None,
        });
        let asked: Vec<&Parent> = batch.iter().filter_map(asking).collect();
        let asked = if mine == Some(1) { asked.get(1..).unwrap_or_default() } else { &asked[..] };
        if again.is_empty() && !ticks && heard.is_none() && asked.is_empty() {
            return Ok(());
        }
        let Some(tail) = self.ports.store.tail(key).await? else { return Ok(()) };
        if !again.is_empty() {
            let from = (tail.seq + 1).saturating_sub(REDRIVE_ENTRIES as u64).max(1);
            let entries = self.ports.store.entries(key, from, REDRIVE_ENTRIES).await?;
            for entry in entries.iter().filter(|entry| Some(entry.seq) != mine) {
                if again.iter().any(|one| entry.inputs.contains(&one.envelope.id)) {
                    let found = still_pending(outbox(entry), &tail.state);
                    self.send(found).await?;
                }
            }
        }
        if ticks {
            self.ask_again(key, &tail.state).await?;
            self.stop_again(key, &tail.state).await?;
        }
        for parent in asked {
            self.tell_asking(key, &tail, parent).await?;
        }
        if let Some(heard) = heard {
            self.signal_again(key, heard).await?;
        }
        Ok(())
    }

    fn recall(&self, key: &AggregateKey) -> Arc<Loaded> {
        let recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        recent.get(key).cloned().unwrap_or_default()
    }

    fn keep(&self, key: &AggregateKey, loaded: Arc<Loaded>, state: &State) {
        let mut recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        if is_over(state) || loaded.len() > LOADED_VALUES_MAX {
            recent.remove(key);
            return;
        }
        if !loaded.is_empty() {
            recent.insert(key.clone(), loaded);
        }
        while recent.len() > CACHED_AGGREGATES_MAX {
            recent.pop_first();
        }
    }
}

/// A decision, and the entry that it will be.
struct Decided {
    transition: Transition,
    seq: u64,
    at_ms: i64,
    event_id: i64,
}

/// Whether later decisions of an aggregate may ask for a value too: in a loop the scope and the items, but
/// not what one iteration has done so far.
fn is_asked_again(key: &AggregateKey, payload: &Payload) -> bool {
    match (key, payload) {
        (AggregateKey::Loop { .. }, Payload::Log { seq, .. }) => *seq == 1,
        _ => true,
    }
}

/// The first event id of an aggregate in a millisecond: its own share of the ids of that time, so that an
/// execution and its loops do not give one id twice.
fn first_id(key: &AggregateKey, at_ms: i64) -> i64 {
    let shard = match key {
        AggregateKey::Execution(_) => 0,
        AggregateKey::Loop { event_id, .. } => 1 + event_id.0.rem_euclid(EVENT_ID_SHARDS - 1),
    };
    snowflake_floor(at_ms) + shard * EVENT_IDS_PER_SHARD + 1
}

fn playbook_of(state: &State) -> PlaybookRef {
    match state {
        State::Execution(state) => state.playbook.clone(),
        State::Loop(state) => state.playbook.clone(),
    }
}

fn is_over(state: &State) -> bool {
    match state {
        State::Execution(state) => state.status != Status::Running,
        State::Loop(state) => state.closed,
    }
}

/// The call that asks for a child execution.
fn asking(delivery: &Delivery) -> Option<&Parent> {
    match &delivery.envelope.input {
        Input::Start(start) => start.parent.as_ref(),
        _ => None,
    }
}

fn begins(inputs: &[Envelope]) -> Option<PlaybookRef> {
    inputs.iter().find_map(|envelope| match &envelope.input {
        Input::Start(start) => Some(start.playbook.clone()),
        Input::LoopOpen(open) => Some(open.playbook.clone()),
        _ => None,
    })
}

fn ended(facts: &[Fact]) -> Option<Status> {
    facts.iter().find_map(|fact| match fact {
        Fact::Finished { status, .. } => Some(*status),
        _ => None,
    })
}

fn unknown(inputs: &[Envelope]) -> Handled {
    let ignored = inputs.iter().map(|input| (input.id.clone(), IgnoreReason::Unknown)).collect();
    Handled { ignored, ..Handled::default() }
}
