//! What tests share.

pub mod binary;
pub mod canary;
pub mod echo;
pub mod embedded;
pub mod example;
pub mod postgres;
pub mod served;
pub mod simulation;
pub mod site;
