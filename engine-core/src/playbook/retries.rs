//! `retry` of a step or of its tool, in all its forms, as rules on the end of each call.

use super::{Rule, Step};

/// The rules that `retry` of the step stands for, in the order in which they are asked.
#[must_use]
pub fn rules_of(step: &Step) -> Vec<Rule> {
    let _ = step;
    Vec::new()
}
