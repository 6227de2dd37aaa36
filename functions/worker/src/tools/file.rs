//! `file`.

use async_trait::async_trait;

use crate::tool::{Call, Success, Tool, ToolError};

/// `file`.
#[derive(Clone, Debug, Default)]
pub struct FileSink;

#[async_trait]
impl Tool for FileSink {
    fn kind(&self) -> &'static str {
        "file"
    }

    async fn call(&self, _call: &Call<'_>) -> Result<Success, ToolError> {
        Err(ToolError::input("`file` does not run in this build"))
    }
}
