//! Messages of SQS, and the events that Lambda makes of them.

use bytes::Bytes;
use engine_core::limits::LAMBDA_PAYLOAD_BYTES_MAX;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::queue::Facts;

/// Around the records of an event.
const FRAME: (&str, &str) = (r#"{"Records":["#, "]}");

/// A message as SQS gives it out.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Message {
    #[serde(rename = "MessageId")]
    pub(super) id: String,
    pub(super) receipt_handle: String,
    #[serde(rename = "MD5OfBody", default)]
    md5_of_body: String,
    #[serde(default)]
    body: String,
    /// What SQS says about it; every value is a text.
    #[serde(default)]
    attributes: Map<String, Value>,
    /// What its sender says about it.
    #[serde(rename = "MessageAttributes", default)]
    given: Map<String, Value>,
    #[serde(rename = "MD5OfMessageAttributes")]
    md5_of_given: Option<String>,
}

impl Message {
    /// The group whose order counts; none for a queue without order, which may have groups for fairness.
    pub(super) fn group<'a>(&'a self, queue: &Facts) -> Option<&'a str> {
        let group = self.attributes.get("MessageGroupId").and_then(Value::as_str);
        group.filter(|_| queue.is_fifo)
    }

    /// The message as a record of Lambda's event.
    fn record(&self, queue: &Facts) -> Value {
        let given = self.given.iter();
        let given: Map<_, _> =
            given.map(|(name, value)| (name.clone(), attribute(value))).collect();
        let mut record = json!({
            "messageId": self.id,
            "receiptHandle": self.receipt_handle,
            "body": self.body,
            "attributes": self.attributes,
            "messageAttributes": given,
            "md5OfBody": self.md5_of_body,
            "eventSource": "aws:sqs",
            "eventSourceARN": queue.arn,
            "awsRegion": queue.region(),
        });
        if let Some(md5) = &self.md5_of_given {
            record["md5OfMessageAttributes"] = Value::from(md5.as_str());
        }
        record
    }
}

/// An attribute that its sender gave a message, in Lambda's spelling.
fn attribute(value: &Value) -> Value {
    let mut attribute = Map::new();
    for (theirs, ours) in [("StringValue", "stringValue"), ("BinaryValue", "binaryValue")] {
        if let Some(value) = value.get(theirs) {
            attribute.insert(ours.to_owned(), value.clone());
        }
    }
    // Both are reserved by SQS, and always there.
    attribute.insert("stringListValues".to_owned(), json!([]));
    attribute.insert("binaryListValues".to_owned(), json!([]));
    attribute.insert("dataType".to_owned(), value.get("DataType").cloned().unwrap_or_default());
    Value::Object(attribute)
}

/// The messages of one invocation.
#[derive(Debug)]
pub(super) struct Parcel {
    pub(super) messages: Vec<Message>,
}

impl Parcel {
    /// The event that is posted.
    pub(super) fn event(&self, queue: &Facts) -> Bytes {
        let records: Vec<String> =
            self.messages.iter().map(|message| message.record(queue).to_string()).collect();
        Bytes::from(format!("{}{}{}", FRAME.0, records.join(","), FRAME.1))
    }
}

/// Messages in order, cut where an event would be larger than Lambda takes.
pub(super) fn parcels(messages: Vec<Message>, queue: &Facts) -> Vec<Parcel> {
    let frame = FRAME.0.len() + FRAME.1.len();
    let (mut parcels, mut current, mut bytes) = (Vec::new(), Vec::new(), frame);
    for message in messages {
        let more = message.record(queue).to_string().len() + 1;
        if bytes + more > LAMBDA_PAYLOAD_BYTES_MAX && !current.is_empty() {
            parcels.push(Parcel { messages: std::mem::take(&mut current) });
            bytes = frame;
        }
        bytes += more;
        current.push(message);
    }
    if !current.is_empty() {
        parcels.push(Parcel { messages: current });
    }
    parcels
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(crate) fn queue(is_fifo: bool) -> Facts {
        let arn = "arn:aws:sqs:eu-west-1:000000000000:q".to_owned();
        Facts { arn, visibility_ms: 30_000, is_fifo }
    }

    /// A message with that id, of that group if it is not empty.
    pub(crate) fn message(id: &str, group: &str) -> Message {
        let mut message = Message { id: id.to_owned(), ..Message::default() };
        if !group.is_empty() {
            message.attributes.insert("MessageGroupId".to_owned(), Value::from(group));
        }
        message
    }

    #[test]
    fn a_batch_becomes_the_event_that_lambda_posts() {
        let message: Message = serde_json::from_value(json!({
            "MessageId": "059f36b4-87a3-44ab-83d2-661975830a7d",
            "ReceiptHandle": "AQEBwJnKyrHigUMZj6rYigCgxlaS3SLy0a...",
            "MD5OfBody": "e4e68fb7bd0e697a0ae8f1bb342846b3",
            "Body": "{\"a\": \"\u{fc}\"}",
            "Attributes": {
                "ApproximateReceiveCount": "1",
                "SentTimestamp": "1573251510774",
                "SequenceNumber": "18849496460467696128",
                "MessageGroupId": "1",
                "SenderId": "AIDAIO23YVJENQZJOL4VO",
                "MessageDeduplicationId": "1",
                "ApproximateFirstReceiveTimestamp": "1573251510774",
                "AWSTraceHeader": "Root=1-5759e988-bd862e3fe1be46a994272793",
            },
            "MessageAttributes": {
                "text": {"DataType": "String", "StringValue": "v"},
                "blob": {"DataType": "Binary", "BinaryValue": "AQI="},
            },
            "MD5OfMessageAttributes": "0a77b0642718c3d9dd47090567d11e0d",
        }))
        .unwrap();
        let event = Parcel { messages: vec![message] }.event(&queue(true));
        let event: Value = serde_json::from_slice(&event).unwrap();
        let expect = json!({"Records": [{
            "messageId": "059f36b4-87a3-44ab-83d2-661975830a7d",
            "receiptHandle": "AQEBwJnKyrHigUMZj6rYigCgxlaS3SLy0a...",
            "body": "{\"a\": \"\u{fc}\"}",
            "attributes": {
                "ApproximateReceiveCount": "1",
                "SentTimestamp": "1573251510774",
                "SequenceNumber": "18849496460467696128",
                "MessageGroupId": "1",
                "SenderId": "AIDAIO23YVJENQZJOL4VO",
                "MessageDeduplicationId": "1",
                "ApproximateFirstReceiveTimestamp": "1573251510774",
                "AWSTraceHeader": "Root=1-5759e988-bd862e3fe1be46a994272793",
            },
            "messageAttributes": {
                "text": {"stringValue": "v", "stringListValues": [], "binaryListValues": [], "dataType": "String"},
                "blob": {"binaryValue": "AQI=", "stringListValues": [], "binaryListValues": [], "dataType": "Binary"},
            },
            "md5OfBody": "e4e68fb7bd0e697a0ae8f1bb342846b3",
            "md5OfMessageAttributes": "0a77b0642718c3d9dd47090567d11e0d",
            "eventSource": "aws:sqs",
            "eventSourceARN": "arn:aws:sqs:eu-west-1:000000000000:q",
            "awsRegion": "eu-west-1",
        }]});
        assert_eq!(event, expect);
    }

    #[test]
    fn a_batch_is_cut_where_lambda_would_refuse_its_event() {
        let sized =
            |megabytes: usize| Message { body: "x".repeat(megabytes << 20), ..message("m", "") };
        #[rustfmt::skip]
        let cases: [(&[usize], &[usize]); 5] = [
            (&[],                          &[]),
            (&[0, 0, 0],                   &[3]),
            (&[1, 1, 1, 1, 1, 1],          &[5, 1]),
            (&[1, 1, 1, 1, 1, 0, 1, 1],    &[6, 2]),
            (&[7, 1],                      &[1, 1]),
        ];
        for (sizes, expect) in cases {
            let messages = sizes.iter().map(|size| sized(*size)).collect();
            let parcels = parcels(messages, &queue(false));
            let counts: Vec<usize> = parcels.iter().map(|parcel| parcel.messages.len()).collect();
            assert_eq!(counts, expect, "{sizes:?}");
            for parcel in parcels.iter().filter(|parcel| parcel.messages.len() > 1) {
                assert!(parcel.event(&queue(false)).len() <= LAMBDA_PAYLOAD_BYTES_MAX);
            }
        }
    }

    #[test]
    fn only_a_fifo_queue_orders_its_groups() {
        assert_eq!(message("m", "g").group(&queue(true)), Some("g"));
        assert_eq!(message("m", "g").group(&queue(false)), None);
    }
}
