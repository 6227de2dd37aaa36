//! Where a file may be: under one folder, whatever its path says.

use std::fs;
use std::io;
use std::path::{Component, Path, PathBuf};

use crate::tool::{Reaction, ToolError};

/// The real path of a file under `folder`; folders on the way are made.
///
/// # Errors
/// If the path leaves the folder, by `..` or by a link, or names no file.
pub(super) fn of(folder: &Path, path: &str) -> Result<PathBuf, ToolError> {
    let root = folder.canonicalize().map_err(|error| {
        ToolError::input(format!(
            "the folder for files, `{}`, cannot be used: {error}; set NOETL_FILES_DIR to one that \
             exists",
            folder.display()
        ))
    })?;
    let outside = || {
        ToolError::input(format!(
            "`path: {path}` is outside of `{}`, the folder for files; write a path below it, \
             without `..` and without links, or set NOETL_FILES_DIR where the worker starts",
            root.display()
        ))
    };
    if path.contains('\0') || path.ends_with('/') {
        return Err(ToolError::input(format!("`path: {}` names no file", path.escape_debug())));
    }
    let given = Path::new(path);
    let relative = if given.is_absolute() {
        given
            .strip_prefix(&root)
            .or_else(|_| given.strip_prefix(folder))
            .map_err(|_outside| outside())?
    } else {
        given
    };
    let parts: Vec<_> = relative
        .components()
        .filter(|part| *part != Component::CurDir)
        .map(|part| match part {
            Component::Normal(name) => Ok(name),
            _ => Err(outside()),
        })
        .collect::<Result<_, _>>()?;
    let Some((name, folders)) = parts.split_last() else { return Err(outside()) };
    let mut place = root.clone();
    for part in folders {
        place.push(part);
        match fs::create_dir(&place) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                return Err(failed(path, &error));
            }
            _ => {}
        }
        // A link may lead somewhere else below the folder, but not out of it.
        place = place.canonicalize().map_err(|error| failed(path, &error))?;
        if !place.starts_with(&root) {
            return Err(outside());
        }
    }
    place.push(name);
    match fs::symlink_metadata(&place) {
        Ok(found) if found.is_symlink() => Err(outside()),
        Ok(found) if !found.is_file() => {
            let message = format!("`path: {path}` is there and is no file; write another path");
            Err(ToolError::input(message))
        }
        _ => Ok(place),
    }
}

/// A failure of the file system, by what may be done about it.
pub(super) fn failed(path: &str, error: &io::Error) -> ToolError {
    let (reaction, cure) = match error.kind() {
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
            (Reaction::Rejected, "let the worker write there, or write another path")
        }
        io::ErrorKind::NotADirectory => {
            (Reaction::Input, "a part of it is a file and no folder; write another path")
        }
        io::ErrorKind::InvalidFilename => (Reaction::Input, "write a shorter name"),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            (Reaction::Transient, "free space where the worker runs")
        }
        _ => (Reaction::Transient, "look at the disk of the worker"),
    };
    ToolError::new(reaction, "FileError", format!("`{path}` cannot be written: {error}; {cure}"))
}
