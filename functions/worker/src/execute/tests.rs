use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use engine_core::command::CallSite;
use engine_core::command::Scope;
use engine_core::event::Entry;
use engine_core::ids::{AggregateKey, EventId, ExecutionId};
use engine_core::limits::{ANSWER_BYTES_MAX, ERROR_BYTES_MAX, INLINE_BYTES_MAX};
use engine_core::payload::{Blob, Payload, PayloadRef};
use engine_core::playbook::{
    Action, CaseMode, Dialect, Loop, LoopMode, Next, OnError, Playbook, PlaybookRef, Position,
    Rule, Step, Task as PlaybookTask, Tool as PlaybookTool, When, WorkbookTask,
};
use engine_core::ports::{PayloadStore, PortError, PortErrorKind, StateStore, Tail};
use serde_json::json;

use super::*;
use crate::tool::Reaction;

mod sites;

/// Every port, in memory; counts reads of stored payloads.
#[derive(Default)]
struct World {
    playbook: Option<Arc<Playbook>>,
    objects: Mutex<BTreeMap<PayloadRef, Vec<u8>>>,
    reads: AtomicUsize,
}

#[async_trait]
impl Catalog for World {
    async fn playbook(&self, _reference: &PlaybookRef) -> Result<Arc<Playbook>, PortError> {
        let down = || PortError::new(PortErrorKind::Unavailable, "the catalog does not answer");
        self.playbook.clone().ok_or_else(down)
    }

    async fn newest(&self, _path: &str) -> Result<Option<PlaybookRef>, PortError> {
        Ok(None)
    }
}

#[async_trait]
impl PayloadStore for World {
    async fn put(&self, blob: &Blob) -> Result<(), PortError> {
        self.objects.lock().unwrap().insert(blob.reference.clone(), blob.bytes.clone());
        Ok(())
    }

    async fn get(&self, reference: &PayloadRef) -> Result<Vec<u8>, PortError> {
        self.reads.fetch_add(1, Ordering::Relaxed);
        let missing = || PortError::new(PortErrorKind::NotFound, "no such object");
        self.objects.lock().unwrap().get(reference).cloned().ok_or_else(missing)
    }
}

#[async_trait]
impl StateStore for World {
    async fn tail(&self, _key: &AggregateKey) -> Result<Option<Tail>, PortError> {
        Ok(None)
    }

    async fn commit(&self, _entry: &Entry) -> Result<(), PortError> {
        Ok(())
    }

    async fn entries(&self, _: &AggregateKey, _: u64, _: usize) -> Result<Vec<Entry>, PortError> {
        Ok(Vec::new())
    }

    async fn aggregates(&self, _id: ExecutionId) -> Result<Vec<AggregateKey>, PortError> {
        Ok(Vec::new())
    }
}

/// Counts up by one with each question.
#[derive(Default)]
struct Ticks(AtomicUsize);

impl Clock for Ticks {
    fn now_ms(&self) -> i64 {
        i64::try_from(self.0.fetch_add(1, Ordering::Relaxed)).unwrap()
    }
}

struct Vaulted;

#[async_trait]
impl Secrets for Vaulted {
    async fn credential(&self, _name: &str) -> Result<Value, PortError> {
        Ok(json!({"token": "s3cret-token"}))
    }
}

/// Does what its configuration says: `echo`, `fail`, `hang`, `nap` (two seconds), `print`, or a long `text`.
struct Puppet(&'static str);

#[async_trait]
impl Tool for Puppet {
    fn kind(&self) -> &'static str {
        self.0
    }

    async fn call(&self, call: &Call<'_>) -> Result<Success, ToolError> {
        let output = call.text("print").unwrap_or_default().to_owned();
        if let Some(length) = call.config.get("text").and_then(Value::as_u64) {
            let result = json!("x".repeat(usize::try_from(length).unwrap()));
            return Ok(Success { result, output });
        }
        match call.text("do").unwrap_or_default() {
            "hang" => std::future::pending().await,
            "nap" => {
                tokio::time::sleep(Duration::from_secs(2)).await;
                Ok(Success::of(json!("rested")))
            }
            "fail" => {
                let auth = call.config.get("auth").map(Value::to_string).unwrap_or_default();
                let message = format!("no luck {auth}{}", call.text("more").unwrap_or_default());
                let error = ToolError::new(Reaction::Rejected, "Luck", message);
                Err(error.with_result(json!({"left": 1})).with_output(output))
            }
            "context" => Ok(Success::of(json!(call.context))),
            _ => Ok(Success {
                result: json!({"key": call.idempotency_key, "args": call.args, "config": call.config}),
                output,
            }),
        }
    }
}

fn step(name: &str, kind: &str, config: Value) -> Step {
    Step {
        retries: Vec::new(),
        admit: Vec::new(),
        name: name.into(),
        desc: None,
        position: Position { line: 12, column: 3 },
        tool: Some(tool(kind, config, json!({}))),
        tasks: Vec::new(),
        args: Map::new(),
        repeat: None,
        rules: Vec::new(),
        case_mode: CaseMode::Exclusive,
        next: Next::default(),
        vars: Map::new(),
        set: None,
        retry: None,
        sink: None,
        policy: None,
        timeout: None,
        on_error: OnError::Fail,
        join_all: false,
        names: engine_core::playbook::names::StepNames::default(),
    }
}

fn tool(kind: &str, config: Value, args: Value) -> PlaybookTool {
    let (Value::Object(config), Value::Object(args)) = (config, args) else { panic!("maps") };
    PlaybookTool { kind: kind.to_owned(), config, args, position: Position::default() }
}

fn looping(mut step: Step) -> Step {
    step.repeat = Some(Loop {
        source: json!([]),
        iterator: "item".to_owned(),
        mode: LoopMode::Sequential,
        max_in_flight: None,
        filter: None,
        order_by: None,
        limit: None,
        chunk: None,
        enumerate: false,
        fail_fast: false,
        position: Position::default(),
    });
    step
}

fn reference() -> PlaybookRef {
    PlaybookRef { path: "demo/x".to_owned(), hash: "h".to_owned() }
}

fn world(step: Step) -> Arc<World> {
    world_with(step, Vec::new())
}

fn world_with(step: Step, workbook: Vec<WorkbookTask>) -> Arc<World> {
    let playbook = Playbook { workbook, ..playbook(vec![step]) };
    Arc::new(World { playbook: Some(Arc::new(playbook)), ..World::default() })
}

pub(crate) fn playbook(steps: Vec<Step>) -> Playbook {
    Playbook {
        timeout: None,
        reference: reference(),
        name: "x".to_owned(),
        dialect: Dialect::Case,
        workload: Map::new(),
        keychain: Vec::new(),
        workbook: Vec::new(),
        steps,
        entry: "work".into(),
        final_step: None,
        no_next_is_error: false,
    }
}

fn bench(world: &Arc<World>) -> Workbench {
    let readers = Readers { store: world.clone(), payloads: world.clone() };
    Workbench::new(world.clone(), readers, Arc::new(Ticks::default()), "w1")
        .with_tool(Arc::new(Puppet("puppet")))
        .with_tool(Arc::new(Puppet("python")))
}

fn command(step: &str) -> Command {
    Command {
        site: CallSite::Tool,
        unit: None,
        vars: None,
        id: "c1".into(),
        attempt: 2,
        reply_to: AggregateKey::Execution(ExecutionId(7)),
        playbook: reference(),
        step: step.into(),
        tool_kind: "puppet".to_owned(),
        frame: None,
        overrides: None,
        scope: Payload::Inline(json!({})),
        not_before_ms: 0,
        timeout_ms: 5_000,
    }
}

/// A worker and a command that it can run.
pub(crate) fn sample() -> (Workbench, Command) {
    (bench(&world(step("work", "puppet", json!({})))), command("work"))
}

/// Stores a value and names it.
async fn store(world: &World, value: &Value) -> PayloadRef {
    let blob = Blob::new(ExecutionId(7), value.to_string().into_bytes());
    world.put(&blob).await.unwrap();
    blob.reference
}

/// Stores `0..total` as chunks of 4.
async fn collection(world: &World, total: u64) -> PayloadRef {
    let mut chunks = Vec::new();
    for first in (0..total).step_by(4) {
        let items: Vec<u64> = (first..total.min(first + 4)).collect();
        chunks.push(store(world, &json!(items)).await);
    }
    store(world, &json!(chunks)).await
}

async fn frame(world: &World, first: u64, len: u32) -> Command {
    let collection = collection(world, 20).await;
    let frame = Frame { first, len, total: 20, chunk_items: 4, collection, fail_fast: false };
    let reply_to = AggregateKey::Loop {
        execution_id: ExecutionId(7),
        step: "work".into(),
        event_id: EventId(3),
    };
    Command { frame: Some(frame), reply_to, ..command("work") }
}

fn only(answer: Answer) -> Outcome {
    assert_eq!(answer.outcomes.len(), 1);
    answer.outcomes.into_iter().next().unwrap()
}

#[tokio::test]
async fn a_call_is_answered_to_whoever_waits() {
    let mut step = step("work", "puppet", json!({"print": "hi", "n": 1}));
    step.args = Map::from_iter([("a".to_owned(), json!(1)), ("b".to_owned(), json!(1))]);
    let scope =
        Scope { args: [("b".to_owned(), Payload::Inline(json!(2)))].into(), ..Scope::default() };
    let command = Command { scope: Payload::Inline(json!(scope)), ..command("work") };
    let answer = execute(&bench(&world(step)), &command).await;
    assert_eq!(
        serde_json::to_value(envelope(&command, answer)).unwrap(),
        json!({
            "id": "c1.2", "to": "exec:7",
            "input": {"input": "answer", "command_id": "c1", "attempt": 2, "worker": "w1", "outcomes": [{
                "result": {"inline": {"key": "c1", "args": {"a": 1, "b": 2}, "config": {"print": "hi", "n": 1}}},
                "started_ms": 1, "duration_ms": 1, "output": "hi",
            }]},
        })
    );
}

#[tokio::test]
async fn an_error_says_where_it_happened_and_keeps_what_was_left() {
    let world = world(step("work", "puppet", json!({"do": "fail", "print": "p"})));
    let outcome = only(execute(&bench(&world), &command("work")).await);
    let error = outcome.error.unwrap();
    assert_eq!((error.kind.as_str(), error.retryable), ("Luck", false));
    assert_eq!(
        error.message,
        "no luck  (step `work`, line 12 of `demo/x`, tool `puppet`, attempt 2)"
    );
    assert_eq!(
        (outcome.result, outcome.output.as_str()),
        (Payload::Inline(json!({"left": 1})), "p")
    );
}

#[tokio::test]
async fn what_cannot_begin_is_an_outcome_too() {
    let good = || step("work", "puppet", json!({}));
    let bad_frame = Frame {
        first: 0,
        len: 1,
        total: 1,
        chunk_items: 0,
        fail_fast: false,
        collection: PayloadRef { uri: "u".to_owned(), sha256: "s".to_owned(), bytes: 1 },
    };
    let stored = Payload::Ref(bad_frame.collection.clone());
    #[rustfmt::skip]
    let cases = [
        ("the catalog is down", Arc::new(World::default()), command("work"), "StorageError", true, "does not answer; try again"),
        ("no such step", world(good()), command("other"), "InputError", false, "`other` is not in this version"),
        ("no such tool", world(step("work", "magic", json!({}))), command("work"), "InputError", false, "no tool `magic`; it has `puppet`, `python`"),
        ("no such task", world(step("work", "workbook", json!({"task": "t"}))), command("work"), "InputError", false, "the workbook has no task `t`; it has none"),
        ("no scope", world(good()), Command { scope: stored, ..command("work") }, "StorageError", false, "no such object"),
        ("a bad scope", world(good()), Command { scope: Payload::Inline(json!([1])), ..command("work") }, "StorageError", false, "does not decode"),
        ("no collection", world(looping(step("work", "python", json!({})))), Command { frame: Some(bad_frame), ..command("work") }, "StorageError", false, "has no item 0"),
        ("no credential", world(step("work", "puppet", json!({"auth": "pg"}))), command("work"), "InputError", false, "credential `pg`"),
    ];
    for (name, world, command, kind, retryable, text) in cases {
        let error = only(execute(&bench(&world), &command).await).error.unwrap();
        assert_eq!((error.kind.as_str(), error.retryable), (kind, retryable), "{name}: {error:?}");
        assert!(
            error.message.contains(text) && error.message.contains("attempt 2"),
            "{name}: {error:?}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_tool_that_does_not_end_is_dropped() {
    let world = world(step("work", "puppet", json!({"do": "hang"})));
    let error = only(execute(&bench(&world), &command("work")).await).error.unwrap();
    assert_eq!((error.kind.as_str(), error.retryable), ("TimeoutError", true));
    assert!(error.message.contains("within 5 s; raise `timeout`"), "{}", error.message);
}

#[tokio::test(start_paused = true)]
async fn a_frame_ends_with_its_worker_and_no_iteration_fails_for_that() {
    let cases = [
        ("nap", None, 5, false, false),
        ("nap", Some(11_000), 5, false, false),
        // The third one begins, and is not seen to its end.
        ("nap", Some(4_500), 2, true, false),
        ("nap", Some(4_000), 2, true, false),
        // The first one fails, for a loop whose calls take longer than any worker lives must end.
        ("nap", Some(500), 1, true, true),
        ("hang", Some(12_000), 2, true, true),
    ];
    for (does, ends_ms, ran, cut, failed) in cases {
        let world = world(looping(step("work", "puppet", json!({"do": does}))));
        let command = frame(&world, 0, 5).await;
        let ends = ends_ms.map(|after| Instant::now() + Duration::from_millis(after));
        let answer = execute_within(&bench(&world), &command, Terms { events: None, ends }).await;
        assert_eq!((answer.outcomes.len(), answer.cut), (ran, cut), "{does} {ends_ms:?}");
        let errors = answer.outcomes.iter().filter_map(|outcome| outcome.error.as_ref());
        let errors: Vec<&str> = errors.map(|error| error.kind.as_str()).collect();
        assert_eq!(errors, if failed { vec![TIMEOUT; ran] } else { vec![] }, "{does} {ends_ms:?}");
    }
}

#[tokio::test]
async fn a_large_result_is_stored_and_a_huge_one_refused() {
    let world = world(step("work", "puppet", json!({"text": INLINE_BYTES_MAX})));
    let outcome = only(execute(&bench(&world), &command("work")).await);
    let Payload::Ref(reference) = outcome.result else { panic!("{outcome:?}") };
    assert_eq!(reference.bytes, INLINE_BYTES_MAX as u64 + 2);
    assert!(world.objects.lock().unwrap().contains_key(&reference));

    let world = world_with(step("work", "puppet", json!({"text": 64 << 20})), Vec::new());
    let error = only(execute(&bench(&world), &command("work")).await).error.unwrap();
    assert!(error.message.contains("store it in a file"), "{}", error.message);
}

#[tokio::test]
async fn a_frame_runs_its_iterations_in_order() {
    let world = world(looping(step("work", "puppet", json!({}))));
    let answer = execute(&bench(&world), &frame(&world, 6, 3).await).await;
    let keys: Vec<_> = answer
        .outcomes
        .iter()
        .map(|outcome| outcome.result.inline().unwrap()["key"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(keys, ["c1.6", "c1.7", "c1.8"]);
    let times: Vec<_> = answer.outcomes.iter().map(|outcome| outcome.started_ms).collect();
    assert_eq!(times, [1, 3, 5]);
}

#[tokio::test]
async fn the_key_of_an_iteration_is_the_same_in_every_frame() {
    let world = world(looping(step("work", "puppet", json!({}))));
    let mut command = frame(&world, 6, 3).await;
    let cases = [
        ("7:work:3:6", "7:work:3:8"),
        ("7:work:3:6/2", "7:work:3:8/2"),
        ("7:work:3:61", "7:work:3:61.8"),
        ("c1", "c1.8"),
    ];
    for (id, expect) in cases {
        command.id = id.into();
        assert_eq!(call_id(&command, Some(8)), expect);
    }
    command.frame = None;
    assert_eq!(call_id(&command, None), "c1");
}

#[tokio::test]
async fn a_failed_iteration_stops_a_frame_only_under_fail_fast() {
    let world = world(looping(step("work", "puppet", json!({"do": "fail"}))));
    let bench = bench(&world);
    for (fail_fast, runs) in [(false, 3), (true, 1)] {
        for is_known in [true, false] {
            let mut command = frame(&world, 0, 3).await;
            command.frame.as_mut().unwrap().fail_fast = fail_fast;
            if !is_known {
                command.step = "other".into();
            }
            let answer = execute(&bench, &command).await;
            assert_eq!(answer.outcomes.len(), runs, "fail_fast: {fail_fast}, known: {is_known}");
            let last = answer.outcomes.last().unwrap().error.clone().unwrap();
            assert!(last.message.contains(&format!("iteration {}", runs - 1)), "{}", last.message);
        }
    }
}

#[tokio::test]
async fn a_loop_reads_each_stored_part_once() {
    let world =
        world(looping(step("work", "python", json!({"do": "context", "code": "item loop_index"}))));
    let bench = bench(&world);
    let scope = store(&world, &json!({"args": {"a": {"inline": 1}}})).await;
    for first in (0..20).step_by(2) {
        let mut command = frame(&world, first, 2).await;
        command.scope = Payload::Ref(scope.clone());
        let answer = execute(&bench, &command).await;
        for (index, outcome) in (first..).zip(&answer.outcomes) {
            let seen = outcome.result.inline().unwrap();
            assert_eq!((&seen["item"], &seen["loop_index"]), (&json!(index), &json!(index)));
        }
    }
    let scope_list_and_chunks = 1 + 1 + 5;
    assert_eq!(world.reads.load(Ordering::Relaxed), scope_list_and_chunks);
}

#[tokio::test]
async fn an_answer_stays_small_whatever_its_outcomes() {
    let long = "y".repeat(40_000);
    let config = json!({"do": "fail", "print": long, "more": long});
    let world = world(looping(step("work", "puppet", config)));
    let command = frame(&world, 0, 20).await;
    let answer = execute(&bench(&world), &command).await;
    let bytes = serde_json::to_vec(&answer).unwrap().len();
    assert!(bytes < 3 * ANSWER_BYTES_MAX, "{bytes}");
    let error = answer.outcomes[0].error.as_ref().unwrap();
    assert!(error.message.len() < ERROR_BYTES_MAX + 200 && error.message.contains("bytes cut"));

    let step = looping(step("work", "puppet", json!({"text": INLINE_BYTES_MAX - 2})));
    let world = world_with(step, Vec::new());
    let command = frame(&world, 0, 20).await;
    let answer = execute(&bench(&world), &command).await;
    let inline = answer.outcomes.iter().filter(|outcome| outcome.result.inline().is_some()).count();
    assert_eq!(inline, ANSWER_BYTES_MAX / INLINE_BYTES_MAX);
}

#[tokio::test]
async fn a_credential_leaves_the_worker_in_no_text() {
    let config = json!({"do": "fail", "auth": "api", "print": "s3cret-token is printed"});
    let world = world(step("work", "puppet", config));
    let bench = bench(&world).with_secrets(Arc::new(Vaulted));
    let outcome = only(execute(&bench, &command("work")).await);
    let message = outcome.error.unwrap().message;
    assert!(message.starts_with("no luck {\"token\":\"***\"}"), "{message}");
    assert_eq!(outcome.output, "*** is printed");
}

#[tokio::test]
async fn overrides_change_configuration_and_inputs() {
    let world = world(step("work", "puppet", json!({"params": {"a": 1, "b": 1}, "endpoint": "e"})));
    let overrides = json!({"params": {"b": 2}, "url": "u", "args": {"x": 3}});
    let command = Command { overrides: Some(overrides), ..command("work") };
    let outcome = only(execute(&bench(&world), &command).await);
    let seen = outcome.result.inline().unwrap();
    assert_eq!(seen["config"], json!({"params": {"a": 1, "b": 2}, "url": "u"}));
    assert_eq!(seen["args"], json!({"x": 3}));
}

#[tokio::test]
async fn a_workbook_task_runs_in_the_place_of_the_step() {
    let task = WorkbookTask {
        name: "t".to_owned(),
        tool: tool("puppet", json!({"n": 1}), json!({"a": 1, "b": 1, "c": 1})),
    };
    let mut step = step("work", "workbook", json!({"task": "t", "with": {"b": 2, "c": 2}}));
    step.args = Map::from_iter([("c".to_owned(), json!(3))]);
    let world = world_with(step, vec![task]);
    let outcome = only(execute(&bench(&world), &command("work")).await);
    let seen = outcome.result.inline().unwrap();
    assert_eq!(
        (&seen["args"], &seen["config"]),
        (&json!({"a": 1, "b": 2, "c": 3}), &json!({"n": 1}))
    );
}

#[tokio::test]
async fn now_is_the_start_of_the_call_and_ids_are_the_same_for_every_attempt() {
    let config = json!({"at": "{{ now() }}", "id": "{{ generate_uuid() }}"});
    let mut seen = Vec::new();
    for attempt in [1, 2] {
        let world = world(step("work", "puppet", config.clone()));
        let command = Command { attempt, ..command("work") };
        let outcome = only(execute(&bench(&world), &command).await);
        let config = outcome.result.inline().unwrap()["config"].clone();
        assert_eq!(config["at"], "1970-01-01T00:00:00.001Z");
        seen.push(config["id"].clone());
    }
    assert_eq!(seen[0], seen[1]);
}
