//! `http`: one request, its redirects, and the answer as a value.

mod address;
mod auth;
mod client;
mod exchange;
mod request;
mod response;
mod stream;
#[cfg(test)]
mod tests;

use async_trait::async_trait;
use serde_json::{Map, Value};

pub use self::client::HttpPolicy;
pub(crate) use self::client::{Clients, chain, permit};
use self::request::Request;
pub(crate) use self::stream::HttpBody;
use crate::tool::{Call, Success, Tool, ToolError};

/// `http`: connections are kept and shared between calls.
pub struct Http {
    clients: Clients,
}

impl Http {
    /// A tool that may reach what `policy` allows.
    #[must_use]
    pub fn new(policy: HttpPolicy) -> Self {
        Self { clients: Clients::new(policy) }
    }

    /// The text that a configuration asks for, within the deadline of a call of another tool.
    ///
    /// # Errors
    /// As a call of `http` itself.
    pub(crate) async fn text(
        &self,
        mut config: Map<String, Value>,
        call: &Call<'_>,
    ) -> Result<String, ToolError> {
        config.insert("response_type".to_owned(), Value::from("text"));
        config.insert("follow_redirects".to_owned(), Value::from(true));
        let call = Call { config, args: Map::new(), context: None, ..call.clone() };
        let result = exchange::exchange(&self.clients, Request::of(&call)?, &call).await?;
        Ok(result.get("data").and_then(Value::as_str).unwrap_or_default().to_owned())
    }
}

#[async_trait]
impl Tool for Http {
    fn kind(&self) -> &'static str {
        "http"
    }

    async fn call(&self, call: &Call<'_>) -> Result<Success, ToolError> {
        let request = Request::of(call)?;
        let result = exchange::exchange(&self.clients, request, call).await?;
        Ok(Success::of(result))
    }
}
