//! One entry as one item.

use aws_sdk_dynamodb::primitives::Blob;
use aws_sdk_dynamodb::types::AttributeValue;
use engine_core::event::Entry;
use engine_core::ids::{AggregateKey, EventId};
use engine_core::limits::{DYNAMODB_ITEM_BYTES_MAX, DYNAMODB_TEXT_BYTES_MAX};
use engine_core::ports::{PortError, PortErrorKind, Tail};
use miniz_oxide::deflate::compress_to_vec;
use miniz_oxide::inflate::decompress_to_vec_with_limit;
use serde::de::DeserializeOwned;

use crate::aws::failure::too_large;
use crate::aws::item::{Item, Reader, bytes_of, integer, item, text};
use crate::aws::meter::write_units;

/// The first byte of a compressed attribute: DEFLATE follows. Another value is of a newer version.
const DEFLATED: u8 = 1;
/// Fast, and within some percent of the best for text of this size.
const LEVEL: u8 = 6;
/// Bytes of the mark that the table adds.
const MARK_BYTES: u64 = 18;

/// The item of an entry whose facts are `expanded` events.
///
/// Facts and state are JSON that people can read in the console. They are compressed where that makes the
/// write cheaper, which it does in whole units of 1 KB.
pub(super) fn encode(entry: &Entry, expanded: usize, table: &str) -> Result<Item, PortError> {
    let json = |value: serde_json::Result<String>| {
        value.map_err(|error| {
            let message = format!("entry {} of `{}` cannot be encoded", entry.seq, entry.key);
            PortError::caused(PortErrorKind::Refused, message, error)
        })
    };
    let expanded = i64::try_from(expanded).unwrap_or(i64::MAX);
    let facts = json(serde_json::to_string(&entry.facts))?;
    let state = json(serde_json::to_string(&entry.state))?;
    let plain = item([
        ("pk", text(entry.key.to_string())),
        ("sk", integer(entry.seq)),
        ("at_ms", integer(entry.at_ms)),
        ("event_id", integer(entry.event_id.0)),
        ("next_event_id", integer(entry.event_id.0.saturating_add(expanded))),
        ("inputs", text(json(serde_json::to_string(&entry.inputs))?)),
        ("facts", text(facts.as_str())),
        ("state", text(state.as_str())),
    ]);
    let units = |item: &Item| write_units(bytes_of(item) + MARK_BYTES);
    let mut chosen = plain;
    if units(&chosen) > 1 {
        let mut smaller = chosen.clone();
        smaller.insert("facts".to_owned(), deflated(&facts));
        smaller.insert("state".to_owned(), deflated(&state));
        if units(&smaller) < units(&chosen) {
            chosen = smaller;
        }
    }
    if bytes_of(&chosen) + MARK_BYTES > DYNAMODB_ITEM_BYTES_MAX as u64 {
        let message = format!("entry {} of `{}`: {}", entry.seq, entry.key, too_large(table));
        return Err(PortError::new(PortErrorKind::Refused, message));
    }
    Ok(chosen)
}

fn deflated(json: &str) -> AttributeValue {
    let mut bytes = vec![DEFLATED];
    bytes.extend(compress_to_vec(json.as_bytes(), LEVEL));
    AttributeValue::B(Blob::new(bytes))
}

/// The entry of an item.
pub(super) fn decode(key: &AggregateKey, item: &Item) -> Result<Entry, PortError> {
    let what = || match item.get("sk") {
        Some(AttributeValue::N(seq)) => format!("entry {seq} of `{key}`"),
        _ => format!("an entry of `{key}`"),
    };
    let reader = Reader { item, what: &what };
    Ok(Entry {
        key: key.clone(),
        seq: reader.integer("sk")?,
        at_ms: reader.integer("at_ms")?,
        event_id: EventId(reader.integer("event_id")?),
        inputs: json(&reader, "inputs")?,
        facts: json(&reader, "facts")?,
        state: json(&reader, "state")?,
    })
}

/// The tail of an aggregate, of the item of its last entry.
pub(super) fn decode_tail(key: &AggregateKey, item: &Item) -> Result<Tail, PortError> {
    let what = || format!("the state of `{key}`");
    let reader = Reader { item, what: &what };
    Ok(Tail {
        seq: reader.integer("sk")?,
        at_ms: reader.integer("at_ms")?,
        next_event_id: reader.integer("next_event_id")?,
        state: json(&reader, "state")?,
    })
}

/// Reads JSON, compressed or not.
fn json<T: DeserializeOwned>(reader: &Reader<'_>, name: &str) -> Result<T, PortError> {
    let Ok(bytes) = reader.bytes(name) else {
        let parsed = serde_json::from_str(reader.text(name)?);
        return parsed.map_err(|error| undecoded(reader, name, error));
    };
    let plain = match bytes.split_first() {
        Some((&DEFLATED, rest)) => decompress_to_vec_with_limit(rest, DYNAMODB_TEXT_BYTES_MAX)
            .map_err(|error| undecoded(reader, name, error))?,
        Some((version, _)) => {
            let message = format!(
                "{}: `{name}` was written by a newer version (form {version}); deploy it to every function",
                (reader.what)()
            );
            return Err(PortError::new(PortErrorKind::Refused, message));
        }
        None => return Err(reader.corrupt(name)),
    };
    serde_json::from_slice(&plain).map_err(|error| undecoded(reader, name, error))
}

fn undecoded(
    reader: &Reader<'_>,
    name: &str,
    error: impl std::error::Error + Send + Sync + 'static,
) -> PortError {
    let message = format!("{}: `{name}` does not decode", (reader.what)());
    PortError::caused(PortErrorKind::Corrupt, message, error)
}
