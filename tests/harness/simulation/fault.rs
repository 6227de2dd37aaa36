//! What can go wrong, how likely it is in one world, and how often it did.

use std::collections::BTreeMap;

use super::kind::{Kind, Kinds};
use super::rng::Rng;

/// Something that goes wrong, or a situation that must have been met.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Fault {
    /// F-1: a message is enqueued twice.
    Duplicate,
    /// F-2: a task dies at an await.
    Crash,
    /// F-2: the process dies with all tasks and both queues, and resumes.
    Restart,
    /// F-3: an entry is committed, and the caller is told nothing.
    CommitReplyLost,
    /// F-3: an entry is not committed, and the caller is told nothing.
    CommitLost,
    /// F-3: an entry is committed long after its caller gave up.
    CommitLate,
    /// F-3: messages are enqueued, and the caller is told nothing.
    SendReplyLost,
    /// F-3: messages are not enqueued, and the caller is told nothing.
    SendLost,
    /// F-4: some of a batch of messages are enqueued.
    SendPartial,
    /// F-8: a read has no answer.
    ReadFails,
    /// F-5: a task sleeps until its message is visible again, and then goes on.
    Zombie,
    /// F-6: a younger message overtakes an older one.
    Reorder,
    /// F-7: a message vanishes.
    MessageLost,
    /// F-7: a message is put aside after too many receives.
    DeadLettered,
    /// F-11: clocks of two event handlers differ.
    ClockSkew,
    /// F-13: a tool takes longer than its deadline.
    SlowTool,
    /// F-13: an answer arrives when a newer attempt is out.
    StaleAnswer,
    /// F-13: an answer arrives twice.
    DoubleAnswer,
    /// F-13: an answer arrives after its execution or loop has ended.
    AnswerAfterEnd,
    /// A command without an answer is issued again.
    Reissue,
    /// The execution is cancelled while it runs.
    Cancel,
    /// F-22: a loop over nothing.
    EmptyLoop,
    /// F-22: a loop over one item.
    OneItem,
    /// F-22: a loop over something that is no list.
    NotAList,
    /// F-22: a loop over hundreds of items.
    Hundreds,
    /// F-22: several loops in one execution.
    SeveralLoops,
    /// F-22: the same looping step entered again.
    Reentered,
    /// A loop whose iterations each ask for a loop.
    LoopOfLoops,
    /// A run or an iteration that calls page after page.
    Pages,
    /// A run or an iteration that calls named tasks or sinks behind its tool.
    Saves,
    /// A run or an iteration that goes through a list of tasks.
    Tasks,
    /// A run or an iteration that calls another playbook.
    Child,
    /// A run or an iteration that waits for a time.
    Wait,
    /// A run or an iteration that waits for somebody.
    Callback,
    /// A step that waits for all of its branches.
    Join,
}

impl Fault {
    /// Those that come from outside at any moment: each must have met each kind of entry.
    pub const ANYTIME: [Self; 20] = [
        Self::Duplicate,
        Self::Crash,
        Self::Restart,
        Self::CommitReplyLost,
        Self::CommitLost,
        Self::CommitLate,
        Self::SendReplyLost,
        Self::SendLost,
        Self::SendPartial,
        Self::ReadFails,
        Self::Zombie,
        Self::Reorder,
        Self::MessageLost,
        Self::DeadLettered,
        Self::ClockSkew,
        Self::SlowTool,
        Self::StaleAnswer,
        Self::DoubleAnswer,
        Self::AnswerAfterEnd,
        Self::Cancel,
    ];

    /// All of them.
    pub const ALL: [Self; 35] = [
        Self::Duplicate,
        Self::Crash,
        Self::Restart,
        Self::CommitReplyLost,
        Self::CommitLost,
        Self::CommitLate,
        Self::SendReplyLost,
        Self::SendLost,
        Self::SendPartial,
        Self::ReadFails,
        Self::Zombie,
        Self::Reorder,
        Self::MessageLost,
        Self::DeadLettered,
        Self::ClockSkew,
        Self::SlowTool,
        Self::StaleAnswer,
        Self::DoubleAnswer,
        Self::AnswerAfterEnd,
        Self::Reissue,
        Self::Cancel,
        Self::EmptyLoop,
        Self::OneItem,
        Self::NotAList,
        Self::Hundreds,
        Self::SeveralLoops,
        Self::Reentered,
        Self::LoopOfLoops,
        Self::Pages,
        Self::Saves,
        Self::Tasks,
        Self::Child,
        Self::Wait,
        Self::Callback,
        Self::Join,
    ];
}

/// Who runs.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Actor {
    /// The event handler.
    Handler,
    /// A worker.
    Worker,
    /// The sweeper.
    Sweeper,
    /// A person's program that starts and cancels; it never dies.
    Client,
    /// The start of a process after its predecessor died.
    Resume,
}

/// An await: a place where a task may be overtaken, may sleep, and may die.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Site {
    /// A message was received, nothing is done yet.
    Received,
    /// Before the tail is read.
    ReadTail,
    /// Before entries are read.
    ReadEntries,
    /// Before a playbook is read.
    ReadPlaybook,
    /// Before an object is read.
    ReadPayload,
    /// Before an object is stored.
    StorePayload,
    /// Before an entry is written.
    Commit,
    /// The entry is written, the caller does not know.
    Committed,
    /// Before commands are enqueued.
    SendCommands,
    /// Commands are enqueued, the caller does not know.
    SentCommands,
    /// Before inputs are enqueued.
    SendEvents,
    /// Inputs are enqueued, the caller does not know.
    SentEvents,
    /// The tool runs, or has just had its effect.
    Tool,
    /// Before a message is acknowledged.
    Acknowledge,
    /// Waiting on purpose.
    Wait,
}

/// How likely each fault is in one world, in millionths per chance.
///
/// About half of them are off in any one world: rare combinations need the others out of the way
/// ("swarm testing", A. Groce et al., ISSTA 2012).
#[derive(Clone, Debug, Default)]
pub(crate) struct Odds {
    pub(crate) duplicate: u64,
    pub(crate) crash: u64,
    pub(crate) zombie: u64,
    pub(crate) commit_reply_lost: u64,
    pub(crate) commit_lost: u64,
    pub(crate) commit_late: u64,
    pub(crate) send_reply_lost: u64,
    pub(crate) send_lost: u64,
    pub(crate) send_partial: u64,
    pub(crate) read_fails: u64,
    pub(crate) reorder: u64,
    pub(crate) message_lost: u64,
    pub(crate) slow_tool: u64,
    /// Whether no order to stop reaches its loop.
    pub(crate) deaf: bool,
    /// Whole-process deaths at random moments.
    pub(crate) restarts: u64,
    /// Clocks differ by up to so many milliseconds either way.
    pub(crate) skew_ms: u64,
    /// Whether inputs of one aggregate stay in order, one batch at a time.
    pub(crate) fifo: bool,
    /// Whether the queue of inputs drops copies for five minutes, as SQS FIFO does.
    pub(crate) deduplicates: bool,
    /// Whether a message that nobody can handle is doomed: it kills each handler that receives it.
    pub(crate) doom: u64,
}

impl Odds {
    pub(crate) fn draw(rng: &mut Rng) -> Self {
        let mut odds = |most: u64| if rng.below(2) == 0 { 0 } else { rng.within(most / 20, most) };
        let mut drawn = Self {
            duplicate: odds(100_000),
            crash: odds(30_000),
            zombie: odds(15_000),
            commit_reply_lost: odds(60_000),
            commit_lost: odds(60_000),
            commit_late: odds(30_000),
            send_reply_lost: odds(60_000),
            send_lost: odds(60_000),
            send_partial: odds(60_000),
            read_fails: odds(20_000),
            reorder: odds(300_000),
            message_lost: odds(40_000),
            slow_tool: odds(15_000),
            doom: odds(4_000),
            ..Self::default()
        };
        drawn.deaf = rng.below(8) == 0;
        if rng.below(10) == 0 {
            drawn.message_lost = rng.within(100_000, 300_000);
        }
        drawn.restarts = if rng.below(6) == 0 { rng.within(1, 3) } else { 0 };
        drawn.skew_ms = if rng.below(4) == 0 { rng.within(100, 15_000) } else { 0 };
        drawn.fifo = rng.below(3) > 0;
        drawn.deduplicates = drawn.fifo && rng.below(2) == 0;
        drawn
    }

    /// The same world after everything that can go wrong has gone wrong.
    pub(crate) fn heal(&mut self) {
        let (fifo, deduplicates, skew_ms) = (self.fifo, self.deduplicates, self.skew_ms);
        *self = Self { skew_ms, fifo, deduplicates, ..Self::default() };
    }
}

/// How often things happened: a run that never met a fault proves nothing about it.
#[derive(Clone, Debug, Default)]
pub struct Coverage {
    /// Faults met.
    pub faults: BTreeMap<Fault, u64>,
    /// Awaits reached.
    pub reached: BTreeMap<(Actor, Site), u64>,
    /// Tasks that died there.
    pub crashed: BTreeMap<(Actor, Site), u64>,
    /// Entries that a fault met: while they were written, sent or read, or while what they asked for was
    /// under way.
    pub pairs: BTreeMap<(Fault, Kind), u64>,
}

impl Coverage {
    pub(crate) fn met(&mut self, fault: Fault) {
        *self.faults.entry(fault).or_default() += 1;
    }

    pub(crate) fn paired(&mut self, fault: Fault, kinds: Kinds) {
        for kind in kinds.iter() {
            *self.pairs.entry((fault, kind)).or_default() += 1;
        }
    }

    /// Adds what another run met.
    pub fn absorb(&mut self, other: &Self) {
        for (fault, count) in &other.faults {
            *self.faults.entry(*fault).or_default() += count;
        }
        for (pair, count) in &other.pairs {
            *self.pairs.entry(*pair).or_default() += count;
        }
        for (mine, theirs) in
            [(&mut self.reached, &other.reached), (&mut self.crashed, &other.crashed)]
        {
            for (place, count) in theirs {
                *mine.entry(*place).or_default() += count;
            }
        }
    }
}
