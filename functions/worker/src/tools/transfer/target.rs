//! Where rows go: a chunk is written whole or not at all.

mod duckdb;
mod file;
mod http;
mod postgres;
mod s3;
mod sqlite;

use async_trait::async_trait;

pub(super) use self::duckdb::DuckDbTarget;
pub(super) use self::file::beside;
use self::file::{FileTarget, overwrites};
use self::http::HttpTarget;
use self::postgres::PostgresTarget;
use self::s3::S3Target;
use self::sqlite::SqliteTarget;
use super::object::Object;
use super::parquet::{ParquetTarget, Place, is_parquet};
use super::plan::{Kind, Plan};
use super::query::Column;
use super::{Connectors, Row, duckdb_settings};
use crate::save::Table;
use crate::tool::{Call, ToolError};

/// A target that has been opened.
#[async_trait]
pub(super) trait Target: Send {
    /// Writes one chunk; how many rows the other side counts as changed.
    async fn write(&mut self, rows: &[Row]) -> Result<u64, ToolError>;

    /// Whether the rows could be written, without writing them; none if that cannot be found out.
    async fn probe(&mut self, _rows: &[Row]) -> Option<Result<(), ToolError>> {
        None
    }

    /// Whether chunks that are written stay if a later one fails.
    fn keeps(&self) -> bool {
        true
    }

    /// All chunks are written: makes them visible; how many bytes they are, if that is known.
    async fn finish(self: Box<Self>) -> Result<Option<u64>, ToolError> {
        Ok(None)
    }

    /// The transfer has failed: takes back what nobody will see.
    async fn abandon(self: Box<Self>) {}
}

/// Opens the target of a plan; `columns` are the source's, if it knows them.
pub(super) async fn open<'a>(
    connectors: &'a Connectors,
    plan: &Plan,
    columns: &[Column],
    call: &Call<'a>,
) -> Result<Box<dyn Target + 'a>, ToolError> {
    let side = &plan.target;
    match side.kind {
        Kind::Http => Ok(Box::new(HttpTarget::new(&connectors.http, side, call)?)),
        Kind::Postgres => {
            let table = table(plan)?;
            Ok(Box::new(PostgresTarget::open(&connectors.postgres, side, table, call).await?))
        }
        Kind::DuckDb => {
            let (table, columns) = (table(plan)?, plan.mapping.typed(columns));
            let settings = duckdb_settings(side, call)?;
            let target = DuckDbTarget::open(&connectors.duckdb, &settings, table, columns, call);
            Ok(Box::new(target.await?))
        }
        Kind::File => {
            overwrites(side)?;
            let path = connectors.files.file(side)?;
            if is_parquet(side) {
                return parquet(connectors, plan, columns, Place::file(path)?, call).await;
            }
            Ok(Box::new(FileTarget::open(path, side)?))
        }
        Kind::S3 => {
            overwrites(side)?;
            let object = Object::of(&connectors.aws, side, call)?;
            if is_parquet(side) {
                return parquet(connectors, plan, columns, Place::object(&object)?, call).await;
            }
            Ok(Box::new(S3Target::new(&object, side)?))
        }
        Kind::Sqlite => Ok(Box::new(SqliteTarget::new(side, table(plan)?, call)?)),
    }
}

async fn parquet<'a>(
    connectors: &'a Connectors,
    plan: &Plan,
    columns: &[Column],
    place: Place,
    call: &Call<'a>,
) -> Result<Box<dyn Target + 'a>, ToolError> {
    let columns = plan.mapping.typed(columns);
    let target = ParquetTarget::open(&connectors.duckdb, place, columns, plan.chunk_rows, call);
    Ok(Box::new(target.await?))
}

/// The table of the target; one statement takes a whole chunk.
fn table(plan: &Plan) -> Result<Table, ToolError> {
    if plan.target.text("table").is_none() {
        return Err(ToolError::input(format!(
            "`target` of type {} needs `table`",
            plan.target.kind.name()
        )));
    }
    let mut table = Table::of(&plan.target.config)?;
    table.batch_rows = plan.chunk_rows;
    Ok(table)
}
