//! What is invoked, how, and with what.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use engine_core::limits::{LAMBDA_EVENT_BYTES_MAX, LAMBDA_PAYLOAD_BYTES_MAX};
use serde_json::{Value, json};

use crate::aws::{Request, Service};
use crate::tool::{Call, ToolError};

/// One invocation, ready to be sent.
pub(super) struct Invocation {
    pub(super) function: String,
    pub(super) mode: Mode,
    qualifier: Option<String>,
    payload: Bytes,
    context: String,
}

/// Whether the answer of the function is waited for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Mode {
    Request,
    Event,
    DryRun,
}

impl Mode {
    fn of(name: &str) -> Option<Self> {
        match name.trim().to_ascii_lowercase().replace(['-', '_'], "").as_str() {
            "request" | "requestresponse" | "sync" => Some(Self::Request),
            "event" | "async" => Some(Self::Event),
            "dryrun" => Some(Self::DryRun),
            _ => None,
        }
    }

    /// As a playbook writes it.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Request => "request",
            Self::Event => "event",
            Self::DryRun => "dry_run",
        }
    }

    fn header(self) -> &'static str {
        match self {
            Self::Request => "RequestResponse",
            Self::Event => "Event",
            Self::DryRun => "DryRun",
        }
    }

    fn payload_bytes_max(self) -> usize {
        if self == Self::Event { LAMBDA_EVENT_BYTES_MAX } else { LAMBDA_PAYLOAD_BYTES_MAX }
    }
}

impl Invocation {
    /// What a call asks for.
    pub(super) fn of(call: &Call<'_>) -> Result<Self, ToolError> {
        let named = ["function", "function_name", "arn", "name"];
        let function = named.iter().find_map(|key| call.text(key)).ok_or_else(|| {
            ToolError::input("`lambda` does not know what to invoke; give `function` (name or ARN)")
        })?;
        let mode = match call.text("invocation").or_else(|| call.text("invocation_type")) {
            None => Mode::Request,
            Some(name) => Mode::of(name).ok_or_else(|| {
                ToolError::input(format!(
                    "`invocation: {name}` is unknown; it is `request`, `event` or `dry_run`"
                ))
            })?,
        };
        let given = ["payload", "data", "body"].iter().find_map(|key| call.config.get(*key));
        let payload = match given {
            Some(payload) => payload.to_string(),
            None => Value::Object(call.args.clone()).to_string(),
        };
        let limit = mode.payload_bytes_max();
        if payload.len() > limit {
            return Err(ToolError::input(format!(
                "the payload for `{function}` has {} bytes, and AWS takes at most {} MiB for \
                 `invocation: {}`; put the data into S3 and pass the key",
                payload.len(),
                limit >> 20,
                mode.name()
            )));
        }
        let context = json!({"custom": {
            "idempotency_key": call.idempotency_key,
            "execution_id": call.execution_id,
            "step": call.step,
            "attempt": call.attempt,
        }});
        Ok(Self {
            function: function.trim().to_owned(),
            mode,
            qualifier: call.text("qualifier").map(str::to_owned),
            payload: payload.into(),
            context: STANDARD.encode(context.to_string()),
        })
    }

    /// The request. It is not repeated: a function that failed may have done half of its work.
    pub(super) fn request(&self) -> Request<'_> {
        let mut path = format!("/2015-03-31/functions/{}/invocations", percent(&self.function));
        if let Some(qualifier) = &self.qualifier {
            path.push_str("?Qualifier=");
            path.push_str(&percent(qualifier));
        }
        Request {
            service: Service::Lambda,
            path,
            headers: vec![
                ("content-type", "application/json".to_owned()),
                ("x-amz-client-context", self.context.clone()),
                ("x-amz-invocation-type", self.mode.header().to_owned()),
            ],
            body: self.payload.clone(),
            action: "lambda:InvokeFunction",
            resource: &self.function,
            repeatable: self.mode == Mode::DryRun,
        }
    }
}

fn percent(text: &str) -> String {
    use std::fmt::Write as _;
    text.bytes().fold(String::with_capacity(text.len()), |mut out, byte| {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            // Writing to a String cannot fail.
            let _ = write!(out, "%{byte:02X}");
        }
        out
    })
}
