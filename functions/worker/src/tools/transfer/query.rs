//! What a database source is asked, and the types that its columns have.

use serde_json::Value;

use super::plan::Side;
use crate::sql::identifier::quote;
use crate::sql::params::Params;
use crate::tool::ToolError;

/// A column of a source, with its type as DuckDB names it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Column {
    pub(super) name: String,
    pub(super) of_type: String,
}

/// One statement that gives rows, and its values.
#[derive(Clone, Debug)]
pub(super) struct Query {
    pub(super) text: String,
    pub(super) params: Params,
}

impl Query {
    /// `query` with `params`, or all of `table`.
    pub(super) fn of(side: &Side) -> Result<Self, ToolError> {
        let text = match (given(side), side.text("table")) {
            (Some(text), _) => text.trim().trim_end_matches(';').to_owned(),
            (None, Some(table)) => format!("SELECT * FROM {}", quote(table)?),
            (None, None) => {
                return Err(ToolError::input(format!(
                    "`source` of type {} needs `query` (one statement that gives rows) or `table`",
                    side.kind.name()
                )));
            }
        };
        let params = Params::of(side.config.get("params").filter(|params| !is_empty(params)))?;
        Ok(Self { text, params })
    }

    /// Whether the playbook wrote it.
    pub(super) fn is_given(side: &Side) -> bool {
        given(side).is_some()
    }
}

fn given(side: &Side) -> Option<&str> {
    ["query", "sql", "statement", "command"].iter().find_map(|key| side.text(key))
}

fn is_empty(params: &Value) -> bool {
    params.as_object().is_some_and(serde_json::Map::is_empty)
        || params.as_array().is_some_and(Vec::is_empty)
}
