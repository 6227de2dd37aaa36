//! Registered playbooks, in the same `SQLite` file as the log.

use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use engine_core::limits::PLAYBOOKS_KEPT;
use engine_core::playbook::{Playbook, PlaybookRef};
use engine_core::ports::{Catalog, PortError, PortErrorKind};
use rusqlite::{Connection, OptionalExtension as _, Row, params};

use super::store::{Database, Reads, SqliteStore};
use crate::catalog::{Parse, PlaybookVersion, Registry, checked, unregistered};
use crate::recent::Recent;

/// The [`Catalog`] of one store.
pub struct SqliteCatalog {
    database: Arc<Database>,
    parse: Parse,
    parsed: Mutex<Recent<PlaybookRef, Arc<Playbook>>>,
}

impl SqliteCatalog {
    /// The playbooks that are registered in `store`.
    #[must_use]
    pub fn new(store: &SqliteStore, parse: Parse) -> Self {
        let parsed = Mutex::new(Recent::new(PLAYBOOKS_KEPT));
        Self { database: store.database(), parse, parsed }
    }

    fn keep(&self, playbook: Playbook) -> Arc<Playbook> {
        let playbook = Arc::new(playbook);
        let mut parsed = self.parsed.lock().unwrap_or_else(PoisonError::into_inner);
        parsed.insert(playbook.reference.clone(), playbook.clone());
        playbook
    }
}

#[async_trait]
impl Registry for SqliteCatalog {
    async fn register(&self, text: &str) -> Result<PlaybookVersion, PortError> {
        let playbook = (self.parse)(text)
            .map_err(|problems| PortError::new(PortErrorKind::Refused, problems))?;
        let reference = playbook.reference.clone();
        let (wanted, text) = (reference.clone(), text.to_owned());
        let version =
            self.database.write(move |connection| insert(connection, &wanted, &text)).await?;
        self.keep(playbook);
        Ok(PlaybookVersion { reference, version })
    }

    async fn find(
        &self,
        path: &str,
        version: Option<u32>,
    ) -> Result<Option<PlaybookVersion>, PortError> {
        const SQL: &str = "SELECT path, hash, version FROM playbook
             WHERE path = ?1 AND version = coalesce(?2, version) ORDER BY version DESC LIMIT 1";
        let path = path.to_owned();
        self.database
            .read(Reads::Few, move |connection| {
                Ok(connection.query_row(SQL, params![path, version], row_version).optional()?)
            })
            .await
    }

    async fn list(&self) -> Result<Vec<PlaybookVersion>, PortError> {
        const SQL: &str = "SELECT path, hash, version FROM playbook ORDER BY rowid DESC";
        self.database
            .read(Reads::Many, |connection| {
                let mut statement = connection.prepare_cached(SQL)?;
                let versions = statement.query_map([], row_version)?;
                Ok(versions.collect::<rusqlite::Result<_>>()?)
            })
            .await
    }

    async fn text(&self, reference: &PlaybookRef) -> Result<String, PortError> {
        const SQL: &str = "SELECT text FROM playbook WHERE path = ?1 AND hash = ?2";
        let PlaybookRef { path, hash } = reference.clone();
        let text = self.database.read(Reads::Few, move |connection| {
            Ok(connection.query_row(SQL, [path, hash], |row| row.get(0)).optional()?)
        });
        text.await?.ok_or_else(|| unregistered(reference))
    }
}

#[async_trait]
impl Catalog for SqliteCatalog {
    async fn playbook(&self, reference: &PlaybookRef) -> Result<Arc<Playbook>, PortError> {
        let known = {
            let mut parsed = self.parsed.lock().unwrap_or_else(PoisonError::into_inner);
            parsed.get(reference).cloned()
        };
        if let Some(playbook) = known {
            return Ok(playbook);
        }
        let text = self.text(reference).await?;
        Ok(self.keep(checked(self.parse, reference, &text)?))
    }

    async fn newest(&self, path: &str) -> Result<Option<PlaybookRef>, PortError> {
        let newest = self.find(path, None).await?;
        Ok(newest.map(|version| version.reference))
    }
}

fn insert(
    connection: &mut Connection,
    reference: &PlaybookRef,
    text: &str,
) -> rusqlite::Result<u32> {
    const NEWEST: &str =
        "SELECT version, hash FROM playbook WHERE path = ?1 ORDER BY version DESC LIMIT 1";
    let newest: Option<(u32, String)> = connection
        .query_row(NEWEST, [&reference.path], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    let version = match newest {
        Some((version, hash)) if hash == reference.hash => return Ok(version),
        Some((version, _)) => version + 1,
        None => 1,
    };
    connection.execute(
        "INSERT INTO playbook (path, version, hash, text) VALUES (?1, ?2, ?3, ?4)",
        params![reference.path, version, reference.hash, text],
    )?;
    Ok(version)
}

fn row_version(row: &Row<'_>) -> rusqlite::Result<PlaybookVersion> {
    let reference = PlaybookRef { path: row.get(0)?, hash: row.get(1)? };
    Ok(PlaybookVersion { reference, version: row.get(2)? })
}
