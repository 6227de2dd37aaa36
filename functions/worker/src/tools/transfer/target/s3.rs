//! Rows into an object, which exists when all are written.

use async_trait::async_trait;

use super::Target;
use crate::tool::ToolError;
use crate::tools::s3::Writer;
use crate::tools::transfer::Row;
use crate::tools::transfer::encode::Encoder;
use crate::tools::transfer::object::Object;
use crate::tools::transfer::plan::Side;
use crate::tools::transfer::source::{Format, delimiter, format_of};

/// An object that is being written.
pub(super) struct S3Target {
    writer: Writer,
    encoder: Encoder,
}

impl S3Target {
    /// Begins an object; the format is told or follows from its key.
    pub(super) fn new(object: &Object, side: &Side) -> Result<Self, ToolError> {
        let format = format_of(&object.key, side)?;
        let content_type = match format {
            Format::Json => "application/json",
            Format::Lines => "application/x-ndjson",
            Format::Csv => "text/csv",
        };
        let writer = object.bucket.write(&object.key, content_type)?;
        Ok(Self { writer, encoder: Encoder::new(format, delimiter(side)?) })
    }
}

#[async_trait]
impl Target for S3Target {
    async fn write(&mut self, rows: &[Row]) -> Result<u64, ToolError> {
        self.writer.write(&self.encoder.encode(rows)?).await?;
        Ok(rows.len() as u64)
    }

    fn keeps(&self) -> bool {
        false
    }

    async fn finish(mut self: Box<Self>) -> Result<Option<u64>, ToolError> {
        self.writer.write(self.encoder.end()).await?;
        Ok(Some(self.writer.finish().await?.bytes))
    }

    async fn abandon(mut self: Box<Self>) {
        self.writer.abort().await;
    }
}
