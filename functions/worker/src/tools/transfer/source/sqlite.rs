//! Rows of a SQLite query, from a thread that is a few chunks ahead.

use async_trait::async_trait;
use tokio::sync::mpsc::Receiver;

use super::Source;
use crate::sql::params::Params;
use crate::tool::{Call, ToolError};
use crate::tools::sqlite::place::Place;
use crate::tools::sqlite::read::chunks;
use crate::tools::transfer::Row;
use crate::tools::transfer::plan::Side;
use crate::tools::transfer::query::Query;

/// A query that is being read.
pub(super) struct SqliteSource(Receiver<Result<Vec<Row>, ToolError>>);

impl SqliteSource {
    /// Begins to read, `chunk_rows` at a time.
    pub(super) fn open(side: &Side, chunk_rows: usize, call: &Call<'_>) -> Result<Self, ToolError> {
        let query = Query::of(side)?;
        if query.params != Params::None {
            return Err(ToolError::input(
                "a SQLite source takes no `params`; write the values into `query`, or read from a view",
            ));
        }
        let place = Place::of(&Call { config: side.config.clone(), ..call.clone() })?;
        Ok(Self(chunks(place, query.text, chunk_rows, call.deadline)))
    }
}

#[async_trait]
impl Source for SqliteSource {
    async fn next(&mut self, _rows_max: usize) -> Result<Vec<Row>, ToolError> {
        self.0.recv().await.unwrap_or_else(|| Ok(Vec::new()))
    }
}
