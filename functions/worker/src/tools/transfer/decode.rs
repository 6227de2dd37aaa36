//! Bytes become rows, piece by piece: JSON at a path, JSON lines, CSV.

mod csv;
mod json;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;

use engine_core::limits::{TRANSFER_CHUNK_BYTES, TRANSFER_ROW_BYTES_MAX};
use serde_json::Value;

pub(super) use self::csv::Csv;
pub(super) use self::json::{Json, Paths};
use super::Row;

/// Rows that are ready, each with the bytes that it had.
#[derive(Debug, Default)]
pub(super) struct Ready {
    rows: VecDeque<(Row, usize)>,
    bytes: usize,
}

impl Ready {
    fn push(&mut self, row: Row, bytes: usize) {
        self.bytes += bytes;
        self.rows.push_back((row, bytes));
    }

    /// Whether a chunk can be taken.
    pub(super) fn is_full(&self, rows_max: usize) -> bool {
        self.rows.len() >= rows_max || self.bytes >= TRANSFER_CHUNK_BYTES
    }

    /// The next chunk: at most `rows_max` rows, and few of them if they are wide.
    pub(super) fn take(&mut self, rows_max: usize) -> Vec<Row> {
        let (mut chunk, mut taken) = (Vec::new(), 0);
        while chunk.len() < rows_max && taken < TRANSFER_CHUNK_BYTES {
            let Some((row, bytes)) = self.rows.pop_front() else { break };
            taken += bytes;
            chunk.push(row);
        }
        self.bytes -= taken;
        chunk
    }
}

/// Why bytes are no rows.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Malformed {
    /// Whether the bytes ended too early; the rest may come another time.
    pub(super) is_cut: bool,
    /// Where, what, and the cure.
    pub(super) message: String,
}

impl Malformed {
    fn bad(message: impl Into<String>) -> Self {
        Self { is_cut: false, message: message.into() }
    }

    fn cut(message: impl Into<String>) -> Self {
        Self { is_cut: true, message: message.into() }
    }
}

/// One of the formats.
#[derive(Debug)]
pub(super) enum Decoder {
    /// A JSON document, or several.
    Json(Json),
    /// Comma separated values.
    Csv(Csv),
}

impl Decoder {
    /// Takes bytes; rows that are complete are appended to `ready`.
    pub(super) fn feed(&mut self, bytes: &[u8], ready: &mut Ready) -> Result<(), Malformed> {
        match self {
            Self::Json(json) => json.feed(bytes, ready),
            Self::Csv(csv) => csv.feed(bytes, ready),
        }
    }

    /// There are no more bytes.
    pub(super) fn end(&mut self, ready: &mut Ready) -> Result<(), Malformed> {
        match self {
            Self::Json(json) => json.end(ready),
            Self::Csv(csv) => csv.end(ready),
        }
    }

    /// What stood where the next page is named; taken once.
    pub(super) fn take_next(&mut self) -> Option<Value> {
        match self {
            Self::Json(json) => json.take_next(),
            Self::Csv(_) => None,
        }
    }
}

/// Keeps one row from filling the memory.
fn grow(buffer: &mut Vec<u8>, bytes: &[u8], row: u64) -> Result<(), Malformed> {
    if buffer.len() + bytes.len() > TRANSFER_ROW_BYTES_MAX {
        return Err(Malformed::bad(format!(
            "row {row} is longer than {} MiB; a row that long is no record: check `data_path` and \
             `format`, or select fewer fields",
            TRANSFER_ROW_BYTES_MAX >> 20
        )));
    }
    buffer.extend_from_slice(bytes);
    Ok(())
}
