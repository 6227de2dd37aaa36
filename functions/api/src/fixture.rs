//! Hand-made logs.

use std::collections::BTreeMap;

use async_trait::async_trait;
use engine_core::command::{CallSite, Command};
use engine_core::event::{
    Closing, Entry, Fact, Failure, LoopOpen, LoopSignal, Outcome, Parent, Signal, Status,
    ToolFailure,
};
use engine_core::ids::{AggregateKey, EventId, ExecutionId};
use engine_core::payload::{Blob, LoopSummary, Payload, PayloadRef};
use engine_core::playbook::{LoopMode, PlaybookRef};
use engine_core::ports::{PayloadStore, PortError, PortErrorKind, StateStore, Tail};
use engine_core::state::{LoopState, State, Unit};
use serde_json::{Value, json};

/// The execution of every world.
pub(crate) const ID: ExecutionId = ExecutionId(7_000_000_000_000_000_001);

/// The logs of one execution and its loops.
#[derive(Default)]
pub(crate) struct World {
    logs: BTreeMap<AggregateKey, Vec<Entry>>,
}

fn inline(value: Value) -> Payload {
    Payload::Inline(value)
}

fn playbook() -> PlaybookRef {
    PlaybookRef { path: "examples/world".to_owned(), hash: "0".repeat(64) }
}

/// The run of a step is named by its first letter, so that tests need not carry ids around.
fn run(step: &str) -> EventId {
    EventId(i64::from(step.as_bytes()[0]))
}

fn loop_key(step: &str) -> AggregateKey {
    AggregateKey::Loop { execution_id: ID, step: step.into(), event_id: run(step) }
}

fn loop_open(step: &str, size: u64) -> LoopOpen {
    LoopOpen {
        playbook: playbook(),
        step: step.into(),
        tool_kind: "noop".to_owned(),
        iterator: "item".to_owned(),
        mode: LoopMode::Sequential,
        collection_size: size,
        collection: PayloadRef { uri: String::new(), sha256: String::new(), bytes: 0 },
        chunk_items: 1,
        max_in_flight: 1,
        frame_items_max: 1,
        fail_fast: false,
        timeout_ms: 1_000,
        scope: inline(Value::Null),
        heard: 0,
        note: None,
        depth: 0,
        about: Value::Null,
    }
}

fn outcome_of(result: Value, error: Option<ToolFailure>) -> Outcome {
    let (started_ms, duration_ms, output) = (0, 1, String::new());
    Outcome { result: inline(result), error, started_ms, duration_ms, output }
}

pub(crate) fn failure(kind: &str, message: &str) -> ToolFailure {
    ToolFailure { kind: kind.to_owned(), message: message.to_owned(), ..ToolFailure::default() }
}

impl World {
    fn append(&mut self, key: AggregateKey, at_ms: i64, facts: Vec<Fact>) {
        let log = self.logs.entry(key.clone()).or_default();
        let seq = log.len() as u64 + 1;
        let event_id = EventId(at_ms * 1_000_000 + seq.cast_signed() * 1_000);
        // Any state will do until the one that follows from the facts is known.
        let state = State::Loop(Box::new(LoopState::open(&loop_open("none", 0), 0)));
        let mut entry = Entry { key, seq, at_ms, event_id, inputs: Vec::new(), facts, state };
        let before = log.last().map(|last| last.state.clone());
        if let Some(state) = State::advance(before, &entry) {
            entry.state = state;
        }
        log.push(entry);
    }

    /// Begins another execution, called by a step of this one.
    pub(crate) fn begin_child(&mut self, at_ms: i64, child: ExecutionId) {
        let parent = Parent {
            key: AggregateKey::Execution(ID),
            command_id: format!("{ID}:call").into(),
            attempt: 1,
            waits: true,
            return_step: None,
            depth: 1,
        };
        let (playbook, entry, vars) = (playbook(), "start".into(), BTreeMap::new());
        let (workload, parent) = (inline(json!({})), Some(parent));
        let begun = Fact::Started { playbook, entry, workload, vars, parent };
        self.append(AggregateKey::Execution(child), at_ms, vec![begun]);
    }

    /// Enters a step of an execution and issues a command that waits for what `unit` says.
    pub(crate) fn issue(
        &mut self,
        (at_ms, of): (i64, ExecutionId),
        step: &str,
        kind: &str,
        (attempt, not_before_ms): (u32, i64),
        unit: Option<Unit>,
    ) {
        let key = AggregateKey::Execution(of);
        let (run, args) = (run(step), BTreeMap::new());
        let entered = Fact::StepEntered { step: step.into(), run, cause: None, args };
        let command = Command {
            id: format!("{of}:{step}").into(),
            attempt,
            reply_to: key.clone(),
            playbook: playbook(),
            step: step.into(),
            tool_kind: kind.to_owned(),
            frame: None,
            site: CallSite::Tool,
            overrides: None,
            unit: None,
            vars: None,
            scope: inline(Value::Null),
            not_before_ms,
            timeout_ms: 1_000,
        };
        let (command, unit) = (Box::new(command), unit.map(Box::new));
        let issued = Fact::CommandIssued { run, command, unit };
        self.append(key, at_ms, vec![entered, issued]);
    }

    /// Issues one call of an iteration of an open loop.
    pub(crate) fn issue_iteration(&mut self, at_ms: i64, step: &str, first: u64, unit: &Unit) {
        let issued = Fact::FrameIssued {
            first,
            len: 1,
            attempt: 1,
            not_before_ms: 0,
            tool_kind: "callback".to_owned(),
            step: step.into(),
            call: 1,
            site: CallSite::Tool,
            unit: Some(inline(json!(unit))),
            resumed: false,
        };
        self.append(loop_key(step), at_ms, vec![issued]);
    }

    /// Answers the only call of an iteration, which settles it.
    pub(crate) fn settle(&mut self, at_ms: i64, step: &str, index: u64, error: ToolFailure) {
        let outcome = outcome_of(Value::Null, Some(error));
        let answered = Fact::Answered {
            run: run(step),
            index: Some(index),
            step: step.into(),
            site: CallSite::Tool,
            command_id: format!("{ID}:{step}:{index}").into(),
            attempt: 3,
            worker: "test".to_owned(),
            outcome: outcome.clone(),
        };
        let settled = Fact::IterationSettled { index, step: step.into(), outcome, handled: false };
        self.append(loop_key(step), at_ms, vec![answered, settled]);
    }

    fn append_to_execution(&mut self, at_ms: i64, facts: Vec<Fact>) {
        self.append(AggregateKey::Execution(ID), at_ms, facts);
    }

    pub(crate) fn begin(&mut self, at_ms: i64) {
        let workload = inline(json!({}));
        let (playbook, entry, vars) = (playbook(), "start".into(), BTreeMap::new());
        self.append_to_execution(
            at_ms,
            vec![Fact::Started { playbook, entry, workload, vars, parent: None }],
        );
    }

    pub(crate) fn enter(&mut self, at_ms: i64, step: &str) {
        let entered = Fact::StepEntered {
            step: step.into(),
            run: run(step),
            cause: None,
            args: BTreeMap::new(),
        };
        self.append_to_execution(at_ms, vec![entered]);
    }

    pub(crate) fn exit(&mut self, at_ms: i64, step: &str, outcome: Result<Value, ToolFailure>) {
        let (status, result, error) = match outcome {
            Ok(result) => (Status::Completed, result, None),
            Err(error) => (Status::Failed, Value::Null, Some(error)),
        };
        let answered = Fact::Answered {
            index: None,
            site: CallSite::Tool,
            run: run(step),
            step: step.into(),
            command_id: format!("{ID}:{step}").into(),
            attempt: 1,
            worker: "test".to_owned(),
            outcome: outcome_of(result.clone(), error.clone()),
        };
        let result = inline(result);
        let exited = Fact::StepExited { run: run(step), step: step.into(), status, result, error };
        self.append_to_execution(at_ms, vec![answered, exited]);
    }

    pub(crate) fn ask_for_loop(&mut self, at_ms: i64, step: &str, size: u64) {
        let entered = Fact::StepEntered {
            step: step.into(),
            run: run(step),
            cause: None,
            args: BTreeMap::new(),
        };
        let open = Box::new(loop_open(step, size));
        let asked = Fact::LoopRequested { run: run(step), key: loop_key(step), open };
        self.append_to_execution(at_ms, vec![entered, asked]);
    }

    /// Opens the loop and answers all its iterations, in two entries.
    pub(crate) fn run_loop(&mut self, at_ms: i64, step: &str, size: u64) {
        let open = Box::new(loop_open(step, size));
        self.append(loop_key(step), at_ms, vec![Fact::LoopOpened { open }]);
        let results = (0..size).map(|index| Ok(json!({"index": index}))).collect();
        self.answer(at_ms, step, 0, results);
    }

    /// Records one frame and its answer.
    pub(crate) fn answer(
        &mut self,
        at_ms: i64,
        step: &str,
        first: u64,
        results: Vec<Result<Value, ToolFailure>>,
    ) {
        let outcomes: Vec<Outcome> = results
            .into_iter()
            .map(|result| match result {
                Ok(result) => outcome_of(result, None),
                Err(error) => outcome_of(Value::Null, Some(error)),
            })
            .collect();
        let len = u32::try_from(outcomes.len()).unwrap();
        let issued = Fact::FrameIssued {
            first,
            len,
            attempt: 1,
            not_before_ms: 0,
            tool_kind: "noop".to_owned(),
            step: step.into(),
            call: 1,
            site: CallSite::Tool,
            unit: None,
            resumed: false,
        };
        let answered = Fact::FrameAnswered {
            first,
            len,
            attempt: 1,
            worker: "test".to_owned(),
            step: step.into(),
            outcomes,
            retried: Vec::new(),
            handled: Vec::new(),
        };
        self.append(loop_key(step), at_ms, vec![issued, answered]);
    }

    fn summary(&self, step: &str) -> LoopSummary {
        let key = loop_key(step);
        let state = self.logs[&key].last().map(|entry| entry.state.clone());
        let Some(State::Loop(state)) = state else { panic!("`{step}` is no loop") };
        LoopSummary { key, total: state.next, failed: state.failed }
    }

    fn closing(&self, step: &str) -> Closing {
        let (summary, errors) = (self.summary(step), Vec::new());
        Closing { summary, errors, handled: 0, skipped: 0 }
    }

    pub(crate) fn close_loop(&mut self, at_ms: i64, step: &str) {
        let closing = self.closing(step);
        let closed = Fact::LoopClosed { step: step.into(), summary: closing.summary.clone() };
        let signal = Signal::Closed(closing);
        let signal = LoopSignal { from: loop_key(step), number: 1, signal };
        self.append(loop_key(step), at_ms, vec![closed, Fact::SignalSent { signal }]);
    }

    pub(crate) fn hear_loop(&mut self, at_ms: i64, step: &str) {
        let closing = self.closing(step);
        let summary = closing.summary.clone();
        let heard = Fact::SignalHeard { run: run(step), number: 1, closed: Some(closing) };
        let done = Fact::LoopDone { run: run(step), step: step.into(), summary: summary.clone() };
        let exited = Fact::StepExited {
            run: run(step),
            step: step.into(),
            status: Status::Completed,
            result: Payload::Loop(summary),
            error: None,
        };
        self.append_to_execution(at_ms, vec![heard, done, exited]);
    }

    pub(crate) fn end(&mut self, at_ms: i64) {
        self.finish(at_ms, None);
    }

    pub(crate) fn finish(&mut self, at_ms: i64, failure: Option<Failure>) {
        let log = &self.logs[&AggregateKey::Execution(ID)];
        let Some(State::Execution(state)) = log.last().map(|entry| entry.state.clone()) else {
            panic!("the execution has not begun")
        };
        let status = if failure.is_some() { Status::Failed } else { Status::Completed };
        let result = state.last.as_ref().and_then(|step| state.steps[step].result.clone());
        let result = result.unwrap_or(Payload::Inline(Value::Null));
        let finished = Fact::Finished { status, final_step: state.last, result, failure };
        self.append_to_execution(at_ms, vec![finished]);
    }
}

#[async_trait]
impl StateStore for World {
    async fn tail(&self, key: &AggregateKey) -> Result<Option<Tail>, PortError> {
        let last = self.logs.get(key).and_then(|log| log.last());
        Ok(last.map(|entry| Tail {
            seq: entry.seq,
            at_ms: entry.at_ms,
            next_event_id: entry.event_id.0 + 1_000,
            state: entry.state.clone(),
        }))
    }

    async fn commit(&self, _entry: &Entry) -> Result<(), PortError> {
        Err(PortError::new(PortErrorKind::Refused, "a world is made by hand"))
    }

    async fn entries(
        &self,
        key: &AggregateKey,
        from: u64,
        limit: usize,
    ) -> Result<Vec<Entry>, PortError> {
        let log = self.logs.get(key).into_iter().flatten();
        Ok(log.filter(|entry| entry.seq >= from).take(limit).cloned().collect())
    }

    async fn aggregates(&self, _id: ExecutionId) -> Result<Vec<AggregateKey>, PortError> {
        Ok(self.logs.keys().cloned().collect())
    }
}

/// A payload store without objects.
pub(crate) struct NoPayloads;

#[async_trait]
impl PayloadStore for NoPayloads {
    async fn put(&self, _blob: &Blob) -> Result<(), PortError> {
        Err(PortError::new(PortErrorKind::Refused, "nothing can be stored"))
    }

    async fn get(&self, _reference: &PayloadRef) -> Result<Vec<u8>, PortError> {
        Err(PortError::new(PortErrorKind::NotFound, "nothing is stored"))
    }
}
