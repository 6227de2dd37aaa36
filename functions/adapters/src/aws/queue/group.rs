//! The group of an aggregate's messages: delivered in order, one batch at a time.

use engine_core::ids::AggregateKey;
use engine_core::payload::sha256_hex;

/// Characters of a group, as SQS bounds them.
const GROUP_CHARS_MAX: usize = 128;

/// The aggregate's key where SQS can carry it, so that people can read it; else a hash of it.
#[must_use]
pub fn group_of(key: &AggregateKey) -> String {
    let text = key.to_string();
    // Letters, digits and punctuation of ASCII: no space, and nothing else.
    let fits = text.len() <= GROUP_CHARS_MAX && text.bytes().all(|byte| byte.is_ascii_graphic());
    if fits { text } else { sha256_hex(text.as_bytes()) }
}

#[cfg(test)]
mod tests {
    use engine_core::ids::{EventId, ExecutionId};

    use super::*;

    #[test]
    fn a_group_is_the_key_unless_sqs_cannot_carry_it() {
        let of = |step: &str| {
            let (execution_id, event_id) = (ExecutionId(1), EventId(2));
            group_of(&AggregateKey::Loop { execution_id, step: step.into(), event_id })
        };
        assert_eq!(group_of(&AggregateKey::Execution(ExecutionId(7))), "exec:7");
        assert_eq!(of("a:b_c-d"), "exec:1:loop:a:b_c-d:2");
        for step in ["two words", "ümlaut", &"x".repeat(128)] {
            let group = of(step);
            assert!(group.len() == 64 && group.bytes().all(|byte| byte.is_ascii_hexdigit()));
            assert_ne!(group, of(&format!("{step}2")));
        }
    }
}
