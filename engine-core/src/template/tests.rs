//! The language of templates, decision by decision and trap by trap.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Value, json};

use super::*;
use crate::ids::ExecutionId;
use crate::payload::{Blob, LoopSummary, Payload};

mod elsewhere;
mod filters;
mod limits;
mod names;
mod properties;
mod syntax;
mod types;
mod undefined;

/// A context whose names are the keys of `names`.
fn context(names: &Value) -> Context {
    let mut context = Context::new(Arc::default());
    for (name, value) in names.as_object().unwrap() {
        context.set_value(name, value);
    }
    context
}

/// What a rule sees of an HTTP answer.
fn answered() -> Context {
    let mut context = context(&json!({
        "event": {"name": "call.done"},
        "workload": {"cities": ["Bern", "Basel"], "count": 3, "name": "it's", "on": "False"},
        "n": null, "s": "text", "x": {"a": {"b": 1}}, "flag": true, "zero": 0,
    }));
    let body = json!({
        "status": 200,
        "data": {"items": [1, 2], "paging": {"hasMore": true, "page": 2}},
    });
    context.set_response("response", &Payload::Inline(body));
    context
}

/// A payload that is not here.
fn stored(text: &str) -> Payload {
    Payload::Ref(Blob::new(ExecutionId(7), text.as_bytes().to_vec()).reference)
}

fn needs(payloads: &[Payload]) -> TemplateError {
    TemplateError::Needs(payloads.to_vec())
}

fn undefined(result: Result<Value, TemplateError>) -> String {
    match result {
        Err(TemplateError::Undefined(message)) => message,
        other => panic!("expected an undefined name, got {other:?}"),
    }
}

fn failed<T: std::fmt::Debug>(result: Result<T, TemplateError>) -> String {
    match result {
        Err(TemplateError::Failed(message)) => message,
        other => panic!("expected a failure, got {other:?}"),
    }
}
