//! Runs commands of kind `python`.

use std::process::ExitCode;

use worker::lambda::serve;
use worker::toolbox::Toolbox;

fn main() -> ExitCode {
    serve("python", Toolbox::python)
}
