//! What a sink writes to a table: rows with a mode, or statements with values.

use engine_core::limits::{SAVE_BATCH_ROWS_DEFAULT, SAVE_BATCH_ROWS_MAX};
use serde_json::{Map, Value, json};

use crate::sql::params::Params;
use crate::sql::{self, has_commands};
use crate::tool::{Call, Success, ToolError};

pub(crate) mod columns;
pub(crate) mod rows;

/// One row: a map from column to value.
pub(crate) type Row = Map<String, Value>;

/// How rows meet those that are there.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Mode {
    /// Adds rows (`append`, `insert`).
    Append,
    /// Replaces all rows.
    Overwrite,
    /// Changes the rows that have the same keys; others are left out.
    Update,
    /// Changes the rows that have the same keys, and adds the others.
    Upsert,
}

impl Mode {
    /// As a playbook writes it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Append => "append",
            Self::Overwrite => "overwrite",
            Self::Update => "update",
            Self::Upsert => "upsert",
        }
    }
}

/// Where rows go, and how.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Table {
    /// As written; quote it with [`crate::sql::identifier::quote`].
    pub(crate) name: String,
    pub(crate) mode: Mode,
    /// The columns that make a row the same one; never empty for `update` and `upsert`.
    pub(crate) keys: Vec<String>,
    /// Rows of one statement.
    pub(crate) batch_rows: usize,
    /// Whether a missing table is created, with columns after the rows.
    pub(crate) create: bool,
}

impl Table {
    /// Reads `table`, `mode`, `key(s)`, `batch` (or `chunk_size`) and `create`.
    ///
    /// # Errors
    /// [`ToolError::input`] for what is missing or nobody can mean.
    pub(crate) fn of(config: &Map<String, Value>) -> Result<Self, ToolError> {
        let name = config.get("table").and_then(Value::as_str).map(str::trim).unwrap_or_default();
        // A name that cannot be one is refused before anything is connected.
        sql::identifier::parts(name)?;
        let mode = mode(config.get("mode"))?;
        let keys = keys(config.get("keys").or_else(|| config.get("key")))?;
        if keys.is_empty() && matches!(mode, Mode::Update | Mode::Upsert) {
            return Err(ToolError::input(format!(
                "`mode: {}` needs `keys`: the columns by which a row of `{name}` is found",
                mode.name()
            )));
        }
        let create = config.get("create").is_some_and(is_on);
        Ok(Self { name: name.to_owned(), mode, keys, batch_rows: batch_rows(config)?, create })
    }
}

fn mode(value: Option<&Value>) -> Result<Mode, ToolError> {
    let text = match value {
        None | Some(Value::Null) => return Ok(Mode::Append),
        Some(Value::String(text)) => text.trim().to_ascii_lowercase(),
        Some(other) => other.to_string(),
    };
    match text.as_str() {
        "" | "append" | "insert" => Ok(Mode::Append),
        "overwrite" => Ok(Mode::Overwrite),
        "update" => Ok(Mode::Update),
        "upsert" => Ok(Mode::Upsert),
        other => Err(ToolError::input(format!(
            "`mode: {other}` is not known; write `append`, `insert`, `overwrite`, `update` or `upsert`"
        ))),
    }
}

/// A column, columns with commas between them, or a list of columns.
fn keys(value: Option<&Value>) -> Result<Vec<String>, ToolError> {
    let names: Option<Vec<&str>> = match value {
        None | Some(Value::Null) => return Ok(Vec::new()),
        Some(Value::String(text)) => Some(text.split(',').collect()),
        Some(Value::Array(values)) => values.iter().map(Value::as_str).collect(),
        Some(_) => None,
    };
    let names = names.ok_or_else(|| {
        ToolError::input("`keys` is neither the name of a column nor a list of such names")
    })?;
    let names = names.into_iter().map(str::trim).filter(|name| !name.is_empty());
    Ok(names.map(str::to_owned).collect())
}

fn batch_rows(config: &Map<String, Value>) -> Result<usize, ToolError> {
    let given = ["batch", "chunk_size", "chunksize"].into_iter().find_map(|key| {
        let value = config.get(key).filter(|value| !value.is_null() && !value.is_boolean())?;
        Some((key, value))
    });
    let Some((key, value)) = given else { return Ok(SAVE_BATCH_ROWS_DEFAULT) };
    let number = match value {
        Value::String(text) => text.trim().parse().ok(),
        value => value.as_u64(),
    };
    let number = number.and_then(|number| usize::try_from(number).ok());
    number.filter(|number| (1..=SAVE_BATCH_ROWS_MAX).contains(number)).ok_or_else(|| {
        ToolError::input(format!(
            "`{key}: {value}` is no number of rows between 1 and {SAVE_BATCH_ROWS_MAX}"
        ))
    })
}

fn is_on(value: &Value) -> bool {
    match value {
        Value::Bool(flag) => *flag,
        Value::String(text) => text.trim().eq_ignore_ascii_case("true"),
        _ => false,
    }
}

/// What a sink does.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Save {
    /// Writes rows to a table, all of them or none.
    Rows { table: Table, rows: Vec<Row> },
    /// Runs statements, once for each item, all of them or nothing.
    ///
    /// Statements without places for values have no items, and run once.
    Statements { statements: Vec<String>, items: Option<Vec<Params>> },
}

impl Save {
    /// Reads `table` with `data|args|payload`, or `statement|sql|command(s)` with `params|args|data`.
    ///
    /// # Errors
    /// [`ToolError::input`] for what is missing, unclear, or no row.
    pub(crate) fn of(call: &Call<'_>) -> Result<Self, ToolError> {
        if has_commands(call) {
            let statements = sql::commands(call)?;
            let given = given(call, ["params", "args", "data"]);
            let has_places = statements.iter().any(|text| sql::named::has_places(text));
            let given = given.filter(|_| has_places);
            let items = given.map(|(key, value)| rows::items(key, value)).transpose()?;
            return Ok(Self::Statements { statements, items });
        }
        if call.text("table").is_none() {
            return Err(ToolError::input(
                "it is not said where to save: write `table` (and what, as `data`), or `statement`",
            ));
        }
        let table = Table::of(&call.config)?;
        let Some((key, value)) = given(call, ["data", "args", "payload"]) else {
            return Err(ToolError::input(format!(
                "it is not said what to save in `{}`: write `data` (a map or a list of maps)",
                table.name
            )));
        };
        let rows = rows::of(key, value)?;
        rows::check(&table, &rows)?;
        Ok(Self::Rows { table, rows })
    }
}

/// The first of the keys that has a value; `args` are the inputs of the call.
fn given(call: &Call<'_>, keys: [&'static str; 3]) -> Option<(&'static str, Value)> {
    keys.into_iter().find_map(|key| {
        let configured = call.config.get(key).filter(|value| !value.is_null()).cloned();
        let inputs =
            (key == "args" && !call.args.is_empty()).then(|| Value::Object(call.args.clone()));
        Some((key, inputs.or(configured)?))
    })
}

/// The result of a sink: `saved` rows or items were given, `affected` rows of the table changed.
pub(crate) fn success(kind: &str, saved: usize, affected: u64, table: Option<&Table>) -> Success {
    let mode = table.map_or("statement", |table| table.mode.name());
    let name = table.map(|table| table.name.as_str());
    Success::of(json!({
        "status": "success",
        "data": {"saved": saved, "rows_affected": affected, "table": name, "mode": mode},
        "meta": {"tool": kind},
    }))
}

#[cfg(test)]
mod tests;
