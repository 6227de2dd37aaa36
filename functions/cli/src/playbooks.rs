//! Playbook texts: read, checked, and reported on.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, anyhow};
use engine_core::limits::PLAYBOOK_BYTES_MAX;
use engine_core::playbook::Playbook;
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
        let length = fs::metadata(path).map(|found| found.len()).unwrap_or_default();
        if length > PLAYBOOK_BYTES_MAX as u64 {
            return Err(anyhow!(
                "playbook `{name}` has {length} bytes, the limit is {PLAYBOOK_BYTES_MAX}"
            ));
        }
        let text = fs::read_to_string(path)
            .with_context(|| format!("playbook `{name}` cannot be read"))?;
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

/// The catalog's parser: a checked playbook, or its errors on one line.
pub(crate) fn parse(text: &str) -> Result<Playbook, String> {
    let Parsed { playbook, diagnostics } = parse_text(text);
    playbook.ok_or_else(|| {
        let errors = diagnostics.iter().filter(|found| found.severity == Severity::Error);
        errors.map(ToString::to_string).collect::<Vec<_>>().join("; ")
    })
}
