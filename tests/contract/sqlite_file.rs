//! What a file adds to the contract: it outlives processes, is shared, fills up, and is tampered
//! with.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use adapters::embedded::store::{Options, SqliteStore};
use engine_core::event::Fact;
use engine_core::ids::EventId;
use engine_core::limits::{COMMITS_PER_SYNC_MAX, TAILS_KEPT};
use engine_core::payload::Payload;
use engine_core::ports::{PortError, PortErrorKind, StateStore};
use rusqlite::Connection;
use serde_json::json;
use tempfile::TempDir;

use crate::samples::{chain, entry, execution, options, started};

const CHILD_STORE: &str = "CONTRACT_CHILD_STORE";

fn folder() -> (TempDir, std::path::PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.db");
    (folder, path)
}

fn open(path: &Path) -> SqliteStore {
    SqliteStore::open(path, options()).unwrap()
}

#[tokio::test]
async fn what_was_committed_is_there_after_a_restart() {
    let (_folder, path) = folder();
    let key = execution(1);
    for seq in 1..=3 {
        let store = open(&path);
        assert_eq!(store.tail(&key).await.unwrap().map_or(0, |tail| tail.seq), seq - 1);
        store.commit(&entry(&key, seq, vec![])).await.unwrap();
    }
    assert_eq!(open(&path).entries(&key, 1, 10).await.unwrap().len(), 3);
}

/// Not a test of its own: the other half of the two tests below, in a process that can be killed.
#[tokio::test]
async fn child_that_commits_until_it_is_killed() {
    let Some(path) = std::env::var_os(CHILD_STORE) else { return };
    let store = open(Path::new(&path));
    for seq in 1.. {
        store.commit(&entry(&execution(1), seq, vec![started()])).await.unwrap();
        writeln!(std::io::stdout(), "committed {seq}").unwrap();
    }
}

/// Starts the child and waits until it has committed `commits` entries.
fn spawn_child(path: &Path, commits: u64) -> Child {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["sqlite_file::child_that_commits_until_it_is_killed", "--exact", "--nocapture"])
        .env(CHILD_STORE, path)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let wanted = format!("committed {commits}");
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    assert!(
        lines.map_while(Result::ok).any(|line| line.ends_with(&wanted)),
        "the child died early"
    );
    child
}

#[tokio::test]
async fn a_killed_process_loses_nothing_that_it_committed() {
    let (_folder, path) = folder();
    let mut child = spawn_child(&path, 50);
    child.kill().unwrap();
    child.wait().unwrap();

    let store = open(&path);
    let tail = store.tail(&execution(1)).await.unwrap().unwrap();
    assert!(tail.seq >= 50, "{} entries are left of 50", tail.seq);
    let entries = store.entries(&execution(1), 1, usize::MAX).await.unwrap();
    assert!(entries.iter().map(|entry| entry.seq).eq(1..=tail.seq), "no gap, no rest");
    store.commit(&entry(&execution(1), tail.seq + 1, vec![])).await.unwrap();
}

#[tokio::test]
async fn a_second_process_is_refused_and_told_who_holds_the_file() {
    let (_folder, path) = folder();
    let mut child = spawn_child(&path, 1);
    let error = SqliteStore::open(&path, options()).err().unwrap();
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(error.kind, PortErrorKind::Refused);
    assert!(error.to_string().contains(&format!("in use by process {}", child.id())), "{error}");
    open(&path);
}

#[tokio::test]
async fn a_reader_stands_beside_the_writer_and_records_nothing() {
    let (_folder, path) = folder();
    let key = execution(1);
    let writer = open(&path);
    writer.commit(&entry(&key, 1, vec![started()])).await.unwrap();

    let reader = SqliteStore::open_read_only(&path, options()).unwrap();
    assert_eq!(reader.tail(&key).await.unwrap().unwrap().seq, 1);
    writer.commit(&entry(&key, 2, vec![])).await.unwrap();
    assert_eq!(reader.tail(&key).await.unwrap().unwrap().seq, 2, "nothing is remembered");
    let error = reader.commit(&entry(&key, 3, vec![])).await.unwrap_err();
    assert_eq!(error.kind, PortErrorKind::Refused);
    assert!(error.to_string().ends_with("was opened to be read; nothing can be recorded in it"));
    drop(writer);
    assert_eq!(reader.entries(&key, 1, 9).await.unwrap().len(), 2);
}

#[tokio::test]
async fn a_full_disk_refuses_and_leaves_everything_as_it_was() {
    let (_folder, path) = folder();
    let key = execution(1);
    let data = Payload::Inline(json!("x".repeat(20_000)));
    let large = Fact::Saved { run: EventId(1), index: None, step: "s".into(), data };
    let store =
        SqliteStore::open(&path, Options { bytes_max: Some(400_000), ..options() }).unwrap();
    let mut written = 0;
    let error: PortError = loop {
        match store.commit(&entry(&key, written + 1, vec![large.clone()])).await {
            Ok(()) => written += 1,
            Err(error) => break error,
        }
        assert!(written < 100, "the bound holds");
    };
    assert_eq!(error.kind, PortErrorKind::Refused);
    assert!(error.to_string().contains("free some space"), "{error}");
    assert_eq!(store.tail(&key).await.unwrap().unwrap().seq, written);
    drop(store);

    let store = open(&path);
    assert_eq!(store.entries(&key, 1, 100).await.unwrap().len() as u64, written);
    store.commit(&entry(&key, written + 1, vec![large])).await.unwrap();
}

#[tokio::test]
async fn one_oversized_commit_does_not_spoil_those_beside_it() {
    let (_folder, path) = folder();
    let store =
        SqliteStore::open(&path, Options { bytes_max: Some(1_000_000), ..options() }).unwrap();
    let data = Payload::Inline(json!("x".repeat(2_000_000)));
    let large = Fact::Saved { run: EventId(1), index: None, step: "s".into(), data };
    let entries = [
        entry(&execution(1), 1, vec![]),
        entry(&execution(2), 1, vec![large]),
        entry(&execution(3), 1, vec![]),
    ];
    let (first, second, third) = tokio::join!(
        store.commit(&entries[0]),
        store.commit(&entries[1]),
        store.commit(&entries[2])
    );
    first.unwrap();
    assert_eq!(second.unwrap_err().kind, PortErrorKind::Refused);
    third.unwrap();
    assert_eq!(store.tail(&execution(2)).await.unwrap(), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn more_at_once_than_one_write_or_the_memory_holds_is_all_recorded() {
    let (_folder, path) = folder();
    let store = Arc::new(open(&path));
    let count = i64::try_from(4 * COMMITS_PER_SYNC_MAX.max(TAILS_KEPT)).unwrap();
    let writers: Vec<_> = (0..count)
        .map(|id| {
            let store = store.clone();
            tokio::spawn(async move { store.commit(&entry(&execution(id), 1, vec![])).await })
        })
        .collect();
    for writer in writers {
        writer.await.unwrap().unwrap();
    }
    let readers: Vec<_> = (0..count)
        .map(|id| {
            let store = store.clone();
            tokio::spawn(async move {
                let entries = store.entries(&execution(id), 1, 10).await.unwrap();
                (entries.len(), store.tail(&execution(id)).await.unwrap().unwrap().seq)
            })
        })
        .collect();
    for reader in readers {
        assert_eq!(reader.await.unwrap(), (1, 1));
    }
}

#[tokio::test]
async fn what_no_longer_decodes_is_corrupt_and_named() {
    let cases = [
        ("UPDATE aggregate SET state = '{'", "the state of `exec:1`"),
        ("UPDATE entry SET facts = '[{\"fact\":\"nonsense\"}]'", "entry 1 of `exec:1`"),
        ("UPDATE entry SET inputs = '7'", "entry 1 of `exec:1`"),
    ];
    for (damage, named) in cases {
        let (_folder, path) = folder();
        let key = execution(1);
        open(&path).commit(&entry(&key, 1, vec![started()])).await.unwrap();
        Connection::open(&path).unwrap().execute_batch(damage).unwrap();

        let store = open(&path);
        let error = store.entries(&key, 1, 9).await.unwrap_err();
        assert_eq!(error.kind, PortErrorKind::Corrupt, "{damage}");
        assert!(error.to_string().starts_with(named), "{error}");
        let tail = store.tail(&key).await.map_err(|error| error.kind);
        assert_eq!(tail.is_err(), damage.contains("state"), "{damage}: {tail:?}");
    }
}

#[test]
fn files_that_are_not_ours_are_refused_and_left_alone() {
    type Make = Box<dyn Fn(&Path)>;
    let sql = |sql: &'static str| {
        move |path: &Path| Connection::open(path).unwrap().execute_batch(sql).unwrap()
    };
    let cases: [(&str, Make); 4] = [
        (
            "is not a SQLite database",
            Box::new(|path| std::fs::write(path, "hello ".repeat(500)).unwrap()),
        ),
        ("is a database of another program", Box::new(sql("CREATE TABLE theirs (a)"))),
        (
            "was written by a newer noetl-lambda (tables of version 99, this one knows 2)",
            Box::new(|path| {
                drop(open(path));
                Connection::open(path).unwrap().execute_batch("PRAGMA user_version = 99").unwrap();
            }),
        ),
        ("is a folder", Box::new(|path| std::fs::create_dir(path).unwrap())),
    ];
    for (problem, make) in cases {
        let (_folder, path) = folder();
        make(&path);
        let before = std::fs::read(&path).ok();
        for opened in
            [SqliteStore::open(&path, options()), SqliteStore::open_read_only(&path, options())]
        {
            let error = opened.err().unwrap();
            assert_eq!(error.kind, PortErrorKind::Refused, "{problem}");
            assert!(error.to_string().contains(problem), "{}", chain(&error));
        }
        assert_eq!(std::fs::read(&path).ok(), before, "{problem}");
    }
    let (folder, _) = folder();
    let error = SqliteStore::open(&folder.path().join("no/such.db"), options()).err().unwrap();
    assert!(error.to_string().contains("its folder must exist"), "{error}");
}
