//! `nats`: key-value and object buckets, streams and messages of NATS.

mod connection;
mod error;
mod kv;
mod names;
mod object;
mod session;
mod settings;
mod stream;
#[cfg(test)]
mod tests;
mod value;

use async_trait::async_trait;
use serde_json::{Map, Value, json};

use self::connection::Connections;
use self::session::Session;
use self::settings::Settings;
use crate::tool::{Call, Success, Tool, ToolError};
use crate::tools::http::HttpPolicy;

/// What can be asked for.
const OPERATIONS: [&str; 14] = [
    "kv_get",
    "kv_put",
    "kv_delete",
    "kv_keys",
    "kv_purge",
    "object_get",
    "object_put",
    "object_delete",
    "object_list",
    "object_info",
    "js_publish",
    "js_get_msg",
    "js_stream_info",
    "publish",
];

/// `nats`: one of the operations above; connections are kept and shared between calls.
///
/// Every result begins with `{status, operation}`. Writes carry the idempotency key as
/// `Nats-Msg-Id`: within the window of its stream a repeated call counts once.
pub struct Nats {
    connections: Connections,
}

impl Nats {
    /// A tool that may reach what `policy` allows.
    #[must_use]
    pub fn new(policy: HttpPolicy) -> Self {
        Self { connections: Connections::new(policy) }
    }
}

#[async_trait]
impl Tool for Nats {
    fn kind(&self) -> &'static str {
        "nats"
    }

    async fn call(&self, call: &Call<'_>) -> Result<Success, ToolError> {
        let operation = operation(call)?;
        let settings = Settings::of(call)?;
        let client = self.connections.client(&settings, call.deadline).await?;
        let session = Session::new(client, settings.place(), call);
        let done = match operation {
            "kv_get" => kv::get(&session).await,
            "kv_put" => kv::put(&session).await,
            "kv_delete" => kv::remove(&session, false).await,
            "kv_purge" => kv::remove(&session, true).await,
            "kv_keys" => kv::keys(&session).await,
            "object_get" => object::get(&session).await,
            "object_put" => object::put(&session).await,
            "object_delete" => object::delete(&session).await,
            "object_list" => object::list(&session).await,
            "object_info" => object::info(&session).await,
            "js_publish" => stream::publish(&session).await,
            "js_get_msg" => stream::message(&session).await,
            "js_stream_info" => stream::info(&session).await,
            _ => stream::send(&session).await,
        };
        let mut result = Map::new();
        result.insert("status".to_owned(), json!("success"));
        result.insert("operation".to_owned(), json!(operation));
        result.extend(done?);
        Ok(Success::of(Value::Object(result)))
    }
}

fn operation(call: &Call<'_>) -> Result<&'static str, ToolError> {
    let given = call.text("operation").unwrap_or_default().trim().to_ascii_lowercase();
    OPERATIONS.into_iter().find(|known| *known == given).ok_or_else(|| {
        let what = if given.is_empty() {
            "`operation` is missing".to_owned()
        } else {
            format!("`{given}` is no operation of `nats`")
        };
        ToolError::input(format!("{what}; it is one of {}", OPERATIONS.join(", ")))
    })
}
