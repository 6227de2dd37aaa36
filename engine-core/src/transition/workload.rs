//! The workload of an execution: defaults of the playbook under what the caller gave (decision D15).

use serde_json::{Map, Value, json};

use super::{Trouble, Turn};
use crate::payload::Payload;
use crate::template::{Coerce, Context, render};
use crate::time::iso;

/// Keys of a payload that are not inputs themselves.
const CONTAINERS: [&str; 2] = ["workload", "vars"];

/// The given inputs as one map: `payload.workload` under the flat keys.
pub(super) fn given(payload: &Map<String, Value>) -> Map<String, Value> {
    let mut given = Map::new();
    if let Some(Value::Object(nested)) = payload.get("workload") {
        merge(&mut given, nested);
    }
    merge(&mut given, &flat(payload));
    given
}

/// The flat keys of a payload: also the arguments of the entry step.
pub(super) fn flat(payload: &Map<String, Value>) -> Map<String, Value> {
    let flat = payload.iter().filter(|(key, _)| !CONTAINERS.contains(&key.as_str()));
    flat.map(|(key, value)| (key.clone(), value.clone())).collect()
}

/// Lays `over` on `under`: maps merge, lists and scalars replace.
pub(super) fn merge(under: &mut Map<String, Value>, over: &Map<String, Value>) {
    for (key, value) in over {
        match (under.get_mut(key), value) {
            (Some(Value::Object(deep)), Value::Object(value)) => merge(deep, value),
            (Some(place), _) => *place = value.clone(),
            (None, _) => {
                under.insert(key.clone(), value.clone());
            }
        }
    }
}

impl Turn<'_> {
    /// Renders the playbook's defaults, in document order, and lays the given inputs on them.
    ///
    /// Only the playbook's own text is a template: given values stay as they are (decision D51).
    pub(super) fn merged_workload(
        &self,
        payload: &Map<String, Value>,
    ) -> Result<Map<String, Value>, Trouble> {
        let given = given(payload);
        let mut merged = self.moment.playbook.workload.clone();
        merge(&mut merged, &given);
        for (key, default) in &self.moment.playbook.workload {
            let over = given.get(key);
            if over.is_some_and(|value| !(value.is_object() && default.is_object())) {
                continue;
            }
            let context = self.workload_context(&merged, payload);
            let rendered = render(default, &context, Coerce::Mixed)
                .map_err(|error| Trouble::template(&format!("`workload.{key}`"), error))?;
            let mut one = Map::from_iter([(key.clone(), rendered)]);
            if let Some(over) = over {
                merge(&mut one, &Map::from_iter([(key.clone(), over.clone())]));
            }
            merged.extend(one);
        }
        Ok(merged)
    }

    fn workload_context(
        &self,
        merged: &Map<String, Value>,
        payload: &Map<String, Value>,
    ) -> Context {
        let mut context = Context::new(self.loaded.clone());
        let id = self.moment.key.execution_id().to_string();
        let workload = Value::Object(merged.clone());
        // Rendered once and recorded: the time of the start is an input like any other.
        context.set_functions(&iso(self.moment.at_ms), &id);
        context.set_value("execution_id", &json!(id));
        context.set_value("job", &json!({"uuid": id, "execution_id": id, "id": id}));
        context.set_value("payload", &Value::Object(payload.clone()));
        context.set_value("workload", &workload);
        context.push_keys(&Payload::Inline(workload));
        context
    }
}
