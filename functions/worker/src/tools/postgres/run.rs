//! The statements of a call, and of a sink.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use engine_core::limits::SQL_ROWS_BYTES_MAX;
use serde_json::Value;
use tokio_postgres::Client;

use super::pool::Session;
use super::read::{Failure, Prepared, prepare};
use super::transaction::{begin, commit, roll_back};
use crate::sql::lexer::first_word;
use crate::sql::named::Style;
use crate::sql::params::{Bound, Params};
use crate::sql::{StatementResult, envelope};
use crate::tool::{Success, ToolError};

/// Runs statements one after the other. Each is kept by itself, and a failed one stops no other; with
/// `is_atomic` all are kept or none.
///
/// # Errors
/// As [`envelope`].
pub(super) async fn commands(
    session: &Session,
    statements: &[String],
    params: &Params,
    is_atomic: bool,
) -> Result<Success, ToolError> {
    let (client, place) = (session.client()?, session.place());
    if is_atomic {
        begin(client, place).await?;
    }
    let mut results = Vec::new();
    let mut budget = SQL_ROWS_BYTES_MAX;
    let mut has_failed = false;
    for statement in statements {
        let ran = command(client, statement, params, statements.len() == 1, &mut budget).await;
        let is_over = ran.as_ref().is_err_and(Failure::is_over);
        has_failed |= ran.is_err();
        results.push(ran.unwrap_or_else(|failure| {
            StatementResult::Failed(failure.into_error(place, statement))
        }));
        if is_over || budget == 0 {
            session.abandon();
            return envelope(results);
        }
        if is_atomic && has_failed {
            break;
        }
    }
    if is_atomic && has_failed {
        roll_back(client).await;
    } else if is_atomic && let Err(error) = commit(client, place).await {
        results.push(StatementResult::Failed(error));
    } else if statements.iter().any(|text| opens(text)) && is_open(client).await {
        roll_back(client).await;
        results.push(StatementResult::Failed(ToolError::input(
            "the statements begin a transaction and do not end it, so that nothing of it is kept; \
             add `COMMIT`, or write `transaction: true` instead of `BEGIN`",
        )));
    }
    envelope(results)
}

async fn command(
    client: &Client,
    statement: &str,
    params: &Params,
    is_only: bool,
    budget: &mut usize,
) -> Result<StatementResult, Failure> {
    let bound = Bound::of(statement, Style::Dollar, params).map_err(Failure::Tool)?;
    let values = bound.values(params).map_err(Failure::Tool)?;
    let prepared = prepare(client, &bound.text).await?;
    if is_only && values.len() > prepared.params.len() {
        return Err(Failure::Tool(ToolError::input(format!(
            "`params` has {} values, and the statement uses {}; write `$1`, `$2`, .. for each",
            values.len(),
            prepared.params.len()
        ))));
    }
    collect(client, &prepared, &bound.text, &values, budget).await
}

async fn collect(
    client: &Client,
    prepared: &Prepared,
    text: &str,
    values: &[Value],
    budget: &mut usize,
) -> Result<StatementResult, Failure> {
    let mut stream = prepared.run(client, text, values).await?;
    let mut rows = Vec::new();
    while let Some(next) = stream.next().await {
        let (row, bytes) = next?;
        *budget = budget.saturating_sub(bytes);
        if *budget == 0 {
            return Err(Failure::Tool(ToolError::input(format!(
                "the rows are more than {} MiB, after {} rows; add `LIMIT` or choose fewer columns, \
                 or move them with the tool `transfer`",
                SQL_ROWS_BYTES_MAX >> 20,
                rows.len()
            ))));
        }
        rows.push(Value::Object(row));
    }
    if prepared.columns.is_empty() {
        return Ok(StatementResult::Done { affected: stream.affected() });
    }
    Ok(StatementResult::Rows { columns: prepared.columns.clone(), rows })
}

fn opens(statement: &str) -> bool {
    let word = first_word(statement);
    ["begin", "start"].into_iter().any(|name| word.eq_ignore_ascii_case(name))
}

/// Whether a transaction that has changed something, or failed, is still open.
async fn is_open(client: &Client) -> bool {
    const ASK: &str = "SELECT pg_current_xact_id_if_assigned() IS NOT NULL";
    match client.query_one(ASK, &[]).await {
        Ok(row) => row.try_get(0).unwrap_or(true),
        Err(_aborted) => true,
    }
}

/// Runs the statements of a sink for each item, all or nothing; how many items, and how many rows changed.
///
/// # Errors
/// The first failure, with the item that it is about; nothing is kept then.
pub(super) async fn statements(
    session: &Session,
    statements: &[String],
    items: Option<Vec<Params>>,
) -> Result<(usize, u64), ToolError> {
    let (client, place) = (session.client()?, session.place());
    let has_items = items.is_some();
    let items = items.unwrap_or_else(|| vec![Params::None]);
    if items.len() * statements.len() <= 1 {
        let changed = each(client, place, statements, &items).await?;
        let saved = if has_items { items.len() } else { usize::try_from(changed).unwrap_or(0) };
        return Ok((saved, changed));
    }
    begin(client, place).await?;
    match each(client, place, statements, &items).await {
        Ok(changed) => {
            commit(client, place).await?;
            let saved = if has_items { items.len() } else { usize::try_from(changed).unwrap_or(0) };
            Ok((saved, changed))
        }
        Err(error) => {
            roll_back(client).await;
            Err(error)
        }
    }
}

async fn each(
    client: &Client,
    place: &str,
    statements: &[String],
    items: &[Params],
) -> Result<u64, ToolError> {
    let mut known: BTreeMap<String, Prepared> = BTreeMap::new();
    let mut changed = 0_u64;
    for (index, params) in items.iter().enumerate() {
        for statement in statements {
            let ran = one(client, statement, params, &mut known).await;
            changed += ran.map_err(|failure| {
                let error = failure.into_error(place, statement);
                if items.len() == 1 {
                    return error;
                }
                let message = format!("item {index}: {}", error.message());
                ToolError::new(error.reaction(), error.kind(), message)
            })?;
        }
    }
    Ok(changed)
}

async fn one(
    client: &Client,
    statement: &str,
    params: &Params,
    known: &mut BTreeMap<String, Prepared>,
) -> Result<u64, Failure> {
    let bound = Bound::of(statement, Style::Dollar, params).map_err(Failure::Tool)?;
    let values = bound.values(params).map_err(Failure::Tool)?;
    let prepared = match known.entry(bound.text.clone()) {
        Entry::Occupied(entry) => entry.into_mut(),
        Entry::Vacant(entry) => entry.insert(prepare(client, &bound.text).await?),
    };
    let mut rows = prepared.run(client, &bound.text, &values).await?;
    while let Some(row) = rows.next().await {
        row?;
    }
    Ok(rows.affected())
}
