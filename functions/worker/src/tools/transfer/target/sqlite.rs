//! Each chunk is one transaction on a SQLite table.

use async_trait::async_trait;
use tokio::time::Instant;

use super::Target;
use crate::save::{Mode, Table};
use crate::tool::{Call, ToolError};
use crate::tools::sqlite::place::{Place, opened};
use crate::tools::sqlite::write;
use crate::tools::transfer::Row;
use crate::tools::transfer::plan::Side;

/// A table that takes chunks.
pub(super) struct SqliteTarget {
    place: Place,
    table: Table,
    deadline: Instant,
}

impl SqliteTarget {
    /// A target whose file is opened for each chunk: nobody waits for its lock longer than that.
    pub(super) fn new(side: &Side, table: Table, call: &Call<'_>) -> Result<Self, ToolError> {
        let place = Place::of(&Call { config: side.config.clone(), ..call.clone() })?;
        Ok(Self { place, table, deadline: call.deadline })
    }
}

#[async_trait]
impl Target for SqliteTarget {
    async fn write(&mut self, rows: &[Row]) -> Result<u64, ToolError> {
        let (table, rows, deadline) = (self.table.clone(), rows.to_vec(), self.deadline);
        let write = move |base: &mut _| write::rows(base, &table, &rows, deadline);
        let changed = opened(self.place.clone(), deadline, write).await?;
        if self.table.mode == Mode::Overwrite {
            // The first chunk has emptied the table.
            self.table.mode = Mode::Append;
        }
        Ok(changed)
    }
}
