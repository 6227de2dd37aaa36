//! Runs commands of kind `rhai`.

use std::process::ExitCode;

use worker::lambda::serve;
use worker::toolbox::Toolbox;

#[tokio::main]
async fn main() -> ExitCode {
    serve("rhai", Toolbox::rhai).await
}
