//! Names for things, one type each, so that no two can be swapped.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::payload::sha256_hex;

/// Milliseconds of the Snowflake epoch, 2024-01-01T00:00:00Z, after the Unix epoch.
pub const SNOWFLAKE_EPOCH_MS: i64 = 1_704_067_200_000;

/// Bits of a Snowflake below the milliseconds.
pub const SNOWFLAKE_LOW_BITS: u32 = 22;

/// The smallest Snowflake of a millisecond; 0 for times before the epoch.
#[must_use]
pub fn snowflake_floor(at_ms: i64) -> i64 {
    at_ms.saturating_sub(SNOWFLAKE_EPOCH_MS).clamp(0, i64::MAX >> SNOWFLAKE_LOW_BITS)
        << SNOWFLAKE_LOW_BITS
}

/// Declares a 64-bit id that is written as a decimal string, because it exceeds 2^53.
macro_rules! snowflake {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
        pub struct $name(pub i64);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}", self.0)
            }
        }

        impl FromStr for $name {
            type Err = std::num::ParseIntError;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                text.parse().map(Self)
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = String::deserialize(deserializer)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}

snowflake! {
    /// One run of one playbook version.
    ExecutionId
}
snowflake! {
    /// One fact of an execution, ascending in the order of the log. A step entry is named by the id of
    /// the event that opened it.
    EventId
}

impl ExecutionId {
    /// The id of an execution whose cause has a name: the same for every copy of it, so that a start which
    /// is delivered twice begins one execution. 63 bits of a hash, and no Snowflake: it tells no time.
    #[must_use]
    pub fn derived(cause: &str) -> Self {
        let hash = sha256_hex(cause.as_bytes());
        // Hexadecimal text always reads; 0 would be no id.
        let bits = hash.get(..16).and_then(|hex| u64::from_str_radix(hex, 16).ok());
        Self(i64::try_from(bits.unwrap_or_default() >> 1).unwrap_or(i64::MAX).max(1))
    }
}

/// Declares a text id.
macro_rules! text_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
        #[serde(transparent)]
        pub struct $name(pub String);

        impl $name {
            /// The id as written.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl From<&str> for $name {
            fn from(text: &str) -> Self {
                Self(text.to_owned())
            }
        }

        impl From<String> for $name {
            fn from(text: String) -> Self {
                Self(text)
            }
        }
    };
}

text_id! {
    /// The name of a step in its playbook.
    StepName
}
text_id! {
    /// One tool call of a step run, an iteration or a page; the same for all its attempts.
    CommandId
}
text_id! {
    /// One delivered input, unique per aggregate: the key of deduplication.
    InputId
}

/// What a state belongs to: a whole execution, or one instance of one loop in it.
///
/// Written `exec:{execution_id}` and `exec:{execution_id}:loop:{step}:{event_id}`. A step name may hold
/// colons: the two numbers at the ends make the text unambiguous.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum AggregateKey {
    /// The execution itself.
    Execution(ExecutionId),
    /// A loop instance, named by the step entry that opened it.
    Loop {
        /// The execution that it is part of.
        execution_id: ExecutionId,
        /// The step that loops.
        step: StepName,
        /// The id of the step entry.
        event_id: EventId,
    },
}

impl AggregateKey {
    /// The execution that the aggregate is part of.
    #[must_use]
    pub fn execution_id(&self) -> ExecutionId {
        match self {
            Self::Execution(id) | Self::Loop { execution_id: id, .. } => *id,
        }
    }

    /// The aggregate of the whole execution.
    #[must_use]
    pub fn execution(&self) -> Self {
        Self::Execution(self.execution_id())
    }
}

impl fmt::Display for AggregateKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Execution(id) => write!(f, "exec:{id}"),
            Self::Loop { execution_id, step, event_id } => {
                write!(f, "exec:{execution_id}:loop:{step}:{event_id}")
            }
        }
    }
}

/// A text that is no aggregate key.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("`{0}` is not `exec:ID` or `exec:ID:loop:STEP:EVENT_ID`")]
pub struct NotAKey(String);

impl FromStr for AggregateKey {
    type Err = NotAKey;

    fn from_str(text: &str) -> Result<Self, NotAKey> {
        let parse = || {
            let rest = text.strip_prefix("exec:")?;
            let Some((id, rest)) = rest.split_once(":loop:") else {
                return rest.parse().ok().map(Self::Execution);
            };
            let (step, event_id) = rest.rsplit_once(':')?;
            Some(Self::Loop {
                execution_id: id.parse().ok()?,
                step: step.into(),
                event_id: event_id.parse().ok()?,
            })
        };
        parse().ok_or_else(|| NotAKey(text.to_owned()))
    }
}

impl Serialize for AggregateKey {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for AggregateKey {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_loop_key_survives_any_step_name(
            execution in 0..i64::MAX,
            step in ".*",
            event in 0..i64::MAX,
        ) {
            let (execution_id, event_id) = (ExecutionId(execution), EventId(event));
            let key = AggregateKey::Loop { execution_id, step: StepName(step), event_id };
            prop_assert_eq!(key.to_string().parse::<AggregateKey>().unwrap(), key);
        }
    }

    #[test]
    fn a_derived_id_is_positive_and_the_same_for_the_same_cause() {
        let ids: Vec<i64> =
            (0..100).map(|number| ExecutionId::derived(&format!("order {number}")).0).collect();
        assert!(ids.iter().all(|id| *id > 0));
        let distinct: std::collections::BTreeSet<&i64> = ids.iter().collect();
        assert_eq!(distinct.len(), 100);
        assert_eq!(ExecutionId::derived("order 0").0, ids[0]);
    }

    #[test]
    fn d23_a_key_is_spelled_as_the_seeds_spell_it() {
        let key: AggregateKey = "exec:123:loop:process:items:456".parse().unwrap();
        assert_eq!(
            key,
            AggregateKey::Loop {
                execution_id: ExecutionId(123),
                step: "process:items".into(),
                event_id: EventId(456)
            }
        );
        assert_eq!(key.execution().to_string(), "exec:123");
        assert!("exec:abc".parse::<AggregateKey>().is_err());
    }
}
