//! `events`: everything that happened in an execution.

use std::io::{self, Write};

use api::timeline::Timeline;
use clap::Args as ClapArgs;
use engine_core::project::{Event, expand};

use super::{find, look, stdout, write_json};
use crate::args::ExecutionArgs;
use crate::ending::Ending;
use crate::place::readers;
use crate::render::{Styles, events};

/// Prints everything that happened in an execution, in causal order
#[derive(ClapArgs, Debug)]
pub(crate) struct Args {
    #[command(flatten)]
    execution: ExecutionArgs,
    /// Print one JSON object a line
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<Ending> {
    let embedded = args.execution.place.store.look()?;
    look(async {
        let execution = find(&embedded, &args.execution).await?;
        let mut timeline = Timeline::new(readers(&embedded).store, args.execution.id);
        let (mut out, styles) = (stdout(), Styles::stdout());
        while let Some(entry) = timeline.next().await? {
            for event in expand(&entry) {
                write(&mut out, &event, (!args.json).then_some((execution.started_ms, &styles)))?;
            }
        }
        out.flush()?;
        Ok(Ending::Completed)
    })
}

fn write(
    out: &mut impl Write,
    event: &Event,
    for_people: Option<(i64, &Styles)>,
) -> io::Result<()> {
    match for_people {
        Some((started_ms, styles)) => writeln!(out, "{}", events::line(event, started_ms, styles)),
        None => write_json(out, event),
    }
}
