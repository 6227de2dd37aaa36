//! `resume`: goes on with an execution whose process ended.

use std::path::PathBuf;
use std::sync::Arc;

use clap::Args as ClapArgs;
use engine_core::event::Status;

use super::find;
use super::run::watch;
use crate::args::{ExecutionArgs, ToolArgs};
use crate::conclusion::{Wanted, conclude};
use crate::ending::Ending;
use crate::local::{Local, Stopped, runtime};
use crate::render::note;

/// Goes on with an execution whose process was interrupted or killed
///
/// Calls that were running are run again; everything else is where it was. An execution that has ended is
/// shown again.
#[derive(ClapArgs, Debug)]
pub(crate) struct Args {
    #[command(flatten)]
    execution: ExecutionArgs,
    /// Write all events to this file, one JSON object a line
    #[arg(long, value_name = "FILE")]
    events: Option<PathBuf>,
    /// Print one JSON object about the execution, and nothing else
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    tools: ToolArgs,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<Ending> {
    let Args { execution, events, json, tools } = args;
    let json = *json;
    let (id, place) = (execution.id, &execution.place.store);
    place.existing()?;
    let local = Arc::new(Local::new(place.open()?, tools, watch(json))?);
    let runtime = runtime()?;
    let ending = runtime.block_on(async {
        let found = find(&local.embedded, execution).await?;
        let wanted = Wanted {
            json,
            events: events.as_deref(),
            place,
            credentials: &tools.credentials,
            source: None,
        };
        let stopped = match local.resume(id).await? {
            Some(Status::Running) => {
                if !json {
                    note(format_args!("{}  execution {id}, resumed", found.state.playbook.path));
                }
                local.drive(id, &found.state.playbook).await
            }
            _ => Ok(Stopped::Ended(found.state.status)),
        };
        conclude(&local, id, stopped, wanted).await
    });
    // Calls that did not finish in time are left behind.
    runtime.shutdown_background();
    ending
}
