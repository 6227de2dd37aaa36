//! Fetches what a payload names. The engine, the worker and the terminal read values only here.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Map, Value, json};

use crate::event::{Fact, Outcome};
use crate::payload::{LoopSummary, Pages, Part, Payload};
use crate::ports::{PayloadStore, PortError, PortErrorKind, StateStore};

/// Entries read at a time when a loop's results are collected: each may hold thousands of results.
const PAGE_ENTRIES: usize = 16;

/// The two ports that hold values.
#[derive(Clone)]
pub struct Readers {
    /// The log.
    pub store: Arc<dyn StateStore>,
    /// Large values.
    pub payloads: Arc<dyn PayloadStore>,
}

/// Returns the value of a payload, wherever it is.
///
/// # Errors
/// Those of the ports; `Corrupt` if an entry or an object is not what the payload says.
pub async fn load(readers: &Readers, payload: &Payload) -> Result<Value, PortError> {
    match payload {
        Payload::Inline(value) => Ok(value.clone()),
        Payload::Ref(reference) => {
            let bytes = readers.payloads.get(reference).await?;
            serde_json::from_slice(&bytes).map_err(|error| {
                let message = format!("payload `{}` is not JSON", reference.uri);
                PortError::caused(PortErrorKind::Corrupt, message, error)
            })
        }
        Payload::Log { key, seq, fact, item } => {
            let entries = readers.store.entries(key, *seq, 1).await?;
            let held = entries.first().filter(|entry| entry.seq == *seq);
            match held.and_then(|entry| entry.payload(*fact, *item)) {
                Some(Payload::Inline(value)) => Ok(value.clone()),
                Some(inner) => Box::pin(load(readers, inner)).await,
                None => Err(missing(&format!("entry {seq} of `{key}` has no value {fact}.{item}"))),
            }
        }
        Payload::Loop(summary) => aggregate(readers, summary).await,
        Payload::List(list) => {
            let mut items = Vec::new();
            extend(readers, &list.parts, &mut items).await?;
            Ok(Value::Array(items))
        }
        Payload::Pages(pages) => paged(readers, pages).await,
    }
}

/// Appends what the parts of a list hold, in order.
async fn extend(
    readers: &Readers,
    parts: &[Part],
    items: &mut Vec<Value>,
) -> Result<(), PortError> {
    for part in parts {
        match part {
            Part::Item(payload) => items.push(Box::pin(load(readers, payload)).await?),
            Part::Items(payload) => match Box::pin(load(readers, payload)).await? {
                Value::Array(more) => items.extend(more),
                other => items.push(other),
            },
            Part::Stored { parts, .. } => {
                let stored = Box::pin(load(readers, &Payload::Ref(parts.clone()))).await?;
                let stored: Vec<Part> = serde_json::from_value(stored).map_err(|error| {
                    let message = format!("payload `{}` is no list of parts", parts.uri);
                    PortError::caused(PortErrorKind::Corrupt, message, error)
                })?;
                Box::pin(extend(readers, &stored, items)).await?;
            }
        }
    }
    Ok(())
}

/// The last page of a tool with what its pages collected (`dsl.md` 3.2, decision D58).
async fn paged(readers: &Readers, pages: &Pages) -> Result<Value, PortError> {
    let items = Box::pin(load(readers, &pages.items)).await?;
    if pages.envelope {
        let meta = json!({"iterations": pages.count});
        return Ok(json!({"data": items, "meta": meta, "_all_collected_items": items}));
    }
    let last = Box::pin(load(readers, &pages.last)).await?;
    let mut result = match last {
        Value::Object(map) => map,
        other => Map::from_iter([("original_result".to_owned(), other)]),
    };
    let pagination = json!({"pages_collected": pages.count, "all_items": items});
    result.insert("_pagination".to_owned(), pagination);
    result.insert("_all_collected_items".to_owned(), items);
    Ok(Value::Object(result))
}

/// `{results, stats}` of a closed loop: one result per index, in index order.
async fn aggregate(readers: &Readers, summary: &LoopSummary) -> Result<Value, PortError> {
    let mut results: BTreeMap<u64, Value> = BTreeMap::new();
    let keep = |index, result| {
        results.insert(index, result);
    };
    for_each_result(readers, summary, keep).await?;
    // A loop that was stopped may have settled items beyond ones that it gave up: those are null.
    let highest = results.last_key_value().map_or(0, |(index, _)| index + 1);
    let indexes = 0..summary.total.max(highest);
    let results: Vec<Value> =
        indexes.map(|index| results.remove(&index).unwrap_or(Value::Null)).collect();
    Ok(json!({"results": results, "stats": summary.stats()}))
}

/// Hands each result of a closed loop over, with its index, in the order of the log.
///
/// For readers that cannot hold all of them; an iteration that was given up has none.
///
/// # Errors
/// As [`load`].
pub async fn for_each_result(
    readers: &Readers,
    summary: &LoopSummary,
    mut each: impl FnMut(u64, Value),
) -> Result<(), PortError> {
    let mut from = 1;
    loop {
        let entries = readers.store.entries(&summary.key, from, PAGE_ENTRIES).await?;
        for fact in entries.iter().flat_map(|entry| &entry.facts) {
            match fact {
                Fact::FrameAnswered { first, outcomes, retried, .. } => {
                    for (index, outcome) in (*first..).zip(outcomes) {
                        if !retried.contains(&index) {
                            each(index, Box::pin(settled(readers, outcome)).await?);
                        }
                    }
                }
                Fact::IterationSettled { index, outcome, .. } => {
                    each(*index, Box::pin(settled(readers, outcome)).await?);
                }
                _ => {}
            }
        }
        match entries.last() {
            Some(last) if entries.len() == PAGE_ENTRIES => from = last.seq + 1,
            _ => return Ok(()),
        }
    }
}

/// What an iteration left: its result, or its error in the place of one.
async fn settled(readers: &Readers, outcome: &Outcome) -> Result<Value, PortError> {
    match &outcome.error {
        Some(error) => Ok(json!({"status": "error", "error": error})),
        None => load(readers, &outcome.result).await,
    }
}

fn missing(message: &str) -> PortError {
    PortError::new(PortErrorKind::Corrupt, message)
}

#[cfg(test)]
mod tests;
