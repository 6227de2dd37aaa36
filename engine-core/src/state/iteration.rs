//! The state of a loop: counts and the pending set, never results and never the collection.

use serde::{Deserialize, Serialize};

use super::At;
use crate::event::{Fact, LoopOpen, Outcome};
use crate::ids::StepName;
use crate::limits::{FRAME_TARGET_MS, LOOP_ERROR_BYTES, LOOP_ERRORS_KEPT, QUEUE_ALLOWANCE_MS};
use crate::payload::{LoopSummary, PayloadRef};
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
    /// Executions above its own.
    #[serde(skip_serializing_if = "crate::event::is_zero", default)]
    pub depth: u32,
    /// Unix milliseconds of the opening.
    pub opened_ms: i64,
    /// The first index that was never issued.
    pub next: u64,
    /// Frames that are out, ascending by first index.
    pub pending: Vec<PendingFrame>,
    /// Where the log holds the variables that iterations have set: entry and fact.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub vars: Option<(u64, u32)>,
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
    /// Whether nothing new is issued any more.
    pub stopped: bool,
    /// Whether every iteration has its outcome.
    pub closed: bool,
    /// Inputs folded so far.
    pub folded: u64,
}

/// Iterations that are out under one command. Written as `[first, len, attempt, deadline]`, and for the
/// call of a unit with `call` and the two numbers of `unit` behind.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(from = "Row", into = "Row")]
pub struct PendingFrame {
    /// First index.
    pub first: u64,
    /// How many.
    pub len: u32,
    /// The current attempt.
    pub attempt: u32,
    /// Milliseconds after the loop's opening at which it counts as lost.
    pub deadline_after_ms: i64,
    /// Which call of its unit is out, from 1.
    pub call: u32,
    /// Where the log holds the unit: entry and fact; none for an iteration of one call.
    pub unit: Option<(u64, u32)>,
}

#[derive(Deserialize, Serialize)]
#[serde(untagged)]
enum Row {
    Plain(u64, u32, u32, i64),
    Unit(u64, u32, u32, i64, u32, u64, u32),
}

impl From<Row> for PendingFrame {
    fn from(row: Row) -> Self {
        let (first, len, attempt, deadline_after_ms, call, unit) = match row {
            Row::Plain(first, len, attempt, deadline) => (first, len, attempt, deadline, 1, None),
            Row::Unit(first, len, attempt, deadline, call, seq, fact) => {
                (first, len, attempt, deadline, call, Some((seq, fact)))
            }
        };
        Self { first, len, attempt, deadline_after_ms, call, unit }
    }
}

impl From<PendingFrame> for Row {
    fn from(frame: PendingFrame) -> Self {
        let PendingFrame { first, len, attempt, deadline_after_ms: deadline, call, unit } = frame;
        match unit {
            None => Self::Plain(first, len, attempt, deadline),
            Some((seq, fact)) => Self::Unit(first, len, attempt, deadline, call, seq, fact),
        }
    }
}

impl LoopState {
    /// The state right after the loop was opened.
    #[must_use]
    pub fn open(open: &LoopOpen, at_ms: i64) -> Self {
        Self {
            playbook: open.playbook.clone(),
            step: open.step.clone(),
            tool_kind: open.tool_kind.clone(),
            iterator: open.iterator.clone(),
            mode: open.mode,
            collection_size: open.collection_size,
            collection: open.collection.clone(),
            chunk_items: open.chunk_items,
            max_in_flight: open.max_in_flight,
            frame_items_max: open.frame_items_max,
            frame_items: 1,
            fail_fast: open.fail_fast,
            timeout_ms: open.timeout_ms,
            depth: open.depth,
            opened_ms: at_ms,
            next: 0,
            pending: Vec::new(),
            vars: None,
            failed: 0,
            handled: 0,
            skipped: 0,
            errors: Vec::new(),
            signals: 0,
            stopped: false,
            closed: false,
            folded: 0,
        }
    }

    /// Folds one fact. Total: what was recorded happened.
    pub fn apply(&mut self, fact: &Fact, at: &At<'_>) {
        match fact {
            Fact::FrameIssued { first, len, attempt, not_before_ms, call, unit, .. } => {
                let unit = unit.as_ref().map(|_| (at.seq, at.fact));
                let frame = PendingFrame {
                    first: *first,
                    len: *len,
                    attempt: *attempt,
                    deadline_after_ms: 0,
                    call: *call,
                    unit,
                };
                self.issue(frame, at.at_ms.max(*not_before_ms));
            }
            Fact::Answered { index: Some(index), attempt, .. } => self.settle(*index, *attempt),
            Fact::IterationSettled { index, outcome, handled, .. } => {
                // One whose first call could not even be rendered was never out.
                self.next = self.next.max(*index + 1);
                self.count(*index, 1, std::slice::from_ref(outcome), &[]);
                self.handled += u64::from(*handled);
            }
            Fact::LoopVariables { .. } => self.vars = Some((at.seq, at.fact)),
            Fact::FrameAnswered { first, len, attempt, outcomes, retried, handled, .. } => {
                self.settle(*first, *attempt);
                self.count(*first, *len, outcomes, retried);
                self.handled += handled.len() as u64;
                self.pace(*len, outcomes);
            }
            Fact::LoopStopped { .. } => self.stopped = true,
            Fact::SignalSent { signal } => self.signals = self.signals.max(signal.number),
            Fact::LoopClosed { .. } => self.closed = true,
            _ => {}
        }
    }

    /// The counts, as the execution is told them.
    #[must_use]
    pub fn summary(&self, at: &At<'_>) -> LoopSummary {
        let (total, failed) = (self.next - self.skipped, self.failed);
        LoopSummary { key: at.key.clone(), total, failed }
    }

    fn issue(&mut self, mut frame: PendingFrame, from_ms: i64) {
        let deadline_ms = from_ms.saturating_add(self.patience_ms(frame.len));
        frame.deadline_after_ms = deadline_ms - self.opened_ms;
        self.next = self.next.max(frame.first + u64::from(frame.len));
        match self.pending.binary_search_by_key(&frame.first, |pending| pending.first) {
            Ok(at) => self.pending[at] = frame,
            Err(at) => self.pending.insert(at, frame),
        }
    }

    /// How long a frame may take, the time in its queue included.
    fn patience_ms(&self, len: u32) -> i64 {
        let calls_ms = self.timeout_ms.saturating_mul(u64::from(len));
        i64::try_from(calls_ms.saturating_add(QUEUE_ALLOWANCE_MS)).unwrap_or(i64::MAX)
    }

    /// Unix milliseconds before which a pending frame must not run.
    #[must_use]
    pub fn not_before_ms(&self, frame: &PendingFrame) -> i64 {
        self.opened_ms + frame.deadline_after_ms - self.patience_ms(frame.len)
    }

    fn settle(&mut self, first: u64, attempt: u32) {
        self.pending.retain(|frame| frame.first != first || frame.attempt != attempt);
    }

    fn count(&mut self, first: u64, len: u32, outcomes: &[Outcome], retried: &[u64]) {
        self.skipped += u64::from(len).saturating_sub(outcomes.len() as u64);
        for (index, outcome) in (first..).zip(outcomes) {
            let Some(error) = &outcome.error else { continue };
            if retried.contains(&index) {
                continue;
            }
            self.failed += 1;
            if self.errors.len() < LOOP_ERRORS_KEPT {
                let text = format!("[{index}] {}: {}", error.kind, error.message);
                self.errors.push(cut(&text, LOOP_ERROR_BYTES));
            }
        }
    }

    /// Lets frames grow while they are quick and shrink while they are slow.
    fn pace(&mut self, len: u32, outcomes: &[Outcome]) {
        let took_ms: u64 = outcomes.iter().map(|outcome| outcome.duration_ms).sum();
        if took_ms > 2 * FRAME_TARGET_MS {
            self.frame_items = (self.frame_items / 2).max(1);
        } else if 2 * took_ms <= FRAME_TARGET_MS && len >= self.frame_items {
            self.frame_items = (self.frame_items * 2).min(self.frame_items_max);
        }
    }

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

/// The longest prefix of at most `bytes` bytes, without what JSON would write as more than it is.
fn cut(text: &str, bytes: usize) -> String {
    let plain = |c: char| match c {
        '"' | '\\' => '\'',
        c if c.is_control() => ' ',
        c => c,
    };
    text[..text.floor_char_boundary(bytes)].chars().map(plain).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::ToolFailure;
    use crate::ids::{AggregateKey, EventId, ExecutionId};
    use crate::limits::{ATTEMPTS_MAX, FRAME_ITEMS_MAX, LOOP_IN_FLIGHT_MAX, LOOP_ITEMS_MAX};
    use crate::limits::{LOOP_STATE_BYTES_MAX, NAME_BYTES_MAX};
    use crate::payload::{Blob, Payload};
    use crate::playbook::PlaybookRef;

    /// A failure whose text is as long as a text can be, and all of it needs escapes.
    fn failed() -> Outcome {
        let message = "\u{1}\"\\".repeat(1_000);
        let error = ToolFailure { kind: "E".into(), message, ..ToolFailure::default() };
        let result = Payload::Inline(serde_json::Value::Null);
        let (started_ms, duration_ms, output) = (0, 0, String::new());
        Outcome { result, error: Some(error), started_ms, duration_ms, output }
    }

    #[test]
    fn the_largest_possible_state_of_a_loop_is_under_its_limit() {
        let name = "n".repeat(NAME_BYTES_MAX);
        let execution_id = ExecutionId(i64::MAX);
        let open = LoopOpen {
            playbook: PlaybookRef { path: name.clone(), hash: "f".repeat(64) },
            step: name.as_str().into(),
            tool_kind: "playbook".to_owned(),
            iterator: name.clone(),
            mode: LoopMode::Sequential,
            collection_size: LOOP_ITEMS_MAX as u64,
            collection: Blob::new(execution_id, vec![0; 1_000_000]).reference,
            chunk_items: 4_096,
            max_in_flight: LOOP_IN_FLIGHT_MAX,
            frame_items_max: FRAME_ITEMS_MAX,
            fail_fast: false,
            timeout_ms: crate::limits::TOOL_TIMEOUT_MS_MAX,
            scope: Payload::Inline(serde_json::Value::Null),
            heard: 0,
            note: None,
            depth: crate::limits::PLAYBOOK_DEPTH_MAX,
        };
        let mut state = LoopState::open(&open, 1_800_000_000_000);
        let key =
            AggregateKey::Loop { execution_id, step: name.into(), event_id: EventId(i64::MAX) };
        let at = At { key: &key, seq: u64::MAX, at_ms: 1_800_999_999_999, fact: 0 };
        let answer = |first| Fact::FrameAnswered {
            first,
            len: 1,
            attempt: 1,
            worker: String::new(),
            step: "s".into(),
            outcomes: vec![failed()],
            retried: Vec::new(),
            handled: Vec::new(),
        };
        for first in 0..10 {
            state.apply(&answer(first), &at);
        }
        let end = LOOP_ITEMS_MAX as u64;
        for n in 0..LOOP_IN_FLIGHT_MAX {
            let first = end - (n + 1) * u64::from(FRAME_ITEMS_MAX);
            let frame = PendingFrame {
                first,
                len: FRAME_ITEMS_MAX,
                attempt: ATTEMPTS_MAX,
                deadline_after_ms: 0,
                call: 1,
                unit: None,
            };
            state.issue(frame, at.at_ms);
        }
        state.folded = crate::limits::TRANSITIONS_MAX;
        state.signals = end;
        let bytes = serde_json::to_string(&state).unwrap().len();
        assert!((2_000..=LOOP_STATE_BYTES_MAX).contains(&bytes), "{bytes} bytes");
    }
}
