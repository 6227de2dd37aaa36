//! One `SQLite` database: a thread that writes, connections that read, a lock against other
//! processes.

use std::error::Error;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use engine_core::limits::READERS_MAX;
use engine_core::ports::{PortError, PortErrorKind};
use rusqlite::{Connection, OpenFlags};
use tokio::sync::{Semaphore, oneshot};

use super::failure::failure;
use super::schema;
use super::writer::{Change, Tails, Writer};

/// How long a connection waits for a lock: a checkpoint holds one for milliseconds.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// One `SQLite` database, of a file or in memory.
///
/// Fields go in order: the writer's connection closes after those that read, because only it can leave
/// one whole file behind, and before the lock is given back.
pub(crate) struct Database {
    name: String,
    readers: Option<Readers>,
    writer: Option<Writer>,
    _lock: Option<File>,
}

/// Connections that only read, opened when they are needed.
struct Readers {
    path: PathBuf,
    idle: Mutex<Vec<Connection>>,
    permits: Semaphore,
}

impl Database {
    /// Opens or creates a file, for this process alone.
    pub(super) fn open(path: &Path, bytes_max: Option<u64>) -> Result<Self, PortError> {
        let name = name_of_file(path)?;
        let lock = lock(path, &name)?;
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE
            | OpenFlags::SQLITE_OPEN_CREATE
            | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let mut connection =
            Connection::open_with_flags(path, flags).map_err(|error| failure(&name, error))?;
        set_up(&name, &mut connection, bytes_max)?;
        let writer = Some(Writer::spawn(&name, connection)?);
        let readers = Some(Readers::new(path));
        Ok(Self { name, writer, readers, _lock: Some(lock) })
    }

    /// A database that ends with the process.
    pub(super) fn memory(bytes_max: Option<u64>) -> Result<Self, PortError> {
        let name = ":memory:".to_owned();
        let mut connection = Connection::open_in_memory().map_err(|error| failure(&name, error))?;
        set_up(&name, &mut connection, bytes_max)?;
        let writer = Some(Writer::spawn(&name, connection)?);
        Ok(Self { name, writer, readers: None, _lock: None })
    }

    /// Opens a file to look at, also while another process writes it.
    pub(super) fn open_read_only(path: &Path) -> Result<Self, PortError> {
        let name = name_of_file(path)?;
        let readers = Readers::new(path);
        let connection = readers.connection().map_err(|error| failure(&name, error))?;
        schema::check(&name, &connection)?;
        readers.give_back(connection);
        Ok(Self { name, writer: None, readers: Some(readers), _lock: None })
    }

    /// Whether it ends with the process.
    pub(super) fn is_memory(&self) -> bool {
        self.readers.is_none()
    }

    /// The newest tails; none if another process may write the database.
    pub(super) fn tails(&self) -> Option<&Tails> {
        self.writer.as_ref().map(Writer::tails)
    }

    /// Makes a change durable, together with others that wait at the same time.
    pub(super) async fn commit(&self, change: Change) -> Result<(), PortError> {
        let (reply, answer) = oneshot::channel();
        self.writer()?.commit(change, reply);
        answer.await.unwrap_or_else(|gone| Err(self.ended(gone)))
    }

    /// Runs `work` alone on the connection that writes, outside of any transaction.
    pub(crate) async fn write<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, PortError> {
        let (reply, answer) = oneshot::channel();
        self.writer()?.run(Box::new(move |connection| {
            // Whoever asked may have gone.
            let _ = reply.send(work(connection));
        }));
        match answer.await {
            Ok(done) => done.map_err(|error| failure(&self.name, error)),
            Err(gone) => Err(self.ended(gone)),
        }
    }

    /// Runs `work` on a connection that sees everything committed so far.
    pub(crate) async fn read<T: Send + 'static>(
        &self,
        reads: Reads,
        work: impl FnOnce(&Connection) -> Result<T, ReadError> + Send + 'static,
    ) -> Result<T, PortError> {
        let Some(readers) = &self.readers else {
            // A database in memory has one connection.
            let read = self.write(move |connection| Ok(work(connection))).await?;
            return read.map_err(|error| error.in_store(&self.name));
        };
        // The semaphore is never closed.
        let _permit = readers.permits.acquire().await;
        let connection = match readers.pop() {
            Some(connection) => connection,
            None => readers.connection().map_err(|error| failure(&self.name, error))?,
        };
        let (connection, read) = match reads {
            // To wake another thread takes longer than the read.
            Reads::Few => {
                let read = work(&connection);
                (connection, read)
            }
            Reads::Many => self.read_aside(connection, work).await?,
        };
        readers.give_back(connection);
        read.map_err(|error| error.in_store(&self.name))
    }

    async fn read_aside<T: Send + 'static>(
        &self,
        connection: Connection,
        work: impl FnOnce(&Connection) -> T + Send + 'static,
    ) -> Result<(Connection, T), PortError> {
        let reading = tokio::task::spawn_blocking(move || {
            let read = work(&connection);
            (connection, read)
        });
        reading.await.map_err(|error| {
            let message = format!("a read of `{}` broke off", self.name);
            PortError::caused(PortErrorKind::Unavailable, message, error)
        })
    }

    fn writer(&self) -> Result<&Writer, PortError> {
        self.writer.as_ref().ok_or_else(|| {
            let message =
                format!("`{}` was opened to be read; nothing can be recorded in it", self.name);
            PortError::new(PortErrorKind::Refused, message)
        })
    }

    fn ended(&self, gone: oneshot::error::RecvError) -> PortError {
        let message = format!("the thread that writes `{}` has ended", self.name);
        PortError::caused(PortErrorKind::Unavailable, message, gone)
    }
}

/// How much a read looks at.
#[derive(Clone, Copy)]
pub(crate) enum Reads {
    /// A row or two by their key: microseconds, so it runs where it is asked for.
    Few,
    /// As many as there are: it must not hold up the thread that serves everybody.
    Many,
}

/// Why a read gave nothing.
pub(crate) enum ReadError {
    /// `SQLite` says so.
    Sqlite(rusqlite::Error),
    /// What is stored does not decode.
    Corrupt(String, Box<dyn Error + Send + Sync>),
}

impl From<rusqlite::Error> for ReadError {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sqlite(error)
    }
}

impl ReadError {
    fn in_store(self, name: &str) -> PortError {
        match self {
            Self::Sqlite(error) => failure(name, error),
            Self::Corrupt(what, error) => {
                let message = format!("{what} in `{name}` does not decode");
                PortError::caused(PortErrorKind::Corrupt, message, error)
            }
        }
    }
}

impl Readers {
    fn new(path: &Path) -> Self {
        Self { path: path.to_owned(), idle: Mutex::default(), permits: Semaphore::new(READERS_MAX) }
    }

    fn connection(&self) -> rusqlite::Result<Connection> {
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(&self.path, flags)?;
        connection.busy_timeout(BUSY_TIMEOUT)?;
        Ok(connection)
    }

    fn pop(&self) -> Option<Connection> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop()
    }

    fn give_back(&self, connection: Connection) {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).push(connection);
    }
}

/// Sets a connection up for many small durable commits; a foreign file is left as it is.
fn set_up(
    name: &str,
    connection: &mut Connection,
    bytes_max: Option<u64>,
) -> Result<(), PortError> {
    let configure = |connection: &Connection| {
        connection.busy_timeout(BUSY_TIMEOUT)?;
        connection.set_prepared_statement_cache_capacity(32);
        // FULL: the log is on the disk before a commit returns. WAL: one write to the disk does it.
        connection.execute_batch(
            "PRAGMA foreign_keys = OFF; PRAGMA temp_store = MEMORY; PRAGMA cache_size = -16000;
             PRAGMA synchronous = FULL; PRAGMA wal_autocheckpoint = 4000;",
        )?;
        if let Some(bytes_max) = bytes_max {
            let page: i64 = connection.query_row("PRAGMA page_size", [], |row| row.get(0))?;
            let pages = i64::try_from(bytes_max).unwrap_or(i64::MAX) / page.max(1);
            connection.pragma_update_and_check(None, "max_page_count", pages, |_| Ok(()))?;
        }
        Ok(())
    };
    configure(connection).map_err(|error| failure(name, error))?;
    schema::migrate(name, connection)?;
    connection
        .pragma_update_and_check(None, "journal_mode", "WAL", |_| Ok(()))
        .map_err(|error| failure(name, error))
}

/// The path as messages show it; `SQLite` itself has no clear word for a folder.
fn name_of_file(path: &Path) -> Result<String, PortError> {
    let name = path.display().to_string();
    if path.is_dir() {
        let message = format!("`{name}` is a folder; name a file in it with `--store`");
        return Err(PortError::new(PortErrorKind::Refused, message));
    }
    Ok(name)
}

/// Keeps other processes out for as long as the file is open; the system gives it back after a
/// crash.
fn lock(path: &Path, name: &str) -> Result<File, PortError> {
    let mut lock_path = path.to_owned().into_os_string();
    lock_path.push(".lock");
    let opened =
        OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&lock_path);
    let mut file = opened.map_err(|error| {
        let message = format!("`{name}` cannot be locked; its folder must exist and be writable");
        PortError::caused(PortErrorKind::Refused, message, error)
    })?;
    match file.try_lock() {
        Ok(()) => {
            // For the message of whoever comes second; not worth failing for.
            let _ = file.set_len(0).and_then(|()| write!(file, "{}", process::id()));
            Ok(file)
        }
        Err(TryLockError::WouldBlock) => {
            let mut holder = String::new();
            let holder = match file.read_to_string(&mut holder) {
                Ok(1..) => format!("process {holder}"),
                _ => "another process".to_owned(),
            };
            let message = format!(
                "`{name}` is in use by {holder}; wait until it ends, or choose another file with \
                 `--store`"
            );
            Err(PortError::new(PortErrorKind::Refused, message))
        }
        Err(TryLockError::Error(error)) => {
            let message = format!("`{name}` cannot be locked; use a local disk");
            Err(PortError::caused(PortErrorKind::Refused, message, error))
        }
    }
}
