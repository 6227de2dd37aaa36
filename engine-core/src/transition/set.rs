//! `set` and `vars`: which variables change, and whose they are.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::Trouble;
use super::view::View;
use crate::payload::Payload;
use crate::template::{Coerce, render_map};

/// What a `set` changes, by scope.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Assigned {
    /// Variables of the execution.
    pub(super) execution: BTreeMap<String, Payload>,
    /// Variables of the run or the iteration: `iter.*` and `step.*`.
    pub(super) unit: BTreeMap<String, Payload>,
}

/// The variables that a `set` or `vars` names, in any of its shapes (decision D16).
pub(super) fn assignments(
    value: &Value,
    view: &View<'_>,
    place: &str,
) -> Result<Assigned, Trouble> {
    let mut raw: Map<String, Value> = Map::new();
    match value {
        Value::Array(items) => {
            for item in items {
                match (item.get("name").and_then(Value::as_str), item.get("value")) {
                    (Some(name), Some(value)) => raw.extend([(name.to_owned(), value.clone())]),
                    _ => raw.extend(item.as_object().cloned().unwrap_or_default()),
                }
            }
        }
        Value::Object(map) => {
            for (key, value) in map {
                match (key.as_str(), value) {
                    ("ctx" | "vars" | "iter" | "step", Value::Object(inner)) => {
                        let scoped = inner.iter().map(|(name, value)| scoped(key, name, value));
                        raw.extend(scoped);
                    }
                    _ => raw.extend([(key.clone(), value.clone())]),
                }
            }
        }
        _ => {}
    }
    let rendered = render_map(&raw, &view.context(), Coerce::Mixed)
        .map_err(|error| Trouble::template(&format!("`set` of {place}"), error))?;
    let mut assigned = Assigned::default();
    for (name, value) in rendered {
        let own = ["iter.", "step."].iter().find_map(|scope| name.strip_prefix(scope));
        match own {
            Some(own) => assigned.unit.insert(own.to_owned(), value),
            None => assigned.execution.insert(bare(&name).to_owned(), value),
        };
    }
    Ok(assigned)
}

fn scoped(scope: &str, name: &str, value: &Value) -> (String, Value) {
    let bare = name.split_once('.').is_none();
    let name = if bare { format!("{scope}.{name}") } else { name.to_owned() };
    (name, value.clone())
}

/// The name of a variable without its scope.
fn bare(name: &str) -> &str {
    ["ctx.", "vars."].iter().find_map(|scope| name.strip_prefix(scope)).unwrap_or(name)
}
