//! Runs commands of kind `transfer`.

use std::process::ExitCode;

use worker::lambda::serve;
use worker::toolbox::Toolbox;

fn main() -> ExitCode {
    serve("transfer", Toolbox::transfer)
}
