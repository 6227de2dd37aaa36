//! From Lambda's events to a handler and back: what the processes of all functions have in common.
//!
//! # Layout
//!
//! * this file: the life of a process. `sqs`: events of queues, and the answer to them.

pub mod sqs;

use std::env;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use engine_core::limits::FUNCTION_MARGIN_MS;
use engine_core::ports::{Clock as _, PortError, PortErrorKind, Ports, StateStore};
use lambda_runtime::{Diagnostic, LambdaEvent, service_fn};
use serde_json::Value;
use tokio::runtime::Builder;
use tokio::time::Instant;
use tracing::error;

use crate::aws::Aws;
pub use crate::causes::chain;
use crate::clock::SystemClock;
use crate::cloud::Cloud;
use crate::executions::Executions;
use crate::options::Options;
use crate::telemetry::{self, Metrics};

/// What only a process that Lambda started is given.
const RUNTIME: &str = "AWS_LAMBDA_RUNTIME_API";

/// What a function works with, built before its first event.
pub struct Function {
    /// The account.
    pub aws: Aws,
    /// The log and the states, wherever the environment puts them.
    pub store: Arc<dyn StateStore>,
    /// The executions in it.
    pub executions: Arc<dyn Executions>,
    /// What it tells of its work.
    pub metrics: Metrics,
}

impl Function {
    /// The driver's view.
    #[must_use]
    pub fn ports(&self) -> Ports {
        Ports { store: self.store.clone(), ..self.aws.ports() }
    }
}

/// One call of a function.
#[derive(Clone, Debug)]
pub struct Invocation {
    /// What it is called with.
    pub event: Value,
    /// When it must have stopped; none where nobody says.
    pub deadline: Option<Instant>,
}

/// Why a call has no answer: Lambda tells its caller, or calls again.
#[derive(Debug, thiserror::Error)]
pub enum Refused {
    /// The event is none that this function is for.
    #[error("{0}")]
    Event(String),
    /// A port did not do its part.
    #[error(transparent)]
    Port(#[from] PortError),
}

impl From<Refused> for Diagnostic {
    fn from(refused: Refused) -> Self {
        let error_type = match &refused {
            Refused::Event(_) => "InvalidEvent",
            Refused::Port(error) => match error.kind {
                PortErrorKind::Conflict => "Conflict",
                PortErrorKind::Unavailable => "Unavailable",
                PortErrorKind::NotFound => "NotFound",
                PortErrorKind::Corrupt => "Corrupt",
                PortErrorKind::Refused => "Refused",
            },
        };
        Self { error_type: error_type.to_owned(), error_message: chain(&refused) }
    }
}

/// What a function does.
#[async_trait]
pub trait Handler: Send + Sync {
    /// Answers one call.
    ///
    /// # Errors
    /// [`Refused`], for the whole call: Lambda delivers all of its messages again.
    async fn handle(&self, invocation: Invocation) -> Result<Value, Refused>;
}

/// The life of a function's process: reads its environment, opens AWS, and answers calls until the end.
///
/// What is wrong with the environment is logged, in one line, and ends the process.
///
/// All of it is compiled into the crate that calls this: a library, where several programs share it.
#[must_use]
pub fn run<H: Handler>(threads: &mut Builder, make: impl FnOnce(Function) -> H) -> ExitCode {
    telemetry::log(|name| env::var(name).ok());
    match threads.enable_all().build() {
        Ok(runtime) => runtime.block_on(serve(make)),
        Err(problem) => {
            error!(error = chain(&problem), "the function has no thread to run on");
            ExitCode::FAILURE
        }
    }
}

async fn serve<H: Handler>(make: impl FnOnce(Function) -> H) -> ExitCode {
    let lookup = |name: &str| env::var(name).ok();
    let handler = match open(lookup).await {
        Ok(function) => make(function),
        Err(problem) => {
            error!(error = chain(&problem), "the function cannot begin");
            return ExitCode::FAILURE;
        }
    };
    let handler = &handler;
    let served = lambda_runtime::run(service_fn(async |called: LambdaEvent<Value>| {
        let deadline = deadline(called.context.deadline, SystemClock.now_ms());
        let answered = handler.handle(Invocation { event: called.payload, deadline }).await;
        answered.inspect_err(|refused| error!(error = chain(refused), "the call has no answer"))
    }));
    match served.await {
        Ok(()) => ExitCode::SUCCESS,
        Err(problem) => {
            error!(error = chain(&*problem), "Lambda does not answer");
            ExitCode::FAILURE
        }
    }
}

async fn open(lookup: impl Fn(&str) -> Option<String>) -> Result<Function, PortError> {
    if lookup(RUNTIME).is_none() {
        let message = format!(
            "this program is a Lambda function, and `{RUNTIME}` is not set; deploy it, or run it with \
             `cargo lambda watch`"
        );
        return Err(PortError::new(PortErrorKind::Refused, message));
    }
    let options = Options::of_engine(Arc::new(SystemClock));
    let Cloud { aws, store, executions } = Cloud::open(&lookup, options).await?;
    Ok(Function { aws, store, executions, metrics: Metrics::from_lookup(&lookup) })
}

/// When a call must have stopped. Emulators of Lambda give a time of 1970, which counts as none.
fn deadline(end_ms: u64, now_ms: i64) -> Option<Instant> {
    let end_ms = i64::try_from(end_ms).unwrap_or(i64::MAX);
    if end_ms <= now_ms {
        return None;
    }
    let left_ms = u64::try_from(end_ms - now_ms - FUNCTION_MARGIN_MS).unwrap_or_default();
    Instant::now().checked_add(Duration::from_millis(left_ms))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deadline_leaves_a_margin_and_one_of_1970_is_none() {
        let now_ms = 1_700_000_000_000;
        let until = |end_ms: i64| {
            let begun = Instant::now();
            let until = deadline(end_ms.cast_unsigned(), now_ms);
            until.map(|until| until.saturating_duration_since(begun).as_secs())
        };
        assert_eq!(until(600_000), None);
        assert_eq!(until(now_ms), None);
        assert_eq!(until(now_ms + 1_000), Some(0));
        assert!(until(now_ms + 30_000).is_some_and(|left_s| left_s >= 28));
    }

    #[test]
    fn whoever_runs_a_function_by_hand_is_told_what_it_is() {
        let runtime = Builder::new_current_thread().build().unwrap();
        let said = |lookup: fn(&str) -> Option<String>| {
            let opened = runtime.block_on(open(lookup));
            opened.err().map(|error| error.to_string()).unwrap_or_default()
        };
        assert!(said(|_| None).contains("`cargo lambda watch`"));
        let named = said(|name| (name == RUNTIME).then(|| "127.0.0.1:9".to_owned()));
        assert!(named.starts_with("missing environment variables: NOETL_STATE_TABLE, "), "{named}");
    }

    #[test]
    fn a_refused_call_names_its_kind_and_all_causes() {
        let cause = io_error();
        let error = PortError::caused(PortErrorKind::Unavailable, "no answer", cause);
        let told = Diagnostic::from(Refused::Port(error));
        assert_eq!(
            (told.error_type.as_str(), told.error_message.as_str()),
            ("Unavailable", "no answer: reset")
        );
        let told = Diagnostic::from(Refused::Event("no".to_owned()));
        assert_eq!(told.error_type, "InvalidEvent");
    }

    fn io_error() -> std::io::Error {
        std::io::Error::other("reset")
    }
}
