//! Deals with messages that nobody could handle.

use std::process::ExitCode;

use adapters::lambda::run;
use event_handler::lambda::dead::DeadLetters;
use tokio::runtime::Builder;

fn main() -> ExitCode {
    run(&mut Builder::new_current_thread(), DeadLetters::new)
}
