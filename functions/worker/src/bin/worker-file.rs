//! Runs commands of kind `file`.

use std::process::ExitCode;

use worker::lambda::serve;
use worker::toolbox::Toolbox;

#[tokio::main]
async fn main() -> ExitCode {
    serve("file", Toolbox::file).await
}
