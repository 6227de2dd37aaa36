//! Answers requests; what they want done becomes an event.

use std::process::ExitCode;

use adapters::lambda::run;
use api::lambda::ApiFunction;
use tokio::runtime::Builder;

fn main() -> ExitCode {
    run(&mut Builder::new_current_thread(), ApiFunction::new)
}
