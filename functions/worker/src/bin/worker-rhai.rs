//! Runs commands of kind `rhai`.

use std::process::ExitCode;

use worker::lambda::serve;
use worker::toolbox::Toolbox;

fn main() -> ExitCode {
    serve("rhai", Toolbox::rhai)
}
