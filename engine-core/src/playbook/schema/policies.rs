//! The part of the schema about what happens around a call: `retry`, policies, tools that wait.

use serde_json::{Value, json};

use crate::playbook::parse;

/// Keys of `retry` that change the call itself.
const CHANGES: [&str; 9] =
    ["args", "params", "url", "endpoint", "method", "headers", "body", "data", "payload"];

/// The definitions of this part, by name.
pub(super) fn definitions() -> Value {
    json!({
        "toolSpec": tool_spec(),
        "taskPolicy": task_policy(),
        "policyRule": policy_rule(),
        "policyThen": policy_then(),
        "stepPolicy": step_policy(),
        "admit": admit(),
        "retry": retry(),
        "retryItem": retry_item(),
        "onError": on_error(),
        "onSuccess": on_success(),
        "backoff": {
            "description": "How the delay grows, or a number of seconds that it always has.",
            "anyOf": [{"enum": parse::backoffs()}, {"type": "number", "minimum": 0}],
        },
        "wait": wait(),
        "callback": callback(),
    })
}

fn tool_spec() -> Value {
    json!({
        "type": ["object", "null"],
        "description": "What happens around the call.",
        "properties": {
            "timeout": {"description": "How long the call may take."},
            "policy": {"$ref": "#/$defs/taskPolicy"},
        },
    })
}

fn task_policy() -> Value {
    json!({
        "type": ["object", "null"],
        "description": "What to do when the task has ended; the first rule that applies decides.",
        "additionalProperties": false,
        "properties": {
            "mode": {"const": "exclusive"},
            "on_unmatched": {
                "enum": ["fail", "continue"],
                "description": "What an error does that no rule applies to.",
            },
            "rules": {"type": ["array", "null"], "items": {"$ref": "#/$defs/policyRule"}},
        },
    })
}

fn policy_rule() -> Value {
    json!({
        "type": "object",
        "additionalProperties": false,
        "anyOf": [{"required": ["then"]}, {"required": ["else"]}],
        "properties": {
            "when": {"$ref": "#/$defs/condition"},
            "then": {"$ref": "#/$defs/policyThen"},
            "else": {
                "description": "Whatever the outcome; put it last.",
                "anyOf": [
                    {"$ref": "#/$defs/policyThen"},
                    {
                        "type": "object",
                        "required": ["then"],
                        "properties": {"then": {"$ref": "#/$defs/policyThen"}},
                    },
                    {"type": ["boolean", "null"]},
                ],
            },
        },
    })
}

fn policy_then() -> Value {
    json!({
        "type": "object",
        "additionalProperties": false,
        "anyOf": [
            {"required": ["do"]},
            {"required": ["set"]},
            {"required": ["set_ctx"]},
            {"required": ["set_iter"]},
        ],
        "if": {"required": ["do"], "properties": {"do": {"const": "jump"}}},
        "then": {"required": ["to"]},
        "properties": {
            "do": {
                "enum": ["continue", "retry", "jump", "break", "fail"],
                "description": "The next task, this one again, another, or the end of the list.",
            },
            "attempts": {"$ref": "#/$defs/positive", "description": "Tries in total."},
            "backoff": {"enum": parse::backoffs(), "description": "How the delay grows."},
            "delay": {"$ref": "#/$defs/duration"},
            "to": {"type": "string", "description": "A task of the list, or `previous`."},
            "set": {"$ref": "#/$defs/assignments"},
            "set_ctx": {"$ref": "#/$defs/inputs", "description": "`set`, of the execution."},
            "set_iter": {"$ref": "#/$defs/inputs", "description": "`set`, of the iteration."},
        },
    })
}

fn step_policy() -> Value {
    json!({
        "type": "object",
        "additionalProperties": false,
        "properties": {
            "admit": {"$ref": "#/$defs/admit"},
            "failure": {"description": "`{mode: fail_fast}`: a loop stops at its first failure."},
            "exec": {"description": "A hint about the place; no effect."},
            "lifecycle": {"description": "No effect.", "deprecated": true},
            "emit": {"description": "No effect.", "deprecated": true},
        },
    })
}

fn admit() -> Value {
    let allow = json!({
        "type": "object",
        "required": ["allow"],
        "properties": {"allow": {"$ref": "#/$defs/boolean"}},
    });
    json!({
        "type": ["object", "null"],
        "description": "Whether the step runs; the first rule that applies decides.",
        "additionalProperties": false,
        "properties": {
            "mode": {"const": "exclusive"},
            "rules": {
                "type": ["array", "null"],
                "items": {
                    "type": "object",
                    "additionalProperties": false,
                    "anyOf": [{"required": ["then"]}, {"required": ["else"]}],
                    "properties": {
                        "when": {"$ref": "#/$defs/condition"},
                        "then": allow.clone(),
                        "else": {
                            "anyOf": [
                                allow.clone(),
                                {"type": "object", "required": ["then"], "properties": {"then": allow}},
                                {"type": ["boolean", "null"]},
                            ],
                        },
                    },
                },
            },
        },
    })
}

/// `max_attempts` and the delays between.
fn pace() -> Value {
    json!({
        "max_attempts": {"$ref": "#/$defs/positive", "description": "Calls in total."},
        "delay": {"$ref": "#/$defs/duration", "description": "Before the next call."},
        "initial_delay": {"$ref": "#/$defs/duration", "description": "Before the second call."},
        "max_delay": {"$ref": "#/$defs/duration", "description": "The longest delay."},
        "backoff": {"$ref": "#/$defs/backoff"},
        "backoff_multiplier": {"type": ["number", "string"], "description": "Growth of the delay."},
        "jitter": {"$ref": "#/$defs/boolean", "description": "Spread the delays."},
    })
}

/// What says which errors are worth another try.
fn reasons() -> Value {
    json!({
        "when": {"$ref": "#/$defs/condition", "description": "Which errors."},
        "retry_when": {"$ref": "#/$defs/condition", "description": "Which errors."},
        "stop_when": {"$ref": "#/$defs/condition", "description": "Which errors not; it wins."},
        "retry_on": {
            "description": "Which errors: `timeout`, `connection_error`, a status, a type.",
            "type": ["array", "string", "integer"],
        },
    })
}

/// One map of several.
fn all(parts: &[Value]) -> Value {
    let pairs = parts.iter().filter_map(Value::as_object).flatten();
    Value::Object(pairs.map(|(key, value)| (key.clone(), value.clone())).collect())
}

fn retry() -> Value {
    let changes = CHANGES
        .into_iter()
        .map(|key| (key.to_owned(), json!({"description": "What the next call has differently."})));
    let sides = json!({
        "on_error": {"$ref": "#/$defs/onError"},
        "on_success": {"$ref": "#/$defs/onSuccess"},
    });
    let properties = all(&[pace(), reasons(), Value::Object(changes.collect()), sides]);
    json!({
        "description": "Call the tool again: after an error, or for the next page.",
        "anyOf": [
            {"const": true},
            {"type": "integer", "minimum": 1},
            {"type": "array", "items": {"$ref": "#/$defs/retryItem"}},
            {"type": "object", "additionalProperties": false, "properties": properties},
        ],
    })
}

fn retry_item() -> Value {
    json!({
        "type": "object",
        "additionalProperties": false,
        "anyOf": [{"required": ["then"]}, {"required": ["else"]}],
        "properties": {
            "when": {"$ref": "#/$defs/condition"},
            "then": {"type": "object", "properties": all(&[pace(), reasons(), paging()])},
            "else": {"type": ["object", "boolean", "null"]},
        },
    })
}

fn on_error() -> Value {
    json!({
        "type": "object",
        "description": "After an error.",
        "additionalProperties": false,
        "properties": all(&[reasons(), pace()]),
    })
}

/// What a page leaves, and what the next one has differently.
fn paging() -> Value {
    json!({
        "next_call": {"description": "What the next call has differently: `{params: {...}}`."},
        "collect": {"description": "What to keep of a page: `{path, strategy, into}`."},
        "sink": {"$ref": "#/$defs/sink"},
        "save": {"$ref": "#/$defs/sink"},
        "per_iteration": {"description": "`{sink: {...}}`, for each page."},
        "interval": {"$ref": "#/$defs/duration", "description": "Between calls."},
    })
}

fn on_success() -> Value {
    let conditions = json!({
        "while": {"$ref": "#/$defs/condition", "description": "Whether there is another page."},
        "when": {"$ref": "#/$defs/condition", "description": "The same as `while`."},
    });
    let mut pace = pace();
    if let Some(pace) = pace.as_object_mut() {
        pace.shift_remove("jitter");
    }
    json!({
        "type": "object",
        "description": "After a success: the next page, or the same question again.",
        "additionalProperties": false,
        "anyOf": [{"required": ["while"]}, {"required": ["when"]}],
        "properties": all(&[conditions, paging(), pace]),
    })
}

/// Keys that every closed tool has.
fn common() -> Value {
    json!({
        "kind": {}, "name": {}, "args": {}, "input": {}, "retry": {}, "sink": {}, "save": {},
        "spec": {}, "set": {}, "output": {},
    })
}

fn wait() -> Value {
    let own = json!({
        "seconds": {"$ref": "#/$defs/duration", "description": "How long."},
        "until": {
            "type": ["string", "number"],
            "description": "When: `2030-01-31T09:00:00Z`, Unix seconds, or a template.",
        },
    });
    json!({
        "description": "Waits; nothing runs meanwhile.",
        "additionalProperties": false,
        "oneOf": [{"required": ["seconds"]}, {"required": ["until"]}],
        "properties": all(&[common(), own]),
    })
}

fn callback() -> Value {
    let own = json!({
        "timeout": {"$ref": "#/$defs/duration", "description": "How long; a day if absent."},
    });
    json!({
        "description": "Waits until somebody answers.",
        "additionalProperties": false,
        "properties": all(&[common(), own]),
    })
}
