//! Progress for a person at a terminal: a line for what is done, a bar for each loop under way.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use engine_core::event::Entry;
use engine_core::ids::StepName;
use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressState, ProgressStyle};

use super::{Count, Note, Notes, Run, Styles, exit_line, note_line};
use crate::local::Watch;
use crate::render::{number, one_line, printable};

/// How often the spinner turns when nothing else happens.
const TICK: Duration = Duration::from_millis(100);
/// Characters of the list of running steps.
const RUNNING_CHARS: usize = 70;

const LOOP_STYLE: &str =
    "  {prefix} [{bar:28.cyan/blue}] {human_pos}/{human_len}  {rate:.dim}  {msg}ETA {eta}";
const STEP_STYLE: &str = "{spinner:.cyan} {msg} {elapsed:.dim}";

/// Draws on standard error, and leaves nothing but the lines behind.
pub(crate) struct Bars {
    inner: Mutex<Inner>,
}

struct Inner {
    styles: Styles,
    notes: Notes,
    screen: MultiProgress,
    /// One for all running steps: they may be many and short.
    spinner: ProgressBar,
    is_turning: bool,
    running: BTreeMap<Run, StepName>,
    loops: BTreeMap<Run, ProgressBar>,
}

impl Bars {
    /// An empty screen.
    pub(crate) fn new() -> Self {
        let screen = MultiProgress::with_draw_target(ProgressDrawTarget::stderr());
        let spinner = screen.add(ProgressBar::new_spinner().with_style(style(STEP_STYLE)));
        Self {
            inner: Mutex::new(Inner {
                styles: Styles::stderr(),
                notes: Notes::default(),
                screen,
                spinner,
                is_turning: false,
                running: BTreeMap::new(),
                loops: BTreeMap::new(),
            }),
        }
    }
}

impl Watch for Bars {
    fn committed(&self, entry: &Entry) {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        for note in inner.notes.of(entry) {
            inner.draw(&note);
        }
    }

    fn over(&self) {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        inner.loops.clear();
        inner.spinner.finish_and_clear();
        // A screen that cannot be cleared has gone.
        let _ = inner.screen.clear();
    }
}

impl Inner {
    fn draw(&mut self, note: &Note) {
        match note {
            Note::Entered { run, step } => {
                if !self.is_turning {
                    self.spinner.enable_steady_tick(TICK);
                    self.is_turning = true;
                }
                self.running.insert(*run, step.clone());
                self.tell_running();
            }
            Note::Exited { run, exit } => {
                self.running.remove(run);
                self.tell_running();
                self.print(&exit_line(exit, &self.styles));
            }
            Note::Retried { .. } | Note::Waits { .. } | Note::Reached { .. } => {
                if let Some(line) = note_line(note, &self.styles) {
                    self.print(&line);
                }
            }
            Note::Loop { run, count } if count.closed => {
                if let Some(bar) = self.loops.remove(run) {
                    bar.finish_and_clear();
                    self.screen.remove(&bar);
                }
            }
            Note::Loop { run, count } => self.advance(*run, count),
        }
    }

    fn advance(&mut self, run: Run, count: &Count) {
        // The bar says more than the spinner could.
        if self.running.remove(&run).is_some() {
            self.tell_running();
        }
        let bar = self.loops.entry(run).or_insert_with(|| {
            let bar = ProgressBar::new(count.total)
                .with_style(style(LOOP_STYLE).progress_chars("━╸─").with_key("rate", rate))
                .with_prefix(printable(count.step.as_str()));
            self.screen.insert_before(&self.spinner, bar)
        });
        if count.failed > 0 {
            let text = format!("{} failed  ", number(count.failed));
            bar.set_message(self.styles.bad.apply_to(text).to_string());
        }
        bar.set_position(count.done);
    }

    fn tell_running(&self) {
        let names: Vec<_> = self.running.values().map(StepName::as_str).collect();
        self.spinner.set_message(one_line(&printable(&names.join(", ")), RUNNING_CHARS));
    }

    fn print(&self, line: &str) {
        // Progress that nobody can read is no reason to stop.
        let _ = self.screen.println(line);
    }
}

/// Items per second, without the decimals that nobody reads.
fn rate(state: &ProgressState, out: &mut dyn fmt::Write) {
    // A screen that cannot be written to has gone.
    let _ = write!(out, "{:.0}/s", state.per_sec());
}

/// A style of this file; the default one if it could not be read, which a test rules out.
fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template)
        .unwrap_or_else(|_wrong_template| ProgressStyle::default_bar())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_templates_can_be_read() {
        for template in [LOOP_STYLE, STEP_STYLE] {
            assert!(ProgressStyle::with_template(template).is_ok(), "{template}");
        }
    }
}
