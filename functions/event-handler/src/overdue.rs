//! Who must be told that time has passed: what a sweep sends, and to whom it need not.
//!
//! A tick makes an aggregate ask again for what is overdue or may be lost. One that has just written an
//! entry is alive, and is left alone unless something is known to be overdue.

use engine_core::event::{Envelope, Input, Status};
use engine_core::ids::{AggregateKey, ExecutionId, InputId};
use engine_core::limits::TICK_INTERVAL_MS;
use engine_core::ports::{PortError, StateStore, Tail};
use engine_core::state::{ExecutionState, LoopState, State, Waits};

/// The message that tells an aggregate that it is `now_ms` (Unix milliseconds).
#[must_use]
pub fn tick(to: AggregateKey, now_ms: i64) -> Envelope {
    Envelope { id: InputId(format!("{to}:tick:{now_ms}")), to, input: Input::Tick }
}

/// The ticks that an execution and its loops need now. Its children are executions of their own.
///
/// # Errors
/// Those of the store.
pub async fn ticks(
    store: &dyn StateStore,
    id: ExecutionId,
    now_ms: i64,
) -> Result<Vec<Envelope>, PortError> {
    let key = AggregateKey::Execution(id);
    let Some(Tail { state: State::Execution(state), at_ms, .. }) = store.tail(&key).await? else {
        return Ok(Vec::new());
    };
    if state.status != Status::Running {
        return Ok(Vec::new());
    }
    let mut is_alive = is_young(at_ms, now_ms);
    let mut ticks = Vec::new();
    for run in state.runs.values() {
        let Waits::Loop { key, .. } = &run.waits else { continue };
        // One that is not there was asked for in vain: its execution asks again.
        let Some(Tail { state: State::Loop(state), at_ms, .. }) = store.tail(key).await? else {
            continue;
        };
        let is_young = is_young(at_ms, now_ms);
        is_alive |= is_young;
        if !state.closed && (!is_young || is_loop_late(&state, now_ms)) {
            ticks.push(tick(key.clone(), now_ms));
        }
    }
    if !is_alive || is_late(&state, now_ms) {
        ticks.insert(0, tick(key, now_ms));
    }
    Ok(ticks)
}

fn is_young(at_ms: i64, now_ms: i64) -> bool {
    now_ms.saturating_sub(at_ms) < TICK_INTERVAL_MS
}

/// Whether a call or the whole execution is overdue.
fn is_late(state: &ExecutionState, now_ms: i64) -> bool {
    let is_overdue = |waits: &Waits| match waits {
        Waits::Command { deadline_ms, .. } => *deadline_ms < now_ms,
        Waits::Nothing | Waits::Loop { .. } => false,
    };
    state.timer.is_some_and(|(until_ms, _)| until_ms < now_ms)
        || state.runs.values().any(|run| is_overdue(&run.waits))
}

fn is_loop_late(state: &LoopState, now_ms: i64) -> bool {
    let elapsed_ms = now_ms.saturating_sub(state.opened_ms);
    state.pending.iter().any(|frame| frame.deadline_after_ms < elapsed_ms)
}

#[cfg(test)]
mod tests;
