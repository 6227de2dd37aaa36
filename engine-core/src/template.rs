//! Jinja2-compatible templates over values that may still be elsewhere.
//!
//! An evaluation that touches a value which is only named ([`Payload::Ref`], [`Payload::Log`],
//! [`Payload::Loop`]) ends in [`TemplateError::Needs`]; the caller loads it and evaluates again.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde_json::{Map, Value};

use crate::payload::Payload;

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
pub struct Loaded {}

impl Loaded {
    /// How many values are known.
    #[must_use]
    pub fn len(&self) -> usize {
        unimplemented!()
    }

    /// The value that was made known for `payload`, as JSON.
    #[must_use]
    pub fn value(&self, _payload: &Payload) -> Option<Value> {
        unimplemented!()
    }

    /// Makes `value` known as what `payload` names.
    pub fn insert(&mut self, _payload: &Payload, _value: &Value) {
        unimplemented!()
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
pub struct Context {}

impl Context {
    /// A context without names.
    #[must_use]
    pub fn new(_loaded: Arc<Loaded>) -> Self {
        unimplemented!()
    }

    /// Names a plain value.
    pub fn set_value(&mut self, _name: &str, _value: &Value) {
        unimplemented!()
    }

    /// Names a result: loaded when touched, `.data` and `.result` tolerant (`dsl.md` 2.8, rules 1 to 3).
    pub fn set_result(&mut self, _name: &str, _payload: &Payload) {
        unimplemented!()
    }

    /// Names the response of the event at hand: also falls through to its body (rule 4).
    pub fn set_response(&mut self, _name: &str, _payload: &Payload) {
        unimplemented!()
    }

    /// Names a map of values, each loaded when touched.
    pub fn set_map(&mut self, _name: &str, _values: &BTreeMap<String, Payload>) {
        unimplemented!()
    }

    /// Looks names that were not set up here, in the order of the calls.
    pub fn push_names(&mut self, _values: &BTreeMap<String, Payload>) {
        unimplemented!()
    }

    /// As [`Context::push_names`], for the keys of one value that is a map.
    pub fn push_keys(&mut self, _payload: &Payload) {
        unimplemented!()
    }
}

/// Evaluates one scalar: a lone `{{ expression }}` keeps its type, other text is rendered as text.
///
/// # Errors
/// [`TemplateError`].
pub fn evaluate(_text: &str, _context: &Context) -> Result<Value, TemplateError> {
    unimplemented!()
}

/// As [`evaluate`]; a lone name of a value that is elsewhere stays a name.
///
/// # Errors
/// [`TemplateError`].
pub fn evaluate_payload(_text: &str, _context: &Context) -> Result<Payload, TemplateError> {
    unimplemented!()
}

/// Evaluates text that is an expression with or without braces (`from: pages`).
///
/// # Errors
/// [`TemplateError`].
pub fn expression(_text: &str, _context: &Context) -> Result<Payload, TemplateError> {
    unimplemented!()
}

/// Renders every string inside `value`; keys stay as they are.
///
/// # Errors
/// [`TemplateError`].
pub fn render(_value: &Value, _context: &Context, _coerce: Coerce) -> Result<Value, TemplateError> {
    unimplemented!()
}

/// Renders every value of a map; a value that is a lone name stays a name if it is elsewhere.
///
/// # Errors
/// [`TemplateError`], the first by key order of the document.
pub fn render_map(
    _map: &Map<String, Value>,
    _context: &Context,
    _coerce: Coerce,
) -> Result<BTreeMap<String, Payload>, TemplateError> {
    unimplemented!()
}

/// Evaluates a condition, with or without braces (decisions D13, D46, D54).
///
/// An undefined name or attribute makes it false.
///
/// # Errors
/// [`TemplateError::Needs`] and [`TemplateError::Failed`]; never `Undefined`.
pub fn condition(_text: &str, _context: &Context) -> Result<bool, TemplateError> {
    unimplemented!()
}

/// Compiles text that may hold templates and returns the top-level names that it uses.
///
/// # Errors
/// [`SyntaxError`], also for an unknown filter, test or function.
pub fn check(_text: &str) -> Result<BTreeSet<String>, SyntaxError> {
    unimplemented!()
}

/// As [`check`], for a condition or an expression, with or without braces.
///
/// # Errors
/// [`SyntaxError`].
pub fn check_expression(_text: &str) -> Result<BTreeSet<String>, SyntaxError> {
    unimplemented!()
}
