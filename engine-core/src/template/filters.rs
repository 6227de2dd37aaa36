//! Filters that must behave as in Jinja2, or that pay for what they build.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use minijinja::value::{Kwargs, Value, ValueKind, from_args};
use minijinja::{Error, ErrorKind};

use super::evaluation::{Evaluation, keys as map_keys};
use super::operators::{ITEM_BYTES, WALK_COST, calculate, failed, float as as_float, measure};
use super::text::{Container, Text, container, escape_html, kind, print, to_json};
use super::value::from_json;

/// A filter: the value comes first, then the arguments.
pub(super) type Filter = fn(&Arc<Evaluation>, &[Value]) -> Result<Value, Error>;

/// The filters written here, by name.
pub(super) const FILTERS: &[(&str, Filter)] = &[
    ("b64decode", b64decode),
    ("b64encode", b64encode),
    ("count", length),
    ("d", default),
    ("default", default),
    ("first", first),
    ("float", float),
    ("from_json", fromjson),
    ("fromjson", fromjson),
    ("get", get),
    ("int", int),
    ("items", items),
    ("join", join),
    ("keys", keys),
    ("last", last),
    ("len", length),
    ("length", length),
    ("list", list),
    ("replace", replace),
    ("split", split),
    ("string", string),
    ("sum", sum),
    ("to_json", tojson),
    ("tojson", tojson),
    ("values", values),
];

/// The value that a filter is applied to.
pub(super) fn operand(args: &[Value]) -> Result<&Value, Error> {
    args.first().ok_or_else(|| Error::from(ErrorKind::MissingArgument))
}

/// The value, its positional arguments, and the named ones.
fn unpack(args: &[Value]) -> Result<(&Value, &[Value], Kwargs), Error> {
    let value = operand(args)?;
    let (positional, named) = from_args::<(&[Value], Kwargs)>(&args[1..])?;
    Ok((value, positional, named))
}

/// The argument at `at`, or the one called `name`.
fn argument(
    positional: &[Value],
    named: &Kwargs,
    at: usize,
    name: &str,
) -> Result<Option<Value>, Error> {
    match positional.get(at) {
        Some(value) => Ok(Some(value.clone())),
        None => named.get::<Option<Value>>(name),
    }
}

fn text<'a>(value: &'a Value, what: &str) -> Result<&'a str, Error> {
    value.as_str().ok_or_else(|| failed(format!("{what} must be text, not {}", kind(value))))
}

fn default(_evaluation: &Arc<Evaluation>, args: &[Value]) -> Result<Value, Error> {
    let (value, positional, named) = unpack(args)?;
    let other = argument(positional, &named, 0, "default_value")?;
    let boolean = argument(positional, &named, 1, "boolean")?.is_some_and(|flag| flag.is_true());
    if value.is_undefined() || (boolean && !value.is_true()) {
        return Ok(other.unwrap_or_else(|| Value::from("")));
    }
    Ok(value.clone())
}

fn int(_evaluation: &Arc<Evaluation>, args: &[Value]) -> Result<Value, Error> {
    let (value, positional, named) = unpack(args)?;
    let other = argument(positional, &named, 0, "default")?.unwrap_or_else(|| Value::from(0));
    let base = match argument(positional, &named, 1, "base")? {
        Some(base) => u32::try_from(base)?,
        None => 10,
    };
    let parsed = match value.kind() {
        ValueKind::Number if value.is_integer() => return Ok(value.clone()),
        ValueKind::Number | ValueKind::Bool => as_float(value).and_then(truncated),
        ValueKind::String => integer_text(value.as_str().unwrap_or_default(), base),
        _ => None,
    };
    Ok(parsed.map_or(other, |number| {
        i64::try_from(number).map_or_else(|_| Value::from(number), Value::from)
    }))
}

fn integer_text(written: &str, base: u32) -> Option<i128> {
    let digits = written.trim();
    if !(2..=36).contains(&base) || digits.starts_with('_') || digits.ends_with('_') {
        return None;
    }
    let plain = digits.replace('_', "");
    let (sign, unsigned) = match plain.strip_prefix('-') {
        Some(rest) => ("-", rest),
        None => ("", plain.strip_prefix('+').unwrap_or(&plain)),
    };
    let prefix = match base {
        2 => "0b",
        8 => "0o",
        16 => "0x",
        _ => "",
    };
    let lower = unsigned.to_ascii_lowercase();
    let significant = lower.strip_prefix(prefix).unwrap_or(&lower);
    if significant.starts_with(['+', '-']) {
        return None;
    }
    i128::from_str_radix(&format!("{sign}{significant}"), base)
        .ok()
        .or_else(|| plain.parse().ok().and_then(truncated))
}

/// Towards zero; nothing for what no integer can hold.
fn truncated(number: f64) -> Option<i128> {
    const LARGEST: f64 = 1e38;
    #[expect(clippy::cast_possible_truncation, reason = "the bound is checked right before")]
    (number.is_finite() && number.abs() < LARGEST).then(|| number.trunc() as i128)
}

fn float(_evaluation: &Arc<Evaluation>, args: &[Value]) -> Result<Value, Error> {
    let (value, positional, named) = unpack(args)?;
    let other = argument(positional, &named, 0, "default")?.unwrap_or_else(|| Value::from(0.0));
    let number: Option<f64> = match value.as_str() {
        Some(digits) => digits.trim().replace('_', "").parse().ok(),
        None => as_float(value),
    };
    Ok(number.map_or(other, Value::from))
}

fn string(evaluation: &Arc<Evaluation>, args: &[Value]) -> Result<Value, Error> {
    let value = operand(args)?;
    if value.kind() == ValueKind::String {
        return Ok(value.clone());
    }
    print(value, evaluation).map(Value::from)
}

/// `tojson` as Jinja2 has it: safe inside HTML and inside quoted SQL.
pub(super) fn tojson(evaluation: &Arc<Evaluation>, args: &[Value]) -> Result<Value, Error> {
    let (value, positional, named) = unpack(args)?;
    let indent = argument(positional, &named, 0, "indent")?;
    let json = if indent.is_some_and(|indent| indent.is_integer()) {
        let json = to_json(value, evaluation)?;
        let pretty =
            serde_json::to_string_pretty(&json).map_err(|error| failed(error.to_string()))?;
        evaluation.build(pretty.len())?;
        pretty
    } else {
        let mut text = Text::new(evaluation);
        text.json(value, 0)?;
        text.finish()
    };
    // Six bytes at most for one that is escaped.
    let special = json.bytes().filter(|byte| b"<>&'".contains(byte)).count();
    evaluation.build(special.saturating_mul(5))?;
    Ok(Value::from(escape_html(&json)))
}

fn fromjson(evaluation: &Arc<Evaluation>, args: &[Value]) -> Result<Value, Error> {
    let value = operand(args)?;
    if value.kind() != ValueKind::String {
        return Ok(value.clone());
    }
    let text = text(value, "the value of `fromjson`")?;
    evaluation.build(text.len().saturating_mul(2))?;
    let json: serde_json::Value = serde_json::from_str(text)
        .map_err(|error| failed(format!("`fromjson` expects JSON text: {error}")))?;
    Ok(from_json(&json))
}

fn b64encode(evaluation: &Arc<Evaluation>, args: &[Value]) -> Result<Value, Error> {
    let plain = print(operand(args)?, evaluation)?;
    evaluation.build(plain.len().saturating_mul(2))?;
    Ok(Value::from(STANDARD.encode(plain)))
}

fn b64decode(evaluation: &Arc<Evaluation>, args: &[Value]) -> Result<Value, Error> {
    let encoded = text(operand(args)?, "the value of `b64decode`")?;
    evaluation.build(encoded.len())?;
    let bytes = STANDARD
        .decode(encoded.trim())
        .map_err(|error| failed(format!("`b64decode` expects base64 text: {error}")))?;
    let plain = String::from_utf8(bytes)
        .map_err(|error| failed(format!("`b64decode` gives bytes that are not text: {error}")))?;
    Ok(Value::from(plain))
}

fn length(_evaluation: &Arc<Evaluation>, args: &[Value]) -> Result<Value, Error> {
    let value = operand(args)?;
    let len = value.len().ok_or_else(|| failed(format!("{} has no length", kind(value))))?;
    Ok(Value::from(len))
}

fn first(_evaluation: &Arc<Evaluation>, args: &[Value]) -> Result<Value, Error> {
    let value = operand(args)?;
    if value.is_none() {
        return Err(failed("null has no first item"));
    }
    Ok(value.try_iter()?.checked().next().transpose()?.unwrap_or(Value::UNDEFINED))
}

fn last(evaluation: &Arc<Evaluation>, args: &[Value]) -> Result<Value, Error> {
    let value = operand(args)?;
    let found = if let Some(text) = value.as_str() {
        text.chars().next_back().map(Value::from)
    } else if value.kind() == ValueKind::Seq {
        let len = value.len().unwrap_or(0);
        len.checked_sub(1).map(|index| value.get_item_by_index(index)).transpose()?
    } else if value.is_none() {
        return Err(failed("null has no last item"));
    } else {
        evaluation.look(value.len().unwrap_or(1) as u64)?;
        value.try_iter()?.checked().try_fold(None, |_, item| item.map(Some))?
    };
    Ok(found.unwrap_or(Value::UNDEFINED))
}

/// What a number counts in a list of them: a range of a million has to fit.
const NUMBER_BYTES: usize = 8;

fn list(evaluation: &Arc<Evaluation>, args: &[Value]) -> Result<Value, Error> {
    let value = operand(args)?;
    if value.is_none() {
        return Err(failed("null is not a list; use `| default([], true)` before `| list`"));
    }
    let mut collected = Vec::new();
    for item in value.try_iter()?.checked() {
        let item = item?;
        evaluation.build(if item.is_number() { NUMBER_BYTES } else { ITEM_BYTES })?;
        collected.push(item);
    }
    Ok(Value::from(collected))
}

fn join(evaluation: &Arc<Evaluation>, args: &[Value]) -> Result<Value, Error> {
    let (value, positional, named) = unpack(args)?;
    let separator = argument(positional, &named, 0, "d")?.unwrap_or_else(|| Value::from(""));
    let attribute = argument(positional, &named, 1, "attribute")?;
    let separator = print(&separator, evaluation)?;
    joined(evaluation, value, &separator, attribute.as_ref())
}

/// The text of all items, with `separator` between them.
pub(super) fn joined(
    evaluation: &Arc<Evaluation>,
    value: &Value,
    separator: &str,
    attribute: Option<&Value>,
) -> Result<Value, Error> {
    let mut text = Text::new(evaluation);
    for (index, item) in value.try_iter()?.checked().enumerate() {
        let item = item?;
        evaluation.look(WALK_COST)?;
        if index > 0 {
            text.push(separator)?;
        }
        match attribute {
            Some(attribute) => text.print(&attribute_of(&item, attribute)?)?,
            None => text.print(&item)?,
        }
    }
    Ok(Value::from(text.finish()))
}

/// A dotted path, as `map(attribute='a.b')` has it.
fn attribute_of(item: &Value, attribute: &Value) -> Result<Value, Error> {
    let Some(path) = attribute.as_str() else { return item.get_item(attribute) };
    path.split('.').try_fold(item.clone(), |value, key| match key.parse::<i64>() {
        Ok(index) => value.get_item(&Value::from(index)),
        Err(_) => value.get_attr(key),
    })
}

fn replace(evaluation: &Arc<Evaluation>, args: &[Value]) -> Result<Value, Error> {
    let value = print(operand(args)?, evaluation)?;
    let (Some(from), Some(to)) = (args.get(1), args.get(2)) else {
        return Err(failed("`replace` needs what to replace and by what"));
    };
    let (from, to) = (print(from, evaluation)?, print(to, evaluation)?);
    let count = args.get(3).filter(|count| count.is_integer());
    let count = count.and_then(|count| usize::try_from(count.clone()).ok());
    replaced(evaluation, &value, &from, &to, count).map(Value::from)
}

/// `value` with up to `count` occurrences replaced, paid before they are.
pub(super) fn replaced(
    evaluation: &Arc<Evaluation>,
    value: &str,
    from: &str,
    to: &str,
    count: Option<usize>,
) -> Result<String, Error> {
    let found = value.matches(from).count().min(count.unwrap_or(usize::MAX));
    evaluation.build(value.len().saturating_add(found.saturating_mul(to.len())))?;
    Ok(value.replacen(from, to, found))
}

fn split(evaluation: &Arc<Evaluation>, args: &[Value]) -> Result<Value, Error> {
    let (value, positional, named) = unpack(args)?;
    let value = print(value, evaluation)?;
    let separator = argument(positional, &named, 0, "sep")?.filter(|sep| !sep.is_none());
    let most = argument(positional, &named, 1, "maxsplit")?;
    let most = most.and_then(|most| usize::try_from(most).ok()).unwrap_or(usize::MAX - 1);
    let separator = separator.as_ref().map(|sep| text(sep, "the separator")).transpose()?;
    split_text(evaluation, &value, separator, most)
}

/// Python's `split`: without a separator at any white space.
pub(super) fn split_text(
    evaluation: &Arc<Evaluation>,
    value: &str,
    separator: Option<&str>,
    most: usize,
) -> Result<Value, Error> {
    let pieces = match separator {
        Some("") => return Err(failed("the separator of `split` cannot be empty")),
        Some(separator) => value.matches(separator).count().min(most) + 1,
        None => value.split_whitespace().count(),
    };
    evaluation.build(pieces.saturating_mul(ITEM_BYTES).saturating_add(value.len()))?;
    Ok(match separator {
        Some(separator) => value.splitn(most + 1, separator).map(Value::from).collect(),
        None => value.split_whitespace().map(Value::from).collect(),
    })
}

fn sum(evaluation: &Arc<Evaluation>, args: &[Value]) -> Result<Value, Error> {
    let (value, positional, named) = unpack(args)?;
    let attribute = argument(positional, &named, 0, "attribute")?.filter(|a| !a.is_none());
    let start = argument(positional, &named, 1, "start")?.unwrap_or_else(|| Value::from(0));
    let mut total = start;
    for item in value.try_iter()?.checked() {
        evaluation.look(WALK_COST)?;
        let item = match &attribute {
            Some(attribute) => attribute_of(&item?, attribute)?,
            None => item?,
        };
        if item.is_undefined() {
            return Err(Error::new(ErrorKind::UndefinedError, "an item of the sum is undefined"));
        }
        total = calculate(&total, "+", &item, evaluation)?;
    }
    Ok(total)
}

fn entries(value: &Value, evaluation: &Evaluation) -> Result<Vec<(Value, Value)>, Error> {
    match container(value, evaluation)? {
        Container::Map(entries) if value.kind() == ValueKind::Map => {
            let entries: Vec<_> = entries.collect();
            evaluation.build(entries.len().saturating_mul(ITEM_BYTES * 3))?;
            Ok(entries)
        }
        _ => Err(failed(format!("expected a map, got {}", kind(value)))),
    }
}

fn keys(evaluation: &Arc<Evaluation>, args: &[Value]) -> Result<Value, Error> {
    Ok(entries(operand(args)?, evaluation)?.into_iter().map(|(key, _)| key).collect())
}

fn values(evaluation: &Arc<Evaluation>, args: &[Value]) -> Result<Value, Error> {
    Ok(entries(operand(args)?, evaluation)?.into_iter().map(|(_, value)| value).collect())
}

fn items(evaluation: &Arc<Evaluation>, args: &[Value]) -> Result<Value, Error> {
    let pairs = entries(operand(args)?, evaluation)?;
    Ok(pairs.into_iter().map(|(key, value)| Value::from(vec![key, value])).collect())
}

fn get(_evaluation: &Arc<Evaluation>, args: &[Value]) -> Result<Value, Error> {
    let value = operand(args)?;
    let Some(key) = args.get(1) else {
        return Err(failed(format!("`get` needs a key, one of {:?}", map_keys(value))));
    };
    let found = value.get_item(key)?;
    if !found.is_undefined() {
        return Ok(found);
    }
    // Python's `None`, where the template engine's default is undefined.
    Ok(args.get(2).cloned().unwrap_or_else(|| Value::from(())))
}

/// What a filter of the template engine makes out of its value.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Builds {
    Nothing,
    Text,
    List,
}

/// Pays for one filter that comes with the template engine: it reads, copies or sorts its value.
pub(super) fn pay(args: &[Value], builds: Builds, evaluation: &Evaluation) -> Result<(), Error> {
    for value in args {
        match value.kind() {
            // Upper case of a letter can be three letters.
            ValueKind::String if builds == Builds::Text => {
                evaluation.build(value.as_str().map_or(0, str::len).saturating_mul(2))?;
            }
            ValueKind::Seq | ValueKind::Iterable | ValueKind::Map => {
                let mut weight = measure(value, evaluation)?;
                let items = value.len().unwrap_or(0);
                if builds == Builds::List {
                    evaluation.build(items.saturating_mul(ITEM_BYTES))?;
                    // A sort looks at each item about log2(n) times.
                    weight = weight.saturating_mul(u64::from(items.checked_ilog2().unwrap_or(0)));
                }
                evaluation.look(weight)?;
            }
            _ => {}
        }
    }
    Ok(())
}
