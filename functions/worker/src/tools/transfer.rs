//! `transfer`.

use async_trait::async_trait;

use crate::tool::{Call, Success, Tool, ToolError};

/// `transfer`.
#[derive(Clone, Debug, Default)]
pub struct Transfer;

#[async_trait]
impl Tool for Transfer {
    fn kind(&self) -> &'static str {
        "transfer"
    }

    async fn call(&self, _call: &Call<'_>) -> Result<Success, ToolError> {
        Err(ToolError::input("`transfer` does not run in this build"))
    }
}
