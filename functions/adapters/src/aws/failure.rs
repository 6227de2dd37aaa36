//! What a failed request to AWS means to its caller.

use std::error::Error as StdError;

use aws_credential_types::provider::error::CredentialsError;
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use aws_smithy_runtime_api::client::result::SdkError;
use aws_smithy_types::error::metadata::ProvideErrorMetadata;
use engine_core::ports::{PortError, PortErrorKind};

/// A request, as a person would name it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asked<'a> {
    /// The permission that it needs, such as `dynamodb:PutItem`.
    pub(super) action: &'static str,
    /// What it is done to, such as ``table `state` ``.
    pub(super) resource: &'a str,
    /// The variable that names the resource.
    pub(super) variable: &'a str,
}

/// What AWS answered, when it answered.
#[derive(Clone, Copy, Debug)]
pub(super) struct Answered<'a> {
    pub(super) status: u16,
    pub(super) code: &'a str,
    pub(super) message: &'a str,
}

/// Codes of AWS that mean "later", whatever the status.
const LATER: [&str; 14] = [
    "ExpiredToken",
    "ExpiredTokenException",
    "InternalServerError",
    "KmsThrottled",
    "OperationAborted",
    "OverLimit",
    "ProvisionedThroughputExceededException",
    "RequestLimitExceeded",
    "RequestThrottled",
    "RequestTimeout",
    "SlowDown",
    "Throttling",
    "ThrottlingException",
    "TransactionConflictException",
];
/// Codes of AWS for a resource that is not there.
const MISSING: [&str; 6] = [
    "AWS.SimpleQueueService.NonExistentQueue",
    "NoSuchBucket",
    "QueueDoesNotExist",
    "ResourceNotFoundException",
    "TableNotFoundException",
    "com.amazonaws.sqs#QueueDoesNotExist",
];
/// Codes of AWS for somebody who may not.
const DENIED: [&str; 7] = [
    "AccessDenied",
    "AccessDeniedException",
    "AllAccessDisabled",
    "InvalidAccessKeyId",
    "InvalidSignatureException",
    "SignatureDoesNotMatch",
    "UnrecognizedClientException",
];

/// Kind by reaction, and the cure.
pub(super) fn failure<E>(error: SdkError<E, HttpResponse>, asked: &Asked<'_>) -> PortError
where
    E: StdError + ProvideErrorMetadata + Send + Sync + 'static,
{
    let Asked { action, resource, .. } = asked;
    if is_without_credentials(&error) {
        let message = format!(
            "there are no credentials for `{action}` on {resource}; give the function its role, or set \
             `AWS_PROFILE` or `AWS_ACCESS_KEY_ID` and `AWS_SECRET_ACCESS_KEY`"
        );
        return PortError::caused(PortErrorKind::Refused, message, error);
    }
    if let SdkError::ConstructionFailure(_) = &error {
        let message = format!("`{action}` on {resource} could not be prepared");
        return PortError::caused(PortErrorKind::Unavailable, message, error);
    }
    let Some(status) = error.raw_response().map(|response| response.status().as_u16()) else {
        return PortError::caused(PortErrorKind::Unavailable, unanswered(asked), error);
    };
    let code = error.code().unwrap_or_default().to_owned();
    let said = error.message().unwrap_or_default().to_owned();
    let answered = Answered { status, code: &code, message: &said };
    let (kind, message) = judged(answered, asked);
    PortError::caused(kind, message, error)
}

pub(super) fn unanswered(asked: &Asked<'_>) -> String {
    let Asked { action, resource, .. } = asked;
    format!("`{action}` on {resource} was not answered; it may have been done")
}

/// What an answer that is no success means.
pub(super) fn judged(answered: Answered<'_>, asked: &Asked<'_>) -> (PortErrorKind, String) {
    let Answered { status, code, message } = answered;
    let Asked { action, resource, variable } = asked;
    let shown = if code.is_empty() { format!("status {status}") } else { code.to_owned() };
    if status >= 500 || status == 429 || LATER.contains(&code) {
        let message = format!("`{action}` on {resource} is not served now ({shown})");
        return (PortErrorKind::Unavailable, message);
    }
    let message = if MISSING.contains(&code) {
        format!(
            "{resource} does not exist ({shown}); `{variable}` names it, and the template creates it \
             (see `infra/README.md`)"
        )
    } else if DENIED.contains(&code) || status == 403 {
        format!(
            "`{action}` on {resource} is not allowed ({shown}); add the permission to the role of this \
             function (see `infra/README.md`)"
        )
    } else if message.contains("Item size") {
        too_large(resource)
    } else if message.is_empty() {
        format!("`{action}` on {resource} is refused ({shown})")
    } else {
        format!("`{action}` on {resource} is refused ({shown}): {message}")
    };
    (PortErrorKind::Refused, message)
}

pub(super) fn too_large(resource: &str) -> String {
    format!(
        "the entry is larger than an item of {resource} can be (400 KB); let steps return less, or put \
         their results into S3 and return the keys"
    )
}

/// Whether nobody has said who asks; a provider that does not answer is another matter.
fn is_without_credentials(error: &(dyn StdError + 'static)) -> bool {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(CredentialsError::CredentialsNotLoaded(_)) = error.downcast_ref() {
            return true;
        }
        next = error.source();
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    const ASKED: Asked<'_> = Asked {
        action: "dynamodb:PutItem",
        resource: "table `state`",
        variable: "NOETL_STATE_TABLE",
    };

    #[test]
    fn an_answer_is_judged_by_what_the_caller_can_do() {
        use PortErrorKind::{Refused, Unavailable};
        #[rustfmt::skip]
        let cases = [
            (500, "", "", Unavailable, "is not served now (status 500)"),
            (400, "ProvisionedThroughputExceededException", "", Unavailable, "is not served now"),
            (400, "ThrottlingException", "", Unavailable, "is not served now"),
            (503, "SlowDown", "", Unavailable, "is not served now"),
            (400, "ResourceNotFoundException", "", Refused, "table `state` does not exist (ResourceNotFoundException); `NOETL_STATE_TABLE` names it"),
            (400, "AccessDeniedException", "", Refused, "`dynamodb:PutItem` on table `state` is not allowed"),
            (403, "", "", Refused, "is not allowed (status 403)"),
            (400, "ValidationException", "Item size has exceeded the maximum allowed size", Refused, "larger than an item"),
            (400, "ValidationException", "no such key", Refused, "is refused (ValidationException): no such key"),
        ];
        for (status, code, message, expect, text) in cases {
            let (kind, told) = judged(Answered { status, code, message }, &ASKED);
            assert_eq!(kind, expect, "{code}");
            assert!(told.contains(text), "{told}");
        }
    }
}
