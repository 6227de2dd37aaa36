//! Runs commands of kind `lambda`.

use std::process::ExitCode;

use worker::lambda::serve;
use worker::toolbox::Toolbox;

#[tokio::main]
async fn main() -> ExitCode {
    serve("lambda", Toolbox::lambda).await
}
