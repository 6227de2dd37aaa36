//! The list of executions, and of those that run: rows beside the log, in as many partitions as they
//! need to be written fast.
//!
//! Rows are hints. One that says `RUNNING` is compared with the log before it is shown, and is mended if
//! the update after the last commit was lost.

use async_trait::async_trait;
use engine_core::event::{Entry, Fact, Status};
use engine_core::ids::{AggregateKey, ExecutionId};
use engine_core::limits::{AWS_PARALLEL_MAX, EXECUTION_SHARDS};
use engine_core::ports::{PortError, PortErrorKind, StateStore as _};
use engine_core::state::State;
use futures_util::future::{try_join, try_join_all};
use futures_util::stream::{StreamExt as _, TryStreamExt as _, iter};
use tracing::warn;

use super::DynamoStore;
use crate::aws::item::{Item, Reader, integer, key, text};
use crate::aws::table::{Changes, Rows};
use crate::executions::{ExecutionSummary, Executions};

/// Which of the two lists.
#[derive(Clone, Copy)]
enum List {
    All,
    Running,
}

impl List {
    fn pk(self, shard: i64) -> String {
        let name = match self {
            Self::All => "executions",
            Self::Running => "running",
        };
        format!("{name}:{shard:02}")
    }

    fn key(self, id: ExecutionId) -> Item {
        key(self.pk(id.0.rem_euclid(EXECUTION_SHARDS)), id.0)
    }

    fn row(self, id: ExecutionId, path: &str, started_ms: i64) -> Item {
        let mut row = self.key(id);
        row.insert("path".to_owned(), text(path));
        row.insert("started_ms".to_owned(), integer(started_ms));
        row.insert("status".to_owned(), text(status_text(Status::Running)));
        row
    }
}

impl DynamoStore {
    /// Puts an execution on both lists before its first entry. The line of one that has ended meanwhile
    /// stays as it is; that of the running ones comes again, and goes when somebody looks.
    pub(super) async fn announce_execution(&self, entry: &Entry) -> Result<(), PortError> {
        let path = entry.facts.iter().find_map(|fact| match fact {
            Fact::Started { playbook, .. } => Some(&playbook.path),
            _ => None,
        });
        let Some(path) = path else { return Ok(()) };
        let id = entry.execution_id();
        let all = self.table.create(List::All.row(id, path, entry.at_ms));
        let running = self.table.put(List::Running.row(id, path, entry.at_ms));
        try_join(all, running).await.map(drop)
    }

    /// Notes the end of an execution, if the entry is it.
    pub(super) async fn note_end(&self, entry: &Entry) {
        let status = entry.facts.iter().find_map(|fact| match fact {
            Fact::Finished { status, .. } => Some(*status),
            _ => None,
        });
        let Some(status) = status else { return };
        let id = entry.execution_id();
        self.end(id, status, entry.at_ms).await;
    }

    /// Brings both lists up to an end that is committed. Nobody waits for it, so a failure is only told.
    async fn end(&self, id: ExecutionId, status: Status, ended_ms: i64) {
        let changes = Changes {
            set: vec![("status", text(status_text(status))), ("ended_ms", integer(ended_ms))],
            only_existing: true,
            ..Changes::default()
        };
        // First the line, then the other list: what is lost in between is still found as running.
        let mended = async {
            self.table.change(List::All.key(id), changes).await?;
            self.table.delete(List::Running.key(id)).await
        };
        if let Err(error) = mended.await {
            warn!(execution_id = %id, %error, "an ended execution is listed as running until somebody looks");
        }
    }

    /// The first `limit` lines in a range of ids, over all partitions.
    async fn lines(
        &self,
        list: List,
        between: (i128, i128),
        descending: bool,
        limit: usize,
    ) -> Result<Vec<ExecutionSummary>, PortError> {
        let shards = (0..EXECUTION_SHARDS)
            .map(|shard| self.table.rows(Rows { pk: list.pk(shard), between, descending, limit }));
        let rows = try_join_all(shards).await?.into_iter().flatten();
        let lines: Result<Vec<_>, _> = rows.map(|row| summary(&row)).collect();
        let mut lines = lines?;
        lines.sort_by_key(|line| if descending { -line.position } else { line.position });
        lines.truncate(limit);
        Ok(lines)
    }

    /// Compares lines with the log; leaves out those of executions that never began.
    async fn settled(
        &self,
        lines: Vec<ExecutionSummary>,
    ) -> Result<Vec<ExecutionSummary>, PortError> {
        let lines = iter(lines).map(|line| self.settle(line)).buffered(AWS_PARALLEL_MAX);
        let lines: Vec<Option<ExecutionSummary>> = lines.try_collect().await?;
        Ok(lines.into_iter().flatten().collect())
    }

    async fn settle(
        &self,
        mut line: ExecutionSummary,
    ) -> Result<Option<ExecutionSummary>, PortError> {
        if line.status != Status::Running {
            return Ok(Some(line));
        }
        let tail = match self.tail(&AggregateKey::Execution(line.execution_id)).await {
            Ok(Some(tail)) => tail,
            Ok(None) => return Ok(None),
            // The line is all that can be shown, and the others are no worse for it.
            Err(error) if error.kind == PortErrorKind::Corrupt => {
                let id = line.execution_id;
                warn!(execution_id = %id, %error, "listed as running: its state does not decode");
                return Ok(Some(line));
            }
            Err(error) => return Err(error),
        };
        if let State::Execution(state) = &tail.state
            && state.status != Status::Running
        {
            // Nearly always the time of the end: what comes after it are late answers.
            (line.status, line.ended_ms) = (state.status, Some(tail.at_ms));
            self.end(line.execution_id, state.status, tail.at_ms).await;
        }
        Ok(Some(line))
    }
}

#[async_trait]
impl Executions for DynamoStore {
    async fn executions(
        &self,
        before: Option<i64>,
        limit: usize,
    ) -> Result<Vec<ExecutionSummary>, PortError> {
        let mut before = before.unwrap_or(i64::MAX);
        let mut found = Vec::new();
        // More pages only where lines were left out.
        while found.len() < limit {
            let wanted = limit - found.len();
            let between = (i128::from(i64::MIN), i128::from(before) - 1);
            let page = self.lines(List::All, between, true, wanted).await?;
            let is_last = page.len() < wanted;
            before = page.last().map_or(before, |line| line.position);
            found.extend(self.settled(page).await?);
            if is_last {
                break;
            }
        }
        Ok(found)
    }

    async fn running(
        &self,
        after: Option<i64>,
        limit: usize,
    ) -> Result<Vec<ExecutionSummary>, PortError> {
        let mut after = after.unwrap_or(0);
        let mut found = Vec::new();
        while found.len() < limit {
            let wanted = limit - found.len();
            let between = (i128::from(after) + 1, i128::from(i64::MAX));
            let page = self.lines(List::Running, between, false, wanted).await?;
            let is_last = page.len() < wanted;
            after = page.last().map_or(after, |line| line.position);
            let settled = self.settled(page).await?.into_iter();
            found.extend(settled.filter(|line| line.status == Status::Running));
            if is_last {
                break;
            }
        }
        Ok(found)
    }

    async fn execution(
        &self,
        execution_id: ExecutionId,
    ) -> Result<Option<ExecutionSummary>, PortError> {
        match self.table.get(List::All.key(execution_id)).await? {
            Some(row) => self.settle(summary(&row)?).await,
            None => Ok(None),
        }
    }
}

fn summary(row: &Item) -> Result<ExecutionSummary, PortError> {
    let what = || "a line of the list of executions".to_owned();
    let reader = Reader { item: row, what: &what };
    let id = reader.integer("sk")?;
    let status = serde_json::from_value(reader.text("status")?.into()).map_err(|error| {
        let message = format!("{}: the status of execution {id}", what());
        PortError::caused(PortErrorKind::Corrupt, message, error)
    })?;
    Ok(ExecutionSummary {
        position: id,
        execution_id: ExecutionId(id),
        path: reader.text("path")?.to_owned(),
        status,
        started_ms: reader.integer("started_ms")?,
        ended_ms: reader.optional("ended_ms")?,
    })
}

/// A status as its attribute spells it.
fn status_text(status: Status) -> &'static str {
    match status {
        Status::Running => "RUNNING",
        Status::Completed => "COMPLETED",
        Status::Failed => "FAILED",
        Status::Cancelled => "CANCELLED",
        Status::Skipped => "SKIPPED",
    }
}
