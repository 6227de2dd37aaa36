//! A killed process resumes where it was, and every item has exactly one outcome.

#![expect(
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a failed call is a failed test; the figure is for whoever reads the log"
)]

use std::collections::BTreeMap;
use std::hash::{BuildHasher as _, RandomState};
use std::process::Command;
use std::time::Duration;

use rusqlite::Connection;
use tests::binary::{Ran, example, playbook, run, start, written};

const ITEMS: u64 = 1_000;
const ROUNDS: u64 = 20;

/// A number that differs from round to round and from run to run.
fn dice(round: u64) -> u64 {
    // The keys of a new hasher are the operating system's randomness.
    RandomState::new().hash_one(round)
}

/// How often each iteration of the only loop was settled, and the execution's id.
fn settled(store: &str) -> BTreeMap<i64, u64> {
    let store = Connection::open(store).unwrap();
    let mut query = store
        .prepare(
            "select current_index, count(*) from event
             where event_type in ('iteration_completed', 'iteration_failed') group by 1",
        )
        .unwrap();
    let rows = query
        .query_map([], |row| Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?.unsigned_abs())));
    rows.unwrap().map(Result::unwrap).collect()
}

fn execution_id(store: &str) -> Option<String> {
    let store = Connection::open(store).ok()?;
    let id: i64 =
        store.query_row("select execution_id from execution", [], |row| row.get(0)).ok()?;
    Some(id.to_string())
}

/// Whether the execution, or the loop in it, has left anything yet.
fn has_begun(store: &str, with_loop: bool) -> bool {
    let least = if with_loop { 2 } else { 1 };
    let Ok(store) = Connection::open(store) else { return false };
    let count = store.query_row("select count(*) from aggregate", [], |row| row.get::<_, i64>(0));
    count.is_ok_and(|count| count >= least)
}

#[test]
fn a_loop_that_is_killed_twenty_times_over_still_settles_each_item_once() {
    let folder = tempfile::tempdir().unwrap();
    let payload = format!(r#"{{"workload": {{"item_count": {ITEMS}, "padding_bytes": 500}}}}"#);
    let playbook = example("heavy_loop.yaml");
    let mut killed_inside = 0;
    for round in 0..ROUNDS {
        let store = folder.path().join(format!("{round}.db"));
        let store = store.to_string_lossy().into_owned();
        let playbook = playbook.to_string_lossy();
        let mut child =
            start(["run", &playbook, "--json", "--store", &store, "--payload", &payload]);
        // The moment of death: a random time after the loop has begun, and now and then before.
        while child.try_wait().unwrap().is_none() && !has_begun(&store, round % 5 > 0) {
            std::thread::yield_now();
        }
        std::thread::park_timeout(Duration::from_millis(dice(round) % 100));
        child.kill().unwrap();
        child.wait().unwrap();

        let Some(id) = execution_id(&store) else { panic!("round {round}: nothing was stored") };
        let before: u64 = settled(&store).values().sum();
        killed_inside += u64::from(before > 0 && before < ITEMS);

        let resumed = run(["resume", &id, "--store", &store, "--json"]);
        assert_eq!(resumed.code, Some(0), "round {round}, {before} settled: {}", resumed.stderr);
        let view = resumed.json();
        assert_eq!(view["status"], "COMPLETED", "round {round}");
        assert_eq!(view["steps"]["validate"]["result"]["processed"], ITEMS, "round {round}");

        let after = settled(&store);
        assert_eq!(after.len() as u64, ITEMS, "round {round}: some items have no outcome");
        let doubled: Vec<_> = after.iter().filter(|(_, count)| **count != 1).collect();
        assert!(doubled.is_empty(), "round {round}: settled more than once: {doubled:?}");
    }
    println!("{killed_inside} of {ROUNDS} rounds died inside the loop");
    assert!(killed_inside > 0, "no round died inside the loop: the test proves nothing");
}

#[test]
fn an_interrupt_ends_cleanly_and_says_how_to_go_on() {
    let folder = tempfile::tempdir().unwrap();
    let store = folder.path().join("store.db").to_string_lossy().into_owned();
    let rest = "workflow:\n  - step: start\n    loop: { in: \"{{ range(200) | list }}\", iterator: n }\n    \
                tool: { kind: python, code: \"import time; time.sleep(0.02); result = 1\" }\n";
    let file = written(&playbook(rest));
    let mut child = start(["run", &file.path().to_string_lossy(), "--store", &store]);
    while child.try_wait().unwrap().is_none() && !has_begun(&store, true) {
        std::thread::yield_now();
    }
    let id = child.id().to_string();
    assert!(Command::new("kill").args(["-INT", &id]).status().unwrap().success());
    let ran = Ran::from(child.wait_with_output().unwrap());
    assert_eq!(ran.code, Some(130), "{}", ran.stderr);
    let execution = execution_id(&store).unwrap();
    let advice = format!("noetl-lambda resume {execution} --store");
    assert!(ran.stderr.contains(&advice), "`{advice}` is not in {}", ran.stderr);

    let resumed = run(["resume", &execution, "--store", &store, "--json"]);
    assert_eq!(resumed.code, Some(0), "{}", resumed.stderr);
    assert_eq!(resumed.json()["steps"]["start"]["runs"], 200);
    let replayed = run(["replay", &execution, "--store", &store]);
    assert_eq!(replayed.code, Some(0), "{}{}", replayed.stdout, replayed.stderr);
}
