//! The rows of a query in chunks, for whoever moves them elsewhere: memory holds a few chunks.

use engine_core::limits::SQLITE_CHUNKS_AHEAD;
use rusqlite::Connection;
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::failure::failed;
use super::place::{Place, opened};
use super::run::path;
use super::values::row;
use crate::save::Row;
use crate::sql::unique_columns;
use crate::tool::ToolError;

/// Begins to read; each message has at most `rows_max` rows, an error is the last one.
pub(crate) fn chunks(
    place: Place,
    query: String,
    rows_max: usize,
    deadline: Instant,
) -> mpsc::Receiver<Result<Vec<Row>, ToolError>> {
    let (sender, receiver) = mpsc::channel(SQLITE_CHUNKS_AHEAD);
    tokio::spawn(async move {
        let rows = sender.clone();
        let read = move |base: &mut Connection| all(base, &query, rows_max.max(1), &rows);
        if let Err(error) = opened(place, deadline, read).await {
            // Whoever read may be gone: then the error is of no use either.
            let _ = sender.send(Err(error)).await;
        }
    });
    receiver
}

fn all(
    base: &Connection,
    query: &str,
    rows_max: usize,
    sender: &mpsc::Sender<Result<Vec<Row>, ToolError>>,
) -> Result<(), ToolError> {
    let path = path(base);
    let failed = |error: rusqlite::Error| failed(Some(base), &path, &error);
    let mut statement = base.prepare(query).map_err(failed)?;
    let columns = unique_columns(statement.column_names());
    let mut found = statement.query([]).map_err(failed)?;
    let mut chunk = Vec::new();
    while let Some(next) = found.next().map_err(failed)? {
        chunk.push(row(next, &columns).map_err(failed)?.0);
        if chunk.len() >= rows_max && sender.blocking_send(Ok(std::mem::take(&mut chunk))).is_err()
        {
            return Ok(());
        }
    }
    if !chunk.is_empty() {
        // Nobody wants the rest: reading has ended as well.
        let _ = sender.blocking_send(Ok(chunk));
    }
    Ok(())
}
