//! Runs commands of kind `duckdb`.

use std::process::ExitCode;

use worker::lambda::serve;
use worker::toolbox::Toolbox;

fn main() -> ExitCode {
    serve("duckdb", Toolbox::duckdb)
}
