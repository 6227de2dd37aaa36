use std::collections::BTreeMap;
use std::pin::pin;
use std::sync::Mutex;
use std::task::{Context, Poll, Waker};

use async_trait::async_trait;

use super::*;
use crate::event::Entry;
use crate::ids::{AggregateKey, ExecutionId};
use crate::payload::{Blob, List, PayloadRef};
use crate::ports::Tail;

/// Stored objects; no log.
#[derive(Default)]
struct Objects(Mutex<BTreeMap<PayloadRef, Vec<u8>>>);

impl Objects {
    fn store(&self, value: &Value) -> PayloadRef {
        let Blob { reference, bytes } = Blob::new(ExecutionId(7), value.to_string().into_bytes());
        self.0.lock().unwrap().insert(reference.clone(), bytes);
        reference
    }
}

#[async_trait]
impl PayloadStore for Objects {
    async fn put(&self, _blob: &Blob) -> Result<(), PortError> {
        Ok(())
    }

    async fn get(&self, reference: &PayloadRef) -> Result<Vec<u8>, PortError> {
        let found = self.0.lock().unwrap().get(reference).cloned();
        found.ok_or_else(|| PortError::new(PortErrorKind::NotFound, "no such object"))
    }
}

#[async_trait]
impl StateStore for Objects {
    async fn tail(&self, _key: &AggregateKey) -> Result<Option<Tail>, PortError> {
        Ok(None)
    }

    async fn commit(&self, _entry: &Entry) -> Result<(), PortError> {
        Ok(())
    }

    async fn entries(&self, _: &AggregateKey, _: u64, _: usize) -> Result<Vec<Entry>, PortError> {
        Ok(Vec::new())
    }

    async fn aggregates(&self, _id: ExecutionId) -> Result<Vec<AggregateKey>, PortError> {
        Ok(Vec::new())
    }
}

/// The value of a payload; ports in memory never wait.
fn loaded(objects: &Arc<Objects>, payload: &Payload) -> Result<Value, PortError> {
    let readers = Readers { store: objects.clone(), payloads: objects.clone() };
    match pin!(load(&readers, payload)).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(value) => value,
        Poll::Pending => panic!("a port in memory waits"),
    }
}

fn inline(value: Value) -> Payload {
    Payload::Inline(value)
}

#[test]
fn the_parts_of_a_list_follow_each_other() {
    let objects = Arc::new(Objects::default());
    let page = objects.store(&json!([4, [5]]));
    let inner = [Part::Item(inline(json!(1))), Part::Items(inline(json!([2, 3])))];
    let first = objects.store(&serde_json::to_value(&inner).unwrap());
    let stored = Part::Stored { parts: first, level: 1 };
    let outer = [stored, Part::Items(Payload::Ref(page.clone()))];
    let second = objects.store(&serde_json::to_value(&outer).unwrap());
    let nested = Payload::List(List { parts: vec![Part::Item(inline(json!("n")))] });
    #[rustfmt::skip]
    let cases = [
        ("nothing", vec![], json!([])),
        ("a list as one element", vec![Part::Item(inline(json!([1])))], json!([[1]])),
        ("a stored list as one element", vec![Part::Item(Payload::Ref(page))], json!([[4, [5]]])),
        ("no list", vec![Part::Items(inline(json!({"a": 1})))], json!([{"a": 1}])),
        ("a list of lists", vec![Part::Items(nested.clone()), Part::Item(nested)], json!(["n", ["n"]])),
        ("folded twice", vec![Part::Stored { parts: second, level: 2 }, Part::Item(inline(json!(6)))], json!([1, 2, 3, 4, [5], 6])),
    ];
    for (name, parts, expect) in cases {
        let list = Payload::List(List { parts });
        assert_eq!(loaded(&objects, &list).unwrap(), expect, "{name}");
    }
}

#[test]
fn pages_are_told_beside_the_last_one_or_around_it() {
    let objects = Arc::new(Objects::default());
    let items = Payload::List(List { parts: vec![Part::Items(inline(json!([1, 2])))] });
    let last = Payload::Ref(objects.store(&json!({"id": "p", "data": [2]})));
    let pages = |last: &Payload, envelope| {
        let (last, items) = (last.clone(), items.clone());
        Payload::Pages(Box::new(Pages { last, items, count: 2, envelope }))
    };
    let beside = json!({"pages_collected": 2, "all_items": [1, 2]});
    #[rustfmt::skip]
    let cases = [
        (pages(&last, false), json!({"id": "p", "data": [2], "_pagination": beside, "_all_collected_items": [1, 2]})),
        (pages(&inline(json!("text")), false), json!({"original_result": "text", "_pagination": beside, "_all_collected_items": [1, 2]})),
        (pages(&last, true), json!({"data": [1, 2], "meta": {"iterations": 2}, "_all_collected_items": [1, 2]})),
    ];
    for (payload, expect) in cases {
        assert_eq!(loaded(&objects, &payload).unwrap(), expect);
    }
}

#[test]
fn parts_that_are_not_parts_are_corrupt() {
    let objects = Arc::new(Objects::default());
    let parts = objects.store(&json!({"a": 1}));
    let list = Payload::List(List { parts: vec![Part::Stored { parts, level: 1 }] });
    let error = loaded(&objects, &list).unwrap_err();
    assert_eq!(error.kind, PortErrorKind::Corrupt);
    assert!(error.to_string().contains("is no list of parts"), "{error}");
}
