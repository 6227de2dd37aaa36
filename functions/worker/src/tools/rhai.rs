//! `rhai`.

use async_trait::async_trait;

use crate::tool::{Call, Success, Tool, ToolError};

/// `rhai`.
#[derive(Clone, Debug, Default)]
pub struct Rhai;

#[async_trait]
impl Tool for Rhai {
    fn kind(&self) -> &'static str {
        "rhai"
    }

    async fn call(&self, _call: &Call<'_>) -> Result<Success, ToolError> {
        Err(ToolError::input("`rhai` does not run in this build"))
    }
}
