//! The functions of this crate, as Lambda invokes them.
//!
//! # Layout
//!
//! * [`events`]: `event-handler`. Folds inputs, and starts executions.
//! * [`start`]: what starts an execution, and how it is asked for.
//! * [`sweep`]: `sweeper`. Tells executions and loops that time has passed.
//! * [`dead`]: `dead-letter`. What nobody could handle gets a reason and a place.
//! * `counted`: what the metrics are made of.

pub mod dead;
pub mod events;
pub mod start;
pub mod sweep;

mod counted;
