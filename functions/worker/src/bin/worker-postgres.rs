//! Runs commands of kind `postgres`.

use std::process::ExitCode;

use worker::lambda::serve;
use worker::toolbox::Toolbox;

fn main() -> ExitCode {
    serve("postgres", Toolbox::postgres)
}
