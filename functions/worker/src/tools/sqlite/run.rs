//! Statements, one after the other.

use engine_core::limits::RESULT_BYTES_MAX;
use rusqlite::{Connection, Statement};
use serde_json::Value;
use tokio::time::Instant;

use super::failure::{failed, too_late};
use super::values::{parameter, row};
use crate::sql::named::Style;
use crate::sql::params::{Bound, Params};
use crate::sql::{StatementResult, unique_columns};
use crate::tool::{Reaction, ToolError};

/// Runs each statement for itself; a failed one does not stop the later ones.
pub(super) fn each(
    base: &Connection,
    statements: &[String],
    params: &Params,
    deadline: Instant,
) -> Vec<StatementResult> {
    let mut bytes_left = RESULT_BYTES_MAX;
    let mut results = Vec::new();
    for statement in statements {
        let result = one(base, statement, params, deadline, &mut bytes_left);
        results.push(result.unwrap_or_else(StatementResult::Failed));
    }
    results
}

/// Runs all statements in one transaction; the first that fails undoes the others.
pub(super) fn all_or_nothing(
    base: &mut Connection,
    statements: &[String],
    params: &Params,
    deadline: Instant,
) -> Result<Vec<StatementResult>, ToolError> {
    let path = path(base);
    let transaction = base.transaction().map_err(|error| failed(None, &path, &error))?;
    let mut bytes_left = RESULT_BYTES_MAX;
    let mut results = Vec::new();
    for (index, statement) in statements.iter().enumerate() {
        let result = one(&transaction, statement, params, deadline, &mut bytes_left);
        results.push(result.map_err(|error| {
            let message = format!("command_{index}: {}; nothing was kept", error.message());
            ToolError::new(error.reaction(), error.kind(), message)
        })?);
    }
    transaction.commit().map_err(|error| failed(None, &path, &error))?;
    Ok(results)
}

/// Runs the statements once for each item, all in one transaction; how many rows changed.
pub(super) fn statements(
    base: &mut Connection,
    statements: &[String],
    items: &[Params],
    deadline: Instant,
) -> Result<u64, ToolError> {
    let path = path(base);
    let transaction = base.transaction().map_err(|error| failed(None, &path, &error))?;
    let mut affected: u64 = 0;
    for (index, item) in items.iter().enumerate() {
        for statement in statements {
            let mut bytes_left = RESULT_BYTES_MAX;
            let result = one(&transaction, statement, item, deadline, &mut bytes_left);
            let result = result.map_err(|error| {
                let message = format!("item {index}: {}; nothing was saved", error.message());
                ToolError::new(error.reaction(), error.kind(), message)
            })?;
            if let StatementResult::Done { affected: rows } = result {
                affected = affected.saturating_add(rows);
            }
        }
    }
    transaction.commit().map_err(|error| failed(None, &path, &error))?;
    Ok(affected)
}

fn one(
    base: &Connection,
    text: &str,
    params: &Params,
    deadline: Instant,
    bytes_left: &mut usize,
) -> Result<StatementResult, ToolError> {
    // An interrupt stops what runs, not what comes next.
    if Instant::now() >= deadline {
        return Err(too_late());
    }
    let path = path(base);
    let failed = |error: rusqlite::Error| failed(Some(base), &path, &error);
    let bound = Bound::of(text, Style::Question, params)?;
    let mut statement = base.prepare(&bound.text).map_err(failed)?;
    bind(&mut statement, &bound.values(params)?, text)?;
    if statement.column_count() == 0 {
        let affected = statement.raw_execute().map_err(failed)?;
        return Ok(StatementResult::Done { affected: u64::try_from(affected).unwrap_or(0) });
    }
    let columns = unique_columns(statement.column_names());
    let mut found = Vec::new();
    let mut rows = statement.raw_query();
    while let Some(next) = rows.next().map_err(failed)? {
        let (row, bytes) = row(next, &columns).map_err(failed)?;
        *bytes_left = bytes_left.checked_sub(bytes).ok_or_else(|| too_much(found.len()))?;
        found.push(Value::Object(row));
    }
    Ok(StatementResult::Rows { columns, rows: found })
}

/// Gives a statement its values: by number for `$1` and `?1`, else in order.
fn bind(statement: &mut Statement<'_>, values: &[Value], text: &str) -> Result<(), ToolError> {
    let places = statement.parameter_count();
    for place in 1..=places {
        let number = statement.parameter_name(place).and_then(|name| name.get(1..)?.parse().ok());
        let number: usize = number.unwrap_or(place);
        let value = number.checked_sub(1).and_then(|index| values.get(index)).ok_or_else(|| {
            ToolError::input(format!(
                "`{}` has a place for value {number}, and `params` has {}; give one value for each \
                 `$1`, or a map for `:name`",
                text.chars().take(80).collect::<String>(),
                values.len()
            ))
        })?;
        statement.raw_bind_parameter(place, parameter(value)).map_err(|error| {
            ToolError::input(format!("value {number} of `params` cannot be bound: {error}"))
        })?;
    }
    Ok(())
}

fn too_much(rows: usize) -> ToolError {
    let message = format!(
        "the result has more than {} MiB after {rows} rows; add `LIMIT`, or move the rows with \
         `transfer`",
        RESULT_BYTES_MAX >> 20
    );
    ToolError::new(Reaction::Rejected, "ResultError", message)
}

pub(super) fn path(base: &Connection) -> String {
    base.path().filter(|path| !path.is_empty()).unwrap_or(":memory:").to_owned()
}
