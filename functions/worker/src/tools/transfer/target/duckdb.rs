//! Each chunk is one transaction on a DuckDB table.

use async_trait::async_trait;
use serde_json::Value;

use super::Target;
use crate::save::{Mode, Table};
use crate::sql::identifier::{quote, quote_part};
use crate::tool::{Call, ToolError};
use crate::tools::duckdb::client::{Client, Session};
use crate::tools::duckdb::settings::Settings;
use crate::tools::duckdb::write;
use crate::tools::transfer::Row;
use crate::tools::transfer::query::Column;

/// A table that takes chunks.
pub(in super::super) struct DuckDbTarget {
    pub(in super::super) session: Session,
    table: Table,
    /// The columns that a table gets if it is created; empty where only the rows tell.
    columns: Vec<Column>,
    /// None before the first chunk.
    opened: Option<write::Target>,
    is_cleared: bool,
}

impl DuckDbTarget {
    /// A target in the database that `settings` name.
    pub(in super::super) async fn open(
        client: &Client,
        settings: &Settings,
        table: Table,
        columns: Vec<Column>,
        call: &Call<'_>,
    ) -> Result<Self, ToolError> {
        let session = client.open(settings, call.deadline).await?;
        Ok(Self { session, table, columns, opened: None, is_cleared: false })
    }

    async fn run(&self, sql: &str) -> Result<(), ToolError> {
        self.session.run(sql, &Value::Null).await.map(drop)
    }

    /// The table as it is; created with the types of the source if that is asked.
    async fn table(&mut self, rows: &[Row]) -> Result<write::Target, ToolError> {
        if let Some(opened) = &self.opened {
            return Ok(opened.clone());
        }
        if self.table.create && !self.columns.is_empty() {
            self.run(&creation(&self.table, &self.columns)?).await?;
            let table = Table { create: false, ..self.table.clone() };
            return write::Target::of(&self.session, &table, rows).await;
        }
        write::Target::of(&self.session, &self.table, rows).await
    }

    async fn write_open(&mut self, rows: &[Row]) -> Result<(write::Target, u64), ToolError> {
        let table = self.table(rows).await?;
        if self.table.mode == Mode::Overwrite && !self.is_cleared {
            table.clear(&self.session).await?;
        }
        let changed = table.write(&self.session, rows).await?;
        Ok((table, changed))
    }
}

#[async_trait]
impl Target for DuckDbTarget {
    async fn write(&mut self, rows: &[Row]) -> Result<u64, ToolError> {
        self.run("BEGIN").await?;
        match self.write_open(rows).await {
            Ok((table, changed)) => {
                self.run("COMMIT").await?;
                (self.opened, self.is_cleared) = (Some(table), true);
                Ok(changed)
            }
            Err(error) => {
                // A session that is lost has rolled back already.
                let _ = self.run("ROLLBACK").await;
                Err(error)
            }
        }
    }

    async fn probe(&mut self, rows: &[Row]) -> Option<Result<(), ToolError>> {
        self.run("BEGIN").await.ok()?;
        let tried = self.write_open(rows).await.map(drop);
        self.run("ROLLBACK").await.ok()?;
        Some(tried)
    }
}

/// Creates a table with the types of the source; the keys of an upsert become its primary key.
fn creation(table: &Table, columns: &[Column]) -> Result<String, ToolError> {
    let mut parts: Vec<String> = columns
        .iter()
        .map(|column| format!("{} {}", quote_part(&column.name), column.of_type))
        .collect();
    if !table.keys.is_empty() {
        let keys: Vec<_> = table.keys.iter().map(|key| quote_part(key)).collect();
        parts.push(format!("PRIMARY KEY ({})", keys.join(", ")));
    }
    Ok(format!("CREATE TABLE IF NOT EXISTS {} ({})", quote(&table.name)?, parts.join(", ")))
}
