//! What is known of an aggregate, and how a fact changes it. No decisions here.

pub mod execution;
pub mod iteration;
pub mod unit;

use serde::{Deserialize, Serialize};

pub use self::execution::{ExecutionState, StepRun, StepState, Waits};
pub use self::iteration::{LoopState, PendingFrame};
pub use self::unit::{Collected, Continuation, Unit};
use crate::event::{Entry, Fact};
use crate::ids::AggregateKey;

/// The state of one aggregate.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "snake_case", tag = "kind")]
pub enum State {
    /// Of an execution.
    Execution(Box<ExecutionState>),
    /// Of a loop.
    Loop(Box<LoopState>),
}

/// Where a fact stands in the log.
#[derive(Clone, Copy, Debug)]
pub struct At<'a> {
    /// Whose log.
    pub key: &'a AggregateKey,
    /// The entry.
    pub seq: u64,
    /// Its time in Unix milliseconds.
    pub at_ms: i64,
    /// Which of the entry's facts, from 0.
    pub fact: u32,
}

impl State {
    /// The state that an opening fact creates; none for any other fact.
    #[must_use]
    pub fn begin(fact: &Fact, at: &At<'_>) -> Option<Self> {
        match fact {
            Fact::Started { playbook, workload, vars, parent, .. } => {
                let workload = at.remember(workload, 0);
                let mut state = ExecutionState::begin(playbook, workload, vars.clone());
                state.parent.clone_from(parent);
                Some(Self::Execution(Box::new(state)))
            }
            Fact::LoopOpened { open } => {
                Some(Self::Loop(Box::new(LoopState::open(open, at.at_ms))))
            }
            _ => None,
        }
    }

    /// Folds one fact. Total: what was recorded happened.
    pub fn apply(&mut self, fact: &Fact, at: &At<'_>) {
        match self {
            Self::Execution(state) => state.apply(fact, at),
            Self::Loop(state) => state.apply(fact, at),
        }
    }

    /// Counts inputs that were folded, applied or not.
    pub fn fold(&mut self, inputs: u64) {
        match self {
            Self::Execution(state) => state.folded += inputs,
            Self::Loop(state) => state.folded += inputs,
        }
    }

    /// The state that a log leads to; none for an empty one.
    #[must_use]
    pub fn replay(entries: &[Entry]) -> Option<Self> {
        entries.iter().fold(None, Self::advance)
    }

    /// The state after one more entry of the log that led to `state`.
    #[must_use]
    pub fn advance(mut state: Option<Self>, entry: &Entry) -> Option<Self> {
        for (fact, index) in entry.facts.iter().zip(0..) {
            let at = At { key: &entry.key, seq: entry.seq, at_ms: entry.at_ms, fact: index };
            match &mut state {
                Some(state) => state.apply(fact, &at),
                None => state = Self::begin(fact, &at),
            }
        }
        if let Some(state) = &mut state {
            state.fold(entry.inputs.len() as u64);
        }
        state
    }
}
