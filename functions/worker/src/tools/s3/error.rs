//! What S3 says when it refuses.

use object_store::Error;

use crate::aws::cure;
use crate::tool::{Reaction, ToolError};
use crate::tools::http::chain;

/// What was done to what.
#[derive(Clone, Copy)]
pub(super) struct Deed<'a> {
    /// The permission that it needs, as `s3:GetObject`.
    pub(super) action: &'static str,
    pub(super) bucket: &'a str,
    pub(super) key: &'a str,
}

impl Deed<'_> {
    fn uri(self) -> String {
        format!("s3://{}/{}", self.bucket, self.key)
    }

    /// The error of a call that S3 answered otherwise than hoped for.
    pub(super) fn failed(self, error: &Error) -> ToolError {
        let text = chain(error);
        let status = status(&text);
        let code = code(&text).map_or_else(|| fallback(error, status), str::to_owned);
        let is_transient = match (error, status) {
            (_, Some(status)) => status == 429 || status >= 500,
            (Error::Generic { .. }, None) => code == "ConnectionError" || code == "SlowDown",
            _ => false,
        };
        let reaction = if is_transient { Reaction::Transient } else { Reaction::Rejected };
        let Deed { action, bucket, key } = self;
        let advice = match code.as_str() {
            "NoSuchBucket" => {
                format!("create the bucket `{bucket}`, or correct its name or region")
            }
            "NoSuchKey" => format!(
                "there is no object `{key}`; `operation: list` shows what exists, `missing_ok: \
                 true` accepts that it is missing"
            ),
            "PreconditionFailed" => "the object exists, or has changed since it was read; read it \
                                     again, or leave out `if_none_match` and `if_match`"
                .to_owned(),
            "ConnectionError" => {
                "check the endpoint, the region and the network, then try again".to_owned()
            }
            code => cure(code, status.unwrap_or(0), action, &self.uri()),
        };
        let said = said(&text, status);
        let message = format!("`{action}` on `{}` failed with {code}{said}; {advice}", self.uri());
        let error = ToolError::new(reaction, code, message);
        match status {
            Some(status) => error.with_status(i64::from(status)),
            None => error,
        }
    }

    pub(super) fn too_slow(self) -> ToolError {
        ToolError::timeout(format!(
            "`{}` on `{}` did not end in time; raise `timeout` of the step or its tool, or move less",
            self.action,
            self.uri()
        ))
    }
}

/// `<Code>NoSuchKey</Code>`.
fn code(text: &str) -> Option<&str> {
    let (_, rest) = text.split_once("<Code>")?;
    let (code, _) = rest.split_once("</Code>")?;
    let is_name = !code.is_empty() && code.bytes().all(|byte| byte.is_ascii_alphanumeric());
    is_name.then_some(code)
}

/// `status code: 503 Service Unavailable`.
fn status(text: &str) -> Option<u16> {
    let (_, rest) = text.split_once("status code: ")?;
    rest.get(..3)?.parse().ok()
}

/// A `HEAD` is answered without a body: the status must do.
fn fallback(error: &Error, status: Option<u16>) -> String {
    match (error, status) {
        (Error::NotFound { .. }, _) => "NoSuchKey".to_owned(),
        (Error::PermissionDenied { .. }, _) => "AccessDenied".to_owned(),
        (Error::Unauthenticated { .. }, _) => "InvalidAccessKeyId".to_owned(),
        (Error::AlreadyExists { .. } | Error::Precondition { .. }, _) => {
            "PreconditionFailed".to_owned()
        }
        (_, Some(status)) => format!("HTTP{status}"),
        _ => "ConnectionError".to_owned(),
    }
}

/// The message of S3, or why there is none.
fn said(text: &str, status: Option<u16>) -> String {
    let message = text.split_once("<Message>").and_then(|(_, rest)| rest.split_once("</Message>"));
    match (message, status) {
        (Some((message, _)), _) => format!(": {message}"),
        (None, Some(status)) => format!(" (HTTP {status})"),
        (None, None) => format!(": {text}"),
    }
}
