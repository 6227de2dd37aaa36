//! A queue of SQS: what it is, what it gives out, what is deleted.

use std::time::Duration;

use anyhow::Context as _;
use engine_core::limits::{ESM_POLL_MARGIN_MS, ESM_POLL_S, ESM_REQUEST_MS};
use serde_json::{Value, json};
use tokio::time::Instant;
use worker::aws::Aws;
use worker::tool::ToolError;

use super::message::Message;
use crate::ending::invalid;

/// What a queue says about itself.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Facts {
    pub(super) arn: String,
    /// Milliseconds until a message that is not deleted is given out again.
    pub(super) visibility_ms: u64,
    pub(super) is_fifo: bool,
}

impl Facts {
    /// The region of `arn:aws:sqs:REGION:ACCOUNT:NAME`.
    pub(super) fn region(&self) -> &str {
        self.arn.split(':').nth(3).unwrap_or_default()
    }
}

/// One queue.
#[derive(Clone)]
pub(super) struct Queue {
    aws: Aws,
    url: String,
    pub(super) facts: Facts,
}

impl Queue {
    /// Asks a queue what it is.
    ///
    /// # Errors
    /// Invalid input: there is no such queue, or nothing that could know.
    pub(super) async fn open(aws: &Aws, url: &str) -> anyhow::Result<Self> {
        let body = json!({"QueueUrl": url, "AttributeNames": ["All"]});
        let asked = aws.sqs("sqs:GetQueueAttributes", url, &body, soon(ESM_REQUEST_MS)).await;
        let answer = asked.context("a queue cannot be polled").map_err(invalid)?;
        let text = |name: &str| answer["Attributes"][name].as_str().unwrap_or_default();
        let visibility_s: u64 = text("VisibilityTimeout").parse().unwrap_or_default();
        let facts = Facts {
            arn: text("QueueArn").to_owned(),
            // A message that is never hidden could not be worked on.
            visibility_ms: visibility_s.max(1) * 1_000,
            is_fifo: text("FifoQueue") == "true",
        };
        Ok(Self { aws: aws.clone(), url: url.to_owned(), facts })
    }

    /// The last part of its URL.
    pub(super) fn name(&self) -> &str {
        self.url.rsplit('/').next().unwrap_or_default()
    }

    /// Waits for messages; none if none came in time.
    ///
    /// # Errors
    /// As every request to AWS.
    pub(super) async fn receive(&self, most: usize) -> Result<Vec<Message>, ToolError> {
        let body = json!({
            "QueueUrl": self.url,
            "MaxNumberOfMessages": most,
            "WaitTimeSeconds": ESM_POLL_S,
            "MessageSystemAttributeNames": ["All"],
            "MessageAttributeNames": ["All"],
        });
        let deadline = soon(ESM_POLL_S * 1_000 + ESM_POLL_MARGIN_MS);
        let mut answer = self.aws.sqs("sqs:ReceiveMessage", &self.url, &body, deadline).await?;
        let listed = answer.get_mut("Messages").map(Value::take).unwrap_or_default();
        if listed.is_null() {
            return Ok(Vec::new());
        }
        serde_json::from_value(listed).map_err(|error| {
            ToolError::input(format!(
                "`{}` gave out something that is no message ({error}); check that the endpoint is one \
                 of SQS",
                self.url
            ))
        })
    }

    /// Deletes messages; whatever stays is given out again.
    ///
    /// # Errors
    /// As every request to AWS, or what SQS says about messages that it did not delete.
    pub(super) async fn delete(&self, messages: &[&Message]) -> Result<(), String> {
        if messages.is_empty() {
            return Ok(());
        }
        let entry = |(position, message): (usize, &&Message)| {
            let id = position.to_string();
            json!({"Id": id, "ReceiptHandle": message.receipt_handle})
        };
        let entries: Vec<Value> = messages.iter().enumerate().map(entry).collect();
        let body = json!({"QueueUrl": self.url, "Entries": entries});
        let deadline = soon(ESM_REQUEST_MS);
        let asked = self.aws.sqs("sqs:DeleteMessageBatch", &self.url, &body, deadline).await;
        let answer = asked.map_err(|error| error.message().to_owned())?;
        match answer["Failed"].as_array().map(Vec::as_slice) {
            None | Some([]) => Ok(()),
            Some([first, ..]) => {
                let said = first["Message"].as_str().or_else(|| first["Code"].as_str());
                Err(format!(
                    "a message that is done was not deleted: {}; it will be given out again",
                    said.unwrap_or("no reason given")
                ))
            }
        }
    }
}

fn soon(ms: u64) -> Instant {
    Instant::now() + Duration::from_millis(ms)
}
