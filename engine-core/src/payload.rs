//! Values that travel, or stay where they are and are only named.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::ids::{AggregateKey, ExecutionId};

/// A value, or where to find it.
///
/// Ordered so that it can key a map: two equal payloads name the same bytes.
#[derive(Clone, Debug, Deserialize, Eq, Hash, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Payload {
    /// The value itself; at most [`crate::limits::INLINE_BYTES_MAX`] bytes as JSON where it is stored.
    Inline(Value),
    /// An object in the payload store.
    Ref(PayloadRef),
    /// A value that a committed entry holds.
    Log {
        /// Whose log.
        key: AggregateKey,
        /// The entry.
        seq: u64,
        /// Which of the entry's facts, from 0.
        fact: u32,
        /// Which of the fact's outcomes, from 0.
        item: u32,
    },
    /// The aggregate of a loop, `{results, stats}`: counts now, results when somebody asks.
    Loop(LoopSummary),
    /// A list that was collected page by page.
    List(List),
    /// The last page of a tool that was called page by page, with what was collected.
    Pages(Box<Pages>),
}

/// A list put together from parts that stay where they are: appending copies no item.
///
/// Parts of equal level are folded into a stored part as soon as there are
/// [`crate::limits::LIST_PARTS_MAX`] of them, so that a list of n parts is O(log n) long itself.
///
/// Source: the log-structured merge-tree, O'Neil and others, Acta Informatica 33, 1996.
#[derive(Clone, Debug, Default, Deserialize, Eq, Hash, PartialEq, Serialize)]
pub struct List {
    /// In order.
    pub parts: Vec<Part>,
}

/// A piece of a [`List`].
#[derive(Clone, Debug, Deserialize, Eq, Hash, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Part {
    /// One element.
    Item(Payload),
    /// A list whose elements follow each other here.
    Items(Payload),
    /// Parts that were stored, as a JSON list of them.
    Stored {
        /// Where.
        parts: PayloadRef,
        /// 1 for a list of items, one more for each folding.
        level: u32,
    },
}

/// What a tool that was called page by page leaves.
#[derive(Clone, Debug, Deserialize, Eq, Hash, PartialEq, Serialize)]
pub struct Pages {
    /// The last page's result.
    pub last: Payload,
    /// What was collected.
    pub items: Payload,
    /// Pages fetched.
    pub count: u32,
    /// Whether the collected items are the result's `data` (`retry.on_success`), or stand beside the last
    /// page (`case` rules).
    pub envelope: bool,
}

/// An object in the payload store, by content.
#[derive(Clone, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
pub struct PayloadRef {
    /// `{execution_id}/{sha256}`: the key in any store.
    pub uri: String,
    /// Lower-case hex SHA-256 of the bytes.
    pub sha256: String,
    /// Length of the object.
    pub bytes: u64,
}

/// What is known of a closed loop without reading its results.
#[derive(Clone, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
pub struct LoopSummary {
    /// The loop instance; its log holds the results.
    pub key: AggregateKey,
    /// Number of iterations.
    pub total: u64,
    /// Iterations that failed.
    pub failed: u64,
}

impl LoopSummary {
    /// `{total, success, failed}`, as playbooks read it.
    #[must_use]
    pub fn stats(&self) -> Value {
        json!({"total": self.total, "success": self.total - self.failed, "failed": self.failed})
    }
}

impl Payload {
    /// The value, when it is here.
    #[must_use]
    pub fn inline(&self) -> Option<&Value> {
        match self {
            Self::Inline(value) => Some(value),
            Self::Ref(_) | Self::Log { .. } | Self::Loop(_) | Self::List(_) | Self::Pages(_) => {
                None
            }
        }
    }
}

/// Bytes that must be in the payload store before an entry names them.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Blob {
    /// Where, and what.
    pub reference: PayloadRef,
    /// The object.
    pub bytes: Vec<u8>,
}

impl Blob {
    /// Names `bytes` by their content, in the space of one execution.
    #[must_use]
    pub fn new(execution_id: ExecutionId, bytes: Vec<u8>) -> Self {
        let sha256 = sha256_hex(&bytes);
        let reference = PayloadRef {
            uri: format!("{execution_id}/{sha256}"),
            sha256,
            bytes: bytes.len() as u64,
        };
        Self { reference, bytes }
    }
}

/// SHA-256.
#[must_use]
pub fn sha256(bytes: &[u8]) -> [u8; 32] {
    Sha256::digest(bytes).into()
}

/// Lower-case hex SHA-256.
#[must_use]
pub fn sha256_hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    sha256(bytes).iter().fold(String::with_capacity(64), |mut hex, byte| {
        // Writing to a String cannot fail.
        let _ = write!(hex, "{byte:02x}");
        hex
    })
}
