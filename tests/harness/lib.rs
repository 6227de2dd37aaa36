//! What tests share.

pub mod binary;
pub mod embedded;
pub mod served;
pub mod simulation;
