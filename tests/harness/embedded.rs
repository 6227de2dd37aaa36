//! The real ports of one process, in memory.

use std::sync::Arc;

use adapters::clock::SystemClock;
use adapters::embedded::{Embedded, Options};
use engine_core::playbook::Playbook;
use engine_core::playbook::parse::parse;
use engine_core::project::event_span;

/// All ports, with nothing in them; playbooks are checked by the real parser.
///
/// # Panics
/// If `SQLite` cannot open a store in memory.
#[must_use]
pub fn memory() -> Embedded {
    let clock = Arc::new(SystemClock);
    let options = Options { parse: checked, expanded: event_span, clock };
    Embedded::open(None, options).unwrap_or_else(|error| panic!("no store in memory: {error}"))
}

fn checked(text: &str) -> Result<Playbook, String> {
    let parsed = parse(text);
    parsed.playbook.ok_or_else(|| format!("{:?}", parsed.diagnostics))
}
