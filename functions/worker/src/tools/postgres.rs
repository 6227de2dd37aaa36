//! `postgres`.

use async_trait::async_trait;

use crate::tool::{Call, Success, Tool, ToolError};

/// `postgres`.
#[derive(Clone, Debug, Default)]
pub struct Postgres;

#[async_trait]
impl Tool for Postgres {
    fn kind(&self) -> &'static str {
        "postgres"
    }

    async fn call(&self, _call: &Call<'_>) -> Result<Success, ToolError> {
        Err(ToolError::input("`postgres` does not run in this build"))
    }
}
