//! Kinds of entries, by the facts that they hold: every fault must have met each of them.

use engine_core::event::{Entry, Fact, Status};
use engine_core::state::State;

/// A kind of entry; an entry with several facts is of several kinds.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Kind {
    /// An execution began.
    Started,
    /// An execution that another one asked for began.
    ChildStarted,
    /// A call was asked for.
    Issued,
    /// A call was answered.
    Answered,
    /// A run or an iteration goes on with another call.
    Continued,
    /// A call is tried again.
    Retried,
    /// Iterations were sent out.
    FrameIssued,
    /// Iterations were sent out again whose worker had no time for them.
    Resumed,
    /// Iterations of one call were answered.
    FrameAnswered,
    /// An iteration of several calls was settled.
    IterationSettled,
    /// A loop was asked for.
    LoopRequested,
    /// A loop began.
    LoopOpened,
    /// A loop closed.
    LoopClosed,
    /// A loop told its execution something before its end.
    Signal,
    /// An execution heard a loop.
    SignalHeard,
    /// A child was asked for.
    ChildRequested,
    /// A parent was told how its child ended.
    ParentAnswered,
    /// Somebody answered a callback.
    CalledBack,
    /// A call that only waits went out, or went out again.
    Waiting,
    /// A branch reached a step that waits for others.
    Arrived,
    /// Somebody was told to stop.
    Stopped,
    /// Something failed that nothing handled.
    Failed,
    /// An execution ended.
    Finished,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 23] = [
        Self::Started,
        Self::ChildStarted,
        Self::Issued,
        Self::Answered,
        Self::Continued,
        Self::Retried,
        Self::FrameIssued,
        Self::Resumed,
        Self::FrameAnswered,
        Self::IterationSettled,
        Self::LoopRequested,
        Self::LoopOpened,
        Self::LoopClosed,
        Self::Signal,
        Self::SignalHeard,
        Self::ChildRequested,
        Self::ParentAnswered,
        Self::CalledBack,
        Self::Waiting,
        Self::Arrived,
        Self::Stopped,
        Self::Failed,
        Self::Finished,
    ];

    fn of(fact: &Fact) -> Option<Self> {
        Some(match fact {
            Fact::Started { parent: None, .. } => Self::Started,
            Fact::Started { .. } => Self::ChildStarted,
            Fact::CommandIssued { unit: Some(unit), .. } if unit.until_ms.is_some() => {
                Self::Waiting
            }
            Fact::FrameIssued { tool_kind, .. } if ["wait", "callback"].contains(&&**tool_kind) => {
                Self::Waiting
            }
            Fact::CommandIssued { .. } => Self::Issued,
            Fact::Answered { worker, .. } if worker == "callback" => Self::CalledBack,
            Fact::Answered { .. } => Self::Answered,
            Fact::Continued { .. } => Self::Continued,
            Fact::Retried { .. } => Self::Retried,
            Fact::FrameIssued { resumed: true, .. } => Self::Resumed,
            Fact::FrameIssued { .. } => Self::FrameIssued,
            Fact::FrameAnswered { .. } => Self::FrameAnswered,
            Fact::IterationSettled { .. } => Self::IterationSettled,
            Fact::LoopRequested { .. } => Self::LoopRequested,
            Fact::LoopOpened { .. } => Self::LoopOpened,
            Fact::LoopClosed { .. } => Self::LoopClosed,
            Fact::SignalSent { .. } => Self::Signal,
            Fact::SignalHeard { .. } => Self::SignalHeard,
            Fact::ChildRequested { .. } => Self::ChildRequested,
            Fact::ParentAnswered { .. } => Self::ParentAnswered,
            Fact::Arrived { .. } => Self::Arrived,
            Fact::StopSent { .. } | Fact::LoopStopped { .. } => Self::Stopped,
            Fact::Failed { .. } => Self::Failed,
            Fact::Finished { .. } => Self::Finished,
            _ => return None,
        })
    }
}

/// The kinds that one entry is of.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Kinds(u32);

impl Kinds {
    pub(crate) fn of(entry: &Entry) -> Self {
        let found = entry.facts.iter().filter_map(Kind::of);
        Self(found.fold(0, |kinds, kind| kinds | 1 << kind as u32))
    }

    pub(crate) fn iter(self) -> impl Iterator<Item = Kind> {
        Kind::ALL.into_iter().filter(move |kind| self.0 >> *kind as u32 & 1 == 1)
    }
}

/// Whether an entry ends its execution on request.
pub(crate) fn cancels(entry: &Entry) -> bool {
    matches!(&entry.state, State::Execution(state) if state.status == Status::Cancelled)
}
