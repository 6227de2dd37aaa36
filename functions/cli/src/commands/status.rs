//! `status`: where an execution stands.

use std::io::Write as _;

use api::view::write_view;
use clap::Args as ClapArgs;

use super::{find, look, stdout};
use crate::args::ExecutionArgs;
use crate::conclusion::{print_summary, source_of};
use crate::ending::Ending;
use crate::place::readers;

/// Shows where an execution stands, also while another process runs it
#[derive(ClapArgs, Debug)]
pub(crate) struct Args {
    #[command(flatten)]
    execution: ExecutionArgs,
    /// Print one JSON object, with every result
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<Ending> {
    let embedded = args.execution.place.store.look()?;
    look(async {
        let execution = find(&embedded, &args.execution).await?;
        let readers = readers(&embedded);
        let mut out = stdout();
        if args.json {
            write_view(&readers, &execution, &mut out).await?;
            writeln!(out)?;
        } else {
            let source = source_of(&embedded, &execution).await;
            print_summary(&readers, &execution, source.as_ref(), &mut out).await?;
        }
        out.flush()?;
        Ok(Ending::Completed)
    })
}
