//! The terminal: everything in one process.
//!
//! # Layout
//!
//! * `args`: what can be asked for. `commands`: one subcommand, one file.
//! * `inputs`, `playbooks`, `place`: what a command is given: values, texts, a store.
//! * `local`: the single-process runner: queues, pumps, driver, tools. `serve`: what the HTTP API needs.
//! * `esm`: triggers functions that run on this machine as AWS would.
//! * `render`: what people see. `ending`: what programs see, the exit code.
//! * `logs`: diagnostics of the program itself.

mod args;
mod commands;

mod inputs;
mod place;
mod playbooks;

mod esm;
mod local;
mod serve;

mod conclusion;
mod ending;
mod logs;
mod render;

use std::process::ExitCode;

use clap::Parser as _;

fn main() -> ExitCode {
    logs::init();
    ending::exit_code(args::Args::parse().command.run())
}
