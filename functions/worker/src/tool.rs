//! What a tool is: one kind of work, and why it may fail.

use async_trait::async_trait;
use engine_core::event::ToolFailure;
use serde_json::{Map, Value};
use tokio::sync::watch;
use tokio::time::Instant;

/// One kind of work a playbook step can ask for.
#[async_trait]
pub trait Tool: Send + Sync {
    /// The `tool.kind` this answers to; also the stem of its queue and function.
    fn kind(&self) -> &'static str;

    /// Runs once; may run again for the same `idempotency_key`, as delivery is at least once.
    ///
    /// # Errors
    /// [`ToolError`], its kind by what the caller should do.
    async fn call(&self, call: &Call<'_>) -> Result<Success, ToolError>;
}

/// One call: everything is rendered, nothing is left to look up.
#[derive(Clone, Debug)]
pub struct Call<'a> {
    /// The tool's configuration.
    pub config: Map<String, Value>,
    /// The inputs, with their native types.
    pub args: Map<String, Value>,
    /// The variables that the code names, for tools that run code.
    pub context: Option<Map<String, Value>>,
    /// The same for all attempts of one command or iteration.
    pub idempotency_key: &'a str,
    /// When the call must have ended.
    pub deadline: Instant,
    /// 1-based.
    pub attempt: u32,
    /// The execution, as decimal text.
    pub execution_id: &'a str,
    /// The step's name.
    pub step: &'a str,
    /// Whether it saves what a step has done: the tool is a sink.
    pub saves: bool,
    /// Where a long call says how far it is.
    pub progress: Progress,
}

impl Call<'_> {
    /// The text of a configuration key; none if it is missing, blank, or no text.
    #[must_use]
    pub fn text(&self, key: &str) -> Option<&str> {
        self.config.get(key).and_then(Value::as_str).filter(|text| !text.trim().is_empty())
    }

    /// A configuration switch, also as the text `true` or `false`.
    #[must_use]
    pub fn flag(&self, key: &str) -> Option<bool> {
        match self.config.get(key)? {
            Value::Bool(flag) => Some(*flag),
            Value::String(text) => text.trim().to_ascii_lowercase().parse().ok(),
            _ => None,
        }
    }
}

/// How far a long call is: whoever listens sees the newest report, not every one.
#[derive(Clone, Debug, Default)]
pub struct Progress(Option<watch::Sender<Value>>);

impl Progress {
    /// Reports that arrive at `listener`.
    #[must_use]
    pub fn to(listener: watch::Sender<Value>) -> Self {
        Self(Some(listener))
    }

    /// Replaces the report before; nothing happens where nobody listens.
    pub fn report(&self, value: Value) {
        if let Some(listener) = &self.0 {
            listener.send_replace(value);
        }
    }
}

/// What a call that worked left.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Success {
    /// The step's result.
    pub result: Value,
    /// What the tool printed.
    pub output: String,
}

impl Success {
    /// A result without printed output.
    #[must_use]
    pub fn of(result: Value) -> Self {
        Self { result, output: String::new() }
    }
}

/// What to do about a failed call.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Reaction {
    /// The playbook must change: a missing field, a wrong type, a template without a value.
    Input,
    /// The other side said no, and would say no again.
    Rejected,
    /// Trying again may help.
    Transient,
}

/// The kind of the error of a call that ran out of time.
pub const TIMEOUT: &str = "TimeoutError";

/// A failed call. Boxed inside, so that a result stays small.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{}: {}", .0.kind, .0.message)]
pub struct ToolError(Box<Parts>);

#[derive(Clone, Debug)]
struct Parts {
    reaction: Reaction,
    kind: String,
    message: String,
    status: Option<i64>,
    traceback: Option<String>,
    result: Value,
    output: String,
}

impl ToolError {
    /// An error of that reaction; `kind` is the name that rules compare with `error.type`.
    #[must_use]
    pub fn new(reaction: Reaction, kind: impl Into<String>, message: impl Into<String>) -> Self {
        Self(Box::new(Parts {
            reaction,
            kind: kind.into(),
            message: message.into(),
            status: None,
            traceback: None,
            result: Value::Null,
            output: String::new(),
        }))
    }

    /// The playbook must change.
    #[must_use]
    pub fn input(message: impl Into<String>) -> Self {
        Self::new(Reaction::Input, "InputError", message)
    }

    /// The call ran out of time.
    #[must_use]
    pub fn timeout(message: impl Into<String>) -> Self {
        Self::new(Reaction::Transient, TIMEOUT, message)
    }

    /// Adds the HTTP status.
    #[must_use]
    pub fn with_status(mut self, status: i64) -> Self {
        self.0.status = Some(status);
        self
    }

    /// Tells the same error with more of its circumstances.
    #[must_use]
    pub fn with_message(mut self, message: impl Into<String>) -> Self {
        self.0.message = message.into();
        self
    }

    /// Adds the user's own lines of a traceback.
    #[must_use]
    pub fn with_traceback(mut self, traceback: String) -> Self {
        self.0.traceback = Some(traceback).filter(|text| !text.is_empty());
        self
    }

    /// Adds what the tool returned beside the error.
    #[must_use]
    pub fn with_result(mut self, result: Value) -> Self {
        self.0.result = result;
        self
    }

    /// Adds what the tool printed.
    #[must_use]
    pub fn with_output(mut self, output: String) -> Self {
        self.0.output = output;
        self
    }

    /// The same error with another wording.
    #[must_use]
    pub(crate) fn reworded(mut self, word: impl FnOnce(String) -> String) -> Self {
        self.0.message = word(std::mem::take(&mut self.0.message));
        self
    }

    /// What to do about it.
    #[must_use]
    pub fn reaction(&self) -> Reaction {
        self.0.reaction
    }

    /// The name that rules compare with `error.type`.
    #[must_use]
    pub fn kind(&self) -> &str {
        &self.0.kind
    }

    /// What happened, and how to cure it.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.0.message
    }

    /// The failure as rules and people see it, what was returned beside it, and what was printed.
    #[must_use]
    pub fn into_failure(self) -> (ToolFailure, Success) {
        let parts = *self.0;
        let failure = ToolFailure {
            kind: parts.kind,
            message: parts.message,
            status: parts.status,
            retryable: parts.reaction == Reaction::Transient,
            traceback: parts.traceback,
        };
        (failure, Success { result: parts.result, output: parts.output })
    }
}
