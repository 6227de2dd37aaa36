//! `file`: a sink that writes what a step has done into a file of one folder.

mod format;
mod place;
#[cfg(test)]
mod tests;

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use async_trait::async_trait;
use engine_core::limits::FILE_BYTES_MAX;
use serde_json::{Value, json};
use tempfile::NamedTempFile;
use tokio::time::{Instant, timeout_at};

use self::format::{Format, Written};
use crate::tool::{Call, Reaction, Success, Tool, ToolError};

/// `file`: everything it writes is under one folder.
#[derive(Clone, Debug)]
pub struct FileSink {
    folder: PathBuf,
}

impl Default for FileSink {
    /// Under the working directory.
    fn default() -> Self {
        Self::new(".")
    }
}

/// What becomes of a file that is there already.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Mode {
    /// The new content comes behind it, in one write.
    Append,
    /// The new content takes its place, at once and as a whole.
    Overwrite,
}

/// One write, ready to be done.
struct Job {
    folder: PathBuf,
    path: String,
    format: Format,
    mode: Mode,
    data: Value,
    deadline: Instant,
}

impl FileSink {
    /// A sink for files under `folder`, and nowhere else.
    #[must_use]
    pub fn new(folder: impl Into<PathBuf>) -> Self {
        Self { folder: folder.into() }
    }
}

#[async_trait]
impl Tool for FileSink {
    fn kind(&self) -> &'static str {
        "file"
    }

    async fn call(&self, call: &Call<'_>) -> Result<Success, ToolError> {
        let job = job(call, &self.folder)?;
        let writing = tokio::task::spawn_blocking(move || job.write());
        match timeout_at(call.deadline, writing).await {
            Ok(Ok(written)) => written.map(Success::of),
            Ok(Err(lost)) => {
                let message = format!("the thread that wrote the file was lost: {lost}");
                Err(ToolError::new(Reaction::Transient, "WorkerError", message))
            }
            Err(_elapsed) => Err(ToolError::timeout(
                "the file was not written in time; raise the `timeout`, or save less at once",
            )),
        }
    }
}

fn job(call: &Call<'_>, folder: &Path) -> Result<Job, ToolError> {
    let Some(path) = call.text("path") else {
        return Err(ToolError::input("the `file` sink needs `path`, the file that it writes"));
    };
    let data = ["data", "payload"].iter().find_map(|key| call.config.get(*key).cloned());
    let data = data.unwrap_or_else(|| Value::Object(call.args.clone()));
    let format = match call.text("format") {
        Some(name) => Format::named(name.trim())?,
        None => Format::of_path(path)?,
    };
    let mode = match call.text("mode").map(str::trim) {
        Some("append") if format == Format::Json => {
            return Err(ToolError::input(
                "two JSON documents in one file are no JSON: use `format: jsonl` to append, or \
                 `mode: overwrite`",
            ));
        }
        Some("overwrite") => Mode::Overwrite,
        None if format == Format::Json => Mode::Overwrite,
        Some("append") | None => Mode::Append,
        Some(other) => {
            let message = format!("`mode: {other}` is not known; write `append` or `overwrite`");
            return Err(ToolError::input(message));
        }
    };
    let (folder, path, deadline) = (folder.to_owned(), path.trim().to_owned(), call.deadline);
    Ok(Job { folder, path, format, mode, data, deadline })
}

impl Job {
    fn write(&self) -> Result<Value, ToolError> {
        let path = place::of(&self.folder, &self.path)?;
        let appends = self.mode == Mode::Append;
        let header = if appends { self.header(&path)? } else { None };
        let Written { bytes, rows } = self.format.write(&self.data, header.as_deref())?;
        if bytes.len() > FILE_BYTES_MAX {
            return Err(ToolError::input(format!(
                "`{}` would get {} bytes at once, and {FILE_BYTES_MAX} are allowed; save in parts",
                self.path,
                bytes.len()
            )));
        }
        if Instant::now() >= self.deadline {
            return Err(ToolError::timeout("there was no time left to write the file"));
        }
        let done = if appends { append(&path, &bytes) } else { overwrite(&path, &bytes) };
        done.map_err(|error| place::failed(&self.path, &error))?;
        Ok(json!({"path": path, "bytes": bytes.len(), "rows": rows}))
    }

    /// The columns of a CSV file that is there already.
    fn header(&self, path: &Path) -> Result<Option<Vec<String>>, ToolError> {
        if self.format != Format::Csv {
            return Ok(None);
        }
        match File::open(path) {
            Ok(file) => format::header(file).map_err(|error| place::failed(&self.path, &error)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(place::failed(&self.path, &error)),
        }
    }
}

/// One write at the end: what others append at the same time does not mix with it.
fn append(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new().create(true).append(true).open(path)?;
    file.write_all(bytes)?;
    file.sync_data()
}

/// A reader sees the old content or the new one, also after a crash.
fn overwrite(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let folder = path.parent().unwrap_or_else(|| Path::new("."));
    let mut file = NamedTempFile::with_prefix_in(".noetl-", folder)?;
    file.write_all(bytes)?;
    if let Ok(old) = fs::metadata(path) {
        file.as_file().set_permissions(old.permissions())?;
    }
    file.as_file().sync_all()?;
    file.persist(path)?;
    File::open(folder)?.sync_all()
}
