//! `sink` and `save` in one form: whatever the spelling, a tool with its configuration.

use serde_json::{Map, Value};

use super::{Position, Tool};

/// Kinds of a sink that only record: nothing has to run for them.
const RECORDING: [&str; 3] = ["event_log", "event", ""];

/// Keys of a sink that are not configuration of its tool.
const OWN_KEYS: [&str; 6] = ["tool", "storage", "kind", "args", "on_error", "type"];

/// The tool of a sink: `{tool: {kind, ...}, args}`, the flat `{tool: postgres, table, ...}`, or
/// `{storage: postgres, ...}` of the first version.
#[must_use]
pub fn tool_of(sink: &Value) -> Tool {
    let none = Map::new();
    let sink = sink.as_object().unwrap_or(&none);
    let nested = ["tool", "storage"].iter().find_map(|key| sink.get(*key)?.as_object());
    let holder = nested.unwrap_or(sink);
    let keys: &[&str] =
        if nested.is_some() { &["kind", "type"] } else { &["tool", "storage", "kind"] };
    let kind = keys.iter().find_map(|key| holder.get(*key)?.as_str()).unwrap_or_default();
    let flat = sink.iter().filter(|(key, _)| !OWN_KEYS.contains(&key.as_str()));
    let mut config: Map<String, Value> =
        flat.map(|(key, value)| (key.clone(), value.clone())).collect();
    let own = nested.into_iter().flatten();
    let own = own.filter(|(key, _)| !matches!(key.as_str(), "kind" | "type" | "args"));
    config.extend(own.map(|(key, value)| (key.clone(), value.clone())));
    let mut args = Map::new();
    for given in [nested.and_then(|tool| tool.get("args")), sink.get("args")] {
        args.extend(given.and_then(Value::as_object).cloned().unwrap_or_default());
    }
    Tool { kind: kind.to_lowercase(), config, args, position: Position::default() }
}

/// Whether the sink only puts a value into the event log.
#[must_use]
pub fn records(sink: &Value) -> bool {
    RECORDING.contains(&tool_of(sink).kind.as_str())
}

/// Whether a failed save leaves its step alone (decision D34).
#[must_use]
pub fn continues_on_error(sink: &Value) -> bool {
    sink.get("on_error").and_then(Value::as_str) == Some("continue")
}
