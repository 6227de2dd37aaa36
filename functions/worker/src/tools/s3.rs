//! `s3`: reads, writes, lists and deletes objects of S3 and of stores that speak like it.

mod csv;
mod error;
mod format;
mod operation;
mod store;
#[cfg(test)]
mod tests;

use async_trait::async_trait;

pub use self::store::{Bucket, Reader, Writer, Written};
use crate::aws::Aws;
use crate::tool::{Call, Success, Tool, ToolError};

/// `s3`: `operation` is `get`, `put`, `list`, `delete` or `head`; a sink puts.
///
/// The result is `{status, operation, uri, bucket, key, bytes, etag}`, with `data` and `format` for
/// `get`, and `objects`, `count`, `truncated` for `list`.
pub struct S3 {
    aws: Aws,
}

impl S3 {
    /// A tool with the settings and connections of `aws`.
    #[must_use]
    pub fn new(aws: Aws) -> Self {
        Self { aws }
    }
}

#[async_trait]
impl Tool for S3 {
    fn kind(&self) -> &'static str {
        "s3"
    }

    async fn call(&self, call: &Call<'_>) -> Result<Success, ToolError> {
        let place = operation::Place::of(call)?;
        let aws = self.aws.for_tool(&call.config)?;
        let bucket = Bucket::open(&aws, &place.bucket, call.deadline)?;
        Ok(Success::of(Box::pin(operation::run(&bucket, &place, call)).await?))
    }
}
