//! One subcommand, one file.

pub(crate) mod answer;
pub(crate) mod check;
pub(crate) mod esm;
pub(crate) mod events;
pub(crate) mod list;
pub(crate) mod replay;
pub(crate) mod resume;
pub(crate) mod run;
pub(crate) mod schema;
pub(crate) mod serve;
pub(crate) mod status;

use std::future::Future;
use std::io::{self, Write};

use adapters::embedded::Embedded;
use adapters::executions::Executions as _;
use anyhow::anyhow;
use api::view::Execution;
use engine_core::ids::ExecutionId;
use tokio::runtime::Builder;

use crate::args::ExecutionArgs;
use crate::ending::invalid;
use crate::place::{Place, readers};

/// Executions named when an unknown one is asked for.
const KNOWN_SHOWN: usize = 10;

/// Runs a command that only looks.
fn look<T>(work: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    Builder::new_current_thread().enable_all().build()?.block_on(work)
}

/// Looks up the execution that the user names.
///
/// # Errors
/// Invalid input that names the known ones; or the store cannot be read.
async fn find(embedded: &Embedded, args: &ExecutionArgs) -> anyhow::Result<Execution> {
    match Execution::find(&readers(embedded), args.id).await? {
        Some(execution) => Ok(execution),
        None => Err(unknown(embedded, args.id, &args.place.store).await?),
    }
}

/// An error that lists the executions that there are.
async fn unknown(
    embedded: &Embedded,
    id: ExecutionId,
    place: &Place,
) -> anyhow::Result<anyhow::Error> {
    let known = embedded.store.executions(None, KNOWN_SHOWN).await?;
    let known: Vec<String> =
        known.iter().map(|one| format!("{} ({})", one.execution_id, one.path)).collect();
    let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
    Ok(invalid(anyhow!("there is no execution {id} in `{place}`; there is: {known}")))
}

/// Standard output, buffered: a terminal that scrolls by line would slow long outputs down.
fn stdout() -> io::BufWriter<io::Stdout> {
    io::BufWriter::new(io::stdout())
}

/// Writes a line of JSON.
fn write_json(out: &mut impl Write, value: &impl serde::Serialize) -> io::Result<()> {
    serde_json::to_writer(&mut *out, value)?;
    out.write_all(b"\n")
}
