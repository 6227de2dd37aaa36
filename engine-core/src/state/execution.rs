//! The state of an execution: steps, open runs, variables; results by reference.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::event::{Failure, Status};
use crate::ids::{AggregateKey, CommandId, EventId, StepName};
use crate::payload::Payload;
use crate::playbook::PlaybookRef;

/// Where an execution stands.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct ExecutionState {
    /// `Running` until the one terminal fact.
    pub status: Status,
    /// The pinned playbook version.
    pub playbook: PlaybookRef,
    /// The merged workload.
    pub workload: Payload,
    /// Execution variables; each small, or a reference.
    pub vars: BTreeMap<String, Payload>,
    /// What is known of each step that was entered.
    pub steps: BTreeMap<StepName, StepState>,
    /// Step runs that have not exited. The execution ends when there is none.
    pub runs: BTreeMap<EventId, StepRun>,
    /// The first unhandled failure.
    pub failure: Option<Failure>,
    /// The step that exited last.
    pub last: Option<StepName>,
    /// Entries into steps so far.
    pub entered: u64,
    /// Steps that finished for the first time so far; numbers [`StepState::order`].
    pub finished: u64,
    /// Inputs folded so far.
    pub folded: u64,
}

/// What is known of one step, over all its runs.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct StepState {
    /// Of its newest run.
    pub status: Status,
    /// Finished tool executions: each iteration once, failed attempts that were retried not.
    pub runs: u64,
    /// Entries into the step.
    pub visits: u64,
    /// Rank by first finish, from 1; 0 before.
    pub order: u64,
    /// The result of its newest finished run.
    pub result: Payload,
}

/// One entry into a step that has not exited yet.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct StepRun {
    /// The step.
    pub step: StepName,
    /// Arguments of the transition.
    #[serde(skip_serializing_if = "BTreeMap::is_empty", default)]
    pub args: BTreeMap<String, Payload>,
    /// What it waits for.
    pub waits: Waits,
    /// Whether a rule has routed: later `next` of this run are void.
    #[serde(skip_serializing_if = "std::ops::Not::not", default)]
    pub routed: bool,
    /// What the tool returned, or what a rule put in its place.
    pub result: Payload,
}

/// What an open run waits for.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Waits {
    /// Nothing yet: between its entry and its command, inside one decision.
    Nothing,
    /// An answer.
    Command {
        /// To this command.
        id: CommandId,
        /// Of this attempt.
        attempt: u32,
        /// The entry that holds the command.
        issued_seq: u64,
        /// Unix milliseconds after which it counts as lost.
        deadline_ms: i64,
    },
    /// Its loop.
    Loop {
        /// The loop's key.
        key: AggregateKey,
        /// The entry that asked for it.
        issued_seq: u64,
        /// Signals heard without a gap.
        heard: u64,
        /// Signals heard beyond a gap.
        #[serde(skip_serializing_if = "BTreeSet::is_empty", default)]
        ahead: BTreeSet<u64>,
    },
}
