//! What tests share.

pub mod binary;
pub mod simulation;
