//! What can be said to an aggregate: starts, answers, signals, orders.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::{Failure, is_zero};
use crate::ids::{AggregateKey, CommandId, InputId, StepName};
use crate::payload::{LoopSummary, Payload, PayloadRef};
use crate::playbook::{LoopMode, PlaybookRef};

/// One message on the event queue.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Envelope {
    /// Unique per aggregate, derived from the cause: the same for every copy.
    pub id: InputId,
    /// Who it is for; also the group of the queue.
    pub to: AggregateKey,
    /// What it says.
    pub input: Input,
}

/// What can be said to an aggregate.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "snake_case", tag = "input")]
pub enum Input {
    /// Begin an execution.
    Start(Start),
    /// A worker's answer to a command.
    Answer(Answer),
    /// A worker tells how far a call is; whether it arrives changes nothing.
    Progress(Report),
    /// An execution asks for a loop. To the loop.
    LoopOpen(Box<LoopOpen>),
    /// A loop tells its execution something. To the execution.
    LoopSignal(LoopSignal),
    /// Look after commands that are overdue. Sent by the sweeper.
    Tick,
    /// The process that held the queues is gone: send again whatever is pending.
    Resume,
    /// Stop.
    Cancel {
        /// Why, in the words of whoever asked.
        reason: String,
    },
    /// Somebody answers a step that waits for a callback.
    Callback {
        /// What the step gave out.
        token: String,
        /// What the step's result will be.
        data: Payload,
    },
}

/// The first input of an execution.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Start {
    /// What to run.
    pub playbook: PlaybookRef,
    /// Given inputs, merged over the playbook's workload (decision D15).
    pub payload: Map<String, Value>,
    /// The call that started it, for a sub-playbook.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub parent: Option<Parent>,
}

/// The call of another execution that started this one.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Parent {
    /// The aggregate that made the call.
    pub key: AggregateKey,
    /// The command.
    pub command_id: CommandId,
    /// Its attempt.
    pub attempt: u32,
    /// Whether it waits for the end.
    pub waits: bool,
    /// The step whose result it wants; the final one's where none is named.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub return_step: Option<StepName>,
    /// Executions above this one, at least 1.
    pub depth: u32,
}

/// What a worker says about one command.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Answer {
    /// The command.
    pub command_id: CommandId,
    /// The attempt that ran.
    pub attempt: u32,
    /// Who ran it.
    pub worker: String,
    /// One outcome; for a frame one per iteration that ran, in index order from the frame's first.
    pub outcomes: Vec<Outcome>,
    /// Whether the worker's own time was over before all iterations of a frame had run: those without an
    /// outcome are sent out again, and none of them has failed.
    #[serde(skip_serializing_if = "std::ops::Not::not", default)]
    pub cut: bool,
}

/// How far one call is. May be lost, doubled, late, or overtake another one.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Report {
    /// The command.
    pub command_id: CommandId,
    /// The attempt that runs.
    pub attempt: u32,
    /// The iteration, in a loop.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub index: Option<u64>,
    /// 1, 2, 3, ... of this call: a higher one is newer.
    pub number: u32,
    /// Unix milliseconds when the call began.
    pub started_ms: i64,
    /// Who runs it.
    pub worker: String,
    /// What the tool says, of at most [`crate::limits::PROGRESS_BYTES_MAX`] bytes as JSON; null if it only
    /// runs.
    #[serde(default)]
    pub data: Value,
}

/// How one tool call ended.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Outcome {
    /// The tool's result; for an error what it returned beside the error, or null.
    pub result: Payload,
    /// Why it failed; none when it did not.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub error: Option<ToolFailure>,
    /// Unix milliseconds when the call began.
    pub started_ms: i64,
    /// Milliseconds that it took.
    pub duration_ms: u64,
    /// What the tool printed, cut to [`crate::limits::OUTPUT_BYTES_MAX`] bytes.
    #[serde(skip_serializing_if = "String::is_empty", default)]
    pub output: String,
}

/// A failed tool call, as rules and people see it (`error` in templates).
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct ToolFailure {
    /// A name such as `HTTPError`, `TemplateError`, `TimeoutError`, or a Python exception's class.
    #[serde(rename = "type")]
    pub kind: String,
    /// What happened, and how to cure it.
    pub message: String,
    /// The HTTP status, where there is one.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub status: Option<i64>,
    /// Whether trying again may help.
    pub retryable: bool,
    /// The user's own lines of a traceback.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub traceback: Option<String>,
}

impl ToolFailure {
    /// As templates read it: `error`.
    #[must_use]
    pub fn value(&self) -> Value {
        json!({
            "type": self.kind, "kind": self.kind, "message": self.message, "status": self.status,
            "code": self.status, "retryable": self.retryable, "traceback": self.traceback,
        })
    }
}

/// Everything a loop needs to run on its own.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct LoopOpen {
    /// The playbook version.
    pub playbook: PlaybookRef,
    /// The looping step.
    pub step: StepName,
    /// `tool.kind`.
    pub tool_kind: String,
    /// The name of the item variable.
    pub iterator: String,
    /// How iterations follow each other.
    pub mode: LoopMode,
    /// Number of items.
    pub collection_size: u64,
    /// The list of the chunks' [`PayloadRef`]s, as JSON, in the payload store.
    pub collection: PayloadRef,
    /// Items per chunk.
    pub chunk_items: u64,
    /// Iterations that may be out at once.
    pub max_in_flight: u64,
    /// Iterations that one command may carry.
    pub frame_items_max: u32,
    /// Stop at the first failed iteration.
    pub fail_fast: bool,
    /// How long one call of the tool may take.
    pub timeout_ms: u64,
    /// A [`crate::command::Scope`] as JSON: the variables that the step's templates name, at entry.
    pub scope: Payload,
    /// Signals of this loop that its execution has heard: above 0 only when the message is sent again.
    pub heard: u64,
    /// More that `iterator_started` tells people, by key (seed 001); null, or a map.
    #[serde(skip_serializing_if = "Value::is_null", default)]
    pub about: Value,
    /// What a person should know about the collection, such as that it was null.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub note: Option<String>,
    /// Executions above its own: a child of an iteration is one deeper.
    #[serde(skip_serializing_if = "is_zero", default)]
    pub depth: u32,
}

/// What a loop tells its execution, in an order that it numbers.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct LoopSignal {
    /// The loop instance.
    pub from: AggregateKey,
    /// 1, 2, 3, ... of this loop; [`Signal::Closed`] has the last number.
    pub number: u64,
    /// What it says.
    pub signal: Signal,
}

/// What a loop can say.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Signal {
    /// A rule of an iteration routes.
    Route {
        /// Where to.
        to: StepName,
        /// With which arguments.
        args: BTreeMap<String, Payload>,
    },
    /// A rule of an iteration sets execution variables.
    Set {
        /// The new values.
        values: BTreeMap<String, Payload>,
    },
    /// A rule of an iteration fails the execution, or a template of one cannot render.
    Fail {
        /// Why.
        failure: Failure,
    },
    /// Every iteration has its outcome.
    Closed(Closing),
}

/// How a loop ended.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Closing {
    /// The counts.
    pub summary: LoopSummary,
    /// The first errors, word for word.
    pub errors: Vec<String>,
    /// Failed iterations that a rule handled.
    pub handled: u64,
    /// Iterations that were given up without running.
    pub skipped: u64,
}
