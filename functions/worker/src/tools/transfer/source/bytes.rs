//! Rows of a file or of an object in a bucket: JSON lines, a JSON list, CSV.

use std::path::Path;

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use engine_core::limits::TRANSFER_PIECE_BYTES;
use tokio::fs::File;
use tokio::io::AsyncReadExt as _;

use super::{Format, Malformed, Source, malformed};
use crate::tool::{Reaction, ToolError};
use crate::tools::s3::Reader;
use crate::tools::transfer::Row;
use crate::tools::transfer::decode::{Decoder, Ready};
use crate::tools::transfer::folder::failed;
use crate::tools::transfer::plan::Side;

/// Where bytes come from.
pub(super) enum Pieces {
    File(File),
    Object(Reader),
}

/// Bytes that are being read.
pub(super) struct BytesSource {
    /// The path or the URI, for errors.
    place: String,
    pieces: Pieces,
    decoder: Decoder,
    ready: Ready,
    is_over: bool,
}

impl BytesSource {
    /// A source whose format is told, or follows from the name.
    pub(super) fn new(place: String, pieces: Pieces, side: &Side) -> Result<Self, ToolError> {
        let decoder = format_of(&place, side)?.decoder(side)?;
        Ok(Self { place, pieces, decoder, ready: Ready::default(), is_over: false })
    }

    async fn piece(&mut self) -> Result<Option<Bytes>, ToolError> {
        match &mut self.pieces {
            Pieces::Object(reader) => reader.next().await,
            Pieces::File(file) => {
                let mut buffer = BytesMut::with_capacity(TRANSFER_PIECE_BYTES);
                let read = file.read_buf(&mut buffer).await;
                read.map_err(|error| failed("read", Path::new(&self.place), &error))?;
                Ok(Some(buffer.freeze()).filter(|bytes| !bytes.is_empty()))
            }
        }
    }

    /// What ends too early here does so the next time as well.
    fn explained(&self, error: &Malformed) -> ToolError {
        let told = malformed(error, &format!("`{}`", self.place));
        ToolError::new(Reaction::Rejected, "DecodeError", told.message())
    }
}

#[async_trait]
impl Source for BytesSource {
    async fn next(&mut self, rows_max: usize) -> Result<Vec<Row>, ToolError> {
        while !self.is_over && !self.ready.is_full(rows_max) {
            let fed = if let Some(bytes) = self.piece().await? {
                self.decoder.feed(&bytes, &mut self.ready)
            } else {
                self.is_over = true;
                self.decoder.end(&mut self.ready)
            };
            fed.map_err(|error| self.explained(&error))?;
        }
        Ok(self.ready.take(rows_max))
    }
}

/// The format that `format` tells, or the end of a name.
pub(in super::super) fn format_of(name: &str, side: &Side) -> Result<Format, ToolError> {
    if let Some(told) = Format::told(side)? {
        return Ok(told);
    }
    let end = Path::new(name).extension().and_then(|end| end.to_str()).unwrap_or_default();
    match end.to_ascii_lowercase().as_str() {
        "json" => Ok(Format::Json),
        "jsonl" | "ndjson" => Ok(Format::Lines),
        "csv" => Ok(Format::Csv),
        _ => Err(ToolError::input(format!(
            "the name `{name}` does not tell what is in it; write `format: json`, `jsonl`, `csv` or \
             `parquet`"
        ))),
    }
}
