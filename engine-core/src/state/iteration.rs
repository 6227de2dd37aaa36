//! The state of a loop: counts and the pending set, never results and never the collection.

use serde::{Deserialize, Serialize};

use crate::ids::StepName;
use crate::payload::PayloadRef;
use crate::playbook::{LoopMode, PlaybookRef};

/// Where a loop stands; at most [`crate::limits::LOOP_STATE_BYTES_MAX`] bytes as JSON.
///
/// `completed_count` is not stored: it follows from `next` and `pending`, so that a doubled answer cannot
/// count twice.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct LoopState {
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
    /// The stored collection.
    pub collection: PayloadRef,
    /// Items per chunk of it.
    pub chunk_items: u64,
    /// Iterations that may be out at once.
    pub max_in_flight: u64,
    /// Iterations that one command may carry.
    pub frame_items_max: u32,
    /// Iterations that the next command carries.
    pub frame_items: u32,
    /// Stop at the first failed iteration.
    pub fail_fast: bool,
    /// How long one call of the tool may take.
    pub timeout_ms: u64,
    /// How many loops and sub-playbooks stand above.
    pub depth: u32,
    /// Unix milliseconds of the opening.
    pub opened_ms: i64,
    /// The first index that was never issued.
    pub next: u64,
    /// Frames that are out, ascending by first index.
    pub pending: Vec<PendingFrame>,
    /// Iterations that failed for good.
    pub failed: u64,
    /// Of those, the ones that a rule handled.
    pub handled: u64,
    /// Iterations that were given up without running, after a failure under `fail_fast`.
    pub skipped: u64,
    /// The first errors.
    pub errors: Vec<String>,
    /// Signals sent.
    pub signals: u64,
    /// Whether every iteration has its outcome.
    pub closed: bool,
    /// Inputs folded so far.
    pub folded: u64,
}

/// Iterations that are out under one command. Written as `[first, len, attempt, deadline]`.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(from = "(u64, u32, u32, i64)", into = "(u64, u32, u32, i64)")]
pub struct PendingFrame {
    /// First index.
    pub first: u64,
    /// How many.
    pub len: u32,
    /// The current attempt.
    pub attempt: u32,
    /// Milliseconds after the loop's opening at which it counts as lost.
    pub deadline_after_ms: i64,
}

impl From<(u64, u32, u32, i64)> for PendingFrame {
    fn from((first, len, attempt, deadline_after_ms): (u64, u32, u32, i64)) -> Self {
        Self { first, len, attempt, deadline_after_ms }
    }
}

impl From<PendingFrame> for (u64, u32, u32, i64) {
    fn from(frame: PendingFrame) -> Self {
        (frame.first, frame.len, frame.attempt, frame.deadline_after_ms)
    }
}

impl LoopState {
    /// Iterations that have their outcome: issued ones that are not out, and those given up.
    #[must_use]
    pub fn completed_count(&self) -> u64 {
        self.next - self.in_flight()
    }

    /// Iterations that are out.
    #[must_use]
    pub fn in_flight(&self) -> u64 {
        self.pending.iter().map(|frame| u64::from(frame.len)).sum()
    }
}
