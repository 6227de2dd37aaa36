//! The ports of the engine made real. Nothing here decides.
//!
//! # Layout
//!
//! * [`embedded`]: everything in one process, with one file or none (feature `embedded`, the default).
//! * `aws`: `DynamoDB`, SQS and S3 (feature `aws`).
//! * `nats`: states in `JetStream` (feature `nats`). `cloud`: a deployment, with states in either.
//! * [`catalog`], [`credentials`], [`executions`]: what shells ask beside the engine's ports.
//! * [`wire`]: messages as queues carry them.
//! * `telemetry`: logs and metrics as `CloudWatch` reads them (feature `aws`).
//! * `lambda`: from Lambda's events to a handler and back (feature `lambda`).
//! * [`clock`], [`ids`]: the only two sources of chance in the tree.

#[cfg(feature = "aws")]
pub mod aws;
#[cfg(all(feature = "aws", feature = "nats"))]
pub mod cloud;
#[cfg(feature = "embedded")]
pub mod embedded;
#[cfg(feature = "lambda")]
pub mod lambda;
#[cfg(feature = "nats")]
pub mod nats;
#[cfg(feature = "aws")]
pub mod telemetry;

pub mod catalog;
pub mod credentials;
pub mod executions;
pub mod master_key;
pub mod options;
pub mod wire;

pub mod causes;
pub mod clock;
pub mod ids;

mod payloads;
mod recent;
