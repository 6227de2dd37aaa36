//! One queue: sending in batches, until every message has been taken.

use std::collections::HashSet;
use std::time::Duration;

use aws_sdk_sqs::Client;
use aws_sdk_sqs::operation::send_message_batch::SendMessageBatchOutput;
use aws_sdk_sqs::types::{MessageSystemAttributeName, SendMessageBatchRequestEntry};
use engine_core::limits::{AWS_ATTEMPTS_MAX, AWS_BACKOFF_MS, SQS_BATCH_MAX, SQS_MESSAGE_BYTES_MAX};
use engine_core::ports::{PortError, PortErrorKind};
use tokio::time::sleep;

use super::incoming::{Received, Record};
use crate::aws::failure::{Asked, failure};
use crate::aws::meter::Meter;

/// A message that fits.
#[derive(Clone, Debug)]
pub(super) struct Outgoing {
    pub(super) body: String,
    /// For the event queue.
    pub(super) group: Option<String>,
    /// For command queues.
    pub(super) delay_s: i32,
}

/// One queue.
pub(super) struct Queue<'a> {
    pub(super) client: &'a Client,
    pub(super) meter: &'a Meter,
    pub(super) url: String,
    pub(super) shown: String,
    /// The variable that names it.
    pub(super) variable: &'static str,
}

impl Queue<'_> {
    fn asked(&self, action: &'static str) -> Asked<'_> {
        Asked { action, resource: &self.shown, variable: self.variable }
    }

    /// Sends all of them, in order per group.
    pub(super) async fn send(&self, messages: Vec<Outgoing>) -> Result<(), PortError> {
        let mut left = messages;
        while !left.is_empty() {
            let rest = left.split_off(batch_len(&left));
            self.send_batch(left).await?;
            left = rest;
        }
        Ok(())
    }

    async fn send_batch(&self, batch: Vec<Outgoing>) -> Result<(), PortError> {
        let mut left = batch;
        let mut backoff = Duration::from_millis(AWS_BACKOFF_MS);
        for attempt in 0..AWS_ATTEMPTS_MAX {
            if attempt > 0 {
                sleep(backoff).await;
                backoff *= 2;
            }
            let answer = self.send_once(&left).await?;
            let refused = answer.failed.iter().find(|one| one.sender_fault);
            if let Some(refused) = refused {
                let message = format!(
                    "{} does not take a message ({}): {}",
                    self.shown,
                    refused.code,
                    refused.message().unwrap_or_default()
                );
                return Err(PortError::new(PortErrorKind::Refused, message));
            }
            let failed = answer.failed.iter().filter_map(|one| one.id.parse().ok()).collect();
            left = again(left, &failed);
            if left.is_empty() {
                return Ok(());
            }
        }
        let message = format!("{} has not taken {} messages", self.shown, left.len());
        Err(PortError::new(PortErrorKind::Unavailable, message))
    }

    async fn send_once(&self, batch: &[Outgoing]) -> Result<SendMessageBatchOutput, PortError> {
        let asked = self.asked("sqs:SendMessage");
        let token = token()?;
        let entries: Result<Vec<_>, _> =
            batch.iter().enumerate().map(|(number, one)| one.entry(number, &token)).collect();
        let entries = entries.map_err(|error| {
            let message = format!("a message for {} cannot be built", self.shown);
            PortError::caused(PortErrorKind::Refused, message, error)
        })?;
        let request = self.client.send_message_batch().queue_url(&self.url);
        let answer = request.set_entries(Some(entries)).send().await;
        let answer = answer.map_err(|error| failure(error, &asked))?;
        self.meter.queued(batch.iter().map(|one| one.body.len() as u64).sum());
        Ok(answer)
    }

    pub(super) async fn release(&self, receipt: &str, seconds: u32) -> Result<(), PortError> {
        let request = self.client.change_message_visibility().queue_url(&self.url);
        let seconds = i32::try_from(seconds).unwrap_or(i32::MAX);
        let sent = request.receipt_handle(receipt).visibility_timeout(seconds).send().await;
        sent.map_err(|error| failure(error, &self.asked("sqs:ChangeMessageVisibility")))?;
        self.meter.queued(0);
        Ok(())
    }

    pub(super) async fn delete(&self, receipt: &str) -> Result<(), PortError> {
        let request = self.client.delete_message().queue_url(&self.url).receipt_handle(receipt);
        let sent = request.send().await;
        sent.map_err(|error| failure(error, &self.asked("sqs:DeleteMessage")))?;
        self.meter.queued(0);
        Ok(())
    }

    pub(super) async fn receive(&self, seconds: u32) -> Result<Vec<Received>, PortError> {
        let request = self
            .client
            .receive_message()
            .queue_url(&self.url)
            .max_number_of_messages(i32::try_from(SQS_BATCH_MAX).unwrap_or(i32::MAX))
            .wait_time_seconds(i32::try_from(seconds.min(20)).unwrap_or_default())
            .message_system_attribute_names(MessageSystemAttributeName::All);
        // A long poll takes as long as it is told to.
        let patience = Duration::from_secs(u64::from(seconds) + 10);
        let timeouts = aws_sdk_sqs::config::timeout::TimeoutConfig::builder()
            .operation_attempt_timeout(patience)
            .operation_timeout(patience)
            .build();
        let sent = request
            .customize()
            .config_override(aws_sdk_sqs::config::Config::builder().timeout_config(timeouts))
            .send()
            .await;
        let answer = sent.map_err(|error| failure(error, &self.asked("sqs:ReceiveMessage")))?;
        let messages = answer.messages.unwrap_or_default();
        let bytes = messages.iter().map(|one| one.body().unwrap_or_default().len() as u64);
        self.meter.queued(bytes.sum());
        Ok(messages.into_iter().map(received).collect())
    }
}

fn received(message: aws_sdk_sqs::types::Message) -> Received {
    let attributes = message.attributes.unwrap_or_default();
    let attribute = |name| attributes.get(&name).cloned();
    let count = attribute(MessageSystemAttributeName::ApproximateReceiveCount);
    Received {
        receipt: message.receipt_handle.unwrap_or_default(),
        record: Record {
            body: message.body.unwrap_or_default(),
            group: attribute(MessageSystemAttributeName::MessageGroupId),
            receive_count: count.and_then(|count| count.parse().ok()).unwrap_or(1),
        },
    }
}

impl Outgoing {
    fn entry(
        &self,
        number: usize,
        token: &str,
    ) -> Result<SendMessageBatchRequestEntry, aws_sdk_sqs::error::BuildError> {
        let entry = SendMessageBatchRequestEntry::builder().id(number.to_string());
        let entry = entry.message_body(&self.body);
        match &self.group {
            // Not made of the input: for five minutes SQS drops what has a known id, also what is sent
            // again on purpose. The engine knows duplicates by itself.
            Some(group) => entry
                .message_group_id(group)
                .message_deduplication_id(format!("{token}-{number}"))
                .build(),
            None => entry.delay_seconds(self.delay_s).build(),
        }
    }
}

/// 32 hexadecimal digits that nobody has used.
fn token() -> Result<String, PortError> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).map_err(|error| {
        let message = "the operating system's random source does not answer";
        PortError::caused(PortErrorKind::Unavailable, message, error)
    })?;
    Ok(format!("{:032x}", u128::from_le_bytes(bytes)))
}

/// How many of the first messages fit into one request; at least one.
fn batch_len(messages: &[Outgoing]) -> usize {
    let mut bytes = 0;
    let fits = messages.iter().take(SQS_BATCH_MAX).take_while(|one| {
        bytes += one.body.len();
        bytes <= SQS_MESSAGE_BYTES_MAX
    });
    fits.count().max(1)
}

/// What has to be sent again: what was not taken, and in its group all that follows, which would overtake
/// it otherwise.
fn again(batch: Vec<Outgoing>, failed: &HashSet<usize>) -> Vec<Outgoing> {
    let mut broken = HashSet::new();
    let mut again = Vec::new();
    for (number, one) in batch.into_iter().enumerate() {
        let follows = one.group.as_ref().is_some_and(|group| broken.contains(group));
        if failed.contains(&number) || follows {
            broken.extend(one.group.clone());
            again.push(one);
        }
    }
    again
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(body: &str, group: Option<&str>) -> Outgoing {
        Outgoing { body: body.to_owned(), group: group.map(str::to_owned), delay_s: 0 }
    }

    #[test]
    fn a_request_has_ten_messages_and_a_mebibyte_at_most() {
        assert_eq!(batch_len(&vec![of("x", None); 25]), 10);
        let half = "x".repeat(SQS_MESSAGE_BYTES_MAX / 2);
        assert_eq!(batch_len(&vec![of(&half, None); 3]), 2);
        assert_eq!(batch_len(&[of(&half, None), of("x", None), of(&half, None)]), 2);
        assert_eq!(batch_len(&[of(&"x".repeat(SQS_MESSAGE_BYTES_MAX), None), of("x", None)]), 1);
    }

    #[test]
    fn what_follows_a_failed_message_of_its_group_is_sent_again_with_it() {
        let batch = ["a0", "b1", "a2", "b3", "a4"];
        let batch: Vec<Outgoing> = batch.map(|body| of(body, Some(&body[..1]))).to_vec();
        let bodies = |failed: &[usize]| {
            let left = again(batch.clone(), &failed.iter().copied().collect());
            left.into_iter().map(|one| one.body).collect::<Vec<_>>()
        };
        assert_eq!(bodies(&[]), [""; 0]);
        assert_eq!(bodies(&[2]), ["a2", "a4"]);
        assert_eq!(bodies(&[0, 3]), ["a0", "a2", "b3", "a4"]);
        let standard = again(vec![of("a", None), of("b", None)], &HashSet::from([0]));
        assert_eq!(standard.len(), 1, "without groups there is no order");
    }

    #[test]
    fn no_two_sends_share_a_token() {
        let tokens: HashSet<String> = (0..100).map(|_| token().unwrap()).collect();
        assert_eq!(tokens.len(), 100);
        assert!(tokens.iter().all(|token| token.len() == 32));
    }
}
