//! `rhai`: a small script inside the worker, without files, network, processes or an endless loop.

mod error;
mod run;
#[cfg(test)]
mod tests;

use std::thread;

use async_trait::async_trait;
use tokio::sync::oneshot;

use self::run::{Request, run};
use crate::tool::{Call, Reaction, Success, Tool, ToolError};

/// Bytes of stack of a thread that runs a script: what its limits on depth can use, several times.
const STACK_BYTES: usize = 16 << 20;

/// `rhai`: every call has an engine and a thread of its own.
#[derive(Clone, Debug, Default)]
pub struct Rhai;

#[async_trait]
impl Tool for Rhai {
    fn kind(&self) -> &'static str {
        "rhai"
    }

    async fn call(&self, call: &Call<'_>) -> Result<Success, ToolError> {
        let Some(code) = call.text("code") else {
            return Err(ToolError::input("the `rhai` tool needs `code`, the text of a script"));
        };
        let request = Request {
            code: code.to_owned(),
            args: call.args.clone(),
            deadline: call.deadline.into_std(),
        };
        let (sender, receiver) = oneshot::channel();
        // A thread of its own: a script may use more stack than those of the runtime have.
        let thread = thread::Builder::new().name("rhai".to_owned()).stack_size(STACK_BYTES);
        let started = thread.spawn(move || drop(sender.send(run(&request))));
        started.map_err(|error| {
            let message = format!("no thread for the script: {error}; run fewer calls at once");
            ToolError::new(Reaction::Transient, "WorkerError", message)
        })?;
        receiver.await.unwrap_or_else(|_lost| {
            let message = "the script broke its thread; write it in a simpler way, or use `python`";
            Err(ToolError::new(Reaction::Rejected, "WorkerLost", message))
        })
    }
}
