//! `python`: the playbook's code in a real interpreter, one fresh namespace per call.

mod folders;
mod interpreter;
mod pool;
pub(super) mod processes;
#[cfg(test)]
mod security_tests;
mod source;
#[cfg(test)]
mod tests;

use async_trait::async_trait;
use engine_core::limits::RESULT_BYTES_MAX;
use serde_json::{Map, Value, json};
use tokio::time::Instant;

use self::interpreter::{Loss, Reply};
pub use self::pool::PythonPool;
use crate::tool::{Call, Reaction, Success, Tool, ToolError};
use crate::tools::http::{Http, HttpPolicy};

/// `python`: calls take an idle interpreter of a pool.
pub struct Python {
    pool: PythonPool,
    /// Fetches scripts.
    http: Http,
}

impl Python {
    /// A tool on a pool of interpreters; none is started before it is needed.
    ///
    /// Scripts come from files and from the public internet.
    #[must_use]
    pub fn new(pool: PythonPool) -> Self {
        Self { pool, http: Http::new(HttpPolicy { guard: true }) }
    }

    /// Scripts come from wherever `policy` allows.
    #[must_use]
    pub fn with_scripts(mut self, policy: HttpPolicy) -> Self {
        self.http = Http::new(policy);
        self
    }

    /// The text of the file that the call's `script` names.
    pub(super) async fn script(&self, call: &Call<'_>) -> Result<String, ToolError> {
        Ok(source::of(call, &self.http).await?.code)
    }
}

#[async_trait]
impl Tool for Python {
    fn kind(&self) -> &'static str {
        "python"
    }

    async fn call(&self, call: &Call<'_>) -> Result<Success, ToolError> {
        let started = Instant::now();
        let mut request = request(call, &self.http).await?;
        let lost_at_once = |loss| lost(loss, call.deadline - started);
        let folder = self.pool.folder(call.execution_id).await.map_err(lost_at_once)?;
        request["folder"] = json!(folder.path());
        let request = request.to_string().into_bytes();
        let mut output = String::new();
        match self.pool.call(&request, call.deadline, &mut output).await {
            Ok(reply) => answered(reply, output),
            Err(loss) => Err(lost(loss, call.deadline - started).with_output(output)),
        }
    }
}

/// What the runner is asked: the code, where errors place it, and its inputs.
async fn request(call: &Call<'_>, http: &Http) -> Result<Value, ToolError> {
    let source = source::of(call, http).await?;
    Ok(json!({
        "key": call.idempotency_key,
        "code": source.code,
        "code_base64": source.code_base64,
        "file": format!("<step {}>", call.step),
        "args": call.args,
        "context": call.context,
        "libs": libs(call.config.get("libs"))?,
        "execution_id": call.execution_id,
        "result_bytes_max": RESULT_BYTES_MAX,
    }))
}

/// `libs` as a map from alias to module, or to `{from, import}`.
fn libs(given: Option<&Value>) -> Result<Map<String, Value>, ToolError> {
    let bad = |value: &Value| {
        ToolError::input(format!(
            "`libs: {value}` is not understood; write `{{alias: module}}` or \
             `{{alias: {{from: module, import: name}}}}`"
        ))
    };
    match given {
        None | Some(Value::Null) => Ok(Map::new()),
        Some(Value::Object(libs)) => Ok(libs.clone()),
        Some(list @ Value::Array(names)) => names
            .iter()
            .map(|name| {
                let text = name.as_str().ok_or_else(|| bad(list))?;
                Ok((text.to_owned(), name.clone()))
            })
            .collect(),
        Some(other) => Err(bad(other)),
    }
}

/// Judges what the runner answered.
fn answered(reply: Reply, output: String) -> Result<Success, ToolError> {
    if let Some(failure) = reply.failure {
        let reaction = match failure.kind.as_str() {
            "InputError" => Reaction::Input,
            _ => Reaction::Rejected,
        };
        return Err(ToolError::new(reaction, failure.kind, failure.message)
            .with_traceback(failure.traceback)
            .with_output(output));
    }
    let result: Value = serde_json::from_slice(&reply.result).map_err(|error| {
        let message = format!(
            "the result cannot be read as JSON ({error}); return plain dicts, lists, text and \
             numbers, nested at most 100 levels deep"
        );
        ToolError::new(Reaction::Rejected, "ResultError", message).with_output(output.clone())
    })?;
    match reported(&result) {
        Some(error) => Err(error.with_result(result).with_output(output)),
        None => Ok(Success { result, output }),
    }
}

/// The error of a result that says `status: error` itself.
fn reported(result: &Value) -> Option<ToolError> {
    let status = result.get("status")?.as_str()?;
    if !status.eq_ignore_ascii_case("error") {
        return None;
    }
    let text = |value: &Value| match value {
        Value::Null => None,
        Value::String(text) => Some(text.clone()),
        Value::Object(fields) => Some(
            fields
                .get("message")
                .and_then(Value::as_str)
                .map_or_else(|| value.to_string(), str::to_owned),
        ),
        other => Some(other.to_string()),
    };
    let message =
        result.get("error").and_then(text).or_else(|| result.get("message").and_then(text));
    let kind = result.pointer("/error/type").and_then(Value::as_str).unwrap_or("PythonError");
    let message = message.unwrap_or_else(|| {
        "the code returned `status: error` without `error` or `message`; add one to say why"
            .to_owned()
    });
    Some(ToolError::new(Reaction::Rejected, kind, message))
}

/// Why no answer came, and what helps.
fn lost(loss: Loss, allowed: std::time::Duration) -> ToolError {
    let rejected = |kind: &str, message: String| ToolError::new(Reaction::Rejected, kind, message);
    match loss {
        Loss::Timeout => ToolError::timeout(format!(
            "the code did not end within {} s and was stopped; raise the step's `timeout`, or do \
             less in one step",
            allowed.as_secs_f64().round()
        )),
        Loss::Busy => ToolError::timeout(
            "no Python interpreter became free in time; run fewer Python steps at once, or give \
             the worker more interpreters",
        ),
        Loss::Ended(how) => rejected(
            "WorkerLost",
            format!(
                "the code ended the interpreter ({how}); do not call `os._exit`, do not close or \
                 kill what is not yours, and keep within the memory limit"
            ),
        ),
        Loss::Garbage(what) => rejected(
            "WorkerLost",
            format!(
                "the code disturbed the pipes of its interpreter ({what}); print to stdout, and leave file \
                 descriptors alone that it did not open"
            ),
        ),
        Loss::Processes(count) => rejected(
            "ProcessLimit",
            format!("the code started {count} processes and was stopped; start fewer at a time"),
        ),
        Loss::Start { python, why } => rejected(
            "InterpreterError",
            format!(
                "the interpreter `{python}` does not start: {why}; install Python 3.8 or newer, \
                     or name another one"
            ),
        ),
    }
}
