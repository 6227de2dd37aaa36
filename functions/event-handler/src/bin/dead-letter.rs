//! Deals with messages that nobody could handle.

use std::process::ExitCode;

use adapters::lambda::run;
use event_handler::lambda::dead::DeadLetters;

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    run(DeadLetters::new).await
}
