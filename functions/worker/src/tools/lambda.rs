//! `lambda`: invokes a function of AWS Lambda.

mod invocation;
mod outcome;
#[cfg(test)]
mod tests;

use async_trait::async_trait;

use self::invocation::Invocation;
use crate::aws::Aws;
use crate::tool::{Call, Success, Tool, ToolError};

/// `lambda`: `function` (name or ARN) with `payload` or `args`; `invocation` is `request`, `event`
/// or `dry_run`.
///
/// The result is `{status, function, invocation, status_code, executed_version, data}`. An error of
/// the function is an error of the tool. The function finds the idempotency key in its client
/// context, under `custom`: a call may come twice.
pub struct Lambda {
    aws: Aws,
}

impl Lambda {
    /// A tool with the settings and connections of `aws`.
    #[must_use]
    pub fn new(aws: Aws) -> Self {
        Self { aws }
    }
}

#[async_trait]
impl Tool for Lambda {
    fn kind(&self) -> &'static str {
        "lambda"
    }

    async fn call(&self, call: &Call<'_>) -> Result<Success, ToolError> {
        let invocation = Invocation::of(call)?;
        let aws = self.aws.for_tool(&call.config)?;
        let answer = aws.send(&invocation.request(), call.deadline).await?;
        outcome::of(&invocation, &answer).map(Success::of)
    }
}
