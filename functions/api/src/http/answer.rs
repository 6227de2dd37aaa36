//! What is answered: JSON, of any length.

use std::io::{self, Read as _, Seek as _, SeekFrom};

use axum::body::{Body, Bytes};
use axum::http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use axum::response::{IntoResponse as _, Response};
use engine_core::limits::API_SPOOL_BYTES;
use futures_util::stream::unfold;
use serde_json::Value;
use tempfile::SpooledTempFile;

use super::problem::Problem;
use crate::view::ViewError;

/// Bytes that are read of a file at a time.
const CHUNK: usize = 64 << 10;

const JSON: &str = "application/json";

/// The answer that is this value.
pub(super) fn json(value: &Value) -> Response {
    ([(CONTENT_TYPE, JSON)], value.to_string()).into_response()
}

/// A place to write JSON to: memory, and a file that has no name for what is long.
///
/// An answer is written first and sent then, so that a failure on the way has its own status.
pub(super) fn spool() -> SpooledTempFile {
    SpooledTempFile::new(API_SPOOL_BYTES)
}

/// The answer that consists of what was written.
pub(super) fn spooled(mut written: SpooledTempFile) -> Result<Response, Problem> {
    let length = written.stream_position().map_err(ViewError::Write)?;
    written.seek(SeekFrom::Start(0)).map_err(ViewError::Write)?;
    let head = [(CONTENT_TYPE, JSON.to_owned()), (CONTENT_LENGTH, length.to_string())];
    let chunks = unfold(written, async |mut written| match chunk(&mut written) {
        Ok(bytes) if bytes.is_empty() => None,
        read => Some((read, written)),
    });
    Ok((head, Body::from_stream(chunks)).into_response())
}

/// The next bytes; none at the end. What was just written is read from memory, or from the page cache.
fn chunk(written: &mut SpooledTempFile) -> io::Result<Bytes> {
    let mut bytes = Vec::with_capacity(CHUNK);
    written.take(CHUNK as u64).read_to_end(&mut bytes)?;
    Ok(bytes.into())
}
