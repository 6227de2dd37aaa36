//! `schema`: the language as a JSON Schema.

use std::io::Write as _;

use clap::Args as ClapArgs;
use engine_core::playbook::schema::json_schema;

use super::stdout;
use crate::ending::Ending;

/// Prints the JSON Schema of playbooks, for editors
#[derive(ClapArgs, Debug)]
pub(crate) struct Args {}

pub(crate) fn run(_args: &Args) -> anyhow::Result<Ending> {
    let mut out = stdout();
    serde_json::to_writer_pretty(&mut out, &json_schema()).map_err(std::io::Error::from)?;
    writeln!(out)?;
    out.flush()?;
    Ok(Ending::Completed)
}
