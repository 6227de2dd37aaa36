//! Each chunk is one transaction on a `PostgreSQL` table; with `atomic: true`, all chunks are one.

use async_trait::async_trait;
use tokio_postgres::Client;

use super::Target;
use crate::save::{Mode, Table};
use crate::tool::{Call, Reaction, ToolError};
use crate::tools::postgres::pool::{Pools, Session};
use crate::tools::postgres::settings::Settings;
use crate::tools::postgres::transaction::{begin, commit, roll_back};
use crate::tools::postgres::write;
use crate::tools::transfer::Row;
use crate::tools::transfer::plan::Side;

/// A table that takes chunks. Dropped before its end, its connection is closed, which undoes what is open.
pub(super) struct PostgresTarget {
    session: Session,
    table: Table,
    /// None before the first chunk.
    opened: Option<write::Target>,
    /// Whether an `overwrite` has still to empty the table.
    clears: bool,
    is_atomic: bool,
}

impl PostgresTarget {
    /// Connects.
    pub(super) async fn open(
        pools: &Pools,
        side: &Side,
        table: Table,
        call: &Call<'_>,
    ) -> Result<Self, ToolError> {
        let is_atomic = side.flag("atomic");
        let session = pools.session(&Settings::of(&side.config)?, call.deadline).await?;
        if is_atomic {
            begin(session.client()?, session.place()).await?;
        }
        let clears = table.mode == Mode::Overwrite;
        Ok(Self { session, table, opened: None, clears, is_atomic })
    }

    /// What one chunk is undone to: a transaction of its own, or a point in that of all chunks.
    async fn begin(&self, client: &Client) -> Result<(), ToolError> {
        if self.is_atomic {
            return self.point(client, "SAVEPOINT chunk").await;
        }
        begin(client, self.session.place()).await
    }

    async fn commit(&self, client: &Client) -> Result<(), ToolError> {
        if self.is_atomic {
            return self.point(client, "RELEASE SAVEPOINT chunk").await;
        }
        commit(client, self.session.place()).await
    }

    async fn roll_back(&self, client: &Client) {
        if self.is_atomic {
            // A connection that cannot do that is lost, which undoes everything.
            let _ = self.point(client, "ROLLBACK TO SAVEPOINT chunk").await;
        } else {
            roll_back(client).await;
        }
    }

    async fn point(&self, client: &Client, sql: &str) -> Result<(), ToolError> {
        client.batch_execute(sql).await.map_err(|error| {
            let message = format!("PostgreSQL at {}: `{sql}`: {error}", self.session.place());
            ToolError::new(Reaction::Transient, "ConnectionError", message)
        })
    }

    async fn write_open(&self, target: &write::Target, rows: &[Row]) -> Result<u64, ToolError> {
        if self.clears {
            target.clear_within(&self.session).await?;
        }
        target.write_within(&self.session, rows).await
    }
}

#[async_trait]
impl Target for PostgresTarget {
    async fn write(&mut self, rows: &[Row]) -> Result<u64, ToolError> {
        let target = match self.opened.take() {
            Some(target) => target,
            None => write::Target::open(&self.session, &self.table, rows).await?,
        };
        let client = self.session.client()?;
        self.begin(client).await?;
        let written = self.write_open(&target, rows).await;
        match &written {
            Ok(_) => self.commit(client).await?,
            Err(_) => self.roll_back(client).await,
        }
        self.clears &= written.is_err();
        self.opened = Some(target);
        written
    }

    async fn probe(&mut self, rows: &[Row]) -> Option<Result<(), ToolError>> {
        let (target, client) = (self.opened.as_ref()?, self.session.client().ok()?);
        self.begin(client).await.ok()?;
        let tried = self.write_open(target, rows).await.map(drop);
        self.roll_back(client).await;
        Some(tried)
    }

    fn keeps(&self) -> bool {
        !self.is_atomic
    }

    async fn finish(self: Box<Self>) -> Result<Option<u64>, ToolError> {
        if self.is_atomic {
            commit(self.session.client()?, self.session.place()).await?;
        }
        self.session.finish().await;
        Ok(None)
    }
}
