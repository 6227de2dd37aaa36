//! The language as a JSON Schema (draft 2020-12), for editors.
//!
//! It says what may stand where, and accepts everything that the parser accepts; names, templates
//! and what belongs together are the parser's.

use serde_json::{Map, Value, json};

use crate::limits;
use crate::playbook::keychain::{COMMON_KEYS, KINDS, SCOPES};
use crate::playbook::parse;

mod policies;

/// The schema of a playbook.
#[must_use]
pub fn json_schema() -> Value {
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": "https://noetl.io/schemas/playbook-v2.json",
        "title": "NoETL playbook",
        "type": "object",
        "required": ["apiVersion", "kind", "metadata", "workflow"],
        "additionalProperties": false,
        "properties": root(),
        "$defs": definitions(),
    })
}

fn root() -> Value {
    json!({
        "apiVersion": {
            "enum": ["noetl.io/v2", "noetl.io/v10"],
            "description": "Version of the language.",
        },
        "kind": {"const": "Playbook"},
        "metadata": {
            "type": "object",
            "description": "What the playbook is called; other keys are free.",
            "required": ["name"],
            "properties": {
                "name": {"type": "string", "minLength": 1, "description": "Name for people."},
                "path": {"type": "string", "description": "Catalog path; the name if absent."},
                "description": {"description": "Text for people."},
            },
        },
        "workload": {
            "type": ["object", "null"],
            "description": "Default inputs; the payload of a run is merged over them.",
        },
        "keychain": {
            "type": ["array", "null"],
            "description": "Credential and token declarations: `keychain.NAME.FIELD` in templates.",
            "maxItems": limits::KEYCHAIN_ENTRIES_MAX,
            "items": {"$ref": "#/$defs/keychainEntry"},
        },
        "workbook": {
            "type": ["array", "null"],
            "description": "Named reusable tasks, called by `tool: {kind: workbook, task: NAME}`.",
            "items": {"$ref": "#/$defs/workbookTask"},
        },
        "workflow": {
            "type": "array",
            "minItems": 1,
            "description": "The steps.",
            "items": {"$ref": "#/$defs/step"},
        },
        "executor": {"$ref": "#/$defs/executor"},
        "vars": {"description": "Not read; use `workload`.", "deprecated": true},
        "ctx": {"description": "Not read; use `workload`.", "deprecated": true},
    })
}

fn definitions() -> Value {
    let mut all = own_definitions();
    if let (Some(all), Value::Object(more)) = (all.as_object_mut(), policies::definitions()) {
        all.extend(more);
    }
    all
}

/// One entry; which keys go with which kind only the parser says.
fn keychain_entry() -> Value {
    let kinds: Vec<&str> = KINDS.iter().filter(|kind| kind.runs).map(|kind| kind.name).collect();
    let keys = KINDS.iter().filter(|kind| kind.runs).flat_map(|kind| kind.keys);
    let mut properties: Map<String, Value> =
        COMMON_KEYS.iter().chain(keys).map(|key| ((*key).to_owned(), json!({}))).collect();
    for key in ["kind", "type"] {
        properties.insert(key.to_owned(), json!({"enum": kinds}));
    }
    properties.insert("name".to_owned(), json!({"type": "string", "minLength": 1}));
    properties.insert("scope".to_owned(), json!({"enum": SCOPES}));
    properties.insert("map".to_owned(), json!({"type": "object"}));
    json!({
        "type": "object",
        "description": "A credential or token, resolved by the worker that needs it.",
        "required": ["name"],
        "anyOf": [{"required": ["kind"]}, {"required": ["type"]}],
        "properties": properties,
        "additionalProperties": false,
    })
}

fn own_definitions() -> Value {
    json!({
        "keychainEntry": keychain_entry(),
        "executor": executor(),
        "executorSpec": executor_spec(),
        "workbookTask": workbook_task(),
        "step": step(),
        "stepSpec": step_spec(),
        "tool": tool(),
        "task": task(),
        "loop": repeat(),
        "rule": rule(),
        "actions": actions(),
        "action": action(),
        "sink": sink(),
        "next": next(),
        "target": target(),
        "arc": arc(),
        "router": router(),
        "inputs": {
            "type": ["object", "null"],
            "description": "Inputs by name; values may be templates.",
        },
        "assignments": {
            "description": "Variables to set: a map, or a list of `{name, value}`.",
            "anyOf": [
                {"type": "object"},
                {"type": "array", "items": {"type": "object", "required": ["name", "value"]}},
            ],
        },
        "condition": {
            "type": ["string", "boolean", "number"],
            "description": "An expression, with or without `{{ }}`.",
        },
        "predicate": {
            "type": ["string", "boolean", "number", "null"],
            "description": "Which items take part: an expression, or nothing.",
        },
        "duration": {
            "description": "Seconds, text such as `30s`, `500ms`, `5m`, `1h`, or a template.",
            "anyOf": [{"type": "number", "minimum": 0}, {"type": "string"}],
        },
        "count": {
            "description": "A whole number, or a template that gives one.",
            "anyOf": [{"type": "integer", "minimum": 0}, {"type": "string", "pattern": r"\{[{%]"}],
        },
        "positive": {
            "description": "A whole number from 1, or a template that gives one.",
            "anyOf": [{"type": "integer", "minimum": 1}, {"type": "string", "pattern": r"\{[{%]"}],
        },
        "boolean": {"enum": [true, false, "yes", "no", "on", "off"]},
    })
}

fn executor() -> Value {
    json!({
        "type": "object",
        "description": "Where and how the playbook runs.",
        "additionalProperties": false,
        "properties": {
            "profile": {"description": "`local`, `distributed` or `auto`."},
            "version": {},
            "requires": {"description": "Tools and features that the playbook needs."},
            "spec": {"$ref": "#/$defs/executorSpec"},
        },
    })
}

fn executor_spec() -> Value {
    json!({
        "type": "object",
        "additionalProperties": false,
        "properties": {
            "entry_step": {"type": "string", "description": "The step that runs first."},
            "final_step": {"type": "string", "description": "The step that runs last."},
            "timeout": {
                "$ref": "#/$defs/duration",
                "description": "How long the whole execution may take.",
            },
            "no_next_is_error": {
                "$ref": "#/$defs/boolean",
                "description": "Whether a branch that ends without a successor fails.",
            },
            "policy": {"description": "No effect."},
        },
    })
}

fn workbook_task() -> Value {
    json!({
        "type": "object",
        "required": ["name", "tool"],
        "additionalProperties": false,
        "properties": {
            "name": {"type": "string", "minLength": 1},
            "desc": {},
            "description": {},
            "tool": {"$ref": "#/$defs/tool"},
            "args": {"$ref": "#/$defs/inputs"},
            "input": {"$ref": "#/$defs/inputs"},
            "sink": {"$ref": "#/$defs/sink"},
            "save": {"$ref": "#/$defs/sink"},
            "assert": {"description": "Not evaluated."},
        },
    })
}

fn step() -> Value {
    json!({
        "type": "object",
        "required": ["step"],
        "anyOf": [{"required": ["tool"]}, {"required": ["case"]}, {"required": ["next"]}],
        "additionalProperties": false,
        "properties": {
            "step": {"type": "string", "minLength": 1, "description": "Unique name."},
            "desc": {"type": ["string", "null"], "description": "Text for people."},
            "tool": {
                "description": "What the step runs: a tool, or a list of tasks.",
                "anyOf": [
                    {"$ref": "#/$defs/tool"},
                    {"type": "array", "minItems": 1, "items": {"$ref": "#/$defs/task"}},
                ],
            },
            "args": {"$ref": "#/$defs/inputs"},
            "input": {"$ref": "#/$defs/inputs"},
            "loop": {"$ref": "#/$defs/loop"},
            "case": {
                "type": "array",
                "description": "Rules, evaluated in order for every event of the step.",
                "items": {"$ref": "#/$defs/rule"},
            },
            "next": {"$ref": "#/$defs/next"},
            "vars": {"$ref": "#/$defs/inputs", "description": "Variables stored after success."},
            "set": {"$ref": "#/$defs/assignments"},
            "spec": {"$ref": "#/$defs/stepSpec"},
            "retry": {"$ref": "#/$defs/retry"},
            "sink": {"$ref": "#/$defs/sink"},
            "save": {"$ref": "#/$defs/sink"},
            "output": {"description": "Where results are stored."},
        },
    })
}

fn step_spec() -> Value {
    json!({
        "type": "object",
        "additionalProperties": false,
        "properties": {
            "case_mode": {
                "enum": ["exclusive", "inclusive"],
                "description": "Whether evaluation stops at the first matching rule.",
            },
            "eval_mode": {"enum": ["on_entry", "on_event"], "description": "No effect."},
            "timeout": {"$ref": "#/$defs/duration"},
            "on_error": {
                "enum": ["fail", "continue"],
                "description": "What an unhandled failure of the step does to the execution.",
            },
            "join": {
                "enum": ["all", "any"],
                "description": "`all`: run once, when every branch that leads here has arrived.",
            },
            "policy": {"$ref": "#/$defs/stepPolicy"},
        },
    })
}

fn tool() -> Value {
    json!({
        "type": "object",
        "required": ["kind"],
        "description": "A tool and its configuration; keys beside `kind` depend on the kind.",
        "properties": {
            "kind": {
                "description": "Which tool.",
                "anyOf": [{"enum": parse::kinds()}, {"type": "string"}],
            },
            "args": {"$ref": "#/$defs/inputs"},
            "input": {"$ref": "#/$defs/inputs"},
            "timeout": {
                "description": "How long it may run.",
                "anyOf": [{"$ref": "#/$defs/duration"}, {"type": ["object", "null"]}],
            },
            "code": {"description": "Source code, not rendered unless it holds a valid template."},
            "sink": {"$ref": "#/$defs/sink"},
            "save": {"$ref": "#/$defs/sink"},
            "retry": {"$ref": "#/$defs/retry"},
            "spec": {"$ref": "#/$defs/toolSpec"},
            "set": {"$ref": "#/$defs/assignments", "description": "Set after success."},
            "output": {"description": "Where results are stored."},
        },
        "allOf": [of_kind("wait"), of_kind("callback")],
    })
}

/// What a tool of that kind must be beside.
fn of_kind(kind: &str) -> Value {
    json!({
        "if": {"required": ["kind"], "properties": {"kind": {"const": kind}}},
        "then": {"$ref": format!("#/$defs/{kind}")},
    })
}

fn task() -> Value {
    json!({
        "description": "`{name, kind, ...}`, or `{label: {kind, ...}}`.",
        "anyOf": [
            {"$ref": "#/$defs/tool"},
            {
                "type": "object",
                "minProperties": 1,
                "maxProperties": 1,
                "additionalProperties": {"$ref": "#/$defs/tool"},
            },
        ],
    })
}

fn repeat() -> Value {
    let mode = json!({"enum": ["sequential", "parallel", "async", "chunked"]});
    json!({
        "type": "object",
        "description": "Runs the step once for each item.",
        "allOf": [
            {"anyOf": [{"required": ["in"]}, {"required": ["collection"]}]},
            {"anyOf": [{"required": ["iterator"]}, {"required": ["element"]}]},
        ],
        "additionalProperties": false,
        "properties": {
            "in": {"description": "The items: a template or a list."},
            "collection": {"description": "The same as `in`."},
            "iterator": {"$ref": "#/$defs/loop/properties/element"},
            "element": {
                "type": "string",
                "pattern": "^\\s*[A-Za-z_][A-Za-z0-9_]*\\s*$",
                "description": "The variable that holds the item.",
            },
            "mode": mode.clone(),
            "max_in_flight": {"$ref": "#/$defs/positive"},
            "concurrency": {"$ref": "#/$defs/positive"},
            "where": {"$ref": "#/$defs/predicate"},
            "filter": {"$ref": "#/$defs/predicate"},
            "order_by": {"$ref": "#/$defs/condition", "description": "Sort key of an item."},
            "limit": {"$ref": "#/$defs/count"},
            "chunk": {"$ref": "#/$defs/positive"},
            "enumerate": {"$ref": "#/$defs/boolean"},
            "spec": {
                "type": ["object", "null"],
                "additionalProperties": false,
                "properties": {
                    "mode": mode,
                    "max_in_flight": {"$ref": "#/$defs/positive", "description": "Items at once."},
                    "policy": {
                        "type": "object",
                        "description": "`failure: {mode: fail_fast}` stops at the first failure.",
                    },
                },
            },
        },
    })
}

fn rule() -> Value {
    json!({
        "type": "object",
        "additionalProperties": false,
        "anyOf": [{"required": ["then"]}, {"required": ["else"]}],
        "properties": {
            "when": {"$ref": "#/$defs/condition"},
            "then": {"$ref": "#/$defs/actions"},
            "else": {
                "description": "The actions, or `true` beside `then`.",
                "anyOf": [
                    {"$ref": "#/$defs/actions"},
                    {
                        "type": "object",
                        "required": ["then"],
                        "properties": {"then": {"$ref": "#/$defs/actions"}},
                    },
                    {"type": ["boolean", "null"]},
                ],
            },
        },
    })
}

fn actions() -> Value {
    json!({
        "anyOf": [
            {"$ref": "#/$defs/action"},
            {"type": "array", "items": {"$ref": "#/$defs/action"}},
        ],
    })
}

fn action() -> Value {
    json!({
        "type": "object",
        "description": "Actions; any other key is a named task, `{tool: {kind, ...}}`.",
        "additionalProperties": {"type": "object", "required": ["tool"]},
        "properties": {
            "next": {
                "description": "Where to go.",
                "anyOf": [
                    {"$ref": "#/$defs/next"},
                    {"type": "object", "required": ["next"]},
                ],
            },
            "step": {"type": "string", "minLength": 1, "description": "Where to go."},
            "args": {"$ref": "#/$defs/inputs"},
            "input": {"$ref": "#/$defs/inputs"},
            "set": {"$ref": "#/$defs/assignments"},
            "vars": {"$ref": "#/$defs/assignments"},
            "collect": {
                "type": "object",
                "description": "Accumulate: `{path, into, strategy}` or `{from, into, mode}`.",
            },
            "result": {"description": "The step's result: `{from: expression}` or a value."},
            "sink": {"$ref": "#/$defs/sink"},
            "save": {"$ref": "#/$defs/sink"},
            "call": {"type": "object", "description": "Run the tool with these keys replaced."},
            "retry": {"$ref": "#/$defs/retry"},
            "fail": {"description": "`{message, fail_workflow}`, text, or nothing."},
            "skip": {"description": "`{reason}`."},
        },
    })
}

fn sink() -> Value {
    json!({
        "type": "object",
        "description": "Store data: `{tool: {kind, ...}, args}`.",
    })
}

fn next() -> Value {
    json!({
        "description": "Where to go: a step, a list of steps, or arcs.",
        "anyOf": [
            {"type": "string", "minLength": 1},
            {"type": "array", "items": {"$ref": "#/$defs/target"}},
            {"$ref": "#/$defs/target"},
            {"$ref": "#/$defs/router"},
        ],
    })
}

fn target() -> Value {
    json!({
        "anyOf": [
            {"type": "string", "minLength": 1},
            {
                "type": "object",
                "required": ["step"],
                "additionalProperties": false,
                "properties": {
                    "step": {"type": "string", "minLength": 1},
                    "args": {"$ref": "#/$defs/inputs"},
                    "input": {"$ref": "#/$defs/inputs"},
                },
            },
        ],
    })
}

fn router() -> Value {
    json!({
        "type": "object",
        "required": ["arcs"],
        "additionalProperties": false,
        "properties": {
            "spec": {
                "type": "object",
                "additionalProperties": false,
                "properties": {
                    "mode": {
                        "enum": ["exclusive", "inclusive"],
                        "description": "The first arc whose guard holds, or all of them.",
                    },
                    "on_no_match": {"enum": ["complete", "quiet"]},
                    "policy": {"description": "No effect."},
                },
            },
            "arcs": {"type": ["array", "null"], "items": {"$ref": "#/$defs/arc"}},
        },
    })
}

fn arc() -> Value {
    json!({
        "type": "object",
        "required": ["step"],
        "additionalProperties": false,
        "properties": {
            "step": {"type": "string", "minLength": 1},
            "when": {"$ref": "#/$defs/condition"},
            "args": {"$ref": "#/$defs/inputs"},
            "input": {"$ref": "#/$defs/inputs"},
            "set": {"$ref": "#/$defs/assignments"},
            "spec": {"description": "No effect."},
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every `$ref` inside `value`.
    fn references<'v>(value: &'v Value, found: &mut Vec<&'v str>) {
        match value {
            Value::Object(map) => {
                found.extend(map.get("$ref").and_then(Value::as_str));
                map.values().for_each(|value| references(value, found));
            }
            Value::Array(items) => items.iter().for_each(|value| references(value, found)),
            _ => {}
        }
    }

    #[test]
    fn every_reference_of_the_schema_leads_somewhere() {
        let schema = json_schema();
        let mut found = Vec::new();
        references(&schema, &mut found);
        assert!(found.len() > 30, "{found:?}");
        for reference in found {
            let pointer = reference.strip_prefix('#').unwrap();
            assert!(schema.pointer(pointer).is_some(), "{reference}");
        }
    }

    #[test]
    fn the_schema_knows_the_keys_that_the_parser_knows() {
        let schema = json_schema();
        for (definition, keys) in parse::keys() {
            let properties = match definition {
                "" => &schema["properties"],
                "retry" => &schema["$defs"]["retry"]["anyOf"][3]["properties"],
                _ => &schema["$defs"][definition]["properties"],
            };
            let known: Vec<_> =
                properties.as_object().unwrap().keys().map(String::as_str).collect();
            for key in keys {
                assert!(known.contains(key), "{definition}.{key}");
            }
            assert_eq!(known.len(), keys.len(), "{definition}: {known:?}");
        }
    }
}
