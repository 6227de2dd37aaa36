//! Calls that the engine runs itself: child executions, waits, callbacks. One door for all three.

use serde_json::{Map, Value, json};

use super::view::View;
use super::{Trouble, Turn};
use crate::event::{Outcome, Start, ToolFailure};
use crate::ids::{CommandId, EventId, ExecutionId};
use crate::payload::Payload;
use crate::playbook::{Step, Tool};
use crate::state::{State, Unit};

/// The kind that runs another playbook.
pub(crate) const PLAYBOOK: &str = "playbook";
/// The kind that waits for a time.
pub(crate) const WAIT: &str = "wait";
/// The kind that waits for somebody.
pub(crate) const CALLBACK: &str = "callback";

/// Whether the engine renders and runs a kind of tool itself.
pub(super) fn is_own(kind: &str) -> bool {
    matches!(kind, PLAYBOOK | WAIT | CALLBACK)
}

/// The call that asks for one of the engine's own kinds.
#[derive(Clone, Debug)]
pub(super) struct Origin {
    /// Its command.
    pub(super) command_id: CommandId,
    /// The attempt that goes out.
    pub(super) attempt: u32,
    /// The iteration, in a loop.
    pub(super) index: Option<u64>,
    /// The loop's event id, in a loop.
    pub(super) event_id: Option<EventId>,
}

/// What a call of the engine's own kinds comes to, rendered.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Arranged {
    /// A child execution; no command goes out.
    Child {
        /// Its id.
        child: ExecutionId,
        /// What it is told.
        start: Box<Start>,
        /// Whether the call waits for its end; else [`launched`] is its outcome at once.
        waits: bool,
        /// How long it may take.
        timeout_ms: u64,
    },
    /// A message to itself that its queue holds back.
    Timer {
        /// Unix milliseconds at which it comes back: earlier than the end where no queue holds a
        /// message so long.
        not_before_ms: i64,
        /// Unix milliseconds of the end.
        until_ms: i64,
        /// What a callback must present.
        token: Option<String>,
        /// How long it may take to come back once it is due.
        timeout_ms: u64,
    },
}

impl Arranged {
    /// Writes into a unit what its call waits for.
    pub(super) fn note(&self, unit: &mut Unit, at_ms: i64) {
        match self {
            Self::Child { child, waits, .. } => unit.child = waits.then_some(*child),
            Self::Timer { until_ms, token, .. } => {
                unit.until_ms = Some(*until_ms);
                unit.since_ms = Some(at_ms);
                unit.token.clone_from(token);
            }
        }
    }

    /// Unix milliseconds before which no answer is to be expected: what a loop's frame is issued with.
    pub(super) fn not_before_ms(&self, at_ms: i64) -> i64 {
        match self {
            Self::Child { timeout_ms, .. } => at_ms.saturating_add_unsigned(*timeout_ms),
            Self::Timer { not_before_ms, .. } => *not_before_ms,
        }
    }
}

/// What an answer to one of the engine's own calls means.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum OwnAnswer {
    /// The call has ended.
    Settled(Outcome),
    /// It is not over: the same call, the same unit, the next attempt, not before then.
    Again {
        /// Unix milliseconds.
        not_before_ms: i64,
    },
    /// The call has to be arranged anew, with the next attempt.
    Anew,
}

impl Turn<'_> {
    /// Renders a call of the engine's own kinds. `args` are those of the step, raw.
    pub(super) fn arrange(
        &self,
        step: &Step,
        tool: &Tool,
        args: &Map<String, Value>,
        view: &View<'_>,
        origin: &Origin,
    ) -> Result<Arranged, Trouble> {
        match tool.kind.as_str() {
            PLAYBOOK => self.call_playbook(step, tool, args, view, origin),
            WAIT => self.wait_for_time(tool, view),
            _ => self.wait_for_callback(step, tool, view, origin),
        }
    }

    /// Whether nothing new may begin: not even a call again.
    fn is_ending(&self) -> bool {
        match &self.state {
            Some(State::Execution(state)) => state.failure.is_some(),
            Some(State::Loop(state)) => state.stopped,
            None => false,
        }
    }

    /// What an answer means to a call of one of the engine's own kinds.
    ///
    /// A timer says nothing but the time; what [`crate::event::Input::Callback`] brings is the result.
    pub(super) fn read_answer(&self, kind: &str, unit: &Unit, outcome: Outcome) -> OwnAnswer {
        match kind {
            PLAYBOOK if is_taken(&outcome) && !self.is_ending() => OwnAnswer::Anew,
            PLAYBOOK => OwnAnswer::Settled(outcome),
            _ if self.is_callback => OwnAnswer::Settled(outcome),
            _ => self.rung(kind, unit),
        }
    }
}

/// The outcome of a call that does not wait for its child.
pub(super) fn launched(child: ExecutionId, start: &Start, at_ms: i64) -> Outcome {
    let result = json!({
        "status": "started", "execution_id": child, "path": start.playbook.path, "async": true,
    });
    let (result, error) = (Payload::Inline(result), None);
    Outcome { result, error, started_ms: at_ms, duration_ms: 0, output: String::new() }
}

/// The kind of the failure that says that another execution has the id of a child.
const TAKEN: &str = "IdTaken";

/// The failure of a call whose child found its id taken.
pub(crate) fn taken(child: ExecutionId) -> ToolFailure {
    ToolFailure {
        kind: TAKEN.to_owned(),
        message: format!("the id {child} of the child execution was taken; it is tried again"),
        retryable: true,
        ..ToolFailure::default()
    }
}

fn is_taken(outcome: &Outcome) -> bool {
    outcome.error.as_ref().is_some_and(|error| error.kind == TAKEN)
}
