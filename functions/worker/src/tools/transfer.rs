//! `transfer`: rows from a source to a target, a chunk at a time.
//!
//! # Invariants
//!
//! * Memory holds two chunks and one piece of what is read, whatever the number of rows.
//! * A chunk is written whole or not at all. After a failure the chunks before it stay, unless the
//!   target makes all of them visible at once (`atomic: true` in `PostgreSQL`, files, buckets).
//! * A repetition begins with the first row: `overwrite` and `upsert` give the same table again,
//!   `append` is at least once.

mod decode;
mod encode;
mod folder;
mod mapping;
mod object;
mod parquet;
mod plan;
mod query;
mod run;
mod source;
mod target;
#[cfg(test)]
mod tests;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use engine_core::limits::TOOL_GRACE_MS;
use serde_json::{Map, Value};
use tokio::time::timeout_at;

use self::folder::Folder;
use self::plan::{Plan, Side};
use self::query::Query;
use super::duckdb::client::Client;
use super::duckdb::data_folder;
use super::duckdb::settings::Settings;
use super::http::{Http, HttpPolicy};
use super::postgres::Postgres;
use super::postgres::pool::Pools;
use crate::aws::Aws;
use crate::tool::{Call, Success, Tool, ToolError};

/// A row: columns and values.
type Row = Map<String, Value>;

/// `transfer`: shares connections with the tools of its two sides.
pub struct Transfer {
    connectors: Connectors,
}

/// What sources and targets connect with.
struct Connectors {
    http: Http,
    postgres: Pools,
    duckdb: Arc<Client>,
    aws: Aws,
    files: Folder,
}

impl Transfer {
    /// A tool that reaches over HTTP what `policy` allows, shares the connections of the other tools, and
    /// reads and writes files in `files`.
    #[must_use]
    pub fn new(
        policy: HttpPolicy,
        postgres: &Postgres,
        duckdb: Arc<Client>,
        aws: Aws,
        files: impl Into<PathBuf>,
    ) -> Self {
        let (http, postgres) = (Http::new(policy), postgres.pools().clone());
        Self { connectors: Connectors { http, postgres, duckdb, aws, files: Folder(files.into()) } }
    }
}

/// The database of a side: as a call of `duckdb` would choose it, with the memory of one for a query of the playbook, which
/// may sort.
fn duckdb_settings(side: &Side, call: &Call<'_>) -> Result<Settings, ToolError> {
    let settings = Settings::of(&side.config, call.execution_id, &data_folder())?;
    Ok(if Query::is_given(side) { settings } else { settings.of_rows() })
}

#[async_trait]
impl Tool for Transfer {
    fn kind(&self) -> &'static str {
        "transfer"
    }

    async fn call(&self, call: &Call<'_>) -> Result<Success, ToolError> {
        let plan = Plan::of(&call.config)?;
        // Both sides stop at the deadline by themselves; this is for one that does not.
        let latest = call.deadline + Duration::from_millis(TOOL_GRACE_MS / 2);
        let opened = timeout_at(latest, async {
            let source = source::open(&self.connectors, &plan, call).await?;
            let columns = source.columns();
            let target = target::open(&self.connectors, &plan, columns, call).await?;
            Ok((source, target))
        });
        let (source, target) = opened.await.unwrap_or_else(|_elapsed| Err(run::too_slow()))?;
        run::run(source, target, &plan, call).await.map(Success::of)
    }
}
