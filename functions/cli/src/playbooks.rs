//! Playbook texts: read, checked, and reported on.

use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use anyhow::{Context as _, bail};
use engine_core::limits::PLAYBOOK_BYTES_MAX;
use engine_core::playbook::diagnostic::{Diagnostic, Severity};
use engine_core::playbook::parse::{Parsed, parse as parse_text};
use engine_core::playbook::support::unsupported;

/// A text and its name in reports.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Source {
    /// A file path, or a catalog path.
    pub(crate) name: String,
    /// The playbook.
    pub(crate) text: String,
}

/// Whether what the language has and this build does not run is an error.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Target {
    /// It is: the playbook is to run here.
    Here,
    /// It is not: only the text is judged.
    Anywhere,
}

impl Source {
    /// Reads a file.
    ///
    /// # Errors
    /// If it cannot be read, is no text, or is far larger than any playbook.
    pub(crate) fn read(path: &Path) -> anyhow::Result<Self> {
        let name = path.display().to_string();
        let mut text = String::new();
        File::open(path)
            .and_then(|file| file.take(PLAYBOOK_BYTES_MAX as u64 + 1).read_to_string(&mut text))
            .with_context(|| format!("playbook `{name}` cannot be read"))?;
        if text.len() > PLAYBOOK_BYTES_MAX {
            bail!("playbook `{name}` has more than {PLAYBOOK_BYTES_MAX} bytes, which is the limit");
        }
        Ok(Self { name, text })
    }

    /// Checks the text: the playbook if it can be used, and all findings by position.
    pub(crate) fn check(&self, target: Target) -> Parsed {
        let mut parsed = parse_text(&self.text);
        if let Some(playbook) = &parsed.playbook
            && target == Target::Here
        {
            parsed.diagnostics.extend(unsupported(playbook));
            parsed.diagnostics.sort_by_key(|found| found.position);
        }
        if has_errors(&parsed.diagnostics) {
            parsed.playbook = None;
        }
        parsed
    }
}

/// Whether there is more than warnings.
pub(crate) fn has_errors(diagnostics: &[Diagnostic]) -> bool {
    diagnostics.iter().any(|found| found.severity == Severity::Error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_that_cannot_be_a_playbook_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let read = |bytes: &[u8]| {
            let path = folder.path().join("play.yaml");
            std::fs::write(&path, bytes).unwrap();
            Source::read(&path).map_err(|error| format!("{error:#}"))
        };
        assert_eq!(read(b"kind: Playbook").unwrap().text, "kind: Playbook");
        assert!(read(&[0xff, 0xfe]).unwrap_err().contains("UTF-8"));
        let long = vec![b'#'; PLAYBOOK_BYTES_MAX + 1];
        assert!(read(&long).unwrap_err().contains("which is the limit"));
        let missing = Source::read(&folder.path().join("none.yaml")).unwrap_err();
        assert!(format!("{missing:#}").contains("No such file"), "{missing:#}");
    }
}
