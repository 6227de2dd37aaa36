//! Runs commands of kind `lambda`.

use std::process::ExitCode;

use worker::lambda::serve;
use worker::toolbox::Toolbox;

fn main() -> ExitCode {
    serve("lambda", Toolbox::lambda)
}
