//! What tests share.

pub mod binary;
