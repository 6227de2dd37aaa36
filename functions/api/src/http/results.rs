//! `aggregate/loop/results`: what the iterations of a loop left (decision D27).

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use engine_core::ids::{AggregateKey, ExecutionId};
use engine_core::load::{Readers, for_each_result};
use engine_core::payload::LoopSummary;
use engine_core::ports::Tail;
use engine_core::state::{self, LoopState};
use serde::Deserialize;
use serde_json::{Value, json};

use super::problem::Problem;
use super::request::{Asked, execution_id};
use super::{Api, answer};
use crate::view::ViewError;

/// `?execution_id&step_name&event_id?&offset?&limit?`.
#[derive(Deserialize)]
pub(super) struct Wanted {
    execution_id: String,
    step_name: String,
    /// The id of the step entry; the newest one if none is named.
    event_id: Option<i64>,
    /// The first index.
    offset: Option<u64>,
    /// How many indexes; all if it is not said.
    limit: Option<u64>,
}

/// `GET aggregate/loop/results`: results by index, of an open loop those that are there.
///
/// A failed iteration has its error in the place of a result.
pub(super) async fn of_loop(
    State(api): State<Arc<Api>>,
    Asked(wanted): Asked<Wanted>,
) -> Result<Response, Problem> {
    let id = execution_id(&wanted.execution_id)?;
    let (key, found) = find(&api.readers, id, &wanted).await?;
    let mut out = answer::spool();
    write(&api.readers, &key, &found, &wanted, &mut out).await?;
    answer::spooled(out)
}

async fn find(
    readers: &Readers,
    id: ExecutionId,
    wanted: &Wanted,
) -> Result<(AggregateKey, LoopState), Problem> {
    let keys = readers.store.aggregates(id).await?;
    if keys.is_empty() {
        return Err(Problem::not_found(format!("Execution {id} not found")));
    }
    let is_wanted = |key: &AggregateKey| match key {
        AggregateKey::Loop { step, event_id, .. } => {
            step.as_str() == wanted.step_name
                && wanted.event_id.is_none_or(|named| named == event_id.0)
        }
        AggregateKey::Execution(_) => false,
    };
    let key = keys.into_iter().rev().find(is_wanted);
    if let Some(key) = key
        && let Some(Tail { state: state::State::Loop(found), .. }) =
            readers.store.tail(&key).await?
    {
        return Ok((key, *found));
    }
    let step = &wanted.step_name;
    let message = format!("no such loop of step `{step}` has begun in execution {id}");
    Err(Problem::not_found(message))
}

async fn write<W: Write + Send>(
    readers: &Readers,
    key: &AggregateKey,
    found: &LoopState,
    wanted: &Wanted,
    out: &mut W,
) -> Result<(), ViewError> {
    let summary = LoopSummary { key: key.clone(), total: found.next, failed: found.failed };
    out.write_all(b"{\"status\":\"ok\",\"results\":[")?;
    let from = wanted.offset.unwrap_or(0);
    let until = wanted.limit.map_or(u64::MAX, |limit| from.saturating_add(limit));
    let mut list =
        List { out, from, until, next: from, early: BTreeMap::new(), count: 0, written: Ok(()) };
    for_each_result(readers, &summary, |index, result| list.take(index, result)).await?;
    let (out, count) = list.finish()?;
    let AggregateKey::Loop { event_id, .. } = key else { return Ok(()) };
    let rest = json!({
        "count": count,
        "method": "loop_metadata",
        "execution_id": key.execution_id(),
        "step_name": found.step,
        "event_id": event_id,
        "total": found.collection_size,
        "failed": found.failed,
        "closed": found.closed,
    });
    let rest = rest.to_string();
    write!(out, "],{}", rest.trim_start_matches('{'))?;
    Ok(())
}

/// Writes the results of a range of indexes in their order; what comes early waits.
struct List<'a, W> {
    out: &'a mut W,
    from: u64,
    until: u64,
    next: u64,
    early: BTreeMap<u64, Value>,
    count: u64,
    written: io::Result<()>,
}

impl<'a, W: Write> List<'a, W> {
    fn take(&mut self, index: u64, result: Value) {
        if index < self.from || index >= self.until {
            return;
        }
        self.early.insert(index, result);
        while let Some(result) = self.early.remove(&self.next) {
            self.write(&result);
            self.next += 1;
        }
    }

    fn write(&mut self, result: &Value) {
        if self.written.is_err() {
            return;
        }
        let comma: &[u8] = if self.count == 0 { b"" } else { b"," };
        self.count += 1;
        let separated = self.out.write_all(comma);
        self.written = separated
            .and_then(|()| serde_json::to_writer(&mut *self.out, result).map_err(io::Error::from));
    }

    /// Writes what waited in vain for an iteration that is still out, or was given up.
    fn finish(mut self) -> io::Result<(&'a mut W, u64)> {
        for result in std::mem::take(&mut self.early).into_values() {
            self.write(&result);
        }
        self.written?;
        Ok((self.out, self.count))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::{ID, NoPayloads, World, failure};

    async fn results(world: World, step: &str, offset: Option<u64>, limit: Option<u64>) -> Value {
        let readers = Readers { store: Arc::new(world), payloads: Arc::new(NoPayloads) };
        let execution_id = ID.to_string();
        let (step_name, event_id) = (step.to_owned(), None);
        let wanted = Wanted { execution_id, step_name, event_id, offset, limit };
        let Ok((key, found)) = find(&readers, ID, &wanted).await else { return Value::Null };
        let mut out = Vec::new();
        write(&readers, &key, &found, &wanted, &mut out).await.unwrap();
        serde_json::from_slice(&out).unwrap()
    }

    /// Iterations 0, 1, 3 and 4 are answered, the later ones first; 2 is still out.
    fn world() -> World {
        let mut world = World::default();
        world.begin(1_000);
        world.ask_for_loop(1_000, "a", 5);
        world.run_loop(1_001, "a", 0);
        world.answer(1_002, "a", 3, vec![Ok(json!("d")), Err(failure("E", "no"))]);
        world.answer(1_003, "a", 0, vec![Ok(json!("a")), Ok(json!("b"))]);
        world
    }

    #[tokio::test]
    async fn results_come_by_index_whatever_the_order_of_answers() {
        let found = results(world(), "a", None, None).await;
        assert_eq!(found["results"][0], "a");
        assert_eq!(found["results"][2], "d");
        assert_eq!(found["results"][3]["error"]["message"], "no");
        assert_eq!((&found["count"], &found["status"]), (&json!(4), &json!("ok")));
        assert_eq!(found["method"], "loop_metadata");
    }

    #[tokio::test]
    async fn a_part_of_the_results_is_a_range_of_indexes() {
        #[rustfmt::skip]
        let cases = [
            (Some(1), None,    json!(["b", "d"])),
            (None,    Some(1), json!(["a"])),
            (Some(1), Some(2), json!(["b"])),
            (Some(9), Some(2), json!([])),
            (Some(0), Some(0), json!([])),
        ];
        for (offset, limit, expect) in cases {
            let mut found = results(world(), "a", offset, limit).await;
            let list = found["results"].as_array_mut().unwrap();
            list.retain(Value::is_string);
            assert_eq!(Value::Array(list.clone()), expect, "{offset:?} {limit:?}");
        }
        assert_eq!(results(world(), "b", None, None).await, Value::Null);
    }
}
