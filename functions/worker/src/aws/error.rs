//! What AWS says when it refuses, and what to do about it.

use serde_json::Value;

use super::request::{Request, Response};
use crate::tool::{Reaction, ToolError};
use crate::tools::http::chain;

/// Codes that ask to come again later, whatever their status.
const THROTTLED: [&str; 9] = [
    "ThrottlingException",
    "Throttling",
    "ThrottledException",
    "TooManyRequestsException",
    "RequestLimitExceeded",
    "RequestThrottled",
    "SlowDown",
    "ProvisionedThroughputExceededException",
    "EC2ThrottledException",
];

/// A request that failed, and whether to send it again at once.
pub(super) struct Failure {
    pub(super) error: ToolError,
    pub(super) again: bool,
}

/// An answer with a status outside 200..=299.
pub(super) fn refused(response: &Response, request: &Request<'_>) -> Failure {
    let status = response.status;
    let body: Value = serde_json::from_slice(&response.body).unwrap_or_default();
    let field = |names: [&str; 2]| names.iter().find_map(|name| body.get(*name)?.as_str());
    let code = response.header("x-amzn-errortype").or_else(|| field(["__type", "code"]));
    let code = code.map_or_else(|| format!("HTTP{status}"), plain_code);
    let said = field(["message", "Message"]).unwrap_or("no reason given");
    let is_throttled = status == 429 || THROTTLED.contains(&code.as_str());
    let is_transient = is_throttled || status >= 500;
    let advice = cure(&code, status, request.action, request.resource);
    let message = format!(
        "`{}` on `{}` failed with {code} (HTTP {status}): {said}; {advice}",
        request.action, request.resource
    );
    let reaction = if is_transient { Reaction::Transient } else { Reaction::Rejected };
    Failure {
        error: ToolError::new(reaction, code, message).with_status(i64::from(status)),
        // What was throttled was not begun.
        again: is_throttled || (is_transient && request.repeatable),
    }
}

/// What a person does about a code of AWS.
pub(crate) fn cure(code: &str, status: u16, action: &str, resource: &str) -> String {
    match code {
        "AccessDeniedException" | "AccessDenied" => {
            format!("allow `{action}` on `{resource}` to the role or user of these credentials")
        }
        "ExpiredTokenException" | "ExpiredToken" => {
            "the temporary credentials have expired; renew `AWS_ACCESS_KEY_ID`, \
             `AWS_SECRET_ACCESS_KEY` and `AWS_SESSION_TOKEN` (or the credential in `auth`)"
                .to_owned()
        }
        "UnrecognizedClientException"
        | "InvalidClientTokenId"
        | "InvalidAccessKeyId"
        | "SignatureDoesNotMatch"
        | "InvalidSignatureException"
        | "IncompleteSignature" => {
            "AWS does not know the key; check `AWS_ACCESS_KEY_ID` and `AWS_SECRET_ACCESS_KEY`, (or \
             the credential in `auth`), the region and the clock"
                .to_owned()
        }
        _ if THROTTLED.contains(&code) || status == 429 => {
            "AWS throttles; try again later, or raise the quota or the reserved concurrency"
                .to_owned()
        }
        "ResourceNotFoundException" | "ParameterNotFound" => {
            "check the name, the region and the account".to_owned()
        }
        "QueueDoesNotExist" | "AWS.SimpleQueueService.NonExistentQueue" => {
            "create the queue, or check its URL, the region and the endpoint".to_owned()
        }
        _ if status >= 500 => "try again; if it stays, look at the health page of AWS".to_owned(),
        _ => "check what the tool passes".to_owned(),
    }
}

/// `com.amazonaws.x#Code` and `Code:http://...` are both `Code`.
fn plain_code(code: &str) -> String {
    let code = code.rsplit('#').next().unwrap_or(code);
    code.split(':').next().unwrap_or(code).to_owned()
}

/// Why nothing was answered.
pub(super) fn unsent(error: &reqwest::Error, request: &Request<'_>, base: &str) -> Failure {
    let message = format!(
        "`{}` on `{}` did not reach {base}: {}; check the endpoint, the region and the network, \
         then try again",
        request.action,
        request.resource,
        chain(error)
    );
    Failure {
        error: ToolError::new(Reaction::Transient, "ConnectionError", message),
        again: request.repeatable || error.is_connect(),
    }
}
