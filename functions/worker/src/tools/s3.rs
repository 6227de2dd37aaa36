//! `s3`.

use async_trait::async_trait;

use crate::tool::{Call, Success, Tool, ToolError};

/// `s3`.
#[derive(Clone, Debug, Default)]
pub struct S3;

#[async_trait]
impl Tool for S3 {
    fn kind(&self) -> &'static str {
        "s3"
    }

    async fn call(&self, _call: &Call<'_>) -> Result<Success, ToolError> {
        Err(ToolError::input("`s3` does not run in this build"))
    }
}
