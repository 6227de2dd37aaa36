//! The tools, one file per kind.

pub mod http;
pub mod noop;
pub mod python;
pub mod wait;
