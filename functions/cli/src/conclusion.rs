//! What is said and written when a run stands still.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use adapters::catalog::Registry as _;
use adapters::embedded::Embedded;
use anyhow::Context as _;
use api::timeline::for_each_event;
use api::view::{Execution, first_failure, step_durations, write_view};
use api::waiting::{Wait, Waiting, utc};
use engine_core::event::Status;
use engine_core::ids::{ExecutionId, StepName};
use engine_core::load::{Readers, load};
use engine_core::payload::{LoopSummary, Payload};
use engine_core::state::State;
use serde_json::{Value, json};

use crate::ending::Ending;
use crate::local::{Local, Stopped};
use crate::place::{Place, readers};
use crate::playbooks::Source;
use crate::render::{Styles, error, note, number, printable, summary};

/// Callbacks that people are told of; `status` shows all of them.
const CALLBACKS_SHOWN: usize = 10;
/// Iterations whose results people are shown; of more they see the counts.
const RESULTS_SHOWN: u64 = 100;

/// What the user asked to be told.
pub(crate) struct Wanted<'a> {
    /// One JSON object instead of words.
    pub(crate) json: bool,
    /// A file for all events.
    pub(crate) events: Option<&'a Path>,
    /// The store, for the commands that are suggested.
    pub(crate) place: &'a Place,
    /// The credential files that a resumed run needs again.
    pub(crate) credentials: &'a [PathBuf],
    /// The playbook as the user knows it; else as it was registered.
    pub(crate) source: Option<Source>,
}

impl Wanted<'_> {
    /// ` --credential FILE` for each of the files.
    fn credentials(&self) -> String {
        let credentials = self.credentials.iter();
        let credentials = credentials.map(|file| format!(" --credential {}", file.display()));
        credentials.collect()
    }
}

/// Tells how a run went, and ends the process accordingly.
///
/// # Errors
/// If nothing can be read or written.
pub(crate) async fn conclude(
    local: &Local,
    id: ExecutionId,
    stopped: anyhow::Result<Stopped>,
    wanted: Wanted<'_>,
) -> anyhow::Result<Ending> {
    let readers = readers(&local.embedded);
    if let Some(path) = wanted.events {
        write_events(&readers, id, path)
            .await
            .with_context(|| format!("events cannot be written to `{}`", path.display()))?;
    }
    let waits = match stopped {
        Ok(Stopped::Ended(_)) => false,
        Ok(Stopped::Waiting(waits)) => {
            tell_callbacks(id, &waits, &wanted);
            true
        }
        stopped => {
            let ending = stopped.map_or_else(
                |broken| {
                    error(&broken);
                    Ending::Failed
                },
                |_| Ending::Interrupted,
            );
            note(format_args!("execution {id} has not ended, {}", how_to_go_on(id, &wanted)));
            return Ok(ending);
        }
    };
    let execution = Execution::find(&readers, id).await?;
    let execution = execution.with_context(|| format!("execution {id} is not in the store"))?;
    let mut out = BufWriter::new(io::stdout());
    if wanted.json {
        write_view(&readers, &execution, &mut out).await?;
        writeln!(out)?;
    } else {
        let source = match wanted.source {
            Some(source) => Some(source),
            None => source_of(&local.embedded, &execution).await,
        };
        print_summary(&readers, &execution, source.as_ref(), &mut out).await?;
        if *wanted.place != Place::Memory {
            let (faint, store) = (Styles::stdout().faint, wanted.place.argument());
            let more = format!("every event: noetl-lambda events {id}{store}");
            writeln!(out, "{}", faint.apply_to(more))?;
        }
    }
    out.flush()?;
    Ok(if waits { Ending::Waiting } else { execution.state.status.into() })
}

/// Says who is waited for, and how to answer.
fn tell_callbacks(id: ExecutionId, waits: &[Wait], wanted: &Wanted<'_>) {
    for wait in waits.iter().take(CALLBACKS_SHOWN) {
        note(callback(wait, wanted));
    }
    let more = waits.len().saturating_sub(CALLBACKS_SHOWN);
    if more > 0 {
        let store = wanted.place.argument();
        note(format_args!("and for {more} more: noetl-lambda status {id}{store} --json"));
    }
}

/// A callback that is waited for, and how to answer it.
fn callback(wait: &Wait, wanted: &Wanted<'_>) -> String {
    let Waiting::Callback { execution_id: id, token, until_ms } = &wait.what else {
        return String::new();
    };
    let index = wait.index.map(|index| format!(", iteration {index}")).unwrap_or_default();
    let until = until_ms.map(|until_ms| format!(" until {}", utc(until_ms))).unwrap_or_default();
    let step = printable(wait.step.as_str());
    let what = format!("execution {id} waits for a callback of step `{step}`{index}{until}");
    if *wanted.place == Place::Memory {
        return format!("{what}, and nothing is kept of it; name a `--store` to be able to answer");
    }
    let (store, credentials) = (wanted.place.argument(), wanted.credentials());
    format!(
        "{what}; answer it with: noetl-lambda answer {id} {token} --data '{{...}}'{store}{credentials}"
    )
}

/// The command that goes on with an execution.
fn how_to_go_on(id: ExecutionId, wanted: &Wanted<'_>) -> String {
    if *wanted.place == Place::Memory {
        return "and nothing is kept of it; name a `--store` to be able to resume".to_owned();
    }
    let (store, credentials) = (wanted.place.argument(), wanted.credentials());
    format!("go on with `noetl-lambda resume {id}{store}{credentials}`")
}

/// The text of the playbook that an execution is pinned to, if it can be read.
pub(crate) async fn source_of(embedded: &Embedded, execution: &Execution) -> Option<Source> {
    let reference = &execution.state.playbook;
    let text = embedded.catalog.text(reference).await.ok()?;
    Some(Source { name: reference.path.clone(), text })
}

/// Prints an execution for people: its steps, its result or its failure.
///
/// # Errors
/// If a value cannot be read, or nothing written.
pub(crate) async fn print_summary(
    readers: &Readers,
    execution: &Execution,
    source: Option<&Source>,
    out: &mut impl Write,
) -> anyhow::Result<()> {
    let styles = Styles::stdout();
    let durations = step_durations(readers, execution.execution_id).await?;
    write!(out, "{}", summary::summary(execution, &durations, &styles))?;
    if let Some(failure) = &execution.failure {
        let colored = console::colors_enabled();
        write!(out, "{}", summary::failure(failure, source, colored))?;
    }
    for (name, step) in execution.steps() {
        if let Some(Payload::Loop(aggregate)) = &step.result
            && aggregate.failed > 0
        {
            write!(out, "{}", failed_iterations(readers, name, aggregate).await?)?;
        }
    }
    if let (Status::Completed, Some(step)) = (execution.state.status, &execution.state.last) {
        let result = brief(readers, &execution.result).await?;
        writeln!(out, "result of `{step}`:\n{}", summary::result(&result))?;
    }
    Ok(())
}

/// What is known of the iterations of a loop that failed.
async fn failed_iterations(
    readers: &Readers,
    step: &StepName,
    aggregate: &LoopSummary,
) -> anyhow::Result<String> {
    let tail = readers.store.tail(&aggregate.key).await?;
    let errors = match tail.map(|tail| tail.state) {
        Some(State::Loop(state)) => state.errors,
        _ => Vec::new(),
    };
    let mut text = summary::iterations(step, aggregate.failed, &errors);
    let first = first_failure(readers, aggregate).await?;
    if let Some(lines) = first.and_then(|(_, _, error)| error.traceback) {
        text.push_str(&summary::traceback(&lines));
    }
    Ok(text)
}

/// A value for people: of a long loop the counts only.
async fn brief(readers: &Readers, payload: &Payload) -> anyhow::Result<Value> {
    match payload {
        Payload::Loop(summary) if summary.total > RESULTS_SHOWN => {
            let results = format!("{} results, not shown", number(summary.total));
            Ok(json!({"results": results, "stats": summary.stats()}))
        }
        _ => Ok(load(readers, payload).await?),
    }
}

/// Writes every event as a line of JSON.
async fn write_events(readers: &Readers, id: ExecutionId, path: &Path) -> anyhow::Result<()> {
    let mut out = BufWriter::new(File::create(path)?);
    let mut written: io::Result<()> = Ok(());
    for_each_event(&readers.store, id, |event| {
        if written.is_ok() {
            written = serde_json::to_writer(&mut out, &event)
                .map_err(io::Error::from)
                .and_then(|()| out.write_all(b"\n"));
        }
    })
    .await?;
    written?;
    Ok(out.flush()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_callback_that_is_waited_for_says_how_to_answer_it() {
        let (execution_id, token) = (ExecutionId(7), "t-9-3".to_owned());
        let what = Waiting::Callback { execution_id, token, until_ms: Some(1_772_366_400_000) };
        let wait = Wait { step: "approve".into(), index: Some(3), what };
        let told = |place: &Place| {
            let (credentials, source) = (&["a.json".into()][..], None);
            callback(&wait, &Wanted { json: false, events: None, place, credentials, source })
        };
        let head = "execution 7 waits for a callback of step `approve`, iteration 3 until 2026-03-01T12:00:00Z";
        let how = "noetl-lambda answer 7 t-9-3 --data '{...}' --store x.db --credential a.json";
        assert_eq!(told(&Place::File("x.db".into())), format!("{head}; answer it with: {how}"));
        assert!(told(&Place::Memory).ends_with("name a `--store` to be able to answer"));
    }
}
