//! The open databases: one per file, shared by the sessions that agree on its rules.

use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::{Duration, Instant};

use duckdb::Connection;
use engine_core::limits::{DUCKDB_DATABASES_MAX, DUCKDB_IDLE_MS, DUCKDB_LOCK_MS};
use worker::tools::duckdb::protocol::{Failure, Opening, Rules, Usage};

use crate::cache::Cache;
use crate::database;
use crate::failure::{failed, of};

/// How often a file that another process holds is tried again.
const LOCK_LOOK: Duration = Duration::from_millis(50);

/// All databases of the process.
///
/// A file is never open twice, not even for a moment: file locks do not hold within one process.
pub(crate) struct Databases {
    home: PathBuf,
    entries: Mutex<Vec<Entry>>,
    changed: Condvar,
}

struct Entry {
    path: String,
    rules: Rules,
    usage: Usage,
    /// Held for reading while a statement runs.
    running: Arc<RwLock<()>>,
    users: usize,
    used: Instant,
    /// None while it is opened or closed.
    root: Option<Connection>,
}

impl Entry {
    fn new(path: &str, opening: &Opening) -> Self {
        Self {
            path: path.to_owned(),
            rules: opening.rules.clone(),
            usage: opening.usage,
            running: Arc::default(),
            users: 0,
            used: Instant::now(),
            root: None,
        }
    }

    /// A connection for one more user, and the cache that it looks after.
    fn connect(&mut self) -> Result<(Connection, Cache), Failure> {
        let root = self.root.as_ref().ok_or_else(|| failed("Busy", "the database is not open"))?;
        let connection = root.try_clone().map_err(of)?;
        let cache = Cache::of(root, self.usage, self.running.clone())?;
        self.users += 1;
        Ok((connection, cache))
    }

    fn is_idle(&self) -> bool {
        self.users == 0 && self.root.is_some()
    }

    fn holds(&self, path: &str) -> bool {
        self.path == path || self.rules.files.iter().any(|file| file == path)
    }

    fn meets(&self, opening: &Opening, path: &str) -> bool {
        self.holds(path) || opening.rules.files.iter().any(|file| self.holds(file))
    }
}

/// A connection to an open database; dropping it gives the database back.
pub(crate) struct Checkout {
    // In this order: what is given back may be closed, and no connection may be left then.
    pub(crate) connection: Connection,
    pub(crate) cache: Cache,
    pub(crate) rules: Rules,
    _share: Option<Share>,
}

/// One session's share of a database that is open once.
struct Share {
    databases: Arc<Databases>,
    path: String,
}

impl Drop for Share {
    fn drop(&mut self) {
        let mut entries = self.databases.lock();
        if let Some(entry) = entries.iter_mut().find(|entry| entry.path == self.path) {
            entry.users = entry.users.saturating_sub(1);
            entry.used = Instant::now();
        }
        drop(entries);
        self.databases.changed.notify_all();
    }
}

/// What must happen before a database can be used.
enum Turn {
    Use(usize),
    Wait,
    Close(usize),
    Open,
}

impl Databases {
    pub(crate) fn new(home: PathBuf) -> Arc<Self> {
        Arc::new(Self { home, entries: Mutex::new(Vec::new()), changed: Condvar::new() })
    }

    /// Connects to a database, which is opened if it is not.
    pub(crate) fn checkout(self: &Arc<Self>, opening: &Opening) -> Result<Checkout, Failure> {
        let until = Instant::now() + Duration::from_millis(opening.wait_ms);
        let Some(path) = &opening.path else {
            let connection = database::open(None, &opening.rules, opening.usage, &self.home)?;
            let cache = Cache::of(&connection, opening.usage, Arc::default())?;
            return Ok(Checkout { connection, cache, rules: opening.rules.clone(), _share: None });
        };
        loop {
            let mut entries = self.lock();
            match turn(&entries, opening, path) {
                Turn::Use(index) => {
                    let (connection, cache) = entries[index].connect()?;
                    let share = Some(Share { databases: self.clone(), path: path.clone() });
                    let rules = opening.rules.clone();
                    return Ok(Checkout { connection, cache, rules, _share: share });
                }
                Turn::Wait => self.wait(entries, until, path)?,
                Turn::Close(index) => self.close(entries, index),
                Turn::Open => {
                    entries.push(Entry::new(path, opening));
                    drop(entries);
                    self.open(opening, path, until)?;
                }
            }
        }
    }

    /// Closes `path` as soon as nobody uses it.
    pub(crate) fn release(&self, path: &str, wait_ms: u64) -> Result<(), Failure> {
        let until = Instant::now() + Duration::from_millis(wait_ms);
        loop {
            let entries = self.lock();
            let Some(index) = entries.iter().position(|entry| entry.holds(path)) else {
                return Ok(());
            };
            if entries[index].is_idle() {
                self.close(entries, index);
            } else {
                self.wait(entries, until, path)?;
            }
        }
    }

    /// Closes what nobody has used for long.
    pub(crate) fn close_idle(&self, now: Instant) {
        let idle = Duration::from_millis(DUCKDB_IDLE_MS);
        loop {
            let entries = self.lock();
            let old = |entry: &Entry| {
                entry.is_idle() && now.saturating_duration_since(entry.used) >= idle
            };
            let Some(index) = entries.iter().position(old) else { return };
            self.close(entries, index);
        }
    }

    fn open(&self, opening: &Opening, path: &str, until: Instant) -> Result<(), Failure> {
        let opened = patiently(until, || {
            database::open(Some(path), &opening.rules, opening.usage, &self.home)
        });
        let mut entries = self.lock();
        let index = entries.iter().position(|entry| entry.path == path);
        let opened = match (opened, index) {
            (Ok(root), Some(index)) => {
                entries[index].root = Some(root);
                Ok(())
            }
            (Err(failure), Some(index)) => {
                entries.swap_remove(index);
                Err(failure)
            }
            (opened, None) => opened.map(drop),
        };
        drop(entries);
        self.changed.notify_all();
        opened
    }

    /// Closes outside of the lock, as it writes the log into the file.
    fn close(&self, mut entries: MutexGuard<'_, Vec<Entry>>, index: usize) {
        let (path, root) = (entries[index].path.clone(), entries[index].root.take());
        drop(entries);
        drop(root);
        self.lock().retain(|entry| entry.path != path);
        self.changed.notify_all();
    }

    fn wait(
        &self,
        entries: MutexGuard<'_, Vec<Entry>>,
        until: Instant,
        path: &str,
    ) -> Result<(), Failure> {
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            let text = format!(
                "`{path}` is in use with other declarations (`attach`, `auth`, `files`, \
                 `external_access`), or too many databases are open"
            );
            return Err(failed("Busy", text));
        }
        drop(self.changed.wait_timeout(entries, left).map(|(entries, _)| entries));
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Entry>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn turn(entries: &[Entry], opening: &Opening, path: &str) -> Turn {
    let met = entries.iter().position(|entry| entry.meets(opening, path));
    if let Some(index) = met {
        let entry = &entries[index];
        let fits = entry.path == path && entry.rules == opening.rules;
        // Nobody waits for others because of the usage: both sides of a transfer may be one database.
        let suits = entry.usage == opening.usage || entry.users > 0;
        return match &entry.root {
            Some(_) if fits && suits => Turn::Use(index),
            Some(_) if entry.users == 0 => Turn::Close(index),
            _ => Turn::Wait,
        };
    }
    if entries.len() < DUCKDB_DATABASES_MAX {
        return Turn::Open;
    }
    let idle = entries.iter().enumerate().filter(|(_, entry)| entry.is_idle());
    let oldest = idle.min_by_key(|(_, entry)| entry.used).map(|(index, _)| index);
    oldest.map_or(Turn::Wait, Turn::Close)
}

/// Tries again while another process holds the file: one that ends needs a moment to let it go.
fn patiently<T>(
    until: Instant,
    mut open: impl FnMut() -> Result<T, Failure>,
) -> Result<T, Failure> {
    let until = until.min(Instant::now() + Duration::from_millis(DUCKDB_LOCK_MS));
    loop {
        match open() {
            Err(failure) if failure.message.contains("Could not set lock") => {
                if Instant::now() >= until {
                    return Err(failed("Lock", failure.message));
                }
                std::thread::sleep(LOCK_LOOK);
            }
            opened => return opened,
        }
    }
}
