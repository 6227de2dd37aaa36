//! `resume`: goes on with an execution whose process ended.

use std::path::PathBuf;
use std::sync::Arc;

use api::view::Execution;
use clap::Args as ClapArgs;
use engine_core::event::{IgnoreReason, Status};

use super::answer::{Answer, refused};
use super::find;
use super::run::watch;
use crate::args::{ExecutionArgs, ToolArgs};
use crate::conclusion::{Wanted, conclude};
use crate::ending::Ending;
use crate::local::{Local, Stopped, runtime};
use crate::place::readers;
use crate::render::note;

/// Goes on with an execution whose process was interrupted or killed
///
/// Calls that were running are run again; everything else is where it was. An execution that has ended is
/// shown again.
#[derive(ClapArgs, Debug)]
pub(crate) struct Args {
    #[command(flatten)]
    going: Going,
}

/// Which execution goes on, with what, and what is told about it.
#[derive(ClapArgs, Debug)]
pub(crate) struct Going {
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
    go_on(&args.going, None)
}

/// Goes on with an execution; after an answer, with the one at the top that waits for it.
pub(super) fn go_on(going: &Going, answer: Option<Answer>) -> anyhow::Result<Ending> {
    let Going { execution, events, json, tools } = going;
    let json = *json;
    let place = &execution.place.store;
    place.existing()?;
    let local = Arc::new(Local::new(place.open()?, tools, watch(json))?);
    let runtime = runtime()?;
    let ending = runtime.block_on(async {
        let mut found = find(&local.embedded, execution).await?;
        let mut how = "resumed";
        let status = match answer {
            None => local.resume(found.execution_id).await?,
            Some(answer) => {
                how = "answered";
                found = answered(&local, found, answer).await?;
                Some(found.state.status)
            }
        };
        let id = found.execution_id;
        let wanted = Wanted {
            json,
            events: events.as_deref(),
            place,
            credentials: &tools.credentials,
            source: None,
        };
        let stopped = match status {
            Some(Status::Running) => {
                if !json {
                    note(format_args!("{}  execution {id}, {how}", found.state.playbook.path));
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

/// Delivers an answer; the execution at the top that waits for it, as it stands then.
///
/// # Errors
/// If the answer counts for nothing.
async fn answered(local: &Local, asked: Execution, answer: Answer) -> anyhow::Result<Execution> {
    let (id, Answer { token, data }) = (asked.execution_id, answer);
    if asked.state.status != Status::Running {
        return Err(refused(id, &token, IgnoreReason::Terminal));
    }
    let readers = readers(&local.embedded);
    let mut top = asked;
    while let Some(parent) = top.state.parent.as_ref().filter(|parent| parent.waits) {
        match Execution::find(&readers, parent.key.execution_id()).await? {
            Some(above) if above.state.status == Status::Running => top = above,
            _ => break,
        }
    }
    // First what was under way: what follows from the answer is sent by its own entry.
    local.resume(top.execution_id).await?;
    if let Some(reason) = local.answer(id, &token, data).await? {
        return Err(refused(id, &token, reason));
    }
    Ok(Execution::find(&readers, top.execution_id).await?.unwrap_or(top))
}
