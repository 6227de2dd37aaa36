//! The log and the states in one `SQLite` file, or in memory.
//!
//! # Invariants
//!
//! * An entry is on the disk before `commit` returns; commits that wait together share one write
//!   to it.
//! * One process writes a file; others may look at it.
//! * Only the newest state of an aggregate is kept: `entries` returns it with every entry.

mod database;
mod failure;
mod schema;
mod writer;

use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use engine_core::event::{Entry, Fact, Status};
use engine_core::ids::{AggregateKey, EventId, ExecutionId};
use engine_core::ports::{PortError, PortErrorKind, StateStore, Tail};
use engine_core::state::State;
use rusqlite::{Connection, OptionalExtension as _, Row, params};
use serde::de::DeserializeOwned;

pub(crate) use self::database::{Database, ReadError, Reads};
use self::writer::Change;
use crate::executions::{ExecutionSummary, Executions};

/// How a store is opened.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Number of events that facts are shown as: an entry takes as many ids.
    pub expanded: fn(&[Fact]) -> usize,
    /// Bytes that the file may grow to; none for what the disk holds.
    pub bytes_max: Option<u64>,
}

/// The [`StateStore`] of one process.
pub struct SqliteStore {
    database: Arc<Database>,
    options: Options,
}

impl SqliteStore {
    /// Opens or creates the file at `path`, for this process alone.
    ///
    /// # Errors `Refused` if another process has it open, if it is no file of ours or of a newer
    /// version, or if it cannot be written; `Corrupt` if it is damaged.
    pub fn open(path: &Path, options: Options) -> Result<Self, PortError> {
        Ok(Self { database: Arc::new(Database::open(path, options.bytes_max)?), options })
    }

    /// A store that ends with the process.
    ///
    /// # Errors
    /// `Unavailable` if the process can start no thread.
    pub fn memory(options: Options) -> Result<Self, PortError> {
        Ok(Self { database: Arc::new(Database::memory(options.bytes_max)?), options })
    }

    /// Opens an existing file to look at, also while another process writes it.
    ///
    /// # Errors
    /// As [`SqliteStore::open`], but for the other process.
    pub fn open_read_only(path: &Path, options: Options) -> Result<Self, PortError> {
        Ok(Self { database: Arc::new(Database::open_read_only(path)?), options })
    }

    /// Whether it ends with the process.
    pub(crate) fn is_memory(&self) -> bool {
        self.database.is_memory()
    }

    pub(crate) fn database(&self) -> Arc<Database> {
        self.database.clone()
    }
}

#[async_trait]
impl StateStore for SqliteStore {
    async fn tail(&self, key: &AggregateKey) -> Result<Option<Tail>, PortError> {
        if let Some(tail) = self.database.tails().and_then(|tails| tails.get(key)) {
            return Ok(Some(Tail::clone(&tail)));
        }
        let wanted = key.clone();
        let tail = self
            .database
            .read(Reads::Few, move |connection| read_tail(connection, &wanted))
            .await?;
        if let (Some(tails), Some(tail)) = (self.database.tails(), &tail) {
            tails.offer(key, tail.clone());
        }
        Ok(tail)
    }

    async fn commit(&self, entry: &Entry) -> Result<(), PortError> {
        let expanded = (self.options.expanded)(&entry.facts);
        let change = Change::new(entry, expanded).map_err(|error| {
            let message = format!("entry {} of `{}` cannot be encoded", entry.seq, entry.key);
            PortError::caused(PortErrorKind::Refused, message, error)
        })?;
        self.database.commit(change).await
    }

    async fn entries(
        &self,
        key: &AggregateKey,
        from: u64,
        limit: usize,
    ) -> Result<Vec<Entry>, PortError> {
        let reads = if limit == 1 { Reads::Few } else { Reads::Many };
        let newest = self.database.tails().and_then(|tails| tails.get(key));
        let newest = newest.map(|tail| tail.state.clone());
        let page = Page { key: key.clone(), from, limit };
        self.database.read(reads, move |connection| read_entries(connection, page, newest)).await
    }

    async fn aggregates(&self, execution_id: ExecutionId) -> Result<Vec<AggregateKey>, PortError> {
        self.database
            .read(Reads::Many, move |connection| {
                let mut statement = connection.prepare_cached(
                    "SELECT key FROM aggregate WHERE execution_id = ?1
                     ORDER BY loop_id IS NOT NULL, loop_id",
                )?;
                let keys = statement.query_map([execution_id.0], |row| row.get::<_, String>(0))?;
                keys.map(|key| {
                    let key = key?;
                    key.parse::<AggregateKey>().map_err(|error| {
                        ReadError::Corrupt(format!("aggregate `{key}`"), error.into())
                    })
                })
                .collect()
            })
            .await
    }
}

#[async_trait]
impl Executions for SqliteStore {
    async fn executions(
        &self,
        before: Option<i64>,
        limit: usize,
    ) -> Result<Vec<ExecutionSummary>, PortError> {
        const SQL: &str = "SELECT position, execution_id, path, status, started_ms, ended_ms
             FROM execution WHERE position < ?1 ORDER BY position DESC LIMIT ?2";
        let before = before.unwrap_or(i64::MAX);
        self.database
            .read(Reads::Many, move |connection| summaries(connection, SQL, before, limit))
            .await
    }

    async fn running(
        &self,
        after: Option<i64>,
        limit: usize,
    ) -> Result<Vec<ExecutionSummary>, PortError> {
        const SQL: &str = "SELECT position, execution_id, path, status, started_ms, ended_ms
             FROM execution WHERE status = 'RUNNING' AND position > ?1 ORDER BY position LIMIT ?2";
        let after = after.unwrap_or(0);
        self.database
            .read(Reads::Many, move |connection| summaries(connection, SQL, after, limit))
            .await
    }

    async fn execution(
        &self,
        execution_id: ExecutionId,
    ) -> Result<Option<ExecutionSummary>, PortError> {
        const SQL: &str = "SELECT position, execution_id, path, status, started_ms, ended_ms
             FROM execution WHERE execution_id = ?1 LIMIT ?2";
        let found = self
            .database
            .read(Reads::Few, move |connection| summaries(connection, SQL, execution_id.0, 1));
        Ok(found.await?.pop())
    }
}

fn read_tail(connection: &Connection, key: &AggregateKey) -> Result<Option<Tail>, ReadError> {
    let found = connection
        .prepare_cached("SELECT seq, at_ms, next_event_id, state FROM aggregate WHERE key = ?1")?
        .query_row([key.to_string()], |row| {
            let tail = (row.get::<_, i64>(0)?, row.get(1)?, row.get(2)?);
            Ok((tail, row.get::<_, String>(3)?))
        })
        .optional()?;
    let Some(((seq, at_ms, next_event_id), state)) = found else { return Ok(None) };
    let state = decode(&state, || format!("the state of `{key}`"))?;
    Ok(Some(Tail { seq: seq.cast_unsigned(), at_ms, next_event_id, state }))
}

struct Page {
    key: AggregateKey,
    from: u64,
    limit: usize,
}

/// Reads entries; each comes with the newest state, which is decoded unless it is known.
fn read_entries(
    connection: &Connection,
    page: Page,
    newest: Option<State>,
) -> Result<Vec<Entry>, ReadError> {
    let key = page.key;
    // One statement, so that state and entries are of one moment.
    let mut statement = connection.prepare_cached(
        "SELECT e.seq, e.at_ms, e.event_id, e.inputs, e.facts, a.state
         FROM aggregate AS a JOIN entry AS e ON e.aggregate_id = a.id
         WHERE a.key = ?1 AND e.seq >= ?2 ORDER BY e.seq LIMIT ?3",
    )?;
    let from = i64::try_from(page.from).unwrap_or(i64::MAX);
    let limit = i64::try_from(page.limit).unwrap_or(i64::MAX);
    let mut rows = statement.query(params![key.to_string(), from, limit])?;
    let mut entries = Vec::new();
    let mut newest = newest;
    while let Some(row) = rows.next()? {
        let seq = row.get::<_, i64>(0)?.cast_unsigned();
        let state = match newest.take() {
            Some(state) => state,
            None => decode(text(row, 5)?, || format!("the state of `{key}`"))?,
        };
        newest = (page.limit > 1).then(|| state.clone());
        entries.push(Entry {
            key: key.clone(),
            seq,
            at_ms: row.get(1)?,
            event_id: EventId(row.get(2)?),
            inputs: decode(text(row, 3)?, || format!("entry {seq} of `{key}`"))?,
            facts: decode(text(row, 4)?, || format!("entry {seq} of `{key}`"))?,
            state,
        });
    }
    Ok(entries)
}

fn text<'a>(row: &'a Row<'_>, column: usize) -> Result<&'a str, ReadError> {
    Ok(row.get_ref(column)?.as_str().map_err(rusqlite::Error::from)?)
}

fn summaries(
    connection: &Connection,
    sql: &str,
    bound: i64,
    limit: usize,
) -> Result<Vec<ExecutionSummary>, ReadError> {
    let mut statement = connection.prepare_cached(sql)?;
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let mut rows = statement.query([bound, limit])?;
    let mut summaries = Vec::new();
    while let Some(row) = rows.next()? {
        let execution_id = ExecutionId(row.get(1)?);
        let status = format!("\"{}\"", text(row, 3)?);
        summaries.push(ExecutionSummary {
            position: row.get(0)?,
            execution_id,
            path: row.get(2)?,
            status: decode(&status, || format!("the status of execution {execution_id}"))?,
            started_ms: row.get(4)?,
            ended_ms: row.get(5)?,
        });
    }
    Ok(summaries)
}

fn decode<T: DeserializeOwned>(json: &str, what: impl FnOnce() -> String) -> Result<T, ReadError> {
    serde_json::from_str(json).map_err(|error| ReadError::Corrupt(what(), error.into()))
}

/// A status as its column spells it.
fn status_text(status: Status) -> &'static str {
    match status {
        Status::Running => "RUNNING",
        Status::Completed => "COMPLETED",
        Status::Failed => "FAILED",
        Status::Cancelled => "CANCELLED",
        Status::Skipped => "SKIPPED",
    }
}
