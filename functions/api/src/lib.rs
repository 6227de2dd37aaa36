//! What programs and people are shown of an execution.
//!
//! # Layout
//!
//! * [`view`]: one execution as one JSON object.
//! * [`waiting`]: what its open steps wait for.
//! * [`timeline`]: all entries of an execution, and the events that they stand for, in causal order.
//!
//! # Invariants
//!
//! * Nothing here changes anything.
//! * Memory does not grow with the number of iterations: results and events pass by, page by page.

pub mod view;
pub mod waiting;

pub mod timeline;

#[cfg(test)]
mod fixture;
