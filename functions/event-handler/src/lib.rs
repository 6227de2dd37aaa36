//! One batch of events in, its consequences out.
//!
//! # Layout
//!
//! * [`handler`]: the batch semantics of a FIFO queue around the driver.
//! * [`overdue`]: who must be told that time has passed.
//! * `lambda`: the functions (feature `lambda`).

pub mod handler;
pub mod overdue;

#[cfg(feature = "lambda")]
pub mod lambda;
