//! Where executions are kept: a file, or this process alone.

use std::fs;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;

use adapters::clock::SystemClock;
use adapters::embedded::{Embedded, Options};
use anyhow::{Context as _, anyhow};
use engine_core::load::Readers;
use engine_core::ports::{PortError, Ports};

use crate::ending::invalid;
use crate::render::note;

/// The store of whoever names none: in the current folder, so that each project has its own.
pub(crate) const DEFAULT: &str = ".noetl/runs.db";

/// A store as the command line names it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Place {
    /// `:memory:`: nothing is left when the process ends.
    Memory,
    /// A SQLite file, made when it is first written.
    File(PathBuf),
}

impl FromStr for Place {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "" => Err("write the path of a file, or `:memory:`".to_owned()),
            ":memory:" => Ok(Self::Memory),
            path => Ok(Self::File(path.into())),
        }
    }
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Memory => f.write_str(":memory:"),
            Self::File(path) => path.display().fmt(f),
        }
    }
}

impl Place {
    /// ` --store PATH`, for commands that are shown; empty for the default.
    pub(crate) fn argument(&self) -> String {
        match self.to_string().as_str() {
            DEFAULT => String::new(),
            path if path.contains(char::is_whitespace) => format!(" --store '{path}'"),
            path => format!(" --store {path}"),
        }
    }

    /// Opens the store to run something in it; nobody else can meanwhile.
    ///
    /// # Errors
    /// Invalid input, with what to do about it.
    pub(crate) fn open(&self) -> anyhow::Result<Embedded> {
        let opened = match self {
            Self::Memory => Embedded::open(None, options()),
            Self::File(path) => {
                make_folder(path).map_err(invalid)?;
                Embedded::open(Some(path), options())
            }
        };
        opened.map_err(refused)
    }

    /// Opens the store to look at it, also while something runs in it.
    ///
    /// # Errors
    /// Invalid input, with what to do about it.
    pub(crate) fn look(&self) -> anyhow::Result<Embedded> {
        let path = self.existing()?;
        Embedded::open_read_only(path, options()).map_err(refused)
    }

    /// The file, which must be there.
    ///
    /// # Errors
    /// Invalid input.
    pub(crate) fn existing(&self) -> anyhow::Result<&Path> {
        match self {
            Self::Memory => {
                let message = "`:memory:` keeps nothing between two commands; name a file";
                Err(invalid(anyhow!(message)))
            }
            Self::File(path) if !path.exists() => Err(invalid(anyhow!(
                "there is no store at `{self}`; name one with `--store`, or run a playbook first"
            ))),
            Self::File(path) => Ok(path),
        }
    }
}

fn options() -> Options {
    Options::of_engine(Arc::new(SystemClock))
}

fn refused(error: PortError) -> anyhow::Error {
    invalid(anyhow::Error::new(error).context("the store cannot be opened"))
}

/// Makes the folder of the default store; a folder that the user names must be there.
fn make_folder(path: &Path) -> anyhow::Result<()> {
    let Some(folder) = path.parent().filter(|_| path == Path::new(DEFAULT)) else {
        return Ok(());
    };
    if folder.exists() {
        return Ok(());
    }
    // Runs are no part of a project: git is told so where they are, not in the user's own file.
    let name = folder.display();
    fs::create_dir_all(folder)
        .and_then(|()| fs::write(folder.join(".gitignore"), "*\n"))
        .with_context(|| {
            format!("the folder `{name}` cannot be made; choose another file with `--store`")
        })?;
    note(format_args!("made `{name}/` for the store; git ignores it"));
    Ok(())
}

/// What reads values out of a store.
pub(crate) fn readers(embedded: &Embedded) -> Readers {
    let Ports { store, payloads, .. } = embedded.ports();
    Readers { store, payloads }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_memory_or_a_file_and_prints_as_it_is_named() {
        for text in [":memory:", "a.db", "/x/y.db"] {
            assert_eq!(text.parse::<Place>().unwrap().to_string(), text);
        }
        assert!("".parse::<Place>().is_err());
    }

    #[test]
    fn commands_that_are_shown_name_the_store_only_if_they_must() {
        let argument = |text: &str| text.parse::<Place>().unwrap().argument();
        assert_eq!(argument(DEFAULT), "");
        assert_eq!(argument("a.db"), " --store a.db");
        assert_eq!(argument("my runs.db"), " --store 'my runs.db'");
    }

    #[test]
    fn only_an_existing_file_can_be_looked_at() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("runs.db");
        let place = Place::File(file.clone());
        let error = |place: &Place| format!("{:#}", place.look().map(|_| ()).unwrap_err());
        assert!(error(&place).contains("there is no store at"));
        assert!(error(&Place::Memory).contains("keeps nothing"));
        fs::write(&file, "this is a text file, long enough to be read as a header of a database")
            .unwrap();
        assert!(error(&place).contains("not a SQLite database"), "{}", error(&place));
    }
}
