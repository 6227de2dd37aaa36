//! `script`.

use async_trait::async_trait;

use crate::tool::{Call, Success, Tool, ToolError};

/// `script`.
#[derive(Clone, Debug, Default)]
pub struct Script;

#[async_trait]
impl Tool for Script {
    fn kind(&self) -> &'static str {
        "script"
    }

    async fn call(&self, _call: &Call<'_>) -> Result<Success, ToolError> {
        Err(ToolError::input("`script` does not run in this build"))
    }
}
