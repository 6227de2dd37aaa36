//! The way to DuckDB for everything in this process: sessions on databases.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use engine_core::limits::{DUCKDB_SESSIONS_MAX, RESULT_BYTES_MAX};
use serde_json::{Map, Value};
use tokio::sync::{Mutex, OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout_at};

use super::errors::{self, failure, missing};
use super::process::{Process, program};
use super::protocol::{Answer, Ask, Opening, Table};
use super::settings::Settings;
use crate::tool::ToolError;

/// Sessions on one warm `duckdb-engine`, which is started when first needed and again when lost.
pub struct Client {
    program: Option<PathBuf>,
    warm: Mutex<Option<Arc<Process>>>,
    free: Arc<Semaphore>,
}

impl Default for Client {
    fn default() -> Self {
        Self {
            program: None,
            warm: Mutex::new(None),
            free: Arc::new(Semaphore::new(DUCKDB_SESSIONS_MAX)),
        }
    }
}

impl Client {
    /// The executable to start, instead of the one that the environment says.
    #[must_use]
    pub fn with_program(mut self, program: impl Into<PathBuf>) -> Self {
        self.program = Some(program.into());
        self
    }

    /// A session on a database, which is opened if it is not; everything in it ends by `deadline`.
    ///
    /// # Errors
    /// As the tool's: nothing to start, a file that cannot be opened, a declaration that does not work.
    pub(crate) async fn open(
        &self,
        settings: &Settings,
        deadline: Instant,
    ) -> Result<Session, ToolError> {
        let allowed = deadline.saturating_duration_since(Instant::now());
        let permit = timeout_at(deadline, self.free.clone().acquire_owned()).await;
        let Ok(Ok(permit)) = permit else {
            return Err(ToolError::timeout(format!(
                "{DUCKDB_SESSIONS_MAX} DuckDB calls run already; run fewer steps at once"
            )));
        };
        let process = self.process(settings, deadline).await?;
        let number = process.number();
        let session = Session {
            process,
            number,
            deadline,
            allowed,
            secrets: settings.secrets.clone(),
            _permit: permit,
        };
        let opening = Opening {
            path: settings.path.as_ref().map(|path| path.display().to_string()),
            rules: settings.rules.clone(),
            usage: settings.usage,
            wait_ms: session.left_ms(),
        };
        session.ask(Ask::Open(Box::new(opening))).await?;
        Ok(session)
    }

    /// The process id of the warm process, if there is one.
    #[cfg(test)]
    pub(crate) async fn pid(&self) -> Option<u32> {
        self.warm.lock().await.as_ref().and_then(|process| process.pid())
    }

    /// The warm process; what may touch any file gets one of its own, as file locks only hold between
    /// processes.
    async fn process(
        &self,
        settings: &Settings,
        deadline: Instant,
    ) -> Result<Arc<Process>, ToolError> {
        let warm = timeout_at(deadline, self.warm.lock()).await;
        let Ok(mut warm) = warm else {
            return Err(ToolError::timeout(
                "DuckDB did not start in time; raise the step's `timeout`",
            ));
        };
        let running = warm.as_ref().filter(|process| process.is_alive()).cloned();
        if settings.rules.external_access {
            drop(warm);
            if let (Some(running), Some(path)) = (running, &settings.path) {
                let wait_ms = left_ms(deadline);
                let ask = Ask::Release { path: path.display().to_string(), wait_ms };
                // A process that has just gone holds no file.
                let _ = running.ask(running.number(), ask, deadline).await;
            }
            return self.start(deadline).await;
        }
        let process = match running {
            Some(running) => running,
            None => self.start(deadline).await?,
        };
        *warm = Some(process.clone());
        Ok(process)
    }

    async fn start(&self, deadline: Instant) -> Result<Arc<Process>, ToolError> {
        let found = self.program.clone().map_or_else(program, Ok);
        let started = Process::start(&found.map_err(|why| missing(&why))?, deadline).await;
        started.map(Arc::new).map_err(|loss| errors::lost(loss, Duration::ZERO))
    }
}

/// One conversation on one connection; dropping it stops what it does and rolls back.
pub(crate) struct Session {
    process: Arc<Process>,
    number: u64,
    deadline: Instant,
    /// The time that the session had, for messages.
    allowed: Duration,
    /// What no error may show.
    secrets: Vec<String>,
    _permit: OwnedSemaphorePermit,
}

impl Drop for Session {
    fn drop(&mut self) {
        self.process.close(self.number);
    }
}

impl Session {
    /// Runs one statement to its end.
    ///
    /// # Errors
    /// As the tool's, by what DuckDB says.
    pub(crate) async fn run(&self, sql: &str, params: &Value) -> Result<Table, ToolError> {
        self.run_within(sql, params, RESULT_BYTES_MAX).await
    }

    /// Runs one statement whose rows may have `bytes_max` bytes.
    ///
    /// # Errors
    /// As [`Session::run`].
    pub(crate) async fn run_within(
        &self,
        sql: &str,
        params: &Value,
        bytes_max: usize,
    ) -> Result<Table, ToolError> {
        let ask = Ask::Execute { sql: sql.to_owned(), params: params.clone(), bytes_max };
        match self.ask(ask).await? {
            Answer::Table(table) => Ok(table),
            other => Err(errors::odd(&other)),
        }
    }

    /// Begins to read; the rows stay at DuckDB until they are asked for.
    ///
    /// # Errors
    /// As [`Session::run`].
    #[allow(dead_code, reason = "`transfer` reads with it")]
    pub(crate) async fn read(self, sql: &str, params: &Value) -> Result<Cursor, ToolError> {
        let ask = Ask::Read { sql: sql.to_owned(), params: params.clone() };
        match self.ask(ask).await? {
            Answer::Table(Table { columns, .. }) => {
                Ok(Cursor { session: self, columns, is_over: false })
            }
            other => Err(errors::odd(&other)),
        }
    }

    async fn ask(&self, ask: Ask) -> Result<Answer, ToolError> {
        match self.process.ask(self.number, ask, self.deadline).await {
            Ok(Answer::Failed(failed)) => Err(failure(&failed, &self.secrets)),
            Ok(answer) => Ok(answer),
            Err(loss) => Err(errors::lost(loss, self.allowed)),
        }
    }

    fn left_ms(&self) -> u64 {
        left_ms(self.deadline)
    }
}

/// What is read, a few rows at a time.
#[allow(dead_code, reason = "`transfer` reads with it")]
pub(crate) struct Cursor {
    session: Session,
    columns: Vec<String>,
    is_over: bool,
}

#[allow(dead_code, reason = "`transfer` reads with it")]
impl Cursor {
    /// The names of the columns.
    pub(crate) fn columns(&self) -> &[String] {
        &self.columns
    }

    /// The next rows, at most `rows_max` (fewer if they are large); none after the last one.
    ///
    /// # Errors
    /// As [`Session::run`].
    pub(crate) async fn next(
        &mut self,
        rows_max: usize,
    ) -> Result<Vec<Map<String, Value>>, ToolError> {
        if self.is_over {
            return Ok(Vec::new());
        }
        match self.session.ask(Ask::Next { rows_max }).await? {
            Answer::Rows(rows) => {
                self.is_over = rows.is_empty();
                Ok(rows.into_iter().map(|row| named(&self.columns, row)).collect())
            }
            other => Err(errors::odd(&other)),
        }
    }

    /// Gives up reading.
    pub(crate) fn into_session(self) -> Session {
        self.session
    }
}

/// A row as a map.
pub(crate) fn named(columns: &[String], row: Vec<Value>) -> Map<String, Value> {
    columns.iter().cloned().zip(row).collect()
}

fn left_ms(deadline: Instant) -> u64 {
    let left = deadline.saturating_duration_since(Instant::now()).as_millis();
    u64::try_from(left).unwrap_or(u64::MAX)
}
