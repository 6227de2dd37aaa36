//! What is stored, as JSON that people can read.

use engine_core::event::{Entry, Fact, Status};
use engine_core::ids::{AggregateKey, EventId, InputId};
use engine_core::ports::{PortError, PortErrorKind, Tail};
use engine_core::state::State;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// The form that is written; a higher one is of a newer program.
const VERSION: u32 = 1;

/// The value of an aggregate: its last entry, and what lists show.
#[derive(Debug, Deserialize, PartialEq, Serialize)]
pub(super) struct Newest {
    v: u32,
    /// An event id that no event of the aggregate has reached yet.
    next_event_id: i64,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub(super) begun: Option<Begun>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub(super) ended: Option<Ended>,
    pub(super) entry: Entry,
}

/// How an execution began.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub(super) struct Begun {
    pub(super) path: String,
    pub(super) at_ms: i64,
}

/// How an execution ended.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub(super) struct Ended {
    pub(super) status: Status,
    pub(super) at_ms: i64,
}

impl Newest {
    /// The value that `entry` makes of the one before it.
    pub(super) fn after(
        entry: &Entry,
        before: Option<&Self>,
        expanded: fn(&[Fact]) -> usize,
    ) -> Self {
        let at_ms = entry.at_ms;
        let begun = entry.facts.iter().find_map(|fact| match fact {
            Fact::Started { playbook, .. } => Some(Begun { path: playbook.path.clone(), at_ms }),
            _ => None,
        });
        let ended = entry.facts.iter().find_map(|fact| match fact {
            Fact::Finished { status, .. } => Some(Ended { status: *status, at_ms }),
            _ => None,
        });
        let expanded = i64::try_from(expanded(&entry.facts)).unwrap_or(i64::MAX);
        Self {
            v: VERSION,
            next_event_id: entry.event_id.0.saturating_add(expanded),
            begun: before.and_then(|before| before.begun.clone()).or(begun),
            ended: before.and_then(|before| before.ended.clone()).or(ended),
            entry: entry.clone(),
        }
    }

    pub(super) fn encode(&self) -> Result<Vec<u8>, PortError> {
        encoded(self, || format!("entry {} of `{}`", self.entry.seq, self.entry.key))
    }

    pub(super) fn decode(key: &AggregateKey, bytes: &[u8]) -> Result<Self, PortError> {
        decoded(bytes, || format!("the state of `{key}`"))
    }

    pub(super) fn into_tail(self) -> Tail {
        let Self { next_event_id, entry: Entry { seq, at_ms, state, .. }, .. } = self;
        Tail { seq, at_ms, next_event_id, state }
    }
}

/// An entry in the log: the newest state is kept once, in [`Newest`].
#[derive(Debug, Deserialize, PartialEq, Serialize)]
pub(super) struct Logged {
    v: u32,
    seq: u64,
    at_ms: i64,
    event_id: EventId,
    inputs: Vec<InputId>,
    facts: Vec<Fact>,
}

impl Logged {
    pub(super) fn encode(entry: &Entry) -> Result<Vec<u8>, PortError> {
        let Entry { key, seq, at_ms, event_id, inputs, facts, .. } = entry;
        let (seq, at_ms, event_id) = (*seq, *at_ms, *event_id);
        let logged =
            Self { v: VERSION, seq, at_ms, event_id, inputs: inputs.clone(), facts: facts.clone() };
        encoded(&logged, || format!("entry {seq} of `{key}`"))
    }

    pub(super) fn decode(key: &AggregateKey, seq: u64, bytes: &[u8]) -> Result<Self, PortError> {
        decoded(bytes, || format!("entry {seq} of `{key}`"))
    }

    pub(super) fn into_entry(self, key: &AggregateKey, state: &State) -> Entry {
        let Self { seq, at_ms, event_id, inputs, facts, .. } = self;
        Entry { key: key.clone(), seq, at_ms, event_id, inputs, facts, state: state.clone() }
    }
}

fn encoded(value: &impl Serialize, what: impl Fn() -> String) -> Result<Vec<u8>, PortError> {
    serde_json::to_vec(value).map_err(|error| {
        let message = format!("{} cannot be encoded", what());
        PortError::caused(PortErrorKind::Refused, message, error)
    })
}

#[derive(Deserialize)]
struct Versioned {
    v: u32,
}

fn decoded<T: DeserializeOwned>(bytes: &[u8], what: impl Fn() -> String) -> Result<T, PortError> {
    let corrupt = |error: serde_json::Error| {
        let message = format!("{} does not decode", what());
        PortError::caused(PortErrorKind::Corrupt, message, error)
    };
    serde_json::from_slice(bytes).map_err(|error| match serde_json::from_slice(bytes) {
        Ok(Versioned { v }) if v > VERSION => {
            let message = format!(
                "{} was written by a newer version (form {v}); deploy it to every function",
                what()
            );
            PortError::new(PortErrorKind::Refused, message)
        }
        _ => corrupt(error),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use engine_core::ids::ExecutionId;

    #[test]
    fn a_newer_form_is_told_from_a_broken_one() {
        let key = AggregateKey::Execution(ExecutionId(7));
        #[rustfmt::skip]
        let cases = [
            (&br#"{"v":2,"entry":"packed"}"#[..], PortErrorKind::Refused, "the state of `exec:7` was written by a newer version (form 2); deploy it to every function"),
            (br#"{"v":1,"entry":"packed"}"#,      PortErrorKind::Corrupt, "the state of `exec:7` does not decode"),
            (b"",                                 PortErrorKind::Corrupt, "the state of `exec:7` does not decode"),
        ];
        for (bytes, kind, message) in cases {
            let error = Newest::decode(&key, bytes).unwrap_err();
            assert_eq!((error.kind, error.to_string().as_str()), (kind, message));
        }
    }
}
