//! Measures commits of the embedded store on this machine's disk.
//!
//! `cargo run --release -p adapters --example commit_latency -- [FOLDER]`

#![expect(clippy::print_stdout, reason = "its output is what it is for")]

use std::collections::BTreeMap;
use std::error::Error;
use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use adapters::embedded::store::{Options, SqliteStore};
use engine_core::event::{Entry, Fact, Outcome, Status};
use engine_core::ids::{AggregateKey, EventId, ExecutionId, InputId, StepName};
use engine_core::payload::Payload;
use engine_core::playbook::PlaybookRef;
use engine_core::ports::{PortError, StateStore};
use engine_core::state::{ExecutionState, State, StepState};
use serde_json::json;

const COMMITS: u64 = 2_000;
const AT_ONCE: i64 = 64;

fn main() -> Result<(), Box<dyn Error>> {
    let parent = std::env::args_os().nth(1).map_or_else(std::env::temp_dir, PathBuf::from);
    let folder = parent.join(format!("commit_latency.{}", std::process::id()));
    fs::create_dir_all(&folder)?;
    let measured = tokio::runtime::Builder::new_current_thread().build()?.block_on(async {
        syncs(&folder)?;
        let options = Options { expanded: |facts| facts.len(), bytes_max: None };
        measure("file", SqliteStore::open(&folder.join("store.db"), options)?).await?;
        let bytes = fs::metadata(folder.join("store.db"))?.len();
        println!("{:>36}  {bytes} bytes", "file: closed");
        measure("memory", SqliteStore::memory(options)?).await
    });
    fs::remove_dir_all(&folder)?;
    measured
}

/// What the disk itself takes: 8 KB written over an existing file and synced.
fn syncs(folder: &Path) -> Result<(), Box<dyn Error>> {
    use std::io::Seek as _;
    let mut file = File::create(folder.join("sync"))?;
    let mut times = Vec::new();
    for _ in 0..COMMITS {
        let began = Instant::now();
        file.rewind()?;
        file.write_all(&[7; 8_192])?;
        file.sync_data()?;
        times.push(began.elapsed());
    }
    report("fdatasync alone", times);
    Ok(())
}

async fn measure(name: &str, store: SqliteStore) -> Result<(), Box<dyn Error>> {
    let store = Arc::new(store);
    let key = AggregateKey::Execution(ExecutionId(1));
    let mut times = Vec::new();
    for seq in 1..=COMMITS {
        let entry = entry(&key, seq);
        let began = Instant::now();
        store.commit(&entry).await?;
        times.push(began.elapsed());
    }
    report(&format!("{name}: one commit after the other"), times);

    let mut times = Vec::new();
    for _ in 0..COMMITS {
        let began = Instant::now();
        store.tail(&key).await?;
        times.push(began.elapsed());
    }
    report(&format!("{name}: tail"), times);

    let mut times = Vec::new();
    for seq in 1..=COMMITS {
        let began = Instant::now();
        store.entries(&key, seq, 1).await?;
        times.push(began.elapsed());
    }
    report(&format!("{name}: one entry read"), times);

    let began = Instant::now();
    let writers: Vec<_> =
        (0..AT_ONCE).map(|number| tokio::spawn(write(store.clone(), number))).collect();
    let mut times = Vec::new();
    for writer in writers {
        times.extend(writer.await??);
    }
    let elapsed = began.elapsed();
    let entries = times.len();
    report(&format!("{name}: {AT_ONCE} at once"), times);
    println!("{:>36}  {entries} entries in {elapsed:.2?}", "");
    Ok(())
}

async fn write(store: Arc<SqliteStore>, number: i64) -> Result<Vec<Duration>, PortError> {
    let execution_id = ExecutionId(number + 100);
    let key = AggregateKey::Execution(execution_id);
    let mut times = Vec::new();
    for seq in 1..=COMMITS / 10 {
        let entry = entry(&key, seq);
        let began = Instant::now();
        store.commit(&entry).await?;
        times.push(began.elapsed());
    }
    Ok(times)
}

/// One answered call in an execution of twenty steps.
fn entry(key: &AggregateKey, seq: u64) -> Entry {
    let playbook = PlaybookRef { path: "examples/commit".to_owned(), hash: "0".repeat(64) };
    let result = Payload::Inline(json!({"id": seq, "data": {"status": "ok", "items": [1, 2, 3]}}));
    let outcome =
        Outcome { result, error: None, started_ms: 1, duration_ms: 5, output: String::new() };
    let step_state = StepState {
        status: Status::Completed,
        runs: 1,
        visits: 1,
        order: 1,
        result: Some(Payload::Log { key: key.clone(), seq: 1, fact: 0, item: 0 }),
    };
    let state = ExecutionState {
        parent: None,
        timer: None,
        arrived: BTreeMap::new(),
        status: Status::Running,
        playbook,
        workload: Payload::Log { key: key.clone(), seq: 1, fact: 0, item: 0 },
        vars: BTreeMap::new(),
        steps: (0..20).map(|n| (StepName(format!("step_{n}")), step_state.clone())).collect(),
        runs: BTreeMap::new(),
        failure: None,
        last: None,
        entered: seq,
        finished: seq,
        folded: seq,
    };
    let answered = Fact::Answered {
        index: None,
        site: engine_core::command::CallSite::Tool,
        run: EventId(1),
        step: "step_1".into(),
        command_id: "c".into(),
        attempt: 1,
        worker: "w".to_owned(),
        outcome,
    };
    Entry {
        key: key.clone(),
        seq,
        at_ms: seq.cast_signed(),
        event_id: EventId(seq.cast_signed()),
        inputs: vec![InputId(format!("answer.{seq}"))],
        facts: vec![answered],
        state: State::Execution(Box::new(state)),
    }
}

fn report(name: &str, mut times: Vec<Duration>) {
    times.sort_unstable();
    let at = |percent: usize| times[(times.len() - 1) * percent / 100];
    println!("{name:>36}: p50 {:>9.1?}  p99 {:>9.1?}  max {:>9.1?}", at(50), at(99), at(100));
}
