//! Streams, and messages that no stream keeps.

use async_nats::jetstream::context::{GetStreamErrorKind, PublishErrorKind};
use async_nats::jetstream::message::PublishMessage;
use async_nats::jetstream::stream::{RawMessageErrorKind, Stream};
use async_nats::{HeaderMap, HeaderValue};
use serde_json::{Map, Value, json};

use super::session::Session;
use super::{names, value};
use crate::tool::ToolError;

type Done = Result<Map<String, Value>, ToolError>;

/// Publishes to the stream that takes the subject; returns when it is stored.
pub(super) async fn publish(session: &Session<'_>) -> Done {
    let subject = names::subject(session.text(&["subject"], "which subject")?)?;
    let payload = session.message()?;
    let mut message = PublishMessage::build().payload(payload).headers(session.headers()?);
    if let Some(stream) = session.call.text("stream") {
        message = message.expected_stream(names::bucket(stream, "stream")?);
    }
    let sent = session.wait("js_publish", async {
        session.js.send_publish(subject.to_owned(), message).await?.await
    });
    let ack = match sent.await? {
        Ok(ack) => ack,
        Err(error) if error.kind() == PublishErrorKind::StreamNotFound => {
            let known = session.known("").await;
            let what = format!("stream that takes the subject `{subject}`");
            let cure = format!("{known}; add the subject to a stream, or use `operation: publish`");
            return Err(session.missing("StreamNotFound", &what, &cure));
        }
        Err(error) => return Err(session.failed("js_publish", &error)),
    };
    let mut result = Map::new();
    result.insert("subject".to_owned(), json!(subject));
    result.insert("stream".to_owned(), json!(ack.stream));
    result.insert("sequence".to_owned(), json!(ack.sequence));
    result.insert("duplicate".to_owned(), json!(ack.duplicate));
    Ok(result)
}

/// Publishes to whoever listens; nobody may.
pub(super) async fn send(session: &Session<'_>) -> Done {
    let subject = names::subject(session.text(&["subject"], "which subject")?)?;
    let payload = session.message()?;
    let (bytes, headers) = (payload.len(), session.headers()?);
    let sent = session.client.publish_with_headers(subject.to_owned(), headers, payload);
    session.wait("publish", sent).await?.map_err(|error| session.failed("publish", &error))?;
    let flushed = session.wait("publish", session.client.flush()).await?;
    flushed.map_err(|error| session.failed("publish", &error))?;
    let mut result = Map::new();
    result.insert("subject".to_owned(), json!(subject));
    result.insert("bytes".to_owned(), json!(bytes));
    Ok(result)
}

/// A message by its sequence, or the last one of a subject.
pub(super) async fn message(session: &Session<'_>) -> Done {
    let stream = stream(session).await?;
    let sequence = match session.number("sequence")? {
        Some(sequence) => Some(sequence),
        None => session.number("seq")?,
    };
    let (found, what) = match (sequence, session.call.text("subject")) {
        (Some(sequence), _) => {
            let asked = stream.get_raw_message(sequence);
            (session.wait("js_get_msg", asked).await?, format!("message {sequence}"))
        }
        (None, Some(subject)) => {
            let asked = stream.get_last_raw_message_by_subject(subject);
            (session.wait("js_get_msg", asked).await?, format!("message of `{subject}`"))
        }
        (None, None) => {
            return Err(ToolError::input(
                "`js_get_msg` does not know which message; give `sequence`, or `subject` for its \
                 last one",
            ));
        }
    };
    let name = &stream.cached_info().config.name;
    let message = match found {
        Ok(message) => message,
        Err(error) if error.kind() == RawMessageErrorKind::NoMessageFound => {
            let state = &stream.cached_info().state;
            let cure = format!(
                "it holds the sequences {} to {}",
                state.first_sequence, state.last_sequence
            );
            let what = format!("{what} in stream `{name}`");
            return Err(session.missing("MessageNotFound", &what, &cure));
        }
        Err(error) => return Err(session.failed("js_get_msg", &error)),
    };
    let mut result = Map::new();
    result.insert("stream".to_owned(), json!(name));
    result.insert("subject".to_owned(), json!(message.subject.as_str()));
    result.insert("sequence".to_owned(), json!(message.sequence));
    let time_ms = message.time.unix_timestamp_nanos() / 1_000_000;
    result.insert("time_ms".to_owned(), json!(i64::try_from(time_ms).ok()));
    result.insert("headers".to_owned(), headers(&message.headers));
    let raw = session.call.flag("raw") == Some(true);
    value::read(&message.payload, raw, "data", &mut result);
    Ok(result)
}

/// What a stream takes, and what it holds.
pub(super) async fn info(session: &Session<'_>) -> Done {
    let stream = stream(session).await?;
    let info = stream.cached_info();
    let mut result = Map::new();
    result.insert("stream".to_owned(), json!(info.config.name));
    result.insert("subjects".to_owned(), json!(info.config.subjects));
    result.insert("messages".to_owned(), json!(info.state.messages));
    result.insert("bytes".to_owned(), json!(info.state.bytes));
    result.insert("first_sequence".to_owned(), json!(info.state.first_sequence));
    result.insert("last_sequence".to_owned(), json!(info.state.last_sequence));
    result.insert("consumers".to_owned(), json!(info.state.consumer_count));
    Ok(result)
}

fn headers(headers: &HeaderMap) -> Value {
    let mut named: Vec<_> = headers.iter().collect();
    named.sort_unstable_by_key(|(name, _)| name.to_string());
    let named = named.into_iter().map(|(name, values)| {
        let values: Vec<_> = values.iter().map(HeaderValue::as_str).collect();
        (name.to_string(), json!(values.join(", ")))
    });
    Value::Object(named.collect())
}

async fn stream(session: &Session<'_>) -> Result<Stream, ToolError> {
    let name = names::bucket(session.text(&["stream"], "which stream")?, "stream")?;
    let error = match session.wait("stream", session.js.get_stream(name)).await? {
        Ok(stream) => return Ok(stream),
        Err(error) => error,
    };
    let is_missing = match error.kind() {
        GetStreamErrorKind::JetStream(error) => error.code() == 404,
        _ => false,
    };
    if !is_missing {
        return Err(session.failed(&format!("stream `{name}`"), &error));
    }
    let cure = format!("{}; correct the name", session.known("").await);
    Err(session.missing("StreamNotFound", &format!("stream `{name}`"), &cure))
}
