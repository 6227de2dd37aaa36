//! The driver at its limits, what it does for children and timers, and the results of a stopped loop.

#![expect(clippy::unwrap_used, reason = "a failed call is a failed test")]

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use adapters::catalog::Registry as _;
use adapters::embedded::Embedded;
use async_trait::async_trait;
use engine_core::command::Command;
use engine_core::driver::{Delivery, Driver, DriverError};
use engine_core::event::{
    Answer, Entry, Envelope, Fact, Input, LoopOpen, Outcome, Start, Status, ToolFailure,
};
use engine_core::ids::{AggregateKey, EventId, ExecutionId};
use engine_core::limits::{
    COMMIT_ATTEMPTS_MAX, LOADED_VALUES_MAX, LOADS_MAX, STATE_VALUE_BYTES_MAX,
};
use engine_core::load::{Readers, load};
use engine_core::payload::{Blob, LoopSummary, Payload, PayloadRef};
use engine_core::playbook::{LoopMode, PlaybookRef};
use engine_core::ports::{
    CommandQueue, EventQueue, PayloadStore, PortError, PortErrorKind, Ports, StateStore, Tail,
};
use engine_core::state::{LoopState, State};
use serde_json::{Value, json};
use tests::binary::playbook;
use tests::embedded::memory;

/// A real store whose every commit was somebody else's first.
struct Losing {
    inner: Arc<dyn StateStore>,
    commits: AtomicUsize,
}

#[async_trait]
impl StateStore for Losing {
    async fn tail(&self, key: &AggregateKey) -> Result<Option<Tail>, PortError> {
        self.inner.tail(key).await
    }

    async fn commit(&self, _: &Entry) -> Result<(), PortError> {
        self.commits.fetch_add(1, Ordering::Relaxed);
        Err(PortError::new(PortErrorKind::Conflict, "somebody else was first"))
    }

    async fn entries(
        &self,
        key: &AggregateKey,
        from: u64,
        limit: usize,
    ) -> Result<Vec<Entry>, PortError> {
        self.inner.entries(key, from, limit).await
    }

    async fn aggregates(&self, execution_id: ExecutionId) -> Result<Vec<AggregateKey>, PortError> {
        self.inner.aggregates(execution_id).await
    }
}

#[tokio::test]
async fn a_driver_that_never_wins_gives_up_sends_nothing_and_leaves_the_input_queued() {
    let embedded = memory();
    let text = playbook("workflow:\n  - { step: start, tool: { kind: noop } }\n");
    let reference = embedded.catalog.register(&text).await.unwrap().reference;
    let ports = embedded.ports();
    let losing = Arc::new(Losing { inner: ports.store.clone(), commits: AtomicUsize::new(0) });
    let driver = Driver::new(Ports { store: losing.clone(), ..ports });

    let input =
        Input::Start(Start { playbook: reference, payload: serde_json::Map::new(), parent: None });
    let to = AggregateKey::Execution(ExecutionId(1));
    let envelope = Envelope { id: "start".into(), to, input };
    let handled = driver.handle(&[Delivery { envelope, receive_count: 1 }]).await;

    assert!(matches!(handled, Err(DriverError::Contended(_))), "{handled:?}");
    assert_eq!(losing.commits.load(Ordering::Relaxed), COMMIT_ATTEMPTS_MAX);
    assert!(embedded.commands.kinds().is_empty(), "nothing is sent before a commit");
}

fn opening() -> LoopOpen {
    LoopOpen {
        playbook: PlaybookRef { path: "p".to_owned(), hash: String::new() },
        step: "s".into(),
        tool_kind: "noop".to_owned(),
        iterator: "n".to_owned(),
        mode: LoopMode::Parallel,
        collection_size: 9,
        collection: PayloadRef { uri: String::new(), sha256: String::new(), bytes: 0 },
        chunk_items: 9,
        max_in_flight: 2,
        frame_items_max: 4,
        fail_fast: true,
        timeout_ms: 1,
        scope: Payload::Inline(Value::Null),
        heard: 0,
        note: None,
        depth: 0,
        about: Value::Null,
    }
}

fn outcome(result: u64, failed: bool) -> Outcome {
    let error = failed.then(|| ToolFailure { kind: "E".to_owned(), ..ToolFailure::default() });
    let result = Payload::Inline(json!(result));
    Outcome { result, error, started_ms: 0, duration_ms: 0, output: String::new() }
}

fn answered(first: u64, len: u32, outcomes: Vec<Outcome>) -> Fact {
    let (retried, handled, worker) = (Vec::new(), Vec::new(), "w".to_owned());
    let (attempt, step) = (1, "s".into());
    Fact::FrameAnswered { first, len, attempt, worker, step, outcomes, retried, handled }
}

#[tokio::test]
async fn a_stopped_loop_keeps_what_it_settled_beyond_what_it_gave_up() {
    let ports = memory().ports();
    let (execution_id, event_id) = (ExecutionId(1), EventId(2));
    let key = AggregateKey::Loop { execution_id, step: "s".into(), event_id };
    let open = opening();
    let state = State::Loop(Box::new(LoopState::open(&open, 0)));
    let facts = vec![
        Fact::LoopOpened { open: Box::new(open) },
        answered(0, 4, vec![outcome(10, false), outcome(11, true)]),
        answered(4, 2, vec![outcome(14, false), outcome(15, false)]),
    ];
    let (seq, at_ms, inputs) = (1, 0, vec!["open".into()]);
    let entry = Entry { key: key.clone(), seq, at_ms, event_id, inputs, facts, state };
    ports.store.commit(&entry).await.unwrap();

    let readers = Readers { store: ports.store, payloads: ports.payloads };
    let summary = LoopSummary { key, total: 4, failed: 1 };
    let aggregate = load(&readers, &Payload::Loop(summary)).await.unwrap();
    let results = aggregate["results"].as_array().unwrap();
    assert_eq!(results.len(), 6, "{aggregate:#}");
    assert_eq!([&results[0], &results[4], &results[5]], [&json!(10), &json!(14), &json!(15)]);
    assert_eq!(results[1]["error"]["type"], "E");
    assert_eq!([&results[2], &results[3]], [&Value::Null, &Value::Null]);
}

/// Ports of memory whose messages and commands stay where a test can see them.
#[derive(Default)]
struct Sent {
    envelopes: Mutex<Vec<Envelope>>,
    commands: Mutex<Vec<Command>>,
}

#[async_trait]
impl EventQueue for Sent {
    async fn send(&self, envelopes: &[Envelope]) -> Result<(), PortError> {
        self.envelopes.lock().unwrap().extend_from_slice(envelopes);
        Ok(())
    }
}

#[async_trait]
impl CommandQueue for Sent {
    async fn send(&self, commands: &[Command]) -> Result<(), PortError> {
        self.commands.lock().unwrap().extend_from_slice(commands);
        Ok(())
    }
}

/// A parent whose only step is a call of `child`, whose only step is a tool.
struct Family {
    embedded: Embedded,
    sent: Arc<Sent>,
    driver: Driver,
}

const PARENT: AggregateKey = AggregateKey::Execution(ExecutionId(1));

impl Family {
    /// The parent has begun; the message to its child is in its queue.
    async fn new(parent: &str) -> Self {
        let embedded = memory();
        let head = "apiVersion: noetl.io/v2\nkind: Playbook\nmetadata: { name: child }\n";
        let child = format!("{head}workflow:\n  - {{ step: start, tool: {{ kind: noop }} }}\n");
        embedded.catalog.register(&child).await.unwrap();
        let reference = embedded.catalog.register(&playbook(parent)).await.unwrap().reference;
        let sent = Arc::new(Sent::default());
        let (events, commands) = (sent.clone(), sent.clone());
        let driver = Driver::new(Ports { events, commands, ..embedded.ports() });
        let family = Self { embedded, sent, driver };
        let start = Start { playbook: reference, payload: serde_json::Map::new(), parent: None };
        family.tell("start", &PARENT, Input::Start(start)).await;
        family
    }

    async fn tell(&self, id: &str, to: &AggregateKey, input: Input) {
        self.deliver(Envelope { id: id.into(), to: to.clone(), input }, 1).await;
    }

    async fn deliver(&self, envelope: Envelope, receive_count: u32) {
        self.driver.handle(&[Delivery { envelope, receive_count }]).await.unwrap();
    }

    /// What was sent since the last time.
    fn sent(&self) -> Vec<Envelope> {
        std::mem::take(&mut *self.sent.envelopes.lock().unwrap())
    }

    fn commands(&self) -> Vec<String> {
        let commands = std::mem::take(&mut *self.sent.commands.lock().unwrap());
        commands.into_iter().map(|command| command.id.to_string()).collect()
    }

    /// The message that starts the child.
    fn start(&self) -> Envelope {
        let sent = self.sent();
        let mut starts = sent.into_iter().filter(|one| matches!(one.input, Input::Start(_)));
        starts.next().unwrap()
    }

    async fn answer(&self, command: &str, to: &AggregateKey, outcome: Outcome) {
        let (worker, outcomes) = ("w".to_owned(), vec![outcome]);
        let answer =
            Answer { command_id: command.into(), attempt: 1, worker, outcomes, cut: false };
        self.tell(&format!("{command}.1"), to, Input::Answer(answer)).await;
    }

    async fn status(&self, key: &AggregateKey) -> Option<Status> {
        match self.embedded.store.tail(key).await.unwrap()?.state {
            State::Execution(state) => Some(state.status),
            State::Loop(_) => None,
        }
    }
}

const CALLS: &str = "workflow:\n  - { step: start, tool: { kind: playbook, path: child } }\n";
const CALLS_BESIDE: &str = "workflow:\n  - { step: start, tool: { kind: noop }, next: [call, bad] }\n  \
                            - { step: call, tool: { kind: playbook, path: child } }\n  \
                            - { step: bad, tool: { kind: noop } }\n";

fn error_of(envelope: &Envelope) -> &ToolFailure {
    let Input::Answer(answer) = &envelope.input else { panic!("an answer was expected") };
    answer.outcomes[0].error.as_ref().unwrap()
}

#[tokio::test]
async fn a_child_that_is_asked_for_twice_runs_once_and_answers_again() {
    let family = Family::new(CALLS).await;
    let start = family.start();
    let child = start.to.clone();
    assert!(family.commands().is_empty(), "a call of a playbook is a message, not a command");
    family.deliver(start.clone(), 1).await;
    family.deliver(start.clone(), 1).await;
    assert!(family.sent().is_empty(), "it runs: nothing to tell yet");
    let commands = family.commands();
    assert_eq!(commands.len(), 1);
    family.answer(&commands[0], &child, outcome(7, false)).await;
    let told = family.sent();
    family.deliver(start, 1).await;
    assert_eq!(family.sent(), told, "its answer may have been lost");
    for copy in [1, 2] {
        family.deliver(told[0].clone(), copy).await;
    }
    assert_eq!(family.status(&PARENT).await, Some(Status::Completed));
    assert!(family.sent().is_empty() && family.commands().is_empty());
}

#[tokio::test]
async fn a_start_at_an_id_that_is_taken_is_refused_and_the_call_begins_anew() {
    let family = Family::new(CALLS).await;
    let start = family.start();
    let Input::Start(asked) = &start.input else { panic!("a start was expected") };
    let somebody = Start { parent: None, ..asked.clone() };
    family.tell("start", &start.to, Input::Start(somebody)).await;
    family.deliver(start.clone(), 1).await;
    let refused = family.sent();
    assert_eq!(error_of(&refused[0]).kind, "IdTaken");
    family.deliver(refused[0].clone(), 1).await;
    let again = family.start();
    assert_ne!(again.to, start.to);
    family.deliver(again.clone(), 1).await;
    assert_eq!(family.status(&again.to).await, Some(Status::Running));
}

#[tokio::test]
async fn a_child_that_nobody_waits_for_does_not_begin() {
    let family = Family::new(CALLS).await;
    let start = family.start();
    family.tell("cancel", &PARENT, Input::Cancel { reason: "enough".to_owned() }).await;
    let stop = family.sent().pop().unwrap();
    assert_eq!(stop.to, start.to);
    family.deliver(stop, 1).await;
    family.deliver(start.clone(), 1).await;
    assert_eq!(family.status(&start.to).await, None, "the order to stop came first");
    assert!(family.sent().is_empty(), "nobody has to be told");

    let family = Family::new(CALLS_BESIDE).await;
    let first = family.commands().pop().unwrap();
    family.answer(&first, &PARENT, outcome(1, false)).await;
    let start = family.start();
    let bad = family.commands().pop().unwrap();
    family.answer(&bad, &PARENT, outcome(1, true)).await;
    assert_eq!(family.status(&PARENT).await, Some(Status::Running), "it waits for its child");
    family.sent();
    family.deliver(start.clone(), 1).await;
    assert_eq!(family.status(&start.to).await, None);
    let declined = family.sent();
    assert_eq!(error_of(&declined[0]).kind, "Cancelled");
    family.deliver(declined[0].clone(), 1).await;
    assert_eq!(family.status(&PARENT).await, Some(Status::Failed));
}

#[tokio::test]
async fn a_tick_asks_again_for_a_child_and_stops_an_orphan() {
    let family = Family::new(CALLS).await;
    let start = family.start();
    family.tell("tick1", &PARENT, Input::Tick).await;
    assert_eq!(family.sent(), std::slice::from_ref(&start));
    family.deliver(start.clone(), 1).await;
    family.tell("tick2", &start.to, Input::Tick).await;
    assert!(family.sent().is_empty(), "its parent waits");
    family.tell("cancel", &PARENT, Input::Cancel { reason: "enough".to_owned() }).await;
    family.sent();
    family.tell("tick3", &start.to, Input::Tick).await;
    let stop = family.sent();
    family.deliver(stop[0].clone(), 1).await;
    assert_eq!(family.status(&start.to).await, Some(Status::Cancelled));
}

#[tokio::test]
async fn resuming_an_execution_resumes_the_children_that_it_waits_for() {
    let looped = "workflow:\n  - step: start\n    loop: { in: [1, 2], iterator: i, mode: parallel }\n    \
                  tool: { kind: playbook, path: child }\n";
    for (parent, children) in [(CALLS, 1), (looped, 2)] {
        let family = Family::new(parent).await;
        let mut queue = family.sent();
        let mut starts = Vec::new();
        while let Some(envelope) = queue.pop() {
            starts.extend(matches!(envelope.input, Input::Start(_)).then(|| envelope.clone()));
            family.deliver(envelope, 1).await;
            queue.extend(family.sent());
        }
        let mut commands = family.commands();
        assert_eq!((starts.len(), commands.len()), (children, children));
        let status = family.driver.resume(ExecutionId(1)).await.unwrap();
        assert_eq!(status, Some(Status::Running));
        let mut again = family.commands();
        commands.sort();
        again.sort();
        assert_eq!(again, commands);
        let sent = family.sent();
        assert!(starts.iter().all(|start| sent.contains(start)), "{sent:#?}");
    }
}

#[tokio::test]
async fn the_time_of_an_execution_survives_its_queues() {
    let family = Family::new(
        "executor: { spec: { timeout: 1h } }\nworkflow:\n  - { step: start, tool: { kind: noop } }\n",
    )
    .await;
    let out = family.commands();
    assert!(out.contains(&"1:timeout:1".to_owned()), "{out:?}");
    family.driver.resume(ExecutionId(1)).await.unwrap();
    let again = family.commands();
    assert!(again.contains(&"1:timeout:1".to_owned()), "{again:?}");
    family.answer("1:timeout:1", &PARENT, outcome(0, true)).await;
    family.answer("1:timeout:1", &PARENT, outcome(0, true)).await;
    assert_eq!(family.commands(), ["1:timeout:2"], "it rang early and goes on, once");
}

/// A real payload store that counts what is read.
struct Counting {
    inner: Arc<dyn PayloadStore>,
    reads: AtomicUsize,
}

#[async_trait]
impl PayloadStore for Counting {
    async fn put(&self, blob: &Blob) -> Result<(), PortError> {
        self.inner.put(blob).await
    }

    async fn get(&self, reference: &PayloadRef) -> Result<Vec<u8>, PortError> {
        self.reads.fetch_add(1, Ordering::Relaxed);
        self.inner.get(reference).await
    }
}

/// An execution with `values` variables that are elsewhere, whose first two steps are answered one after
/// the other; how many values were read for each, or why the driver gave up.
async fn reads(values: usize, case: &str) -> Result<[usize; 2], DriverError> {
    let (embedded, sent) = (memory(), Arc::new(Sent::default()));
    let steps = ["start", "b"].map(|name| {
        format!("  - step: {name}\n    tool: {{ kind: noop }}\n    case:\n{case}    next: b\n")
    });
    let [first, second] = steps;
    let text = playbook(&format!("workflow:\n{first}{}", second.replace("next: b", "next: end")));
    let reference = embedded.catalog.register(&text).await.unwrap().reference;
    let (events, commands) = (sent.clone(), sent.clone());
    let ports = embedded.ports();
    let payloads = Arc::new(Counting { inner: ports.payloads.clone(), reads: AtomicUsize::new(0) });
    let driver = Driver::new(Ports { events, commands, payloads: payloads.clone(), ..ports });
    let long = |n: usize| format!("{n}{}", "x".repeat(STATE_VALUE_BYTES_MAX));
    let vars: serde_json::Map<String, Value> =
        (0..values).map(|n| (format!("v{n}"), json!(long(n)))).collect();
    let payload = serde_json::Map::from_iter([("vars".to_owned(), Value::Object(vars))]);
    let start = Input::Start(Start { playbook: reference, payload, parent: None });
    let tell = async |id: &str, input| {
        let envelope = Envelope { id: id.into(), to: PARENT, input };
        driver.handle(&[Delivery { envelope, receive_count: 1 }]).await
    };
    tell("start", start).await?;
    let mut found = [0; 2];
    for place in &mut found {
        let command = sent.commands.lock().unwrap().pop().unwrap();
        let (worker, outcomes) = ("w".to_owned(), vec![outcome(1, false)]);
        let (command_id, attempt) = (command.id.clone(), 1);
        let answer = Answer { command_id, attempt, worker, outcomes, cut: false };
        let before = payloads.reads.load(Ordering::Relaxed);
        tell(command.id.as_str(), Input::Answer(answer)).await?;
        *place = payloads.reads.load(Ordering::Relaxed) - before;
    }
    Ok(found)
}

#[tokio::test]
async fn a_decision_may_ask_for_values_only_so_often() {
    let rules = |values: usize| {
        let rule = |n| {
            let when = format!("event.name == 'call.done' and v{n} == 'never'");
            format!("      - {{ when: \"{{{{ {when} }}}}\", then: {{ set: {{ a: 1 }} }} }}\n")
        };
        (0..values).map(rule).collect::<String>()
    };
    let most = LOADS_MAX - 1;
    let found = reads(most, &rules(most)).await;
    assert!(matches!(found, Ok([first, _]) if first == most), "{found:?}");
    let found = reads(LOADS_MAX, &rules(LOADS_MAX)).await;
    assert!(matches!(found, Err(DriverError::Loads(_))), "{found:?}");
}

#[tokio::test]
async fn values_are_kept_between_decisions_if_they_are_few() {
    let rule = |values: usize| {
        let all: Vec<String> = (0..values).map(|n| format!("v{n}")).collect();
        let when = format!("event.name == 'call.done' and 'never' in [{}]", all.join(", "));
        format!("      - {{ when: \"{{{{ {when} }}}}\", then: {{ set: {{ a: 1 }} }} }}\n")
    };
    let (few, many) = (LOADED_VALUES_MAX, LOADED_VALUES_MAX + 1);
    assert_eq!(reads(few, &rule(few)).await.unwrap(), [few, 0]);
    assert_eq!(reads(many, &rule(many)).await.unwrap(), [many, many]);
}
