//! What is known of an aggregate, and how a fact changes it. No decisions here.

pub mod execution;
pub mod iteration;

use serde::{Deserialize, Serialize};

pub use self::execution::{ExecutionState, StepRun, StepState};
pub use self::iteration::{LoopState, PendingFrame};

/// The state of one aggregate.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "snake_case", tag = "kind")]
pub enum State {
    /// Of an execution.
    Execution(Box<ExecutionState>),
    /// Of a loop.
    Loop(Box<LoopState>),
}
