//! Jinja2-compatible templates over values that may still be elsewhere.
//!
//! An evaluation that touches a value which is only named ([`Payload::Ref`], [`Payload::Log`],
//! [`Payload::Loop`]) ends in [`TemplateError::Needs`]; the caller loads it and evaluates again.

mod compile;
mod environment;
mod evaluation;
mod filters;
mod guard;
mod operators;
mod path;
mod rewrite;
mod run;
mod statements;
#[cfg(test)]
mod tests;
mod text;
mod value;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde_json::{Map, Value};

use crate::payload::Payload;

use self::evaluation::{Binding, Functions, Layer, Names, loaded_key};
use self::run::Run;
use self::value::{Tolerance, from_json};

/// Why a template gave no value.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum TemplateError {
    /// Values that it touches must be loaded first.
    #[error("values must be loaded first")]
    Needs(Vec<Payload>),
    /// It uses a name or an attribute that does not exist.
    #[error("{0}")]
    Undefined(String),
    /// It cannot be evaluated: a wrong type, a limit, a division by zero.
    #[error("{0}")]
    Failed(String),
}

/// A template that does not compile.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{message}")]
pub struct SyntaxError {
    /// What is wrong, and what is known instead (for an unknown filter).
    pub message: String,
    /// Line inside the template text, from 1.
    pub line: u32,
    /// Column inside that line, in characters, from 1.
    pub column: u32,
}

/// Values that were loaded for this evaluation.
#[derive(Clone, Debug, Default)]
pub struct Loaded {
    values: BTreeMap<String, minijinja::Value>,
    plain: BTreeMap<String, Arc<Value>>,
}

impl Loaded {
    /// How many values are known.
    #[must_use]
    pub fn len(&self) -> usize {
        self.values.len()
    }

    /// Whether none is.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    /// The value that was made known for `payload`, as JSON.
    #[must_use]
    pub fn value(&self, payload: &Payload) -> Option<Arc<Value>> {
        self.plain.get(&loaded_key(payload)).cloned()
    }

    /// Makes `value` known as what `payload` names.
    pub fn insert(&mut self, payload: &Payload, value: &Value) {
        let key = loaded_key(payload);
        self.values.insert(key.clone(), from_json(value));
        self.plain.insert(key, Arc::new(value.clone()));
    }
}

/// Whether text that renders to a number, a boolean or null becomes one (decision D44).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Coerce {
    /// For `args`, `params`, `set` and `vars`.
    Mixed,
    /// For SQL, URLs, headers, code.
    Never,
}

/// What names mean in one evaluation.
#[derive(Clone, Debug)]
pub struct Context {
    names: Arc<Names>,
}

impl Context {
    /// A context without names.
    #[must_use]
    pub fn new(loaded: Arc<Loaded>) -> Self {
        Self { names: Arc::new(Names { loaded, ..Names::default() }) }
    }

    fn bind(&mut self, name: &str, binding: Binding) {
        Arc::make_mut(&mut self.names).bound.insert(name.to_owned(), binding);
    }

    fn push(&mut self, layer: Layer) {
        Arc::make_mut(&mut self.names).layers.push(layer);
    }

    /// Names a plain value.
    pub fn set_value(&mut self, name: &str, value: &Value) {
        let value = from_json(value);
        self.bind(name, Binding::Here { value, payload: None, tolerance: Tolerance::Plain });
    }

    /// Names a result: loaded when touched, `.data` and `.result` tolerant (`dsl.md` 2.8, rules 1 to 3).
    pub fn set_result(&mut self, name: &str, payload: &Payload) {
        self.bind(name, Binding::new(payload, Tolerance::Result));
    }

    /// Names the response of the event at hand: also falls through to its body (rule 4).
    pub fn set_response(&mut self, name: &str, payload: &Payload) {
        self.bind(name, Binding::new(payload, Tolerance::Response));
    }

    /// Names a map of values, each loaded when touched.
    pub fn set_map(&mut self, name: &str, values: &BTreeMap<String, Payload>) {
        self.bind(name, Binding::Group(Arc::new(Binding::all(values))));
    }

    /// As [`Context::set_map`], with values as tolerant as results.
    pub fn set_results(&mut self, name: &str, values: &BTreeMap<String, Payload>) {
        let bindings = values
            .iter()
            .map(|(name, payload)| (name.clone(), Binding::new(payload, Tolerance::Result)));
        self.bind(name, Binding::Group(Arc::new(bindings.collect())));
    }

    /// Names a step that has no result yet: false where only truth is asked, and so is every attribute
    /// of it; whatever else is done with it is [`TemplateError::Undefined`]. Any other meaning of the
    /// name wins.
    pub fn set_pending(&mut self, name: &str) {
        let names = Arc::make_mut(&mut self.names);
        Arc::make_mut(&mut names.pending).insert(name.to_owned());
    }

    /// Looks names that were not set up here, in the order of the calls.
    pub fn push_names(&mut self, values: &BTreeMap<String, Payload>) {
        self.push(Layer::Names(Arc::new(Binding::all(values))));
    }

    /// As [`Context::push_names`], for the keys of one value that is a map.
    pub fn push_keys(&mut self, payload: &Payload) {
        self.push(Layer::Keys(Binding::new(payload, Tolerance::Plain)));
    }

    /// Makes `now()` and `generate_uuid()` answer: the first with `now_text`, the second with ids
    /// derived from `uuid_seed` and the number of calls so far in one rendering.
    ///
    /// Without it both fail: the engine itself knows neither time nor chance.
    pub fn set_functions(&mut self, now_text: &str, uuid_seed: &str) {
        let functions =
            Functions { now_text: now_text.to_owned(), uuid_seed: uuid_seed.to_owned() };
        Arc::make_mut(&mut self.names).functions = Some(functions);
    }
}

/// Evaluates one scalar: a lone `{{ expression }}` keeps its type, other text is rendered as text.
///
/// An undefined name is false where only truth is asked (`a if b else c`, `not b`, `b or c`), as in
/// Jinja2; anywhere else it is an error.
///
/// # Errors
/// [`TemplateError`].
pub fn evaluate(text: &str, context: &Context) -> Result<Value, TemplateError> {
    Run::new(&context.names).scalar(text, None)
}

/// As [`evaluate`]; a lone name of a value that is elsewhere stays a name.
///
/// # Errors
/// [`TemplateError`].
pub fn evaluate_payload(text: &str, context: &Context) -> Result<Payload, TemplateError> {
    Run::new(&context.names).payload(text, None)
}

/// Evaluates text that is an expression with or without braces (`from: pages`).
///
/// # Errors
/// [`TemplateError`].
pub fn expression(text: &str, context: &Context) -> Result<Payload, TemplateError> {
    Run::new(&context.names).expression(text)
}

/// Renders every string inside `value`; keys stay as they are.
///
/// # Errors
/// [`TemplateError`]; [`TemplateError::Needs`] names what all strings together need.
pub fn render(value: &Value, context: &Context, coerce: Coerce) -> Result<Value, TemplateError> {
    let mut run = Run::new(&context.names);
    let rendered = run.render(value, coerce);
    run.settle(rendered)
}

/// Renders every value of a map; a value that is a lone name stays a name if it is elsewhere.
///
/// # Errors
/// [`TemplateError`], the first by key order of the document; [`TemplateError::Needs`] names what
/// all values together need.
pub fn render_map(
    map: &Map<String, Value>,
    context: &Context,
    coerce: Coerce,
) -> Result<BTreeMap<String, Payload>, TemplateError> {
    let mut run = Run::new(&context.names);
    let rendered = run.render_map(map, coerce);
    run.settle(rendered)
}

/// Evaluates a condition, with or without braces (decisions D13, D46, D54).
///
/// An undefined name or attribute makes it false.
///
/// # Errors
/// [`TemplateError::Needs`] and [`TemplateError::Failed`]; never `Undefined`.
pub fn condition(text: &str, context: &Context) -> Result<bool, TemplateError> {
    match Run::of_condition(&context.names).condition(text) {
        Err(TemplateError::Undefined(_)) => Ok(false),
        settled => settled,
    }
}

/// Compiles text that may hold templates and returns the top-level names that it uses.
///
/// # Errors
/// [`SyntaxError`], also for an unknown filter, test or function.
pub fn check(text: &str) -> Result<BTreeSet<String>, SyntaxError> {
    if !run::is_template(text) || run::is_empty(text) {
        return Ok(BTreeSet::new());
    }
    Ok(compile::template(text)?.names.clone())
}

/// As [`check`], for a condition or an expression, with or without braces.
///
/// # Errors
/// [`SyntaxError`].
pub fn check_expression(text: &str) -> Result<BTreeSet<String>, SyntaxError> {
    if run::is_template(text) {
        return check(text);
    }
    if run::word(text).is_some() {
        return Ok(BTreeSet::new());
    }
    Ok(compile::formula(text)?.names.clone())
}
