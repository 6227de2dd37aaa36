//! The only place that evaluates templates: raw configuration and inputs become values.

use std::collections::BTreeSet;

use engine_core::limits::LOADS_MAX;
use engine_core::load::{Readers, load};
use engine_core::payload::Payload;
use engine_core::ports::{PortError, PortErrorKind};
use engine_core::template::{self, Coerce, Context, TemplateError};
use engine_core::time::iso;
use serde_json::{Map, Value, json};

use crate::scope::Names;
use crate::task::{Iterator, Layer};
use crate::tool::{Reaction, ToolError};

/// Names that nothing of the playbook can take.
const RESERVED: [&str; 11] = [
    "execution_id",
    "job",
    "workload",
    "vars",
    "ctx",
    "flags",
    "args",
    "input",
    "env",
    "secret",
    "keychain",
];
/// Configuration whose rendered text becomes a number or a boolean if it looks like one.
const MIXED: [&str; 6] = ["params", "args", "payload", "data", "json", "form"];

/// Renders for one command.
pub(crate) struct Renderer<'a> {
    pub(crate) readers: &'a Readers,
    pub(crate) names: &'a Names,
    pub(crate) execution_id: &'a str,
    /// What `generate_uuid()` derives from: the same for all attempts.
    pub(crate) call_id: &'a str,
    /// What `now()` says.
    pub(crate) now_ms: i64,
    /// `env`, `secret`, `keychain` and `auth`: what the texts mention of them.
    pub(crate) private: &'a [(String, Value)],
}

/// The names of one iteration.
pub(crate) fn iteration(
    iterator: &Iterator,
    index: u64,
    total: u64,
    item: &Value,
) -> Vec<(String, Value)> {
    let name = iterator.name.as_str();
    let mut names = vec![
        (name.to_owned(), item.clone()),
        ("loop_index".to_owned(), json!(index)),
        (
            "loop".to_owned(),
            json!({"index": index, "index0": index, "first": index == 0,
                "last": index + 1 == total, "length": total}),
        ),
        ("iter".to_owned(), json!({name: item, "index": index})),
        (
            "_loop".to_owned(),
            json!({"current_index": index, "index": index, "item": item, "count": total}),
        ),
    ];
    if iterator.is_numbered {
        names.push(("index".to_owned(), json!(index)));
    }
    if iterator.is_chunked {
        names.push(("batch".to_owned(), item.clone()));
        names.push((format!("{name}s"), item.clone()));
    }
    names
}

/// Whether any text in a value is a template.
pub(crate) fn is_template(value: &Value) -> bool {
    match value {
        Value::String(text) => text.contains("{{") || text.contains("{%") || text.contains("{#"),
        Value::Array(values) => values.iter().any(is_template),
        Value::Object(fields) => fields.values().any(is_template),
        _ => false,
    }
}

/// Adds the top-level names that the templates in a value use.
pub(crate) fn used(value: &Value, found: &mut BTreeSet<String>) {
    match value {
        Value::String(text) if is_template(value) => {
            // Code with braces that are no template uses none.
            found.extend(template::check(text).unwrap_or_default());
        }
        Value::Array(values) => values.iter().for_each(|value| used(value, found)),
        Value::Object(map) => map.values().for_each(|value| used(value, found)),
        _ => {}
    }
}

/// Adds the `X` of every `namespace.X` and `namespace['X']` that the templates in a value use.
pub(crate) fn mentions(value: &Value, namespace: &str, found: &mut BTreeSet<String>) {
    match value {
        Value::String(text) if is_template(value) => {
            for (place, _) in text.match_indices(namespace) {
                let before = text.get(..place).unwrap_or_default();
                let is_part = |c: char| c.is_alphanumeric() || c == '_' || c == '.';
                if before.ends_with(is_part) || !is_open(before) {
                    continue;
                }
                let rest = text.get(place + namespace.len()..).unwrap_or_default();
                found.extend(accessed(rest));
            }
        }
        Value::Array(values) => values.iter().for_each(|value| mentions(value, namespace, found)),
        Value::Object(map) => map.values().for_each(|value| mentions(value, namespace, found)),
        _ => {}
    }
}

/// Whether a text ends inside of a template's braces.
fn is_open(text: &str) -> bool {
    let last = |marks: [&str; 2]| marks.iter().filter_map(|mark| text.rfind(mark)).max();
    last(["{{", "{%"]).is_some_and(|opened| last(["}}", "%}"]).is_none_or(|shut| shut < opened))
}

/// The attribute or key right at the beginning of a text.
fn accessed(rest: &str) -> Option<String> {
    let rest = rest.trim_start();
    if let Some(attribute) = rest.strip_prefix('.') {
        let end = attribute.find(|c: char| !c.is_alphanumeric() && c != '_');
        let name = attribute.get(..end.unwrap_or(attribute.len()))?;
        return (!name.is_empty()).then(|| name.to_owned());
    }
    let key = rest.strip_prefix('[')?.trim_start();
    let quote = key.chars().next().filter(|c| matches!(c, '"' | '\''))?;
    key.get(1..)?.split_once(quote).map(|(name, _)| name.to_owned())
}

/// Whether a text holds a name as a whole word.
pub(crate) fn has_word(text: &str, name: &str) -> bool {
    let is_part = |c: char| c.is_alphanumeric() || c == '_';
    !name.is_empty()
        && text.match_indices(name).any(|(place, _)| {
            let before = text.get(..place).and_then(|text| text.chars().next_back());
            let after = text.get(place + name.len()..).and_then(|text| text.chars().next());
            !before.is_some_and(is_part) && !after.is_some_and(is_part)
        })
}

impl Renderer<'_> {
    /// The tool's inputs: later layers over earlier ones. What stands above the transition's sees them all.
    pub(crate) async fn args(
        &self,
        layers: &[Layer],
        iteration: &[(String, Value)],
    ) -> Result<Map<String, Value>, ToolError> {
        let is_above = matches!(layers.last(), Some(Layer::Written(_)));
        let (mut merged, mut below) = (Map::new(), None);
        for layer in layers {
            match layer {
                Layer::Written(layer) if layer.values().any(is_template) => {
                    let rendered = self.layer(layer, iteration, below.as_ref()).await?;
                    merged.extend(rendered);
                }
                Layer::Written(layer) => merged.extend(layer.clone()),
                Layer::Transition => {
                    let transition = self.names.transition(self.readers).await;
                    merged.extend(transition.map_err(|error| unread(&error))?.clone());
                    below = is_above.then(|| merged.clone());
                }
            }
        }
        Ok(merged)
    }

    async fn layer(
        &self,
        layer: &Map<String, Value>,
        iteration: &[(String, Value)],
        below: Option<&Map<String, Value>>,
    ) -> Result<Map<String, Value>, ToolError> {
        let mut rendered = self
            .settle(iteration, below, |context| {
                template::render_map(layer, context, Coerce::Mixed)
                    .map_err(|error| placed(error, "args"))
            })
            .await?;
        let mut full = Map::new();
        for name in layer.keys() {
            if let Some(payload) = rendered.remove(name) {
                full.insert(name.clone(), self.full(payload).await?);
            }
        }
        Ok(full)
    }

    /// The tool's configuration, with `args` as the tool will see them.
    pub(crate) async fn config(
        &self,
        config: &Map<String, Value>,
        args: &Map<String, Value>,
        iteration: &[(String, Value)],
    ) -> Result<Map<String, Value>, ToolError> {
        if !config.values().any(is_template) {
            return Ok(config.clone());
        }
        let keeps_code = matches!(config.get("render_code"), Some(Value::Bool(false)));
        let each = |context: &Context| {
            let mut rendered = Map::new();
            for (key, value) in config {
                let value = match value {
                    value if !is_template(value) => value.clone(),
                    code if key == "code" && keeps_code => code.clone(),
                    code if key == "code" => render_code(code, context)?,
                    value => template::render(value, context, coercion(key, value))
                        .map_err(|error| placed(error, key))?,
                };
                rendered.insert(key.clone(), value);
            }
            Ok(rendered)
        };
        self.settle(iteration, Some(args), each).await
    }

    /// The variables that a code names, by name; all of them if it uses `context` as a whole.
    pub(crate) async fn variables(
        &self,
        code: &str,
        args: &Map<String, Value>,
        iteration: &[(String, Value)],
    ) -> Result<Map<String, Value>, ToolError> {
        let all = has_word(code, "context");
        let uses = |name: &str| all || has_word(code, name);
        let scope = &self.names.scope;
        let mut found = Map::new();
        let own = scope.workload.as_ref().and_then(Payload::inline).and_then(Value::as_object);
        for (name, value) in own.into_iter().flatten().filter(|(name, _)| uses(name)) {
            found.insert(name.clone(), value.clone());
        }
        for (name, payload) in scope.vars.iter().chain(&scope.steps).filter(|(name, _)| uses(name))
        {
            found.insert(name.clone(), self.full(payload.clone()).await?);
        }
        if let Some(workload) = scope.workload.as_ref().filter(|_| uses("workload")) {
            found.insert("workload".to_owned(), self.full(workload.clone()).await?);
        }
        for name in ["vars", "ctx"].into_iter().filter(|name| uses(name)) {
            let mut vars = Map::new();
            for (key, payload) in &scope.vars {
                vars.insert(key.clone(), self.full(payload.clone()).await?);
            }
            found.insert(name.to_owned(), Value::Object(vars));
        }
        if uses("args") {
            found.insert("args".to_owned(), Value::Object(args.clone()));
        }
        found.extend(iteration.iter().filter(|(name, _)| uses(name)).cloned());
        self.told_variables(uses, iteration, &mut found).await?;
        found.insert("execution_id".to_owned(), json!(self.execution_id));
        found.insert("job".to_owned(), job(self.execution_id));
        Ok(found)
    }

    /// What the run has done so far, as far as a code names it.
    async fn told_variables(
        &self,
        uses: impl Fn(&str) -> bool,
        iteration: &[(String, Value)],
        found: &mut Map<String, Value>,
    ) -> Result<(), ToolError> {
        let Some(told) = &self.names.told else { return Ok(()) };
        for (name, payload) in told.all().filter(|(name, _)| uses(name)) {
            found.insert(name.to_owned(), self.full(payload).await?);
        }
        for (name, values) in
            [("iter", told.iteration(iteration)), ("results", told.results.clone())]
        {
            if !uses(name) {
                continue;
            }
            let mut full = Map::new();
            for (key, payload) in values {
                full.insert(key, self.full(payload).await?);
            }
            found.insert(name.to_owned(), Value::Object(full));
        }
        Ok(())
    }

    /// Evaluates; loads what the evaluation lacks, and evaluates again.
    async fn settle<T>(
        &self,
        iteration: &[(String, Value)],
        args: Option<&Map<String, Value>>,
        evaluate: impl Fn(&Context) -> Result<T, TemplateError> + Send + Sync,
    ) -> Result<T, ToolError> {
        for _ in 0..LOADS_MAX {
            let result = evaluate(&self.context(iteration, args));
            match result {
                Ok(value) => return Ok(value),
                Err(TemplateError::Needs(needed)) => {
                    let supplied = self.names.supply(self.readers, &needed).await;
                    supplied.map_err(|error| unread(&error))?;
                }
                Err(TemplateError::Undefined(message)) => {
                    return Err(template_error(format!("{message}; {}", cure(&message))));
                }
                Err(TemplateError::Failed(message)) => return Err(template_error(message)),
            }
        }
        Err(template_error(format!(
            "a template needs more than {LOADS_MAX} stored values; pass on the parts it needs"
        )))
    }

    fn context(&self, iteration: &[(String, Value)], args: Option<&Map<String, Value>>) -> Context {
        let mut context = self.base();
        context.set_functions(&iso(self.now_ms), self.call_id);
        if let Some(args) = args {
            let whole = Value::Object(args.clone());
            context.set_value("args", &whole);
            context.set_value("input", &whole);
            let told = self.names.told.as_ref();
            let is_free = |name: &str| {
                !RESERVED.contains(&name) && !told.is_some_and(|told| told.reserves(name))
            };
            for (name, value) in args.iter().filter(|(name, _)| is_free(name)) {
                context.set_value(name, value);
            }
        }
        for (name, value) in iteration.iter().chain(self.private) {
            context.set_value(name, value);
        }
        if let Some(told) = &self.names.told {
            context.set_results("iter", &told.iteration(iteration));
        }
        context
    }

    /// What is the same for every iteration, set up once.
    fn base(&self) -> Context {
        let mut evaluation = self.names.lock();
        if let Some(base) = &evaluation.base {
            return base.clone();
        }
        let scope = &self.names.scope;
        let mut context = Context::new(evaluation.loaded.clone());
        for (name, payload) in &scope.steps {
            if !RESERVED.contains(&name.as_str()) && !scope.args.contains_key(name) {
                context.set_result(name, payload);
            }
        }
        context.set_value("execution_id", &json!(self.execution_id));
        context.set_value("job", &job(self.execution_id));
        for name in ["vars", "ctx", "flags"] {
            context.set_map(name, &scope.vars);
        }
        for name in ["args", "input"] {
            context.set_map(name, &scope.args);
        }
        context.push_names(&scope.args);
        if let Some(told) = &self.names.told {
            told.bind(&mut context, &scope.args);
            context.push_names(&told.vars);
        }
        context.push_names(&scope.vars);
        match &scope.workload {
            Some(Payload::Inline(value)) => context.set_value("workload", value),
            Some(stored) => context.set_result("workload", stored),
            None => {}
        }
        if let Some(workload) = &scope.workload {
            context.push_keys(workload);
        }
        for step in &self.names.pending {
            context.set_pending(step);
        }
        evaluation.base = Some(context.clone());
        context
    }

    /// A value, wherever it is.
    pub(crate) async fn full(&self, payload: Payload) -> Result<Value, ToolError> {
        match payload {
            Payload::Inline(value) => Ok(value),
            stored => load(self.readers, &stored).await.map_err(|error| unread(&error)),
        }
    }
}

/// Code that is a template that works is rendered; other code stays: braces are also code.
fn render_code(code: &Value, context: &Context) -> Result<Value, TemplateError> {
    match template::render(code, context, Coerce::Never) {
        Ok(text @ Value::String(_)) => Ok(text),
        Err(TemplateError::Needs(needed)) => Err(TemplateError::Needs(needed)),
        _ => Ok(code.clone()),
    }
}

/// Text of a body is sent as it is; the values inside of maps are coerced.
fn coercion(key: &str, value: &Value) -> Coerce {
    let is_mixed = MIXED.contains(&key) || (key == "body" && !value.is_string());
    if is_mixed { Coerce::Mixed } else { Coerce::Never }
}

/// Says in which part of the tool a template failed.
fn placed(error: TemplateError, key: &str) -> TemplateError {
    match error {
        TemplateError::Undefined(message) => {
            TemplateError::Undefined(format!("`tool.{key}`: {message}"))
        }
        TemplateError::Failed(message) => TemplateError::Failed(format!("`tool.{key}`: {message}")),
        needs @ TemplateError::Needs(_) => needs,
    }
}

/// What helps against an undefined name.
fn cure(message: &str) -> &'static str {
    match message {
        message if message.contains("secret") => "register a credential of that name",
        message if has_word(message, "env") => "allow the worker to read that variable",
        _ => "pass it in `args`, or give it a default: `{{ name | default('') }}`",
    }
}

fn template_error(message: String) -> ToolError {
    ToolError::new(Reaction::Input, "TemplateError", message)
}

/// A stored value or a playbook could not be read.
pub(crate) fn unread(error: &PortError) -> ToolError {
    let (reaction, cure) = match error.kind {
        PortErrorKind::Unavailable | PortErrorKind::Conflict => (Reaction::Transient, "try again"),
        PortErrorKind::NotFound | PortErrorKind::Corrupt | PortErrorKind::Refused => {
            (Reaction::Rejected, "check the store that this worker is connected to")
        }
    };
    let mut message = error.to_string();
    if let Some(cause) = std::error::Error::source(error) {
        message = format!("{message}: {cause}");
    }
    ToolError::new(reaction, "StorageError", format!("{message}; {cure}"))
}

fn job(execution_id: &str) -> Value {
    json!({"uuid": execution_id, "execution_id": execution_id, "id": execution_id})
}

/// Configuration whose maps a rule changes key by key (decision D32).
const MERGED: [&str; 7] = ["params", "headers", "data", "body", "payload", "form", "json"];

/// Replaces configuration by what a `retry` or `call` rule says; some maps merge by key.
pub(crate) fn overridden(config: &mut Map<String, Value>, overrides: &Map<String, Value>) {
    for (key, value) in overrides {
        let merges = MERGED.contains(&key.as_str());
        match (config.get_mut(key), value) {
            (Some(Value::Object(own)), Value::Object(given)) if merges => own.extend(given.clone()),
            _ => {
                // Two spellings of one field: the old one must not win over the new one.
                match key.as_str() {
                    "url" => drop(config.shift_remove("endpoint")),
                    "endpoint" => drop(config.shift_remove("url")),
                    _ => {}
                }
                config.insert(key.clone(), value.clone());
            }
        }
    }
}

#[cfg(test)]
mod tests;
