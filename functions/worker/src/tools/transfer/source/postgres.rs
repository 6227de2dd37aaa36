//! Rows of a `PostgreSQL` query: the server sends on only while rows are taken.

use async_trait::async_trait;
use tokio_postgres::types::{Kind, Type};

use super::Source;
use crate::sql::named::Style;
use crate::sql::params::Bound;
use crate::tool::{Call, ToolError};
use crate::tools::postgres::pool::Pools;
use crate::tools::postgres::read::Cursor;
use crate::tools::postgres::settings::Settings;
use crate::tools::transfer::Row;
use crate::tools::transfer::plan::Side;
use crate::tools::transfer::query::{Column, Query};

/// A query that is being read.
pub(super) struct PostgresSource {
    /// None behind the last row: the connection is back in its pool.
    cursor: Option<Cursor>,
    columns: Vec<Column>,
}

impl PostgresSource {
    /// Begins to read.
    pub(super) async fn open(
        pools: &Pools,
        side: &Side,
        call: &Call<'_>,
    ) -> Result<Self, ToolError> {
        let query = Query::of(side)?;
        let bound = Bound::of(&query.text, Style::Dollar, &query.params)?;
        let session = pools.session(&Settings::of(&side.config)?, call.deadline).await?;
        // A statement that cannot be prepared fails below, with all that is to be said about it.
        let columns = match session.client()?.prepare(&bound.text).await {
            Ok(statement) => statement
                .columns()
                .iter()
                .map(|column| Column {
                    name: column.name().to_owned(),
                    of_type: of_type(column.type_(), column.type_modifier()),
                })
                .collect(),
            Err(_) => Vec::new(),
        };
        let values = bound.values(&query.params)?;
        let cursor = Cursor::open(session, &bound.text, &values).await?;
        Ok(Self { cursor: Some(cursor), columns })
    }
}

#[async_trait]
impl Source for PostgresSource {
    async fn next(&mut self, rows_max: usize) -> Result<Vec<Row>, ToolError> {
        let Some(cursor) = &mut self.cursor else { return Ok(Vec::new()) };
        let rows = cursor.next(rows_max).await?;
        if rows.len() < rows_max
            && let Some(cursor) = self.cursor.take()
        {
            cursor.close().await;
        }
        Ok(rows)
    }

    fn columns(&self) -> &[Column] {
        &self.columns
    }
}

/// The type of DuckDB that holds all values of a type.
fn of_type(kind: &Type, modifier: i32) -> String {
    if let Kind::Array(element) = kind.kind() {
        return format!("{}[]", of_type(element, -1));
    }
    let name = match *kind {
        Type::BOOL => "BOOLEAN",
        Type::INT2 => "SMALLINT",
        Type::INT4 => "INTEGER",
        Type::INT8 => "BIGINT",
        Type::OID => "UINTEGER",
        Type::FLOAT4 => "REAL",
        Type::FLOAT8 => "DOUBLE",
        Type::NUMERIC => return decimal(modifier),
        Type::DATE => "DATE",
        Type::TIME => "TIME",
        Type::TIMESTAMP => "TIMESTAMP",
        Type::TIMESTAMPTZ => "TIMESTAMP WITH TIME ZONE",
        Type::INTERVAL => "INTERVAL",
        Type::UUID => "UUID",
        Type::JSON | Type::JSONB => "JSON",
        Type::BYTEA => "BLOB",
        _ => "VARCHAR",
    };
    name.to_owned()
}

/// Exact numbers stay exact: as many digits as the column has, as text where it has no limit.
fn decimal(modifier: i32) -> String {
    // Source: PostgreSQL, `numeric.c`: (precision << 16 | scale) + the length of a header of 4 bytes.
    let packed = modifier - 4;
    let (precision, scale) = (packed >> 16, packed & 0x7ff);
    if modifier < 4 || !(1..=38).contains(&precision) || scale > precision {
        return "VARCHAR".to_owned();
    }
    format!("DECIMAL({precision},{scale})")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_of_postgres_have_a_type_of_duckdb_that_holds_them() {
        for (kind, modifier, expect) in [
            (Type::INT4, -1, "INTEGER"),
            (Type::TEXT, -1, "VARCHAR"),
            (Type::JSONB, -1, "JSON"),
            (Type::INT8_ARRAY, -1, "BIGINT[]"),
            (Type::NUMERIC, ((10 << 16) | 2) + 4, "DECIMAL(10,2)"),
            (Type::NUMERIC, ((50 << 16) | 2) + 4, "VARCHAR"),
            (Type::NUMERIC, -1, "VARCHAR"),
            (Type::NUMERIC_ARRAY, -1, "VARCHAR[]"),
            (Type::INET, -1, "VARCHAR"),
        ] {
            assert_eq!(of_type(&kind, modifier), expect);
        }
    }
}
