//! What the tools for SQL have in common: which statements, with which values, and how it ended.
//!
//! * `split`: one text, several statements. `named`: `:name` as a placeholder. `identifier`: names, quoted.
//! * `params`: the values of one run.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use engine_core::limits::SQL_STATEMENTS_MAX;
use serde_json::{Map, Value, json};

use crate::tool::{Call, Success, ToolError};

pub(crate) mod identifier;
pub(crate) mod lexer;
pub(crate) mod named;
pub(crate) mod params;
pub(crate) mod split;

/// Keys with commands in Base64, which win.
const ENCODED: [&str; 3] = ["command_b64", "commands_b64", "query_b64"];
/// Keys with commands, the first that is there wins.
const PLAIN: [&str; 8] =
    ["query", "queries", "command", "commands", "cmd", "cmds", "statement", "sql"];

/// Whether a call names commands at all.
pub(crate) fn has_commands(call: &Call<'_>) -> bool {
    source(call).is_some()
}

fn source<'a>(call: &'a Call<'_>) -> Option<(&'static str, &'a Value)> {
    ENCODED.into_iter().chain(PLAIN).find_map(|key| {
        let value = call.config.get(key).filter(|value| !value.is_null())?;
        Some((key, value))
    })
}

/// The statements of a call: those of a text, or of each text of a list, in order.
///
/// # Errors
/// [`ToolError::input`] when there are none, too many, or something that is no text.
pub(crate) fn commands(call: &Call<'_>) -> Result<Vec<String>, ToolError> {
    let Some((key, value)) = source(call) else {
        return Err(ToolError::input(
            "there is nothing to run: write SQL as `query` or `command` (a text or a list of texts)",
        ));
    };
    let texts = match value {
        Value::Array(values) => values.iter().collect(),
        value => vec![value],
    };
    let mut statements = Vec::new();
    for (index, value) in texts.into_iter().enumerate() {
        let Some(text) = value.as_str() else {
            return Err(ToolError::input(format!(
                "`{key}` has something at [{index}] that is no text; write SQL there"
            )));
        };
        let decoded = ENCODED.contains(&key).then(|| decoded(key, text)).transpose()?;
        statements.extend(split::statements(decoded.as_deref().unwrap_or(text)));
    }
    if statements.is_empty() {
        let message = format!("`{key}` has no statement, only blanks and comments");
        return Err(ToolError::input(message));
    }
    if statements.len() > SQL_STATEMENTS_MAX {
        return Err(ToolError::input(format!(
            "`{key}` has {} statements, and one call runs at most {SQL_STATEMENTS_MAX}; save lists \
             with `table` and `data`, or give a list as `params`",
            statements.len()
        )));
    }
    Ok(statements)
}

fn decoded(key: &str, text: &str) -> Result<String, ToolError> {
    let compact: String = text.split_whitespace().collect();
    let bytes = STANDARD.decode(compact);
    let text = bytes.ok().and_then(|bytes| String::from_utf8(bytes).ok());
    text.ok_or_else(|| {
        ToolError::input(format!("`{key}` is no text in Base64; write it as `query`"))
    })
}

/// What one statement left.
#[derive(Clone, Debug)]
pub(crate) enum StatementResult {
    /// It produced rows: maps from column to value.
    Rows { columns: Vec<String>, rows: Vec<Value> },
    /// It produced none, and changed that many.
    Done { affected: u64 },
    /// It did not work; later ones may have.
    Failed(ToolError),
}

impl StatementResult {
    fn into_entry(self) -> Value {
        match self {
            Self::Rows { columns, rows } => json!({
                "status": "success", "row_count": rows.len(), "columns": columns, "rows": rows,
            }),
            Self::Done { affected } => json!({
                "status": "success",
                "row_count": affected,
                "message": format!("done; {affected} rows affected"),
            }),
            Self::Failed(error) => json!({"status": "error", "message": error.message()}),
        }
    }
}

/// `{command_0, command_1, .., rows, row_count, columns, affected_rows}`: the rows are those of the
/// last statement that produced any, `affected_rows` is the sum over the others.
///
/// # Errors
/// The first failed statement's kind and reaction, every failure's text, and the same map beside it.
pub(crate) fn envelope(results: Vec<StatementResult>) -> Result<Success, ToolError> {
    let mut entries = Map::new();
    let (mut rows, mut columns, mut row_count) = (json!([]), json!([]), json!(0));
    let mut affected_rows: u64 = 0;
    let mut has_rows = false;
    let mut failure: Option<ToolError> = None;
    let mut messages = String::new();
    for (index, result) in results.into_iter().enumerate() {
        match &result {
            StatementResult::Rows { columns: names, rows: found } => {
                has_rows = true;
                (rows, columns, row_count) = (json!(found), json!(names), json!(found.len()));
            }
            StatementResult::Done { affected } => {
                affected_rows = affected_rows.saturating_add(*affected);
                if !has_rows {
                    row_count = json!(affected);
                }
            }
            StatementResult::Failed(error) => {
                messages.push_str(
                    &["command_", &index.to_string(), ": ", error.message(), "; "].concat(),
                );
                failure.get_or_insert_with(|| error.clone());
            }
        }
        entries.insert(format!("command_{index}"), result.into_entry());
    }
    for (key, value) in [("rows", rows), ("row_count", row_count), ("columns", columns)] {
        entries.insert(key.to_owned(), value);
    }
    entries.insert("affected_rows".to_owned(), json!(affected_rows));
    let result = Value::Object(entries);
    match failure {
        None => Ok(Success::of(result)),
        Some(error) => {
            let message = messages.trim_end();
            Err(ToolError::new(error.reaction(), error.kind(), message).with_result(result))
        }
    }
}

/// Names of columns as keys of a map: one that comes again gets a number behind it.
pub(crate) fn unique_columns<'a>(names: impl IntoIterator<Item = &'a str>) -> Vec<String> {
    let mut seen = std::collections::BTreeMap::<String, usize>::new();
    let mut unique = Vec::new();
    for name in names {
        let mut free = name.to_owned();
        while let Some(times) = seen.get_mut(&free) {
            *times += 1;
            free = format!("{name}_{times}");
        }
        seen.insert(free.clone(), 1);
        unique.push(free);
    }
    unique
}

#[cfg(test)]
pub(crate) mod tests;
