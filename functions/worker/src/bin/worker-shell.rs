//! Runs commands of kind `shell`.

use std::process::ExitCode;

use worker::lambda::serve;
use worker::toolbox::Toolbox;

#[tokio::main]
async fn main() -> ExitCode {
    serve("shell", Toolbox::shell).await
}
