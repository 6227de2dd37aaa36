//! `lambda`.

use async_trait::async_trait;

use crate::tool::{Call, Success, Tool, ToolError};

/// `lambda`.
#[derive(Clone, Debug, Default)]
pub struct Lambda;

#[async_trait]
impl Tool for Lambda {
    fn kind(&self) -> &'static str {
        "lambda"
    }

    async fn call(&self, _call: &Call<'_>) -> Result<Success, ToolError> {
        Err(ToolError::input("`lambda` does not run in this build"))
    }
}
