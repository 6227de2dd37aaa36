//! Tells executions and loops that are overdue that time has passed.

use std::process::ExitCode;

use adapters::lambda::run;
use event_handler::lambda::sweep::Sweeper;

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    run(Sweeper::new).await
}
