//! Which database a call uses, and what it declares to touch besides.

mod outside;

use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use self::outside::Outside;
use super::protocol::{Rules, Usage};
use crate::tool::ToolError;

/// What a session is opened with.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Settings {
    /// The file; none is a database in memory.
    pub(super) path: Option<PathBuf>,
    pub(crate) rules: Rules,
    pub(super) usage: Usage,
    /// What no error may show.
    pub(super) secrets: Vec<String>,
    /// Names of the secrets that are created.
    pub(super) created: Vec<String>,
    /// Names of the databases that are attached.
    pub(super) attached: Vec<String>,
}

impl Settings {
    /// Reads `database`, `attach`, `auth`, `files` and `external_access`.
    ///
    /// Without a `database`, one file per execution in the folder `data`.
    ///
    /// # Errors
    /// [`ToolError::input`] for what is unclear, or names a folder that is not there.
    pub(crate) fn of(
        config: &Map<String, Value>,
        execution_id: &str,
        data: &Path,
    ) -> Result<Self, ToolError> {
        let mut outside = Outside::default();
        outside.declare_files(config.get("files"))?;
        outside.declare_auth(config)?;
        outside.declare_attach(config)?;
        let Outside { mut rules, secrets, created, attached } = outside;
        rules.external_access = is_on(config.get("external_access"));
        let path = path(config, execution_id, data)?;
        Ok(Self { path, rules, usage: Usage::Queries, secrets, created, attached })
    }

    /// For rows that only pass.
    #[must_use]
    pub(crate) fn of_rows(mut self) -> Self {
        self.usage = Usage::Rows;
        self
    }

    /// Whether a statement asks for what has been declared and done: to load an extension, to attach.
    ///
    /// Playbooks write such lines for a DuckDB that declares nothing.
    pub(super) fn has_done(&self, statement: &str) -> bool {
        let lines = statement.lines().filter(|line| !line.trim_start().starts_with("--"));
        let text = lines.collect::<Vec<_>>().join(" ");
        let words: Vec<String> = text
            .split(|c: char| c.is_whitespace() || matches!(c, '(' | ';'))
            .filter(|word| !word.is_empty())
            .map(|word| word.trim_matches(['"', '\'']).to_ascii_lowercase())
            .collect();
        let has = |names: &[String], name: Option<&String>| {
            name.is_some_and(|name| names.iter().any(|known| known.eq_ignore_ascii_case(name)))
        };
        match words.first().map(String::as_str) {
            Some("install" | "load") => {
                let asked = words.last().map(|name| match name.as_str() {
                    "postgres" => "postgres_scanner".to_owned(),
                    "sqlite" => "sqlite_scanner".to_owned(),
                    _ => name.clone(),
                });
                has(&self.rules.extensions, asked.as_ref())
            }
            Some("attach") => {
                let after_as = words.iter().skip_while(|word| *word != "as").nth(1);
                has(&self.attached, after_as)
            }
            Some("detach") => has(&self.attached, words.last()),
            _ => false,
        }
    }
}

fn path(
    config: &Map<String, Value>,
    execution_id: &str,
    data: &Path,
) -> Result<Option<PathBuf>, ToolError> {
    let given = ["database", "db_path", "database_path"]
        .iter()
        .find_map(|key| config.get(*key).filter(|value| !value.is_null()));
    let given = match given {
        None => None,
        Some(Value::String(text)) => Some(text.trim()).filter(|text| !text.is_empty()),
        Some(other) => {
            let text = format!("`database: {other}` is no path; write a file, or `:memory:`");
            return Err(ToolError::input(text));
        }
    };
    match given {
        Some(":memory:") => Ok(None),
        Some(path) => absolute(path).map(Some),
        None => {
            std::fs::create_dir_all(data).map_err(|error| {
                ToolError::input(format!(
                    "the folder `{}` for databases cannot be made: {error}; set `NOETL_DATA` to one \
                     that can be written",
                    data.display()
                ))
            })?;
            absolute(&data.join(format!("duckdb_{execution_id}.duckdb")).to_string_lossy())
                .map(Some)
        }
    }
}

/// The one name of a file, whether it exists or not; its folder must.
fn absolute(path: &str) -> Result<PathBuf, ToolError> {
    let full = std::path::absolute(path)
        .map_err(|error| ToolError::input(format!("`{path}` is no path of a file: {error}")))?;
    if let Ok(real) = full.canonicalize() {
        return Ok(real);
    }
    let folder = full.parent().and_then(|folder| folder.canonicalize().ok());
    match (folder, full.file_name()) {
        (Some(folder), Some(name)) => Ok(folder.join(name)),
        _ => {
            Err(ToolError::input(format!("the folder of `{path}` does not exist; create it first")))
        }
    }
}

fn is_on(value: Option<&Value>) -> bool {
    match value {
        Some(Value::Bool(flag)) => *flag,
        Some(Value::String(text)) => text.trim().eq_ignore_ascii_case("true"),
        _ => false,
    }
}
