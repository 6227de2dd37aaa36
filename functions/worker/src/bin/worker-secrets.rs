//! Runs commands of kind `secrets`.

use std::process::ExitCode;

use worker::lambda::serve;
use worker::toolbox::Toolbox;

fn main() -> ExitCode {
    serve("secrets", Toolbox::secrets)
}
