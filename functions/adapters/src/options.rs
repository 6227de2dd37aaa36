//! What every set of adapters is told when it is opened.

use std::sync::Arc;

use engine_core::event::Fact;
use engine_core::playbook::parse::accept;
use engine_core::project::event_span;

use crate::catalog::Parse;
use crate::clock::Timer;

/// What the engine knows and the adapters do not.
#[derive(Clone)]
pub struct Options {
    /// Makes a checked playbook of its text, or says what is wrong with it.
    pub parse: Parse,
    /// Number of events that facts are shown as.
    pub expanded: fn(&[Fact]) -> usize,
    /// The time.
    pub clock: Arc<dyn Timer>,
}

impl Options {
    /// The engine as it is, under a clock.
    #[must_use]
    pub fn of_engine(clock: Arc<dyn Timer>) -> Self {
        Self { parse: accept, expanded: event_span, clock }
    }
}
