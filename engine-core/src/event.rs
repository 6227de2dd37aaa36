//! Every input that can arrive and every fact that can be recorded, each with its only spelling.

mod input;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

pub use self::input::{
    Answer, Closing, Envelope, Input, LoopOpen, LoopSignal, Outcome, Parent, Report, Signal, Start,
    ToolFailure,
};
use crate::command::{CallSite, Command};
use crate::ids::{AggregateKey, CommandId, EventId, ExecutionId, InputId, StepName};
use crate::payload::{LoopSummary, Payload};
use crate::playbook::PlaybookRef;
use crate::state::{State, Unit};

/// Why an execution failed: enough for a reader to find the place and the cure.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct Failure {
    /// The step, where there is one.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub step: Option<StepName>,
    /// Line of the step in the playbook, from 1; 0 where there is none.
    #[serde(default)]
    pub line: u32,
    /// The attempt that failed last; 0 where none ran.
    #[serde(default)]
    pub attempt: u32,
    /// The iteration, for a loop.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub index: Option<u64>,
    /// What went wrong.
    pub error: ToolFailure,
}

/// How an execution or a step run ended.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Status {
    /// Still going.
    Running,
    /// Ended well.
    Completed,
    /// Ended in an unhandled failure.
    Failed,
    /// Stopped on request.
    Cancelled,
    /// Not admitted: a step that did not run.
    Skipped,
}

/// A recorded fact: what the log consists of, and the only thing that changes a state.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "snake_case", tag = "fact")]
pub enum Fact {
    /// The execution began.
    Started {
        /// What runs.
        playbook: PlaybookRef,
        /// The first step.
        entry: StepName,
        /// The merged workload.
        workload: Payload,
        /// Variables given by `payload.vars`.
        #[serde(skip_serializing_if = "BTreeMap::is_empty", default)]
        vars: BTreeMap<String, Payload>,
        /// The call that started it, for a sub-playbook.
        #[serde(skip_serializing_if = "Option::is_none", default)]
        parent: Option<Parent>,
    },
    /// The execution must end by then; a timer goes out.
    TimerSet {
        /// Unix milliseconds of the end.
        until_ms: i64,
        /// Unix milliseconds at which the timer rings: earlier where no queue holds a message so long.
        rings_ms: i64,
        /// 1, 2, 3, ... of this execution.
        number: u32,
    },
    /// A branch reached a step that waits for its other branches (`spec.join: all`).
    Arrived {
        /// The step that waits.
        step: StepName,
        /// The run that led there, for all but the first step.
        #[serde(skip_serializing_if = "Option::is_none", default)]
        cause: Option<EventId>,
        /// Arguments of the transition.
        #[serde(skip_serializing_if = "BTreeMap::is_empty", default)]
        args: BTreeMap<String, Payload>,
    },
    /// A step was entered; `run` names this entry for good.
    StepEntered {
        /// The step.
        step: StepName,
        /// The id of this entry.
        run: EventId,
        /// The entry that led here, for all but the first.
        #[serde(skip_serializing_if = "Option::is_none", default)]
        cause: Option<EventId>,
        /// Arguments of the transition.
        #[serde(skip_serializing_if = "BTreeMap::is_empty", default)]
        args: BTreeMap<String, Payload>,
    },
    /// A tool call was asked for.
    CommandIssued {
        /// The run it belongs to.
        run: EventId,
        /// The command, as it is sent, but for its unit.
        command: Box<Command>,
        /// What the run has done so far, where one call is not all.
        #[serde(skip_serializing_if = "Option::is_none", default)]
        unit: Option<Box<Unit>>,
    },
    /// A child execution was asked for; its [`Start`] goes out. Follows the command or the frame.
    ChildRequested {
        /// Its id.
        child: ExecutionId,
        /// What it is told.
        start: Box<Start>,
    },
    /// A call that takes its time tells how far it is. Changes no state.
    Progressed {
        /// The run.
        run: EventId,
        /// The step.
        step: StepName,
        /// What its worker says.
        report: Box<Report>,
    },
    /// A tool call ended. In a loop: the call of a unit; plain frames have `FrameAnswered`.
    Answered {
        /// The run.
        run: EventId,
        /// The iteration, in a loop.
        #[serde(skip_serializing_if = "Option::is_none", default)]
        index: Option<u64>,
        /// The step.
        step: StepName,
        /// Which of its tools.
        #[serde(skip_serializing_if = "CallSite::is_tool", default)]
        site: CallSite,
        /// The command.
        command_id: CommandId,
        /// Its attempt.
        attempt: u32,
        /// Who ran it.
        worker: String,
        /// How it ended.
        outcome: Outcome,
    },
    /// A call ended, and its run or iteration goes on with another.
    Continued {
        /// The run.
        run: EventId,
        /// The iteration, in a loop.
        #[serde(skip_serializing_if = "Option::is_none", default)]
        index: Option<u64>,
        /// The step.
        step: StepName,
        /// Whether the call failed.
        failed: bool,
    },
    /// A failed call is tried again; a new `CommandIssued` or `FrameIssued` follows.
    Retried {
        /// The run.
        run: EventId,
        /// The iteration, in a loop.
        #[serde(skip_serializing_if = "Option::is_none", default)]
        index: Option<u64>,
        /// The step.
        step: StepName,
        /// The command.
        command_id: CommandId,
        /// The attempt that failed.
        attempt: u32,
        /// How long the next one waits, in milliseconds.
        delay_ms: u64,
    },
    /// A rule replaced a run's result.
    ResultSet {
        /// The run.
        run: EventId,
        /// The new result.
        result: Payload,
    },
    /// Variables changed.
    VariablesSet {
        /// The step whose rule or `vars` did it.
        step: StepName,
        /// The new values.
        values: BTreeMap<String, Payload>,
    },
    /// A rule saved something in the event log itself (`sink` to `event_log`).
    Saved {
        /// The run.
        run: EventId,
        /// The iteration, in a loop.
        #[serde(skip_serializing_if = "Option::is_none", default)]
        index: Option<u64>,
        /// The step.
        step: StepName,
        /// What was saved.
        data: Payload,
    },
    /// A rule routed: the run's later `next` are void.
    Routed {
        /// The run.
        run: EventId,
        /// Where to.
        to: StepName,
    },
    /// A command was given up because its execution was stopped.
    CommandCancelled {
        /// The run.
        run: EventId,
        /// The step.
        step: StepName,
        /// The command.
        command_id: CommandId,
    },
    /// The collection of a loop could not be made out (`iterator_failed`).
    LoopFailed {
        /// The run.
        run: EventId,
        /// The step.
        step: StepName,
        /// Why.
        error: ToolFailure,
    },
    /// A loop was asked for; a [`Input::LoopOpen`] goes out.
    LoopRequested {
        /// The run that waits.
        run: EventId,
        /// The loop's own key.
        key: AggregateKey,
        /// What it is told.
        open: Box<LoopOpen>,
    },
    /// A signal of a loop was heard.
    SignalHeard {
        /// The run that the loop belongs to.
        run: EventId,
        /// The signal's number.
        number: u64,
        /// What it says, if it is the last one.
        #[serde(skip_serializing_if = "Option::is_none", default)]
        closed: Option<Closing>,
    },
    /// A loop or a child execution was told to stop; an [`Input::Cancel`] goes out to it.
    StopSent {
        /// Whom.
        key: AggregateKey,
        /// Why.
        reason: String,
    },
    /// A loop closed: its run has its aggregate.
    LoopDone {
        /// The run.
        run: EventId,
        /// The step.
        step: StepName,
        /// The counts.
        summary: LoopSummary,
    },
    /// A step run ended.
    StepExited {
        /// The run.
        run: EventId,
        /// The step.
        step: StepName,
        /// `Completed` or `Failed`.
        status: Status,
        /// Its result.
        result: Payload,
        /// Why it failed, handled or not.
        #[serde(skip_serializing_if = "Option::is_none", default)]
        error: Option<ToolFailure>,
    },
    /// Something failed and nothing handled it: the execution ends as failed.
    Failed {
        /// Why.
        failure: Failure,
    },
    /// The execution that waits for this one is told how it ends; an [`Input::Answer`] goes out.
    ParentAnswered {
        /// `{status, execution_id, result}`, or why it failed.
        outcome: Box<Outcome>,
    },
    /// The execution ended.
    Finished {
        /// How.
        status: Status,
        /// The step that finished last.
        #[serde(skip_serializing_if = "Option::is_none", default)]
        final_step: Option<StepName>,
        /// The result of that step.
        result: Payload,
        /// Why it failed.
        #[serde(skip_serializing_if = "Option::is_none", default)]
        failure: Option<Failure>,
    },
    /// The loop began (`iterator_started`).
    LoopOpened {
        /// What it was told.
        open: Box<LoopOpen>,
    },
    /// Iterations were sent out.
    FrameIssued {
        /// First index.
        first: u64,
        /// How many.
        len: u32,
        /// Which attempt.
        attempt: u32,
        /// Not before these Unix milliseconds; 0 for at once.
        not_before_ms: i64,
        /// `tool.kind`, for the reader of the log.
        tool_kind: String,
        /// The step, for the reader of the log.
        step: StepName,
        /// Which call of its unit it is, from 1.
        #[serde(skip_serializing_if = "is_first", default = "first")]
        call: u32,
        /// Which of the step's tools.
        #[serde(skip_serializing_if = "CallSite::is_tool", default)]
        site: CallSite,
        /// What the iteration has done so far, a [`Unit`] as JSON, where one call is not all.
        #[serde(skip_serializing_if = "Option::is_none", default)]
        unit: Option<Payload>,
        /// Whether they were out before, in a frame whose worker had no time for them.
        #[serde(skip_serializing_if = "std::ops::Not::not", default)]
        resumed: bool,
    },
    /// An iteration of several calls has its outcome.
    IterationSettled {
        /// The iteration.
        index: u64,
        /// The step, for the reader of the log.
        step: StepName,
        /// How it ended, all calls together.
        outcome: Outcome,
        /// Whether a rule handled its failure.
        #[serde(skip_serializing_if = "std::ops::Not::not", default)]
        handled: bool,
    },
    /// Iterations have set variables: those of the later ones.
    LoopVariables {
        /// All that were set so far, a map of name to [`Payload`] as JSON.
        values: Payload,
    },
    /// Iterations were answered. Indexes without an outcome were not run.
    FrameAnswered {
        /// First index.
        first: u64,
        /// How many were out.
        len: u32,
        /// Which attempt.
        attempt: u32,
        /// Who ran them.
        worker: String,
        /// The step, for the reader of the log.
        step: StepName,
        /// One per iteration, in index order from `first`.
        outcomes: Vec<Outcome>,
        /// Indexes that are tried again, of those that failed.
        #[serde(skip_serializing_if = "Vec::is_empty", default)]
        retried: Vec<u64>,
        /// Failed indexes that a rule handled.
        #[serde(skip_serializing_if = "Vec::is_empty", default)]
        handled: Vec<u64>,
    },
    /// The loop was told to stop: nothing new is issued.
    LoopStopped {
        /// Why.
        reason: String,
    },
    /// The loop tells its execution something; a [`Input::LoopSignal`] goes out.
    SignalSent {
        /// What.
        signal: LoopSignal,
    },
    /// Every iteration has its outcome, or the rest was given up (`iterator_completed`).
    LoopClosed {
        /// The step, for the reader of the log.
        step: StepName,
        /// The counts.
        summary: LoopSummary,
    },
    /// A late, doubled or foreign input changed nothing.
    Ignored {
        /// The input.
        input: InputId,
        /// Why.
        reason: IgnoreReason,
    },
}

/// Why an input changed nothing.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum IgnoreReason {
    /// Its command was answered before.
    Duplicate,
    /// A newer attempt of its command is out.
    StaleAttempt,
    /// Nothing of that name was ever asked for.
    Unknown,
    /// The execution or the loop has ended.
    Terminal,
}

fn first() -> u32 {
    1
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it with a reference")]
pub(crate) fn is_zero(depth: &u32) -> bool {
    *depth == 0
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it with a reference")]
fn is_first(call: &u32) -> bool {
    *call == 1
}

/// One committed change of one aggregate: append, transition, deduplication record and outbox in one write.
///
/// What the outbox holds is not written twice: it follows from the facts
/// ([`crate::driver::outbox`]).
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Entry {
    /// Whose.
    pub key: AggregateKey,
    /// 1, 2, 3, ... without a gap.
    pub seq: u64,
    /// Unix milliseconds; never before the entry before it.
    pub at_ms: i64,
    /// The id of its first expanded event; the others count up from it.
    pub event_id: EventId,
    /// The inputs that it folds.
    pub inputs: Vec<InputId>,
    /// What happened.
    pub facts: Vec<Fact>,
    /// The state after it.
    pub state: State,
}

impl Entry {
    /// The value that a [`Payload::Log`] of this entry names.
    #[must_use]
    pub fn payload(&self, fact: u32, item: u32) -> Option<&Payload> {
        self.facts.get(fact as usize)?.payload(item)
    }

    /// The execution that the entry belongs to.
    #[must_use]
    pub fn execution_id(&self) -> ExecutionId {
        self.key.execution_id()
    }
}

impl Fact {
    /// The value that the fact holds for others to refer to.
    #[must_use]
    pub fn payload(&self, item: u32) -> Option<&Payload> {
        match self {
            Self::Started { workload, .. } => Some(workload),
            Self::Answered { outcome, .. } | Self::IterationSettled { outcome, .. } => {
                Some(&outcome.result)
            }
            Self::FrameIssued { unit, .. } => unit.as_ref(),
            Self::LoopVariables { values } => Some(values),
            Self::FrameAnswered { outcomes, .. } => {
                outcomes.get(item as usize).map(|outcome| &outcome.result)
            }
            Self::ResultSet { result, .. }
            | Self::StepExited { result, .. }
            | Self::Finished { result, .. } => Some(result),
            Self::Saved { data, .. } => Some(data),
            Self::LoopOpened { open } => Some(&open.scope),
            _ => None,
        }
    }
}
