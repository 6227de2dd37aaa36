//! Rows of a DuckDB query; they stay at DuckDB until they are asked for.

use async_trait::async_trait;
use serde_json::Value;

use super::Source;
use crate::sql::named::Style;
use crate::sql::params::{Bound, Params};
use crate::tool::{Call, ToolError};
use crate::tools::duckdb::client::{Client, Cursor};
use crate::tools::duckdb::settings::Settings;
use crate::tools::transfer::Row;
use crate::tools::transfer::query::{Column, Query};

/// A query that is being read.
pub(in super::super) struct DuckDbSource {
    cursor: Cursor,
    columns: Vec<Column>,
}

impl DuckDbSource {
    /// Begins to read.
    pub(in super::super) async fn open(
        client: &Client,
        settings: &Settings,
        query: &Query,
        call: &Call<'_>,
    ) -> Result<Self, ToolError> {
        let session = client.open(settings, call.deadline).await?;
        let bound = Bound::of(&query.text, Style::Dollar, &query.params)?;
        let params = match &query.params {
            // `$name` in the text: DuckDB takes the map itself.
            Params::Named(fields) if bound.text == query.text => Value::Object(fields.clone()),
            params => Value::Array(bound.values(params)?),
        };
        let described = session.run(&format!("DESCRIBE {}", bound.text), &params).await?;
        let column = |row: Vec<Value>| {
            let mut texts = row.into_iter().filter_map(|value| value.as_str().map(str::to_owned));
            Some(Column { name: texts.next()?, of_type: texts.next()? })
        };
        let columns = described.rows.into_iter().filter_map(column).collect();
        Ok(Self { cursor: session.read(&bound.text, &params).await?, columns })
    }
}

#[async_trait]
impl Source for DuckDbSource {
    async fn next(&mut self, rows_max: usize) -> Result<Vec<Row>, ToolError> {
        self.cursor.next(rows_max).await
    }

    fn columns(&self) -> &[Column] {
        &self.columns
    }
}
