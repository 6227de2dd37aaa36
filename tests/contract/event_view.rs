//! What a person sees who opens the file and asks for the events.

use std::path::Path;

use adapters::embedded::store::SqliteStore;
use engine_core::command::{CallSite, Command, RuleList};
use engine_core::event::{Fact, Outcome, Parent, Start, Status, ToolFailure};
use engine_core::ids::{AggregateKey, EventId, ExecutionId};
use engine_core::payload::Payload;
use engine_core::ports::StateStore;
use engine_core::project::{Event, expand, expanded_len};
use engine_core::state::Unit;
use rusqlite::Connection;
use serde_json::{Value, json};

use crate::samples::{
    START_MS, command, entry, execution, expanded, finished, loop_of, loop_open, options, outcome,
    playbook_ref, started, summary,
};

const FETCH: EventId = EventId(11);
const PROCESS: EventId = EventId(22);

fn entered(step: &str, run: EventId) -> Fact {
    Fact::StepEntered { step: step.into(), run, cause: None, args: [].into() }
}

fn issued(run: EventId, attempt: u32) -> Fact {
    Fact::CommandIssued { run, command: Box::new(command("fetch", attempt)), unit: None }
}

fn answered(attempt: u32, error: Option<&str>) -> Fact {
    Fact::Answered {
        index: None,
        site: CallSite::Tool,
        run: FETCH,
        step: "fetch".into(),
        command_id: "c".into(),
        attempt,
        worker: "w1".into(),
        outcome: outcome(error),
    }
}

fn exited(step: &str, run: EventId, status: Status) -> Fact {
    let result = Payload::Inline(json!({"done": true}));
    Fact::StepExited { run, step: step.into(), status, result, error: None }
}

fn frame_issued(first: u64, len: u32, attempt: u32) -> Fact {
    let (step, tool_kind) = ("process".into(), "python".into());
    Fact::FrameIssued {
        first,
        len,
        attempt,
        not_before_ms: 0,
        tool_kind,
        step,
        call: 1,
        site: CallSite::Tool,
        unit: None,
        resumed: false,
    }
}

fn frame_answered(first: u64, attempt: u32, outcomes: Vec<Outcome>, retried: Vec<u64>) -> Fact {
    Fact::FrameAnswered {
        first,
        len: u32::try_from(outcomes.len()).unwrap(),
        attempt,
        worker: "w2".into(),
        step: "process".into(),
        outcomes,
        retried,
        handled: vec![],
    }
}

/// One step that is tried twice, then a loop of two of which the second is tried twice and fails.
fn history() -> Vec<(AggregateKey, Vec<Fact>)> {
    let (whole, inner) = (execution(123), loop_of(123, "process", PROCESS.0));
    let retried = Fact::Retried {
        index: None,
        run: FETCH,
        step: "fetch".into(),
        command_id: "c".into(),
        attempt: 1,
        delay_ms: 10,
    };
    let saved = Fact::Saved {
        run: FETCH,
        index: None,
        step: "fetch".into(),
        data: Payload::Inline(json!([1])),
    };
    let open = loop_open("process", 2);
    let requested = Fact::LoopRequested { run: PROCESS, key: inner.clone(), open: open.clone() };
    let summary = summary(&inner, 2, 1);
    let closed = Fact::LoopClosed { step: "process".into(), summary: summary.clone() };
    let done = Fact::LoopDone { run: PROCESS, step: "process".into(), summary };
    let half = vec![outcome(None), outcome(Some("no such page"))];
    vec![
        (whole.clone(), vec![started(), entered("fetch", FETCH), issued(FETCH, 1)]),
        (whole.clone(), vec![answered(1, Some("HTTP 503")), retried, issued(FETCH, 2)]),
        (
            whole.clone(),
            vec![
                answered(2, None),
                saved,
                exited("fetch", FETCH, Status::Completed),
                entered("process", PROCESS),
                requested,
            ],
        ),
        (inner.clone(), vec![Fact::LoopOpened { open }, frame_issued(0, 2, 1)]),
        (inner.clone(), vec![frame_answered(0, 1, half, vec![1]), frame_issued(1, 1, 2)]),
        (inner, vec![frame_answered(1, 2, vec![outcome(Some("no such page"))], vec![]), closed]),
        (whole, vec![done, exited("process", PROCESS, Status::Failed), finished(Status::Failed)]),
    ]
}

const EXPECTED: [&str; 55] = [
    "playbook.initialized tests/hello STARTED",
    "workflow.initialized workflow COMPLETED",
    "command.issued fetch PENDING",
    "command.claimed fetch RUNNING",
    "command.started fetch RUNNING",
    "step.enter fetch RUNNING",
    "call.error fetch FAILED",
    "command.failed fetch FAILED",
    "retry_scheduled fetch PENDING",
    "command.issued fetch PENDING",
    "command.claimed fetch RUNNING",
    "command.started fetch RUNNING",
    "step.enter fetch RUNNING",
    "call.done fetch COMPLETED",
    "save_started fetch RUNNING",
    "save_completed fetch COMPLETED",
    "step.exit fetch COMPLETED",
    "command.completed fetch COMPLETED",
    "iterator_started process RUNNING",
    "iteration_started process RUNNING",
    "command.issued process PENDING",
    "iteration_started process RUNNING",
    "command.issued process PENDING",
    "command.claimed process RUNNING",
    "command.started process RUNNING",
    "step.enter process RUNNING",
    "call.done process COMPLETED",
    "step.exit process COMPLETED",
    "command.completed process COMPLETED",
    "iteration_completed process COMPLETED",
    "command.claimed process RUNNING",
    "command.started process RUNNING",
    "step.enter process RUNNING",
    "call.error process FAILED",
    "command.failed process FAILED",
    "retry_scheduled process PENDING",
    "command.issued process PENDING",
    "command.claimed process RUNNING",
    "command.started process RUNNING",
    "step.enter process RUNNING",
    "call.error process FAILED",
    "step.exit process FAILED",
    "command.failed process FAILED",
    "iteration_failed process FAILED",
    "iterator_completed process COMPLETED",
    "loop.done process COMPLETED",
    "step.exit process FAILED",
    "workflow.failed workflow FAILED",
    "playbook.failed tests/hello FAILED",
    // Of the second execution.
    "playbook.initialized tests/hello STARTED",
    "workflow.initialized workflow COMPLETED",
    "step.exit fetch FAILED",
    "iterator_completed process FAILED",
    "iterator_completed process COMPLETED",
    "execution.cancelled tests/hello CANCELLED",
];

/// Commits entries one millisecond apart, each with the ids after those of the one before; the events
/// that the engine makes of them.
async fn commit(store: &SqliteStore, history: Vec<(AggregateKey, Vec<Fact>)>) -> Vec<Event> {
    let mut events = Vec::new();
    let mut next_event_id = 1_000;
    for (at_ms, (key, facts)) in (START_MS + 123..).zip(history) {
        let seq = store.tail(&key).await.unwrap().map_or(1, |tail| tail.seq + 1);
        let mut entry = entry(&key, seq, facts);
        (entry.at_ms, entry.event_id) = (at_ms, EventId(next_event_id));
        next_event_id += i64::try_from(expanded(&entry.facts)).unwrap();
        store.commit(&entry).await.unwrap();
        assert_eq!(store.tail(&key).await.unwrap().unwrap().next_event_id, next_event_id);
        let of_entry = expand(&entry);
        assert_eq!(of_entry.len(), expanded(&entry.facts), "{:#?}", entry.facts);
        assert_eq!(of_entry.len(), expanded_len(&entry.facts), "{:#?}", entry.facts);
        events.extend(of_entry);
    }
    events
}

fn query(path: &Path, sql: &str) -> Vec<Vec<String>> {
    let connection = Connection::open(path).unwrap();
    let mut statement = connection.prepare(sql).unwrap();
    let columns = statement.column_count();
    let rows = statement.query_map([], |row| {
        (0..columns)
            .map(|column| {
                Ok(match row.get::<_, rusqlite::types::Value>(column)? {
                    rusqlite::types::Value::Null => "-".to_owned(),
                    rusqlite::types::Value::Integer(number) => number.to_string(),
                    rusqlite::types::Value::Text(text) => text,
                    other => format!("{other:?}"),
                })
            })
            .collect()
    });
    rows.unwrap().collect::<Result<_, _>>().unwrap()
}

async fn recorded() -> (tempfile::TempDir, std::path::PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.db");
    let store = SqliteStore::open(&path, options()).unwrap();
    commit(&store, history()).await;
    (folder, path)
}

#[tokio::test]
async fn events_appear_in_causal_order_with_ascending_ids() {
    let (_folder, path) = recorded().await;
    let events =
        query(&path, "select event_type, node_name, status from event where execution_id = 123");
    let events: Vec<_> = events.iter().map(|row| row.join(" ")).collect();
    assert_eq!(events, EXPECTED[..49]);

    let ids = query(&path, "select event_id from event where execution_id = 123");
    let ids: Vec<i64> = ids.iter().map(|row| row[0].parse().unwrap()).collect();
    assert_eq!(ids, (1_000..1_049).collect::<Vec<_>>());
}

#[tokio::test]
async fn exits_without_a_command_and_ends_of_every_kind() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.db");
    let store = SqliteStore::open(&path, options()).unwrap();
    let closed = |key: &AggregateKey, total, failed| Fact::LoopClosed {
        step: "process".into(),
        summary: summary(key, total, failed),
    };
    let (all_failed, empty) = (loop_of(5, "process", 1), loop_of(5, "process", 2));
    let history = vec![
        (
            execution(5),
            vec![started(), entered("fetch", FETCH), exited("fetch", FETCH, Status::Failed)],
        ),
        (all_failed.clone(), vec![closed(&all_failed, 2, 2)]),
        (empty.clone(), vec![closed(&empty, 0, 0)]),
        (execution(5), vec![finished(Status::Cancelled)]),
    ];
    commit(&store, history).await;
    commit(&store, vec![(execution(6), vec![started(), finished(Status::Completed)])]).await;

    let events = |id: i64| {
        let sql =
            format!("select event_type, node_name, status from event where execution_id = {id}");
        query(&path, &sql).iter().map(|row| row.join(" ")).collect::<Vec<_>>()
    };
    assert_eq!(events(5), EXPECTED[49..]);
    assert_eq!(
        events(6)[2..],
        ["workflow.completed workflow COMPLETED", "playbook.completed tests/hello COMPLETED"]
    );
}

#[tokio::test]
async fn columns_tell_the_iteration_and_what_came_of_it() {
    let (_folder, path) = recorded().await;
    let check = |columns: &str, event_id: i64, expected: &[&str]| {
        let sql = format!("select {columns} from event where event_id = {event_id}");
        assert_eq!(query(&path, &sql), [expected], "{columns} of {event_id}");
    };
    let about = "event_type, node_type, loop_name, loop_id, current_index, attempt, worker_id";
    let came = "event_type, created_at, duration, result, error, aggregate";
    let inner = "exec:123:loop:process:22";
    check(about, 1_002, &["command.issued", "http", "-", "-", "-", "1", "-"]);
    check(about, 1_003, &["command.claimed", "-", "-", "-", "-", "1", "w1"]);
    check(about, 1_022, &["command.issued", "python", "process", "22", "1", "1", "-"]);
    check(about, 1_026, &["call.done", "-", "process", "22", "0", "1", "w2"]);
    check(about, 1_040, &["call.error", "-", "process", "22", "1", "2", "w2"]);
    check(about, 1_045, &["loop.done", "-", "process", "22", "-", "-", "-"]);
    check(came, 1_003, &["command.claimed", "2024-01-01T00:00:00.124Z", "-", "-", "-", "exec:123"]);
    check(
        came,
        1_006,
        &["call.error", "2024-01-01T00:00:00.124Z", "7", r#"{"a":1}"#, "HTTP 503", "exec:123"],
    );
    check(
        came,
        1_040,
        &["call.error", "2024-01-01T00:00:00.128Z", "7", r#"{"a":1}"#, "no such page", inner],
    );
    check(
        came,
        1_047,
        &["workflow.failed", "2024-01-01T00:00:00.129Z", "-", r#"{"ok":true}"#, "-", "exec:123"],
    );
}

const RUN: EventId = EventId(33);

fn call(site: CallSite) -> Command {
    Command { site, reply_to: execution(123), ..command("fetch", 1) }
}

fn unit_issued(command: Command, unit: Unit) -> Fact {
    Fact::CommandIssued { run: RUN, command: Box::new(command), unit: Some(Box::new(unit)) }
}

fn unit_answered(site: CallSite, index: Option<u64>, error: Option<ToolFailure>) -> Fact {
    Fact::Answered {
        index,
        site,
        run: RUN,
        step: if index.is_some() { "process" } else { "fetch" }.into(),
        command_id: "c".into(),
        attempt: 1,
        worker: "w3".into(),
        outcome: Outcome { error, ..outcome(None) },
    }
}

fn failure(kind: &str, retryable: bool) -> ToolFailure {
    ToolFailure { kind: kind.into(), message: "no".into(), retryable, ..ToolFailure::default() }
}

fn continued(index: Option<u64>, failed: bool) -> Fact {
    let step = if index.is_some() { "process" } else { "fetch" }.into();
    Fact::Continued { run: RUN, index, step, failed }
}

fn unit_retried(index: Option<u64>, delay_ms: u64) -> Fact {
    let step = if index.is_some() { "process" } else { "fetch" }.into();
    Fact::Retried { run: RUN, index, step, command_id: "c".into(), attempt: 1, delay_ms }
}

fn unit_frame(index: u64, attempt: u32, call: u32, site: CallSite, unit: Option<Unit>) -> Fact {
    let unit = unit.map(|unit| Payload::Inline(json!(unit)));
    let (step, tool_kind) = ("process".into(), "callback".into());
    Fact::FrameIssued {
        first: index,
        len: 1,
        attempt,
        not_before_ms: 0,
        tool_kind,
        step,
        call,
        site,
        unit,
        resumed: false,
    }
}

fn iteration_settled(index: u64, error: Option<ToolFailure>) -> Fact {
    let outcome = Outcome { error, ..outcome(None) };
    Fact::IterationSettled { index, step: "process".into(), outcome, handled: false }
}

const SAVE: CallSite = CallSite::Save { list: RuleList::Case, rule: 0, action: 1 };
const NAMED: CallSite = CallSite::Named { list: RuleList::Retries, rule: 2, action: 0 };

/// Runs of several calls: pages, tasks, saves that fail in both ways, waits, a child.
fn units() -> Vec<(AggregateKey, Vec<Fact>)> {
    let whole = execution(123);
    let parent = Parent {
        key: execution(99),
        command_id: "99:call:1".into(),
        attempt: 1,
        waits: true,
        return_step: None,
        depth: 1,
    };
    let begun = match started() {
        Fact::Started { playbook, entry, workload, vars, .. } => {
            Fact::Started { playbook, entry, workload, vars, parent: Some(parent) }
        }
        other => other,
    };
    let page = Unit { page: 3, ..Unit::default() };
    let until_ms = Some(START_MS + 60_000);
    let callback = Unit { token: Some("t0k3n".into()), until_ms, ..Unit::default() };
    let wait = Unit { until_ms, ..Unit::default() };
    let child = Unit { child: Some(ExecutionId(77)), ..Unit::default() };
    let start = Start { playbook: playbook_ref(), payload: serde_json::Map::new(), parent: None };
    let requested = Fact::ChildRequested { child: ExecutionId(77), start: Box::new(start) };
    let timer = Fact::TimerSet { until_ms: 9, rings_ms: 8, number: 1 };
    let arrived = Fact::Arrived { step: "join".into(), cause: Some(RUN), args: [].into() };
    let of_kind = |kind: &str| Command { tool_kind: kind.into(), ..call(CallSite::Tool) };
    let cancelled =
        Fact::CommandCancelled { run: RUN, step: "fetch".into(), command_id: "c".into() };
    let loop_failed =
        Fact::LoopFailed { run: RUN, step: "fetch".into(), error: failure("LoopError", false) };
    #[rustfmt::skip]
    let calls = vec![
        vec![begun, timer, entered("fetch", RUN), unit_issued(call(CallSite::Tool), Unit::default())],
        vec![unit_answered(CallSite::Tool, None, None), continued(None, false), unit_issued(call(CallSite::Tool), page)],
        vec![unit_answered(CallSite::Tool, None, Some(failure("HTTPError", true))), unit_retried(None, 250), unit_issued(call(CallSite::Task(1)), Unit::default())],
        vec![unit_answered(CallSite::Task(1), None, Some(failure("HTTPError", false))), continued(None, true), unit_issued(call(NAMED), Unit::default())],
        vec![unit_answered(NAMED, None, None), continued(None, false), unit_issued(call(SAVE), Unit::default())],
        vec![unit_answered(SAVE, None, None), continued(None, false), unit_issued(call(CallSite::Sink), Unit::default())],
        vec![unit_answered(CallSite::Sink, None, Some(failure("PostgresError", true))), unit_retried(None, 0), unit_issued(call(CallSite::Sink), Unit::default())],
        vec![unit_answered(CallSite::Sink, None, Some(failure("LostError", false))), continued(None, true), unit_issued(call(SAVE), Unit::default())],
        // A save that ends its run, then a skipped step, a step that waits and others beside it.
        vec![unit_answered(SAVE, None, Some(failure("PostgresError", false))), exited("fetch", RUN, Status::Failed), arrived],
        vec![unit_answered(CallSite::Tool, None, None), continued(None, false), exited("fetch", RUN, Status::Completed)],
        vec![unit_answered(CallSite::Tool, None, None), exited("fetch", RUN, Status::Skipped)],
        vec![unit_issued(of_kind("callback"), callback), unit_issued(of_kind("wait"), wait), unit_issued(of_kind("playbook"), child), requested],
        vec![cancelled, loop_failed, finished(Status::Cancelled)],
    ];
    let mut history: Vec<_> = calls.into_iter().map(|facts| (whole.clone(), facts)).collect();
    history.extend(unit_loop());
    history
}

/// A loop of three iterations of several calls each.
fn unit_loop() -> Vec<(AggregateKey, Vec<Fact>)> {
    let inner = loop_of(123, "process", RUN.0);
    let open = loop_open("process", 3);
    let waiting = Unit { token: Some("t-33-1".into()), until_ms: Some(5), ..Unit::default() };
    let vars = Fact::LoopVariables { values: Payload::Inline(json!({})) };
    let closed = Fact::LoopClosed { step: "process".into(), summary: summary(&inner, 3, 1) };
    let site = CallSite::Tool;
    #[rustfmt::skip]
    let entries = vec![
        vec![Fact::LoopOpened { open }, unit_frame(0, 1, 1, site, Some(Unit::default())), unit_frame(1, 1, 1, site, Some(waiting))],
        vec![unit_answered(site, Some(0), None), continued(Some(0), false), unit_frame(0, 1, 2, CallSite::Sink, Some(Unit::default()))],
        vec![unit_answered(CallSite::Sink, Some(0), Some(failure("E", true))), unit_retried(Some(0), 20), unit_frame(0, 2, 2, CallSite::Sink, None)],
        vec![
            unit_answered(CallSite::Sink, Some(0), None), vars, iteration_settled(0, None),
            unit_answered(site, Some(1), None), continued(Some(1), false), iteration_settled(1, Some(failure("E", false))),
            unit_frame(2, 1, 1, CallSite::Sink, None),
        ],
        vec![unit_answered(CallSite::Sink, Some(2), Some(failure("E", false))), iteration_settled(2, Some(failure("E", false))), closed],
    ];
    entries.into_iter().map(|facts| (inner.clone(), facts)).collect()
}

/// The columns that the view and the engine both have, of one event.
fn columns(event: &Event) -> Vec<String> {
    let text = |value: Option<String>| value.unwrap_or_else(|| "-".to_owned());
    vec![
        event.event_id.to_string(),
        event.event_type.to_owned(),
        event.node_name.clone(),
        text(event.node_type.clone()),
        event.status.to_owned(),
        text(event.loop_name.clone()),
        text(event.loop_id.map(|id| id.to_string())),
        text(event.current_index.map(|index| index.to_string())),
        text(event.meta["worker_id"].as_str().map(str::to_owned)),
    ]
}

async fn both(history: Vec<(AggregateKey, Vec<Fact>)>) -> (Vec<Event>, Vec<Vec<String>>) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.db");
    let store = SqliteStore::open(&path, options()).unwrap();
    let mut events = commit(&store, history).await;
    events.sort_by_key(|event| event.event_id);
    let sql = "select event_id, event_type, node_name, node_type, status, loop_name, loop_id,
        current_index, case when event_type in ('command.claimed', 'command.started', 'step.enter',
        'call.done', 'call.error', 'save_completed', 'save_failed', 'save_error') then worker_id end,
        attempt, result from event order by event_id";
    (events, query(&path, sql))
}

#[tokio::test]
async fn the_view_shows_what_the_engine_expands() {
    for history in [history(), units()] {
        let (events, rows) = both(history).await;
        assert_eq!(events.len(), rows.len());
        for (event, row) in events.iter().zip(&rows) {
            assert_eq!(columns(event), row[..9]);
            if let Some(attempt) = event.meta["attempt"].as_u64() {
                assert_eq!(row[9], attempt.to_string(), "{}", event.event_type);
            }
            if event.event_type == "iterator_started" {
                assert_eq!(serde_json::from_str::<Value>(&row[10]).unwrap(), event.result);
            }
        }
    }
}

#[tokio::test]
async fn runs_of_several_calls_tell_each_of_them() {
    let (events, _) = both(units()).await;
    let told = |of: &[&str]| {
        let events = events.iter().filter(|event| of.contains(&event.event_type));
        events.map(|event| format!("{} {}", event.event_type, event.status)).collect::<Vec<_>>()
    };
    let saves = ["save_started", "save_completed", "save_failed", "save_error"];
    #[rustfmt::skip]
    let expect = [
        "save_started RUNNING", "save_completed COMPLETED", "save_started RUNNING", "save_error FAILED",
        "save_started RUNNING", "save_error FAILED", "save_started RUNNING", "save_failed FAILED",
        // Of the loop.
        "save_started RUNNING", "save_error FAILED", "save_started RUNNING", "save_completed COMPLETED",
        "save_started RUNNING", "save_failed FAILED",
    ];
    assert_eq!(told(&saves), expect);
    let ends = told(&["step.exit", "iteration_completed", "iteration_failed", "iterator_failed"]);
    #[rustfmt::skip]
    let expect = [
        "step.exit FAILED", "step.exit COMPLETED", "step.exit SKIPPED", "iterator_failed FAILED",
        "step.exit COMPLETED", "iteration_completed COMPLETED",
        "step.exit FAILED", "iteration_failed FAILED", "step.exit FAILED", "iteration_failed FAILED",
    ];
    assert_eq!(ends, expect);
    let begun = events.iter().filter(|event| event.event_type == "iteration_started");
    assert_eq!(begun.filter_map(|event| event.current_index).collect::<Vec<_>>(), [0, 1, 2]);
}

#[tokio::test]
async fn what_a_command_is_for_is_told_with_it() {
    let (events, _) = both(units()).await;
    let of = |event_type: &str| {
        let events = events.iter().filter(move |event| event.event_type == event_type);
        events.map(|event| event.meta.clone()).collect::<Vec<_>>()
    };
    let callback = |token: &str| json!({"token": token, "path": format!("/api/executions/123/callbacks/{token}")});
    let until_ms = START_MS + 60_000;
    #[rustfmt::skip]
    let expect = [
        json!({}), json!({"page": 3}), json!({"site": {"task": 1}}),
        json!({"site": {"named": {"list": "retries", "rule": 2, "action": 0}}}),
        json!({"site": {"save": {"list": "case", "rule": 0, "action": 1}}}),
        json!({"site": "sink"}), json!({"site": "sink"}),
        json!({"site": {"save": {"list": "case", "rule": 0, "action": 1}}}),
        json!({"callback": callback("t0k3n"), "until_ms": until_ms}),
        json!({"until_ms": until_ms}),
        json!({"child_execution_id": "77"}),
        json!({}), json!({"callback": callback("t-33-1"), "until_ms": 5}),
        json!({"site": "sink"}), json!({"site": "sink"}), json!({"site": "sink"}),
    ];
    let metas: Vec<Value> = of("command.issued")
        .into_iter()
        .map(|meta| {
            let told = meta.as_object().unwrap().iter();
            let told = told.filter(|(key, _)| !["command_id", "attempt"].contains(&key.as_str()));
            Value::Object(told.map(|(key, value)| (key.clone(), value.clone())).collect())
        })
        .collect();
    assert_eq!(metas, expect);
    let parent = json!({"parent_execution_id": "99", "parent_command_id": "99:call:1"});
    assert_eq!(of("playbook.initialized"), [parent]);
    let delays = of("retry_scheduled");
    let delays: Vec<_> = delays.iter().map(|meta| meta["retry_delay_ms"].clone()).collect();
    assert_eq!(delays, [250, 0, 20]);
}
