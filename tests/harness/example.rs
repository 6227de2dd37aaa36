//! A run of one of our own examples, with the event log that it left.

use std::fmt::Write as _;

use rusqlite::Connection;
use serde_json::Value;

use crate::binary::{Ran, example, run, written};

/// What a run left.
pub struct Run {
    /// How it ended, and what it wrote.
    pub ran: Ran,
    /// Its events, in order.
    pub events: Vec<Value>,
    /// Its store.
    pub store: Connection,
}

/// Runs an example with more arguments, on a store of its own.
///
/// # Panics
/// If there is no store afterwards.
#[must_use]
pub fn run_example(name: &str, more: &[&str]) -> Run {
    run_file(&example(name).to_string_lossy(), more)
}

/// Runs a playbook given as text, on a store of its own.
///
/// # Panics
/// If there is no store afterwards.
#[must_use]
pub fn run_text(playbook: &str, more: &[&str]) -> Run {
    run_file(&written(playbook).path().to_string_lossy(), more)
}

fn run_file(playbook: &str, more: &[&str]) -> Run {
    let folder = tempfile::tempdir().unwrap_or_else(|error| panic!("no folder: {error}"));
    let in_folder = |name: &str| folder.path().join(name).to_string_lossy().into_owned();
    let (store, events) = (in_folder("store.db"), in_folder("events.jsonl"));
    let own = ["run", playbook, "--json", "--store", &store, "--events", &events];
    let ran = run(own.into_iter().chain(more.iter().copied()));
    let log = std::fs::read_to_string(&events).unwrap_or_default();
    let events = log.lines().map(|line| serde_json::from_str(line).unwrap_or_default()).collect();
    // The folder goes away with this function; the open connection keeps its file alive.
    let opened = Connection::open(&store).and_then(|store| {
        store.query_row("select count(*) from aggregate", [], |row| row.get::<_, i64>(0))?;
        Ok(store)
    });
    let store = opened.unwrap_or_else(|error| panic!("no store ({error}): {}", ran.stderr));
    Run { ran, events, store }
}

impl Run {
    /// The view, once it ended with this exit code.
    ///
    /// # Panics
    /// If it ended otherwise.
    #[must_use]
    pub fn ended(&self, code: i32) -> Value {
        assert_eq!(self.ran.code, Some(code), "{}\n{}", self.ran.stdout, self.ran.stderr);
        self.ran.json()
    }

    /// How many events there are of a type.
    #[must_use]
    pub fn count(&self, event_type: &str) -> usize {
        self.of_type(event_type).count()
    }

    /// The events of a type, in order.
    pub fn of_type<'a>(&'a self, event_type: &'a str) -> impl Iterator<Item = &'a Value> {
        self.events.iter().filter(move |event| event["event_type"] == event_type)
    }
}

/// The log as lines, in order: of executions that do one thing at a time.
#[must_use]
pub fn in_order(events: &[Value]) -> String {
    let mut shown = String::new();
    // Whether a call takes long enough to tell of itself is chance.
    for event in events.iter().filter(|event| event["event_type"] != "command.progress") {
        let text = |key: &str| event[key].as_str().unwrap_or_default();
        let index = event.get("current_index").map(|index| format!("[{index}]"));
        let node = format!("{}{}", text("node_name"), index.unwrap_or_default());
        let line = format!("{:<22} {node:<26} {}", text("event_type"), text("status"));
        writeln!(shown, "{line}").unwrap_or_default();
    }
    shown
}

/// The log as lines, step by step and iteration by iteration: of executions that do several things at once,
/// whose order is chance.
#[must_use]
pub fn by_step(events: &[Value]) -> String {
    let mut events = events.to_vec();
    let place = |event: &Value| {
        let number = |value: &Value| value.as_str().and_then(|id| id.parse::<i64>().ok());
        let node = event["node_name"].as_str().unwrap_or_default().to_owned();
        (node, number(&event["loop_id"]), event["current_index"].as_u64())
    };
    events.sort_by_cached_key(place);
    in_order(&events)
}
