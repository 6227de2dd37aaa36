//! Tells executions and loops that are overdue that time has passed.

use std::process::ExitCode;

use adapters::lambda::run;
use event_handler::lambda::sweep::Sweeper;
use tokio::runtime::Builder;

fn main() -> ExitCode {
    run(&mut Builder::new_current_thread(), Sweeper::new)
}
