//! Runs commands of kind `s3`.

use std::process::ExitCode;

use worker::lambda::serve;
use worker::toolbox::Toolbox;

fn main() -> ExitCode {
    serve("s3", Toolbox::s3)
}
