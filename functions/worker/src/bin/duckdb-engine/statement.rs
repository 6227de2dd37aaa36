//! One statement: bound, run, and its rows given out a few at a time.

use duckdb::arrow::array::{Array as _, StructArray};
use duckdb::core::LogicalTypeHandle;
use duckdb::{Connection, Statement, params_from_iter};
use engine_core::limits::DUCKDB_CHUNK_BYTES;
use serde_json::Value;
use worker::tools::duckdb::protocol::{Failure, Table};

use crate::failure::{failed, of};
use crate::values::{self, is_native, weight};

/// A statement that has been started, and gives out its rows.
pub(crate) struct Running<'a> {
    statement: Statement<'a>,
    columns: Vec<String>,
    /// Which columns hold JSON, which DuckDB keeps as text.
    is_json: Vec<bool>,
    /// Whether it returns rows, and does not only say how many it has changed.
    has_rows: bool,
    chunk: Option<StructArray>,
    row: usize,
}

/// Runs a statement to its end.
pub(crate) fn execute(
    connection: &Connection,
    sql: &str,
    params: &Value,
    bytes_max: usize,
) -> Result<Table, Failure> {
    let mut running = start(connection, sql, params)?;
    let mut table = running.head();
    let mut bytes = 0;
    loop {
        let rows = running.next(1_024)?;
        if rows.is_empty() {
            break;
        }
        bytes += rows.iter().flatten().map(weight).sum::<usize>();
        if bytes > bytes_max {
            let text = format!("more than {bytes_max} bytes of rows");
            return Err(failed("TooLarge", text));
        }
        table.rows.extend(rows);
    }
    if !running.has_rows {
        let count = table.rows.first().and_then(|row| row.first()).and_then(Value::as_u64);
        table = Table { changed: Some(count.unwrap_or(0)), ..Table::default() };
    }
    Ok(table)
}

/// Begins a statement.
pub(crate) fn start<'a>(
    connection: &'a Connection,
    sql: &str,
    params: &Value,
) -> Result<Running<'a>, Failure> {
    let sql = sql.trim().trim_end_matches(';');
    let is_query = is_query(sql);
    let (statement, columns) = match begin(connection, sql, params) {
        Ok(begun) => begun,
        // Rows that the client library cannot take: as text, if it is a query.
        Err(failure) if is_query && failure.message.contains("decoding Variant columns") => {
            let all = format!("SELECT CAST(COLUMNS(*) AS VARCHAR) FROM ({sql}\n)");
            let (statement, columns) = begin(connection, &all, params)?;
            return Ok(Running::new(statement, columns, true));
        }
        Err(failure) => return Err(failure),
    };
    let says = matches!(columns.as_slice(), [only] if only == "Count" || only == "Success");
    let has_rows = is_query || !(says || columns.is_empty());
    let types: Vec<LogicalTypeHandle> =
        (0..columns.len()).map(|index| statement.column_logical_type(index)).collect();
    if !is_query || types.iter().all(is_native) {
        return Ok(Running::new(statement, columns, has_rows));
    }
    drop(statement);
    match begin(connection, &as_text(sql, &columns, &types), params) {
        Ok((statement, _)) => Ok(Running::new(statement, columns, true)),
        // `EXPLAIN` and its like are no part of a query: decoded as well as can be.
        Err(_) => begin(connection, sql, params)
            .map(|(statement, columns)| Running::new(statement, columns, true)),
    }
}

/// Words that begin a statement which returns rows and changes nothing.
const QUERIES: [&str; 12] = [
    "select",
    "from",
    "with",
    "values",
    "table",
    "pivot",
    "unpivot",
    "show",
    "describe",
    "summarize",
    "explain",
    "pragma",
];

/// Whether a statement only reads; a `WITH` in front of a change does not.
fn is_query(sql: &str) -> bool {
    let mut words = sql
        .lines()
        .map(|line| line.split("--").next().unwrap_or_default())
        .flat_map(|line| line.split(|c: char| !(c == '_' || c.is_alphanumeric())))
        .filter(|word| !word.is_empty())
        .map(str::to_ascii_lowercase);
    let Some(first) = words.next() else { return false };
    let changes = |word: String| ["insert", "update", "delete", "merge"].contains(&word.as_str());
    QUERIES.contains(&first.as_str()) && !(first == "with" && words.any(changes))
}

/// The query with text in the place of what does not arrive whole.
fn as_text(sql: &str, columns: &[String], types: &[LogicalTypeHandle]) -> String {
    let selected = columns.iter().zip(types).enumerate().map(|(index, (column, of_type))| {
        let name = format!("\"{}\"", column.replace('"', "\"\""));
        if is_native(of_type) {
            format!("c{index} AS {name}")
        } else {
            format!("CAST(c{index} AS VARCHAR) AS {name}")
        }
    });
    let selected = selected.collect::<Vec<_>>().join(", ");
    let names = (0..columns.len()).map(|index| format!("c{index}")).collect::<Vec<_>>().join(", ");
    format!("SELECT {selected} FROM ({sql}\n) AS t({names})")
}

fn begin<'a>(
    connection: &'a Connection,
    sql: &str,
    params: &Value,
) -> Result<(Statement<'a>, Vec<String>), Failure> {
    let mut statement = connection.prepare(sql).map_err(of)?;
    let bound = bound(&statement, params)?;
    let schema = statement.stream_arrow(params_from_iter(bound)).map_err(of)?.get_schema();
    let columns = unique(schema.fields().iter().map(|field| field.name().clone()));
    Ok((statement, columns))
}

/// The values of a statement's parameters, in their order.
fn bound(statement: &Statement<'_>, params: &Value) -> Result<Vec<duckdb::types::Value>, Failure> {
    let missing = |name: &str| {
        failed("Parameter", format!("the statement uses `${name}`, and `params` has no such value"))
    };
    (1..=statement.parameter_count())
        .map(|index| {
            let name =
                statement.parameter_name(index).map_err(|_unnamed| missing(&index.to_string()))?;
            let value = match (params, name.parse::<usize>()) {
                (Value::Array(list), Ok(number)) => list.get(number.wrapping_sub(1)),
                (Value::Object(map), _) => map.get(&name),
                _ => None,
            };
            value.map(values::to_duckdb).ok_or_else(|| missing(&name))
        })
        .collect()
}

/// Names that differ: `a`, `a_2`, `a_3`.
fn unique(names: impl Iterator<Item = String>) -> Vec<String> {
    let mut taken: Vec<String> = Vec::new();
    for name in names {
        let mut free = name.clone();
        let mut number = 1;
        while taken.contains(&free) {
            number += 1;
            free = format!("{name}_{number}");
        }
        taken.push(free);
    }
    taken
}

impl<'a> Running<'a> {
    fn new(statement: Statement<'a>, columns: Vec<String>, has_rows: bool) -> Self {
        let is_json = (0..columns.len()).map(|index| {
            statement.column_logical_type(index).get_alias().as_deref() == Some("JSON")
        });
        let is_json = is_json.collect();
        Self { statement, columns, is_json, has_rows, chunk: None, row: 0 }
    }

    /// The columns, without rows.
    pub(crate) fn head(&self) -> Table {
        Table { columns: self.columns.clone(), rows: Vec::new(), changed: None }
    }

    /// The next rows, at most `rows_max`; none after the last one.
    pub(crate) fn next(&mut self, rows_max: usize) -> Result<Vec<Vec<Value>>, Failure> {
        let mut rows: Vec<Vec<Value>> = Vec::new();
        let mut bytes = 0;
        while rows.len() < rows_max.max(1) && bytes < DUCKDB_CHUNK_BYTES {
            let left = self.chunk.as_ref().filter(|chunk| self.row < chunk.len());
            let Some(chunk) = left else {
                self.chunk = self.statement.step().map_err(of)?;
                self.row = 0;
                if self.chunk.is_none() {
                    break;
                }
                continue;
            };
            let row = chunk.columns().iter().zip(&self.is_json).map(|(column, is_json)| {
                let value = values::to_json(column, self.row, 0);
                if *is_json { values::parsed(value) } else { value }
            });
            let row: Vec<Value> = row.collect();
            bytes += row.iter().map(weight).sum::<usize>();
            rows.push(row);
            self.row += 1;
        }
        Ok(rows)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_is_told_from_a_change() {
        #[rustfmt::skip]
        let cases = [
            ("SELECT 1", true), ("-- a\n( SELECT 1)", true), ("FROM t", true),
            ("WITH a AS (SELECT 1) SELECT 1", true), ("WITH a AS (SELECT 1) INSERT INTO t FROM a", false),
            ("INSERT INTO t SELECT 1", false), ("CREATE TABLE t AS SELECT 1", false), ("", false),
        ];
        for (sql, expect) in cases {
            assert_eq!(is_query(sql), expect, "{sql}");
        }
    }

    #[test]
    fn columns_of_one_name_stay_apart() {
        let names = ["a", "a", "b", "a_1", "a"].map(str::to_owned);
        assert_eq!(unique(names.into_iter()), ["a", "a_2", "b", "a_1", "a_3"]);
    }
}
