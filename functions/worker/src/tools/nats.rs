//! `nats`.

use async_trait::async_trait;

use crate::tool::{Call, Success, Tool, ToolError};

/// `nats`.
#[derive(Clone, Debug, Default)]
pub struct Nats;

#[async_trait]
impl Tool for Nats {
    fn kind(&self) -> &'static str {
        "nats"
    }

    async fn call(&self, _call: &Call<'_>) -> Result<Success, ToolError> {
        Err(ToolError::input("`nats` does not run in this build"))
    }
}
