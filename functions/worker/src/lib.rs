//! One command in, one answer out: the shell that runs tools.
//!
//! # Layout
//!
//! * [`handler`]: what a queue calls; executes a command and sends the answer.
//! * `lambda`: the same as a function (feature `lambda`).
//! * [`execute`]: a command becomes outcomes. Never fails: a problem is an outcome with an error.
//! * [`mod@tool`]: what a tool is. [`tools`]: one file per kind.
//! * [`kinds`]: which tools a playbook calls at all. [`toolbox`]: makes the tools of a process.
//! * `task`: which tool a command calls, with which raw configuration; `sink`: what is saved by default.
//! * `render`: the only place that evaluates templates; `scope` holds what they see,
//!   `unit` what a run of several calls adds.
//! * [`aws`]: signed requests to AWS, for the tools and for secrets that are kept there.
//! * `credentials`, `keychain`: secrets enter here. `redact`: they do not leave. `private`: what of them a
//!   call names.
//! * `progress`: long calls tell how far they are.
//! * `sql`, `save`: what the tools for databases have in common.
//! * `outcome`, `output`: results and texts in the size that an answer may have.
//!
//! # Invariants
//!
//! * Secrets, credentials and the environment exist only here, and in no answer.
//! * A tool receives rendered input; it sees no template, no playbook, no queue.
//! * A report of progress never follows the answer, and nothing depends on it.
//! * Every call ends by its deadline, also if the tool does not.

pub mod handler;

pub mod aws;
pub mod execute;
#[cfg(feature = "lambda")]
pub mod lambda;

pub mod kinds;
pub mod tool;
pub mod toolbox;
pub mod tools;

mod cache;
mod credentials;
mod items;
mod keychain;
mod outcome;
mod output;
mod private;
mod progress;
mod redact;
mod render;
mod save;
mod scope;
mod sink;
mod sql;
mod task;
mod unit;

pub use credentials::RemoteSecrets;

/// Directives that the filter of every log must end with: what these libraries log of a call holds
/// statements and notices, and so secrets.
pub const UNLOGGED: [&str; 1] = ["tokio_postgres=warn"];
