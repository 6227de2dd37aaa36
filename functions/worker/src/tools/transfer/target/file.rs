//! Rows into a file, which appears whole when all are written.

use std::path::{Path, PathBuf};

use async_trait::async_trait;
use tempfile::{NamedTempFile, TempPath};
use tokio::fs::File;
use tokio::io::AsyncWriteExt as _;

use super::Target;
use crate::tool::ToolError;
use crate::tools::transfer::Row;
use crate::tools::transfer::encode::Encoder;
use crate::tools::transfer::folder::failed;
use crate::tools::transfer::plan::Side;
use crate::tools::transfer::source::{delimiter, format_of};

/// A file that is being written, under another name.
pub(super) struct FileTarget {
    path: PathBuf,
    temporary: TempPath,
    file: File,
    encoder: Encoder,
    bytes: u64,
}

impl FileTarget {
    /// Begins a file beside `path`; the format is told or follows from the name.
    pub(super) fn open(path: PathBuf, side: &Side) -> Result<Self, ToolError> {
        let format = format_of(&path.display().to_string(), side)?;
        let (file, temporary) = beside(&path)?.into_parts();
        Ok(Self {
            path,
            temporary,
            file: File::from_std(file),
            encoder: Encoder::new(format, delimiter(side)?),
            bytes: 0,
        })
    }

    async fn put(&mut self, bytes: &[u8]) -> Result<(), ToolError> {
        let put = self.file.write_all(bytes).await;
        put.map_err(|error| failed("written", &self.path, &error))?;
        self.bytes += bytes.len() as u64;
        Ok(())
    }
}

#[async_trait]
impl Target for FileTarget {
    async fn write(&mut self, rows: &[Row]) -> Result<u64, ToolError> {
        let bytes = self.encoder.encode(rows)?;
        self.put(&bytes).await?;
        Ok(rows.len() as u64)
    }

    fn keeps(&self) -> bool {
        false
    }

    async fn finish(mut self: Box<Self>) -> Result<Option<u64>, ToolError> {
        self.put(self.encoder.end()).await?;
        let synced = self.file.sync_all().await;
        synced.map_err(|error| failed("written", &self.path, &error))?;
        let Self { path, temporary, bytes, .. } = *self;
        temporary.persist(&path).map_err(|error| failed("written", &path, &error.error))?;
        Ok(Some(bytes))
    }
}

/// A file is replaced whole; nothing else can be promised of it.
pub(super) fn overwrites(side: &Side) -> Result<(), ToolError> {
    match side.text("mode") {
        None | Some("overwrite") => Ok(()),
        Some(mode) => Err(ToolError::input(format!(
            "`mode: {mode}` cannot be had of a {}: it appears whole when all rows are written; leave it \
             out, or write into a table",
            side.kind.name()
        ))),
    }
}

/// A file with another name in the same folder; it is gone if nobody keeps it.
pub(in super::super) fn beside(path: &Path) -> Result<NamedTempFile, ToolError> {
    let folder = path.parent().unwrap_or_else(|| Path::new("."));
    let made = tempfile::Builder::new().prefix(".transfer-").suffix(".part").tempfile_in(folder);
    made.map_err(|error| failed("written", path, &error))
}
