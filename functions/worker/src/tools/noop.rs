//! Nothing, successfully: steps that only route.

use async_trait::async_trait;
use serde_json::{Map, Value};

use crate::tool::{Call, Success, Tool, ToolError};

/// `noop`: an empty result.
#[derive(Clone, Copy, Debug, Default)]
pub struct Noop;

#[async_trait]
impl Tool for Noop {
    fn kind(&self) -> &'static str {
        "noop"
    }

    async fn call(&self, _call: &Call<'_>) -> Result<Success, ToolError> {
        Ok(Success::of(Value::Object(Map::new())))
    }
}
