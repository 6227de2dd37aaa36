//! Runs commands of kind `noop`.

use std::process::ExitCode;

use worker::lambda::serve;
use worker::toolbox::Toolbox;

fn main() -> ExitCode {
    serve("noop", Toolbox::noop)
}
