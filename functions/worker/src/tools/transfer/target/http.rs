//! Each chunk is one request with a list of rows.

use async_trait::async_trait;
use serde_json::{Map, Value, json};

use super::Target;
use crate::tool::{Call, Tool as _, ToolError};
use crate::tools::http::Http;
use crate::tools::transfer::Row;
use crate::tools::transfer::plan::Side;

/// Sends chunks; a chunk that is sent again has the same idempotency key.
pub(super) struct HttpTarget<'a> {
    http: &'a Http,
    config: Map<String, Value>,
    /// The key of the list inside the body; the body is the list if it is not given.
    wrap: Option<String>,
    call: Call<'a>,
    chunks: u64,
}

impl<'a> HttpTarget<'a> {
    /// A target that sends with `POST` unless `method` says otherwise.
    pub(super) fn new(http: &'a Http, side: &Side, call: &Call<'a>) -> Result<Self, ToolError> {
        if let Some(mode) = side.text("mode").filter(|mode| !matches!(*mode, "append" | "insert")) {
            return Err(ToolError::input(format!(
                "`mode: {mode}` means nothing to an HTTP target: each chunk is one request; leave it out, \
                 and let `method` and `url` say what the server does"
            )));
        }
        let mut config = side.config.clone();
        config.entry("method").or_insert_with(|| json!("POST"));
        let wrap = side.text("data_path").map(str::to_owned);
        Ok(Self { http, config, wrap, call: call.clone(), chunks: 0 })
    }
}

#[async_trait]
impl Target for HttpTarget<'_> {
    async fn write(&mut self, rows: &[Row]) -> Result<u64, ToolError> {
        let rows = Value::Array(rows.iter().cloned().map(Value::Object).collect());
        let mut config = self.config.clone();
        let body = match &self.wrap {
            None => rows,
            Some(key) => {
                let mut body = match config.shift_remove("payload") {
                    Some(Value::Object(fields)) => fields,
                    _ => Map::new(),
                };
                body.insert(key.clone(), rows);
                Value::Object(body)
            }
        };
        let count = body.as_array().map_or(0, Vec::len);
        config.insert("json".to_owned(), body);
        let key = format!("{}.{}", self.call.idempotency_key, self.chunks);
        let call = Call { config, idempotency_key: &key, args: Map::new(), ..self.call.clone() };
        self.http.call(&call).await?;
        self.chunks += 1;
        Ok(u64::try_from(count).unwrap_or(u64::MAX))
    }
}
