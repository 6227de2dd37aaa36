//! One call on a connection: its inputs, its deadline, its errors.

use std::future::Future;

use async_nats::jetstream::{self, Context};
use async_nats::{Client, HeaderMap};
use bytes::Bytes;
use engine_core::limits::{NATS_LIST_DEFAULT, NATS_LIST_MAX, NATS_NAMES_SHOWN};
use futures_util::StreamExt as _;
use serde_json::Value;
use tokio::time::timeout_at;

use super::value;
use crate::tool::{Call, ToolError};

/// A call that has a connection.
pub(super) struct Session<'a> {
    pub(super) client: Client,
    pub(super) js: Context,
    pub(super) place: String,
    pub(super) call: &'a Call<'a>,
}

impl<'a> Session<'a> {
    pub(super) fn new(client: Client, place: String, call: &'a Call<'a>) -> Self {
        Self { js: jetstream::new(client.clone()), client, place, call }
    }

    /// What a request ends with, before the deadline.
    pub(super) async fn wait<T>(
        &self,
        what: &str,
        request: impl Future<Output = T> + Send,
    ) -> Result<T, ToolError> {
        timeout_at(self.call.deadline, request).await.map_err(|_elapsed| self.too_slow(what))
    }

    /// The first text of these keys.
    pub(super) fn text(&self, keys: &[&str], what: &str) -> Result<&'a str, ToolError> {
        let call: &'a Call<'a> = self.call;
        keys.iter().find_map(|key| call.text(key)).ok_or_else(|| {
            ToolError::input(format!("`nats` does not know {what}; give `{}`", keys[0]))
        })
    }

    /// A whole number of the configuration.
    pub(super) fn number(&self, key: &str) -> Result<Option<u64>, ToolError> {
        let number = match self.call.config.get(key) {
            None | Some(Value::Null) => return Ok(None),
            Some(Value::String(text)) => text.trim().parse().ok(),
            Some(other) => other.as_u64(),
        };
        number.map(Some).ok_or_else(|| {
            ToolError::input(format!("`{key}` is a whole number, 0 or more; correct it"))
        })
    }

    /// How many names a listing may have.
    pub(super) fn limit(&self) -> Result<usize, ToolError> {
        let limit = self
            .number("limit")?
            .map_or(NATS_LIST_DEFAULT, |limit| usize::try_from(limit).unwrap_or(usize::MAX));
        if (1..=NATS_LIST_MAX).contains(&limit) {
            return Ok(limit);
        }
        Err(ToolError::input(format!(
            "`limit` is a number from 1 to {NATS_LIST_MAX}; use `prefix` to ask for less"
        )))
    }

    /// What is written: `value`, `data` or `payload`, else the inputs.
    pub(super) fn payload(&self) -> Result<Bytes, ToolError> {
        let keys = ["value", "data", "payload", "body", "message"];
        let given = keys.iter().find_map(|key| self.call.config.get(*key));
        let inputs = Value::Object(self.call.args.clone());
        match given {
            Some(value) => value::write(value, self.call.text("encoding")),
            None if !self.call.args.is_empty() => value::write(&inputs, None),
            None => Err(ToolError::input("there is nothing to write; give `value` (or `data`)")),
        }
    }

    /// As [`Session::payload`], in the size of one message.
    pub(super) fn message(&self) -> Result<Bytes, ToolError> {
        let payload = self.payload()?;
        let limit = self.client.server_info().max_payload;
        // Headers count as well: leave room for the key of the message.
        if limit > 0 && payload.len() + self.call.idempotency_key.len() + 256 > limit {
            return Err(ToolError::input(format!(
                "the value has {} bytes, and NATS at {} takes messages of {limit}; use `object_put`, \
                 or S3",
                payload.len(),
                self.place
            )));
        }
        Ok(payload)
    }

    /// What tells this call from all others, for `Nats-Msg-Id`.
    pub(super) fn message_id(&self) -> String {
        let own = self.call.text("msg_id").or_else(|| self.call.text("message_id"));
        own.map_or_else(
            || format!("{}.{}", self.call.execution_id, self.call.idempotency_key),
            str::to_owned,
        )
    }

    /// The headers that the playbook gives, and the id.
    pub(super) fn headers(&self) -> Result<HeaderMap, ToolError> {
        let mut headers = HeaderMap::new();
        if let Some(Value::Object(given)) = self.call.config.get("headers") {
            for (name, value) in given {
                let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
                let is_name = !name.is_empty()
                    && name.bytes().all(|byte| byte.is_ascii_graphic() && byte != b':');
                if !is_name || text.contains(['\r', '\n']) {
                    return Err(ToolError::input(format!(
                        "`{name}` is no header of a message: a name has no spaces and no `:`, a \
                         value is one line"
                    )));
                }
                headers.insert(name.as_str(), text.as_str());
            }
        }
        headers.insert(async_nats::header::NATS_MESSAGE_ID, self.message_id().as_str());
        Ok(headers)
    }

    /// The streams whose names begin so, without that beginning, for an error.
    pub(super) async fn known(&self, prefix: &str) -> String {
        let mut streams = self.js.stream_names();
        let mut names = Vec::new();
        let listed = timeout_at(self.call.deadline, async {
            while let Some(Ok(name)) = streams.next().await {
                if let Some(name) = name.strip_prefix(prefix) {
                    names.push(format!("`{name}`"));
                }
                if names.len() >= NATS_NAMES_SHOWN {
                    break;
                }
            }
        });
        let is_whole = listed.await.is_ok();
        match (names.is_empty(), is_whole) {
            (true, true) => "there is none".to_owned(),
            (true, false) => "what exists could not be listed".to_owned(),
            (false, _) => format!("there is {}", names.join(", ")),
        }
    }
}
