//! Keys as NATS can hold them: `[A-Za-z0-9_=-]` in tokens between dots, none of them empty.
//!
//! `exec:7:loop:a b:9` is `exec.7.loop.a=20b.9`. Every byte of a step's name outside `[A-Za-z0-9_-]` is
//! `=XX`, so no two keys have one name. The colons and dots of a name are among them: they would be taken
//! for the ends of tokens.

use std::fmt::Write as _;

use engine_core::ids::{AggregateKey, ExecutionId, StepName};

/// What stands for the name that has no bytes.
const NOTHING: &str = "=";

/// The key of an aggregate's state.
pub(super) fn encode(key: &AggregateKey) -> String {
    match key {
        AggregateKey::Execution(id) => format!("exec.{id}"),
        AggregateKey::Loop { execution_id, step, event_id } => {
            format!("exec.{execution_id}.loop.{}.{event_id}", token(step.as_str()))
        }
    }
}

/// The key of an entry in the log.
pub(super) fn of_entry(key: &AggregateKey, seq: u64) -> String {
    format!("{}.{seq}", encode(key))
}

/// What all loops of an execution match.
pub(super) fn loops(execution_id: ExecutionId) -> String {
    format!("exec.{execution_id}.loop.>")
}

/// The aggregate of a key; none if it is no key of ours.
pub(super) fn decode(name: &str) -> Option<AggregateKey> {
    match name.split('.').collect::<Vec<_>>()[..] {
        ["exec", id] => Some(AggregateKey::Execution(id.parse().ok()?)),
        ["exec", id, "loop", step, event_id] => Some(AggregateKey::Loop {
            execution_id: id.parse().ok()?,
            step: StepName(untoken(step)?),
            event_id: event_id.parse().ok()?,
        }),
        _ => None,
    }
}

fn token(text: &str) -> String {
    if text.is_empty() {
        return NOTHING.to_owned();
    }
    let mut token = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-') {
            token.push(char::from(byte));
        } else {
            // Text never refuses what is written to it.
            let _ = write!(token, "={byte:02X}");
        }
    }
    token
}

fn untoken(token: &str) -> Option<String> {
    if token == NOTHING {
        return Some(String::new());
    }
    let mut bytes = Vec::with_capacity(token.len());
    let mut rest = token.bytes();
    while let Some(byte) = rest.next() {
        if byte == b'=' {
            let digits = [rest.next()?, rest.next()?];
            bytes.push(u8::from_str_radix(std::str::from_utf8(&digits).ok()?, 16).ok()?);
        } else {
            bytes.push(byte);
        }
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use engine_core::ids::EventId;
    use proptest::prelude::*;

    fn loop_of(step: &str) -> AggregateKey {
        let (execution_id, event_id) = (ExecutionId(7), EventId(9));
        AggregateKey::Loop { execution_id, step: step.into(), event_id }
    }

    #[test]
    fn keys_read_as_the_seeds_write_them() {
        let cases = [
            (AggregateKey::Execution(ExecutionId(7)), "exec.7"),
            (loop_of("greet_users"), "exec.7.loop.greet_users.9"),
            (loop_of("a b:c.d=e"), "exec.7.loop.a=20b=3Ac=2Ed=3De.9"),
            (loop_of("ü"), "exec.7.loop.=C3=BC.9"),
            (loop_of(""), "exec.7.loop.=.9"),
        ];
        for (key, expect) in cases {
            assert_eq!(encode(&key), expect);
            assert_eq!(decode(expect), Some(key));
        }
        for no_key in
            ["", "exec", "exec.x", "exec.7.loop.a", "exec.7.loop.=2.9", "exec.7.loop.a.9.1"]
        {
            assert_eq!(decode(no_key), None, "{no_key}");
        }
    }

    proptest! {
        #[test]
        fn every_key_comes_back_and_is_one_that_nats_takes(step in ".*") {
            let key = loop_of(&step);
            let name = encode(&key);
            prop_assert_eq!(decode(&name), Some(key));
            for token in name.split('.') {
                prop_assert!(!token.is_empty());
                let is_safe = |byte: u8| byte.is_ascii_alphanumeric() || b"_-=".contains(&byte);
                prop_assert!(token.bytes().all(is_safe), "{}", name);
            }
        }
    }
}
