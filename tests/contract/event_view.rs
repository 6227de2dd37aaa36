//! What a person sees who opens the file and asks for the events.

use std::path::Path;

use adapters::embedded::store::SqliteStore;
use engine_core::command::CallSite;
use engine_core::event::{Fact, Outcome, Status};
use engine_core::ids::{AggregateKey, EventId};
use engine_core::payload::Payload;
use engine_core::ports::StateStore;
use rusqlite::Connection;
use serde_json::json;

use crate::samples::{
    START_MS, command, entry, execution, expanded, finished, loop_of, loop_open, options, outcome,
    started, summary,
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

const EXPECTED: [&str; 53] = [
    "playbook.initialized tests/hello STARTED",
    "workflow.initialized workflow COMPLETED",
    "command.issued fetch PENDING",
    "command.claimed fetch RUNNING",
    "command.started fetch RUNNING",
    "step.enter fetch RUNNING",
    "call.error fetch FAILED",
    "command.failed fetch FAILED",
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

/// Commits entries one millisecond apart, each with the ids after those of the one before.
async fn commit(store: &SqliteStore, history: Vec<(AggregateKey, Vec<Fact>)>) {
    let mut next_event_id = 1_000;
    for (at_ms, (key, facts)) in (START_MS + 123..).zip(history) {
        let seq = store.tail(&key).await.unwrap().map_or(1, |tail| tail.seq + 1);
        let mut entry = entry(&key, seq, facts);
        (entry.at_ms, entry.event_id) = (at_ms, EventId(next_event_id));
        next_event_id += i64::try_from(expanded(&entry.facts)).unwrap();
        store.commit(&entry).await.unwrap();
        assert_eq!(store.tail(&key).await.unwrap().unwrap().next_event_id, next_event_id);
    }
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
    assert_eq!(events, EXPECTED[..47]);

    let ids = query(&path, "select event_id from event where execution_id = 123");
    let ids: Vec<i64> = ids.iter().map(|row| row[0].parse().unwrap()).collect();
    assert_eq!(ids, (1_000..1_047).collect::<Vec<_>>());
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
    assert_eq!(events(5), EXPECTED[47..]);
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
    check(about, 1_021, &["command.issued", "python", "process", "22", "1", "1", "-"]);
    check(about, 1_025, &["call.done", "-", "process", "22", "0", "1", "w2"]);
    check(about, 1_038, &["call.error", "-", "process", "22", "1", "2", "w2"]);
    check(about, 1_043, &["loop.done", "-", "process", "22", "-", "-", "-"]);
    check(came, 1_003, &["command.claimed", "2024-01-01T00:00:00.124Z", "-", "-", "-", "exec:123"]);
    check(
        came,
        1_006,
        &["call.error", "2024-01-01T00:00:00.124Z", "7", r#"{"a":1}"#, "HTTP 503", "exec:123"],
    );
    check(
        came,
        1_038,
        &["call.error", "2024-01-01T00:00:00.128Z", "7", r#"{"a":1}"#, "no such page", inner],
    );
    check(
        came,
        1_045,
        &["workflow.failed", "2024-01-01T00:00:00.129Z", "-", r#"{"ok":true}"#, "-", "exec:123"],
    );
}
