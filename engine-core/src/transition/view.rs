//! What names mean while a rule, an argument or a collection is rendered.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde_json::{Value, json};

use crate::event::ToolFailure;
use crate::ids::{ExecutionId, StepName};
use crate::payload::Payload;
use crate::state::Unit;
use crate::template::{Context, Loaded};

/// The event that rules are asked about.
#[derive(Clone, Debug)]
pub(super) struct Occasion {
    /// Such as `call.done`.
    pub(super) name: &'static str,
    /// The tool's response, or the loop's aggregate.
    pub(super) response: Payload,
    /// Why the call failed.
    pub(super) error: Option<ToolFailure>,
    /// The attempt that was answered; 0 where none was.
    pub(super) attempt: u32,
}

/// The iteration that rules are asked about.
#[derive(Clone, Debug)]
pub(super) struct Item {
    /// The name of the item variable.
    pub(super) iterator: String,
    /// The item.
    pub(super) value: Value,
    /// 0-based.
    pub(super) index: u64,
    /// Iterations of the loop.
    pub(super) total: u64,
    /// Whether the item is a list of items, which has two more names.
    pub(super) chunked: bool,
    /// Whether the index is also called `index`.
    pub(super) numbered: bool,
}

/// Everything that can be named, restricted to the names that the step's templates use.
#[derive(Clone, Debug)]
pub(super) struct View<'a> {
    pub(super) execution_id: ExecutionId,
    pub(super) step: &'a StepName,
    pub(super) names: &'a BTreeSet<String>,
    pub(super) workload: Payload,
    pub(super) vars: BTreeMap<String, Payload>,
    pub(super) steps: BTreeMap<String, Payload>,
    /// Steps of the playbook that are named and have no result yet.
    pub(super) pending: Vec<String>,
    pub(super) args: BTreeMap<String, Payload>,
    pub(super) item: Option<Item>,
    /// What the run or the iteration has done so far; rules change this copy.
    pub(super) unit: Unit,
    pub(super) occasion: Option<Occasion>,
    /// The outcome of the call in the newer dialect's form, where a text names it.
    pub(super) output: Option<Value>,
    /// The step's result, once it has one.
    pub(super) result: Option<Payload>,
    pub(super) loaded: Arc<Loaded>,
}

impl View<'_> {
    /// The context of one evaluation. Nearer names win: the event and the item, then arguments, results
    /// of steps, variables, keys of the workload.
    pub(super) fn context(&self) -> Context {
        let mut context = Context::new(Arc::clone(&self.loaded));
        let id = self.execution_id.to_string();
        context.set_value("execution_id", &json!(id));
        if self.names.contains("job") {
            context.set_value("job", &json!({"uuid": id, "execution_id": id, "id": id}));
        }
        for name in ["workload", "payload"] {
            if self.names.contains(name) {
                context.set_result(name, &self.workload);
            }
        }
        for name in ["vars", "ctx", "flags"] {
            if self.names.contains(name) && !(name == "flags" && self.vars.contains_key(name)) {
                context.set_map(name, &self.vars);
            }
        }
        for name in ["args", "input"] {
            if self.names.contains(name) && !self.args.contains_key(name) {
                context.set_map(name, &self.args);
            }
        }
        self.name_event(&mut context);
        self.name_item(&mut context);
        self.name_unit(&mut context);
        context.push_names(&self.used(&self.args));
        for (name, payload) in self.used(&self.steps) {
            if !self.args.contains_key(&name) {
                context.set_result(&name, &payload);
            }
        }
        if let Some(result) = &self.result
            && self.names.contains(self.step.as_str())
        {
            context.set_result(self.step.as_str(), result);
        }
        for name in &self.pending {
            context.set_pending(name);
        }
        context.push_names(&self.used(&self.vars));
        context.push_keys(&self.workload);
        context
    }

    fn used(&self, values: &BTreeMap<String, Payload>) -> BTreeMap<String, Payload> {
        let used = self.names.iter().filter_map(|name| values.get_key_value(name));
        used.map(|(name, payload)| (name.clone(), payload.clone())).collect()
    }

    fn name_event(&self, context: &mut Context) {
        let Some(occasion) = &self.occasion else { return };
        let payload = match &occasion.response {
            Payload::Loop(summary) => json!({"iterations": summary.total, "status": "completed"}),
            Payload::Inline(value) => json!({"response": value}),
            _ => Value::Null,
        };
        let event = json!({"name": occasion.name, "step": self.step, "payload": payload});
        context.set_value("event", &event);
        context.set_value("attempt", &json!(occasion.attempt.max(1)));
        context.set_value("_attempt", &json!(occasion.attempt.max(1)));
        context.set_value("success", &json!(occasion.error.is_none()));
        let answered = occasion.name != "step.enter";
        let empty = occasion.error.is_some() && occasion.response == Payload::Inline(Value::Null);
        if answered && !empty {
            context.set_response("response", &occasion.response);
            context.set_response("this", &occasion.response);
            context.set_response("output", &occasion.response);
            context.set_response("result", self.result.as_ref().unwrap_or(&occasion.response));
        }
        if let Some(output) = &self.output {
            context.set_value("output", output);
        }
        if let Some(error) = &occasion.error {
            context.set_value("error", &error_value(error));
            if let Some(status) = error.status {
                context.set_value("status_code", &json!(status));
            }
        } else if let Some(status) = occasion.response.inline().and_then(|r| r.get("status_code")) {
            context.set_value("status_code", status);
        }
    }

    fn name_item(&self, context: &mut Context) {
        let Some(Item { iterator, value, index, total, chunked, numbered }) = &self.item else {
            return;
        };
        context.set_value(iterator, value);
        context.set_value("loop_index", &json!(index));
        let (first, last) = (*index == 0, index + 1 == *total);
        let position = json!({"index": index, "first": first, "last": last, "length": total});
        context.set_value("loop", &position);
        let old = json!({"current_index": index, "index": index, "item": value, "count": total});
        context.set_value("_loop", &old);
        if *numbered {
            context.set_value("index", &json!(index));
        }
        if *chunked {
            context.set_value("batch", value);
            context.set_value(&format!("{iterator}s"), value);
        }
    }

    /// What the run or the iteration has done so far.
    fn name_unit(&self, context: &mut Context) {
        if self.names.contains("iter") || self.names.contains("step") {
            let mut own = self.unit.vars.clone();
            if let Some(Item { iterator, value, index, .. }) = &self.item {
                let item = Payload::Inline(value.clone());
                own.entry(iterator.clone()).or_insert(item);
                own.entry("index".to_owned()).or_insert(Payload::Inline(json!(index)));
            }
            context.set_map("iter", &own);
        }
        if let Some(prev) = &self.unit.prev {
            context.set_response("_prev", prev);
        }
        if self.names.contains("results") && !self.vars.contains_key("results") {
            context.set_map("results", &self.unit.results);
        }
        for (label, result) in self.used(&self.unit.results) {
            context.set_result(&label, &result);
        }
        let page = self.unit.page;
        context.set_value("_page", &json!(page));
        context.set_value("_retry", &json!({"index": page, "count": page}));
    }
}

/// The outcome of a call as the newer dialect reads it: the result's own keys, and beside them `status`,
/// `data`, `error`, `http` and `meta` (`dsl.md` 1.7).
pub(super) fn output(result: &Value, error: Option<&ToolFailure>, attempt: u32) -> Value {
    let mut output = result.as_object().cloned().unwrap_or_default();
    let status = if error.is_some() { "error" } else { "ok" };
    output.insert("status".to_owned(), json!(status));
    output.entry("data").or_insert_with(|| result.clone());
    if let Some(error) = error {
        output.insert("error".to_owned(), error_value(error));
    }
    let code = error.and_then(|error| error.status).map(|status| json!(status));
    let code = code.or_else(|| result.get("status_code").cloned());
    if let Some(code) = code {
        let headers = result.get("headers").cloned().unwrap_or(Value::Null);
        output.insert("http".to_owned(), json!({"status": code, "headers": headers}));
    }
    output.insert("meta".to_owned(), json!({"attempt": attempt}));
    Value::Object(output)
}

/// An error as templates read it.
fn error_value(error: &ToolFailure) -> Value {
    json!({
        "type": error.kind, "kind": error.kind, "message": error.message, "status": error.status,
        "code": error.status, "retryable": error.retryable, "traceback": error.traceback,
    })
}
