//! The ports of the engine made real. Nothing here decides.
//!
//! # Layout
//!
//! * [`embedded`]: everything in one process, with one file or none.
//! * [`clock`], [`ids`]: the only two sources of chance in the tree.

pub mod embedded;

pub mod clock;
pub mod ids;

mod recent;
