//! Everything outside the code under test: time, queues, log, objects, and chance.

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use engine_core::command::Command;
use engine_core::event::{Entry, Envelope, Input};
use engine_core::ids::{AggregateKey, CommandId, ExecutionId, InputId};
use engine_core::playbook::{Playbook, PlaybookRef};
use engine_core::ports::{PortError, PortErrorKind};

use super::check::{Checks, Violation};
use super::fault::{Coverage, Fault, Odds, Site};
use super::kind::{Kinds, cancels};
use super::mutant::Mutant;
use super::plan::Expected;
use super::queue::{Manners, Queue, Received};
use super::rng::{MILLION, Rng, hash};
use super::tool::Toolbox;
use super::visit::{self, Visit};

/// Unix milliseconds at which every world begins.
pub(crate) const BEGINNING_MS: i64 = 1_750_000_000_000;
/// Milliseconds by which a reordered message falls behind.
const BEHIND_MS: u64 = 5_000;

/// Something that is going to happen.
#[derive(Debug)]
pub(crate) enum Wake {
    /// A task goes on.
    Task(u64),
    /// Messages may be visible.
    Pump,
    /// The sweeper's minute.
    Sweep,
    /// Somebody starts an execution.
    Start(usize),
    /// Somebody cancels an execution.
    Cancel(usize),
    /// A write arrives whose author gave up long ago.
    LateWrite(Box<Entry>),
    /// Somebody answers a step that waits for it.
    Visit(Box<Visit>),
    /// The process dies.
    Restart,
    /// An execution is taken up again after that.
    Resume(usize),
    /// Nothing goes wrong any more.
    Heal,
}

/// One execution of this world.
#[derive(Debug)]
pub(crate) struct Subject {
    pub(crate) id: ExecutionId,
    pub(crate) playbook: Arc<Playbook>,
    pub(crate) expected: Expected,
    pub(crate) cancelled: bool,
}

/// A world.
pub(crate) struct World {
    pub(crate) now_ms: i64,
    pub(crate) rng: Rng,
    pub(crate) odds: Odds,
    pub(crate) healed: bool,
    pub(crate) mutant: Option<Mutant>,
    pub(crate) latency_ms: u64,
    agenda: BTreeMap<(i64, u64, u64), Wake>,
    scheduled: u64,
    pub(crate) late_writes: u64,
    pub(crate) events: Queue<Envelope>,
    pub(crate) commands: Queue<Command>,
    doomed: BTreeSet<(bool, u64)>,
    /// Tokens that somebody was sent with.
    tokens: BTreeSet<String>,
    pub(crate) log: BTreeMap<AggregateKey, Vec<Entry>>,
    pub(crate) blobs: BTreeMap<String, Vec<u8>>,
    pub(crate) subjects: Vec<Subject>,
    /// Playbooks and their tools, by path.
    pub(crate) library: BTreeMap<String, (Arc<Playbook>, Arc<Toolbox>)>,
    pub(crate) checks: Checks,
    pub(crate) coverage: Coverage,
    /// The task that is polled, and the entry that each task has at hand.
    pub(crate) polled: u64,
    pub(crate) at_hand: BTreeMap<u64, Kinds>,
    /// The entries that inputs came from.
    origins: BTreeMap<(AggregateKey, InputId), Kinds>,
    pub(crate) violation: Option<Violation>,
    pub(crate) trace: u64,
    pub(crate) timeline: Option<Vec<String>>,
    suspended: Option<(Site, Option<i64>)>,
}

/// How a call that changes something ends for its caller.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Reply {
    Done,
    Conflict,
    Silence,
}

impl World {
    pub(crate) fn new(seed: u64, mutant: Option<Mutant>) -> Self {
        let mut rng = Rng::new(seed);
        let mut odds = Odds::draw(&mut rng);
        if let Some(mutant) = mutant {
            mutant.bend(&mut odds);
        }
        let visibility_ms = rng.span_ms(10_000, 60_000);
        let (fifo, deduplicates) = (odds.fifo, odds.deduplicates);
        let batch = usize::try_from(rng.within(1, 10)).unwrap_or(1);
        let events = Manners { visibility_ms, fifo, deduplicates, fences: true, batch };
        // Longer than the longest call: else every call would be made twice.
        let visibility_ms = rng.span_ms(70_000, 180_000);
        let commands =
            Manners { visibility_ms, fifo: false, deduplicates: false, fences: false, batch: 1 };
        let latency_ms = *rng.pick(&[3, 20, 200]);
        Self {
            now_ms: BEGINNING_MS,
            rng,
            odds,
            healed: false,
            mutant,
            latency_ms,
            agenda: BTreeMap::new(),
            scheduled: 0,
            late_writes: 0,
            events: Queue::new(events),
            commands: Queue::new(commands),
            doomed: BTreeSet::new(),
            tokens: BTreeSet::new(),
            log: BTreeMap::new(),
            blobs: BTreeMap::new(),
            subjects: Vec::new(),
            library: BTreeMap::new(),
            checks: Checks::default(),
            coverage: Coverage::default(),
            polled: 0,
            at_hand: BTreeMap::new(),
            origins: BTreeMap::new(),
            violation: None,
            trace: 0,
            timeline: None,
            suspended: None,
        }
    }

    pub(crate) fn schedule(&mut self, at_ms: i64, wake: Wake) {
        self.scheduled += 1;
        let chance = self.rng.draw();
        self.agenda.insert((at_ms.max(self.now_ms), chance, self.scheduled), wake);
    }

    /// Goes on to the next thing that happens.
    pub(crate) fn next(&mut self) -> Option<Wake> {
        let ((at_ms, _, _), wake) = self.agenda.pop_first()?;
        self.now_ms = at_ms;
        Some(wake)
    }

    pub(crate) fn take_suspended(&mut self) -> Option<(Site, Option<i64>)> {
        self.suspended.take()
    }

    /// Forgets what tasks of a dead process would have done, and what its queues held.
    pub(crate) fn forget(&mut self) {
        let open: Vec<AggregateKey> = self.checks.open.iter().cloned().collect();
        for key in open {
            let kinds = self.newest(&key);
            self.coverage.paired(Fault::Restart, kinds);
        }
        self.agenda.retain(|_, wake| !matches!(wake, Wake::Task(_)));
        self.events.clear();
        self.commands.clear();
        self.checks.forgotten();
    }

    /// Whether something happens that happens so often in a million.
    pub(crate) fn roll(&mut self, fault: Fault, odds: impl FnOnce(&Odds) -> u64) -> bool {
        let happens = self.rng.chance(odds(&self.odds));
        if happens {
            self.coverage.met(fault);
            self.pair(fault);
        }
        happens
    }

    /// Counts a fault for the entry that the polled task has at hand.
    pub(crate) fn pair(&mut self, fault: Fault) {
        let kinds = self.at_hand.get(&self.polled).copied().unwrap_or_default();
        self.coverage.paired(fault, kinds);
    }

    /// The polled task writes, sends or reads an entry.
    pub(crate) fn take_up(&mut self, kinds: Kinds) {
        self.at_hand.insert(self.polled, kinds);
    }

    /// The kinds of the last entry of an aggregate.
    pub(crate) fn newest(&self, key: &AggregateKey) -> Kinds {
        let last = self.log.get(key).and_then(|chain| chain.last());
        last.map(Kinds::of).unwrap_or_default()
    }

    /// The kinds of the entry that asked for an attempt of a command.
    pub(crate) fn asking(&self, id: &CommandId, attempt: u32) -> Kinds {
        let place = self.checks.place(id, attempt);
        let entry = place
            .and_then(|(key, seq)| self.log.get(key)?.iter().rev().find(|entry| entry.seq == seq));
        entry.map(Kinds::of).unwrap_or_default()
    }

    pub(crate) fn note(&mut self, text: impl FnOnce() -> String) {
        if let Some(lines) = &mut self.timeline {
            let passed_ms = self.now_ms - BEGINNING_MS;
            let (seconds, ms) = (passed_ms / 1_000, passed_ms % 1_000);
            lines.push(format!("{seconds:>6}.{ms:03} s  {}", text()));
        }
    }

    /// Mixes something that happened into the trace.
    pub(crate) fn mark(&mut self, bytes: &[u8]) {
        self.trace = hash(self.trace.rotate_left(5), bytes);
    }

    pub(crate) fn check(&mut self, result: Result<(), Violation>) {
        if let Err(violation) = result {
            self.note(|| format!("VIOLATION {violation}"));
            self.violation.get_or_insert(violation);
        }
    }

    pub(crate) fn fail(&mut self, invariant: &'static str, detail: impl Into<String>) {
        self.check(Err(Violation::new(invariant, detail)));
    }

    /// The tools of a playbook.
    pub(crate) fn tools(&self, playbook: &PlaybookRef) -> Option<Arc<Toolbox>> {
        self.library.get(&playbook.path).map(|(_, tools)| Arc::clone(tools))
    }

    /// A write of an entry reaches the store.
    pub(crate) fn write(&mut self, entry: &Entry) -> Reply {
        let reply = self.try_write(entry);
        if reply == Reply::Silence {
            self.checks.silenced(entry);
            self.note(|| format!("silence  {} #{}", entry.key, entry.seq));
        }
        reply
    }

    fn try_write(&mut self, entry: &Entry) -> Reply {
        if self.roll(Fault::CommitLost, |odds| odds.commit_lost) {
            return Reply::Silence;
        }
        if self.roll(Fault::CommitLate, |odds| odds.commit_late) {
            let at_ms = self.now_ms + self.rng.span_ms(1, 3_000);
            self.late_writes += 1;
            self.schedule(at_ms, Wake::LateWrite(Box::new(entry.clone())));
            return Reply::Silence;
        }
        let written = self.append(entry);
        if self.roll(Fault::CommitReplyLost, |odds| odds.commit_reply_lost) {
            return Reply::Silence;
        }
        if written { Reply::Done } else { Reply::Conflict }
    }

    /// Appends an entry if it is the next; whether it was.
    pub(crate) fn append(&mut self, entry: &Entry) -> bool {
        let chain = self.log.entry(entry.key.clone()).or_default();
        if entry.seq != chain.len() as u64 + 1 {
            if self.mutant != Some(Mutant::PutInsteadOfCreate) {
                return false;
            }
            chain.truncate(usize::try_from(entry.seq).unwrap_or(1).saturating_sub(1));
        }
        if cancels(entry) {
            let before = self.newest(&entry.key);
            self.coverage.paired(Fault::Cancel, before);
        }
        self.note(|| {
            let facts: Vec<String> = entry.facts.iter().map(super::brief).collect();
            format!("commit   {} #{}  {}", entry.key, entry.seq, facts.join(", "))
        });
        match serde_json::to_vec(entry) {
            Ok(bytes) => {
                self.mark(&bytes);
                let size = Checks::sizes(entry, &bytes);
                self.check(size);
            }
            Err(error) => self.fail("I-6", format!("an entry is no JSON: {error}")),
        }
        let carried = Carried { events: &self.events, commands: &self.commands };
        let (met, result) = self.checks.committed(entry, &carried);
        for fault in met {
            self.coverage.met(fault);
        }
        self.check(result);
        self.log.entry(entry.key.clone()).or_default().push(entry.clone());
        self.call_visitors(entry);
        true
    }

    /// Sends somebody for each step that waits for one.
    fn call_visitors(&mut self, entry: &Entry) {
        for waiting in visit::waiting(self, entry) {
            if self.tokens.insert(waiting.token.clone()) {
                let at_ms = self.now_ms + self.rng.span_ms(0, 40_000);
                self.schedule(at_ms, Wake::Visit(Box::new(waiting)));
            }
        }
    }

    /// Messages reach a queue: all, some or none, once or twice, now or later, or never.
    pub(crate) fn send_all<T>(&mut self, bodies: &[T], one: impl Fn(&mut Self, &T)) -> Reply {
        if self.roll(Fault::SendLost, |odds| odds.send_lost) {
            return Reply::Silence;
        }
        let mut some = bodies.len();
        if some > 1 && self.roll(Fault::SendPartial, |odds| odds.send_partial) {
            some = usize::try_from(self.rng.below(some as u64)).unwrap_or(0);
        }
        for body in &bodies[..some] {
            one(self, body);
        }
        let silent = self.roll(Fault::SendReplyLost, |odds| odds.send_reply_lost);
        if silent || some < bodies.len() { Reply::Silence } else { Reply::Done }
    }

    pub(crate) fn send_command(&mut self, command: &Command) {
        let result = self.checks.sent_command(command);
        self.check(result);
        let visible_ms = if self.mutant == Some(Mutant::EarlyTimers) {
            self.now_ms
        } else {
            command.not_before_ms.max(self.now_ms)
        };
        let body = Arc::new(command.clone());
        for _ in
            0..self.copies(&format!("command  {} attempt {}", command.id, command.attempt), false)
        {
            let visible_ms = visible_ms + self.behind();
            let group = command.id.to_string();
            self.commands.send(&body, "", group, (self.now_ms, visible_ms));
            self.doom(false);
            self.schedule(visible_ms, Wake::Pump);
        }
    }

    pub(crate) fn send_event(&mut self, envelope: &Envelope) {
        let tells = matches!(&envelope.input, Input::Answer(answer) if answer.worker == "playbook");
        if self.mutant == Some(Mutant::ChildUnheard) && tells {
            return self.checks.sent_event(envelope);
        }
        self.checks.sent_event(envelope);
        let origin = self.at_hand.get(&self.polled).copied().unwrap_or_default();
        self.origins.insert((envelope.to.clone(), envelope.id.clone()), origin);
        let body = Arc::new(envelope.clone());
        let (id, group) = (format!("{} {}", envelope.to, envelope.id), envelope.to.to_string());
        let stop = matches!(envelope.input, Input::Cancel { .. })
            && envelope.to != envelope.to.execution();
        for _ in 0..self.copies(&format!("input    {id}"), stop) {
            let late_ms = if self.odds.fifo { 0 } else { self.behind() };
            let at = (self.now_ms, self.now_ms + late_ms);
            if self.events.send(&body, &id, group.clone(), at) {
                self.doom(true);
                self.schedule(at.1, Wake::Pump);
            } else if !self.events.bodies().any(|(_, other)| other.id == envelope.id) {
                // Its first copy is gone, and this one was taken for it.
                self.checks.lost += 1;
            }
        }
    }

    /// An execution was taken up again: everything that it waits for is under way.
    pub(crate) fn resumed(&mut self, id: ExecutionId, lost_before: u64) {
        let carried = Carried { events: &self.events, commands: &self.commands };
        let orphans = self.checks.orphans(id, &carried);
        if self.checks.lost == lost_before && !orphans.is_empty() {
            self.fail("I-9", format!("resuming left out {}", orphans.join(", ")));
        }
    }

    fn copies(&mut self, what: &str, stop: bool) -> u64 {
        let often = |odds: &Odds| if stop && odds.deaf { MILLION } else { odds.message_lost };
        if self.roll(Fault::MessageLost, often) {
            self.note(|| format!("LOST     {what}"));
            self.checks.lost += 1;
            return 0;
        }
        1 + u64::from(self.roll(Fault::Duplicate, |odds| odds.duplicate))
    }

    fn behind(&mut self) -> i64 {
        let reordered = self.rng.chance(self.odds.reorder);
        if reordered {
            self.pair(Fault::Reorder);
        }
        if reordered { self.rng.span_ms(1, BEHIND_MS) } else { 0 }
    }

    /// Decides whether the message just sent kills whoever receives it.
    fn doom(&mut self, event: bool) {
        if self.rng.chance(self.odds.doom) {
            let number = if event { self.events.last() } else { self.commands.last() };
            self.doomed.insert((event, number));
        }
    }

    pub(crate) fn is_doomed(&self, event: bool, number: u64) -> bool {
        !self.healed && self.doomed.contains(&(event, number))
    }

    /// An input is acknowledged: it must have had its effect.
    pub(crate) fn acknowledge_event(&mut self, received: &Received<Envelope>) {
        if !self.events.honours(received) {
            return;
        }
        let carried = Carried { events: &self.events, commands: &self.commands };
        let result = self.checks.acknowledged(received, &self.log, &carried);
        self.check(result);
        self.events.acknowledge(received);
    }

    /// The kinds of the entry that an input came from.
    pub(crate) fn origin(&self, envelope: &Envelope) -> Kinds {
        let origin = (envelope.to.clone(), envelope.id.clone());
        self.origins.get(&origin).copied().unwrap_or_default()
    }

    /// What a receive did beside receiving; the kinds are those of the entries that dead messages came
    /// from.
    pub(crate) fn buried(&mut self, dead: &[Kinds], overtaken: bool) {
        for kinds in dead {
            self.coverage.met(Fault::DeadLettered);
            self.coverage.paired(Fault::DeadLettered, *kinds);
            self.checks.lost += 1;
        }
        if overtaken {
            self.coverage.met(Fault::Reorder);
        }
    }

    /// Inputs that an event handler holds for the first or another time.
    pub(crate) fn delivered(&mut self, batch: &[Received<Envelope>]) {
        for one in batch {
            if one.receives > 1 {
                self.checks.redelivered(&one.body);
            }
            if let (Input::Answer(answer), Some(chain)) =
                (&one.body.input, self.log.get(&one.body.to))
                && let Some(entry) = chain.last()
                && let Some(fault) = super::check::lateness(answer, &entry.state)
            {
                self.coverage.met(fault);
                let kinds = self.asking(&answer.command_id, answer.attempt);
                self.coverage.paired(fault, kinds);
            }
        }
    }
}

/// What is under way in the two queues.
pub(crate) struct Carried<'a> {
    pub(crate) events: &'a Queue<Envelope>,
    pub(crate) commands: &'a Queue<Command>,
}

/// The world, as its inhabitants share it.
#[derive(Clone)]
pub(crate) struct Sim(Arc<Mutex<World>>);

impl Sim {
    pub(crate) fn new(world: World) -> Self {
        Self(Arc::new(Mutex::new(world)))
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, World> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A place where others may go first, and where the task may die.
    pub(crate) fn reach(&self, site: Site) -> Suspension {
        Suspension { sim: self.clone(), site, wait_ms: None, reached: false }
    }

    /// As [`Sim::reach`], not before so many milliseconds have passed.
    pub(crate) fn wait(&self, site: Site, wait_ms: i64) -> Suspension {
        Suspension { sim: self.clone(), site, wait_ms: Some(wait_ms), reached: false }
    }

    /// A read that may have no answer.
    pub(crate) async fn read<T>(
        &self,
        site: Site,
        read: impl FnOnce(&mut World) -> T,
    ) -> Result<T, PortError> {
        self.reach(site).await;
        let mut world = self.lock();
        if world.roll(Fault::ReadFails, |odds| odds.read_fails) {
            return Err(silence());
        }
        Ok(read(&mut world))
    }
}

pub(crate) fn silence() -> PortError {
    PortError::new(PortErrorKind::Unavailable, "the simulated service does not answer")
}

/// One await.
pub(crate) struct Suspension {
    sim: Sim,
    site: Site,
    wait_ms: Option<i64>,
    reached: bool,
}

impl Future for Suspension {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<()> {
        if self.reached {
            return Poll::Ready(());
        }
        self.reached = true;
        let (site, wait_ms) = (self.site, self.wait_ms);
        self.sim.lock().suspended = Some((site, wait_ms));
        Poll::Pending
    }
}
