//! Runs commands of kind `shell`.

use std::process::ExitCode;

use worker::lambda::serve;
use worker::toolbox::Toolbox;

fn main() -> ExitCode {
    serve("shell", Toolbox::shell)
}
