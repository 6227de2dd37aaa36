//! Every example runs, and its expanded event log is a snapshot.

#![expect(
    clippy::unwrap_used,
    reason = "a failed call is a failed test; figures are for readers of the log"
)]

use std::fmt::Write as _;

use rusqlite::Connection;
use serde_json::Value;
use tests::binary::{Ran, example, run};

/// Runs an example on a store of its own; returns what it left and the log as lines.
fn run_example(name: &str, payload: &str) -> (Ran, String, Connection) {
    let folder = tempfile::tempdir().unwrap();
    let store = folder.path().join("store.db");
    let events = folder.path().join("events.jsonl");
    let (playbook, store) = (example(name), store.to_string_lossy().into_owned());
    let events = events.to_string_lossy().into_owned();
    let playbook = playbook.to_string_lossy();
    let ran = run([
        "run",
        &playbook,
        "--json",
        "--store",
        &store,
        "--payload",
        payload,
        "--events",
        &events,
    ]);
    let log = std::fs::read_to_string(&events).unwrap_or_default();
    let lines = log.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let mut shown = String::new();
    for event in lines {
        let index = match event.get("current_index") {
            Some(index) => format!("[{index}]"),
            None => String::new(),
        };
        let text = |key: &str| event[key].as_str().unwrap_or_default().to_owned();
        let (kind, node, status) = (text("event_type"), text("node_name"), text("status"));
        writeln!(shown, "{kind:<22} {:<26} {status}", format!("{node}{index}")).unwrap();
    }
    // The folder goes away with this function; the open connection keeps its file alive.
    let connection = Connection::open(&store).unwrap();
    connection.query_row("select count(*) from aggregate", [], |row| row.get::<_, i64>(0)).unwrap();
    (ran, shown, connection)
}

#[test]
fn hello_greets() {
    let (ran, log, _) = run_example("hello.yaml", r#"{"name": "Ada"}"#);
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    assert_eq!(ran.json()["result"]["greeting"], "Hello, Ada!");
    insta::assert_snapshot!("hello", log);
}

#[test]
fn seed_000_two_loops_have_their_own_keys_and_their_own_results() {
    let (ran, log, store) = run_example("loop_isolation.yaml", "{}");
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    let view = ran.json();
    assert_eq!(view["status"], "COMPLETED");
    let id = view["execution_id"].as_str().unwrap();
    for step in ["greet_users", "price_products"] {
        let results = view["steps"][step]["result"]["results"].as_array().unwrap();
        assert_eq!(results.len(), 2, "{step}");
        let prefix = format!("exec:{id}:loop:{step}:");
        let mut query = store.prepare("select key, state from aggregate order by key").unwrap();
        let rows =
            query.query_map([], |row| Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?)));
        let keys: Vec<_> =
            rows.unwrap().map(Result::unwrap).filter(|(key, _)| key.starts_with(&prefix)).collect();
        assert_eq!(keys.len(), 1, "{step}: {keys:?}");
        assert!(keys[0].0[prefix.len()..].parse::<i64>().is_ok(), "{}", keys[0].0);
        assert!(!keys[0].1.contains("Hello"), "a result in the loop's state: {}", keys[0].1);
    }
    for (event, times) in [
        ("iterator_started", 2),
        ("iteration_started", 4),
        ("iteration_completed", 4),
        ("iterator_completed", 2),
        ("loop.done", 2),
        ("command.issued", 8),
        ("command.claimed", 8),
        ("command.started", 8),
        ("step.enter", 8),
        ("call.done", 8),
        ("command.completed", 8),
    ] {
        let found = log.lines().filter(|line| line.split(' ').next() == Some(event)).count();
        assert_eq!(found, times, "{event}\n{log}");
    }
}

#[test]
fn seed_000_the_log_of_a_sequential_loop_is_in_order() {
    let (_, log, _) = run_example("loop_isolation.yaml", r#"{"products": []}"#);
    insta::assert_snapshot!("loop_isolation_without_products", log);
}

#[test]
fn seed_002_the_nested_payload_takes_effect_and_nothing_is_lost() {
    let payload = r#"{"workload": {"item_count": 500}}"#;
    let (ran, _, store) = run_example("heavy_loop.yaml", payload);
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    let view = ran.json();
    assert_eq!(view["steps"]["work"]["runs"], 500);
    assert_eq!(view["result"]["processed"], 500);
    let largest: i64 = store
        .query_row(
            "select max(length(state)) from aggregate where key like '%:loop:%'",
            [],
            |row| row.get(0),
        )
        .unwrap();
    assert!(largest <= 4_096, "{largest} bytes");
}

#[test]
fn branch_takes_one_way_or_the_other() {
    let (ran, log, _) = run_example("branch.yaml", "{}");
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    assert_eq!(ran.json()["steps"]["fan"]["result"]["speed"], 10);
    assert_eq!(ran.json()["steps"]["notify"]["result"]["message"], "it is hot");
    assert!(log.contains("step.exit"), "{log}");

    let (ran, log, _) = run_example("branch.yaml", r#"{"temperature": 12}"#);
    assert!(ran.json()["steps"].get("fan").is_none());
    assert_eq!(ran.json()["result"]["message"], "it is cold");
    insta::assert_snapshot!("branch_cold", log);
}

#[test]
fn retry_tries_again_until_it_works() {
    let (ran, log, _) = run_example("retry.yaml", "{}");
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    let view = ran.json();
    assert_eq!(view["steps"]["start"]["result"]["tries"], 3);
    assert_eq!(view["steps"]["start"]["runs"], 1, "failed attempts are no finished executions");
    insta::assert_snapshot!("retry", log);
}

#[test]
fn fails_says_what_where_and_which_line() {
    let (ran, log, _) = run_example("fails.yaml", "{}");
    assert_eq!(ran.code, Some(1), "{}", ran.stderr);
    let view = ran.json();
    assert_eq!(view["status"], "FAILED");
    let error = view["error"].to_string();
    for part in ["start", "KeyError", "price", "order[\\\"price\\\"]"] {
        assert!(error.contains(part), "`{part}` is not in {error}");
    }
    insta::assert_snapshot!("fails", log);
}

#[test]
fn the_store_answers_a_person_with_sql() {
    let (ran, log, store) = run_example("branch.yaml", "{}");
    let id: i64 = ran.json()["execution_id"].as_str().unwrap().parse().unwrap();
    let mut query = store
        .prepare("select event_type, node_name, status from event where execution_id = ?1")
        .unwrap();
    let rows = query.query_map([id], |row| {
        let (kind, node, status) =
            (row.get::<_, String>(0)?, row.get::<_, String>(1)?, row.get::<_, String>(2)?);
        Ok(format!("{kind:<22} {node:<26} {status}\n"))
    });
    let shown: String = rows.unwrap().map(Result::unwrap).collect();
    assert_eq!(shown, log, "the view of the store and the program's own list agree");
}
