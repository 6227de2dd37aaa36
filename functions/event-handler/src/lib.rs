//! One batch of events in, its consequences out.
//!
//! # Layout
//!
//! * [`handler`]: the batch semantics of a FIFO queue around the driver.

pub mod handler;
