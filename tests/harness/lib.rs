//! What tests share.

pub mod binary;
pub mod embedded;
pub mod example;
pub mod postgres;
pub mod served;
pub mod simulation;
pub mod site;
