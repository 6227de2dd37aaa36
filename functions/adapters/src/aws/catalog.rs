//! Registered playbooks: a row for each version in a table, its text in the bucket.
//!
//! | pk | sk | attributes |
//! |---|---|---|
//! | path | version | `hash`, `registered_ms` |
//!
//! A text is in the bucket before a row names it.

use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use aws_sdk_dynamodb::Client;
use engine_core::limits::{COMMIT_ATTEMPTS_MAX, PLAYBOOK_BYTES_MAX, PLAYBOOKS_KEPT};
use engine_core::payload::sha256_hex;
use engine_core::playbook::{Playbook, PlaybookRef};
use engine_core::ports::{Catalog, Clock, PortError, PortErrorKind};

use super::config::CATALOG_TABLE;
use super::item::{Item, Reader, integer, key, text};
use super::meter::Meter;
use super::objects::Objects;
use super::table::{Rows, Table};
use crate::catalog::{Parse, PlaybookVersion, Registry, checked, unregistered};
use crate::recent::Recent;

/// The [`Catalog`] of an account.
pub struct DynamoCatalog {
    table: Table,
    objects: Objects,
    parse: Parse,
    clock: Arc<dyn Clock>,
    parsed: Mutex<Recent<PlaybookRef, Arc<Playbook>>>,
}

impl DynamoCatalog {
    pub(super) fn new(
        client: Client,
        table: &str,
        objects: Objects,
        (parse, clock): (Parse, Arc<dyn Clock>),
        meter: Arc<Meter>,
    ) -> Self {
        let table = Table::new(client, table, CATALOG_TABLE, meter);
        Self { table, objects, parse, clock, parsed: Mutex::new(Recent::new(PLAYBOOKS_KEPT)) }
    }

    fn keep(&self, playbook: Playbook) -> Arc<Playbook> {
        let playbook = Arc::new(playbook);
        let mut parsed = self.parsed.lock().unwrap_or_else(PoisonError::into_inner);
        parsed.insert(playbook.reference.clone(), playbook.clone());
        playbook
    }

    /// Adds a row after the newest, or finds that the newest is this one.
    async fn add(&self, reference: &PlaybookRef) -> Result<u32, PortError> {
        for _ in 0..COMMIT_ATTEMPTS_MAX {
            let version = match self.find(&reference.path, None).await? {
                Some(newest) if newest.reference.hash == reference.hash => {
                    return Ok(newest.version);
                }
                Some(newest) => newest.version.saturating_add(1),
                None => 1,
            };
            let mut row = key(reference.path.as_str(), version);
            row.insert("hash".to_owned(), text(reference.hash.as_str()));
            row.insert("registered_ms".to_owned(), integer(self.clock.now_ms()));
            if self.table.create(row).await? {
                return Ok(version);
            }
        }
        let message = format!(
            "`{}` is being registered by others, {COMMIT_ATTEMPTS_MAX} times in a row; try again",
            reference.path
        );
        Err(PortError::new(PortErrorKind::Unavailable, message))
    }
}

#[async_trait]
impl Registry for DynamoCatalog {
    async fn register(&self, text: &str) -> Result<PlaybookVersion, PortError> {
        let playbook = (self.parse)(text)
            .map_err(|problems| PortError::new(PortErrorKind::Refused, problems))?;
        let reference = playbook.reference.clone();
        let bytes = text.as_bytes();
        self.objects.create(&object(&reference)?, bytes, &sha256_hex(bytes)).await?;
        let version = self.add(&reference).await?;
        self.keep(playbook);
        Ok(PlaybookVersion { reference, version })
    }

    async fn find(
        &self,
        path: &str,
        version: Option<u32>,
    ) -> Result<Option<PlaybookVersion>, PortError> {
        // An empty key is an error of DynamoDB; here it is a name that nobody has.
        if path.is_empty() {
            return Ok(None);
        }
        let found = if let Some(version) = version {
            self.table.get(key(path, version)).await?
        } else {
            let between = (0, i128::from(u32::MAX));
            let rows = Rows { pk: path.to_owned(), between, descending: true, limit: 1 };
            self.table.rows(rows).await?.pop()
        };
        Ok(found.as_ref().map(read).transpose()?.map(|(_, version)| version))
    }

    async fn list(&self) -> Result<Vec<PlaybookVersion>, PortError> {
        let rows: Result<Vec<_>, _> = self.table.all().await?.iter().map(read).collect();
        let mut rows = rows?;
        rows.sort_by(|(at_ms, a), (other_ms, b)| {
            let of = |one: &PlaybookVersion| (one.reference.path.clone(), one.version);
            (other_ms, of(b)).cmp(&(at_ms, of(a)))
        });
        Ok(rows.into_iter().map(|(_, version)| version).collect())
    }

    async fn text(&self, reference: &PlaybookRef) -> Result<String, PortError> {
        let Ok(object) = object(reference) else { return Err(unregistered(reference)) };
        let found = self.objects.read(&object, PLAYBOOK_BYTES_MAX as u64).await?;
        let bytes = found.ok_or_else(|| unregistered(reference))?;
        String::from_utf8(bytes).map_err(|error| {
            let message = format!("the text of playbook `{}` is no text", reference.path);
            PortError::caused(PortErrorKind::Corrupt, message, error)
        })
    }
}

#[async_trait]
impl Catalog for DynamoCatalog {
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

/// The key of a text. What is no hash is the name of nothing.
fn object(reference: &PlaybookRef) -> Result<String, PortError> {
    let hash = &reference.hash;
    if hash.len() == 64 && hash.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Ok(format!("playbooks/{hash}"));
    }
    let message = format!("`{hash}` is no hash of a playbook");
    Err(PortError::new(PortErrorKind::Refused, message))
}

/// When a version was registered, and the version.
fn read(row: &Item) -> Result<(i64, PlaybookVersion), PortError> {
    let what = || "a row of the table of playbooks".to_owned();
    let reader = Reader { item: row, what: &what };
    let reference =
        PlaybookRef { path: reader.text("pk")?.to_owned(), hash: reader.text("hash")?.to_owned() };
    let version = PlaybookVersion { reference, version: reader.integer("sk")? };
    Ok((reader.integer("registered_ms")?, version))
}
