//! The log and the states in one table of `DynamoDB`.
//!
//! | pk | sk | attributes |
//! |---|---|---|
//! | key of an aggregate | entry | `at_ms`, `event_id`, `next_event_id`, `inputs`, `facts`, `state` |
//! | `exec:{id}:loops` | event id of a loop | `key` |
//! | `executions:{00..15}` | execution id | `path`, `status`, `started_ms`, `ended_ms` |
//! | `running:{00..15}` | execution id | the same, while it runs |
//!
//! The key of an aggregate is `exec:{id}` or `exec:{id}:loop:{step}:{event_id}`.
//! Rows that are created under a condition have `by` beside these: the mark of the call that wrote them.
//!
//! # Invariants
//!
//! * An entry is one conditional write: nothing of it is there, or all of it. No transaction, which would
//!   cost twice as much.
//! * Entries are never changed or deleted. So whoever has seen entry n knows for good that n + 1 leaves no
//!   gap, and only a caller that has not seen it costs a read.
//! * The rows that lists are made of are written before the first entry, so that no aggregate is missing;
//!   a row without an entry is the trace of a start that came to nothing, and is not shown.

mod entry;
mod listing;

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use aws_sdk_dynamodb::Client;
use engine_core::event::{Entry, Fact};
use engine_core::ids::{AggregateKey, EventId, ExecutionId};
use engine_core::limits::TAILS_KEPT;
use engine_core::ports::{PortError, PortErrorKind, StateStore, Tail};

use self::entry::{decode, decode_tail, encode};
use super::config::STATE_TABLE;
use super::item::{Item, Reader, key, text};
use super::meter::Meter;
use super::table::{Rows, Table};
use crate::recent::Recent;

/// The [`StateStore`] of an account.
pub struct DynamoStore {
    table: Table,
    expanded: fn(&[Fact]) -> usize,
    /// The newest entry of an aggregate that this process has seen.
    seen: Mutex<Recent<AggregateKey, u64>>,
}

impl DynamoStore {
    /// The store in `table`; facts are shown as so many events as `expanded` says.
    pub(super) fn new(
        client: Client,
        table: &str,
        expanded: fn(&[Fact]) -> usize,
        meter: Arc<Meter>,
    ) -> Self {
        let table = Table::new(client, table, STATE_TABLE, meter);
        Self { table, expanded, seen: Mutex::new(Recent::new(TAILS_KEPT)) }
    }

    fn see(&self, key: &AggregateKey, seq: u64) {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let known = seen.get(key).copied().unwrap_or_default();
        seen.insert(key.clone(), known.max(seq));
    }

    /// Whether entry `seq` is in the log; a read only if this process has not seen it.
    async fn has_entry(&self, of: &AggregateKey, seq: u64) -> Result<bool, PortError> {
        let known = {
            let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
            seen.get(of).copied().unwrap_or_default()
        };
        if known >= seq {
            return Ok(true);
        }
        let is_there = self.table.has(key(of.to_string(), seq)).await?;
        if is_there {
            self.see(of, seq);
        }
        Ok(is_there)
    }

    /// Writes what lists need before the first entry. Each row may be there already.
    async fn announce(&self, entry: &Entry) -> Result<(), PortError> {
        match &entry.key {
            AggregateKey::Execution(_) => self.announce_execution(entry).await,
            AggregateKey::Loop { execution_id, event_id, .. } => {
                let mut row = loop_row(*execution_id, *event_id);
                row.insert("key".to_owned(), text(entry.key.to_string()));
                self.table.put(row).await
            }
        }
    }

    async fn loops(&self, execution_id: ExecutionId) -> Result<Vec<AggregateKey>, PortError> {
        let rows = Rows {
            pk: loops_pk(execution_id),
            between: (i128::from(i64::MIN), i128::from(i64::MAX)),
            descending: false,
            limit: usize::MAX,
        };
        let what = || format!("a row of `{}`", loops_pk(execution_id));
        let rows = self.table.rows(rows).await?;
        let keys = rows.iter().map(|row| {
            let reader = Reader { item: row, what: &what };
            reader.text("key")?.parse::<AggregateKey>().map_err(|error| {
                PortError::caused(PortErrorKind::Corrupt, format!("{} is no key", what()), error)
            })
        });
        keys.collect()
    }
}

#[async_trait]
impl StateStore for DynamoStore {
    async fn tail(&self, key: &AggregateKey) -> Result<Option<Tail>, PortError> {
        let rows = Rows {
            pk: key.to_string(),
            between: (0, i128::from(u64::MAX)),
            descending: true,
            limit: 1,
        };
        let Some(found) = self.table.rows(rows).await?.pop() else { return Ok(None) };
        let tail = decode_tail(key, &found)?;
        self.see(key, tail.seq);
        Ok(Some(tail))
    }

    async fn commit(&self, entry: &Entry) -> Result<(), PortError> {
        let item = encode(entry, (self.expanded)(&entry.facts), self.table.shown())?;
        let Entry { key, seq, .. } = entry;
        let conflict = || {
            let message = format!("entry {seq} of `{key}` is not the next one");
            Err(PortError::new(PortErrorKind::Conflict, message))
        };
        if *seq == 1 {
            self.announce(entry).await?;
        } else if *seq == 0 || !self.has_entry(key, seq - 1).await? {
            return conflict();
        }
        if !self.table.create(item).await? {
            return conflict();
        }
        self.see(key, *seq);
        self.note_end(entry).await;
        Ok(())
    }

    async fn entries(
        &self,
        key: &AggregateKey,
        from: u64,
        limit: usize,
    ) -> Result<Vec<Entry>, PortError> {
        let rows = Rows {
            pk: key.to_string(),
            between: (i128::from(from), i128::from(u64::MAX)),
            descending: false,
            limit,
        };
        self.table.rows(rows).await?.iter().map(|item| decode(key, item)).collect()
    }

    async fn aggregates(&self, execution_id: ExecutionId) -> Result<Vec<AggregateKey>, PortError> {
        let mut keys = vec![AggregateKey::Execution(execution_id)];
        keys.extend(self.loops(execution_id).await?);
        let first = keys.iter().map(|one| key(one.to_string(), 1)).collect();
        let existing = self.table.existing(first).await?;
        let existing: HashSet<&str> = existing.iter().filter_map(pk_of).collect();
        keys.retain(|one| existing.contains(one.to_string().as_str()));
        Ok(keys)
    }
}

fn pk_of(item: &Item) -> Option<&str> {
    item.get("pk")?.as_s().ok().map(String::as_str)
}

fn loops_pk(execution_id: ExecutionId) -> String {
    format!("{}:loops", AggregateKey::Execution(execution_id))
}

fn loop_row(execution_id: ExecutionId, event_id: EventId) -> Item {
    key(loops_pk(execution_id), event_id.0)
}
