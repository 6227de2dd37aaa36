//! `wait` and `callback`: what a step waits for has happened before its command is delivered.

use async_trait::async_trait;
use serde_json::Value;

use crate::tool::{Call, Success, Tool, ToolError};

/// Ends a wait: the queue held the command back for as long as the step asked for.
#[derive(Clone, Copy, Debug)]
pub struct Wait(&'static str);

impl Wait {
    /// `wait`: for a time.
    pub const TIME: Self = Self("wait");
    /// `callback`: until somebody answers, or for as long as the step allows.
    pub const CALLBACK: Self = Self("callback");
}

#[async_trait]
impl Tool for Wait {
    fn kind(&self) -> &'static str {
        self.0
    }

    async fn call(&self, call: &Call<'_>) -> Result<Success, ToolError> {
        Ok(Success::of(Value::Object(call.config.clone())))
    }
}
