//! `http`: one request, its redirects, and the answer as a value.

mod address;
mod auth;
mod client;
mod exchange;
mod request;
mod response;
#[cfg(test)]
mod tests;

use async_trait::async_trait;

use self::client::Clients;
pub use self::client::HttpPolicy;
use self::request::Request;
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
