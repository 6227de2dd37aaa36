//! placeholder

mod output;
pub mod tool;
pub mod tools;
