//! One execution as one JSON object, the same for the terminal, the HTTP API and programs.

use std::collections::BTreeMap;
use std::io::{self, Write};

use engine_core::event::{Entry, Fact, Failure, Status, ToolFailure};
use engine_core::ids::{AggregateKey, EventId, ExecutionId, StepName};
use engine_core::load::{Readers, for_each_result, load};
use engine_core::payload::{LoopSummary, Payload};
use engine_core::ports::{PortError, Tail};
use engine_core::state::{ExecutionState, State, StepState, Waits};
use serde_json::{Map, Value, json};

use crate::timeline::count_events;
use crate::waiting::{Open, Wait};

/// Entries read at a time: each may hold thousands of results.
const PAGE_ENTRIES: usize = 16;

/// Where an execution stands, results by reference.
#[derive(Clone, Debug, PartialEq)]
pub struct Execution {
    /// Which.
    pub execution_id: ExecutionId,
    /// What is known of it.
    pub state: Box<ExecutionState>,
    /// The result of the step that finished last; null before the end.
    pub result: Payload,
    /// Why it failed or was stopped.
    pub failure: Option<Failure>,
    /// Unix milliseconds of its first entry.
    pub started_ms: i64,
    /// Milliseconds from its first entry to the last one, of it or of an open loop.
    pub duration_ms: u64,
    /// How far its open loops are.
    pub loops: BTreeMap<StepName, LoopCount>,
    /// What its open steps and iterations wait for.
    pub waits: Vec<Wait>,
}

/// How far an open loop is.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct LoopCount {
    /// Iterations of it.
    pub total: u64,
    /// Those that have their outcome.
    pub done: u64,
    /// Those of them that failed.
    pub failed: u64,
}

/// Why a view was not written.
#[derive(Debug, thiserror::Error)]
pub enum ViewError {
    /// A value could not be read.
    #[error(transparent)]
    Port(#[from] PortError),
    /// The reader went away, or the disk is full.
    #[error("the result cannot be written")]
    Write(#[from] io::Error),
}

impl Execution {
    /// Looks an execution up; none if it is unknown. The iterations that open loops have done count as runs.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn find(readers: &Readers, id: ExecutionId) -> Result<Option<Self>, PortError> {
        let key = AggregateKey::Execution(id);
        let tail = readers.store.tail(&key).await?;
        let Some(Tail { seq, at_ms, state: State::Execution(mut state), .. }) = tail else {
            return Ok(None);
        };
        let first = readers.store.entries(&key, 1, 1).await?;
        let started_ms = first.first().map_or(at_ms, |entry| entry.at_ms);
        let last = readers.store.entries(&key, seq, 1).await?;
        let facts = last.into_iter().flat_map(|entry| entry.facts);
        let mut ends = facts.filter_map(|fact| match fact {
            Fact::Finished { result, failure, .. } => Some((result, failure)),
            _ => None,
        });
        let (result, failure) = ends.next().unwrap_or((Payload::Inline(Value::Null), None));
        let mut waits = Open::of_execution(readers, &key, &state).await?.waits;
        let (loops, at_ms) = open_loops(readers, &mut state, at_ms, &mut waits).await?;
        Ok(Some(Self {
            execution_id: id,
            result,
            failure: failure.or_else(|| state.failure.clone()),
            started_ms,
            duration_ms: u64::try_from(at_ms.saturating_sub(started_ms)).unwrap_or(0),
            state,
            loops,
            waits,
        }))
    }

    /// The steps by first finish, then those that have not finished.
    #[must_use]
    pub fn steps(&self) -> Vec<(&StepName, &StepState)> {
        let mut steps: Vec<_> = self.state.steps.iter().collect();
        steps.sort_by_key(|(_, step)| (step.order == 0, step.order));
        steps
    }
}

/// How far the open loops are, and the time of the newest entry; what they wait for goes to `waits`.
async fn open_loops(
    readers: &Readers,
    state: &mut ExecutionState,
    mut last_ms: i64,
    waits: &mut Vec<Wait>,
) -> Result<(BTreeMap<StepName, LoopCount>, i64), PortError> {
    let mut loops: BTreeMap<StepName, LoopCount> = BTreeMap::new();
    for run in state.runs.values() {
        let Waits::Loop { key, .. } = &run.waits else { continue };
        let tail = readers.store.tail(key).await?;
        let Some(Tail { at_ms, state: State::Loop(open), .. }) = tail else { continue };
        last_ms = last_ms.max(at_ms);
        if !open.closed {
            waits.extend(Open::of_loop(readers, key, &open).await?.waits);
        }
        let count = loops.entry(run.step.clone()).or_default();
        count.total += open.collection_size;
        count.done += open.completed_count();
        count.failed += open.failed;
    }
    for (step, count) in &loops {
        if let Some(step) = state.steps.get_mut(step) {
            step.runs += count.done;
        }
    }
    Ok((loops, last_ms))
}

/// The object of an execution; none if it is unknown.
///
/// `{execution_id, parent_execution_id?, path, status, result, order, steps: {name: {status, result, runs,
/// waiting?: [{for, index?, ...}]}}, error?, duration_ms, events}`. A step waits `for` a `callback`
/// (`token`, `path`, `until`), a `time` (`until`), a `playbook` (`execution_id`) or a `retry` (`attempt`,
/// `until`). For an execution whose results do not fit into memory, see [`write_view`].
///
/// # Errors
/// Those of the ports.
pub async fn execution_view(
    readers: &Readers,
    id: ExecutionId,
) -> Result<Option<Value>, ViewError> {
    let Some(execution) = Execution::find(readers, id).await? else { return Ok(None) };
    let mut json = Vec::new();
    write_view(readers, &execution, &mut json).await?;
    Ok(Some(serde_json::from_slice(&json).map_err(io::Error::from)?))
}

/// Writes the object of an execution to `out`, the results of a loop one by one.
///
/// # Errors
/// [`ViewError`]; what was written until then is no JSON.
pub async fn write_view<W: Write + Send>(
    readers: &Readers,
    execution: &Execution,
    out: &mut W,
) -> Result<(), ViewError> {
    let state = &execution.state;
    let mut head = json!({"execution_id": execution.execution_id});
    if let Some(parent) = &state.parent {
        head["parent_execution_id"] = json!(parent.key.execution_id());
    }
    head["path"] = json!(state.playbook.path);
    head["status"] = json!(state.status);
    write_open(out, &head)?;
    out.write_all(b",\"result\":")?;
    write_payload(readers, &execution.result, out).await?;
    let finished = execution.steps().into_iter().filter(|(_, step)| step.order > 0);
    let order: Vec<&StepName> = finished.map(|(name, _)| name).collect();
    write!(out, ",\"order\":{},\"steps\":{{", json!(order))?;
    for (index, (name, step)) in execution.steps().into_iter().enumerate() {
        let comma = if index == 0 { "" } else { "," };
        write!(out, "{comma}{}:{{\"status\":{},\"result\":", json!(name), json!(step.status))?;
        let nothing = Payload::Inline(Value::Null);
        write_payload(readers, step.result.as_ref().unwrap_or(&nothing), out).await?;
        write!(out, ",\"runs\":{}", step.runs)?;
        let waits = execution.waits.iter().filter(|wait| wait.step == *name);
        let waits: Vec<Value> = waits.map(Wait::json).collect();
        if !waits.is_empty() {
            write!(out, ",\"waiting\":{}", json!(waits))?;
        }
        out.write_all(b"}")?;
    }
    out.write_all(b"}")?;
    if let Some(failure) = &execution.failure {
        write!(out, ",\"error\":{}", error(failure))?;
    }
    let events = count_events(&readers.store, execution.execution_id).await?;
    write!(out, ",\"duration_ms\":{},\"events\":{events}}}", execution.duration_ms)?;
    Ok(())
}

/// A failure as one flat object: where it happened, then what.
#[must_use]
pub fn error(failure: &Failure) -> Value {
    let mut error = Map::new();
    let Failure { step, line, attempt, index, error: cause } = failure;
    if let Some(step) = step {
        error.insert("step".to_owned(), json!(step));
        error.insert("line".to_owned(), json!(line));
    }
    if let Some(index) = index {
        error.insert("index".to_owned(), json!(index));
    }
    if *attempt > 0 {
        error.insert("attempt".to_owned(), json!(attempt));
    }
    if let Value::Object(cause) = json!(cause) {
        error.extend(cause);
    }
    Value::Object(error)
}

/// An object without its last brace.
fn write_open(out: &mut impl Write, object: &Value) -> io::Result<()> {
    let json = object.to_string();
    out.write_all(json.strip_suffix('}').unwrap_or(&json).as_bytes())
}

async fn write_payload<W: Write + Send>(
    readers: &Readers,
    payload: &Payload,
    out: &mut W,
) -> Result<(), ViewError> {
    if let Payload::Loop(summary) = payload {
        return write_loop(readers, summary, out).await;
    }
    let value = load(readers, payload).await?;
    serde_json::to_writer(out, &value).map_err(io::Error::from)?;
    Ok(())
}

/// `{"results": [...], "stats": {...}}`, as [`load`] would give it, without holding all of it.
async fn write_loop<W: Write + Send>(
    readers: &Readers,
    summary: &LoopSummary,
    out: &mut W,
) -> Result<(), ViewError> {
    out.write_all(b"{\"results\":[")?;
    let mut list = List { out, next: 0, early: BTreeMap::new(), written: Ok(()) };
    for_each_result(readers, summary, |index, result| list.take(index, result)).await?;
    while list.next < summary.total {
        let next = list.next;
        list.take(next, Value::Null);
    }
    let List { out, written, .. } = list;
    written?;
    write!(out, "],\"stats\":{}}}", summary.stats())?;
    Ok(())
}

/// Writes results by index; those that come early wait for the ones before them.
struct List<'a, W> {
    out: &'a mut W,
    next: u64,
    early: BTreeMap<u64, Value>,
    written: io::Result<()>,
}

impl<W: Write> List<'_, W> {
    fn take(&mut self, index: u64, result: Value) {
        self.early.insert(index, result);
        while let Some(result) = self.early.remove(&self.next) {
            if self.written.is_ok() {
                self.written = self.write(&result);
            }
            self.next += 1;
        }
    }

    fn write(&mut self, result: &Value) -> io::Result<()> {
        if self.next > 0 {
            self.out.write_all(b",")?;
        }
        serde_json::to_writer(&mut *self.out, result).map_err(io::Error::from)
    }
}

/// The first iteration that failed for good, in the order of the log: its index, attempt and error.
///
/// # Errors
/// Those of the store.
pub async fn first_failure(
    readers: &Readers,
    summary: &LoopSummary,
) -> Result<Option<(u64, u32, ToolFailure)>, PortError> {
    let mut from = 1;
    loop {
        let entries = readers.store.entries(&summary.key, from, PAGE_ENTRIES).await?;
        if let Some(found) = entries.iter().find_map(failed_in) {
            return Ok(Some(found));
        }
        match entries.last() {
            Some(last) if entries.len() == PAGE_ENTRIES => from = last.seq + 1,
            _ => return Ok(None),
        }
    }
}

fn failed_in(entry: &Entry) -> Option<(u64, u32, ToolFailure)> {
    entry.facts.iter().enumerate().find_map(|(position, fact)| match fact {
        Fact::FrameAnswered { first, attempt, outcomes, retried, .. } => {
            let mut failed = (*first..).zip(outcomes).filter(|(index, _)| !retried.contains(index));
            failed.find_map(|(index, outcome)| Some((index, *attempt, outcome.error.clone()?)))
        }
        Fact::IterationSettled { index: settled, outcome, .. } => {
            // Its last call stands before it in the same entry.
            let answers = entry.facts.iter().take(position).rev();
            let mut attempts = answers.filter_map(|fact| match fact {
                Fact::Answered { index, attempt, .. } if *index == Some(*settled) => Some(*attempt),
                _ => None,
            });
            Some((*settled, attempts.next().unwrap_or(0), outcome.error.clone()?))
        }
        _ => None,
    })
}

/// Milliseconds between entry and exit of each step's runs, summed up; open runs do not count.
///
/// # Errors
/// Those of the store.
pub async fn step_durations(
    readers: &Readers,
    id: ExecutionId,
) -> Result<BTreeMap<StepName, u64>, PortError> {
    let key = AggregateKey::Execution(id);
    let mut open: BTreeMap<EventId, i64> = BTreeMap::new();
    let mut durations = BTreeMap::new();
    let mut from = 1;
    loop {
        let entries = readers.store.entries(&key, from, PAGE_ENTRIES).await?;
        for entry in &entries {
            for fact in &entry.facts {
                match fact {
                    Fact::StepEntered { run, .. } => {
                        open.insert(*run, entry.at_ms);
                    }
                    Fact::StepExited { run, step, .. } => {
                        let took = open.remove(run).map_or(0, |entered| entry.at_ms - entered);
                        *durations.entry(step.clone()).or_default() += took.unsigned_abs();
                    }
                    _ => {}
                }
            }
        }
        match entries.last() {
            Some(last) if entries.len() == PAGE_ENTRIES => from = last.seq + 1,
            _ => return Ok(durations),
        }
    }
}

/// A status as people and programs read it.
#[must_use]
pub fn status_text(status: Status) -> &'static str {
    match status {
        Status::Running => "RUNNING",
        Status::Completed => "COMPLETED",
        Status::Failed => "FAILED",
        Status::Cancelled => "CANCELLED",
        Status::Skipped => "SKIPPED",
    }
}

#[cfg(test)]
mod tests;
