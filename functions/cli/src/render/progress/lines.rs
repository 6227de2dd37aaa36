//! Progress for logs and pipes: whole lines, few of them.

use std::collections::BTreeMap;
use std::io::Write;
use std::sync::{Mutex, PoisonError};

use engine_core::event::Entry;

use super::{Note, Notes, Run, Styles, exit_line, note_line};
use crate::local::Watch;
use crate::render::{number, printable};

/// Milliseconds between two lines about the same loop.
const LOOP_LINE_MS: i64 = 5_000;

/// Writes a line for every step that ends, and for long loops one now and then.
pub(crate) struct Lines<W> {
    inner: Mutex<Inner<W>>,
}

struct Inner<W> {
    out: W,
    styles: Styles,
    notes: Notes,
    /// When each open loop was last written about, in Unix milliseconds.
    told: BTreeMap<Run, i64>,
}

impl<W: Write> Lines<W> {
    /// Lines to `out`.
    pub(crate) fn new(out: W, styles: Styles) -> Self {
        let (notes, told) = (Notes::default(), BTreeMap::new());
        Self { inner: Mutex::new(Inner { out, styles, notes, told }) }
    }
}

impl<W: Write + Send> Watch for Lines<W> {
    fn committed(&self, entry: &Entry) {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        for note in inner.notes.of(entry) {
            if let Some(line) = inner.line(&note, entry.at_ms) {
                // Progress that nobody can read is no reason to stop.
                let _ = writeln!(inner.out, "{line}");
            }
        }
    }
}

impl<W> Inner<W> {
    fn line(&mut self, note: &Note, at_ms: i64) -> Option<String> {
        match note {
            Note::Entered { .. } => None,
            Note::Exited { exit, .. } => Some(exit_line(exit, &self.styles)),
            Note::Retried { .. } | Note::Waits { .. } | Note::Reached { .. } => {
                note_line(note, &self.styles)
            }
            Note::Loop { run, count } if count.closed => {
                self.told.remove(run);
                None
            }
            Note::Loop { run, count } => {
                let told = self.told.entry(*run).or_insert(at_ms);
                if at_ms - *told < LOOP_LINE_MS {
                    return None;
                }
                *told = at_ms;
                let (done, total) = (number(count.done), number(count.total));
                let step = printable(count.step.as_str());
                let failed = match count.failed {
                    0 => String::new(),
                    failed => format!(", {} failed", number(failed)),
                };
                Some(format!("… {step}  {done} of {total} items{failed}"))
            }
        }
    }
}

#[cfg(test)]
mod tests;
