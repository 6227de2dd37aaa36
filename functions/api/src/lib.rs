//! What programs and people are shown of an execution, and the HTTP API around it.
//!
//! # Layout
//!
//! * [`view`]: one execution as one JSON object.
//! * [`waiting`]: what its open steps wait for.
//! * [`timeline`]: all entries of an execution, and the events that they stand for, in causal order.
//! * [`http`]: the routes, for any server that can carry them.
//! * [`stored`]: playbooks and executions of whatever keeps them, as the routes ask for them.
//! * `lambda`: the function behind an HTTP API of AWS (feature `lambda`).
//!
//! # Invariants
//!
//! * Nothing here changes an execution: what a request wants done becomes an input of the engine.
//! * Memory does not grow with the number of iterations: results and events pass by, page by page.

pub mod view;
pub mod waiting;

pub mod timeline;

pub mod http;
pub mod stored;

#[cfg(feature = "lambda")]
pub mod lambda;

#[cfg(test)]
mod fixture;
