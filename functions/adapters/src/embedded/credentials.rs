//! Credentials in the same `SQLite` file as the log, encrypted.
//!
//! # Invariants
//!
//! * A store in memory has a key that ends with it.

use std::sync::Arc;

use async_trait::async_trait;
use engine_core::limits::CREDENTIALS_MAX;
use engine_core::ports::{CredentialNote, PortError, PortErrorKind};
use rusqlite::{Connection, OptionalExtension as _, Row, params};
use serde_json::Value;

use super::store::{Database, ReadError, Reads, SqliteStore};
use crate::credentials::{CredentialStore, Stored, no_room};
use crate::master_key::{MasterKey, Sealed};

/// How a key is given.
const KEY_ADVICE: &str = "set `NOETL_MASTER_KEY` (make a key with `openssl rand -base64 32`), or \
                          `NOETL_MASTER_KEY_FILE` to a file that holds one";

/// The credentials of one store. No `Debug`: its key is nobody's business.
pub struct SqliteCredentials {
    database: Arc<Database>,
    key: Option<MasterKey>,
}

impl SqliteCredentials {
    /// The credentials in `store`, for whoever has the key.
    ///
    /// # Errors
    /// `Unavailable` if a store in memory can get no key.
    pub fn new(store: &SqliteStore, key: Option<MasterKey>) -> Result<Self, PortError> {
        let key = match key {
            None if store.is_memory() => Some(MasterKey::random()?),
            given => given,
        };
        Ok(Self { database: store.database(), key })
    }
}

#[async_trait]
impl CredentialStore for SqliteCredentials {
    async fn put(&self, note: &CredentialNote, fields: &Value) -> Result<(), PortError> {
        let name = &note.name;
        let Some(key) = &self.key else {
            let message = format!(
                "credential `{name}` is not stored, as there is no key to encrypt it with; {KEY_ADVICE}"
            );
            return Err(PortError::new(PortErrorKind::Refused, message));
        };
        let stored = Stored::new(key, name, fields)?;
        let note = note.clone();
        let is_stored =
            self.database.write(move |connection| upsert(connection, &note, &stored)).await?;
        if is_stored { Ok(()) } else { Err(no_room()) }
    }

    async fn list(&self) -> Result<Vec<CredentialNote>, PortError> {
        const SQL: &str = "SELECT name, kind, description, tags, meta, created_ms, updated_ms
             FROM credential ORDER BY name";
        self.database
            .read(Reads::Many, |connection| {
                let mut statement = connection.prepare_cached(SQL)?;
                let mut rows = statement.query([])?;
                let mut notes = Vec::new();
                while let Some(row) = rows.next()? {
                    notes.push(note(row)?);
                }
                Ok(notes)
            })
            .await
    }

    async fn remove(&self, name: &str) -> Result<bool, PortError> {
        let name = name.to_owned();
        let removed = self.database.write(move |connection| {
            connection.execute("DELETE FROM credential WHERE name = ?1", [name])
        });
        Ok(removed.await? > 0)
    }

    async fn fields(&self, name: &str) -> Result<Option<Value>, PortError> {
        const SQL: &str = "SELECT key_id, nonce, sealed FROM credential WHERE name = ?1";
        let wanted = name.to_owned();
        let found = self.database.read(Reads::Few, move |connection| {
            let row = connection.query_row(SQL, [wanted], |row| {
                let sealed = Sealed { nonce: row.get(1)?, bytes: row.get(2)? };
                Ok(Stored { key_id: row.get(0)?, sealed })
            });
            Ok(row.optional()?)
        });
        let Some(stored) = found.await? else { return Ok(None) };
        let Some(key) = &self.key else {
            let message = format!(
                "credential `{name}` is stored encrypted, and there is no key to open it; {KEY_ADVICE}"
            );
            return Err(PortError::new(PortErrorKind::Refused, message));
        };
        stored.open(key, name).map(Some)
    }
}

/// Whether there was room.
fn upsert(
    connection: &mut Connection,
    note: &CredentialNote,
    stored: &Stored,
) -> rusqlite::Result<bool> {
    const SQL: &str = "INSERT INTO credential
         (name, kind, description, tags, meta, key_id, nonce, sealed, created_ms, updated_ms)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?9)
         ON CONFLICT (name) DO UPDATE SET kind = ?2, description = ?3, tags = ?4, meta = ?5, key_id = ?6,
         nonce = ?7, sealed = ?8, updated_ms = ?9";
    let transaction = connection.transaction()?;
    let others: i64 = transaction.query_row(
        "SELECT count(*) FROM credential WHERE name != ?1",
        [&note.name],
        |row| row.get(0),
    )?;
    if usize::try_from(others).unwrap_or(usize::MAX) >= CREDENTIALS_MAX {
        return Ok(false);
    }
    let tags = Value::from(note.tags.clone()).to_string();
    transaction.execute(
        SQL,
        params![
            note.name,
            note.kind,
            note.description,
            tags,
            note.meta.to_string(),
            stored.key_id,
            stored.sealed.nonce,
            stored.sealed.bytes,
            note.updated_ms
        ],
    )?;
    transaction.commit()?;
    Ok(true)
}

fn note(row: &Row<'_>) -> Result<CredentialNote, ReadError> {
    let name: String = row.get(0)?;
    let json = |column: usize| -> Result<Value, ReadError> {
        let text: String = row.get(column)?;
        serde_json::from_str(&text)
            .map_err(|error| ReadError::Corrupt(format!("credential `{name}`"), error.into()))
    };
    let tags = json(3)?;
    let tags = tags.as_array().into_iter().flatten().filter_map(Value::as_str);
    Ok(CredentialNote {
        kind: row.get(1)?,
        description: row.get(2)?,
        tags: tags.map(str::to_owned).collect(),
        meta: json(4)?,
        created_ms: row.get(5)?,
        updated_ms: row.get(6)?,
        name,
    })
}

#[cfg(test)]
mod tests;
