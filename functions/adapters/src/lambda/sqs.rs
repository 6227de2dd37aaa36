//! Events of queues: a batch of messages in, those that must come again out.
//!
//! Source: AWS Lambda developer guide, "Using Lambda with Amazon SQS", "Reporting batch item failures".

use serde::Deserialize;
use serde_json::{Value, json};

use super::Refused;
use crate::aws::queue::Record;

/// A message, as Lambda hands it over.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Message {
    /// Names it, in the answer and for good.
    #[serde(rename = "messageId")]
    pub id: String,
    /// Names this delivery, to release it.
    pub receipt_handle: String,
    /// What it says.
    pub body: String,
    /// Where it comes from.
    #[serde(rename = "eventSourceARN")]
    pub source_arn: String,
    attributes: Attributes,
}

/// What SQS says about a message; every value is a text.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq)]
#[serde(rename_all = "PascalCase")]
struct Attributes {
    #[serde(default)]
    approximate_receive_count: String,
    #[serde(default)]
    sent_timestamp: String,
    message_group_id: Option<String>,
}

impl Message {
    /// The name of its queue.
    #[must_use]
    pub fn queue(&self) -> &str {
        self.source_arn.rsplit(':').next().unwrap_or_default()
    }

    /// The group whose order counts; none on a standard queue.
    #[must_use]
    pub fn group(&self) -> Option<&str> {
        self.attributes.message_group_id.as_deref()
    }

    /// How often it was delivered, this time included.
    #[must_use]
    pub fn receives(&self) -> u32 {
        self.attributes.approximate_receive_count.parse().unwrap_or(1)
    }

    /// Unix milliseconds at which it was sent, if SQS says so.
    #[must_use]
    pub fn sent_ms(&self) -> Option<i64> {
        self.attributes.sent_timestamp.parse().ok()
    }

    /// The message, as an inbox reads it.
    #[must_use]
    pub fn record(&self) -> Record {
        Record {
            body: self.body.clone(),
            group: self.attributes.message_group_id.clone(),
            receive_count: self.receives(),
        }
    }
}

/// The messages of an event; none if it is not one of a queue.
///
/// # Errors
/// `Event` if one of them is no message: that is nothing that SQS sends.
pub fn messages(event: &mut Value) -> Result<Option<Vec<Message>>, Refused> {
    let Some(records) = event.get_mut("Records").map(Value::take) else { return Ok(None) };
    let messages = Vec::<Message>::deserialize(records).map_err(|error| {
        Refused::Event(format!("`Records` are no messages of a queue of SQS: {error}"))
    })?;
    Ok(Some(messages))
}

/// The answer: these messages must come again, all others are done with.
#[must_use]
pub fn again<'a>(ids: impl IntoIterator<Item = &'a str>) -> Value {
    let failures: Vec<Value> = ids.into_iter().map(|id| json!({"itemIdentifier": id})).collect();
    json!({"batchItemFailures": failures})
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(attributes: &Value) -> Value {
        json!({"Records": [{
            "messageId": "059f36b4", "receiptHandle": "AQEB", "body": "{}", "attributes": attributes,
            "messageAttributes": {}, "md5OfBody": "99914b93", "eventSource": "aws:sqs",
            "eventSourceARN": "arn:aws:sqs:eu-west-1:000000000000:demo-events.fifo", "awsRegion": "eu-west-1",
        }]})
    }

    #[test]
    fn a_message_has_its_queue_its_group_and_its_count() {
        let attributes = json!({
            "ApproximateReceiveCount": "3", "SentTimestamp": "1573251510774", "MessageGroupId": "exec:1",
            "SequenceNumber": "1",
        });
        let found = messages(&mut event(&attributes)).unwrap().unwrap().remove(0);
        assert_eq!((found.queue(), found.group()), ("demo-events.fifo", Some("exec:1")));
        assert_eq!((found.receives(), found.sent_ms()), (3, Some(1_573_251_510_774)));
        assert_eq!(found.record().group.as_deref(), Some("exec:1"));
        let bare = messages(&mut event(&json!({}))).unwrap().unwrap().remove(0);
        assert_eq!((bare.receives(), bare.sent_ms(), bare.group()), (1, None, None));
    }

    #[test]
    fn what_is_no_batch_is_told_from_a_broken_one() {
        assert_eq!(messages(&mut json!({"path": "a/b"})).unwrap(), None);
        assert_eq!(messages(&mut json!({"Records": []})).unwrap(), Some(Vec::new()));
        let error = messages(&mut json!({"Records": [{"s3": {}}]})).unwrap_err();
        assert!(error.to_string().contains("no messages of a queue"), "{error}");
    }

    #[test]
    fn the_answer_names_what_must_come_again() {
        let expect =
            json!({"batchItemFailures": [{"itemIdentifier": "a"}, {"itemIdentifier": "b"}]});
        assert_eq!(again(["a", "b"]), expect);
        assert_eq!(again([]), json!({"batchItemFailures": []}));
    }
}
