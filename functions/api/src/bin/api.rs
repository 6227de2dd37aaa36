//! Answers requests; what they want done becomes an event.

use std::process::ExitCode;

use adapters::lambda::run;
use api::lambda::ApiFunction;

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    run(ApiFunction::new).await
}
