//! Folds events into executions and loops, and starts executions.

use std::process::ExitCode;

use adapters::lambda::run;
use event_handler::lambda::events::EventHandler;
use tokio::runtime::Builder;

fn main() -> ExitCode {
    run(&mut Builder::new_current_thread(), EventHandler::new)
}
