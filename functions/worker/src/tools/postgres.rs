//! `postgres`: SQL statements, and rows that a sink saves.
//!
//! * `settings`, `tls`, `pool`: which server, how protected, over which connection.
//! * `run`: the statements of a call. `write`: rows into a table, after a look into the `catalog`.
//! * `read`, `decode`, `time`: rows as JSON. `param`: JSON as parameters.
//! * `error`: what went wrong, for people. `transaction`: all or nothing.

use async_trait::async_trait;
use tokio::time::timeout_at;

use self::pool::{Pools, Session};
use self::settings::Settings;
use self::write::Target;
use crate::save::{Mode, Save, success};
use crate::sql::params::Params;
use crate::sql::{commands, has_commands};
use crate::tool::{Call, Success, Tool, ToolError};

mod catalog;
mod decode;
mod error;
mod param;
pub(crate) mod pool;
pub(crate) mod read;
mod run;
pub(crate) mod settings;
mod time;
mod tls;
pub(crate) mod transaction;
pub(crate) mod write;

/// `postgres`.
///
/// Statements are kept one by one, and a failed one stops no other, unless `transaction: true`. Values of
/// `params` are bound. Connections are kept between calls; clones share them.
#[derive(Clone, Default)]
pub struct Postgres {
    pools: Pools,
}

impl std::fmt::Debug for Postgres {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The settings of the pools have passwords.
        f.debug_struct("Postgres").finish_non_exhaustive()
    }
}

impl Postgres {
    /// The connections, for tools that read and write by themselves.
    pub(crate) fn pools(&self) -> &Pools {
        &self.pools
    }
}

/// What a call asks for, understood before anything is connected.
enum Work {
    Run { statements: Vec<String>, params: Params, is_atomic: bool },
    Save(Save),
}

impl Work {
    fn of(call: &Call<'_>) -> Result<Self, ToolError> {
        if call.saves || (call.text("table").is_some() && !has_commands(call)) {
            return Save::of(call).map(Self::Save);
        }
        Ok(Self::Run {
            statements: commands(call)?,
            params: Params::of(call.config.get("params"))?,
            is_atomic: call.flag("transaction").unwrap_or(false),
        })
    }

    async fn run(self, session: &Session) -> Result<Success, ToolError> {
        match self {
            Self::Run { statements, params, is_atomic } => {
                run::commands(session, &statements, &params, is_atomic).await
            }
            Self::Save(Save::Statements { statements, items }) => {
                let (saved, changed) = run::statements(session, &statements, items).await?;
                Ok(success("postgres", saved, changed, None))
            }
            Self::Save(Save::Rows { table, rows }) => {
                let clears = table.mode == Mode::Overwrite;
                if rows.is_empty() && !clears {
                    return Ok(success("postgres", 0, 0, Some(&table)));
                }
                let target = Target::open(session, &table, &rows).await?;
                let changed = target.write_rows(session, &rows, clears).await?;
                Ok(success("postgres", rows.len(), changed, Some(&table)))
            }
        }
    }
}

#[async_trait]
impl Tool for Postgres {
    fn kind(&self) -> &'static str {
        "postgres"
    }

    async fn call(&self, call: &Call<'_>) -> Result<Success, ToolError> {
        let settings = Settings::of(&call.config)?;
        let work = Work::of(call)?;
        let place = settings.place();
        let ended = timeout_at(call.deadline, async {
            let session = self.pools.session(&settings, call.deadline).await?;
            let ended = work.run(&session).await;
            session.finish().await;
            ended
        });
        // What is dropped here cancels its statement at the server, and its connection is closed.
        ended.await.unwrap_or_else(|_elapsed| {
            Err(ToolError::timeout(format!(
                "PostgreSQL at {place} did not end in time, and was told to stop; raise `timeout` of \
                 the step, or let the statements do less"
            )))
        })
    }
}

#[cfg(test)]
mod tests;
