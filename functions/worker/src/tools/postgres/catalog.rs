//! What a table looks like, before anything is written to it.

use serde_json::Value;
use tokio_postgres::Client;

use super::error;
use crate::save::columns::{self, ColumnType};
use crate::save::{Row, Table};
use crate::sql::identifier::{parts, quote, quote_part};
use crate::tool::{Reaction, ToolError};

/// Tables that an error names.
const SHOWN_MAX: i64 = 20;

/// A column as the server knows it.
#[derive(Clone, Debug)]
pub(super) struct Column {
    pub(super) name: String,
    /// In SQL.
    pub(super) ty: String,
    pub(super) is_json: bool,
    pub(super) is_integer: bool,
}

/// A table as the server knows it.
#[derive(Clone, Debug)]
pub(super) struct Known {
    /// Quoted, in SQL.
    pub(super) name: String,
    pub(super) columns: Vec<Column>,
}

impl Known {
    /// The column of that name; else the only one that differs in case alone.
    pub(super) fn column(&self, name: &str) -> Option<&Column> {
        let exact = self.columns.iter().find(|column| column.name == name);
        exact.or_else(|| {
            let lower = name.to_lowercase();
            let mut similar =
                self.columns.iter().filter(|column| column.name.to_lowercase() == lower);
            similar.next().filter(|_| similar.next().is_none())
        })
    }

    /// The column, or an error that names those there are.
    pub(super) fn expect(&self, name: &str, place: &str) -> Result<&Column, ToolError> {
        self.column(name).ok_or_else(|| {
            let known: Vec<_> =
                self.columns.iter().map(|column| format!("`{}`", column.name)).collect();
            ToolError::new(
                Reaction::Rejected,
                "SqlError",
                format!(
                    "the table {} at {place} has no column `{name}`; it has {}",
                    self.name,
                    known.join(", ")
                ),
            )
        })
    }
}

const COLUMNS: &str = "\
    SELECT a.attname::text, format_type(a.atttypid, a.atttypmod), \
        coalesce(nullif(t.typbasetype, 0), t.oid) IN ('json'::regtype, 'jsonb'::regtype), \
        coalesce(nullif(t.typbasetype, 0), t.oid) \
            IN ('int2'::regtype, 'int4'::regtype, 'int8'::regtype) \
    FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid \
    WHERE a.attrelid = to_regclass($1::text) AND a.attnum > 0 AND NOT a.attisdropped \
    ORDER BY a.attnum";

/// Looks a table up: as written, else as SQL reads a name without quotes; creates it if that is asked for.
pub(super) async fn table(
    client: &Client,
    place: &str,
    table: &Table,
    rows: &[Row],
) -> Result<Known, ToolError> {
    let quoted = quote(&table.name)?;
    let folded = quote(&table.name.to_lowercase())?;
    if let Some(known) = find(client, place, &quoted).await? {
        return Ok(known);
    }
    if !table.name.contains('"')
        && folded != quoted
        && let Some(known) = find(client, place, &folded).await?
    {
        return Ok(known);
    }
    if !table.create {
        return Err(missing(client, place, &table.name).await?);
    }
    let text = creation(&quoted, table, rows);
    client.batch_execute(&text).await.map_err(|error| error::statement(&error, place, &text))?;
    match find(client, place, &quoted).await? {
        Some(known) => Ok(known),
        None => Err(missing(client, place, &table.name).await?),
    }
}

async fn find(client: &Client, place: &str, quoted: &str) -> Result<Option<Known>, ToolError> {
    let failed = |error| error::statement(&error, place, COLUMNS);
    let rows = client.query(COLUMNS, &[&quoted]).await.map_err(failed)?;
    let column = |row: &tokio_postgres::Row| {
        Ok(Column {
            name: row.try_get(0)?,
            ty: row.try_get(1)?,
            is_json: row.try_get(2)?,
            is_integer: row.try_get(3)?,
        })
    };
    let columns: Vec<Column> = rows.iter().map(column).collect::<Result<_, _>>().map_err(failed)?;
    let known = Known { name: quoted.to_owned(), columns };
    Ok(Some(known).filter(|known| !known.columns.is_empty()))
}

async fn missing(client: &Client, place: &str, name: &str) -> Result<ToolError, ToolError> {
    // The longest common beginning stands for similarity: it needs no extension.
    const TABLES: &str = "SELECT n.nspname || '.' || c.relname FROM pg_class c \
        JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.relkind IN ('r', 'p', 'v', 'f') \
        AND n.nspname NOT IN ('pg_catalog', 'information_schema', 'pg_toast') \
        ORDER BY (SELECT count(*) FROM generate_series(1, 63) i \
            WHERE left(lower(c.relname), i) = left(lower($1::text), i)) DESC, 1 LIMIT $2";
    let last = parts(name)?.pop().unwrap_or_default();
    let found = client.query(TABLES, &[&last, &SHOWN_MAX]).await;
    let found = found.map_err(|error| error::statement(&error, place, TABLES))?;
    let names: Vec<String> = found
        .iter()
        .filter_map(|row| row.try_get::<_, String>(0).ok())
        .map(|name| format!("`{name}`"))
        .collect();
    let known = match names.as_slice() {
        [] => "there are no tables".to_owned(),
        names => format!("there are {}", names.join(", ")),
    };
    Ok(ToolError::new(
        Reaction::Rejected,
        "SqlError",
        format!(
            "the table `{name}` does not exist at {place}; {known}; create it first, or write \
             `create: true`"
        ),
    ))
}

/// `CREATE TABLE` with the columns of the rows; keys make the primary key.
fn creation(quoted: &str, table: &Table, rows: &[Row]) -> String {
    let column = |(name, kind): &(String, ColumnType)| {
        let ty = match kind {
            ColumnType::Boolean => "boolean",
            ColumnType::Integer => "bigint",
            ColumnType::Float => "double precision",
            ColumnType::Big => "numeric",
            ColumnType::Text => "text",
            ColumnType::Json => "jsonb",
        };
        format!("{} {ty}", quote_part(name))
    };
    let mut columns: Vec<String> = columns::of(rows).iter().map(column).collect();
    if !table.keys.is_empty() {
        let keys: Vec<String> = table.keys.iter().map(|key| quote_part(key)).collect();
        columns.push(format!("PRIMARY KEY ({})", keys.join(", ")));
    }
    format!("CREATE TABLE IF NOT EXISTS {quoted} ({})", columns.join(", "))
}

/// Whether a text somewhere in a value has the character that no text may have.
pub(super) fn has_nul(value: &Value) -> bool {
    match value {
        Value::String(text) => text.contains('\0'),
        Value::Array(values) => values.iter().any(has_nul),
        Value::Object(fields) => {
            fields.iter().any(|(key, value)| key.contains('\0') || has_nul(value))
        }
        _ => false,
    }
}
