//! Evaluates compiled templates and says how that ended.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use minijinja::{Error, ErrorKind, Value};
use serde_json::{Map, Value as Json};

use crate::limits::TEMPLATE_FUEL;
use crate::payload::{Pages, Payload};

use super::compile::{self, Body, Compiled, Formula, Part};
use super::environment::ENVIRONMENT;
use super::evaluation::{Binding, Evaluation, Layer, Names, loaded_key};
use super::text::{coerced, is_true, print, to_json};
use super::value::{Data, Tolerance};
use super::{Coerce, SyntaxError, TemplateError};

/// Whether text holds templates at all.
pub(super) fn is_template(text: &str) -> bool {
    text.contains("{{") || text.contains("{%")
}

/// Whether text is `{{}}`: braces around nothing.
pub(super) fn is_empty(text: &str) -> bool {
    let inner = text.trim().strip_prefix("{{").and_then(|rest| rest.strip_suffix("}}"));
    inner.is_some_and(|inner| inner.trim().is_empty())
}

/// What a condition without braces means that is a word of YAML rather than a name.
pub(super) fn word(text: &str) -> Option<bool> {
    let text = text.trim();
    let is = |words: &[&str]| words.iter().any(|word| text.eq_ignore_ascii_case(word));
    if is(&["true", "yes", "on"]) {
        return Some(true);
    }
    is(&["", "false", "no", "off", "none", "null"]).then_some(false)
}

/// One rendering: what its scalars need is collected, so that it can be loaded at once.
pub(super) struct Run<'a> {
    names: &'a Arc<Names>,
    is_condition: bool,
    uuids: Arc<AtomicU64>,
    needs: Vec<Payload>,
}

impl<'a> Run<'a> {
    pub(super) fn new(names: &'a Arc<Names>) -> Self {
        Self { names, is_condition: false, uuids: Arc::default(), needs: Vec::new() }
    }

    /// For a text that is only true or false: an undefined name makes it false as a whole.
    pub(super) fn of_condition(names: &'a Arc<Names>) -> Self {
        Self { is_condition: true, ..Self::new(names) }
    }

    /// Turns what was rendered into what is still needed, if anything is.
    pub(super) fn settle<T>(self, rendered: Result<T, TemplateError>) -> Result<T, TemplateError> {
        if self.needs.is_empty() { rendered } else { Err(TemplateError::Needs(self.needs)) }
    }

    fn evaluation(&self) -> Arc<Evaluation> {
        Evaluation::new(self.names, self.is_condition, &self.uuids)
    }

    /// Notes what a scalar needs and goes on with the next one.
    fn collect<T>(
        &mut self,
        result: Result<T, TemplateError>,
        placeholder: T,
    ) -> Result<T, TemplateError> {
        let Err(TemplateError::Needs(needs)) = result else { return result };
        for payload in needs {
            if !self.needs.contains(&payload) {
                self.needs.push(payload);
            }
        }
        Ok(placeholder)
    }

    pub(super) fn render(&mut self, value: &Json, coerce: Coerce) -> Result<Json, TemplateError> {
        match value {
            Json::String(text) => {
                let rendered = self.scalar(text, Some(coerce));
                self.collect(rendered, Json::Null)
            }
            Json::Array(items) => items.iter().map(|item| self.render(item, coerce)).collect(),
            Json::Object(entries) => entries
                .iter()
                .map(|(key, item)| Ok((key.clone(), self.render(item, coerce)?)))
                .collect::<Result<Map<_, _>, _>>()
                .map(Json::Object),
            Json::Null | Json::Bool(_) | Json::Number(_) => Ok(value.clone()),
        }
    }

    pub(super) fn render_map(
        &mut self,
        map: &Map<String, Json>,
        coerce: Coerce,
    ) -> Result<BTreeMap<String, Payload>, TemplateError> {
        let mut rendered = BTreeMap::new();
        for (key, value) in map {
            let payload = match value {
                Json::String(text) => {
                    let payload = self.payload(text, Some(coerce));
                    self.collect(payload, Payload::Inline(Json::Null))?
                }
                other => Payload::Inline(self.render(other, coerce)?),
            };
            rendered.insert(key.clone(), payload);
        }
        Ok(rendered)
    }

    /// One scalar; without `coerce` text stays text.
    pub(super) fn scalar(&self, text: &str, coerce: Option<Coerce>) -> Result<Json, TemplateError> {
        if !is_template(text) {
            return Ok(Json::from(text));
        }
        if is_empty(text) {
            return Ok(Json::from(""));
        }
        let compiled = compile::template(text).map_err(|error| does_not_compile(&error, text))?;
        self.compiled(&compiled, text, coerce)
    }

    fn compiled(
        &self,
        compiled: &Compiled,
        text: &str,
        coerce: Option<Coerce>,
    ) -> Result<Json, TemplateError> {
        if let Body::Lone(formula) = &compiled.body {
            return self.value(formula, coerce != Some(Coerce::Never));
        }
        let rendered = self.text(compiled, text)?;
        let coerces = coerce == Some(Coerce::Mixed);
        Ok(if coerces { coerced(rendered) } else { Json::String(rendered) })
    }

    /// The native value of a lone expression (decision D44).
    fn value(&self, formula: &Formula, parses_json: bool) -> Result<Json, TemplateError> {
        let evaluation = self.evaluation();
        // The JSON text of a value, parsed again, is the value.
        let expression = match &formula.before_tojson {
            Some(before) if parses_json => before,
            _ => &formula.expression,
        };
        let value = expression.eval(root(&evaluation)).and_then(|value| {
            // The value of an `if` without `else`.
            if value.is_undefined() {
                return Ok(Json::from(""));
            }
            to_json(&value, &evaluation)
        });
        settled(&evaluation, value, &formula.source)
    }

    /// The text of anything but a lone expression.
    fn text(&self, compiled: &Compiled, text: &str) -> Result<String, TemplateError> {
        let evaluation = self.evaluation();
        match &compiled.body {
            Body::Program(program) => {
                let rendered = ENVIRONMENT.render_str(program, root(&evaluation));
                settled(&evaluation, rendered, text)
            }
            Body::Lone(formula) => printed(formula, &evaluation),
            Body::Parts(parts) => parts_text(parts, &evaluation),
        }
    }

    /// As [`Run::scalar`], but a name of a value that is elsewhere stays a name.
    pub(super) fn payload(
        &self,
        text: &str,
        coerce: Option<Coerce>,
    ) -> Result<Payload, TemplateError> {
        if !is_template(text) || is_empty(text) {
            return self.scalar(text, coerce).map(Payload::Inline);
        }
        let compiled = compile::template(text).map_err(|error| does_not_compile(&error, text))?;
        self.by_name(&compiled)
            .map_or_else(|| self.compiled(&compiled, text, coerce).map(Payload::Inline), Ok)
    }

    pub(super) fn expression(&self, text: &str) -> Result<Payload, TemplateError> {
        if is_template(text) {
            return self.payload(text, None);
        }
        let compiled = compile::formula(text).map_err(|error| does_not_compile(&error, text))?;
        self.by_name(&compiled)
            .map_or_else(|| self.compiled(&compiled, text, None).map(Payload::Inline), Ok)
    }

    pub(super) fn condition(&self, text: &str) -> Result<bool, TemplateError> {
        let compiled = if is_template(text) {
            if is_empty(text) {
                return Ok(false);
            }
            compile::template(text)
        } else if let Some(answer) = word(text) {
            return Ok(answer);
        } else {
            compile::formula(text)
        };
        let compiled = compiled.map_err(|error| does_not_compile(&error, text))?;
        let Body::Lone(formula) = &compiled.body else {
            return self.text(&compiled, text).map(|rendered| is_true(&rendered));
        };
        let evaluation = self.evaluation();
        let answer = formula.expression.eval(root(&evaluation)).and_then(|value| {
            super::operators::touch(&value, &evaluation)?;
            Ok(value.as_str().map_or_else(|| value.is_true(), is_true))
        });
        settled(&evaluation, answer, &formula.source)
    }

    /// The payload that a bare or dotted name is bound to, when no one has to look into it.
    fn by_name(&self, compiled: &Compiled) -> Option<Payload> {
        let Body::Lone(formula) = &compiled.body else { return None };
        let (name, mut keys) = formula.path.as_ref()?.split_first()?;
        let mut binding = self.bound(name)?;
        while let Binding::Group(entries) = binding {
            let (key, rest) = keys.split_first()?;
            binding = entries.get(key)?;
            keys = rest;
        }
        match binding {
            Binding::Here { payload, .. } if keys.is_empty() => payload.clone(),
            Binding::Elsewhere { payload, .. } if keys.is_empty() => Some(payload.clone()),
            Binding::Elsewhere { payload: Payload::Pages(pages), .. }
                if is_collected(pages, keys) =>
            {
                Some(pages.items.clone())
            }
            Binding::Elsewhere { payload, tolerance }
                if *tolerance != Tolerance::Plain
                    && keys.iter().all(|key| self.falls_through(payload, key)) =>
            {
                Some(payload.clone())
            }
            _ => None,
        }
    }

    /// What a name is bound to, if that is certain without loading.
    fn bound(&self, name: &str) -> Option<&Binding> {
        if let Some(binding) = self.names.bound.get(name) {
            return Some(binding);
        }
        let first = self.names.layers.iter().find(|layer| match layer {
            Layer::Names(names) => names.contains_key(name),
            Layer::Keys(_) => true,
        })?;
        match first {
            Layer::Names(names) => names.get(name),
            Layer::Keys(_) => None,
        }
    }

    /// Whether `.data` or `.result` is known to be the value itself.
    fn falls_through(&self, payload: &Payload, key: &str) -> bool {
        if !matches!(key, "data" | "result") {
            return false;
        }
        match self.names.loaded.values.get(&loaded_key(payload)) {
            Some(value) => value
                .downcast_object_ref::<Data>()
                .is_none_or(|data| data.own(&Value::from(key)).is_none()),
            None => matches!(payload, Payload::Loop(_) | Payload::List(_)),
        }
    }
}

/// Whether a path leads to what the pages collected, which has a place of its own.
fn is_collected(pages: &Pages, keys: &[String]) -> bool {
    match keys {
        [key] => key == "_all_collected_items" || (pages.envelope && key == "data"),
        _ => false,
    }
}

/// The text of all parts, or everything that they need.
fn parts_text(parts: &[Part], evaluation: &Arc<Evaluation>) -> Result<String, TemplateError> {
    let (mut text, mut needs) = (String::new(), Vec::new());
    for part in parts {
        match part {
            Part::Text(raw) => text.push_str(raw),
            Part::Formula(formula) => match printed(formula, evaluation) {
                Ok(value) => text.push_str(&value),
                Err(TemplateError::Needs(more)) => needs.extend(more),
                Err(error) if needs.is_empty() => return Err(error),
                Err(_) => break,
            },
        }
    }
    if needs.is_empty() { Ok(text) } else { Err(TemplateError::Needs(needs)) }
}

fn root(evaluation: &Arc<Evaluation>) -> Value {
    Value::from_dyn_object(Arc::clone(evaluation))
}

fn printed(formula: &Formula, evaluation: &Arc<Evaluation>) -> Result<String, TemplateError> {
    let text = formula.expression.eval(root(evaluation)).and_then(|value| {
        super::operators::touch(&value, evaluation)?;
        print(&value, evaluation)
    });
    settled(evaluation, text, &formula.source)
}

/// What was touched matters more than how the evaluation ended without it.
fn settled<T>(
    evaluation: &Evaluation,
    result: Result<T, Error>,
    source: &str,
) -> Result<T, TemplateError> {
    let needs = evaluation.take_needs();
    if !needs.is_empty() {
        return Err(TemplateError::Needs(needs));
    }
    result.map_err(|error| explained(&error, source))
}

fn explained(error: &Error, source: &str) -> TemplateError {
    let mut cause = error;
    while let Some(inner) = std::error::Error::source(cause).and_then(|e| e.downcast_ref::<Error>())
    {
        cause = inner;
    }
    let what = match (cause.kind(), cause.detail()) {
        (ErrorKind::OutOfFuel, _) => {
            format!("it takes more than {TEMPLATE_FUEL} instructions; do this work in a step")
        }
        (_, Some(detail)) => detail.to_owned(),
        (kind, None) => kind.to_string(),
    };
    let message = format!("{what}, in `{}`", shortened(source));
    match cause.kind() {
        ErrorKind::UndefinedError => TemplateError::Undefined(message),
        _ => TemplateError::Failed(message),
    }
}

fn does_not_compile(error: &SyntaxError, text: &str) -> TemplateError {
    let SyntaxError { message, line, column } = error;
    TemplateError::Failed(format!("{message}, at {line}:{column} of `{}`", shortened(text)))
}

/// The beginning of a template's text: enough to find it.
fn shortened(text: &str) -> String {
    const CHARS_MAX: usize = 120;
    let text = text.trim();
    match text.char_indices().nth(CHARS_MAX) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text.to_owned(),
    }
}
