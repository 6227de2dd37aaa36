//! `secrets`.

use async_trait::async_trait;

use crate::tool::{Call, Success, Tool, ToolError};

/// `secrets`.
#[derive(Clone, Debug, Default)]
pub struct SecretsTool;

#[async_trait]
impl Tool for SecretsTool {
    fn kind(&self) -> &'static str {
        "secrets"
    }

    async fn call(&self, _call: &Call<'_>) -> Result<Success, ToolError> {
        Err(ToolError::input("`secrets` does not run in this build"))
    }
}
