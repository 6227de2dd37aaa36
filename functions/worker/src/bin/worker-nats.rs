//! Runs commands of kind `nats`.

use std::process::ExitCode;

use worker::lambda::serve;
use worker::toolbox::Toolbox;

fn main() -> ExitCode {
    serve("nats", Toolbox::nats)
}
