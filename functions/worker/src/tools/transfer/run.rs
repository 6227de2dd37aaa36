//! The loop: a chunk is written while the next one is read.

use std::time::Duration;

use engine_core::limits::TOOL_GRACE_MS;
use serde_json::{Value, json};
use tokio::time::timeout_at;

use super::Row;
use super::plan::Plan;
use super::source::Source;
use super::target::Target;
use crate::tool::{Call, Reaction, ToolError};

/// How far a transfer is.
#[derive(Clone, Debug, Default)]
struct Tally {
    fetched: u64,
    written: u64,
    affected: u64,
    chunks: u64,
}

impl Tally {
    fn result(&self, status: &str) -> Value {
        json!({
            "status": status,
            "rows_transferred": self.written,
            "rows_affected": self.affected,
            "chunks_processed": self.chunks,
            "records_fetched": self.fetched,
        })
    }
}

/// Carries all rows from the source to the target; memory holds two chunks, whatever their number.
///
/// # Errors
/// Those of both sides, with how far the transfer was and which row was bad.
pub(super) async fn run(
    mut source: Box<dyn Source + '_>,
    mut target: Box<dyn Target + '_>,
    plan: &Plan,
    call: &Call<'_>,
) -> Result<Value, ToolError> {
    let mut tally = Tally::default();
    let limited = timeout_at(
        // Both sides stop at the deadline by themselves; this is for one that does not.
        call.deadline + Duration::from_millis(TOOL_GRACE_MS / 2),
        carry(&mut *source, &mut *target, plan, call, &mut tally),
    );
    let carried = limited.await.unwrap_or_else(|_elapsed| Err(too_slow()));
    drop(source);
    let keeps = target.keeps();
    if let Err(error) = carried {
        target.abandon().await;
        return Err(told(error, &tally, keeps));
    }
    let bytes = target.finish().await.map_err(|error| told(error, &tally, keeps))?;
    let mut result = tally.result("success");
    if let (Some(bytes), Some(fields)) = (bytes, result.as_object_mut()) {
        fields.insert("bytes".to_owned(), json!(bytes));
    }
    Ok(result)
}

async fn carry(
    source: &mut (dyn Source + '_),
    target: &mut (dyn Target + '_),
    plan: &Plan,
    call: &Call<'_>,
    tally: &mut Tally,
) -> Result<(), ToolError> {
    let mut rows = source.next(plan.chunk_rows).await?;
    while !rows.is_empty() {
        if tally.chunks == 0 {
            plan.mapping.check(&rows)?;
        }
        let first = tally.fetched + 1;
        let count = rows.len() as u64;
        tally.fetched += count;
        let mapped = plan.mapping.apply(rows);
        // A chunk that is refused ends the reading at once; one that is on its way is seen to its end.
        let both = tokio::try_join!(target.write(&mapped), async {
            Ok(source.next(plan.chunk_rows).await)
        });
        let (affected, next) = match both {
            Ok(both) => both,
            Err(error) => return Err(located(target, &mapped, first, plan, error).await),
        };
        tally.written += count;
        tally.affected += affected;
        tally.chunks += 1;
        call.progress.report(json!({"rows_transferred": tally.written, "chunks": tally.chunks}));
        rows = next?;
    }
    Ok(())
}

/// Says which row and which field of a refused chunk was bad, if the target can tell.
async fn located(
    target: &mut (dyn Target + '_),
    rows: &[Row],
    first: u64,
    plan: &Plan,
    error: ToolError,
) -> ToolError {
    let last = first + rows.len() as u64 - 1;
    let mut place = format!("rows {first} to {last} of the source");
    if error.reaction() != Reaction::Transient
        && let Some(bad) = culprit(target, rows).await
    {
        place = format!("row {} of the source", first + bad as u64);
        if let Some(column) = bad_column(target, rows, bad).await {
            let field = plan.mapping.source_of(&column);
            place = format!("{place}, field `{field}` for column `{column}`");
        }
    }
    let message = format!("{place}: {}", error.message());
    error.with_message(message)
}

/// The row that makes a chunk fail: the last of the shortest beginning that does.
async fn culprit(target: &mut (dyn Target + '_), rows: &[Row]) -> Option<usize> {
    let (mut good, mut bad) = (0, rows.len());
    while bad - good > 1 {
        let middle = usize::midpoint(good, bad);
        match target.probe(rows.get(..middle)?).await? {
            Ok(()) => good = middle,
            Err(error) if error.reaction() == Reaction::Transient => return None,
            Err(_) => bad = middle,
        }
    }
    match target.probe(rows.get(..bad)?).await? {
        Ok(()) => None,
        Err(_) => Some(bad - 1),
    }
}

/// The column of the bad row that makes it good when it is null.
async fn bad_column(target: &mut (dyn Target + '_), rows: &[Row], bad: usize) -> Option<String> {
    let row = rows.get(bad)?;
    let mut trial = rows.get(..=bad)?.to_vec();
    for column in row.keys() {
        let mut changed = row.clone();
        changed.insert(column.clone(), Value::Null);
        *trial.last_mut()? = changed;
        if target.probe(&trial).await?.is_ok() {
            return Some(column.clone());
        }
    }
    None
}

/// The error, with how far the transfer was and what becomes of what is written.
fn told(error: ToolError, tally: &Tally, keeps: bool) -> ToolError {
    let fate = match (tally.written, keeps) {
        (0, _) => "nothing is written".to_owned(),
        (_, false) => "nothing of what was sent before is kept".to_owned(),
        (rows, true) => format!(
            "the {rows} rows of the {} chunks before are written and stay; a repetition sends them again, \
             which `mode: upsert` or `overwrite` makes harmless",
            tally.chunks
        ),
    };
    let message = format!("chunk {}: {}; {fate}", tally.chunks + 1, error.message());
    error.with_message(message).with_result(tally.result("error"))
}

/// A side did not stop by itself when the time was over.
pub(super) fn too_slow() -> ToolError {
    ToolError::timeout(
        "the transfer did not end in time; raise `timeout` of the step, or move fewer rows in one step",
    )
}
