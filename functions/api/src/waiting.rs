//! What open steps wait for, beside the answer of a worker: people, times, other executions.

use std::collections::VecDeque;

use engine_core::command::Command;
use engine_core::event::{Fact, Status};
use engine_core::ids::{AggregateKey, EventId, ExecutionId, StepName};
use engine_core::load::{Readers, load};
use engine_core::ports::{PortError, Tail};
use engine_core::project::callback_path;
use engine_core::state::{ExecutionState, LoopState, PendingFrame, State, StepRun, Unit, Waits};
use serde_json::{Value, json};

/// Milliseconds of a day.
const DAY_MS: i64 = 86_400_000;

/// What a call waits for.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Waiting {
    /// Somebody who presents the token.
    Callback {
        /// The execution that asks.
        execution_id: ExecutionId,
        /// What must be presented.
        token: String,
        /// Unix milliseconds at which it gives up.
        until_ms: Option<i64>,
    },
    /// Unix milliseconds.
    Time {
        /// Which.
        until_ms: i64,
    },
    /// The end of a child execution.
    Playbook {
        /// The child.
        execution_id: ExecutionId,
    },
    /// The next attempt of a call that failed.
    Retry {
        /// Which attempt.
        attempt: u32,
        /// Unix milliseconds before which it does not begin.
        until_ms: i64,
    },
}

/// One call that waits.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Wait {
    /// The step.
    pub step: StepName,
    /// The iteration, in a loop.
    pub index: Option<u64>,
    /// What for.
    pub what: Waiting,
}

/// What the open calls of one aggregate wait for.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Open {
    /// Those that wait for something that can be named.
    pub waits: Vec<Wait>,
    /// The loops that it waits for.
    pub loops: Vec<AggregateKey>,
    /// Whether anything else is under way, such as the call of a tool.
    pub busy: bool,
}

impl Waiting {
    /// What a command waits for that was issued with this unit; none if a worker runs it at once.
    #[must_use]
    pub fn of_command(command: &Command, unit: Option<&Unit>) -> Option<Self> {
        let id = command.reply_to.execution_id();
        let delay = (command.attempt, command.not_before_ms);
        Self::of_call(&command.tool_kind, unit, delay, id)
    }

    fn of_call(
        kind: &str,
        unit: Option<&Unit>,
        (attempt, not_before_ms): (u32, i64),
        execution_id: ExecutionId,
    ) -> Option<Self> {
        let named = match (kind, unit) {
            ("callback", Some(Unit { token: Some(token), until_ms, .. })) => {
                let (token, until_ms) = (token.clone(), *until_ms);
                Some(Self::Callback { execution_id, token, until_ms })
            }
            ("wait", Some(Unit { until_ms: Some(until_ms), .. })) => {
                Some(Self::Time { until_ms: *until_ms })
            }
            ("playbook", Some(Unit { child: Some(child), .. })) => {
                Some(Self::Playbook { execution_id: *child })
            }
            _ => None,
        };
        let delayed = attempt > 1 && not_before_ms > 0;
        named.or_else(|| delayed.then_some(Self::Retry { attempt, until_ms: not_before_ms }))
    }

    fn is_retry(&self) -> bool {
        matches!(self, Self::Retry { .. })
    }
}

impl Wait {
    /// `{for, ...}`, as programs read it.
    #[must_use]
    pub fn json(&self) -> Value {
        let mut json = match &self.what {
            Waiting::Callback { execution_id, token, until_ms } => json!({
                "for": "callback", "token": token, "path": callback_path(*execution_id, token),
                "until": until_ms.map(utc),
            }),
            Waiting::Time { until_ms } => json!({"for": "time", "until": utc(*until_ms)}),
            Waiting::Playbook { execution_id } => {
                json!({"for": "playbook", "execution_id": execution_id})
            }
            Waiting::Retry { attempt, until_ms } => {
                json!({"for": "retry", "attempt": attempt, "until": utc(*until_ms)})
            }
        };
        if let Some(index) = self.index {
            json["index"] = json!(index);
        }
        json
    }
}

impl Open {
    /// What an execution waits for; its loops are only named.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn of_execution(
        readers: &Readers,
        key: &AggregateKey,
        state: &ExecutionState,
    ) -> Result<Self, PortError> {
        let mut open = Self::default();
        for (run_id, run) in &state.runs {
            match &run.waits {
                Waits::Loop { key, .. } => open.loops.push(key.clone()),
                Waits::Nothing => open.busy = true,
                Waits::Command { issued_seq, attempt, .. } => {
                    let what = match (&run.unit, attempt) {
                        (None, 1) => None,
                        _ => issued(readers, key, *issued_seq, *run_id).await?,
                    };
                    open.take(run, what);
                }
            }
        }
        Ok(open)
    }

    fn take(&mut self, run: &StepRun, what: Option<Waiting>) {
        self.busy |= what.as_ref().is_none_or(Waiting::is_retry);
        self.waits.extend(what.map(|what| Wait { step: run.step.clone(), index: None, what }));
    }

    /// What the iterations of a loop wait for.
    ///
    /// # Errors
    /// Those of the ports.
    pub async fn of_loop(
        readers: &Readers,
        key: &AggregateKey,
        state: &LoopState,
    ) -> Result<Self, PortError> {
        let mut open = Self { busy: state.pending.is_empty(), ..Self::default() };
        for frame in &state.pending {
            let what = framed(readers, key, frame).await?;
            open.busy |= what.as_ref().is_none_or(Waiting::is_retry);
            let (step, index) = (state.step.clone(), Some(frame.first));
            open.waits.extend(what.map(|what| Wait { step, index, what }));
        }
        Ok(open)
    }
}

/// What the command of a run waits for that an entry has issued.
async fn issued(
    readers: &Readers,
    key: &AggregateKey,
    seq: u64,
    run_id: EventId,
) -> Result<Option<Waiting>, PortError> {
    let entries = readers.store.entries(key, seq, 1).await?;
    let facts = entries.iter().flat_map(|entry| &entry.facts).rev();
    let mut issued = facts.filter_map(|fact| match fact {
        Fact::CommandIssued { run, command, unit } if *run == run_id => Some((command, unit)),
        _ => None,
    });
    let issued = issued.next();
    Ok(issued.and_then(|(command, unit)| Waiting::of_command(command, unit.as_deref())))
}

/// What the call of a unit in a loop waits for.
async fn framed(
    readers: &Readers,
    key: &AggregateKey,
    frame: &PendingFrame,
) -> Result<Option<Waiting>, PortError> {
    let Some((seq, fact)) = frame.unit else { return Ok(None) };
    let entries = readers.store.entries(key, seq, 1).await?;
    let fact = entries.first().and_then(|entry| entry.facts.get(fact as usize));
    let Some(Fact::FrameIssued { tool_kind, unit: Some(unit), attempt, not_before_ms, .. }) = fact
    else {
        return Ok(None);
    };
    let unit: Option<Unit> = serde_json::from_value(load(readers, unit).await?).ok();
    let delay = (*attempt, *not_before_ms);
    Ok(Waiting::of_call(tool_kind, unit.as_ref(), delay, key.execution_id()))
}

/// Everything that has not ended of an execution, its loops and the children that it waits for: itself
/// first. What has no log yet, or has ended unheard, is busy.
///
/// # Errors
/// Those of the ports.
pub async fn open_tree(
    readers: &Readers,
    id: ExecutionId,
) -> Result<Vec<(AggregateKey, Open)>, PortError> {
    let mut todo = VecDeque::from([AggregateKey::Execution(id)]);
    let mut tree = Vec::new();
    while let Some(key) = todo.pop_front() {
        let open = match readers.store.tail(&key).await? {
            Some(Tail { state: State::Execution(state), .. })
                if state.status == Status::Running =>
            {
                Open::of_execution(readers, &key, &state).await?
            }
            Some(Tail { state: State::Loop(state), .. }) if !state.closed => {
                Open::of_loop(readers, &key, &state).await?
            }
            _ => Open { busy: true, ..Open::default() },
        };
        todo.extend(open.loops.iter().cloned());
        todo.extend(open.waits.iter().filter_map(|wait| match wait.what {
            Waiting::Playbook { execution_id } => Some(AggregateKey::Execution(execution_id)),
            _ => None,
        }));
        tree.push((key, open));
    }
    Ok(tree)
}

/// The callbacks that an execution waits for, if nothing else can carry it on; else none.
///
/// # Errors
/// Those of the ports.
pub async fn only_callbacks(readers: &Readers, id: ExecutionId) -> Result<Vec<Wait>, PortError> {
    let mut callbacks = Vec::new();
    for (_, open) in open_tree(readers, id).await? {
        if open.busy {
            return Ok(Vec::new());
        }
        for wait in open.waits {
            match wait.what {
                Waiting::Callback { .. } => callbacks.push(wait),
                Waiting::Playbook { .. } => {}
                Waiting::Time { .. } | Waiting::Retry { .. } => return Ok(Vec::new()),
            }
        }
    }
    Ok(callbacks)
}

/// Unix milliseconds as `2026-03-01T12:30:00Z`, with milliseconds where there are some.
///
/// Source: H. Hinnant, "chrono-compatible low-level date algorithms", `civil_from_days`.
#[must_use]
pub fn utc(at_ms: i64) -> String {
    let (days, ms) = (at_ms.div_euclid(DAY_MS), at_ms.rem_euclid(DAY_MS));
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted.div_euclid(146_097), shifted.rem_euclid(146_097));
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    // Years begin in March here, so that a leap day is their last.
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = (month_from_march + 2) % 12 + 1;
    let year = era * 400 + year_of_era + i64::from(month <= 2);
    let (hour, minute, second) = (ms / 3_600_000, ms / 60_000 % 60, ms / 1_000 % 60);
    let part = match ms % 1_000 {
        0 => String::new(),
        part => format!(".{part:03}"),
    };
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}{part}Z")
}

#[cfg(test)]
mod tests;
