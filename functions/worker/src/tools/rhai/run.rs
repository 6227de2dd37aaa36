//! One script in an engine that can only compute.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use engine_core::limits::{
    OUTPUT_BYTES_MAX, RESULT_BYTES_MAX, RHAI_CALLS_DEEP, RHAI_EXPRESSION_DEPTH, RHAI_ITEMS_MAX,
    RHAI_OPERATIONS_MAX, RHAI_TEXT_BYTES_MAX,
};
use rhai::serde::{from_dynamic, to_dynamic};
use rhai::{Dynamic, Engine, EvalAltResult, FLOAT, INT, Scope};
use serde_json::{Map, Value};

use super::error::{broken, refused};
use crate::output::Capture;
use crate::tool::{Reaction, Success, ToolError};

/// Operations between two looks at the clock: some tens of microseconds.
const LOOK_EVERY: u64 = 1_024;

/// What a thread needs to know.
pub(super) struct Request {
    pub(super) code: String,
    pub(super) args: Map<String, Value>,
    pub(super) deadline: Instant,
}

/// What a script prints, shared with its engine.
type Printed = Arc<Mutex<Capture>>;

/// Runs a script; its result is the last expression, or else what it has put into `result`.
pub(super) fn run(request: &Request) -> Result<Success, ToolError> {
    let printed = Arc::new(Mutex::new(Capture::new(OUTPUT_BYTES_MAX)));
    let ended = evaluate(&engine(request.deadline, &printed), request);
    let output = std::mem::replace(
        &mut *printed.lock().unwrap_or_else(PoisonError::into_inner),
        Capture::new(0),
    )
    .into_text();
    match ended {
        Ok(result) => Ok(Success { result, output }),
        Err(error) => Err(error.with_output(output)),
    }
}

fn evaluate(engine: &Engine, request: &Request) -> Result<Value, ToolError> {
    let mut scope = scope(&request.args)?;
    let given = scope.len();
    let ast = engine.compile_with_scope(&scope, &request.code).map_err(|error| refused(&error))?;
    let last: Result<Dynamic, Box<EvalAltResult>> = engine.eval_ast_with_scope(&mut scope, &ast);
    let last = last.map_err(|error| broken(&error, &request.args))?;
    let named = scope.iter().skip(given).filter(|(name, ..)| *name == "result").last();
    let value = match named {
        Some((_, _, value)) if last.is_unit() => value,
        _ => last,
    };
    let unfit = |why: String| ToolError::new(Reaction::Rejected, "ResultError", why);
    let value: Value = from_dynamic(&value).map_err(|error| {
        unfit(format!(
            "the result is no JSON ({error}); return maps, arrays, text, numbers, booleans or `()`"
        ))
    })?;
    let bytes = value.to_string().len();
    if bytes > RESULT_BYTES_MAX {
        return Err(unfit(format!(
            "the result is {bytes} bytes long, and {RESULT_BYTES_MAX} are allowed; return less"
        )));
    }
    Ok(value)
}

/// Every input by its name, and all of them as the map `args`.
fn scope(args: &Map<String, Value>) -> Result<Scope<'static>, ToolError> {
    let unfit = |name: &str| {
        ToolError::input(format!("`args.{name}` does not fit into `rhai`; pass a part of it"))
    };
    let mut scope = Scope::new();
    scope.push_dynamic("args", to_dynamic(args).map_err(|_error| unfit("*"))?);
    for (name, value) in args {
        let value = to_dynamic(value).map_err(|_error| unfit(name))?;
        scope.push_dynamic(name.as_str(), value);
    }
    Ok(scope)
}

/// An engine with all limits, whose only effect on the world is what it prints.
fn engine(deadline: Instant, printed: &Printed) -> Engine {
    let mut engine = Engine::new();
    engine
        .set_max_operations(RHAI_OPERATIONS_MAX)
        .set_max_call_levels(RHAI_CALLS_DEEP)
        .set_max_expr_depths(RHAI_EXPRESSION_DEPTH, RHAI_EXPRESSION_DEPTH)
        .set_max_string_size(RHAI_TEXT_BYTES_MAX)
        .set_max_array_size(RHAI_ITEMS_MAX)
        .set_max_map_size(RHAI_ITEMS_MAX)
        .disable_symbol("eval")
        .on_progress(move |operations| {
            let is_over = operations % LOOK_EVERY == 0 && Instant::now() >= deadline;
            is_over.then_some(Dynamic::UNIT)
        });
    // It would block a thread, and no deadline could wake it.
    engine.register_fn("sleep", |_seconds: INT| no_sleep());
    engine.register_fn("sleep", |_seconds: FLOAT| no_sleep());
    let (shown, traced) = (printed.clone(), printed.clone());
    engine.on_print(move |text| print(&shown, text));
    engine.on_debug(move |text, _source, _position| print(&traced, text));
    engine
}

fn no_sleep() -> Result<(), Box<EvalAltResult>> {
    Err("`sleep` is not available; use a step with `tool: wait`".into())
}

fn print(printed: &Printed, text: &str) {
    let mut printed = printed.lock().unwrap_or_else(PoisonError::into_inner);
    printed.push(text.as_bytes());
    printed.push(b"\n");
}
