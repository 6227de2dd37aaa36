//! The operations of SQS, in its JSON protocol.

use serde_json::Value;
use tokio::time::Instant;

use super::{Aws, Request, Service};
use crate::tool::{Reaction, ToolError};

/// Operations that done twice are not as done once.
const ONCE: [&str; 3] = ["ReceiveMessage", "SendMessage", "SendMessageBatch"];

impl Aws {
    /// Asks SQS for one operation; `action` is the permission for it, such as `sqs:ReceiveMessage`.
    ///
    /// `queue` is what errors name, by URL or by name; the operation reads the one in `body`. An empty
    /// answer is null.
    ///
    /// # Errors
    /// As every request to AWS; `QueueDoesNotExist` if there is no such queue, `DecodeError` if the
    /// answer is no JSON.
    pub async fn sqs(
        &self,
        action: &'static str,
        queue: &str,
        body: &Value,
        deadline: Instant,
    ) -> Result<Value, ToolError> {
        let operation = action.strip_prefix("sqs:").unwrap_or(action);
        let request = Request {
            service: Service::Sqs,
            path: "/".to_owned(),
            headers: vec![
                ("content-type", "application/x-amz-json-1.0".to_owned()),
                ("x-amz-target", format!("AmazonSQS.{operation}")),
            ],
            body: body.to_string().into(),
            action,
            resource: queue,
            repeatable: !ONCE.contains(&operation),
        };
        let answer = self.send(&request, deadline).await?;
        if answer.body.is_empty() {
            return Ok(Value::Null);
        }
        serde_json::from_slice(&answer.body).map_err(|error| {
            let message = format!(
                "the answer to `{action}` on `{queue}` is no JSON ({error}); check that the endpoint \
                 is one of SQS"
            );
            ToolError::new(Reaction::Rejected, "DecodeError", message)
        })
    }
}
