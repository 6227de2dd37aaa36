//! Opening a loop: what it iterates over, decided once and stored once.

use std::cmp::Ordering;

use serde_json::{Value, json};

use super::own::is_own;
use super::settings::whole;
use super::view::{Item, View};
use super::{Trouble, Turn};
use crate::event::{Fact, LoopOpen};
use crate::ids::{AggregateKey, EventId, StepName};
use crate::limits::{
    CHUNK_BYTES, CHUNK_ITEMS_MAX, FRAME_ITEMS_MAX, LOOP_IN_FLIGHT_DEFAULT, LOOP_IN_FLIGHT_MAX,
    LOOP_ITEMS_MAX, LOOP_SHOWN_BYTES, LOOP_UNITS_IN_FLIGHT_MAX,
};
use crate::payload::{Blob, PayloadRef};
use crate::playbook::{Loop, LoopMode, Rule, Step, When, sink};
use crate::template::{Coerce, condition, evaluate, expression, render};

impl<'a> Turn<'a> {
    /// Renders a step's collection, stores it in chunks, and asks for the loop.
    pub(super) fn request_loop(&mut self, step: &'a Step, run: EventId) -> Result<(), Trouble> {
        let Some(repeat) = &step.repeat else { return Ok(()) };
        let mut view = self.view(step, Some(run), None);
        let (items, note) = collect(repeat, &mut view)?;
        if items.len() > LOOP_ITEMS_MAX {
            return Err(too_many(&step.name, items.len()));
        }
        let max_in_flight = window(repeat, &view)?;
        let timeout_ms = self.timeout_ms(step, run)?;
        let units = makes_units(step);
        let scope = self.scope(step, run);
        let (collection, chunk_items) = self.store_items(&items);
        let open = LoopOpen {
            playbook: self.moment.playbook.reference.clone(),
            step: step.name.clone(),
            tool_kind: step.kind().to_owned(),
            iterator: repeat.iterator.clone(),
            mode: repeat.mode,
            collection_size: items.len() as u64,
            collection,
            chunk_items,
            max_in_flight: if units {
                max_in_flight.min(LOOP_UNITS_IN_FLIGHT_MAX)
            } else {
                max_in_flight
            },
            frame_items_max: if units { 1 } else { FRAME_ITEMS_MAX },
            fail_fast: repeat.fail_fast,
            timeout_ms,
            scope,
            heard: 0,
            note,
            depth: self.depth(),
            about: about(step, repeat, &items),
        };
        let execution_id = self.moment.key.execution_id();
        let key = AggregateKey::Loop { execution_id, step: step.name.clone(), event_id: run };
        self.record(Fact::LoopRequested { run, key, open: Box::new(open) });
        Ok(())
    }

    /// Stores the items in chunks of equal count, and the list of the chunks.
    fn store_items(&mut self, items: &[Value]) -> (PayloadRef, u64) {
        let execution_id = self.moment.key.execution_id();
        let written: Vec<String> = items.iter().map(Value::to_string).collect();
        let bytes: usize = written.iter().map(String::len).sum();
        let fitting = (items.len() * CHUNK_BYTES).checked_div(bytes).unwrap_or(CHUNK_ITEMS_MAX);
        let chunk_items = fitting.clamp(1, CHUNK_ITEMS_MAX);
        let mut chunks: Vec<PayloadRef> = Vec::new();
        for chunk in written.chunks(chunk_items) {
            let blob = Blob::new(execution_id, format!("[{}]", chunk.join(",")).into_bytes());
            chunks.push(blob.reference.clone());
            self.blobs.push(blob);
        }
        // A list of plain structs always has a JSON form.
        let list = Blob::new(execution_id, serde_json::to_vec(&chunks).unwrap_or_default());
        let collection = list.reference.clone();
        self.blobs.push(list);
        (collection, chunk_items as u64)
    }
}

/// The failure of a loop over more items than a loop may have.
pub(super) fn too_many(step: &StepName, items: usize) -> Trouble {
    let message = format!(
        "the loop of `{step}` has {items} items; at most {LOOP_ITEMS_MAX} are allowed: split it \
         into several executions"
    );
    Trouble::failed("LimitError", message)
}

/// What people are told when the loop begins, of what is not long: its items, and what runs for each.
fn about(step: &Step, repeat: &Loop, items: &[Value]) -> Value {
    let is_short = |value: &Value| value.to_string().len() <= LOOP_SHOWN_BYTES;
    let mut task = json!({"tool": step.kind()});
    if let Some(retry) = step.retry.as_ref().filter(|retry| is_short(retry)) {
        task["retry"] = retry.clone();
    }
    let mut about = json!({"nested_task": task, "enumerate": repeat.enumerate});
    if let Some(chunk) = &repeat.chunk {
        about["chunk_size"] = chunk.clone();
    }
    // An item has two characters of JSON at least, with its comma.
    let few = (items.len() <= LOOP_SHOWN_BYTES / 2).then(|| json!(items));
    if let Some(items) = few.filter(is_short) {
        about["collection"] = items;
    }
    about
}

/// Whether iterations make several calls, or rules look at each: then a frame carries one of them.
pub(super) fn makes_units(step: &Step) -> bool {
    let saves = step.sink.as_ref().is_some_and(|save| !sink::records(save));
    saves
        || is_own(step.kind())
        || !step.tasks.is_empty()
        || !step.retries.is_empty()
        || step.rules.iter().any(watches_items)
}

/// Whether a rule may match the end of a single iteration.
fn watches_items(rule: &Rule) -> bool {
    match &rule.when {
        When::Condition(text) => {
            let iterations = ["call.done", "call.error", "step.failed"];
            !text.contains("event.name") || iterations.iter().any(|name| text.contains(name))
        }
        When::Else => true,
    }
}

/// The items in their order: filtered, sorted, cut (as `NoETL`'s first version did).
fn collect(repeat: &Loop, view: &mut View<'_>) -> Result<(Vec<Value>, Option<String>), Trouble> {
    let place = format!("`loop.in` (line {})", repeat.position.line);
    let source = match &repeat.source {
        Value::String(text) => evaluate(text, &view.context()),
        other => render(other, &view.context(), Coerce::Mixed),
    };
    let source = source.map_err(|error| Trouble::template(&place, error))?;
    let (mut items, note) = listed(source);
    if let Some(filter) = &repeat.filter {
        items = filtered(items, filter, repeat, view)?;
    }
    if let Some(key) = &repeat.order_by {
        items = sorted(items, key, repeat, view)?;
    }
    if let Some(limit) = &repeat.limit {
        let place = format!("`loop.limit` (line {})", repeat.position.line);
        let limit = whole(limit, &view.context(), &place)?;
        items.truncate(usize::try_from(limit).unwrap_or(usize::MAX));
    }
    if let Some(chunk) = &repeat.chunk {
        let place = format!("`loop.chunk` (line {})", repeat.position.line);
        let size = whole(chunk, &view.context(), &place)?.max(1);
        let size = usize::try_from(size).unwrap_or(usize::MAX);
        items = items.chunks(size).map(|chunk| Value::Array(chunk.to_vec())).collect();
    }
    Ok((items, note))
}

/// A value as a list (decision D22): text and maps are single items, never characters or keys.
fn listed(source: Value) -> (Vec<Value>, Option<String>) {
    match source {
        Value::Array(items) => (items, None),
        Value::Null => (Vec::new(), Some("the collection is null: the loop is empty".to_owned())),
        Value::String(text) if text.trim().is_empty() => (Vec::new(), None),
        Value::String(text) => match serde_json::from_str(text.trim()) {
            Ok(Value::Array(items)) => (items, None),
            Ok(map @ Value::Object(_)) => (vec![map], None),
            _ => {
                let note = "the collection is a text: it is one item, not its characters";
                (vec![Value::String(text)], Some(note.to_owned()))
            }
        },
        other => {
            let note = "the collection is no list: it is one item";
            (vec![other], Some(note.to_owned()))
        }
    }
}

fn bind(view: &mut View<'_>, repeat: &Loop, value: &Value, index: usize, total: usize) {
    let (index, total) = (index as u64, total as u64);
    let iterator = repeat.iterator.clone();
    let (chunked, numbered) = (false, repeat.enumerate);
    view.item = Some(Item { iterator, value: value.clone(), index, total, chunked, numbered });
}

/// Keeps the items for which the predicate holds; one that it cannot judge is left out.
fn filtered(
    items: Vec<Value>,
    filter: &str,
    repeat: &Loop,
    view: &mut View<'_>,
) -> Result<Vec<Value>, Trouble> {
    let total = items.len();
    let mut kept = Vec::new();
    for (index, item) in items.into_iter().enumerate() {
        bind(view, repeat, &item, index, total);
        match condition(filter, &view.context()) {
            Ok(true) => kept.push(item),
            Ok(false) => {}
            Err(error) => match Trouble::template("`loop.where`", error) {
                needs @ (Trouble::Needs(_) | Trouble::Path(_)) => return Err(needs),
                Trouble::Failed(_) => {}
            },
        }
    }
    view.item = None;
    Ok(kept)
}

/// Sorts by a key, stably; items whose keys do not compare keep their order.
fn sorted(
    items: Vec<Value>,
    key: &str,
    repeat: &Loop,
    view: &mut View<'_>,
) -> Result<Vec<Value>, Trouble> {
    let total = items.len();
    let mut keyed = Vec::with_capacity(total);
    for (index, item) in items.into_iter().enumerate() {
        bind(view, repeat, &item, index, total);
        let found = match expression(key, &view.context()) {
            Ok(payload) => payload.inline().cloned().unwrap_or(Value::Null),
            Err(error) => match Trouble::template("`loop.order_by`", error) {
                needs @ (Trouble::Needs(_) | Trouble::Path(_)) => return Err(needs),
                Trouble::Failed(_) => Value::Null,
            },
        };
        keyed.push((found, item));
    }
    view.item = None;
    keyed.sort_by(|(left, _), (right, _)| compare(left, right));
    Ok(keyed.into_iter().map(|(_, item)| item).collect())
}

/// Orders numbers and texts; everything else by kind, so that the order is total.
fn compare(left: &Value, right: &Value) -> Ordering {
    match (left, right) {
        (Value::Number(left), Value::Number(right)) => {
            let (left, right) = (left.as_f64().unwrap_or(0.0), right.as_f64().unwrap_or(0.0));
            left.total_cmp(&right)
        }
        (Value::String(left), Value::String(right)) => left.cmp(right),
        (Value::Bool(left), Value::Bool(right)) => left.cmp(right),
        _ => rank(left).cmp(&rank(right)),
    }
}

fn rank(value: &Value) -> u8 {
    match value {
        Value::Null => 0,
        Value::Bool(_) => 1,
        Value::Number(_) => 2,
        Value::String(_) => 3,
        Value::Array(_) => 4,
        Value::Object(_) => 5,
    }
}

/// How many iterations may be out at once.
fn window(repeat: &Loop, view: &View<'_>) -> Result<u64, Trouble> {
    match (repeat.mode, &repeat.max_in_flight) {
        (LoopMode::Sequential, _) => Ok(1),
        (LoopMode::Parallel, None) => Ok(LOOP_IN_FLIGHT_DEFAULT),
        (LoopMode::Parallel, Some(value)) => {
            let place = format!("`loop.spec.max_in_flight` (line {})", repeat.position.line);
            Ok(whole(value, &view.context(), &place)?.clamp(1, LOOP_IN_FLIGHT_MAX))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn d22_a_collection_is_never_taken_apart_into_characters_or_keys() {
        let cases = [
            (json!([1, 2]), json!([1, 2])),
            (json!(null), json!([])),
            (json!(""), json!([])),
            (json!("  "), json!([])),
            (json!("[1, 2]"), json!([1, 2])),
            (json!("{\"a\": 1}"), json!([{"a": 1}])),
            (json!("abc"), json!(["abc"])),
            (json!({"a": 1, "b": 2}), json!([{"a": 1, "b": 2}])),
            (json!(7), json!([7])),
        ];
        for (source, expect) in cases {
            let (items, _) = listed(source.clone());
            assert_eq!(Value::Array(items), expect, "{source}");
        }
    }
}
