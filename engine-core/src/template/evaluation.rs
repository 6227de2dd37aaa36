//! One evaluation: what names mean, what it touched, what it may still spend.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use minijinja::value::{Object, Value};
use minijinja::{Error, ErrorKind, State};

use crate::limits::{TEMPLATE_OUTPUT_BYTES_MAX, TEMPLATE_WORK_MAX};
use crate::payload::Payload;

use super::Loaded;
use super::value::{Aggregate, Group, Pending, Tolerance, Unloaded, from_json, tolerant};

/// The name under which filters find the evaluation that they run in; no playbook can write it.
pub(super) const EVALUATION: &str = "__evaluation";

/// What one name is bound to.
#[derive(Clone, Debug)]
pub(super) enum Binding {
    /// A value that is here, converted; `payload` is kept for those that are results.
    Here { value: Value, payload: Option<Payload>, tolerance: Tolerance },
    /// A value that has to be in [`super::Loaded`].
    Elsewhere { payload: Payload, tolerance: Tolerance },
    /// A map of values.
    Group(Arc<BTreeMap<String, Self>>),
}

impl Binding {
    pub(super) fn new(payload: &Payload, tolerance: Tolerance) -> Self {
        match payload {
            Payload::Inline(json) => Self::Here {
                value: tolerant(&from_json(json), tolerance),
                payload: Some(payload.clone()),
                tolerance,
            },
            Payload::Ref(_)
            | Payload::Log { .. }
            | Payload::Loop(_)
            | Payload::List(_)
            | Payload::Pages(_) => Self::Elsewhere { payload: payload.clone(), tolerance },
        }
    }

    pub(super) fn all(values: &BTreeMap<String, Payload>) -> BTreeMap<String, Self> {
        values
            .iter()
            .map(|(name, payload)| (name.clone(), Self::new(payload, Tolerance::Plain)))
            .collect()
    }
}

/// Where names are looked for that were not set one by one.
#[derive(Clone, Debug)]
pub(super) enum Layer {
    Names(Arc<BTreeMap<String, Binding>>),
    Keys(Binding),
}

/// Deterministic answers of functions that are not.
#[derive(Clone, Debug)]
pub(super) struct Functions {
    pub(super) now_text: String,
    pub(super) uuid_seed: String,
}

/// The content of a [`super::Context`].
#[derive(Clone, Debug, Default)]
pub(super) struct Names {
    pub(super) loaded: Arc<Loaded>,
    pub(super) bound: BTreeMap<String, Binding>,
    pub(super) layers: Vec<Layer>,
    /// Steps without a result: what a name means that means nothing else.
    pub(super) pending: Arc<BTreeSet<String>>,
    pub(super) functions: Option<Functions>,
}

/// The canonical text of a payload, to find it by.
pub(super) fn loaded_key(payload: &Payload) -> String {
    // A payload always serializes: it has no maps with keys other than text.
    serde_json::to_string(payload).unwrap_or_default()
}

/// One evaluation of one scalar; also the root of the template's names.
pub(super) struct Evaluation {
    pub(super) names: Arc<Names>,
    /// Whether an undefined name makes the whole evaluation false.
    pub(super) is_condition: bool,
    needs: Mutex<Vec<Payload>>,
    built: AtomicU64,
    work: AtomicU64,
    uuids: Arc<AtomicU64>,
}

impl fmt::Debug for Evaluation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Evaluation")
    }
}

impl Evaluation {
    pub(super) fn new(names: &Arc<Names>, is_condition: bool, uuids: &Arc<AtomicU64>) -> Arc<Self> {
        Arc::new(Self {
            names: Arc::clone(names),
            is_condition,
            needs: Mutex::default(),
            built: AtomicU64::new(0),
            work: AtomicU64::new(0),
            uuids: Arc::clone(uuids),
        })
    }

    /// The evaluation that a filter runs in.
    pub(super) fn of(state: &State<'_, '_>) -> Result<Arc<Self>, Error> {
        state
            .lookup(EVALUATION)
            .and_then(|value| value.downcast_object::<Self>())
            .ok_or_else(|| Error::new(ErrorKind::InvalidOperation, "there is no evaluation"))
    }

    /// Records that `payload` has to be loaded.
    pub(super) fn need(&self, payload: &Payload) {
        let mut needs = self.needs.lock().unwrap_or_else(PoisonError::into_inner);
        if !needs.contains(payload) {
            needs.push(payload.clone());
        }
    }

    pub(super) fn take_needs(&self) -> Vec<Payload> {
        std::mem::take(&mut *self.needs.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Ends the evaluation if it touched something that is elsewhere.
    pub(super) fn assert_here(&self) -> Result<(), Error> {
        if self.needs.lock().unwrap_or_else(PoisonError::into_inner).is_empty() {
            return Ok(());
        }
        Err(Error::new(ErrorKind::InvalidOperation, "values must be loaded first"))
    }

    /// Pays for `bytes` before they are allocated.
    pub(super) fn build(&self, bytes: usize) -> Result<(), Error> {
        let max = TEMPLATE_OUTPUT_BYTES_MAX as u64;
        let bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
        if spent(&self.built, bytes) > max {
            return Err(Error::new(
                ErrorKind::InvalidOperation,
                format!("it would build more than {max} bytes; make the values smaller"),
            ));
        }
        Ok(())
    }

    /// Pays for looking at `values`.
    pub(super) fn look(&self, values: u64) -> Result<(), Error> {
        if spent(&self.work, values) > TEMPLATE_WORK_MAX {
            return Err(Error::new(
                ErrorKind::InvalidOperation,
                format!("it looks at more than {TEMPLATE_WORK_MAX} values; do this work in a step"),
            ));
        }
        Ok(())
    }

    /// A number that no other call in this rendering got.
    pub(super) fn next_uuid(&self) -> u64 {
        self.uuids.fetch_add(1, Ordering::Relaxed)
    }

    /// What a name means: names set one by one, then each layer in the order of the calls, then steps
    /// without a result.
    pub(super) fn lookup(self: &Arc<Self>, name: &str) -> Option<Value> {
        if let Some(binding) = self.names.bound.get(name) {
            return Some(self.resolve(binding));
        }
        let found = self.names.layers.iter().find_map(|layer| match layer {
            Layer::Names(names) => names.get(name).map(|binding| self.resolve(binding)),
            Layer::Keys(binding) => self.lookup_key(binding, name),
        });
        found.or_else(|| self.names.pending.get(name).map(|step| Pending::value(name, Some(step))))
    }

    fn lookup_key(self: &Arc<Self>, binding: &Binding, name: &str) -> Option<Value> {
        let map = self.resolve(binding);
        if let Some(unloaded) = map.downcast_object_ref::<Unloaded>() {
            // Only the value can tell whether it has the key.
            unloaded.touch();
            return Some(map);
        }
        map.get_attr(name).ok().filter(|value| !value.is_undefined())
    }

    pub(super) fn resolve(self: &Arc<Self>, binding: &Binding) -> Value {
        match binding {
            Binding::Here { value, .. } => value.clone(),
            Binding::Group(entries) => Group::value(entries, self),
            Binding::Elsewhere { payload, tolerance } => {
                if let Some(value) = self.names.loaded.values.get(&loaded_key(payload)) {
                    return tolerant(value, *tolerance);
                }
                match payload {
                    Payload::Loop(summary) => Aggregate::value(summary, self),
                    _ => Unloaded::value(payload, self),
                }
            }
        }
    }

    /// Whether `.data` of the scalar that `name` is bound to means the scalar.
    pub(super) fn is_result(&self, name: &str) -> bool {
        matches!(
            self.names.bound.get(name),
            Some(Binding::Here { tolerance, .. } | Binding::Elsewhere { tolerance, .. })
                if *tolerance != Tolerance::Plain
        )
    }

    /// The names that are known without loading anything.
    pub(super) fn known(self: &Arc<Self>) -> Vec<String> {
        let mut known: Vec<String> = self.names.bound.keys().cloned().collect();
        for layer in &self.names.layers {
            match layer {
                Layer::Names(names) => known.extend(names.keys().cloned()),
                Layer::Keys(binding) => {
                    let map = self.resolve(binding);
                    if map.downcast_object_ref::<Unloaded>().is_none() {
                        known.extend(keys(&map));
                    }
                }
            }
        }
        known
    }
}

/// The keys of a map, as text; at most a few hundred.
pub(super) fn keys(map: &Value) -> Vec<String> {
    const ENOUGH: usize = 200;
    let is_map = map.as_object().is_some_and(|o| o.repr() == minijinja::value::ObjectRepr::Map);
    if !is_map {
        return Vec::new();
    }
    let keys = map.try_iter().into_iter().flatten().take(ENOUGH);
    keys.filter_map(|key| key.as_str().map(str::to_owned)).collect()
}

fn spent(counter: &AtomicU64, amount: u64) -> u64 {
    let before = counter.load(Ordering::Relaxed);
    let after = before.saturating_add(amount);
    counter.store(after, Ordering::Relaxed);
    after
}

impl Object for Evaluation {
    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        self.get_value_by_str(key.as_str()?)
    }

    fn get_value_by_str(self: &Arc<Self>, key: &str) -> Option<Value> {
        if key == EVALUATION {
            return Some(Value::from_dyn_object(Arc::clone(self)));
        }
        self.lookup(key)
    }
}
