//! Runs commands of kind `http`.

use std::process::ExitCode;

use worker::lambda::serve;
use worker::toolbox::Toolbox;

fn main() -> ExitCode {
    serve("http", Toolbox::http)
}
