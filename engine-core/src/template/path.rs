//! Names and attributes: what is looked up, and what is said when it is not there.

use std::fmt::Write as _;
use std::sync::Arc;

use minijinja::value::{Value, ValueKind};
use minijinja::{Error, ErrorKind};

use super::evaluation::{Evaluation, keys};
use super::operators::touch;
use super::text::kind;
use super::value::Pending;

/// Follows `keys` from `root`; a missing one is an error that says which (decision D46).
pub(super) fn strict(
    root: &Value,
    name: &Value,
    path: &[Value],
    evaluation: &Arc<Evaluation>,
) -> Result<Value, Error> {
    follow(root, name.as_str(), path, evaluation, false)
}

/// As [`strict`], where only truth is asked: in a value, what is missing at the end of the path is
/// false, as in Jinja2. A condition is false as a whole (trap 10).
pub(super) fn truth(
    root: &Value,
    name: &Value,
    path: &[Value],
    evaluation: &Arc<Evaluation>,
) -> Result<Value, Error> {
    follow(root, name.as_str(), path, evaluation, !evaluation.is_condition)
}

fn follow(
    root: &Value,
    name: Option<&str>,
    path: &[Value],
    evaluation: &Arc<Evaluation>,
    forgives_end: bool,
) -> Result<Value, Error> {
    if let Some(pending) = root.downcast_object_ref::<Pending>() {
        return Ok(Pending::value(spelled(name, path), pending.step.as_deref()));
    }
    if root.is_undefined() && !(forgives_end && path.is_empty()) {
        return Err(undefined_name(name, evaluation));
    }
    if root.is_undefined() {
        return Ok(Pending::value(spelled(name, path), None));
    }
    let mut value = root.clone();
    for (depth, key) in path.iter().enumerate() {
        let next = step(&value, key, name.filter(|_| depth == 0), evaluation)?;
        if next.is_undefined() && forgives_end && depth + 1 == path.len() {
            return Ok(Pending::value(spelled(name, path), None));
        }
        if next.is_undefined() {
            return Err(undefined_key(&value, &spelled(name, &path[..depth]), key));
        }
        value = next;
    }
    Ok(value)
}

/// Follows `keys` from `root`; whatever is missing on the way makes it undefined.
pub(super) fn lenient(
    root: &Value,
    name: &Value,
    path: &[Value],
    evaluation: &Arc<Evaluation>,
) -> Result<Value, Error> {
    let mut value = root.clone();
    if value.downcast_object_ref::<Pending>().is_some() {
        return Ok(Value::UNDEFINED);
    }
    for (depth, key) in path.iter().enumerate() {
        if value.is_undefined() || key.is_undefined() {
            return Ok(Value::UNDEFINED);
        }
        value = step(&value, key, name.as_str().filter(|_| depth == 0), evaluation)?;
    }
    Ok(value)
}

fn step(
    value: &Value,
    key: &Value,
    root_name: Option<&str>,
    evaluation: &Arc<Evaluation>,
) -> Result<Value, Error> {
    touch(value, evaluation)?;
    touch(key, evaluation)?;
    let scalar = value.as_object().is_none() && !value.is_undefined();
    let own = matches!(key.as_str(), Some("data" | "result"));
    if scalar && own && root_name.is_some_and(|name| evaluation.is_result(name)) {
        return Ok(value.clone());
    }
    if value.kind() == ValueKind::Iterable {
        evaluation.look(value.len().unwrap_or(1) as u64)?;
    }
    let found = value.get_item(key)?;
    evaluation.assert_here()?;
    Ok(found)
}

fn undefined_name(name: Option<&str>, evaluation: &Arc<Evaluation>) -> Error {
    let Some(name) = name else {
        return Error::new(ErrorKind::UndefinedError, "a value in it is undefined");
    };
    let known = evaluation.known();
    // Looking for names that are alike may have asked for values; what is missing is the news.
    let advice = suggestion(name, known.iter().map(String::as_str));
    Error::new(ErrorKind::UndefinedError, format!("`{name}` is undefined{advice}"))
}

fn undefined_key(value: &Value, path: &str, key: &Value) -> Error {
    let missing = match key.as_str() {
        Some(key) => {
            let known = keys(value);
            let advice = suggestion(key, known.iter().map(String::as_str));
            format!("has no `{key}`{advice}")
        }
        None => format!("has no item {}", short(key)),
    };
    let what = match value.kind() {
        ValueKind::Map => String::new(),
        _ => format!(" is {} and", kind(value)),
    };
    Error::new(ErrorKind::UndefinedError, format!("`{path}`{what} {missing}"))
}

fn spelled(name: Option<&str>, path: &[Value]) -> String {
    let mut text = name.unwrap_or("(...)").to_owned();
    for key in path {
        // Writing to a String cannot fail.
        let _ = match key.as_str() {
            Some(key) => write!(text, ".{key}"),
            None => write!(text, "[{}]", short(key)),
        };
    }
    text
}

/// A key that is not text; one that is a whole list is not spelled out.
fn short(key: &Value) -> String {
    if key.as_object().is_some() { "...".to_owned() } else { key.to_string() }
}

/// `, did you mean ...`, if something is spelled nearly like `word`.
pub(super) fn suggestion<'a>(word: &str, known: impl Iterator<Item = &'a str>) -> String {
    const ALIKE: f64 = 0.86;
    let best = known
        .map(|candidate| (strsim::jaro_winkler(word, candidate), candidate))
        // One slip in a word of three letters makes it look like another word altogether.
        .filter(|(likeness, candidate)| {
            *likeness >= ALIKE || strsim::damerau_levenshtein(word, candidate) == 1
        })
        .max_by(|a, b| a.0.total_cmp(&b.0));
    best.map_or_else(String::new, |(_, candidate)| format!(", did you mean `{candidate}`"))
}
