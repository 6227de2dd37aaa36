//! Registered playbooks, in the same `SQLite` file as the log.

use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use engine_core::limits::PLAYBOOKS_KEPT;
use engine_core::playbook::{Playbook, PlaybookRef};
use engine_core::ports::{Catalog, PortError, PortErrorKind};
use rusqlite::{Connection, OptionalExtension as _, Row, params};

use super::store::{Database, Reads, SqliteStore};
use crate::recent::Recent;

/// Makes a checked playbook of its text, or says what is wrong with it.
pub type Parse = fn(&str) -> Result<Playbook, String>;

/// The [`Catalog`] of one store.
pub struct SqliteCatalog {
    database: Arc<Database>,
    parse: Parse,
    parsed: Mutex<Recent<PlaybookRef, Arc<Playbook>>>,
}

/// One registered version.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct PlaybookVersion {
    /// What an execution is pinned to.
    pub reference: PlaybookRef,
    /// 1, 2, 3, ... of its path.
    pub version: u32,
}

impl SqliteCatalog {
    /// The playbooks that are registered in `store`.
    #[must_use]
    pub fn new(store: &SqliteStore, parse: Parse) -> Self {
        let parsed = Mutex::new(Recent::new(PLAYBOOKS_KEPT));
        Self { database: store.database(), parse, parsed }
    }

    /// Registers a text as the newest version of its path; the newest one again stays as it is.
    ///
    /// # Errors
    /// `Refused` with the diagnostics if the text is no playbook or if nothing can be written;
    /// `Unavailable`.
    pub async fn register(&self, text: &str) -> Result<PlaybookVersion, PortError> {
        let playbook = (self.parse)(text)
            .map_err(|problems| PortError::new(PortErrorKind::Refused, problems))?;
        let reference = playbook.reference.clone();
        let (wanted, text) = (reference.clone(), text.to_owned());
        let version =
            self.database.write(move |connection| insert(connection, &wanted, &text)).await?;
        self.keep(playbook);
        Ok(PlaybookVersion { reference, version })
    }

    /// Returns the newest version of a path; none if there is none.
    ///
    /// # Errors
    /// `Unavailable` or `Corrupt`.
    pub async fn newest(&self, path: &str) -> Result<Option<PlaybookVersion>, PortError> {
        const SQL: &str = "SELECT path, hash, version FROM playbook WHERE path = ?1
             ORDER BY version DESC LIMIT 1";
        let path = path.to_owned();
        self.database
            .read(Reads::Few, move |connection| {
                Ok(connection.query_row(SQL, [path], version).optional()?)
            })
            .await
    }

    /// Returns one version of a path; none if there is none.
    ///
    /// # Errors
    /// `Unavailable` or `Corrupt`.
    pub async fn version(
        &self,
        path: &str,
        number: u32,
    ) -> Result<Option<PlaybookVersion>, PortError> {
        const SQL: &str =
            "SELECT path, hash, version FROM playbook WHERE path = ?1 AND version = ?2";
        let path = path.to_owned();
        self.database
            .read(Reads::Few, move |connection| {
                Ok(connection.query_row(SQL, params![path, number], version).optional()?)
            })
            .await
    }

    /// Returns every version, the newest registration first.
    ///
    /// # Errors
    /// `Unavailable` or `Corrupt`.
    pub async fn list(&self) -> Result<Vec<PlaybookVersion>, PortError> {
        const SQL: &str = "SELECT path, hash, version FROM playbook ORDER BY rowid DESC";
        self.database
            .read(Reads::Many, |connection| {
                let mut statement = connection.prepare_cached(SQL)?;
                let versions = statement.query_map([], version)?;
                Ok(versions.collect::<rusqlite::Result<_>>()?)
            })
            .await
    }

    /// Returns the text of a version, as it was registered.
    ///
    /// # Errors
    /// `NotFound`, `Unavailable` or `Corrupt`.
    pub async fn text(&self, reference: &PlaybookRef) -> Result<String, PortError> {
        const SQL: &str = "SELECT text FROM playbook WHERE path = ?1 AND hash = ?2";
        let PlaybookRef { path, hash } = reference.clone();
        let text = self.database.read(Reads::Few, move |connection| {
            Ok(connection.query_row(SQL, [path, hash], |row| row.get(0)).optional()?)
        });
        text.await?.ok_or_else(|| {
            let message = format!(
                "playbook `{}` is not registered in this version ({}); register its file",
                reference.path, reference.hash
            );
            PortError::new(PortErrorKind::NotFound, message)
        })
    }

    fn keep(&self, playbook: Playbook) -> Arc<Playbook> {
        let playbook = Arc::new(playbook);
        let mut parsed = self.parsed.lock().unwrap_or_else(PoisonError::into_inner);
        parsed.insert(playbook.reference.clone(), playbook.clone());
        playbook
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
        let playbook = (self.parse)(&text).map_err(|problems| {
            let message =
                format!("playbook `{}` is no longer accepted: {problems}", reference.path);
            PortError::new(PortErrorKind::Corrupt, message)
        })?;
        if playbook.reference != *reference {
            let message =
                format!("the text of playbook `{}` is not what its hash says", reference.path);
            return Err(PortError::new(PortErrorKind::Corrupt, message));
        }
        Ok(self.keep(playbook))
    }

    async fn newest(&self, path: &str) -> Result<Option<PlaybookRef>, PortError> {
        let newest = Self::newest(self, path).await?;
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

fn version(row: &Row<'_>) -> rusqlite::Result<PlaybookVersion> {
    let reference = PlaybookRef { path: row.get(0)?, hash: row.get(1)? };
    Ok(PlaybookVersion { reference, version: row.get(2)? })
}
