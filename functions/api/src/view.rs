//! One execution as one JSON object, the same for the terminal, the HTTP API and programs.

use std::collections::BTreeMap;
use std::io::{self, Write};

use engine_core::event::{Fact, Failure, Status};
use engine_core::ids::{AggregateKey, EventId, ExecutionId, StepName};
use engine_core::load::{Readers, for_each_result, load};
use engine_core::payload::{LoopSummary, Payload};
use engine_core::ports::{PortError, Tail};
use engine_core::state::{ExecutionState, State, StepState};
use serde_json::{Map, Value, json};

use crate::timeline::count_events;

/// Entries read at a time.
const PAGE_ENTRIES: usize = 256;

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
    /// Milliseconds from its first entry to its last.
    pub duration_ms: u64,
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
    /// Looks an execution up; none if it is unknown.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn find(readers: &Readers, id: ExecutionId) -> Result<Option<Self>, PortError> {
        let key = AggregateKey::Execution(id);
        let tail = readers.store.tail(&key).await?;
        let Some(Tail { seq, at_ms, state: State::Execution(state), .. }) = tail else {
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
        Ok(Some(Self {
            execution_id: id,
            result,
            failure: failure.or_else(|| state.failure.clone()),
            started_ms,
            duration_ms: u64::try_from(at_ms.saturating_sub(started_ms)).unwrap_or(0),
            state,
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

/// The object of an execution; none if it is unknown.
///
/// `{execution_id, path, status, result, order, steps: {name: {status, result, runs}}, error?,
/// duration_ms, events}`. For an execution whose results do not fit into memory, see [`write_view`].
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
    let head = json!({
        "execution_id": execution.execution_id,
        "path": state.playbook.path,
        "status": state.status,
    });
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
        write!(out, ",\"runs\":{}}}", step.runs)?;
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
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::fixture::{ID, NoPayloads, World, failure};

    fn readers(world: World) -> Readers {
        Readers { store: Arc::new(world), payloads: Arc::new(NoPayloads) }
    }

    async fn view(world: World) -> Value {
        execution_view(&readers(world), ID).await.unwrap().unwrap()
    }

    #[tokio::test]
    async fn a_completed_execution_shows_every_step_in_the_order_of_finishing() {
        let mut world = World::default();
        world.begin(1_000);
        world.enter(1_000, "start");
        world.enter(1_001, "beside");
        world.exit(1_005, "beside", Ok(json!("b")));
        world.exit(1_010, "start", Ok(json!({"items": [1, 2]})));
        world.end(1_012);
        let expect = json!({
            "execution_id": "7000000000000000001",
            "path": "examples/world",
            "status": "COMPLETED",
            "result": {"items": [1, 2]},
            "order": ["beside", "start"],
            "steps": {
                "beside": {"status": "COMPLETED", "result": "b", "runs": 1},
                "start": {"status": "COMPLETED", "result": {"items": [1, 2]}, "runs": 1},
            },
            "duration_ms": 12,
            "events": 16,
        });
        assert_eq!(view(world).await, expect);
    }

    #[tokio::test]
    async fn a_loop_step_shows_its_aggregate_in_index_order() {
        let mut world = World::default();
        world.begin(1_000);
        world.ask_for_loop(1_000, "each", 4);
        world.run_loop(1_001, "each", 0);
        world.answer(1_002, "each", 2, vec![Ok(json!("two")), Err(failure("ValueError", "bad"))]);
        world.answer(1_003, "each", 0, vec![Ok(json!("zero")), Ok(json!("one"))]);
        world.close_loop(1_004, "each");
        world.hear_loop(1_004, "each");
        world.end(1_005);
        let seen = view(world).await;
        let error = json!({"type": "ValueError", "message": "bad", "retryable": false});
        let aggregate = json!({
            "results": ["zero", "one", "two", {"status": "error", "error": error}],
            "stats": {"total": 4, "success": 3, "failed": 1},
        });
        let step = json!({"status": "COMPLETED", "result": aggregate, "runs": 4});
        assert_eq!(seen["steps"]["each"], step);
        assert_eq!(seen["result"], aggregate);
    }

    #[tokio::test]
    async fn the_aggregate_is_the_one_that_templates_see() {
        let mut world = World::default();
        world.begin(1_000);
        world.ask_for_loop(1_000, "each", 3);
        world.run_loop(1_001, "each", 3);
        world.close_loop(1_004, "each");
        world.hear_loop(1_004, "each");
        let readers = readers(world);
        let execution = Execution::find(&readers, ID).await.unwrap().unwrap();
        let payload = &execution.state.steps[&StepName::from("each")].result;
        let mut written = Vec::new();
        write_payload(&readers, payload, &mut written).await.unwrap();
        let written: Value = serde_json::from_slice(&written).unwrap();
        assert_eq!(written, load(&readers, payload).await.unwrap());
    }

    #[tokio::test]
    async fn a_failed_execution_says_where_and_why() {
        let mut world = World::default();
        world.begin(1_000);
        world.enter(1_000, "fetch");
        world.exit(1_100, "fetch", Err(failure("HTTPError", "503 from the server")));
        let failed = Failure {
            step: Some("fetch".into()),
            line: 7,
            attempt: 2,
            index: None,
            error: failure("HTTPError", "503 from the server"),
        };
        world.finish(1_100, Some(failed));
        let seen = view(world).await;
        assert_eq!(seen["status"], "FAILED");
        assert_eq!(seen["steps"]["fetch"]["status"], "FAILED");
        assert_eq!(seen["error"]["step"], "fetch");
        assert_eq!(seen["error"]["message"], "503 from the server");
    }

    #[test]
    fn an_error_is_flat_and_leaves_out_what_does_not_apply() {
        let error_of = |failure: &Failure| error(failure).to_string();
        let cause = failure("HTTPError", "no");
        let whole = Failure {
            step: Some("s".into()),
            line: 3,
            attempt: 2,
            index: Some(4),
            error: cause.clone(),
        };
        let expect = r#"{"step":"s","line":3,"index":4,"attempt":2,"type":"HTTPError","message":"no","retryable":false}"#;
        assert_eq!(error_of(&whole), expect);
        let bare = Failure { error: cause, ..Failure::default() };
        assert_eq!(error_of(&bare), r#"{"type":"HTTPError","message":"no","retryable":false}"#);
    }

    #[tokio::test]
    async fn a_running_execution_has_no_result_yet() {
        let mut world = World::default();
        world.begin(1_000);
        world.enter(1_000, "start");
        let seen = view(world).await;
        assert_eq!(seen["status"], "RUNNING");
        assert_eq!(seen["result"], Value::Null);
        assert_eq!(seen["order"], json!([]));
        assert_eq!(seen["steps"]["start"]["status"], "RUNNING");
        assert!(seen.get("error").is_none());
    }

    #[tokio::test]
    async fn an_unknown_execution_has_no_view() {
        assert_eq!(execution_view(&readers(World::default()), ID).await.unwrap(), None);
    }

    #[tokio::test]
    async fn durations_are_summed_over_the_runs_of_a_step() {
        let mut world = World::default();
        world.begin(1_000);
        for (entered, left) in [(1_000, 1_010), (1_020, 1_025)] {
            world.enter(entered, "start");
            world.exit(left, "start", Ok(Value::Null));
        }
        world.enter(1_030, "open");
        let durations = step_durations(&readers(world), ID).await.unwrap();
        assert_eq!(durations, BTreeMap::from([("start".into(), 15)]));
    }
}
