//! Runs commands of kind `sqlite`.

use std::process::ExitCode;

use worker::lambda::serve;
use worker::toolbox::Toolbox;

fn main() -> ExitCode {
    serve("sqlite", Toolbox::sqlite)
}
