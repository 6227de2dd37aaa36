//! Which database a call means, and how it is opened.

use std::path::Path;
use std::time::Duration;

use engine_core::limits::SQLITE_ATTACHED_MAX;
use rusqlite::limits::Limit;
use rusqlite::{Connection, OpenFlags};
use serde_json::{Map, Value};
use tokio::sync::oneshot;
use tokio::task::spawn_blocking;
use tokio::time::{Instant, timeout_at};

use super::failure::{failed, too_late};
use crate::sql::identifier::quote_part;
use crate::tool::{Call, Reaction, ToolError};

/// Keys that name the file, in the configuration or in `auth`.
const PATHS: [&str; 4] = ["database", "path", "db_path", "db_name"];

/// A database, and what may be done with it.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    path: String,
    is_read_only: bool,
    /// Alias and path of the databases beside it.
    attached: Vec<(String, String)>,
}

impl Place {
    /// From the configuration of a call: `database`, `read_only`, `attach`.
    ///
    /// # Errors
    /// [`ToolError::input`] when no database is named, or something is attached that is none.
    pub(crate) fn of(call: &Call<'_>) -> Result<Self, ToolError> {
        Self::of_config(&call.config)
    }

    /// As [`Place::of`], from a configuration.
    ///
    /// # Errors
    /// As [`Place::of`].
    pub(crate) fn of_config(config: &Map<String, Value>) -> Result<Self, ToolError> {
        let auth = config.get("auth").and_then(Value::as_object);
        let named = |fields: &Map<String, Value>| {
            let texts = PATHS.iter().filter_map(|key| fields.get(*key)?.as_str());
            texts.map(str::trim).find(|text| !text.is_empty()).map(str::to_owned)
        };
        let path = named(config).or_else(|| named(auth?)).ok_or_else(|| {
            ToolError::input(
                "it is not said which database: write `database: PATH`, or `database: \":memory:\"`",
            )
        })?;
        let is_read_only = config.get("read_only").and_then(Value::as_bool).unwrap_or(false);
        Ok(Self { path, is_read_only, attached: attached(config.get("attach"))? })
    }

    /// The file, as the playbook names it.
    pub(crate) fn path(&self) -> &str {
        &self.path
    }

    fn open(&self, deadline: Instant) -> Result<Connection, ToolError> {
        let access = if self.is_read_only {
            OpenFlags::SQLITE_OPEN_READ_ONLY
        } else {
            OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE
        };
        let flags = access | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let base = Connection::open_with_flags(Path::new(&self.path), flags);
        let base = base.map_err(|error| failed(None, self.path(), &error))?;
        let settle = |base: &Connection| {
            base.busy_timeout(left(deadline))?;
            base.pragma_update(None, "foreign_keys", true)?;
            for (alias, path) in &self.attached {
                base.execute(&format!("ATTACH ?1 AS {}", quote_part(alias)), [path])?;
            }
            // Nothing else is attached: a statement reaches what the playbook declares.
            let allowed = i32::try_from(self.attached.len()).unwrap_or(0);
            base.set_limit(Limit::SQLITE_LIMIT_ATTACHED, allowed).map(drop)
        };
        settle(&base).map_err(|error| failed(None, self.path(), &error))?;
        Ok(base)
    }
}

fn attached(value: Option<&Value>) -> Result<Vec<(String, String)>, ToolError> {
    let entries = match value {
        None | Some(Value::Null) => return Ok(Vec::new()),
        Some(Value::Array(entries)) => entries.as_slice(),
        Some(entry) => std::slice::from_ref(entry),
    };
    if entries.len() > SQLITE_ATTACHED_MAX {
        return Err(ToolError::input(format!(
            "`attach` lists {} databases, and a call attaches at most {SQLITE_ATTACHED_MAX}",
            entries.len()
        )));
    }
    let entry = |entry: &Value| {
        let text = |keys: &[&str]| {
            keys.iter().find_map(|key| entry.get(*key)?.as_str()).map(str::to_owned)
        };
        text(&["alias", "name"]).zip(text(&["path", "database"])).ok_or_else(|| {
            ToolError::input("`attach` is a list of `{alias: NAME, path: FILE}`, and this is none")
        })
    };
    entries.iter().map(entry).collect()
}

fn left(deadline: Instant) -> Duration {
    deadline.saturating_duration_since(Instant::now())
}

/// Opens a database on a thread of its own, and works with it until the deadline.
///
/// # Errors
/// Those of the work; a timeout after the work has been interrupted.
pub(crate) async fn opened<T: Send + 'static>(
    place: Place,
    deadline: Instant,
    work: impl FnOnce(&mut Connection) -> Result<T, ToolError> + Send + 'static,
) -> Result<T, ToolError> {
    let (tell, interrupt) = oneshot::channel();
    let mut task = spawn_blocking(move || {
        let mut base = place.open(deadline)?;
        // Whoever waits may have given up: then nobody has to be told.
        let _ = tell.send(base.get_interrupt_handle());
        work(&mut base)
    });
    let Ok(joined) = timeout_at(deadline, &mut task).await else {
        if let Ok(interrupt) = interrupt.await {
            interrupt.interrupt();
        }
        // What was begun is rolled back before anybody else comes.
        return task.await.unwrap_or_else(|_gone| Err(too_late())).and(Err(too_late()));
    };
    joined.map_err(|error| {
        let message = format!("the thread of the database ended early: {error}");
        ToolError::new(Reaction::Transient, "ConnectionError", message)
    })?
}
