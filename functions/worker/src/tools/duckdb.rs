//! `duckdb`.

use async_trait::async_trait;

use crate::tool::{Call, Success, Tool, ToolError};

/// `duckdb`.
#[derive(Clone, Debug, Default)]
pub struct DuckDb;

#[async_trait]
impl Tool for DuckDb {
    fn kind(&self) -> &'static str {
        "duckdb"
    }

    async fn call(&self, _call: &Call<'_>) -> Result<Success, ToolError> {
        Err(ToolError::input("`duckdb` does not run in this build"))
    }
}
