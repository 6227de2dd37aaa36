//! The events of an execution: all of them in causal order, or the newest first, page by page.

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use engine_core::ids::{AggregateKey, ExecutionId};
use engine_core::limits::{API_NUMBERED_ENTRIES_MAX, API_PAGE_DEFAULT, API_PAGE_MAX};
use engine_core::load::Readers;
use engine_core::ports::{PortError, StateStore};
use engine_core::project::{Event, expand};
use serde::Deserialize;
use serde_json::{Value, json};

use super::executions::find;
use super::problem::Problem;
use super::request::{Asked, Id};
use super::{Api, answer};
use crate::timeline::{Timeline, for_each_event};
use engine_core::time::iso;

/// Smallest and largest page, as `NoETL` has them.
const PAGE_SIZE: (usize, usize) = (10, 500);
/// Loops whose newest events are shown of an execution that is too long to be numbered.
const NEWEST_LOOPS: usize = 8;
/// Entries of each that are looked at: each may hold a hundred events.
const NEWEST_ENTRIES: u64 = 16;

/// `?limit&after`.
#[derive(Deserialize)]
pub(super) struct After {
    limit: Option<usize>,
    /// The id of the last event that is known already.
    after: Option<i64>,
}

/// `GET executions/{id}/events?limit&after`: in causal order.
pub(super) async fn after(
    State(api): State<Arc<Api>>,
    Id(id): Id,
    Asked(asked): Asked<After>,
) -> Result<Response, Problem> {
    find(&api, id).await?;
    let limit = asked.limit.unwrap_or(API_PAGE_DEFAULT).clamp(1, API_PAGE_MAX);
    let mut timeline = Timeline::new(api.readers.store.clone(), id);
    let mut is_past = asked.after.is_none();
    let mut events: Vec<Event> = Vec::new();
    while events.len() <= limit
        && let Some(entry) = timeline.next().await?
    {
        for event in expand(&entry) {
            if is_past {
                events.push(event);
            } else {
                is_past = Some(event.event_id.0) == asked.after;
            }
        }
    }
    if !is_past {
        let after = asked.after.unwrap_or_default();
        return Err(Problem::not_found(format!("execution {id} has no event {after}")));
    }
    let has_more = events.len() > limit;
    events.truncate(limit);
    let next = events.last().map(|event| event.event_id);
    Ok(answer::json(&json!({
        "execution_id": id,
        "events": events.iter().map(object).collect::<Vec<_>>(),
        "count": events.len(),
        "has_more": has_more,
        "next": next,
    })))
}

/// `?page&page_size&event_type&since_event_id`.
#[derive(Default, Deserialize)]
pub(super) struct Paging {
    page: Option<usize>,
    page_size: Option<usize>,
    event_type: Option<String>,
    since_event_id: Option<i64>,
}

impl Paging {
    fn is_asked_for(&self) -> bool {
        let Self { page, page_size, event_type, since_event_id } = self;
        page.is_some() || page_size.is_some() || event_type.is_some() || since_event_id.is_some()
    }

    fn takes(&self, event: &Event) -> bool {
        self.event_type.as_deref().is_none_or(|of| of == event.event_type)
            && self.since_event_id.is_none_or(|since| event.event_id.0 > since)
    }
}

/// A page of events, the newest first, and where it stands among the others.
///
/// To number the events the whole log is read. Of a long one that is done only if somebody asks for a page:
/// clients look every moment whether an execution has ended.
pub(super) async fn page(
    readers: &Readers,
    id: ExecutionId,
    paging: &Paging,
) -> Result<(Vec<Value>, Value), PortError> {
    let (least, most) = PAGE_SIZE;
    let size = paging.page_size.unwrap_or(API_PAGE_DEFAULT).clamp(least, most);
    let number = paging.page.unwrap_or(1).max(1);
    if !paging.is_asked_for() && is_long(&*readers.store, id).await? {
        let events = newest(&*readers.store, id, size).await?;
        let pagination = json!({
            "page": 1, "page_size": size, "total_events": null, "total_pages": null,
            "has_next": true, "has_prev": false,
        });
        return Ok((events.iter().map(object).collect(), pagination));
    }
    let mut total = 0;
    let count = |event: Event| total += usize::from(paging.takes(&event));
    for_each_event(&readers.store, id, count).await?;
    let end = total.saturating_sub(number.saturating_sub(1).saturating_mul(size));
    let wanted = end.saturating_sub(size)..end;
    let (mut position, mut events) = (0, Vec::new());
    for_each_event(&readers.store, id, |event| {
        if paging.takes(&event) {
            if wanted.contains(&position) {
                events.push(event);
            }
            position += 1;
        }
    })
    .await?;
    let pagination = json!({
        "page": number,
        "page_size": size,
        "total_events": total,
        "total_pages": total.div_ceil(size),
        "has_next": wanted.start > 0,
        "has_prev": number > 1,
    });
    Ok((events.iter().rev().map(object).collect(), pagination))
}

async fn is_long(store: &dyn StateStore, id: ExecutionId) -> Result<bool, PortError> {
    let mut entries = 0;
    for key in store.aggregates(id).await? {
        entries += store.tail(&key).await?.map_or(0, |tail| tail.seq);
        if entries > API_NUMBERED_ENTRIES_MAX {
            return Ok(true);
        }
    }
    Ok(false)
}

/// The newest events of an execution and of its newest loops, by time.
async fn newest(
    store: &dyn StateStore,
    id: ExecutionId,
    size: usize,
) -> Result<Vec<Event>, PortError> {
    let keys = store.aggregates(id).await?;
    let loops = keys.iter().skip(1).rev().take(NEWEST_LOOPS);
    let mut events = Vec::new();
    for key in keys.iter().take(1).chain(loops) {
        events.extend(newest_of(store, key, size).await?);
    }
    events.sort_by_key(|event| std::cmp::Reverse((event.at_ms, event.event_id)));
    events.truncate(size);
    Ok(events)
}

async fn newest_of(
    store: &dyn StateStore,
    key: &AggregateKey,
    size: usize,
) -> Result<Vec<Event>, PortError> {
    let Some(tail) = store.tail(key).await? else { return Ok(Vec::new()) };
    let mut events = Vec::new();
    for back in 0..NEWEST_ENTRIES.min(tail.seq) {
        let found = store.entries(key, tail.seq - back, 1).await?;
        events.extend(found.iter().flat_map(expand));
        if events.len() >= size {
            break;
        }
    }
    Ok(events)
}

/// An event with its time as text, under the names that clients of `NoETL` read.
fn object(event: &Event) -> Value {
    let mut object = json!(event);
    if let Value::Object(object) = &mut object {
        let at = Value::String(iso(event.at_ms));
        object.insert("created_at".to_owned(), at.clone());
        object.insert("timestamp".to_owned(), at);
    }
    object
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::{self, NoPayloads, World};

    /// Readers of a finished loop of `iterations`.
    fn readers(iterations: u64) -> Readers {
        let mut world = World::default();
        world.begin(1_000);
        world.ask_for_loop(1_000, "a", iterations);
        world.run_loop(1_001, "a", 0);
        for index in 0..iterations {
            world.answer(1_002, "a", index, vec![Ok(Value::Null)]);
        }
        world.close_loop(1_003, "a");
        world.hear_loop(1_004, "a");
        world.end(1_005);
        Readers { store: Arc::new(world), payloads: Arc::new(NoPayloads) }
    }

    fn paging(page: usize, page_size: usize) -> Paging {
        Paging { page: Some(page), page_size: Some(page_size), ..Paging::default() }
    }

    #[tokio::test]
    async fn pages_go_from_the_newest_event_to_the_oldest_and_miss_none() {
        let readers = readers(9);
        let mut all = Vec::new();
        for_each_event(&readers.store, fixture::ID, |event| all.push(event.event_id.to_string()))
            .await
            .unwrap();
        all.reverse();
        let mut seen = Vec::new();
        for number in 1.. {
            let (events, pagination) =
                page(&readers, fixture::ID, &paging(number, 10)).await.unwrap();
            assert_eq!(pagination["total_events"], all.len());
            let ids = events.iter().map(|event| event["event_id"].as_str().unwrap().to_owned());
            seen.extend(ids);
            if pagination["has_next"] == false {
                break;
            }
        }
        assert_eq!(seen, all);
        let (events, _) = page(&readers, fixture::ID, &paging(99, 10)).await.unwrap();
        assert!(events.is_empty());
    }

    #[tokio::test]
    async fn a_page_may_be_of_one_kind_of_event() {
        let event_type = Some("iteration_completed".to_owned());
        let paging = Paging { event_type, ..Paging::default() };
        let (events, pagination) = page(&readers(3), fixture::ID, &paging).await.unwrap();
        assert_eq!((events.len(), &pagination["total_events"]), (3, &json!(3)));
        assert_eq!(events[0]["created_at"], "1970-01-01T00:00:01.002Z");
    }

    #[tokio::test]
    async fn a_long_log_shows_its_newest_events_and_is_not_counted_unless_asked() {
        let readers = readers(API_NUMBERED_ENTRIES_MAX);
        let (events, pagination) = page(&readers, fixture::ID, &Paging::default()).await.unwrap();
        assert_eq!(events[0]["event_type"], "playbook.completed");
        assert_eq!(events.len(), API_PAGE_DEFAULT);
        assert_eq!(pagination["total_events"], Value::Null);
        let (events, pagination) = page(&readers, fixture::ID, &paging(1, 20)).await.unwrap();
        assert_eq!(events.len(), 20);
        assert!(pagination["total_events"].as_u64().unwrap() > API_NUMBERED_ENTRIES_MAX);
    }
}
