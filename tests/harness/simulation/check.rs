//! What must hold after every committed entry, every call of a tool, every message and every
//! acknowledgement. Keeps its own books, so that a broken store cannot fool it.

mod fact;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use engine_core::command::Command;
use engine_core::driver::outbox;
use engine_core::event::{
    Answer, Entry, Envelope, Fact, Input, LoopOpen, Outcome, Parent, Start, Status,
};
use engine_core::ids::{AggregateKey, CommandId, EventId, ExecutionId, InputId};
use engine_core::limits::{LOOP_STATE_BYTES_MAX, REDRIVE_ENTRIES};
use engine_core::payload::LoopSummary;
use engine_core::project::event_span;
use engine_core::state::{At, LoopState, PendingFrame, State, Waits};

use super::fault::Fault;
use super::queue::Received;
use super::tool::PROOF;
use super::world::Carried;

/// Bytes of an item of `DynamoDB`, the narrowest store of entries.
const ENTRY_BYTES_MAX: usize = 400 << 10;

/// An invariant that did not hold.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Violation {
    /// Such as `I-7`.
    pub invariant: &'static str,
    /// What was found.
    pub detail: String,
}

impl Violation {
    pub(crate) fn new(invariant: &'static str, detail: impl Into<String>) -> Self {
        Self { invariant, detail: detail.into() }
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.invariant, self.detail)
    }
}

/// Fails with a violation unless a condition holds.
macro_rules! ensure {
    ($holds:expr, $invariant:literal, $($detail:tt)+) => {
        if !$holds {
            return Err(Violation::new($invariant, format!($($detail)+)));
        }
    };
}
pub(crate) use ensure;

/// What is known of one aggregate, apart from the store.
#[derive(Debug, Default)]
struct Chain {
    state: Option<State>,
    seq: u64,
    at_ms: i64,
    next_event_id: i64,
    /// Iterations that have their outcome.
    settled: BTreeSet<u64>,
    /// Attempts of commands whose answers counted.
    answered: BTreeSet<(CommandId, u32)>,
    /// What was said last about each run and iteration that is open.
    calls: BTreeMap<(EventId, Option<u64>), Progress>,
    /// Step entries.
    runs: BTreeSet<EventId>,
    /// Step entries whose loop is done.
    done: BTreeSet<EventId>,
    over: bool,
}

/// Where the calls of a run or an iteration stand.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Progress {
    /// The call, from 1.
    call: u32,
    /// Its attempt.
    attempt: u32,
    stands: Stands,
    /// Whether it is one of a rule or a sink, not of the step's tool or list.
    aside: bool,
    /// The last attempt of the tool or list.
    tried: u32,
    /// Unix milliseconds before which it cannot end by itself.
    until_ms: Option<i64>,
}

/// What was said last about a call.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Stands {
    Out,
    Answered,
    /// The next call follows.
    Continued,
    /// The same call follows.
    Retried,
}

/// A child execution as its parent asked for it.
#[derive(Debug)]
struct Request {
    start: Start,
    /// What it told its parent.
    told: Option<Outcome>,
}

/// A command as a committed entry asked for it.
#[derive(Debug)]
struct Issue {
    key: AggregateKey,
    seq: u64,
    inputs: Vec<InputId>,
    not_before_ms: i64,
    sends: u64,
    /// Whether sending it is up to a process that takes the execution up again.
    resumed: bool,
    /// Who ran it.
    workers: BTreeSet<String>,
}

/// The books.
#[derive(Debug, Default)]
pub(crate) struct Checks {
    chains: BTreeMap<AggregateKey, Chain>,
    issued: BTreeMap<(CommandId, u32), Issue>,
    requested: BTreeMap<AggregateKey, LoopOpen>,
    closed: BTreeMap<AggregateKey, LoopSummary>,
    children: BTreeMap<ExecutionId, Request>,
    /// The child that each call of a playbook asked for.
    child_of: BTreeMap<(CommandId, u32), ExecutionId>,
    sent: BTreeSet<(AggregateKey, InputId)>,
    redeliveries: BTreeMap<(AggregateKey, InputId), u64>,
    /// Writes without an answer: two authors of equal entries may both take one for theirs, and whoever
    /// was left without an answer looks what else its batch may have left unsent.
    silences: BTreeMap<AggregateKey, u64>,
    /// Aggregates that have begun and not ended.
    pub(crate) open: BTreeSet<AggregateKey>,
    /// Messages that are gone for good.
    pub(crate) lost: u64,
    /// Processes that took up executions again.
    pub(crate) resumes: u64,
    /// Event handlers that slept until others had done their work.
    pub(crate) sleepers: u64,
    pub(crate) commits: u64,
    pub(crate) calls: u64,
}

impl Checks {
    /// I-16: sizes of what is stored.
    pub(crate) fn sizes(entry: &Entry, bytes: &[u8]) -> Result<(), Violation> {
        let (key, seq) = (&entry.key, entry.seq);
        ensure!(bytes.len() <= ENTRY_BYTES_MAX, "I-16", "{key} #{seq} has {} bytes", bytes.len());
        if let State::Loop(_) = &entry.state {
            let state = serde_json::to_string(&entry.state).unwrap_or_default();
            let size = state.len();
            ensure!(size <= LOOP_STATE_BYTES_MAX, "I-16", "state of {key} #{seq}: {size} bytes");
            ensure!(!state.contains(PROOF), "I-16", "the state of {key} #{seq} holds a result");
        }
        Ok(())
    }

    /// An entry was written: every law of logs and states. Returns situations that it met, too.
    pub(crate) fn committed(
        &mut self,
        entry: &Entry,
        carried: &Carried<'_>,
    ) -> (Vec<Fault>, Result<(), Violation>) {
        self.commits += 1;
        let mut chain = self.chains.remove(&entry.key).unwrap_or_default();
        let mut met = Vec::new();
        let result = self.fold(&mut chain, entry, carried, &mut met);
        if chain.over {
            self.open.remove(&entry.key);
        } else {
            self.open.insert(entry.key.clone());
        }
        self.chains.insert(entry.key.clone(), chain);
        for command in outbox(entry).commands {
            let issue = Issue {
                key: entry.key.clone(),
                seq: entry.seq,
                inputs: entry.inputs.clone(),
                not_before_ms: command.not_before_ms,
                sends: 0,
                resumed: false,
                workers: BTreeSet::new(),
            };
            self.issued.insert((command.id, command.attempt), issue);
        }
        (met, result)
    }

    fn fold(
        &mut self,
        chain: &mut Chain,
        entry: &Entry,
        carried: &Carried<'_>,
        met: &mut Vec<Fault>,
    ) -> Result<(), Violation> {
        let Entry { key, seq, .. } = entry;
        ensure!(*seq == chain.seq + 1, "I-6", "{key}: #{seq} is written after #{}", chain.seq);
        ensure!(entry.at_ms >= chain.at_ms, "I-6", "{key} #{seq} is older than the one before");
        let (first, free) = (entry.event_id.0, chain.next_event_id);
        ensure!(first >= free, "I-6", "{key} #{seq} uses event id {first} again");
        ensure!(!entry.facts.is_empty(), "I-6", "{key} #{seq} says nothing");
        ensure!(!chain.over, "I-2", "{key} #{seq} comes after the end");
        chain.seq = *seq;
        chain.at_ms = entry.at_ms;
        chain.next_event_id = first + i64::try_from(event_span(&entry.facts)).unwrap_or(0);
        for (fact, number) in entry.facts.iter().zip(0..) {
            self.fact(chain, entry, fact, carried, met)?;
            let at = At { key, seq: *seq, at_ms: entry.at_ms, fact: number };
            match &mut chain.state {
                Some(state) => state.apply(fact, &at),
                None => chain.state = State::begin(fact, &at),
            }
        }
        let Some(state) = &mut chain.state else {
            return Err(Violation::new("I-7", format!("{key} #{seq} begins nothing")));
        };
        state.fold(entry.inputs.len() as u64);
        ensure!(*state == entry.state, "I-7", "{key} #{seq}: the state is not the fold of the log");
        if let State::Loop(state) = state {
            let (out, window) = (state.pending.len() as u64, state.max_in_flight);
            ensure!(out <= window, "I-4", "{key} #{seq} has {out} commands out of {window}");
            ensure!(state.completed_count() <= state.collection_size, "I-4", "{key} #{seq}");
        }
        chain.over = is_over(state);
        Ok(())
    }

    /// A command is enqueued: never before its entry, and not too often.
    pub(crate) fn sent_command(&mut self, command: &Command) -> Result<(), Violation> {
        let Command { id, attempt, .. } = command;
        let Some(issue) = self.issued.get_mut(&(id.clone(), *attempt)) else {
            let detail = format!("{id} attempt {attempt} is sent and no entry asks for it");
            return Err(Violation::new("I-8", detail));
        };
        issue.sends += 1;
        let again = issue.inputs.iter().filter_map(|input| {
            self.redeliveries.get(&(issue.key.clone(), input.clone())).copied()
        });
        let silences = self.silences.get(&issue.key).copied().unwrap_or(0);
        let allowed = 1 + again.sum::<u64>() + silences + self.resumes;
        let sends = issue.sends;
        ensure!(
            sends <= allowed,
            "I-12",
            "{id} attempt {attempt} is sent {sends} times; redeliveries explain {allowed}"
        );
        Ok(())
    }

    /// A write of an entry goes unanswered.
    pub(crate) fn silenced(&mut self, entry: &Entry) {
        *self.silences.entry(entry.key.clone()).or_default() += 1;
    }

    pub(crate) fn sent_event(&mut self, envelope: &Envelope) {
        self.sent.insert((envelope.to.clone(), envelope.id.clone()));
    }

    pub(crate) fn redelivered(&mut self, envelope: &Envelope) {
        let input = (envelope.to.clone(), envelope.id.clone());
        *self.redeliveries.entry(input).or_default() += 1;
    }

    /// A tool is called.
    pub(crate) fn called(
        &mut self,
        command: &Command,
        worker: &str,
        now_ms: i64,
    ) -> Result<(), Violation> {
        self.calls += 1;
        let Command { id, attempt, .. } = command;
        let Some(issue) = self.issued.get_mut(&(id.clone(), *attempt)) else {
            let detail = format!("{id} attempt {attempt} runs and no entry asks for it");
            return Err(Violation::new("I-8", detail));
        };
        issue.workers.insert(worker.to_owned());
        let early_ms = issue.not_before_ms - now_ms;
        ensure!(early_ms <= 0, "P-11", "{id} attempt {attempt} runs {early_ms} ms too early");
        Ok(())
    }

    fn ran(&self, id: &CommandId, attempt: u32, worker: &str) -> Result<(), Violation> {
        let issue = self.issued.get(&(id.clone(), attempt));
        let known = issue.is_some_and(|issue| issue.workers.contains(worker));
        ensure!(known, "I-13", "`{worker}` never ran {id} attempt {attempt}, whose answer counts");
        Ok(())
    }

    /// Whether something is still under way that leads to an answer to this command.
    fn is_carried(&self, id: &CommandId, attempt: u32, c: &Carried<'_>, but: Option<u64>) -> bool {
        let issue = self.issued.get(&(id.clone(), attempt));
        let queued = |command: &Command| command.id == *id && command.attempt == attempt;
        c.commands.bodies().any(|(_, command)| queued(command))
            || c.events.bodies().any(|(number, envelope)| match &envelope.input {
                _ if Some(number) == but => false,
                Input::Answer(answer) if answer.command_id == *id && answer.attempt == attempt => {
                    true
                }
                _ => issue.is_some_and(|issue| {
                    issue.key == envelope.to && issue.inputs.contains(&envelope.id)
                }),
            })
    }

    /// The entry that asked for an attempt of a command.
    pub(crate) fn place(&self, id: &CommandId, attempt: u32) -> Option<(&AggregateKey, u64)> {
        let issue = self.issued.get(&(id.clone(), attempt))?;
        Some((&issue.key, issue.seq))
    }

    /// The queues are lost: what was in them is for the next process to send again.
    pub(crate) fn forgotten(&mut self) {
        self.lost += 1;
        for issue in self.issued.values_mut() {
            issue.resumed = true;
        }
    }

    /// Commands of an execution and of its children that are awaited and that nothing under way will ever
    /// answer.
    pub(crate) fn orphans(&self, of: ExecutionId, carried: &Carried<'_>) -> Vec<String> {
        let mut orphans = Vec::new();
        let open = self
            .chains
            .iter()
            .filter(|(key, chain)| self.belongs(key, of) && !chain.over && self.is_wanted(key));
        for (key, chain) in open {
            for (id, attempt) in chain.state.iter().flat_map(|state| awaited(key, state)) {
                let child = self.child_of.get(&(id.clone(), attempt));
                let runs = child.is_some_and(|child| self.is_under_way(*child, carried));
                if !runs && !self.is_carried(&id, attempt, carried, None) {
                    orphans.push(format!("{id} attempt {attempt}"));
                }
            }
        }
        orphans
    }

    /// Whether an aggregate is of an execution, or of one that it waits for, and wanted all the way.
    fn belongs(&self, key: &AggregateKey, of: ExecutionId) -> bool {
        let id = key.execution_id();
        let execution = key.execution();
        let runs = self.chains.get(&execution).is_some_and(|chain| !chain.over);
        let parent = self.children.get(&id).and_then(|request| request.start.parent.as_ref());
        let above = parent.is_some_and(|parent| {
            parent.waits && self.is_wanted(&execution) && self.belongs(&parent.key, of)
        });
        runs && self.is_wanted(key) && (id == of || above)
    }

    /// Whether a child runs, or will as soon as a message is received.
    fn is_under_way(&self, child: ExecutionId, carried: &Carried<'_>) -> bool {
        let key = AggregateKey::Execution(child);
        let runs = self.chains.get(&key).is_some_and(|chain| !chain.over);
        let starts =
            |envelope: &Envelope| envelope.to == key && matches!(envelope.input, Input::Start(_));
        runs || carried.events.bodies().any(|(_, envelope)| starts(envelope))
    }

    /// I-15: an input is acknowledged when its effects are durable, and what they cause is sent.
    pub(crate) fn acknowledged(
        &self,
        received: &Received<Envelope>,
        log: &BTreeMap<AggregateKey, Vec<Entry>>,
        carried: &Carried<'_>,
    ) -> Result<(), Violation> {
        let Envelope { id, to, input } = &*received.body;
        // Whoever opens a loop looks afterwards whether it had to stop meanwhile.
        let opened = self.chains.get(to).is_some_and(|chain| chain.seq == 1);
        let early = matches!(input, Input::Cancel { .. }) && opened;
        let moot = early || !self.awaits(&received.body);
        ensure!(moot, "I-15", "{to} still awaits {id}, acknowledged");
        let recent = log.get(to).into_iter().flatten().rev().take(REDRIVE_ENTRIES);
        // A tick may have an effect when a sleeper wakes up with it, long after its message is gone: then
        // the next deadline takes care. Every request for a loop has the same name, and begins only one.
        let caused = |entry: &&Entry| match input {
            Input::Tick => false,
            Input::LoopOpen(_) => entry.seq == 1,
            _ => entry.inputs.contains(id) && !entry.facts.iter().any(|fact| ignores(fact, id)),
        };
        for entry in recent.filter(caused) {
            self.sent_all(entry, received, carried)?;
        }
        Ok(())
    }

    fn sent_all(
        &self,
        entry: &Entry,
        received: &Received<Envelope>,
        carried: &Carried<'_>,
    ) -> Result<(), Violation> {
        let Entry { key, seq, .. } = entry;
        if *seq == 1 && !self.is_wanted(key) {
            return Ok(());
        }
        let Some(state) = self.chains.get(key).and_then(|chain| chain.state.as_ref()) else {
            return Ok(());
        };
        let pending: BTreeSet<(CommandId, u32)> = awaited(key, state).into_iter().collect();
        let out = outbox(entry);
        for Command { id, attempt, .. } in &out.commands {
            let issue = self.issued.get(&(id.clone(), *attempt));
            let sent = issue.is_some_and(|issue| issue.sends > 0 || issue.resumed);
            let moot = !pending.contains(&(id.clone(), *attempt));
            let ok = sent || moot || self.is_carried(id, *attempt, carried, Some(received.number));
            ensure!(
                ok,
                "I-15",
                "{key} #{seq} is acknowledged, and its {id} attempt {attempt} was never sent"
            );
        }
        let later = |envelope: &&Envelope| {
            let mut others = carried.events.bodies();
            others.any(|(number, other)| {
                number != received.number
                    && (other.id == envelope.id
                        || (other.to == *key && entry.inputs.contains(&other.id)))
            })
        };
        for envelope in out.envelopes.iter().filter(|envelope| !later(envelope)) {
            let sent = self.sent.contains(&(envelope.to.clone(), envelope.id.clone()));
            ensure!(
                sent || !self.awaits(envelope),
                "I-15",
                "{key} #{seq} is acknowledged, and its {} to {} was never sent",
                envelope.id,
                envelope.to
            );
        }
        Ok(())
    }

    fn state(&self, key: &AggregateKey) -> Option<&State> {
        self.chains.get(key).and_then(|chain| chain.state.as_ref())
    }

    fn is_wanted(&self, key: &AggregateKey) -> bool {
        if *key == key.execution() {
            let request = self.children.get(&key.execution_id());
            let parent = request.and_then(|request| request.start.parent.as_ref());
            return parent.is_none_or(|parent| !parent.waits || self.is_asked_for(parent));
        }
        match self.state(&key.execution()) {
            Some(State::Execution(state)) => {
                state.failure.is_none() && state.run_of_loop(key).is_some()
            }
            _ => false,
        }
    }

    /// Whether the call that asked for a child still waits for it.
    fn is_asked_for(&self, parent: &Parent) -> bool {
        let Some(state) = self.state(&parent.key) else { return false };
        let stops = match state {
            State::Execution(state) => state.failure.is_some(),
            State::Loop(state) => state.stopped,
        };
        let call = (parent.command_id.clone(), parent.attempt);
        !stops && awaited(&parent.key, state).contains(&call)
    }

    /// Whether an input would still change something.
    fn awaits(&self, envelope: &Envelope) -> bool {
        let state = self.state(&envelope.to);
        match (&envelope.input, state) {
            (Input::Start(_) | Input::LoopOpen(_), None) => self.is_wanted(&envelope.to),
            (Input::Callback { token, .. }, Some(State::Execution(state))) => {
                state.runs.values().any(|run| {
                    run.unit.as_ref().is_some_and(|unit| unit.token.as_ref() == Some(token))
                })
            }
            (Input::Answer(answer), Some(state)) => {
                let pending = awaited(&envelope.to, state);
                pending.contains(&(answer.command_id.clone(), answer.attempt))
            }
            (Input::LoopSignal(signal), Some(State::Execution(state))) => {
                state.status == Status::Running
                    && state.run_of_loop(&signal.from).is_some_and(|(_, run)| match &run.waits {
                        Waits::Loop { heard, ahead, .. } => {
                            signal.number > *heard && !ahead.contains(&signal.number)
                        }
                        _ => false,
                    })
            }
            (Input::Cancel { .. }, Some(State::Execution(state))) => {
                state.status == Status::Running
            }
            (Input::Cancel { .. }, Some(State::Loop(state))) => !state.stopped && !state.closed,
            _ => false,
        }
    }

    /// I-14: loops and children that still go on so long after whoever asked has lost interest.
    pub(crate) fn unstopped(&self, patience_ms: i64, now_ms: i64) -> Vec<&AggregateKey> {
        let going = |(key, chain): &(&AggregateKey, &Chain)| match &chain.state {
            Some(State::Loop(state)) => {
                let lost_ms = self.chains.get(&key.execution()).map_or(now_ms, |one| one.at_ms);
                let open = !state.stopped && !state.closed && !self.is_wanted(key);
                open && lost_ms + patience_ms < now_ms
            }
            Some(State::Execution(state)) if state.status == Status::Running => {
                let parent = state.parent.as_ref().and_then(|parent| self.chains.get(&parent.key));
                let lost_ms = parent.map_or(now_ms, |one| one.at_ms);
                !self.is_wanted(key) && lost_ms + patience_ms < now_ms
            }
            _ => false,
        };
        self.chains.iter().filter(going).map(|(key, _)| key).collect()
    }
}

fn ignores(fact: &Fact, id: &InputId) -> bool {
    matches!(fact, Fact::Ignored { input, .. } if input == id)
}

/// The commands that a state waits for.
pub(crate) fn awaited(key: &AggregateKey, state: &State) -> Vec<(CommandId, u32)> {
    match state {
        State::Execution(state) => {
            let waits = state.runs.values().filter_map(|run| match &run.waits {
                Waits::Command { id, attempt, .. } => Some((id.clone(), *attempt)),
                _ => None,
            });
            waits.collect()
        }
        State::Loop(state) => {
            let frames = state.pending.iter();
            frames.map(|one| (frame_id(key, one.first, one.call), one.attempt)).collect()
        }
    }
}

/// The command of a frame, spelled again: if the engine spells it otherwise, answers no longer match.
fn frame_id(key: &AggregateKey, first: u64, call: u32) -> CommandId {
    let id = match key {
        AggregateKey::Loop { execution_id, step, event_id } => {
            format!("{execution_id}:{step}:{event_id}:{first}")
        }
        AggregateKey::Execution(id) => format!("{id}:{first}"),
    };
    numbered(id, call)
}

/// The command of a call of a run or an iteration.
fn numbered(first: String, call: u32) -> CommandId {
    CommandId(if call > 1 { format!("{first}/{call}") } else { first })
}

/// The pending frame that a command is for, whatever its attempt; none for another call of its unit.
pub(crate) fn frame_of<'a>(state: &'a LoopState, id: &CommandId) -> Option<&'a PendingFrame> {
    let last = id.as_str().rsplit(':').next().unwrap_or_default();
    let (first, call) = last.split_once('/').unwrap_or((last, "1"));
    let (first, call) = (first.parse::<u64>().ok(), call.parse::<u32>().ok());
    state.pending.iter().find(|one| Some(one.first) == first && Some(one.call) == call)
}

fn is_over(state: &State) -> bool {
    match state {
        State::Execution(state) => state.status != Status::Running,
        State::Loop(state) => state.closed,
    }
}

/// Whether and how an answer comes too late.
pub(crate) fn lateness(answer: &Answer, state: &State) -> Option<Fault> {
    if is_over(state) {
        return Some(Fault::AnswerAfterEnd);
    }
    let current = match state {
        State::Execution(state) => {
            state.run_of_command(&answer.command_id).map(|(_, _, attempt)| attempt)
        }
        State::Loop(state) => frame_of(state, &answer.command_id).map(|frame| frame.attempt),
    };
    match current {
        None => Some(Fault::DoubleAnswer),
        Some(attempt) if attempt != answer.attempt => Some(Fault::StaleAnswer),
        Some(_) => None,
    }
}
