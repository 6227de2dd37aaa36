//! `secrets`: proves that a secret exists and can be read.
//!
//! The result of a step is an event, and events are kept for good. So the value is never the result:
//! a tool that needs it names it (`{{ secret.NAME }}`, `{{ env.NAME }}`, `auth`), and the worker puts
//! it there.

mod check;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use engine_core::ports::Secrets;

use crate::aws::Aws;
use crate::tool::{Call, Success, Tool, ToolError};

/// `secrets`: `provider` is `env`, `credential`, `aws` (Secrets Manager) or `ssm`; `name` says which.
///
/// The result is `{status, name, provider, version, type, fields, reference, note}`, and holds no
/// value.
pub struct SecretsTool {
    aws: Aws,
    secrets: Option<Arc<dyn Secrets>>,
    env: BTreeMap<String, String>,
}

impl SecretsTool {
    /// A tool that knows the credentials and the environment values that templates may use, and no
    /// others.
    #[must_use]
    pub fn new(aws: Aws, secrets: Option<Arc<dyn Secrets>>, env: BTreeMap<String, String>) -> Self {
        Self { aws, secrets, env }
    }
}

#[async_trait]
impl Tool for SecretsTool {
    fn kind(&self) -> &'static str {
        "secrets"
    }

    async fn call(&self, call: &Call<'_>) -> Result<Success, ToolError> {
        check::check(self, call).await.map(Success::of)
    }
}
