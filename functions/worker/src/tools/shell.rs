//! `shell`.

use async_trait::async_trait;

use crate::tool::{Call, Success, Tool, ToolError};

/// `shell`.
#[derive(Clone, Debug, Default)]
pub struct Shell;

#[async_trait]
impl Tool for Shell {
    fn kind(&self) -> &'static str {
        "shell"
    }

    async fn call(&self, _call: &Call<'_>) -> Result<Success, ToolError> {
        Err(ToolError::input("`shell` does not run in this build"))
    }
}
