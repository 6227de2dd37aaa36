//! Carries inputs to their durable consequences: load, decide, commit, send. Safe to repeat.
//!
//! The order is the correctness of the engine:
//!
//! 1. read the tail; 2. decide, loading what the decision touches; 3. store large values;
//! 4. commit one entry, on condition that it is the next; 5. send what the entry says;
//! 6. for inputs that were delivered before, send again what their entries left pending, judged by the
//!    state after the last read. Only then may the caller acknowledge.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};

use tracing::debug;

use crate::command::Command;
use crate::event::{
    Closing, Entry, Envelope, Fact, IgnoreReason, Input, LoopOpen, LoopSignal, Signal, Status,
};
use crate::ids::{AggregateKey, EventId, ExecutionId, InputId, snowflake_floor};
use crate::limits::{
    CACHED_AGGREGATES_MAX, COMMIT_ATTEMPTS_MAX, LOADED_VALUES_MAX, LOADS_MAX, REDRIVE_ENTRIES,
};
use crate::load::{Readers, load};
use crate::payload::{LoopSummary, Payload};
use crate::playbook::{Playbook, PlaybookRef};
use crate::ports::{PortError, PortErrorKind, Ports, Tail};
use crate::state::{LoopState, State, Waits};
use crate::template::Loaded;
use crate::transition::{Issued, Moment, Needs, Transition, frame_command, transition};

/// Entries read at a time when the signals of a loop are sent again.
const SIGNAL_PAGE_ENTRIES: usize = 256;

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
            let mut handled = Handled { ignored: transition.ignored.clone(), ..Handled::default() };
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
                if seq > 1 || self.is_wanted(&key).await? {
                    self.send(outbox(&entry)).await?;
                } else {
                    // Its execution ended meanwhile, and its order to stop may have come too early.
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
        if state.is_none() && !self.is_wanted(key).await? {
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
        let mut loaded = self.recall(key);
        for _ in 0..LOADS_MAX {
            let playbook = &playbook;
            let moment =
                Moment { playbook, key, seq, at_ms, event_id, nonce, playbooks: &playbooks };
            match transition(&moment, state, inputs, &loaded) {
                Ok(Some(transition)) => {
                    self.keep(key, loaded, &transition.state);
                    return Ok(Some(Decided { transition, seq, at_ms, event_id }));
                }
                Ok(None) => return Ok(None),
                Err(Needs { payloads, paths }) => {
                    for payload in &payloads {
                        let value = load(&self.readers, payload).await?;
                        Arc::make_mut(&mut loaded).insert(payload, &value);
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

    /// Whether something may begin under `key`: an execution always, a loop while its run waits for it.
    ///
    /// Asked before and after the first commit of a loop: an execution that stops in between has sent its
    /// order to stop either after that commit, or the second look sees it.
    async fn is_wanted(&self, key: &AggregateKey) -> Result<bool, DriverError> {
        let execution = key.execution();
        if *key == execution {
            return Ok(true);
        }
        Ok(match self.ports.store.tail(&execution).await? {
            Some(Tail { state: State::Execution(state), .. }) => {
                state.failure.is_none() && state.run_of_loop(key).is_some()
            }
            _ => false,
        })
    }

    /// Tells a failing execution that a loop it waits for will never begin.
    async fn decline(&self, key: &AggregateKey, inputs: &[Envelope]) -> Result<(), DriverError> {
        let asked = inputs.iter().find_map(|envelope| match &envelope.input {
            Input::LoopOpen(open) => Some(open.collection_size),
            _ => None,
        });
        let Some(skipped) = asked else { return Ok(()) };
        match self.ports.store.tail(&key.execution()).await? {
            Some(Tail { state: State::Execution(state), .. })
                if state.run_of_loop(key).is_some() =>
            {
                Ok(self.ports.events.send(&[never_began(key, skipped)]).await?)
            }
            _ => Ok(()),
        }
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
        if again.is_empty() && !ticks && heard.is_none() {
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
            self.open_again(&tail.state).await?;
            self.stop_again(key, &tail.state).await?;
        }
        if let Some(heard) = heard {
            self.signal_again(key, heard).await?;
        }
        Ok(())
    }

    /// Asks again for the loops that an execution waits for: the message, or their answer, may be lost.
    async fn open_again(&self, state: &State) -> Result<(), DriverError> {
        let State::Execution(state) = state else { return Ok(()) };
        for run in state.runs.values() {
            let Waits::Loop { key, issued_seq, heard, .. } = &run.waits else { continue };
            let found = self.ports.store.entries(&key.execution(), *issued_seq, 1).await?;
            let facts = found.iter().flat_map(|entry| &entry.facts);
            let open = facts.filter_map(|fact| match fact {
                Fact::LoopRequested { key: of, open, .. } if of == key => Some(open),
                _ => None,
            });
            let envelopes: Vec<Envelope> = open
                .map(|open| opening(key, LoopOpen { heard: *heard, ..(**open).clone() }))
                .collect();
            self.ports.events.send(&envelopes).await?;
        }
        Ok(())
    }

    /// Stops a loop that nobody wants any more: the order to stop may be lost.
    async fn stop_again(&self, key: &AggregateKey, state: &State) -> Result<(), DriverError> {
        match state {
            State::Loop(state) if !state.stopped && !state.closed => {
                if !self.is_wanted(key).await? {
                    self.ports.events.send(&[unwanted(key)]).await?;
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// Sends a loop's signals above number `heard` again.
    async fn signal_again(&self, key: &AggregateKey, heard: u64) -> Result<(), DriverError> {
        let mut from = 1;
        loop {
            let entries = self.ports.store.entries(key, from, SIGNAL_PAGE_ENTRIES).await?;
            let facts = entries.iter().flat_map(|entry| &entry.facts);
            let signals = facts.filter(
                |fact| matches!(fact, Fact::SignalSent { signal } if signal.number > heard),
            );
            let envelopes: Vec<Envelope> = signals.filter_map(|fact| message(key, fact)).collect();
            if !envelopes.is_empty() {
                self.ports.events.send(&envelopes).await?;
            }
            match entries.last() {
                Some(last) if entries.len() == SIGNAL_PAGE_ENTRIES => from = last.seq + 1,
                _ => return Ok(()),
            }
        }
    }

    /// Sends everything again that an execution has pending, after its queues were lost.
    ///
    /// Returns how the execution stands; none if there is no such execution.
    ///
    /// # Errors
    /// Those of the ports.
    pub async fn resume(&self, execution_id: ExecutionId) -> Result<Option<Status>, DriverError> {
        let key = AggregateKey::Execution(execution_id);
        let Some(Tail { state: State::Execution(state), .. }) = self.ports.store.tail(&key).await?
        else {
            return Ok(None);
        };
        // Several runs may wait for commands of one entry; it is sent once.
        let mut issuing = BTreeSet::new();
        for run in state.runs.values() {
            match &run.waits {
                Waits::Command { issued_seq, .. } => {
                    issuing.insert(*issued_seq);
                }
                Waits::Loop { key: of, .. } => {
                    if let Some(tail) = self.ports.store.tail(of).await? {
                        let commands = frames(of, &tail.state);
                        self.send(Outbox { commands, ..Outbox::default() }).await?;
                    }
                }
                Waits::Nothing => {}
            }
        }
        for seq in issuing {
            for entry in &self.ports.store.entries(&key, seq, 1).await? {
                let state = State::Execution(state.clone());
                self.send(still_pending(outbox(entry), &state)).await?;
            }
        }
        self.open_again(&State::Execution(state.clone())).await?;
        Ok(Some(state.status))
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

/// What an entry causes elsewhere.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Outbox {
    /// For workers.
    pub commands: Vec<Command>,
    /// For other aggregates.
    pub envelopes: Vec<Envelope>,
}

/// What an entry causes elsewhere: it follows from the facts, so that it need not be stored.
#[must_use]
pub fn outbox(entry: &Entry) -> Outbox {
    let mut outbox = Outbox::default();
    for fact in &entry.facts {
        match (fact, &entry.state) {
            (Fact::CommandIssued { command, unit, .. }, _) => {
                // A unit is plain data: it always has a JSON form.
                let json = |unit| serde_json::to_value(unit).unwrap_or_default();
                let unit = unit.as_deref().map(json).map(Payload::Inline);
                outbox.commands.push(Command { unit, ..(**command).clone() });
            }
            (fact @ Fact::FrameIssued { .. }, State::Loop(state)) => {
                outbox.commands.extend(frame_of(&entry.key, state, fact));
            }
            _ => outbox.envelopes.extend(message(&entry.key, fact)),
        }
    }
    outbox
}

/// The command of a frame that a fact sent out.
fn frame_of(key: &AggregateKey, state: &LoopState, fact: &Fact) -> Option<Command> {
    let Fact::FrameIssued {
        first, len, attempt, not_before_ms, tool_kind, call, site, unit, ..
    } = fact
    else {
        return None;
    };
    let frame = Issued {
        first: *first,
        len: *len,
        attempt: *attempt,
        not_before_ms: *not_before_ms,
        call: *call,
        site: *site,
        tool_kind: tool_kind.clone(),
        unit: unit.clone(),
    };
    Some(frame_command(key, state, &frame))
}

/// The message that a fact causes.
fn message(key: &AggregateKey, fact: &Fact) -> Option<Envelope> {
    match fact {
        Fact::LoopRequested { key, open, .. } => Some(opening(key, (**open).clone())),
        Fact::SignalSent { signal } => Some(Envelope {
            id: InputId(format!("{key}:signal:{}", signal.number)),
            to: key.execution(),
            input: Input::LoopSignal(signal.clone()),
        }),
        Fact::StopSent { key, reason } => Some(Envelope {
            id: InputId(format!("{key}:stop")),
            to: key.clone(),
            input: Input::Cancel { reason: reason.clone() },
        }),
        _ => None,
    }
}

fn opening(key: &AggregateKey, open: LoopOpen) -> Envelope {
    let id = InputId(format!("{key}:open"));
    Envelope { id, to: key.clone(), input: Input::LoopOpen(Box::new(open)) }
}

fn unwanted(key: &AggregateKey) -> Envelope {
    let reason = "the execution ended before the loop began".to_owned();
    let id = InputId(format!("{key}:unwanted"));
    Envelope { id, to: key.clone(), input: Input::Cancel { reason } }
}

/// The first and last signal of a loop that has no log.
fn never_began(key: &AggregateKey, skipped: u64) -> Envelope {
    let summary = LoopSummary { key: key.clone(), total: 0, failed: 0 };
    let closing = Closing { summary, errors: Vec::new(), handled: 0, skipped };
    let signal = LoopSignal { from: key.clone(), number: 1, signal: Signal::Closed(closing) };
    let id = InputId(format!("{key}:declined"));
    Envelope { id, to: key.execution(), input: Input::LoopSignal(signal) }
}

/// What of an outbox is still awaited; messages always are, for their receivers know copies.
fn still_pending(outbox: Outbox, state: &State) -> Outbox {
    let Outbox { mut commands, envelopes } = outbox;
    commands.retain(|command| match state {
        State::Execution(state) => state
            .run_of_command(&command.id)
            .is_some_and(|(_, _, attempt)| attempt == command.attempt),
        State::Loop(state) => state.pending.iter().any(|frame| {
            let first = command.frame.as_ref().map(|frame| frame.first);
            Some(frame.first) == first && frame.attempt == command.attempt
        }),
    });
    Outbox { commands, envelopes }
}

/// The commands of all frames that a loop has out.
fn frames(key: &AggregateKey, state: &State) -> Vec<Command> {
    let State::Loop(state) = state else { return Vec::new() };
    let frames = state.pending.iter().map(|frame| {
        let (first, len, attempt) = (frame.first, frame.len, frame.attempt);
        let not_before_ms = state.not_before_ms(frame);
        let plain = Issued::plain(first, len, attempt, state.tool_kind.clone());
        frame_command(key, state, &Issued { not_before_ms, ..plain })
    });
    frames.collect()
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
