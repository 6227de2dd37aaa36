//! `sqlite`.

use async_trait::async_trait;

use crate::tool::{Call, Success, Tool, ToolError};

/// `sqlite`.
#[derive(Clone, Debug, Default)]
pub struct Sqlite;

#[async_trait]
impl Tool for Sqlite {
    fn kind(&self) -> &'static str {
        "sqlite"
    }

    async fn call(&self, _call: &Call<'_>) -> Result<Success, ToolError> {
        Err(ToolError::input("`sqlite` does not run in this build"))
    }
}
