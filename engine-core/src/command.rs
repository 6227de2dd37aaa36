//! A request for one tool call, or for a frame of them.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::ids::{AggregateKey, CommandId, StepName};
use crate::payload::{Payload, PayloadRef};
use crate::playbook::PlaybookRef;

/// One tool call, or one frame of iterations, for a worker of one kind.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Command {
    /// The same for all attempts; the tool's idempotency key, for a frame with the index of the iteration
    /// in the place of the first one.
    pub id: CommandId,
    /// 1-based; raised only by the engine. An answer to another attempt counts for nothing.
    pub attempt: u32,
    /// The aggregate that waits for the answer.
    pub reply_to: AggregateKey,
    /// The playbook version that the execution is pinned to.
    pub playbook: PlaybookRef,
    /// The step whose tool is called; the worker reads its configuration from the playbook.
    pub step: StepName,
    /// `tool.kind`: which queue, which worker.
    pub tool_kind: String,
    /// The iterations to run, for a loop.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub frame: Option<Frame>,
    /// Which of the step's tools to call.
    #[serde(skip_serializing_if = "CallSite::is_tool", default)]
    pub site: CallSite,
    /// Tool configuration that a rule changed, key by key.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub overrides: Option<Value>,
    /// What the run or the iteration has done so far, a [`crate::state::Unit`] as JSON, or where it is.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub unit: Option<Payload>,
    /// Variables that iterations of the loop have set, over those of the scope: a map of name to
    /// [`Payload`] as JSON, or where it is.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub vars: Option<Payload>,
    /// A [`Scope`] as JSON, or where it is.
    pub scope: Payload,
    /// Unix milliseconds before which it must not run (retry delay); 0 for at once.
    pub not_before_ms: i64,
    /// How long one call of the tool may take.
    pub timeout_ms: u64,
}

/// Which tool configuration of a step a command calls.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum CallSite {
    /// The step's `tool`.
    #[default]
    Tool,
    /// An item of its task list, from 0.
    Task(u32),
    /// A named task in a rule.
    Named {
        /// Which rules.
        list: RuleList,
        /// Which of them, from 0.
        rule: u32,
        /// Which of its actions, from 0.
        action: u32,
    },
    /// A `sink` in a rule.
    Save {
        /// Which rules.
        list: RuleList,
        /// Which of them, from 0.
        rule: u32,
        /// Which of its actions, from 0.
        action: u32,
    },
    /// `sink` or `save` of the step or of its tool.
    Sink,
}

/// The two lists of rules that a step has.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum RuleList {
    /// What `retry` of the step or its tool says, as rules; asked first.
    Retries,
    /// `case`.
    Case,
}

impl CallSite {
    /// Whether it is the step's own tool.
    #[must_use]
    pub fn is_tool(&self) -> bool {
        *self == Self::Tool
    }

    /// Whether it saves something: its events are those of a save (seed 003).
    #[must_use]
    pub fn is_save(&self) -> bool {
        matches!(self, Self::Save { .. } | Self::Sink)
    }
}

/// A range of iterations of one loop.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Frame {
    /// First 0-based index.
    pub first: u64,
    /// Number of iterations, at least 1.
    pub len: u32,
    /// Iterations of the whole loop.
    pub total: u64,
    /// Items per chunk of the collection.
    pub chunk_items: u64,
    /// The list of the chunks' [`PayloadRef`]s, as JSON, in the payload store.
    pub collection: PayloadRef,
    /// Whether the rest of the frame is left undone after a failed iteration.
    pub fail_fast: bool,
}

/// The variables that travel with a command: only those that the step's templates name.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
pub struct Scope {
    /// The merged workload.
    pub workload: Option<Payload>,
    /// Execution variables.
    #[serde(skip_serializing_if = "BTreeMap::is_empty", default)]
    pub vars: BTreeMap<String, Payload>,
    /// Results of finished steps.
    #[serde(skip_serializing_if = "BTreeMap::is_empty", default)]
    pub steps: BTreeMap<String, Payload>,
    /// Inputs given by the transition into the step; they win over the step's own `args`.
    #[serde(skip_serializing_if = "BTreeMap::is_empty", default)]
    pub args: BTreeMap<String, Payload>,
}
