//! Runs commands of kind `script`.

use std::process::ExitCode;

use worker::lambda::serve;
use worker::toolbox::Toolbox;

fn main() -> ExitCode {
    serve("script", Toolbox::script)
}
