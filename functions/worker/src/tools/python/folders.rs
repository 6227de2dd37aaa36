//! Where code keeps its files: a folder per execution, gone when the worker runs another one.
//!
//! The attempts of one execution may count on what they have left; nobody else ever sees it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use engine_core::payload::sha256_hex;
use tempfile::TempDir;

/// The folders of one pool; they go with it.
#[derive(Default)]
pub(super) struct Folders {
    shared: Mutex<Shared>,
}

#[derive(Default)]
struct Shared {
    base: Option<TempDir>,
    /// Calls that run, by the name of their folder.
    running: BTreeMap<String, usize>,
    /// Folders that were moved out of sight so far.
    moved: u64,
}

/// One call's right to its folder.
pub(super) struct Stay<'a> {
    folders: &'a Folders,
    name: String,
    path: PathBuf,
}

impl Stay<'_> {
    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Stay<'_> {
    fn drop(&mut self) {
        let mut shared = self.folders.lock();
        if let Some(calls) = shared.running.get_mut(&self.name) {
            *calls = calls.saturating_sub(1);
        }
    }
}

impl Folders {
    /// The folder of an execution, and the end of those whose executions run no call.
    pub(super) async fn enter(&self, execution_id: &str) -> std::io::Result<Stay<'_>> {
        let (stay, stale) = self.take(execution_id)?;
        if !stale.is_empty() {
            let removed = tokio::task::spawn_blocking(move || remove(&stale)).await;
            // Its name is gone, so nothing finds it by chance; what is left goes with the pool.
            if let Err(error) = removed.map_err(std::io::Error::other).and_then(|done| done) {
                tracing::warn!(%error, "files of an earlier execution cannot be removed");
            }
        }
        Ok(stay)
    }

    fn take(&self, execution_id: &str) -> std::io::Result<(Stay<'_>, Vec<PathBuf>)> {
        let mut shared = self.lock();
        let base = match &shared.base {
            Some(base) => base.path().to_owned(),
            None => shared.base.insert(TempDir::with_prefix("noetl-python-")?).path().to_owned(),
        };
        // An id is a number; whatever else it may become, it is no path.
        let name = sha256_hex(execution_id.as_bytes());
        let resting = |(other, calls): (&String, &usize)| {
            (*calls == 0 && *other != name).then(|| other.clone())
        };
        let mut stale = Vec::new();
        for other in shared.running.iter().filter_map(resting).collect::<Vec<_>>() {
            shared.running.remove(&other);
            shared.moved += 1;
            // Removing takes long, and the execution may come back meanwhile.
            let away = base.join(format!("gone-{}", shared.moved));
            std::fs::rename(base.join(other), &away)?;
            stale.push(away);
        }
        let path = base.join(&name);
        std::fs::create_dir_all(&path)?;
        *shared.running.entry(name.clone()).or_default() += 1;
        drop(shared);
        Ok((Stay { folders: self, name, path }, stale))
    }

    fn lock(&self) -> MutexGuard<'_, Shared> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn remove(folders: &[PathBuf]) -> std::io::Result<()> {
    folders.iter().try_for_each(std::fs::remove_dir_all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_folder_stays_while_its_execution_runs_and_goes_with_the_next_one() {
        let folders = Folders::default();
        let first = folders.enter("1").await.unwrap();
        std::fs::write(first.path().join("left"), "1").unwrap();
        let other = folders.enter("2").await.unwrap();
        assert!(first.path().join("left").exists(), "its call still runs");
        let place = first.path().to_owned();
        drop(first);

        let again = folders.enter("1").await.unwrap();
        assert_eq!(again.path(), place);
        assert!(place.join("left").exists(), "nobody else began meanwhile");
        drop((again, other));
        let last = folders.enter("3").await.unwrap();
        let base = last.path().parent().unwrap();
        assert_eq!(std::fs::read_dir(base).unwrap().count(), 1, "the others are gone");
    }
}
