//! Values as templates see them: JSON, tolerant results, and values that are still elsewhere.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use minijinja::value::{DynObject, Enumerator, Object, ObjectRepr, Value};
use minijinja::{Error, ErrorKind};
use serde_json::Value as Json;

use crate::limits::TEMPLATE_VALUE_DEPTH_MAX;
use crate::payload::{LoopSummary, Payload};

use super::evaluation::{Binding, Evaluation};

/// What an absent key means (`dsl.md` 2.8).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Tolerance {
    /// Nothing: it is absent.
    Plain,
    /// `.data` and `.result` are the object itself.
    Result,
    /// As `Result`; other keys are looked for in the body and in its `paging`.
    Response,
}

/// A list or a map that came from JSON: it cannot grow, so its size is counted once.
pub(super) struct Data {
    inner: DynObject,
    /// Values in it, at all depths.
    pub(super) weight: u64,
    tolerance: Tolerance,
}

impl fmt::Debug for Data {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.fmt(f)
    }
}

impl Data {
    fn wrap(value: &Value, weight: u64) -> Value {
        match value.as_object() {
            Some(inner) => Value::from_object(Self {
                inner: inner.clone(),
                weight,
                tolerance: Tolerance::Plain,
            }),
            None => value.clone(),
        }
    }

    /// The value of a key that is really there.
    pub(super) fn own(&self, key: &Value) -> Option<Value> {
        self.inner.get_value(key)
    }

    fn body_tolerance(&self) -> Tolerance {
        match self.tolerance {
            Tolerance::Response => Tolerance::Response,
            Tolerance::Result | Tolerance::Plain => Tolerance::Plain,
        }
    }

    fn in_body(&self, key: &Value) -> Option<Value> {
        let body = self.own(&Value::from("data"));
        let places = [body.as_ref().and_then(|body| member(body, "paging")), self.own_paging()];
        body.as_ref()
            .and_then(|body| own(body, key))
            .or_else(|| places.iter().flatten().find_map(|place| own(place, key)))
    }

    fn own_paging(&self) -> Option<Value> {
        self.own(&Value::from("paging"))
    }
}

fn own(value: &Value, key: &Value) -> Option<Value> {
    value.downcast_object_ref::<Data>().filter(|data| is_map(&data.inner))?.own(key)
}

fn member(value: &Value, key: &str) -> Option<Value> {
    own(value, &Value::from(key))
}

fn is_map(object: &DynObject) -> bool {
    object.repr() == ObjectRepr::Map
}

impl Object for Data {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        self.inner.repr()
    }

    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        let found = self.own(key);
        if self.tolerance == Tolerance::Plain {
            return found;
        }
        match (found, key.as_str()) {
            // The body of a response is as tolerant as the response.
            (Some(body), Some("data")) => Some(tolerant(&body, self.body_tolerance())),
            (Some(found), _) => Some(found),
            (None, Some("data" | "result")) => Some(Value::from_dyn_object(Arc::clone(self))),
            (None, _) if self.tolerance == Tolerance::Response => self.in_body(key),
            (None, _) => None,
        }
    }

    fn enumerate(self: &Arc<Self>) -> Enumerator {
        self.inner.enumerate()
    }

    fn enumerator_len(self: &Arc<Self>) -> Option<usize> {
        self.inner.enumerator_len()
    }
}

/// The same value with another answer to absent keys; anything but a list or a map is unchanged.
pub(super) fn tolerant(value: &Value, tolerance: Tolerance) -> Value {
    match value.downcast_object_ref::<Data>() {
        Some(data) => {
            Value::from_object(Data { inner: data.inner.clone(), weight: data.weight, tolerance })
        }
        None => value.clone(),
    }
}

/// Converts JSON once; copies of the result share it.
pub(super) fn from_json(json: &Json) -> Value {
    convert(json, 0).0
}

fn convert(json: &Json, depth: usize) -> (Value, u64) {
    if depth > TEMPLATE_VALUE_DEPTH_MAX {
        let error = Error::new(
            ErrorKind::InvalidOperation,
            format!("a value is nested more than {TEMPLATE_VALUE_DEPTH_MAX} levels deep"),
        );
        return (Value::from(error), 1);
    }
    match json {
        Json::Null => (Value::from(()), 1),
        Json::Bool(value) => (Value::from(*value), 1),
        Json::Number(number) => (from_number(number), 1),
        Json::String(text) => (Value::from(text.as_str()), 1),
        Json::Array(items) => {
            let mut weight = 1;
            let items: Vec<Value> = items
                .iter()
                .map(|item| {
                    let (value, inside) = convert(item, depth + 1);
                    weight += inside;
                    value
                })
                .collect();
            (Data::wrap(&Value::from(items), weight), weight)
        }
        Json::Object(entries) => {
            let mut weight = 1;
            let pairs = entries.iter().map(|(key, item)| {
                let (value, inside) = convert(item, depth + 1);
                weight += inside + 1;
                (key.as_str(), value)
            });
            let map = Value::from_pairs(pairs);
            (Data::wrap(&map, weight), weight)
        }
    }
}

fn from_number(number: &serde_json::Number) -> Value {
    if let Some(value) = number.as_i64() {
        Value::from(value)
    } else if let Some(value) = number.as_u64() {
        Value::from(value)
    } else {
        Value::from(number.as_f64().unwrap_or_default())
    }
}

/// A value that is not here. Whoever looks into it makes the evaluation ask for it.
pub(super) struct Unloaded {
    pub(super) payload: Payload,
    evaluation: Arc<Evaluation>,
}

impl Unloaded {
    pub(super) fn value(payload: &Payload, evaluation: &Arc<Evaluation>) -> Value {
        Value::from_object(Self { payload: payload.clone(), evaluation: Arc::clone(evaluation) })
    }

    pub(super) fn touch(&self) {
        self.evaluation.need(&self.payload);
    }
}

impl fmt::Debug for Unloaded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Unloaded").field(&self.payload).finish()
    }
}

impl Object for Unloaded {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        self.touch();
        ObjectRepr::Map
    }

    fn get_value(self: &Arc<Self>, _key: &Value) -> Option<Value> {
        self.touch();
        None
    }

    fn enumerate(self: &Arc<Self>) -> Enumerator {
        self.touch();
        Enumerator::Empty
    }

    fn is_true(self: &Arc<Self>) -> bool {
        self.touch();
        false
    }

    fn render(self: &Arc<Self>, _f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.touch();
        Ok(())
    }
}

/// A value that is not there and may be asked whether it is: false, with attributes of its own kind.
///
/// Whatever else is done with it is the error of an undefined name.
#[derive(Debug)]
pub(super) struct Pending {
    /// As it is spelled in the template.
    pub(super) path: String,
    /// The step that has no result yet, if the path begins with one.
    pub(super) step: Option<String>,
}

impl Pending {
    pub(super) fn value(path: impl Into<String>, step: Option<&str>) -> Value {
        Value::from_object(Self { path: path.into(), step: step.map(str::to_owned) })
    }

    pub(super) fn error(&self) -> Error {
        let why = match &self.step {
            Some(step) => format!(": step `{step}` has no result yet"),
            None => String::new(),
        };
        Error::new(ErrorKind::UndefinedError, format!("`{}` is undefined{why}", self.path))
    }
}

impl Object for Pending {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        ObjectRepr::Plain
    }

    fn is_true(self: &Arc<Self>) -> bool {
        false
    }
}

/// The aggregate of a loop whose results are elsewhere: its counts are known.
pub(super) struct Aggregate {
    summary: LoopSummary,
    evaluation: Arc<Evaluation>,
}

impl Aggregate {
    pub(super) fn value(summary: &LoopSummary, evaluation: &Arc<Evaluation>) -> Value {
        Value::from_object(Self { summary: summary.clone(), evaluation: Arc::clone(evaluation) })
    }
}

impl fmt::Debug for Aggregate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Aggregate").field(&self.summary).finish()
    }
}

impl Object for Aggregate {
    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        match key.as_str()? {
            "stats" => Some(from_json(&self.summary.stats())),
            "results" => {
                Some(Unloaded::value(&Payload::Loop(self.summary.clone()), &self.evaluation))
            }
            "data" | "result" => Some(Value::from_dyn_object(Arc::clone(self))),
            _ => None,
        }
    }

    fn enumerate(self: &Arc<Self>) -> Enumerator {
        Enumerator::Str(&["results", "stats"])
    }
}

/// The numbers of a `range()`, made one at a time.
#[derive(Debug)]
pub(super) struct Numbers {
    pub(super) first: i64,
    pub(super) step: i64,
    pub(super) len: usize,
}

impl Object for Numbers {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        ObjectRepr::Seq
    }

    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        let index = key.as_usize().filter(|index| *index < self.len)?;
        let offset = self.step.checked_mul(i64::try_from(index).ok()?)?;
        self.first.checked_add(offset).map(Value::from)
    }

    fn enumerate(self: &Arc<Self>) -> Enumerator {
        Enumerator::Seq(self.len)
    }
}

/// A map whose values may each be elsewhere.
pub(super) struct Group {
    entries: Arc<BTreeMap<String, Binding>>,
    evaluation: Arc<Evaluation>,
}

impl Group {
    pub(super) fn value(
        entries: &Arc<BTreeMap<String, Binding>>,
        evaluation: &Arc<Evaluation>,
    ) -> Value {
        Value::from_object(Self {
            entries: Arc::clone(entries),
            evaluation: Arc::clone(evaluation),
        })
    }
}

impl fmt::Debug for Group {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.entries.keys()).finish()
    }
}

impl Object for Group {
    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        Some(self.evaluation.resolve(self.entries.get(key.as_str()?)?))
    }

    fn enumerate(self: &Arc<Self>) -> Enumerator {
        Enumerator::Values(self.entries.keys().map(Value::from).collect())
    }
}
