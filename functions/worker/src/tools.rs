//! The tools, one file per kind.

pub mod duckdb;
pub mod file;
pub mod http;
pub mod lambda;
pub mod nats;
pub mod noop;
pub mod postgres;
pub mod python;
pub mod rhai;
pub mod s3;
pub mod script;
pub mod secrets;
pub mod shell;
pub mod sqlite;
pub mod transfer;
pub mod wait;
