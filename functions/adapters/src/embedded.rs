//! All ports in one process: a `SQLite` file and a folder beside it, or nothing but memory.

pub mod store;

pub mod payload_store;
pub mod queue;

pub mod catalog;
pub mod credentials;
pub mod secrets;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use engine_core::ports::{PayloadStore, PortError, Ports};

use self::catalog::SqliteCatalog;
use self::payload_store::{FilePayloadStore, MemoryPayloadStore};
use self::queue::{Commands, Events};
use self::store::SqliteStore;
use crate::clock::Timer;
use crate::ids::SnowflakeIds;
pub use crate::options::Options;

/// The ports of one process, with the sides that only a shell may touch.
pub struct Embedded {
    /// The log.
    pub store: Arc<SqliteStore>,
    /// Work for the event handler.
    pub events: Arc<Events>,
    /// Work for workers.
    pub commands: Arc<Commands>,
    /// Large values.
    pub payloads: Arc<dyn PayloadStore>,
    /// Playbooks.
    pub catalog: Arc<SqliteCatalog>,
    /// The time.
    pub clock: Arc<dyn Timer>,
    /// Ids and secrets.
    pub ids: Arc<SnowflakeIds>,
}

impl Embedded {
    /// Opens the store at `path` with the payloads beside it, or everything in memory.
    ///
    /// # Errors
    /// Those of [`SqliteStore::open`].
    pub fn open(path: Option<&Path>, options: Options) -> Result<Self, PortError> {
        let store_options = store::Options { expanded: options.expanded, bytes_max: None };
        let store = match path {
            Some(path) => SqliteStore::open(path, store_options)?,
            None => SqliteStore::memory(store_options)?,
        };
        Ok(Self::around(store, path, options))
    }

    /// Opens the store at `path` to look at, also while another process writes it.
    ///
    /// # Errors
    /// Those of [`SqliteStore::open_read_only`].
    pub fn open_read_only(path: &Path, options: Options) -> Result<Self, PortError> {
        let store_options = store::Options { expanded: options.expanded, bytes_max: None };
        let store = SqliteStore::open_read_only(path, store_options)?;
        Ok(Self::around(store, Some(path), options))
    }

    fn around(store: SqliteStore, path: Option<&Path>, options: Options) -> Self {
        let payloads: Arc<dyn PayloadStore> = match path {
            Some(path) => Arc::new(FilePayloadStore::new(payload_folder(path))),
            None => Arc::new(MemoryPayloadStore::default()),
        };
        Self {
            catalog: Arc::new(SqliteCatalog::new(&store, options.parse)),
            store: Arc::new(store),
            events: Arc::new(Events::new(options.clock.clone())),
            commands: Arc::new(Commands::new(options.clock.clone())),
            payloads,
            ids: Arc::new(SnowflakeIds::new(options.clock.clone())),
            clock: options.clock,
        }
    }

    /// The driver's view.
    #[must_use]
    pub fn ports(&self) -> Ports {
        Ports {
            store: self.store.clone(),
            commands: self.commands.clone(),
            events: self.events.clone(),
            payloads: self.payloads.clone(),
            catalog: self.catalog.clone(),
            clock: self.clock.clone(),
            ids: self.ids.clone(),
        }
    }

    /// Ends all waiting for events and commands.
    pub fn close(&self) {
        self.events.queue().close();
        self.commands.close();
    }
}

/// `{store}.payloads`: beside the store, so that the two are moved together.
fn payload_folder(store: &Path) -> PathBuf {
    let mut folder = store.to_owned().into_os_string();
    folder.push(".payloads");
    folder.into()
}
