//! What every [`PayloadStore`] promises.

use adapters::embedded::payload_store::{FilePayloadStore, MemoryPayloadStore};
use engine_core::ids::ExecutionId;
use engine_core::payload::{Blob, PayloadRef, sha256_hex};
use engine_core::ports::{PayloadStore, PortErrorKind};

pub(crate) async fn contract(store: &dyn PayloadStore) {
    for bytes in [vec![], b"[1,2]".to_vec(), vec![0xff; 3_000_000]] {
        let blob = Blob::new(ExecutionId(7), bytes);
        let missing = store.get(&blob.reference).await.unwrap_err();
        assert_eq!(missing.kind, PortErrorKind::NotFound, "{missing}");
        store.put(&blob).await.unwrap();
        store.put(&blob).await.unwrap();
        assert_eq!(store.get(&blob.reference).await.unwrap(), blob.bytes);
    }
    names_that_are_no_names_are_refused(store).await;
}

async fn names_that_are_no_names_are_refused(store: &dyn PayloadStore) {
    let sha256 = sha256_hex(b"x");
    let uris = [
        format!("../{sha256}"),
        format!("/etc/{sha256}"),
        format!("7/../8/{sha256}"),
        format!("7/{sha256}/x"),
        format!("7\\{sha256}"),
        "7/..".to_owned(),
        "7/passwd".to_owned(),
        format!("7/{}", sha256.to_uppercase()),
        format!("7/{}", sha256_hex(b"y")),
        format!("/{sha256}"),
        sha256.clone(),
        String::new(),
    ];
    for uri in uris {
        let reference = PayloadRef { uri: uri.clone(), sha256: sha256.clone(), bytes: 1 };
        let error = store.get(&reference).await.unwrap_err();
        assert_eq!(error.kind, PortErrorKind::Corrupt, "{uri}: {error}");
        let error = store.put(&Blob { reference, bytes: b"x".to_vec() }).await.unwrap_err();
        assert_eq!(error.kind, PortErrorKind::Refused, "{uri}: {error}");
    }
}

#[tokio::test]
async fn memory() {
    contract(&MemoryPayloadStore::default()).await;
}

#[tokio::test]
async fn files() {
    let folder = tempfile::tempdir().unwrap();
    contract(&FilePayloadStore::new(folder.path().join("s.db.payloads"))).await;
    let parts = std::fs::read_dir(folder.path().join("s.db.payloads/7")).unwrap();
    assert_eq!(parts.count(), 3, "nothing is left but the objects");
}

#[tokio::test]
async fn a_file_that_was_changed_is_corrupt_and_a_torn_one_is_written_again() {
    let folder = tempfile::tempdir().unwrap();
    let store = FilePayloadStore::new(folder.path().to_owned());
    let blob = Blob::new(ExecutionId(7), b"[1,2]".to_vec());
    store.put(&blob).await.unwrap();
    let place = folder.path().join(&blob.reference.uri);

    std::fs::write(&place, b"[1,3]").unwrap();
    let error = store.get(&blob.reference).await.unwrap_err();
    assert_eq!(error.kind, PortErrorKind::Corrupt);
    assert!(error.to_string().contains(&blob.reference.uri), "{error}");

    std::fs::write(&place, b"[1").unwrap();
    store.put(&blob).await.unwrap();
    assert_eq!(store.get(&blob.reference).await.unwrap(), blob.bytes);
}

#[tokio::test]
async fn writers_of_the_same_object_do_not_meet() {
    let folder = tempfile::tempdir().unwrap();
    let store = std::sync::Arc::new(FilePayloadStore::new(folder.path().to_owned()));
    let blob = Blob::new(ExecutionId(7), vec![1; 100_000]);
    let writers: Vec<_> = (0..16)
        .map(|_| {
            let (store, blob) = (store.clone(), blob.clone());
            tokio::spawn(async move { store.put(&blob).await })
        })
        .collect();
    for writer in writers {
        writer.await.unwrap().unwrap();
    }
    assert_eq!(store.get(&blob.reference).await.unwrap(), blob.bytes);
}
