//! What is going on, told from the entries as they are committed.

mod bars;
mod lines;

use std::collections::BTreeMap;

use api::waiting::Waiting;
use engine_core::event::{Entry, Fact, Status};
use engine_core::ids::{AggregateKey, EventId, ExecutionId, StepName};
use engine_core::state::State;

pub(crate) use self::bars::Bars;
pub(crate) use self::lines::Lines;
use super::{Styles, duration, number, one_line, printable, waiting};

/// Characters of an error beside a step; the end of the run shows all of it.
const ERROR_CHARS: usize = 80;

/// A step entry: children of an execution run beside it and have ids of their own.
pub(crate) type Run = (ExecutionId, EventId);

/// Something that a person who waits would like to know.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Note {
    /// A step began.
    Entered { run: Run, step: StepName },
    /// A step ended.
    Exited { run: Run, exit: Exit },
    /// A failed call will be tried again.
    Retried { depth: u32, step: StepName, attempt: u32, delay_ms: u64, error: String },
    /// A step waits for something else than a worker.
    Waits { depth: u32, step: StepName, what: Waiting },
    /// How far a long call is, as its tool says it.
    Reached { depth: u32, step: StepName, data: String },
    /// Where a loop stands.
    Loop { run: Run, count: Count },
}

/// How a step ended.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Exit {
    /// Executions above the one of the step.
    pub(crate) depth: u32,
    pub(crate) step: StepName,
    pub(crate) status: Status,
    /// Unknown if the step began before this process did.
    pub(crate) took_ms: Option<u64>,
    /// Iterations, and how many of them failed, for a loop.
    pub(crate) items: Option<(u64, u64)>,
    pub(crate) error: Option<String>,
}

/// Where a loop stands.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Count {
    pub(crate) step: StepName,
    pub(crate) total: u64,
    pub(crate) done: u64,
    pub(crate) failed: u64,
    pub(crate) closed: bool,
}

/// Makes notes of entries.
#[derive(Debug, Default)]
pub(crate) struct Notes {
    /// When the steps that are open began, in Unix milliseconds.
    entered: BTreeMap<Run, i64>,
}

impl Notes {
    /// What one entry tells, in order.
    pub(crate) fn of(&mut self, entry: &Entry) -> Vec<Note> {
        match (&entry.key, &entry.state) {
            (AggregateKey::Loop { event_id, .. }, State::Loop(state)) => {
                let count = Count {
                    step: state.step.clone(),
                    total: state.collection_size,
                    done: state.completed_count(),
                    failed: state.failed,
                    closed: state.closed,
                };
                vec![Note::Loop { run: (entry.execution_id(), *event_id), count }]
            }
            _ => entry.facts.iter().filter_map(|fact| self.of_fact(fact, entry)).collect(),
        }
    }

    fn of_fact(&mut self, fact: &Fact, entry: &Entry) -> Option<Note> {
        let named = |run: &EventId| (entry.execution_id(), *run);
        let depth = depth(entry);
        match fact {
            Fact::StepEntered { run, step, .. } => {
                self.entered.insert(named(run), entry.at_ms);
                Some(Note::Entered { run: named(run), step: step.clone() })
            }
            Fact::StepExited { run, step, status, error, .. } => {
                let entered = self.entered.remove(&named(run));
                let took_ms = entered.map(|entered| (entry.at_ms - entered).unsigned_abs());
                let error =
                    error.as_ref().map(|error| format!("{}: {}", error.kind, error.message));
                let (step, items) = (step.clone(), items(&entry.facts, *run));
                let exit = Exit { depth, step, status: *status, took_ms, items, error };
                Some(Note::Exited { run: named(run), exit })
            }
            Fact::Retried { run, step, attempt, delay_ms, .. } => Some(Note::Retried {
                depth,
                step: step.clone(),
                attempt: *attempt,
                delay_ms: *delay_ms,
                error: answered(&entry.facts, *run),
            }),
            // That a call runs at all was told with its step.
            Fact::Progressed { step, report, .. } if !report.data.is_null() => {
                Some(Note::Reached { depth, step: step.clone(), data: report.data.to_string() })
            }
            Fact::CommandIssued { command, unit, .. } => {
                let what = Waiting::of_command(command, unit.as_deref());
                // That a call is tried again was told with its failure.
                let what = what.filter(|what| !matches!(what, Waiting::Retry { .. }))?;
                Some(Note::Waits { depth, step: command.step.clone(), what })
            }
            _ => None,
        }
    }
}

/// Executions above the one that an entry belongs to.
fn depth(entry: &Entry) -> u32 {
    match &entry.state {
        State::Execution(state) => state.parent.as_ref().map_or(0, |parent| parent.depth),
        State::Loop(_) => 0,
    }
}

/// What stands before a line about a child.
fn indent(depth: u32) -> String {
    "  ".repeat(depth as usize)
}

/// The counts of the loop that a run waited for.
fn items(facts: &[Fact], run: EventId) -> Option<(u64, u64)> {
    facts.iter().find_map(|fact| match fact {
        Fact::LoopDone { run: of, summary, .. } if *of == run => {
            Some((summary.total, summary.failed))
        }
        _ => None,
    })
}

/// The error that a run was answered with.
fn answered(facts: &[Fact], run: EventId) -> String {
    let mut errors = facts.iter().filter_map(|fact| match fact {
        Fact::Answered { run: of, outcome, .. } if *of == run => outcome.error.as_ref(),
        _ => None,
    });
    errors.next_back().map(|error| format!("{}: {}", error.kind, error.message)).unwrap_or_default()
}

/// One line about the end of a step.
pub(crate) fn exit_line(exit: &Exit, styles: &Styles) -> String {
    let failed = exit.status == Status::Failed;
    let mark = match exit.status {
        Status::Skipped => styles.faint.apply_to("–"),
        _ if failed => styles.bad.apply_to("✘"),
        _ => styles.good.apply_to("✔"),
    };
    let mut parts = vec![format!("{}{mark} {}", indent(exit.depth), printable(exit.step.as_str()))];
    if exit.status == Status::Skipped {
        parts.push("skipped".to_owned());
    }
    if let Some((total, failed)) = exit.items {
        let failed = match failed {
            0 => String::new(),
            failed => styles.bad.apply_to(format!(", {} failed", number(failed))).to_string(),
        };
        parts.push(format!("{} items{failed}", number(total)));
    }
    if let Some(took_ms) = exit.took_ms {
        parts.push(styles.faint.apply_to(duration(took_ms)).to_string());
    }
    if let Some(error) = &exit.error {
        parts.push(one_line(&printable(error), ERROR_CHARS));
    }
    parts.join("  ")
}

/// One line about a failed call that will be tried again, or a step that waits.
pub(crate) fn note_line(note: &Note, styles: &Styles) -> Option<String> {
    match note {
        Note::Retried { depth, step, attempt, delay_ms, error } => {
            let mark = styles.odd.apply_to("↻");
            let (step, error) =
                (printable(step.as_str()), one_line(&printable(error), ERROR_CHARS));
            let (indent, delay) = (indent(*depth), duration(*delay_ms));
            Some(format!(
                "{indent}{mark} {step}  attempt {attempt} failed, again in {delay}  {error}"
            ))
        }
        Note::Waits { depth, step, what } => {
            let mark = styles.odd.apply_to("…");
            let (indent, step) = (indent(*depth), printable(step.as_str()));
            Some(format!("{indent}{mark} {step}  {}", waiting(what)))
        }
        Note::Reached { depth, step, data } => {
            let mark = styles.odd.apply_to("…");
            let (step, data) = (printable(step.as_str()), one_line(&printable(data), ERROR_CHARS));
            Some(format!("{}{mark} {step}  {data}", indent(*depth)))
        }
        _ => None,
    }
}
