//! What every list of executions promises.

use adapters::embedded::store::SqliteStore;
use adapters::executions::{ExecutionSummary, Executions};
use engine_core::event::Status;
use engine_core::ids::ExecutionId;
use engine_core::ports::StateStore;

use crate::samples::{entry, execution, finished, loop_of, options, started};

pub(crate) async fn contract<S: StateStore + Executions>(store: &S) {
    for id in [10, 20, 30] {
        store.commit(&entry(&execution(id), 1, vec![started()])).await.unwrap();
        store.commit(&entry(&loop_of(id, "s", 5), 1, vec![])).await.unwrap();
    }
    let ended = finished(Status::Failed);
    store.commit(&entry(&execution(20), 2, vec![ended])).await.unwrap();

    let ids =
        |page: &[ExecutionSummary]| page.iter().map(|line| line.execution_id.0).collect::<Vec<_>>();
    let page = store.executions(None, 2).await.unwrap();
    assert_eq!(ids(&page), [30, 20]);
    let rest = store.executions(Some(page[1].position), 2).await.unwrap();
    assert_eq!(ids(&rest), [10]);
    assert_eq!(store.executions(Some(rest[0].position), 2).await.unwrap(), []);
    let running = store.running(None, 10).await.unwrap();
    assert_eq!(ids(&running), [10, 30]);
    assert_eq!(ids(&store.running(Some(running[0].position), 10).await.unwrap()), [30]);
    assert_eq!(ids(&store.running(None, 1).await.unwrap()), [10]);

    let line = store.execution(ExecutionId(20)).await.unwrap().unwrap();
    assert_eq!((line.path.as_str(), line.status), ("tests/hello", Status::Failed));
    assert_eq!(line.ended_ms, Some(line.started_ms + 1));
    assert_eq!(line, page[1]);
    assert_eq!(store.execution(ExecutionId(11)).await.unwrap(), None);
}

#[tokio::test]
async fn sqlite_file() {
    let folder = tempfile::tempdir().unwrap();
    contract(&SqliteStore::open(&folder.path().join("store.db"), options()).unwrap()).await;
}

#[tokio::test]
async fn sqlite_memory() {
    contract(&SqliteStore::memory(options()).unwrap()).await;
}
