//! Folds events into executions and loops, and starts executions.

use std::process::ExitCode;

use adapters::lambda::run;
use event_handler::lambda::events::EventHandler;

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    run(EventHandler::new).await
}
