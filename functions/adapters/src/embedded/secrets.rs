//! Credentials from files, kept in memory only.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use async_trait::async_trait;
use engine_core::limits::CREDENTIAL_BYTES_MAX;
use engine_core::ports::{PortError, PortErrorKind, Secrets};
use serde_json::{Map, Value};

/// Credentials by name. No `Debug`: their values are for tools alone.
#[derive(Default)]
pub struct FileSecrets {
    credentials: BTreeMap<String, Value>,
}

impl FileSecrets {
    /// Reads a file `{"name": ..., "type": ..., "data": {...}}`; a name that is known gets the new
    /// data.
    ///
    /// # Errors
    /// `Refused` if the file cannot be read or is something else.
    pub fn add_file(&mut self, path: &Path) -> Result<(), PortError> {
        let shown = path.display();
        let mut text = String::new();
        File::open(path)
            .and_then(|file| file.take(CREDENTIAL_BYTES_MAX as u64 + 1).read_to_string(&mut text))
            .map_err(|error| {
                let message = format!("credential file `{shown}` cannot be read");
                PortError::caused(PortErrorKind::Refused, message, error)
            })?;
        if text.len() > CREDENTIAL_BYTES_MAX {
            return Err(refused(format!(
                "credential file `{shown}` is larger than {CREDENTIAL_BYTES_MAX} bytes"
            )));
        }
        // The parser's own message may quote the text, so only the place is told.
        let file: Map<String, Value> = serde_json::from_str(&text).map_err(|error| {
            let (line, column) = (error.line(), error.column());
            refused(format!(
                "credential file `{shown}` is not a JSON object (line {line}, column {column})"
            ))
        })?;
        let (name, data) = named_data(file).ok_or_else(|| {
            refused(format!(
                "credential file `{shown}` must hold `name` (text) and `data` (an object), as in \
                 {{\"name\": \"pg_local\", \"type\": \"postgres\", \"data\": {{\"db_host\": \"...\"}}}}"
            ))
        })?;
        self.credentials.insert(name, data);
        Ok(())
    }

    /// The names, ascending.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.credentials.keys().map(String::as_str)
    }
}

#[async_trait]
impl Secrets for FileSecrets {
    async fn credential(&self, name: &str) -> Result<Value, PortError> {
        self.credentials.get(name).cloned().ok_or_else(|| {
            let known: Vec<_> = self.names().map(|name| format!("`{name}`")).collect();
            let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
            let message = format!(
                "credential `{name}` does not exist (there is: {known}); give its file with \
                 `--credential FILE`"
            );
            PortError::new(PortErrorKind::NotFound, message)
        })
    }
}

fn named_data(mut file: Map<String, Value>) -> Option<(String, Value)> {
    let data = file.remove("data").filter(Value::is_object)?;
    match file.remove("name") {
        Some(Value::String(name)) if !name.is_empty() => Some((name, data)),
        _ => None,
    }
}

fn refused(message: String) -> PortError {
    PortError::new(PortErrorKind::Refused, message)
}
