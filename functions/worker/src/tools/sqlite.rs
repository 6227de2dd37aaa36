//! `sqlite`: statements and saves in a database file, in this process.
//!
//! A call opens its own connection on a thread of its own. Statements run one after the other, each in a
//! transaction of its own unless the call says `transaction: true`; a failed one does not stop later ones.

use async_trait::async_trait;
use rusqlite::Connection;
use tokio::time::Instant;

use self::place::{Place, opened};
use crate::save::{self, Save};
use crate::sql::{self, params::Params};
use crate::tool::{Call, Success, Tool, ToolError};

mod failure;
pub(crate) mod place;
pub(crate) mod read;
mod run;
mod values;
pub(crate) mod write;

/// `sqlite`.
#[derive(Clone, Copy, Debug, Default)]
pub struct Sqlite;

#[async_trait]
impl Tool for Sqlite {
    fn kind(&self) -> &'static str {
        "sqlite"
    }

    async fn call(&self, call: &Call<'_>) -> Result<Success, ToolError> {
        let place = Place::of(call)?;
        let deadline = call.deadline;
        if call.saves {
            let save = Save::of(call)?;
            return opened(place, deadline, move |base| saved(base, save, deadline)).await;
        }
        let statements = sql::commands(call)?;
        let params = Params::of(call.config.get("params"))?;
        let is_atomic = call.flag("transaction").unwrap_or(false);
        opened(place, deadline, move |base| {
            let results = if is_atomic {
                run::all_or_nothing(base, &statements, &params, deadline)?
            } else {
                run::each(base, &statements, &params, deadline)
            };
            sql::envelope(results)
        })
        .await
    }
}

/// Saves all of it or nothing.
fn saved(base: &mut Connection, save: Save, deadline: Instant) -> Result<Success, ToolError> {
    match save {
        Save::Rows { table, rows } => {
            let affected = write::rows(base, &table, &rows, deadline)?;
            Ok(save::success("sqlite", rows.len(), affected, Some(&table)))
        }
        Save::Statements { statements, items } => {
            let items = items.unwrap_or_else(|| vec![Params::None]);
            let affected = run::statements(base, &statements, &items, deadline)?;
            Ok(save::success("sqlite", items.len(), affected, None))
        }
    }
}

#[cfg(test)]
mod tests;
