//! The one environment: which filters, tests and functions exist, and what each may cost.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::sync::{Arc, LazyLock};

use minijinja::value::{Kwargs, Rest, Value, ValueOrKwargs, from_args};
use minijinja::{Environment, Error, ErrorKind, Output, State, UndefinedBehavior};
use minijinja::{filters as native, tests as native_tests};
use minijinja_contrib::pycompat::unknown_method_callback;

use crate::limits::{TEMPLATE_FUEL, TEMPLATE_RANGE_MAX, TEMPLATE_RECURSION_MAX};
use crate::payload::sha256_hex;

use super::evaluation::Evaluation;
use super::filters::{self, Builds, FILTERS, Filter, joined, pay, replaced, split_text, tojson};
use super::operators::{ITEM_BYTES, calculate, compare, failed, measure, slice, touch};
use super::path;
use super::text::{kind, print};
use super::value::Numbers;

/// The environment of every evaluation: no loader, no clock, no chance.
pub(super) static ENVIRONMENT: LazyLock<Environment<'static>> = LazyLock::new(build);

/// Functions that a template may call, and the operator that stands for each.
pub(super) const FUNCTIONS: &[&str] = &["dict", "generate_uuid", "now", "range", "token", "tojson"];

/// Tests that a template may use.
pub(super) static TESTS: LazyLock<BTreeSet<&'static str>> = LazyLock::new(|| {
    let plain = tests().into_iter().map(|(name, _)| name);
    plain.chain(COMPARISONS.iter().map(|(name, _)| *name)).collect()
});

/// Filters that a template may use.
pub(super) static FILTER_NAMES: LazyLock<BTreeSet<&'static str>> = LazyLock::new(|| {
    let own = FILTERS.iter().map(|(name, _)| *name);
    own.chain(native_filters().into_iter().map(|(name, _, _)| name)).collect()
});

/// Tests that are comparisons.
const COMPARISONS: &[(&str, &str)] = &[
    ("eq", "=="),
    ("equalto", "=="),
    ("ge", ">="),
    ("greaterthan", ">"),
    ("gt", ">"),
    ("in", "in"),
    ("le", "<="),
    ("lessthan", "<"),
    ("lt", "<"),
    ("ne", "!="),
];

/// What the rewriting of `rewrite.rs` calls; no template can write these names.
const OPERATORS: &[(&str, Filter)] = &[
    ("__calculate", calculate_all),
    ("__compare", compare_all),
    ("__fn_dict", function_dict),
    ("__fn_generate_uuid", function_generate_uuid),
    ("__fn_now", function_now),
    ("__fn_range", function_range),
    ("__fn_tojson", function_tojson),
    ("__fn_token", function_token),
    ("__measure", measured),
    ("__slice", sliced),
];

fn build() -> Environment<'static> {
    let mut environment = Environment::empty();
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    environment.set_fuel(Some(TEMPLATE_FUEL));
    environment.set_recursion_limit(TEMPLATE_RECURSION_MAX);
    environment.set_auto_escape_callback(|_| minijinja::AutoEscape::None);
    environment.set_formatter(emit);
    environment.set_unknown_method_callback(method);
    for (name, filter) in FILTERS.iter().chain(OPERATORS) {
        add_own(&mut environment, name, *filter);
    }
    for (name, builds, filter) in native_filters() {
        add_native(&mut environment, name, builds, filter);
    }
    add_paths(&mut environment);
    add_tests(&mut environment);
    environment
}

fn add_own(environment: &mut Environment<'static>, name: &'static str, filter: Filter) {
    let may_be_undefined = matches!(name, "d" | "default");
    let call =
        move |state: &mut State<'_, '_>, args: Rest<ValueOrKwargs>| -> Result<Value, Error> {
            let args = args.into_values();
            let evaluation = Evaluation::of(state)?;
            let rest = if may_be_undefined { args.get(1..).unwrap_or_default() } else { &args[..] };
            assert_defined(rest, name)?;
            if !may_be_undefined {
                args.iter().try_for_each(|value| touch(value, &evaluation))?;
            }
            let result = filter(&evaluation, &args)?;
            evaluation.assert_here()?;
            Ok(result)
        };
    environment.add_filter(name, call);
}

fn add_native(
    environment: &mut Environment<'static>,
    name: &'static str,
    builds: Builds,
    filter: Value,
) {
    let call =
        move |state: &mut State<'_, '_>, args: Rest<ValueOrKwargs>| -> Result<Value, Error> {
            let args = args.into_values();
            let evaluation = Evaluation::of(state)?;
            assert_defined(&args, name)?;
            args.iter().try_for_each(|value| touch(value, &evaluation))?;
            pay(&args, builds, &evaluation)?;
            let result = filter.call(state, &args)?;
            evaluation.assert_here()?;
            measure(&result, &evaluation)?;
            Ok(result)
        };
    environment.add_filter(name, call);
}

fn assert_defined(args: &[Value], name: &str) -> Result<(), Error> {
    if args.iter().any(Value::is_undefined) {
        return Err(Error::new(
            ErrorKind::UndefinedError,
            format!("the value or an argument of `{name}` is undefined"),
        ));
    }
    Ok(())
}

fn native_filters() -> Vec<(&'static str, Builds, Value)> {
    vec![
        ("abs", Builds::Nothing, Value::from_function(native::abs)),
        ("attr", Builds::Nothing, Value::from_function(native::attr)),
        ("bool", Builds::Nothing, Value::from_function(native::bool)),
        ("capitalize", Builds::Text, Value::from_function(native::capitalize)),
        ("dictsort", Builds::List, Value::from_function(native::dictsort)),
        ("groupby", Builds::List, Value::from_function(native::groupby)),
        ("lower", Builds::Text, Value::from_function(native::lower)),
        ("map", Builds::List, Value::from_function(native::map)),
        ("max", Builds::Nothing, Value::from_function(native::max)),
        ("min", Builds::Nothing, Value::from_function(native::min)),
        ("reject", Builds::List, Value::from_function(native::reject)),
        ("rejectattr", Builds::List, Value::from_function(native::rejectattr)),
        ("reverse", Builds::List, Value::from_function(native::reverse)),
        ("round", Builds::Nothing, Value::from_function(round)),
        ("safe", Builds::Nothing, Value::from_function(|value: Value| value)),
        ("select", Builds::List, Value::from_function(native::select)),
        ("selectattr", Builds::List, Value::from_function(native::selectattr)),
        ("sort", Builds::List, Value::from_function(native::sort)),
        ("title", Builds::Text, Value::from_function(native::title)),
        ("trim", Builds::Text, Value::from_function(native::trim)),
        ("unique", Builds::List, Value::from_function(native::unique)),
        ("upper", Builds::Text, Value::from_function(native::upper)),
        ("urlencode", Builds::Text, Value::from_function(native::urlencode)),
    ]
}

/// Jinja's `round` gives a float whatever it is given.
fn round(
    value: Value,
    precision: Option<i32>,
    method: Option<&str>,
    kwargs: Kwargs,
) -> Result<Value, Error> {
    let rounded = native::round(value, precision, method, kwargs)?;
    Ok(super::operators::float(&rounded).map_or(rounded, Value::from))
}

fn add_paths(environment: &mut Environment<'static>) {
    type Follow = fn(&Value, &Value, &[Value], &Arc<Evaluation>) -> Result<Value, Error>;
    let mut add = |name: &'static str, follow: Follow| {
        let call = move |state: &mut State<'_, '_>, args: Rest<ValueOrKwargs>| {
            let args = args.into_values();
            let evaluation = Evaluation::of(state)?;
            match args.as_slice() {
                [root, name, keys @ ..] => follow(root, name, keys, &evaluation),
                _ => Err(Error::from(ErrorKind::MissingArgument)),
            }
        };
        environment.add_filter(name, call);
    };
    add("__strict", path::strict);
    add("__lenient", path::lenient);
    add("__truth", path::truth);
}

fn tests() -> Vec<(&'static str, Value)> {
    vec![
        ("boolean", Value::from_function(native_tests::is_boolean)),
        ("defined", Value::from_function(native_tests::is_defined)),
        ("divisibleby", Value::from_function(native_tests::is_divisibleby)),
        ("endingwith", Value::from_function(native_tests::is_endingwith)),
        ("even", Value::from_function(native_tests::is_even)),
        ("false", Value::from_function(native_tests::is_false)),
        ("float", Value::from_function(native_tests::is_float)),
        ("integer", Value::from_function(native_tests::is_integer)),
        ("iterable", Value::from_function(native_tests::is_iterable)),
        ("lower", Value::from_function(native_tests::is_lower)),
        ("mapping", Value::from_function(native_tests::is_mapping)),
        ("none", Value::from_function(native_tests::is_none)),
        ("number", Value::from_function(native_tests::is_number)),
        ("odd", Value::from_function(native_tests::is_odd)),
        ("sequence", Value::from_function(native_tests::is_sequence)),
        ("startingwith", Value::from_function(native_tests::is_startingwith)),
        ("string", Value::from_function(native_tests::is_string)),
        ("true", Value::from_function(native_tests::is_true)),
        ("undefined", Value::from_function(native_tests::is_undefined)),
        ("upper", Value::from_function(native_tests::is_upper)),
    ]
}

fn add_tests(environment: &mut Environment<'static>) {
    for (name, test) in tests() {
        let looks_inside = !matches!(name, "defined" | "undefined");
        let call = move |state: &mut State<'_, '_>, args: Rest<ValueOrKwargs>| {
            let args = args.into_values();
            if looks_inside {
                let evaluation = Evaluation::of(state)?;
                args.iter().try_for_each(|value| touch(value, &evaluation))?;
            }
            test.call(state, &args).map(|passed| passed.is_true())
        };
        environment.add_test(name, call);
    }
    for (name, operator) in COMPARISONS {
        let call = move |state: &mut State<'_, '_>, a: Value, b: Value| {
            compare(&a, operator, &b, &*Evaluation::of(state)?)
        };
        environment.add_test(*name, call);
    }
}

/// Prints a value where a template has one (decision D45).
fn emit(out: &mut Output<'_>, state: &mut State<'_, '_>, value: &Value) -> Result<(), Error> {
    let evaluation = Evaluation::of(state)?;
    touch(value, &evaluation)?;
    let text = print(value, &evaluation)?;
    out.write_str(&text).map_err(Error::from)
}

/// Python's methods of text, maps and lists; those that can build more than they are given pay.
fn method(
    state: &mut State<'_, '_>,
    value: &Value,
    name: &str,
    args: &[Value],
) -> Result<Value, Error> {
    let evaluation = Evaluation::of(state)?;
    touch(value, &evaluation)?;
    args.iter().try_for_each(|arg| touch(arg, &evaluation))?;
    let Some(text) = value.as_str() else {
        return unknown_method_callback(state, value, name, args);
    };
    match name {
        "join" => joined(&evaluation, filters::operand(args)?, text, None),
        "replace" => {
            let (from, to, count) = from_args::<(&str, &str, Option<i64>)>(args)?;
            let count = count.and_then(|count| usize::try_from(count).ok());
            replaced(&evaluation, text, from, to, count).map(Value::from)
        }
        "split" => {
            let (separator, most) = from_args::<(Option<&str>, Option<i64>)>(args)?;
            let most = most.and_then(|most| usize::try_from(most).ok());
            split_text(&evaluation, text, separator, most.unwrap_or(usize::MAX - 1))
        }
        "format" => Err(failed("`.format()` is not available; join with `~`")),
        "splitlines" => {
            evaluation.build(text.lines().count().saturating_mul(ITEM_BYTES) + text.len())?;
            unknown_method_callback(state, value, name, args)
        }
        _ => {
            pay(std::slice::from_ref(value), Builds::Text, &evaluation)?;
            unknown_method_callback(state, value, name, args)
        }
    }
}

/// `value op value op value ...`, from left to right.
fn calculate_all(evaluation: &Arc<Evaluation>, args: &[Value]) -> Result<Value, Error> {
    let mut result = filters::operand(args)?.clone();
    for pair in args[1..].chunks(2) {
        let [operator, other] = pair else { return Err(Error::from(ErrorKind::MissingArgument)) };
        let operator = operator.as_str().unwrap_or_default();
        result = calculate(&result, operator, other, evaluation)?;
    }
    Ok(result)
}

/// `value op value op value ...`: true if each neighbouring pair is.
fn compare_all(evaluation: &Arc<Evaluation>, args: &[Value]) -> Result<Value, Error> {
    let mut left = filters::operand(args)?;
    for pair in args[1..].chunks(2) {
        let [operator, right] = pair else { return Err(Error::from(ErrorKind::MissingArgument)) };
        if !compare(left, operator.as_str().unwrap_or_default(), right, evaluation)? {
            return Ok(Value::from(false));
        }
        left = right;
    }
    Ok(Value::from(true))
}

fn measured(evaluation: &Arc<Evaluation>, args: &[Value]) -> Result<Value, Error> {
    let value = filters::operand(args)?;
    measure(value, evaluation)?;
    Ok(value.clone())
}

fn sliced(evaluation: &Arc<Evaluation>, args: &[Value]) -> Result<Value, Error> {
    slice(filters::operand(args)?, &args[1..], evaluation)
}

fn function_dict(_evaluation: &Arc<Evaluation>, args: &[Value]) -> Result<Value, Error> {
    let kwargs = from_args::<(Kwargs,)>(args.get(1..).unwrap_or_default())?.0;
    let pairs: Result<Vec<(String, Value)>, Error> =
        kwargs.args().map(|name| Ok((name.to_owned(), kwargs.get::<Value>(name)?))).collect();
    Ok(Value::from_pairs(pairs?))
}

fn function_tojson(evaluation: &Arc<Evaluation>, args: &[Value]) -> Result<Value, Error> {
    tojson(evaluation, args.get(1..).unwrap_or_default())
}

fn function_token(_evaluation: &Arc<Evaluation>, _args: &[Value]) -> Result<Value, Error> {
    Err(failed("`token()` is not available here; name the credential in `auth` instead"))
}

fn function_now(evaluation: &Arc<Evaluation>, _args: &[Value]) -> Result<Value, Error> {
    match &evaluation.names.functions {
        Some(functions) => Ok(Value::from(functions.now_text.as_str())),
        None => Err(only_in_tools("now")),
    }
}

fn function_generate_uuid(evaluation: &Arc<Evaluation>, _args: &[Value]) -> Result<Value, Error> {
    let Some(functions) = &evaluation.names.functions else {
        return Err(only_in_tools("generate_uuid"));
    };
    let seed = format!("{}:{}", functions.uuid_seed, evaluation.next_uuid());
    let hex = sha256_hex(seed.as_bytes());
    let mut uuid = String::with_capacity(36);
    for (index, digit) in hex.chars().take(32).enumerate() {
        if matches!(index, 8 | 12 | 16 | 20) {
            uuid.push('-');
        }
        // RFC 9562: version 8 is for ids of one's own making, variant `10`.
        let digit = match index {
            12 => '8',
            16 => 'a',
            _ => digit,
        };
        // Writing to a String cannot fail.
        let _ = uuid.write_char(digit);
    }
    Ok(Value::from(uuid))
}

fn only_in_tools(name: &str) -> Error {
    failed(format!(
        "`{name}()` gives another value each time: use it in `workload` or in a tool's configuration"
    ))
}

fn function_range(_evaluation: &Arc<Evaluation>, args: &[Value]) -> Result<Value, Error> {
    let (first, end, step) = range_bounds(args.get(1..).unwrap_or_default())?;
    let distance = if step > 0 { end.checked_sub(first) } else { first.checked_sub(end) };
    let len = match distance {
        Some(distance) if distance > 0 => distance.unsigned_abs().div_ceil(step.unsigned_abs()),
        Some(_) => 0,
        None => u64::MAX,
    };
    match usize::try_from(len) {
        Ok(len) if len <= TEMPLATE_RANGE_MAX => {
            Ok(Value::from_object(Numbers { first, step, len }))
        }
        _ => Err(failed(format!("`range` has more than {TEMPLATE_RANGE_MAX} items"))),
    }
}

fn range_bounds(args: &[Value]) -> Result<(i64, i64, i64), Error> {
    let mut bounds = Vec::new();
    for arg in args {
        let integer = arg.is_integer().then(|| i64::try_from(arg.clone()).ok()).flatten();
        bounds.push(
            integer.ok_or_else(|| failed(format!("`range` takes integers, not {}", kind(arg))))?,
        );
    }
    match bounds.as_slice() {
        [end] => Ok((0, *end, 1)),
        [first, end] => Ok((*first, *end, 1)),
        [first, end, step] if *step != 0 => Ok((*first, *end, *step)),
        _ => Err(failed("`range` takes one to three integers, and a step other than 0")),
    }
}
