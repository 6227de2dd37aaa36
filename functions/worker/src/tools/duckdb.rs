//! `duckdb`: SQL in an embedded analytical database, which runs in a process of its own.
//!
//! * `client`: sessions on databases, for the tool and for `transfer`. `process`: the process behind them.
//! * `protocol`: what both sides say. `settings`: which database, and what a call declares to touch.
//! * `write`: rows into a table. `errors`: what went wrong, and what helps.

pub mod client;
mod errors;
mod process;
pub mod protocol;
pub(crate) mod settings;
#[cfg(test)]
mod tests;
pub(crate) mod write;

use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use engine_core::limits::RESULT_BYTES_MAX;
use serde_json::{Value, json};

use self::client::{Client, Session, named};
use self::settings::Settings;
use self::write::Target;
use crate::save::{self, Mode, Row, Save, Table};
use crate::sql::named::Style;
use crate::sql::params::{Bound, Params};
use crate::sql::{self, StatementResult};
use crate::tool::{Call, Success, Tool, ToolError};

/// Words that begin statements which cannot be part of a transaction around them.
const OWN_TRANSACTION: [&str; 7] =
    ["begin", "start", "commit", "checkpoint", "vacuum", "attach", "detach"];

/// `duckdb`.
pub struct DuckDb {
    client: Arc<Client>,
    data: PathBuf,
}

impl DuckDb {
    /// A tool on a client, which others may use too.
    ///
    /// A call that names no database uses a file of its execution, in the folder that `NOETL_DATA` names,
    /// else in one of the system's for temporary files.
    #[must_use]
    pub fn new(client: Arc<Client>) -> Self {
        Self { client, data: data_folder() }
    }

    /// Keeps the executions' databases in `folder`.
    #[must_use]
    pub fn with_data(mut self, folder: impl Into<PathBuf>) -> Self {
        self.data = folder.into();
        self
    }
}

/// Where the databases of executions are.
pub(crate) fn data_folder() -> PathBuf {
    let named = std::env::var_os("NOETL_DATA").filter(|folder| !folder.is_empty());
    named.map_or_else(std::env::temp_dir, PathBuf::from).join("noetl-duckdb")
}

#[async_trait]
impl Tool for DuckDb {
    fn kind(&self) -> &'static str {
        "duckdb"
    }

    async fn call(&self, call: &Call<'_>) -> Result<Success, ToolError> {
        let settings = Settings::of(&call.config, call.execution_id, &self.data)?;
        if call.saves {
            let save = Save::of(call)?;
            let session = self.client.open(&settings, call.deadline).await?;
            return match save {
                Save::Rows { table, rows } => save_rows(&session, &table, &rows).await,
                Save::Statements { statements, items } => {
                    save_items(&session, &settings, &statements, items).await
                }
            };
        }
        let statements = sql::commands(call)?;
        let params = Params::of(call.config.get("params"))?;
        let session = self.client.open(&settings, call.deadline).await?;
        let is_whole = call.flag("transaction").unwrap_or(false);
        let results = run_all(&session, &settings, &statements, &params, is_whole).await?;
        let mut success = sql::envelope(results)?;
        if let Value::Object(result) = &mut success.result {
            let path = settings.path.as_ref();
            let path =
                path.map_or_else(|| ":memory:".to_owned(), |path| path.display().to_string());
            result.insert("database_path".to_owned(), json!(path));
            result.insert("secrets_created".to_owned(), json!(settings.created));
            result.insert("execution_id".to_owned(), json!(call.execution_id));
        }
        Ok(success)
    }
}

/// Runs statements until one fails; with `is_whole`, a failure takes back the ones before it.
async fn run_all(
    session: &Session,
    settings: &Settings,
    statements: &[String],
    params: &Params,
    is_whole: bool,
) -> Result<Vec<StatementResult>, ToolError> {
    if is_whole {
        session.run("BEGIN", &Value::Null).await?;
    }
    let mut results = Vec::new();
    let mut bytes_left = RESULT_BYTES_MAX;
    for statement in statements {
        match run_one(session, settings, statement, params, &mut bytes_left).await {
            Ok(result) => results.push(result),
            Err(error) => {
                results.push(StatementResult::Failed(error));
                // What follows builds on it. The session ends, and with it an open transaction.
                return Ok(results);
            }
        }
    }
    if is_whole {
        session.run("COMMIT", &Value::Null).await?;
    }
    Ok(results)
}

async fn run_one(
    session: &Session,
    settings: &Settings,
    statement: &str,
    params: &Params,
    bytes_left: &mut usize,
) -> Result<StatementResult, ToolError> {
    if settings.has_done(statement) {
        return Ok(StatementResult::Done { affected: 0 });
    }
    let (text, values) = bound(statement, params)?;
    let table = session.run_within(&text, &values, *bytes_left).await?;
    if let Some(affected) = table.changed {
        return Ok(StatementResult::Done { affected });
    }
    let rows: Vec<Value> =
        table.rows.into_iter().map(|row| Value::Object(named(&table.columns, row))).collect();
    let bytes = rows.iter().map(|row| row.to_string().len()).sum();
    *bytes_left = bytes_left.saturating_sub(bytes);
    Ok(StatementResult::Rows { columns: table.columns, rows })
}

/// A statement and its values as DuckDB takes them: a list for `$1`, a map for `$name`.
fn bound(statement: &str, params: &Params) -> Result<(String, Value), ToolError> {
    let bound = Bound::of(statement, Style::Dollar, params)?;
    if let Params::Named(fields) = params
        && bound.text == statement
    {
        return Ok((bound.text, Value::Object(fields.clone())));
    }
    let values = bound.values(params)?;
    Ok((bound.text, Value::Array(values)))
}

/// Saves rows, all of them or none.
async fn save_rows(session: &Session, table: &Table, rows: &[Row]) -> Result<Success, ToolError> {
    session.run("BEGIN", &Value::Null).await?;
    let target = Target::of(session, table, rows).await?;
    if table.mode == Mode::Overwrite {
        target.clear(session).await?;
    }
    let changed = target.write(session, rows).await?;
    session.run("COMMIT", &Value::Null).await?;
    Ok(save::success("duckdb", rows.len(), changed, Some(table)))
}

/// Runs statements once for each item, all or nothing unless they begin transactions themselves.
async fn save_items(
    session: &Session,
    settings: &Settings,
    statements: &[String],
    items: Option<Vec<Params>>,
) -> Result<Success, ToolError> {
    let begins = |statement: &String| {
        let first = statement.split_whitespace().next().unwrap_or_default().to_ascii_lowercase();
        OWN_TRANSACTION.contains(&first.as_str())
    };
    let is_whole = !statements.iter().any(begins);
    if is_whole {
        session.run("BEGIN", &Value::Null).await?;
    }
    let items = items.unwrap_or_else(|| vec![Params::None]);
    let mut changed = 0_u64;
    for params in &items {
        for statement in statements {
            let mut bytes_left = RESULT_BYTES_MAX;
            let done = run_one(session, settings, statement, params, &mut bytes_left).await?;
            if let StatementResult::Done { affected } = done {
                changed = changed.saturating_add(affected);
            }
        }
    }
    if is_whole {
        session.run("COMMIT", &Value::Null).await?;
    }
    Ok(save::success("duckdb", items.len(), changed, None))
}
