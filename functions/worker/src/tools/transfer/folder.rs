//! The folder whose files a transfer may read and write.

use std::path::{Path, PathBuf};

use super::plan::Side;
use crate::tool::{Reaction, ToolError};

/// Files are inside, whatever a playbook writes.
#[derive(Clone, Debug)]
pub(super) struct Folder(pub(super) PathBuf);

impl Folder {
    /// The file that `path` (or `url`, `uri`) names: its folder exists and is inside.
    pub(super) fn file(&self, side: &Side) -> Result<PathBuf, ToolError> {
        let given = ["path", "uri", "url"].iter().find_map(|key| side.text(key));
        let Some(given) = given.map(str::trim) else {
            return Err(ToolError::input(
                "a side of type file needs `path`, relative to the folder for files",
            ));
        };
        let given = given.strip_prefix("file://").unwrap_or(given);
        let root = self.0.canonicalize().map_err(|error| {
            ToolError::input(format!(
                "the folder for files `{}` cannot be used: {error}; set `NOETL_FILES_DIR`",
                self.0.display()
            ))
        })?;
        let path = root.join(given);
        let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
            return Err(ToolError::input(format!("`path: {given}` names no file")));
        };
        let parent = parent.canonicalize().map_err(|error| {
            ToolError::input(format!(
                "the folder of `path: {given}` cannot be used: {error}; it is looked for in `{}`",
                root.display()
            ))
        })?;
        let path = parent.join(name);
        // A link inside may lead outside; a file that is not there yet leads nowhere.
        let real = path.canonicalize().unwrap_or(path);
        if !real.starts_with(&root) {
            let message = format!(
                "`path: {given}` is outside the folder for files `{}`; use a path inside it, or set \
                 `NOETL_FILES_DIR`",
                root.display()
            );
            return Err(ToolError::new(Reaction::Rejected, "ForbiddenPath", message));
        }
        Ok(real)
    }
}

/// What the system says about a file; a full disk or a missing file does not mend itself.
pub(super) fn failed(doing: &str, path: &Path, error: &std::io::Error) -> ToolError {
    let message = format!("`{}` cannot be {doing}: {error}", path.display());
    ToolError::new(Reaction::Rejected, "FileError", message)
}
