//! What every [`Catalog`] promises, and what registering does.

use std::path::Path;
use std::sync::Arc;

use adapters::catalog::Registry;
use adapters::clock::ManualClock;
use adapters::embedded::{Embedded, Options};
use engine_core::ids::ExecutionId;
use engine_core::payload::{Blob, sha256_hex};
use engine_core::playbook::{Dialect, Playbook, PlaybookRef};
use engine_core::ports::{Catalog, PortErrorKind};

use crate::samples::{START_MS, expanded};

/// Takes the first word as the path; text without a word is no playbook.
pub(crate) fn parse(text: &str) -> Result<Playbook, String> {
    let path = text.split_whitespace().next().ok_or("line 1: `metadata` is missing")?;
    Ok(Playbook {
        reference: PlaybookRef { path: path.to_owned(), hash: sha256_hex(text.as_bytes()) },
        name: path.to_owned(),
        dialect: Dialect::Case,
        workload: serde_json::Map::new(),
        keychain: vec![],
        workbook: vec![],
        steps: vec![],
        entry: "start".into(),
        final_step: None,
        timeout: None,
        no_next_is_error: false,
    })
}

fn open(path: Option<&Path>) -> Embedded {
    let clock = Arc::new(ManualClock::new(START_MS));
    Embedded::open(path, Options { parse, expanded, clock }).unwrap()
}

/// `tick` lets a millisecond pass: versions are listed by the time of their registration.
pub(crate) async fn contract(catalog: Arc<dyn Registry>, tick: &dyn Fn()) {
    let register = async |text| {
        tick();
        catalog.register(text).await.unwrap()
    };
    let first = register("demo/a one").await;
    let second = register("demo/a two").await;
    let other = register("demo/b one").await;
    let again = register("demo/a two").await;
    let versions = [&first, &second, &other, &again].map(|registered| registered.version);
    assert_eq!(versions, [1, 2, 1, 2], "the newest text again is no new version");
    let back = register("demo/a one").await;
    assert_eq!((back.version, &back.reference), (3, &first.reference), "an older text is one");

    assert_eq!(catalog.find("demo/a", None).await.unwrap(), Some(back.clone()));
    assert_eq!(catalog.find("demo/a", Some(2)).await.unwrap(), Some(second.clone()));
    assert_eq!(catalog.find("demo/a", Some(9)).await.unwrap(), None);
    assert_eq!(catalog.find("demo/c", None).await.unwrap(), None);
    assert_eq!(catalog.number(&second.reference).await.unwrap(), Some(2));
    assert_eq!(catalog.number(&first.reference).await.unwrap(), Some(3), "the newest of its text");
    assert_eq!(catalog.text(&second.reference).await.unwrap(), "demo/a two");
    assert_eq!(catalog.list().await.unwrap(), [back, other, second.clone(), first.clone()]);

    let port: Arc<dyn Catalog> = catalog.clone();
    let newest = port.newest("demo/a").await.unwrap();
    assert_eq!(newest.as_ref(), Some(&first.reference));
    assert_eq!(port.newest("demo/c").await.unwrap(), None);
    let playbook = port.playbook(&second.reference).await.unwrap();
    assert_eq!(playbook.reference, second.reference);
    let unknown = PlaybookRef { path: "demo/a".into(), hash: "0".repeat(64) };
    let error = port.playbook(&unknown).await.unwrap_err();
    assert_eq!(error.kind, PortErrorKind::NotFound, "{error}");
    let error = catalog.text(&unknown).await.unwrap_err();
    assert_eq!(error.kind, PortErrorKind::NotFound, "{error}");
    assert_eq!(catalog.number(&unknown).await.unwrap(), None);

    let error = catalog.register("  ").await.unwrap_err();
    assert_eq!(error.kind, PortErrorKind::Refused);
    assert_eq!(error.to_string(), "line 1: `metadata` is missing");
}

#[tokio::test]
async fn memory() {
    contract(open(None).catalog, &|| ()).await;
}

#[tokio::test]
async fn sqlite_file() {
    let folder = tempfile::tempdir().unwrap();
    contract(open(Some(&folder.path().join("store.db"))).catalog, &|| ()).await;
}

#[tokio::test]
async fn a_registered_playbook_outlives_the_process_and_its_text_is_verified() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.db");
    let registered = open(Some(&path)).catalog.register("demo/a one").await.unwrap();
    let reopened = open(Some(&path));
    let playbook = reopened.ports().catalog.playbook(&registered.reference).await.unwrap();
    assert_eq!(playbook.reference, registered.reference);
    drop(reopened);

    for text in ["demo/a three", " "] {
        let connection = rusqlite::Connection::open(&path).unwrap();
        connection.execute("UPDATE playbook SET text = ?1", [text]).unwrap();
        drop(connection);
        let error = open(Some(&path)).catalog.playbook(&registered.reference).await.unwrap_err();
        assert_eq!(error.kind, PortErrorKind::Corrupt, "{error}");
    }
}

#[tokio::test]
async fn payloads_live_beside_the_store_and_a_reader_sees_them() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.db");
    let blob = Blob::new(ExecutionId(7), b"[1]".to_vec());
    let writer = open(Some(&path));
    writer.payloads.put(&blob).await.unwrap();
    assert!(folder.path().join("store.db.payloads").join(&blob.reference.uri).is_file());

    let clock = Arc::new(ManualClock::new(START_MS));
    let reader = Embedded::open_read_only(&path, Options { parse, expanded, clock }).unwrap();
    assert_eq!(reader.ports().payloads.get(&blob.reference).await.unwrap(), b"[1]");
}
