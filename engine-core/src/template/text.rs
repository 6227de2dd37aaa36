//! How values become text (decision D45) and JSON, and how text becomes a value (decision D44).

use minijinja::value::{ObjectRepr, Value, ValueKind};
use minijinja::{Error, ErrorKind};
use serde_json::{Map, Number, Value as Json};

use crate::limits::TEMPLATE_VALUE_DEPTH_MAX;

use super::evaluation::Evaluation;
use super::value::{Data, Pending, Unloaded};

/// Text that pays for every byte before it grows.
pub(super) struct Text<'a> {
    evaluation: &'a Evaluation,
    text: String,
}

impl<'a> Text<'a> {
    pub(super) fn new(evaluation: &'a Evaluation) -> Self {
        Self { evaluation, text: String::new() }
    }

    pub(super) fn push(&mut self, text: &str) -> Result<(), Error> {
        self.evaluation.build(text.len())?;
        self.text.push_str(text);
        Ok(())
    }

    /// Adds a value as templates print it: maps and lists as JSON, the rest as Python does.
    pub(super) fn print(&mut self, value: &Value) -> Result<(), Error> {
        match value.kind() {
            ValueKind::String => self.push(value.as_str().unwrap_or_default()),
            ValueKind::None => self.push("None"),
            ValueKind::Bool => self.push(if value.is_true() { "True" } else { "False" }),
            // The value of an `if` without `else` prints nothing.
            ValueKind::Undefined => Ok(()),
            _ => self.json(value, 0),
        }
    }

    /// Adds a value as JSON, with the separators of Python.
    pub(super) fn json(&mut self, value: &Value, depth: usize) -> Result<(), Error> {
        assert_depth(depth)?;
        self.evaluation.look(1)?;
        match value.kind() {
            ValueKind::None => self.push("null"),
            ValueKind::Bool => self.push(if value.is_true() { "true" } else { "false" }),
            ValueKind::Number => self.push(&number_text(value)),
            ValueKind::String => {
                self.push(&Json::from(value.as_str().unwrap_or_default()).to_string())
            }
            _ => match container(value, self.evaluation)? {
                Container::List(items) => self.json_list(items, depth),
                Container::Map(entries) => self.json_map(entries, depth),
            },
        }
    }

    fn json_list(&mut self, items: Items, depth: usize) -> Result<(), Error> {
        self.push("[")?;
        for (index, item) in items.enumerate() {
            if index > 0 {
                self.push(", ")?;
            }
            self.json(&item, depth + 1)?;
        }
        self.push("]")
    }

    fn json_map(&mut self, entries: Entries, depth: usize) -> Result<(), Error> {
        self.push("{")?;
        for (index, (key, item)) in entries.enumerate() {
            if index > 0 {
                self.push(", ")?;
            }
            self.push(&Json::from(key_text(&key)).to_string())?;
            self.push(": ")?;
            self.json(&item, depth + 1)?;
        }
        self.push("}")
    }

    pub(super) fn finish(self) -> String {
        self.text
    }
}

/// The text of one value (decision D45).
pub(super) fn print(value: &Value, evaluation: &Evaluation) -> Result<String, Error> {
    let mut text = Text::new(evaluation);
    text.print(value)?;
    evaluation.assert_here()?;
    Ok(text.finish())
}

/// The value as JSON; a result proxy gives what it stands for.
///
/// A value that came from JSON is given back as large as it came: the price is for what a template
/// builds.
pub(super) fn to_json(value: &Value, evaluation: &Evaluation) -> Result<Json, Error> {
    let is_free = value.downcast_object_ref::<Data>().is_some();
    let json = convert(value, evaluation, is_free, 0)?;
    evaluation.assert_here()?;
    Ok(json)
}

fn convert(
    value: &Value,
    evaluation: &Evaluation,
    is_free: bool,
    depth: usize,
) -> Result<Json, Error> {
    assert_depth(depth)?;
    if !is_free {
        let text = value.as_str().map_or(0, str::len);
        let built = if value.as_object().is_some() { size_of::<Json>() } else { text };
        evaluation.look(1)?;
        evaluation.build(built)?;
    }
    match value.kind() {
        ValueKind::None => Ok(Json::Null),
        ValueKind::Bool => Ok(Json::Bool(value.is_true())),
        ValueKind::Number => number(value).map(Json::Number),
        ValueKind::String => Ok(Json::from(value.as_str().unwrap_or_default())),
        _ => match container(value, evaluation)? {
            Container::List(items) => items
                .map(|item| convert(&item, evaluation, is_free, depth + 1))
                .collect::<Result<Vec<_>, _>>()
                .map(Json::Array),
            Container::Map(entries) => entries
                .map(|(key, item)| {
                    Ok((key_text(&key), convert(&item, evaluation, is_free, depth + 1)?))
                })
                .collect::<Result<Map<_, _>, _>>()
                .map(Json::Object),
        },
    }
}

fn assert_depth(depth: usize) -> Result<(), Error> {
    if depth > TEMPLATE_VALUE_DEPTH_MAX {
        return Err(Error::new(
            ErrorKind::InvalidOperation,
            format!("a value is nested more than {TEMPLATE_VALUE_DEPTH_MAX} levels deep"),
        ));
    }
    Ok(())
}

type Items = Box<dyn Iterator<Item = Value> + Send + Sync>;
type Entries = Box<dyn Iterator<Item = (Value, Value)> + Send + Sync>;

/// What can be walked through.
pub(super) enum Container {
    List(Items),
    Map(Entries),
}

/// Opens a list or a map; anything else has no text and no JSON.
pub(super) fn container(value: &Value, evaluation: &Evaluation) -> Result<Container, Error> {
    if let Some(unloaded) = value.downcast_object_ref::<Unloaded>() {
        unloaded.touch();
        evaluation.assert_here()?;
    }
    if let Some(pending) = value.downcast_object_ref::<Pending>() {
        return Err(pending.error());
    }
    let opened = value.as_object().and_then(|object| match object.repr() {
        ObjectRepr::Map => object.try_iter_pairs().map(Container::Map),
        ObjectRepr::Seq | ObjectRepr::Iterable => object.try_iter().map(Container::List),
        _ => None,
    });
    opened.ok_or_else(|| match value.kind() {
        ValueKind::Undefined => {
            Error::new(ErrorKind::UndefinedError, "an item of the value is undefined")
        }
        ValueKind::Invalid => {
            Error::new(ErrorKind::InvalidOperation, "a value in it is nested too deeply")
        }
        _ => Error::new(
            ErrorKind::InvalidOperation,
            format!("{} is not a value that can be stored or printed", kind(value)),
        ),
    })
}

/// What a value is called in messages.
pub(super) fn kind(value: &Value) -> &'static str {
    match value.kind() {
        ValueKind::Undefined => "an undefined value",
        ValueKind::None => "null",
        ValueKind::Bool => "a boolean",
        ValueKind::Number => "a number",
        ValueKind::String => "text",
        ValueKind::Seq | ValueKind::Iterable => "a list",
        ValueKind::Map => "a map",
        _ => "a function",
    }
}

fn key_text(key: &Value) -> String {
    match key.kind() {
        ValueKind::String => key.as_str().unwrap_or_default().to_owned(),
        ValueKind::None => "null".to_owned(),
        ValueKind::Bool => key.to_string(),
        ValueKind::Number => number_text(key),
        _ => kind(key).to_owned(),
    }
}

fn number(value: &Value) -> Result<Number, Error> {
    let unfit = || {
        Error::new(
            ErrorKind::InvalidOperation,
            format!("the number `{}` does not fit into JSON", number_text(value)),
        )
    };
    if !value.is_integer() {
        let float = f64::try_from(value.clone()).ok();
        return float.and_then(Number::from_f64).ok_or_else(unfit);
    }
    if let Ok(integer) = i64::try_from(value.clone()) {
        return Ok(integer.into());
    }
    u64::try_from(value.clone()).ok().map(Number::from).ok_or_else(unfit)
}

/// A number as Python prints it.
pub(super) fn number_text(value: &Value) -> String {
    if value.is_integer() {
        return value.to_string();
    }
    let Ok(float) = f64::try_from(value.clone()) else { return value.to_string() };
    if !float.is_finite() {
        return float.to_string().to_lowercase();
    }
    let text = format!("{float:?}");
    match text.split_once('e') {
        Some((digits, exponent)) => {
            let (sign, exponent) = match exponent.strip_prefix('-') {
                Some(exponent) => ('-', exponent),
                None => ('+', exponent),
            };
            format!("{digits}e{sign}{exponent:0>2}")
        }
        None => text,
    }
}

/// The value that text stands for where any type will do; text otherwise (decision D44).
pub(super) fn coerced(text: String) -> Json {
    let looks_typed = text.len() <= 40 && !text.is_empty() && text.is_ascii();
    if !looks_typed {
        return Json::String(text);
    }
    match text.to_ascii_lowercase().as_str() {
        "true" => return Json::Bool(true),
        "false" => return Json::Bool(false),
        "null" | "none" => return Json::Null,
        _ => {}
    }
    number_of(&text).map_or(Json::String(text), Json::Number)
}

/// The number that text spells; one that no type holds exactly stays text.
fn number_of(text: &str) -> Option<Number> {
    if !is_number(text) {
        return None;
    }
    if text.contains(['.', 'e', 'E']) {
        return text.parse().ok().and_then(Number::from_f64);
    }
    text.parse::<i64>().map(Number::from).or_else(|_| text.parse::<u64>().map(Number::from)).ok()
}

/// Whether text is a number: the digits of `007` and `1_000` are names, not quantities.
fn is_number(text: &str) -> bool {
    let digits = text.strip_prefix('-').unwrap_or(text);
    let leading_zero =
        digits.starts_with('0') && digits[1..].starts_with(|next: char| next.is_ascii_digit());
    digits.starts_with(|first: char| first.is_ascii_digit())
        && digits.ends_with(|last: char| last.is_ascii_digit())
        && !leading_zero
}

/// Whether rendered text counts as true (decision D13).
pub(super) fn is_true(text: &str) -> bool {
    let text = text.trim();
    let no = ["", "false", "0", "no", "none", "null", "off"];
    !no.iter().any(|word| text.eq_ignore_ascii_case(word))
}

/// Escapes JSON so that it can stand inside HTML and inside SQL quotes, as Jinja's `tojson` does.
pub(super) fn escape_html(json: &str) -> String {
    let mut escaped = String::with_capacity(json.len());
    for character in json.chars() {
        match character {
            '<' => escaped.push_str("\\u003c"),
            '>' => escaped.push_str("\\u003e"),
            '&' => escaped.push_str("\\u0026"),
            '\'' => escaped.push_str("\\u0027"),
            other => escaped.push(other),
        }
    }
    escaped
}
