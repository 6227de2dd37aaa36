//! Runs commands of kind `file`.

use std::process::ExitCode;

use worker::lambda::serve;
use worker::toolbox::Toolbox;

fn main() -> ExitCode {
    serve("file", Toolbox::file)
}
