//! Invoking a function on behalf of something that triggers it.

use bytes::Bytes;
use serde_json::Value;
use tokio::time::{Instant, timeout_at};

use super::error::refused;
use super::request::too_slow;
use super::{Aws, Request, Response, Service};
use crate::tool::ToolError;

/// How an invocation ended that reached its function, or found that there is none.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Invoked {
    /// What the function returned, as JSON; nothing at all counts as null.
    Answered(Vec<u8>),
    /// The function raised an error: its type and its message.
    Raised(String),
    /// There is no such function; what the other side says about it.
    Unknown(String),
}

impl Aws {
    /// Invokes a function once with this JSON, and waits for its end.
    ///
    /// Never repeated: whoever triggers a function knows best what a lost answer means. An error of
    /// the function is one with the header of Lambda, or a status of 500 and above, which is how
    /// `cargo lambda watch` tells it.
    ///
    /// # Errors
    /// `ConnectionError` if nothing was answered, `TimeoutError` at the deadline; the code that AWS
    /// gives if it refuses.
    pub async fn invoke(
        &self,
        function: &str,
        payload: Bytes,
        deadline: Instant,
    ) -> Result<Invoked, ToolError> {
        let request = Request {
            service: Service::Lambda,
            path: format!("/2015-03-31/functions/{function}/invocations"),
            headers: vec![("content-type", "application/json".to_owned())],
            body: payload,
            action: "lambda:InvokeFunction",
            resource: function,
            repeatable: false,
        };
        match timeout_at(deadline, self.exchange(&request)).await {
            Err(_elapsed) => Err(too_slow(&request)),
            Ok(Err(failure)) => Err(failure.error),
            Ok(Ok(response)) => match response.status {
                200..300 if response.header("x-amz-function-error").is_none() => {
                    Ok(Invoked::Answered(response.body))
                }
                200..300 | 500.. => Ok(Invoked::Raised(raised(&response))),
                404 => Ok(Invoked::Unknown(said(&response))),
                _ => Err(refused(&response, &request).error),
            },
        }
    }
}

/// Type and message of a function's error, or the text that stands for them.
fn raised(response: &Response) -> String {
    let body: Value = serde_json::from_slice(&response.body).unwrap_or_default();
    let text = |name: &str| body.get(name).and_then(Value::as_str);
    match (text("errorType"), text("errorMessage")) {
        (Some(kind), Some(message)) => format!("{kind}: {message}"),
        (_, Some(message)) => message.to_owned(),
        _ => said(response),
    }
}

/// What an answer says beside its status.
fn said(response: &Response) -> String {
    let body: Value = serde_json::from_slice(&response.body).unwrap_or_default();
    let mut texts = ["detail", "Message", "message"].iter().filter_map(|name| body.get(name));
    match texts.find_map(Value::as_str) {
        Some(text) => text.to_owned(),
        None if response.body.is_empty() => format!("HTTP {} without a word", response.status),
        None => String::from_utf8_lossy(&response.body).into_owned(),
    }
}
