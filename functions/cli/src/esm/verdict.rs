//! What a function's answer means for the messages of its batch.

use std::collections::BTreeSet;

use serde_json::Value;

use super::message::Message;
use super::queue::Facts;

/// Which messages are done, and which come back.
#[derive(Debug, Default, Eq, PartialEq)]
pub(super) struct Verdict {
    /// Positions in the batch of the messages to delete.
    pub(super) done: Vec<usize>,
    /// Positions of those that SQS gives out again.
    pub(super) kept: Vec<usize>,
    /// Why the whole batch counts as failed, if it is for its answer and not for its messages.
    pub(super) problem: Option<String>,
}

impl Verdict {
    /// All messages come back.
    pub(super) fn failed(messages: &[Message], problem: impl Into<String>) -> Self {
        let kept = (0..messages.len()).collect();
        Self { done: Vec::new(), kept, problem: Some(problem.into()) }
    }

    /// Reads the answer of a function that reports failures by message, as Lambda does.
    ///
    /// In a FIFO queue, what follows a failure in its group comes back too: it must not overtake.
    pub(super) fn of(answer: &[u8], messages: &[Message], queue: &Facts) -> Self {
        let failed = match failures(answer) {
            Ok(failed) => failed,
            Err(problem) => return Self::failed(messages, problem),
        };
        let is_known = |id: &&String| messages.iter().any(|message| message.id == **id);
        if let Some(stranger) = failed.iter().find(|id| !is_known(id)) {
            let problem = format!("`{stranger}` in `batchItemFailures` is no message of the batch");
            return Self::failed(messages, problem);
        }
        let (mut verdict, mut blocked) = (Self::default(), BTreeSet::new());
        for (position, message) in messages.iter().enumerate() {
            let group = message.group(queue);
            let is_blocked = group.is_some_and(|group| blocked.contains(group));
            if is_blocked || failed.contains(&message.id) {
                blocked.extend(group);
                verdict.kept.push(position);
            } else {
                verdict.done.push(position);
            }
        }
        verdict
    }
}

/// The ids of the messages that failed.
fn failures(answer: &[u8]) -> Result<BTreeSet<String>, String> {
    if answer.trim_ascii().is_empty() {
        return Ok(BTreeSet::new());
    }
    let answer: Value = serde_json::from_slice(answer)
        .map_err(|error| format!("the function answered no JSON ({error})"))?;
    let listed = match &answer {
        Value::Null => return Ok(BTreeSet::new()),
        Value::Object(fields) => fields.get("batchItemFailures").unwrap_or(&Value::Null),
        _ => return Err("the function answered neither a map nor null".to_owned()),
    };
    let items = match listed {
        Value::Null => return Ok(BTreeSet::new()),
        Value::Array(items) => items,
        _ => return Err("`batchItemFailures` is no list".to_owned()),
    };
    let id = |item: &Value| {
        let id = item.get("itemIdentifier").and_then(Value::as_str).filter(|id| !id.is_empty());
        id.map(str::to_owned).ok_or_else(|| {
            format!("`{item}` in `batchItemFailures` has no `itemIdentifier` that is a text")
        })
    };
    items.iter().map(id).collect()
}

#[cfg(test)]
mod tests {
    use super::super::message::tests::{message, queue};
    use super::*;

    /// Messages written as `id` or `id@group`.
    fn batch(text: &str) -> Vec<Message> {
        let one = |word: &str| match word.split_once('@') {
            Some((id, group)) => message(id, group),
            None => message(word, ""),
        };
        text.split_whitespace().map(one).collect()
    }

    #[test]
    fn exactly_what_succeeded_is_deleted() {
        let fails = |ids: &str| {
            let items = ids.split_whitespace().map(|id| format!("{{\"itemIdentifier\":\"{id}\"}}"));
            format!("{{\"batchItemFailures\":[{}]}}", items.collect::<Vec<_>>().join(","))
        };
        #[rustfmt::skip]
        let cases: [(&str, String, bool, &[usize], &str); 22] = [
            // batch,           answer,                                 FIFO,  kept,        why
            ("a b c",           "null".into(),                          false, &[],         ""),
            ("a b c",           String::new(),                          false, &[],         ""),
            ("a b c",           "{}".into(),                            false, &[],         ""),
            ("a b c",           "{\"statusCode\": 200}".into(),         false, &[],         ""),
            ("a b c",           "{\"batchItemFailures\":null}".into(),  false, &[],         ""),
            ("a b c",           fails(""),                              false, &[],         ""),
            ("a b c",           fails("b"),                             false, &[1],        ""),
            ("a b c",           fails("c a"),                           false, &[0, 2],     ""),
            ("a b c",           fails("b b"),                           false, &[1],        ""),
            ("a b c",           fails("a b c"),                         false, &[0, 1, 2],  ""),
            ("a b c",           fails("b z"),                           false, &[0, 1, 2],  "`z` in `batchItemFailures`"),
            ("a b c",           "{\"batchItemFailures\":[{\"itemIdentifier\":\"\"}]}".into(),   false, &[0, 1, 2], "no `itemIdentifier`"),
            ("a b c",           "{\"batchItemFailures\":[{\"itemIdentifier\":null}]}".into(),   false, &[0, 1, 2], "no `itemIdentifier`"),
            ("a b c",           "{\"batchItemFailures\":[{\"item\":\"a\"}]}".into(),            false, &[0, 1, 2], "no `itemIdentifier`"),
            ("a b c",           "{\"batchItemFailures\":[\"a\"]}".into(), false, &[0, 1, 2], "no `itemIdentifier`"),
            ("a b c",           "{\"batchItemFailures\":\"a\"}".into(), false, &[0, 1, 2],  "is no list"),
            ("a b c",           "\"done\"".into(),                      false, &[0, 1, 2],  "neither a map nor null"),
            ("a b c",           "{\"batchItem".into(),                  false, &[0, 1, 2],  "no JSON"),
            ("a@1 b@1 c@1",     fails("b"),                             true,  &[1, 2],     ""),
            ("a@1 b@2 c@1 d@2", fails("a"),                             true,  &[0, 2],     ""),
            ("a@1 b@2 c@1 d@2", fails("c b"),                           true,  &[1, 2, 3],  ""),
            ("a@1 b@1 c@1",     fails("b"),                             false, &[1],        ""),
        ];
        for (text, answer, is_fifo, kept, why) in cases {
            let messages = batch(text);
            let verdict = Verdict::of(answer.as_bytes(), &messages, &queue(is_fifo));
            assert_eq!(verdict.kept, kept, "{text} {answer}");
            let done: Vec<usize> = (0..messages.len()).filter(|one| !kept.contains(one)).collect();
            assert_eq!(verdict.done, done, "{text} {answer}");
            let problem = verdict.problem.unwrap_or_default();
            assert!(problem.contains(why) && problem.is_empty() == why.is_empty(), "{problem}");
        }
    }
}
