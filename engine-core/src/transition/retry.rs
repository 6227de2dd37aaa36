//! Whether and when a failed call is tried again.

use serde_json::Value;

use super::Trouble;
use super::settings::{duration_ms, rendered, whole};
use crate::ids::CommandId;
use crate::limits::{ATTEMPTS_MAX, RETRY_DELAY_MS_MAX};
use crate::template::Context;

/// Tries of one command when a rule does not say.
const ATTEMPTS_DEFAULT: u64 = 3;
/// Milliseconds before the second try when a rule does not say.
const INITIAL_DELAY_MS_DEFAULT: u64 = 500;
/// Growth of the delay when a rule does not say.
const MULTIPLIER_DEFAULT: f64 = 2.0;

/// How often, and how long apart.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Policy {
    /// Tries in all, the first one included.
    pub attempts_max: u32,
    /// Milliseconds after the first failure.
    pub delay_ms: u64,
    /// How the delay grows.
    pub growth: Growth,
    /// The longest delay.
    pub delay_ms_max: u64,
    /// Whether the delay is spread over 50 % to 150 % (decision D29: off unless asked for).
    pub jitter: bool,
}

/// How delays grow from one failure to the next.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Growth {
    /// `delay * n`.
    Linear,
    /// `delay * factor^(n - 1)`.
    Exponential(f64),
}

impl Policy {
    /// Reads the error form of `retry`: `{max_attempts, initial_delay, backoff_multiplier, max_delay,
    /// jitter}`, or `{max_attempts, delay, backoff}`; both may hold templates.
    pub(super) fn read(retry: &Value, context: &Context) -> Result<Self, Trouble> {
        let field = |name: &str| retry.get(name).filter(|value| !value.is_null());
        let number = |name: &str, default: u64| match field(name) {
            Some(value) => whole(value, context, &format!("`retry.{name}`")),
            None => Ok(default),
        };
        let duration = |name: &str, default: u64| match field(name) {
            Some(value) => duration_ms(value, context, &format!("`retry.{name}`")),
            None => Ok(default),
        };
        let attempts = number("max_attempts", ATTEMPTS_DEFAULT)?;
        let attempts_max = u32::try_from(attempts).unwrap_or(u32::MAX).clamp(1, ATTEMPTS_MAX);
        let delay_ms_max = duration("max_delay", RETRY_DELAY_MS_MAX)?.min(RETRY_DELAY_MS_MAX);
        let jitter = field("jitter") == Some(&Value::Bool(true));

        let by_name = field("delay").is_some() || field("backoff").is_some();
        let (delay_ms, growth) = if by_name {
            let growth = match field("backoff").and_then(Value::as_str) {
                Some("exponential") => Growth::Exponential(MULTIPLIER_DEFAULT),
                Some("none" | "fixed" | "constant") => Growth::Exponential(1.0),
                _ => Growth::Linear,
            };
            (duration("delay", 0)?, growth)
        } else {
            let factor = match field("backoff_multiplier") {
                Some(value) => rendered(value, context, "`retry.backoff_multiplier`")?.as_f64(),
                None => None,
            };
            let factor = factor.unwrap_or(MULTIPLIER_DEFAULT).clamp(0.0, 1e6);
            (duration("initial_delay", INITIAL_DELAY_MS_DEFAULT)?, Growth::Exponential(factor))
        };
        Ok(Self { attempts_max, delay_ms, growth, delay_ms_max, jitter })
    }

    /// Milliseconds to wait after attempt `attempt` (from 1) failed.
    ///
    /// Jitter is a hash of the command's id and the attempt, not a random draw, so that a log replays
    /// to the same delays.
    #[must_use]
    pub fn delay_after_ms(&self, attempt: u32, command: &CommandId) -> u64 {
        let base = precise(self.delay_ms);
        let grown = match self.growth {
            Growth::Linear => base * f64::from(attempt),
            Growth::Exponential(factor) => {
                let doublings = i32::try_from(attempt.saturating_sub(1)).unwrap_or(i32::MAX);
                base * factor.powi(doublings)
            }
        };
        let spread = if self.jitter { 0.5 + share(command, attempt) } else { 1.0 };
        let delay = (grown.min(precise(self.delay_ms_max)) * spread).round();
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a cast of a float saturates, and the maximum follows"
        )]
        (delay as u64).min(RETRY_DELAY_MS_MAX)
    }
}

/// A float of a number of milliseconds; exact up to 2^53, and limits end far below.
fn precise(ms: u64) -> f64 {
    f64::from(u32::try_from(ms).unwrap_or(u32::MAX))
}

/// A share in `0.0..1.0` that depends on the command and the attempt alone.
///
/// Source: FNV-1a, Fowler, Noll and Vo, with 32 bits.
fn share(command: &CommandId, attempt: u32) -> f64 {
    let bytes = command.as_str().bytes().chain(attempt.to_le_bytes());
    let hash = bytes
        .fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
    f64::from(hash) / (f64::from(u32::MAX) + 1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(delay_ms: u64, growth: Growth) -> Policy {
        Policy { attempts_max: 9, delay_ms, growth, delay_ms_max: 2_000, jitter: false }
    }

    #[test]
    fn delays_grow_as_the_rule_says_and_stop_at_its_maximum() {
        let id = CommandId::from("1:fetch:2");
        let delays = |policy: Policy| (1..=4).map(|n| policy.delay_after_ms(n, &id)).collect();
        let cases: [(Policy, Vec<u64>); 4] = [
            (policy(200, Growth::Exponential(1.5)), vec![200, 300, 450, 675]),
            (policy(500, Growth::Exponential(2.0)), vec![500, 1_000, 2_000, 2_000]),
            (policy(300, Growth::Linear), vec![300, 600, 900, 1_200]),
            (policy(0, Growth::Linear), vec![0, 0, 0, 0]),
        ];
        for (policy, expect) in cases {
            let found: Vec<u64> = delays(policy);
            assert_eq!(found, expect, "{policy:?}");
        }
    }

    #[test]
    fn d29_jitter_spreads_the_delay_and_is_no_dice() {
        let jittered = Policy { jitter: true, ..policy(1_000, Growth::Linear) };
        let of = |text: &str| jittered.delay_after_ms(1, &CommandId::from(text));
        assert_eq!(of("a"), of("a"), "the same command waits as long on every replay");
        let all: std::collections::BTreeSet<u64> = (0..50).map(|n| of(&format!("c{n}"))).collect();
        assert!(all.len() > 40, "{all:?}");
        assert!(all.iter().all(|delay| (500..=1_500).contains(delay)), "{all:?}");
    }

    #[test]
    fn no_delay_is_longer_than_a_queue_can_hold_a_message() {
        let wild = Policy { delay_ms_max: u64::MAX, ..policy(u64::MAX, Growth::Exponential(1e6)) };
        assert_eq!(wild.delay_after_ms(100, &CommandId::from("c")), RETRY_DELAY_MS_MAX);
    }
}
