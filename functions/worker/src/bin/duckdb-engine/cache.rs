//! The memory of a database through which rows only pass: what they leave behind is let go.
//!
//! DuckDB keeps every block that it has read or written until its memory is full, and a million rows
//! took as much as they are long. It lets go of what it can when its limit is lowered, so that the limit
//! is lowered for a moment when enough has passed. For a statement it is never low: one that finds no
//! memory fails, and a checkpoint that finds none closes the database to everybody.

use std::cell::Cell;
use std::sync::{Arc, PoisonError, RwLock, TryLockError};

use duckdb::Connection;
use engine_core::limits::{
    DUCKDB_ROWS_KEPT_BYTES, DUCKDB_ROWS_LOG_BYTES_MAX, DUCKDB_ROWS_LOG_BYTES_MIN,
    DUCKDB_ROWS_LOG_COLUMN_BYTES, DUCKDB_ROWS_MEMORY_BYTES, DUCKDB_ROWS_PASSED_BYTES,
};
use worker::tools::duckdb::protocol::{Failure, Usage};

use crate::failure::of;

/// One session's part in looking after a database's memory.
pub(crate) struct Cache {
    /// The database's: held for reading while a statement runs.
    running: Arc<RwLock<()>>,
    /// None where queries come back to what is kept. A connection of its own, as the session's is busy
    /// with a cursor, and may be interrupted between the low limit and the high one.
    keeper: Option<Connection>,
    /// Bytes since memory was let go.
    passed: Cell<usize>,
}

impl Cache {
    /// For a session on the database of `root`.
    pub(crate) fn of(
        root: &Connection,
        usage: Usage,
        running: Arc<RwLock<()>>,
    ) -> Result<Self, Failure> {
        let keeper = match usage {
            Usage::Queries => None,
            Usage::Rows => Some(root.try_clone().map_err(of)?),
        };
        Ok(Self { running, keeper, passed: Cell::new(0) })
    }

    /// Does a part of a statement; nobody takes memory from it.
    pub(crate) fn during<T>(&self, work: impl FnOnce() -> T) -> T {
        let _running = self.running.read().unwrap_or_else(PoisonError::into_inner);
        work()
    }

    /// Counts bytes of rows, and lets memory go if they are enough and no statement runs.
    pub(crate) fn passed(&self, bytes: usize) -> Result<(), Failure> {
        let Some(keeper) = &self.keeper else { return Ok(()) };
        self.passed.set(self.passed.get().saturating_add(bytes));
        if self.passed.get() < DUCKDB_ROWS_PASSED_BYTES {
            return Ok(());
        }
        let _alone = match self.running.try_write() {
            Ok(alone) => alone,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            // The one that runs comes here after it.
            Err(TryLockError::WouldBlock) => return Ok(()),
        };
        self.passed.set(0);
        // It says that it could not if open cursors hold more; all the others have let go by then.
        let _ = keeper.execute_batch(&format!("SET memory_limit = '{DUCKDB_ROWS_KEPT_BYTES}B'"));
        let whole = format!("SET memory_limit = '{DUCKDB_ROWS_MEMORY_BYTES}B'");
        keeper.execute_batch(&whole).map_err(of)?;
        fit(keeper)
    }
}

/// Sets a database up for many rows in the tables that it has by now.
fn fit(keeper: &Connection) -> Result<(), Failure> {
    let number = |sql| keeper.query_row(sql, [], |row| row.get::<_, u64>(0)).map_err(of);
    // A server that is attached would be asked for all of its tables.
    let columns = match number("SELECT count(*) FROM duckdb_databases() WHERE NOT internal")? {
        1 => number("SELECT coalesce(max(column_count), 0) FROM duckdb_tables()")?,
        _ => u64::MAX,
    };
    let log = columns
        .saturating_mul(DUCKDB_ROWS_LOG_COLUMN_BYTES)
        .clamp(DUCKDB_ROWS_LOG_BYTES_MIN, DUCKDB_ROWS_LOG_BYTES_MAX);
    // To put groups of rows together at each checkpoint takes three times their memory; the first
    // session for queries does it.
    let statements = format!("SET wal_autocheckpoint = '{log}B'; SET max_vacuum_tasks = 0");
    keeper.execute_batch(&statements).map_err(of)
}
