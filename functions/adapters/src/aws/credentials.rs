//! Credentials in a table, encrypted with a key that only a secret of Secrets Manager holds.
//!
//! | pk | attributes |
//! |---|---|
//! | name | `kind`, `description`, `tags`, `meta`, `key_id`, `nonce`, `sealed`, `created_ms`, `updated_ms` |

use std::sync::Arc;

use async_trait::async_trait;
use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::primitives::Blob;
use aws_sdk_dynamodb::types::AttributeValue;
use engine_core::limits::CREDENTIALS_MAX;
use engine_core::ports::{CredentialNote, PortError, PortErrorKind, Secrets};
use serde_json::Value;
use tokio::sync::OnceCell;

use super::config::CREDENTIALS_TABLE;
use super::item::{Item, Reader, integer, item, text};
use super::key_secret::KeySecret;
use super::meter::Meter;
use super::table::{Changes, Table};
use crate::credentials::{CredentialStore, Stored, no_room};
use crate::master_key::{MasterKey, Sealed};

/// The credentials of an account. No `Debug`: its key is nobody's business.
pub struct DynamoCredentials {
    table: Option<Table>,
    secret: KeySecret,
    /// Fetched when it is first needed: most processes need none.
    key: OnceCell<MasterKey>,
}

impl DynamoCredentials {
    pub(super) fn new(
        client: Client,
        table: Option<&str>,
        secret: KeySecret,
        meter: Arc<Meter>,
    ) -> Self {
        let table = table.map(|name| Table::new(client, name, CREDENTIALS_TABLE, meter));
        Self { table, secret, key: OnceCell::new() }
    }

    fn table(&self) -> Result<&Table, PortError> {
        self.table.as_ref().ok_or_else(|| {
            let message = format!(
                "this function has no table of credentials; set `{CREDENTIALS_TABLE}` (see `infra/README.md`)"
            );
            PortError::new(PortErrorKind::Refused, message)
        })
    }

    async fn key(&self) -> Result<&MasterKey, PortError> {
        self.key.get_or_try_init(|| self.secret.fetch()).await
    }

    async fn notes(&self) -> Result<Vec<CredentialNote>, PortError> {
        let rows = self.table()?.all().await?;
        let notes: Result<Vec<_>, _> = rows.iter().map(note).collect();
        let mut notes = notes?;
        notes.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(notes)
    }
}

#[async_trait]
impl CredentialStore for DynamoCredentials {
    async fn put(&self, note: &CredentialNote, fields: &Value) -> Result<(), PortError> {
        let table = self.table()?;
        // Two that are new at the same time may both be the last: the limit bounds, it is no promise.
        let others = self.notes().await?;
        let others = others.iter().filter(|other| other.name != note.name).count();
        if others >= CREDENTIALS_MAX {
            return Err(no_room());
        }
        let stored = Stored::new(self.key().await?, &note.name, fields)?;
        let changes = Changes {
            set: vec![
                ("kind", text(note.kind.as_str())),
                ("description", text(note.description.as_str())),
                ("tags", text(Value::from(note.tags.clone()).to_string())),
                ("meta", text(note.meta.to_string())),
                ("key_id", text(stored.key_id)),
                ("nonce", AttributeValue::B(Blob::new(stored.sealed.nonce))),
                ("sealed", AttributeValue::B(Blob::new(stored.sealed.bytes))),
                ("updated_ms", integer(note.updated_ms)),
            ],
            first: vec![("created_ms", integer(note.updated_ms))],
            only_existing: false,
        };
        table.change(row_key(&note.name), changes).await.map(drop)
    }

    async fn list(&self) -> Result<Vec<CredentialNote>, PortError> {
        self.notes().await
    }

    async fn remove(&self, name: &str) -> Result<bool, PortError> {
        let table = self.table()?;
        if name.is_empty() {
            return Ok(false);
        }
        table.delete(row_key(name)).await
    }

    async fn fields(&self, name: &str) -> Result<Option<Value>, PortError> {
        let table = self.table()?;
        if name.is_empty() {
            return Ok(None);
        }
        let Some(row) = table.get(row_key(name)).await? else { return Ok(None) };
        let stored = stored(name, &row)?;
        stored.open(self.key().await?, name).map(Some)
    }
}

#[async_trait]
impl Secrets for DynamoCredentials {
    async fn credential(&self, name: &str) -> Result<Value, PortError> {
        if let Some(fields) = self.fields(name).await? {
            return Ok(fields);
        }
        let known = self.notes().await?;
        let known: Vec<String> = known.iter().map(|note| format!("`{}`", note.name)).collect();
        let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
        let message = format!(
            "credential `{name}` does not exist (there is: {known}); post it to `/api/credentials`"
        );
        Err(PortError::new(PortErrorKind::NotFound, message))
    }
}

fn row_key(name: &str) -> Item {
    item([("pk", text(name))])
}

fn stored(name: &str, row: &Item) -> Result<Stored, PortError> {
    let what = || format!("credential `{name}`");
    let reader = Reader { item: row, what: &what };
    let (nonce, bytes) = (reader.bytes("nonce")?.to_vec(), reader.bytes("sealed")?.to_vec());
    Ok(Stored { key_id: reader.text("key_id")?.to_owned(), sealed: Sealed { nonce, bytes } })
}

fn note(row: &Item) -> Result<CredentialNote, PortError> {
    let what = || "a row of the table of credentials".to_owned();
    let reader = Reader { item: row, what: &what };
    let name = reader.text("pk")?.to_owned();
    let json = |attribute: &str| -> Result<Value, PortError> {
        serde_json::from_str(reader.text(attribute)?).map_err(|error| {
            let message = format!("credential `{name}`: `{attribute}` does not decode");
            PortError::caused(PortErrorKind::Corrupt, message, error)
        })
    };
    let tags = json("tags")?;
    let tags = tags.as_array().into_iter().flatten().filter_map(Value::as_str);
    Ok(CredentialNote {
        kind: reader.text("kind")?.to_owned(),
        description: reader.text("description")?.to_owned(),
        tags: tags.map(str::to_owned).collect(),
        meta: json("meta")?,
        created_ms: reader.integer("created_ms")?,
        updated_ms: reader.integer("updated_ms")?,
        name,
    })
}
