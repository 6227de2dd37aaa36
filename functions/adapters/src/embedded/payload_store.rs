//! Large values as files, or in memory.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{self, ErrorKind, Write as _};
use std::path::{Path, PathBuf};
use std::process;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use engine_core::payload::{Blob, PayloadRef};
use engine_core::ports::{PayloadStore, PortError, PortErrorKind};

use crate::payloads::{checked, verified};

/// Objects as files `{folder}/{execution_id}/{sha256}`.
///
/// An object is written beside its place and moved there when it is complete, so that a crash
/// leaves at worst a file that ends in `.part`.
pub struct FilePayloadStore {
    folder: PathBuf,
    parts: AtomicU64,
}

impl FilePayloadStore {
    /// Objects below `folder`, which is made when the first one comes.
    #[must_use]
    pub fn new(folder: PathBuf) -> Self {
        Self { folder, parts: AtomicU64::new(0) }
    }
}

#[async_trait]
impl PayloadStore for FilePayloadStore {
    async fn put(&self, blob: &Blob) -> Result<(), PortError> {
        let name = checked(&blob.reference, PortErrorKind::Refused)?;
        let place = self.folder.join(name);
        let part = self.parts.fetch_add(1, Ordering::Relaxed);
        let part = place.with_extension(format!("{}-{part}.part", process::id()));
        let bytes = blob.bytes.clone();
        blocking(move || write(&place, &part, &bytes).map_err(|error| unwritten(&place, error)))
            .await
    }

    async fn get(&self, reference: &PayloadRef) -> Result<Vec<u8>, PortError> {
        let place = self.folder.join(checked(reference, PortErrorKind::Corrupt)?);
        let reference = reference.clone();
        blocking(move || match fs::read(&place) {
            Ok(bytes) => verified(&reference, bytes),
            Err(error) if error.kind() == ErrorKind::NotFound => Err(missing(&reference)),
            Err(error) => {
                let message = format!("payload `{}` cannot be read", place.display());
                Err(PortError::caused(PortErrorKind::Unavailable, message, error))
            }
        })
        .await
    }
}

/// Objects that end with the process.
#[derive(Default)]
pub struct MemoryPayloadStore {
    objects: Mutex<HashMap<String, Arc<Vec<u8>>>>,
}

#[async_trait]
impl PayloadStore for MemoryPayloadStore {
    async fn put(&self, blob: &Blob) -> Result<(), PortError> {
        let name = checked(&blob.reference, PortErrorKind::Refused)?;
        let mut objects = self.objects.lock().unwrap_or_else(PoisonError::into_inner);
        objects.entry(name.to_owned()).or_insert_with(|| Arc::new(blob.bytes.clone()));
        Ok(())
    }

    async fn get(&self, reference: &PayloadRef) -> Result<Vec<u8>, PortError> {
        let name = checked(reference, PortErrorKind::Corrupt)?;
        let found = {
            let objects = self.objects.lock().unwrap_or_else(PoisonError::into_inner);
            objects.get(name).cloned()
        };
        verified(reference, Vec::clone(&*found.ok_or_else(|| missing(reference))?))
    }
}

fn missing(reference: &PayloadRef) -> PortError {
    let message = format!(
        "payload `{}` does not exist; it belongs beside the store, in its `.payloads` folder",
        reference.uri
    );
    PortError::new(PortErrorKind::NotFound, message)
}

/// Writes an object so that it is either complete and on the disk, or not there.
fn write(place: &Path, part: &Path, bytes: &[u8]) -> io::Result<()> {
    if fs::metadata(place).is_ok_and(|found| found.len() == bytes.len() as u64) {
        return Ok(());
    }
    let folder = place.parent().unwrap_or(place);
    fs::create_dir_all(folder)?;
    let written = File::create(part)
        .and_then(|mut file| file.write_all(bytes).and_then(|()| file.sync_all()))
        .and_then(|()| fs::rename(part, place));
    if let Err(error) = written {
        // A part is never read, so one that cannot be removed does no harm.
        let _ = fs::remove_file(part);
        return Err(error);
    }
    // The name is durable when its folders are.
    for folder in folder.ancestors().take(3).filter(|folder| !folder.as_os_str().is_empty()) {
        File::open(folder)?.sync_all()?;
    }
    Ok(())
}

fn unwritten(place: &Path, error: io::Error) -> PortError {
    let (kind, cure) = match error.kind() {
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => {
            (PortErrorKind::Refused, "; free some space, then resume the execution")
        }
        ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem => {
            (PortErrorKind::Refused, "; make its folder writable")
        }
        _ => (PortErrorKind::Unavailable, ""),
    };
    let message = format!("payload `{}` cannot be written{cure}", place.display());
    PortError::caused(kind, message, error)
}

/// Runs file operations where they hold nobody up.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, PortError> + Send + 'static,
) -> Result<T, PortError> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|error| {
        let message = "a file operation broke off";
        Err(PortError::caused(PortErrorKind::Unavailable, message, error))
    })
}
