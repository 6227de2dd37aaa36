//! Operators with Python's meaning, each paying for what it makes before it makes it.

use std::cmp::Ordering;

use minijinja::value::{ObjectRepr, Value, ValueKind};
use minijinja::{Error, ErrorKind};

use crate::limits::TEMPLATE_VALUE_DEPTH_MAX;

use super::evaluation::Evaluation;
use super::text::{Container, Text, container, kind, number_text};
use super::value::{Data, Numbers, Pending, Unloaded};

/// Bytes that one item of a list takes.
pub(super) const ITEM_BYTES: usize = size_of::<Value>();

/// What it costs to do something with an item, in values of JSON that are only counted.
pub(super) const WALK_COST: u64 = 8;

/// An evaluation error that is not about a missing name.
pub(super) fn failed(message: impl Into<String>) -> Error {
    Error::new(ErrorKind::InvalidOperation, message.into())
}

/// Fails if a value is elsewhere, and asks for it; fails if there is none.
pub(super) fn touch(value: &Value, evaluation: &Evaluation) -> Result<(), Error> {
    if let Some(unloaded) = value.downcast_object_ref::<Unloaded>() {
        unloaded.touch();
    }
    if let Some(pending) = value.downcast_object_ref::<Pending>() {
        return Err(pending.error());
    }
    evaluation.assert_here()
}

/// Pays for all values inside `value`, and fails if it is nested too deeply.
///
/// A template can nest a list in itself sixty times and have `2^60` values in sixty steps: what
/// walks through a value must have counted it first.
pub(super) fn measure(value: &Value, evaluation: &Evaluation) -> Result<u64, Error> {
    measure_level(value, evaluation, 0)
}

fn measure_level(value: &Value, evaluation: &Evaluation, depth: usize) -> Result<u64, Error> {
    if depth > TEMPLATE_VALUE_DEPTH_MAX {
        return Err(failed(format!(
            "a value is nested more than {TEMPLATE_VALUE_DEPTH_MAX} levels deep"
        )));
    }
    if let Some(data) = value.downcast_object_ref::<Data>() {
        evaluation.look(data.weight)?;
        return Ok(data.weight);
    }
    let plain = value.as_object().is_none_or(|object| object.repr() == ObjectRepr::Plain);
    if plain || value.downcast_object_ref::<Unloaded>().is_some() {
        evaluation.look(1)?;
        return Ok(1);
    }
    if let Some(numbers) = value.downcast_object_ref::<Numbers>() {
        evaluation.look(numbers.len as u64)?;
        return Ok(numbers.len as u64);
    }
    evaluation.look(WALK_COST * 2)?;
    let mut weight = 1;
    match container(value, evaluation)? {
        Container::List(items) => {
            for item in items {
                weight += measure_level(&item, evaluation, depth + 1)?;
            }
        }
        Container::Map(entries) => {
            for (_, item) in entries {
                weight += 1 + measure_level(&item, evaluation, depth + 1)?;
            }
        }
    }
    Ok(weight)
}

/// Python's `==`; text and booleans are equal if they are spelled alike (decision D45).
pub(super) fn equal(a: &Value, b: &Value, evaluation: &Evaluation) -> Result<bool, Error> {
    touch(a, evaluation)?;
    touch(b, evaluation)?;
    match (a.kind(), b.kind()) {
        (ValueKind::Bool, ValueKind::String) => Ok(spells(b, a)),
        (ValueKind::String, ValueKind::Bool) => Ok(spells(a, b)),
        (ValueKind::Seq | ValueKind::Iterable | ValueKind::Map, _) if b.as_object().is_some() => {
            measure(a, evaluation)?;
            measure(b, evaluation)?;
            Ok(a == b)
        }
        _ => Ok(a == b),
    }
}

fn spells(text: &Value, boolean: &Value) -> bool {
    let word = if boolean.is_true() { "true" } else { "false" };
    text.as_str().is_some_and(|text| text.trim().eq_ignore_ascii_case(word))
}

/// Python's order: numbers among numbers, text among text, lists among lists.
fn order(a: &Value, b: &Value, evaluation: &Evaluation) -> Result<Ordering, Error> {
    let comparable = match (a.kind(), b.kind()) {
        (ValueKind::String, ValueKind::String)
        | (ValueKind::Number | ValueKind::Bool, ValueKind::Number | ValueKind::Bool) => true,
        (ValueKind::Seq, ValueKind::Seq) => {
            measure(a, evaluation)?;
            measure(b, evaluation)?;
            true
        }
        _ => false,
    };
    if comparable {
        return Ok(a.cmp(b));
    }
    Err(failed(format!(
        "cannot compare {} with {}; convert both with `| int` or `| string`",
        kind(a),
        kind(b)
    )))
}

/// One comparison by the spelling of its operator.
pub(super) fn compare(
    a: &Value,
    operator: &str,
    b: &Value,
    evaluation: &Evaluation,
) -> Result<bool, Error> {
    touch(a, evaluation)?;
    touch(b, evaluation)?;
    match operator {
        "==" => equal(a, b, evaluation),
        "!=" => equal(a, b, evaluation).map(|equal| !equal),
        "in" => contains(b, a, evaluation),
        "not in" => contains(b, a, evaluation).map(|inside| !inside),
        "<" => order(a, b, evaluation).map(Ordering::is_lt),
        "<=" => order(a, b, evaluation).map(Ordering::is_le),
        ">" => order(a, b, evaluation).map(Ordering::is_gt),
        ">=" => order(a, b, evaluation).map(Ordering::is_ge),
        other => Err(failed(format!("unknown comparison `{other}`"))),
    }
}

fn contains(container: &Value, item: &Value, evaluation: &Evaluation) -> Result<bool, Error> {
    if let Some(text) = container.as_str() {
        evaluation.look(text.len() as u64 / 16)?;
        let part = item.as_str().ok_or_else(|| {
            failed(format!("text contains only text, not {}; use `| string`", kind(item)))
        })?;
        return Ok(text.contains(part));
    }
    if let Some(data) = container.downcast_object_ref::<Data>()
        && container.kind() == ValueKind::Map
    {
        return Ok(data.own(item).is_some());
    }
    match container.as_object().map(|object| (object, object.repr())) {
        Some((object, ObjectRepr::Map)) => Ok(object.get_value(item).is_some()),
        Some((object, ObjectRepr::Seq | ObjectRepr::Iterable)) => {
            let weight = measure(item, evaluation)? + WALK_COST;
            for candidate in object.try_iter().into_iter().flatten() {
                evaluation.look(weight)?;
                if equal(&candidate, item, evaluation)? {
                    return Ok(true);
                }
            }
            Ok(false)
        }
        _ => Err(failed(format!("cannot look for something inside {}", kind(container)))),
    }
}

/// One arithmetic step by the spelling of its operator.
pub(super) fn calculate(
    a: &Value,
    operator: &str,
    b: &Value,
    evaluation: &Evaluation,
) -> Result<Value, Error> {
    touch(a, evaluation)?;
    touch(b, evaluation)?;
    if operator == "~" {
        return concatenate(a, b, evaluation);
    }
    let numeric = |value: &Value| matches!(value.kind(), ValueKind::Number | ValueKind::Bool);
    if numeric(a) && numeric(b) {
        return arithmetic(a, operator, b);
    }
    match (operator, a.kind(), b.kind()) {
        ("+", ValueKind::String, ValueKind::String) => concatenate(a, b, evaluation),
        ("+", ValueKind::Seq | ValueKind::Iterable, ValueKind::Seq | ValueKind::Iterable) => {
            joined(&[a, b], evaluation)
        }
        ("*", _, ValueKind::Number) => repeated(a, b, evaluation),
        ("*", ValueKind::Number, _) => repeated(b, a, evaluation),
        _ => Err(unfit(a, operator, b)),
    }
}

fn unfit(a: &Value, operator: &str, b: &Value) -> Error {
    failed(format!(
        "cannot use `{operator}` on {} and {}; use `| int` or `| string`, or join with `~`",
        kind(a),
        kind(b)
    ))
}

fn concatenate(a: &Value, b: &Value, evaluation: &Evaluation) -> Result<Value, Error> {
    let mut text = Text::new(evaluation);
    text.print(a)?;
    text.print(b)?;
    Ok(Value::from(text.finish()))
}

fn joined(lists: &[&Value], evaluation: &Evaluation) -> Result<Value, Error> {
    let mut items = Vec::new();
    for list in lists {
        for item in list.try_iter()?.checked() {
            evaluation.build(ITEM_BYTES)?;
            items.push(item?);
        }
    }
    let list = Value::from(items);
    measure(&list, evaluation)?;
    Ok(list)
}

fn repeated(value: &Value, times: &Value, evaluation: &Evaluation) -> Result<Value, Error> {
    let integer = times.is_integer().then(|| i64::try_from(times.clone()).ok()).flatten();
    let times_count = match integer {
        // Python repeats nothing for a negative number.
        Some(count) => usize::try_from(count).unwrap_or(0),
        None => return Err(unfit(value, "*", times)),
    };
    if let Some(text) = value.as_str() {
        evaluation.build(text.len().saturating_mul(times_count))?;
        return Ok(Value::from(text.repeat(times_count)));
    }
    match value.kind() {
        ValueKind::Seq | ValueKind::Iterable => {
            let one = value.len().ok_or_else(|| unfit(value, "*", times))?;
            evaluation.build(one.saturating_mul(times_count).saturating_mul(ITEM_BYTES))?;
            let times_count = if one == 0 { 0 } else { times_count };
            joined(&vec![value; times_count], evaluation)
        }
        _ => Err(unfit(value, "*", times)),
    }
}

fn arithmetic(a: &Value, operator: &str, b: &Value) -> Result<Value, Error> {
    let whole = |value: &Value| !matches!(value.kind(), ValueKind::Number) || value.is_integer();
    let result = if whole(a) && whole(b) && operator != "/" {
        integers(a, operator, b)
    } else {
        floats(a, operator, b)
    };
    result.ok_or_else(|| {
        failed(format!(
            "cannot calculate `{} {operator} {}`: a division by zero or a number too large",
            number_text(a),
            number_text(b)
        ))
    })
}

fn integers(a: &Value, operator: &str, b: &Value) -> Option<Value> {
    let (x, y) = (i128::try_from(a.clone()).ok()?, i128::try_from(b.clone()).ok()?);
    let result = match operator {
        "+" => x.checked_add(y),
        "-" => x.checked_sub(y),
        "*" => x.checked_mul(y),
        "//" => x.checked_div_euclid(y).and_then(|quotient| floor(x, y, quotient)),
        "%" => x.checked_rem_euclid(y).map(|rest| if rest != 0 && y < 0 { rest + y } else { rest }),
        "**" if y < 0 => return floats(a, operator, b),
        "**" => u32::try_from(y).ok().and_then(|power| x.checked_pow(power)),
        _ => None,
    };
    result.map(|value| i64::try_from(value).map_or_else(|_| Value::from(value), Value::from))
}

/// Rounds towards minus infinity, as Python does; `div_euclid` rounds away from it for `y < 0`.
fn floor(x: i128, y: i128, quotient: i128) -> Option<i128> {
    if y < 0 && x.checked_rem_euclid(y)? != 0 { quotient.checked_sub(1) } else { Some(quotient) }
}

fn floats(a: &Value, operator: &str, b: &Value) -> Option<Value> {
    let (x, y) = (float(a)?, float(b)?);
    let divides = matches!(operator, "/" | "//" | "%");
    if divides && y == 0.0 || operator == "**" && x == 0.0 && y < 0.0 {
        return None;
    }
    let result = match operator {
        "+" => x + y,
        "-" => x - y,
        "*" => x * y,
        "/" => x / y,
        "//" => (x / y).floor(),
        "%" => x - y * (x / y).floor(),
        "**" => x.powf(y),
        _ => return None,
    };
    Some(Value::from(result))
}

/// A number or a boolean as a float.
pub(super) fn float(value: &Value) -> Option<f64> {
    match value.kind() {
        ValueKind::Bool => Some(if value.is_true() { 1.0 } else { 0.0 }),
        ValueKind::Number => f64::try_from(value.clone()).ok().or_else(|| {
            // An integer that a float holds only nearly.
            value.to_string().parse().ok()
        }),
        _ => None,
    }
}

/// Python's `value[first:end:step]`; absent bounds are null.
pub(super) fn slice(
    value: &Value,
    bounds: &[Value],
    evaluation: &Evaluation,
) -> Result<Value, Error> {
    touch(value, evaluation)?;
    let [first, end, step] = [0, 1, 2].map(|at| bounds.get(at));
    let step = bound(step)?.unwrap_or(1);
    if step == 0 {
        return Err(failed("the step of a slice cannot be 0"));
    }
    let (first, end) = (bound(first)?, bound(end)?);
    if let Some(text) = value.as_str() {
        // Four bytes for a character, whatever it takes as text.
        evaluation.build(text.len().saturating_mul(4))?;
        let characters: Vec<char> = text.chars().collect();
        let picked = positions(characters.len(), first, end, step);
        return Ok(picked.filter_map(|at| characters.get(at)).collect::<String>().into());
    }
    let list = match value.kind() {
        ValueKind::Seq => value.clone(),
        ValueKind::Iterable => joined(&[value], evaluation)?,
        _ => return Err(failed(format!("cannot take a slice of {}", kind(value)))),
    };
    let mut picked = Vec::new();
    for at in positions(list.len().unwrap_or(0), first, end, step) {
        evaluation.build(ITEM_BYTES)?;
        picked.push(list.get_item_by_index(at)?);
    }
    Ok(Value::from(picked))
}

fn bound(value: Option<&Value>) -> Result<Option<i64>, Error> {
    match value {
        None => Ok(None),
        Some(value) if value.is_none() => Ok(None),
        Some(value) if value.is_integer() => i64::try_from(value.clone()).map(Some),
        Some(value) => Err(failed(format!("a slice is made of integers, not {}", kind(value)))),
    }
}

/// The positions that a slice picks, from a list of `len` items.
fn positions(
    len: usize,
    first: Option<i64>,
    end: Option<i64>,
    step: i64,
) -> impl Iterator<Item = usize> {
    let len = i64::try_from(len).unwrap_or(i64::MAX);
    // Before the first and after the last position, for the direction at hand.
    let (low, high) = if step > 0 { (0, len) } else { (-1, len - 1) };
    let clamp = |at: Option<i64>, default: i64| match at {
        None => default,
        Some(at) if at < 0 => at.saturating_add(len).clamp(low, high),
        Some(at) => at.clamp(low, high),
    };
    let (near, far) = if step > 0 { (low, high) } else { (high, low) };
    let (first, end) = (clamp(first, near), clamp(end, far));
    std::iter::successors(Some(first), move |at| at.checked_add(step))
        .take_while(move |at| if step > 0 { *at < end } else { *at > end })
        .filter_map(|at| usize::try_from(at).ok())
}
