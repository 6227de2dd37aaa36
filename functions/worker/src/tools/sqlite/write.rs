//! Rows into a table.

use rusqlite::{Connection, params_from_iter};
use serde_json::Value;
use tokio::time::Instant;

use super::failure::{failed, too_late};
use super::run::path;
use super::values::parameter;
use crate::save::columns::{self, ColumnType};
use crate::save::rows::batches;
use crate::save::{Mode, Row, Table};
use crate::sql::identifier::{quote, quote_part};
use crate::tool::ToolError;

/// Writes the rows in one transaction, all or none; how many rows of the table changed.
///
/// # Errors
/// Those of the database; for an unknown table or column with what there is.
pub(crate) fn rows(
    base: &mut Connection,
    table: &Table,
    rows: &[Row],
    deadline: Instant,
) -> Result<u64, ToolError> {
    let path = path(base);
    let transaction = base.transaction().map_err(|error| failed(None, &path, &error))?;
    let affected = written(&transaction, table, rows, deadline)?;
    transaction.commit().map_err(|error| failed(None, &path, &error))?;
    Ok(affected)
}

fn written(
    base: &Connection,
    table: &Table,
    rows: &[Row],
    deadline: Instant,
) -> Result<u64, ToolError> {
    let path = path(base);
    let failed = |error: rusqlite::Error| failed(Some(base), &path, &error);
    let name = quote(&table.name)?;
    if table.create && !rows.is_empty() {
        base.execute(&creation(&name, table, rows), []).map_err(failed)?;
    }
    if table.mode == Mode::Overwrite {
        base.execute(&format!("DELETE FROM {name}"), []).map_err(failed)?;
    }
    let mut affected: u64 = 0;
    let mut row_number = 0;
    for batch in batches(rows, table.batch_rows) {
        let Some(first) = batch.first() else { continue };
        let (text, order) = statement(&name, table, first);
        let mut statement = base.prepare(&text).map_err(failed)?;
        for row in batch {
            if Instant::now() >= deadline {
                return Err(too_late());
            }
            let values = order.iter().map(|column| row.get(column).unwrap_or(&Value::Null));
            let done = statement.execute(params_from_iter(values.map(parameter)));
            let changed = done.map_err(|error| at_row(row_number, &failed(error)))?;
            affected = affected.saturating_add(u64::try_from(changed).unwrap_or(0));
            row_number += 1;
        }
    }
    Ok(affected)
}

fn at_row(number: usize, error: &ToolError) -> ToolError {
    let message = format!("row {number}: {}; nothing was saved", error.message());
    ToolError::new(error.reaction(), error.kind(), message)
}

/// The statement for rows with these columns, and the columns in the order of its values.
fn statement(name: &str, table: &Table, row: &Row) -> (String, Vec<String>) {
    let columns: Vec<String> = row.keys().cloned().collect();
    let others: Vec<&String> = columns.iter().filter(|name| !table.keys.contains(name)).collect();
    let list =
        |names: &[String]| names.iter().map(|name| quote_part(name)).collect::<Vec<_>>().join(", ");
    if table.mode == Mode::Update {
        let set = others.iter().map(|column| format!("{} = ?", quote_part(column)));
        let set = set.collect::<Vec<_>>().join(", ");
        let keys = table.keys.iter().map(|key| format!("{} IS ?", quote_part(key)));
        let keys = keys.collect::<Vec<_>>().join(" AND ");
        // Nothing but keys: nothing to change, and the statement still counts the rows.
        let set = if set.is_empty() { keys_as_they_are(table) } else { set };
        let order = others.into_iter().chain(&table.keys).cloned().collect();
        return (format!("UPDATE {name} SET {set} WHERE {keys}"), order);
    }
    let places = vec!["?"; columns.len()].join(", ");
    let mut text = format!("INSERT INTO {name} ({}) VALUES ({places})", list(&columns));
    if table.mode == Mode::Upsert {
        let set = others.iter().map(|column| format!("{0} = excluded.{0}", quote_part(column)));
        let set = set.collect::<Vec<_>>().join(", ");
        let action =
            if set.is_empty() { "NOTHING".to_owned() } else { format!("UPDATE SET {set}") };
        text = format!("{text} ON CONFLICT ({}) DO {action}", list(&table.keys));
    }
    (text, columns)
}

fn keys_as_they_are(table: &Table) -> String {
    let keys = table.keys.iter().map(|key| format!("{0} = {0}", quote_part(key)));
    keys.collect::<Vec<_>>().join(", ")
}

fn creation(name: &str, table: &Table, rows: &[Row]) -> String {
    let columns = columns::of(rows).into_iter().map(|(column, kind)| {
        let kind = match kind {
            ColumnType::Boolean | ColumnType::Integer => "INTEGER",
            ColumnType::Float => "REAL",
            ColumnType::Big | ColumnType::Text | ColumnType::Json => "TEXT",
        };
        format!("{} {kind}", quote_part(&column))
    });
    let mut parts: Vec<String> = columns.collect();
    if !table.keys.is_empty() {
        let keys: Vec<_> = table.keys.iter().map(|key| quote_part(key)).collect();
        parts.push(format!("PRIMARY KEY ({})", keys.join(", ")));
    }
    format!("CREATE TABLE IF NOT EXISTS {name} ({})", parts.join(", "))
}
