//! A table of `DynamoDB`: reads are consistent, writes are conditional, and each is counted.

use std::sync::Arc;
use std::time::Duration;

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::operation::put_item::PutItemError;
use aws_sdk_dynamodb::operation::query::builders::QueryFluentBuilder;
use aws_sdk_dynamodb::operation::update_item::UpdateItemError;
use aws_sdk_dynamodb::primitives::Blob;
use aws_sdk_dynamodb::types::{
    AttributeValue, KeysAndAttributes, ReturnValuesOnConditionCheckFailure,
};
use engine_core::limits::{AWS_ATTEMPTS_MAX, AWS_BACKOFF_MS, DYNAMODB_KEYS_MAX};
use engine_core::ports::{PortError, PortErrorKind};
use tokio::time::sleep;

use super::failure::{Asked, failure};
use super::item::{Item, bytes_of, integer, item, text};
use super::meter::Meter;

/// The attribute that tells writers of one item apart.
const WRITER: &str = "by";
/// Rows that one query asks for at most; a page ends at 1 MB anyway.
const PAGE_ROWS_MAX: usize = 10_000;

/// One table, and the variable that names it.
pub(super) struct Table {
    client: Client,
    name: String,
    shown: String,
    variable: &'static str,
    meter: Arc<Meter>,
}

/// Rows of one partition.
pub(super) struct Rows {
    pub(super) pk: String,
    /// Bounds of the sort key, both included.
    pub(super) between: (i128, i128),
    pub(super) descending: bool,
    pub(super) limit: usize,
}

/// What becomes of an item.
#[derive(Default)]
pub(super) struct Changes {
    /// New values.
    pub(super) set: Vec<(&'static str, AttributeValue)>,
    /// Values for attributes that have none yet.
    pub(super) first: Vec<(&'static str, AttributeValue)>,
    /// Whether an item that is not there stays away.
    pub(super) only_existing: bool,
}

impl Table {
    pub(super) fn new(
        client: Client,
        name: &str,
        variable: &'static str,
        meter: Arc<Meter>,
    ) -> Self {
        let shown = format!("table `{name}`");
        Self { client, name: name.to_owned(), shown, variable, meter }
    }

    /// The table, as a person would name it.
    pub(super) fn shown(&self) -> &str {
        &self.shown
    }

    fn asked(&self, action: &'static str) -> Asked<'_> {
        Asked { action, resource: &self.shown, variable: self.variable }
    }

    /// Returns an item; none if there is none.
    pub(super) async fn get(&self, key: Item) -> Result<Option<Item>, PortError> {
        let request = self.client.get_item().table_name(&self.name).set_key(Some(key));
        let found = request.consistent_read(true).send().await;
        let found = found.map_err(|error| failure(error, &self.asked("dynamodb:GetItem")))?.item;
        self.meter.read(found.as_ref().map_or(0, bytes_of));
        Ok(found)
    }

    /// Whether there is an item, without reading more of it than its key.
    pub(super) async fn has(&self, key: Item) -> Result<bool, PortError> {
        Ok(!self.existing(vec![key]).await?.is_empty())
    }

    /// Writes an item, whatever is there.
    pub(super) async fn put(&self, item: Item) -> Result<(), PortError> {
        let bytes = bytes_of(&item);
        let sent = self.client.put_item().table_name(&self.name).set_item(Some(item)).send().await;
        sent.map_err(|error| failure(error, &self.asked("dynamodb:PutItem")))?;
        self.meter.written(bytes);
        Ok(())
    }

    /// Writes an item where none is; whether this call wrote it.
    ///
    /// A write whose answer is lost is repeated by the SDK, and then meets itself: a mark of this call in
    /// the item tells that from another writer.
    pub(super) async fn create(&self, mut item: Item) -> Result<bool, PortError> {
        let mut mark = [0; 16];
        getrandom::fill(&mut mark).map_err(|error| {
            let message = "the operating system's random source does not answer";
            PortError::caused(PortErrorKind::Unavailable, message, error)
        })?;
        let mark = AttributeValue::B(Blob::new(mark));
        item.insert(WRITER.to_owned(), mark.clone());
        let key = key_of(&item);
        let bytes = bytes_of(&item);
        let sent = self
            .client
            .put_item()
            .table_name(&self.name)
            .set_item(Some(item))
            .condition_expression("attribute_not_exists(pk)")
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld)
            .send()
            .await;
        let Err(error) = sent else {
            self.meter.written(bytes);
            return Ok(true);
        };
        let Some(PutItemError::ConditionalCheckFailedException(failed)) = error.as_service_error()
        else {
            return Err(failure(error, &self.asked("dynamodb:PutItem")));
        };
        // What fails is billed, too.
        self.meter.written(bytes);
        let found = match failed.item() {
            Some(found) => Some(found.clone()),
            None => self.get(key).await?,
        };
        Ok(found.is_some_and(|found| found.get(WRITER) == Some(&mark)))
    }

    /// Changes an item; whether there was one, which `changes` may not ask for.
    pub(super) async fn change(&self, key: Item, changes: Changes) -> Result<bool, PortError> {
        let mut bytes = bytes_of(&key);
        let mut request = self.client.update_item().table_name(&self.name).set_key(Some(key));
        let mut assignments = Vec::new();
        let set = changes.set.into_iter().map(|change| (change, false));
        let first = changes.first.into_iter().map(|change| (change, true));
        for (number, ((name, value), is_first)) in set.chain(first).enumerate() {
            bytes += bytes_of(&item([(name, value.clone())]));
            // Names may be words of the query language, so each has a stand-in.
            request = request
                .expression_attribute_names(format!("#{number}"), name)
                .expression_attribute_values(format!(":{number}"), value);
            assignments.push(if is_first {
                format!("#{number} = if_not_exists(#{number}, :{number})")
            } else {
                format!("#{number} = :{number}")
            });
        }
        request = request.update_expression(format!("SET {}", assignments.join(", ")));
        if changes.only_existing {
            request = request.condition_expression("attribute_exists(pk)");
        }
        match request.send().await {
            Ok(_updated) => {
                self.meter.written(bytes);
                Ok(true)
            }
            Err(error) => match error.as_service_error() {
                Some(UpdateItemError::ConditionalCheckFailedException(_)) => {
                    self.meter.written(0);
                    Ok(false)
                }
                _ => Err(failure(error, &self.asked("dynamodb:UpdateItem"))),
            },
        }
    }

    /// Deletes an item; whether there was one.
    pub(super) async fn delete(&self, key: Item) -> Result<bool, PortError> {
        let request = self.client.delete_item().table_name(&self.name).set_key(Some(key));
        let request = request.return_values(aws_sdk_dynamodb::types::ReturnValue::AllOld);
        let deleted = request.send().await;
        let deleted =
            deleted.map_err(|error| failure(error, &self.asked("dynamodb:DeleteItem")))?;
        self.meter.written(deleted.attributes().map_or(0, bytes_of));
        Ok(deleted.attributes.is_some_and(|found| !found.is_empty()))
    }

    /// Returns rows of one partition in the order of their sort key.
    pub(super) async fn rows(&self, rows: Rows) -> Result<Vec<Item>, PortError> {
        let mut found = Vec::new();
        let mut after = None;
        if rows.between.0 > rows.between.1 {
            return Ok(found);
        }
        while found.len() < rows.limit {
            let page = (rows.limit - found.len()).min(PAGE_ROWS_MAX);
            let request = self.query(&rows).limit(i32::try_from(page).unwrap_or(i32::MAX));
            let page = request.set_exclusive_start_key(after.take()).send().await;
            let page = page.map_err(|error| failure(error, &self.asked("dynamodb:Query")))?;
            let items = page.items.unwrap_or_default();
            self.meter.read(items.iter().map(bytes_of).sum());
            found.extend(items);
            after = page.last_evaluated_key.filter(|key| !key.is_empty());
            if after.is_none() {
                break;
            }
        }
        Ok(found)
    }

    fn query(&self, rows: &Rows) -> QueryFluentBuilder {
        let (from, to) = rows.between;
        self.client
            .query()
            .table_name(&self.name)
            .key_condition_expression("pk = :pk AND sk BETWEEN :from AND :to")
            .expression_attribute_values(":pk", text(rows.pk.clone()))
            .expression_attribute_values(":from", integer(from))
            .expression_attribute_values(":to", integer(to))
            .scan_index_forward(!rows.descending)
            .consistent_read(true)
    }

    /// Returns every item, in no order.
    pub(super) async fn all(&self) -> Result<Vec<Item>, PortError> {
        let mut found = Vec::new();
        let mut after = None;
        loop {
            let request = self.client.scan().table_name(&self.name).consistent_read(true);
            let page = request.set_exclusive_start_key(after.take()).send().await;
            let page = page.map_err(|error| failure(error, &self.asked("dynamodb:Scan")))?;
            let items = page.items.unwrap_or_default();
            self.meter.read(items.iter().map(bytes_of).sum());
            found.extend(items);
            after = page.last_evaluated_key.filter(|key| !key.is_empty());
            if after.is_none() {
                return Ok(found);
            }
        }
    }

    /// Returns the keys of those items that exist, in no order. Counted by what is returned, though AWS
    /// bills whole items: nobody waits for this, and it is rare.
    pub(super) async fn existing(&self, keys: Vec<Item>) -> Result<Vec<Item>, PortError> {
        let mut found = Vec::new();
        for keys in keys.chunks(DYNAMODB_KEYS_MAX) {
            let mut left = keys.to_vec();
            let mut backoff = Duration::from_millis(AWS_BACKOFF_MS);
            for attempt in 0..AWS_ATTEMPTS_MAX {
                if attempt > 0 {
                    sleep(backoff).await;
                    backoff *= 2;
                }
                left = self.some_of(left, &mut found).await?;
                if left.is_empty() {
                    break;
                }
            }
            if !left.is_empty() {
                let message = format!("{} returns only a part of what is asked for", self.shown);
                return Err(PortError::new(PortErrorKind::Unavailable, message));
            }
        }
        Ok(found)
    }

    /// Reads keys; returns those that were put off.
    async fn some_of(
        &self,
        keys: Vec<Item>,
        found: &mut Vec<Item>,
    ) -> Result<Vec<Item>, PortError> {
        let asked = self.asked("dynamodb:BatchGetItem");
        let wanted = KeysAndAttributes::builder()
            .set_keys(Some(keys))
            .consistent_read(true)
            .projection_expression("pk, sk")
            .build();
        let wanted = wanted.map_err(|error| {
            let message = format!("keys of {} cannot be asked for", self.shown);
            PortError::caused(PortErrorKind::Refused, message, error)
        })?;
        let page = self.client.batch_get_item().request_items(&self.name, wanted).send().await;
        let page = page.map_err(|error| failure(error, &asked))?;
        let items = page.responses.and_then(|mut tables| tables.remove(&self.name));
        let items = items.unwrap_or_default();
        self.meter.read(items.iter().map(bytes_of).sum());
        found.extend(items);
        let left = page.unprocessed_keys.and_then(|mut tables| tables.remove(&self.name));
        Ok(left.map(|left| left.keys).unwrap_or_default())
    }
}

fn key_of(item: &Item) -> Item {
    let parts = ["pk", "sk"].into_iter();
    parts.filter_map(|name| Some((name.to_owned(), item.get(name)?.clone()))).collect()
}
