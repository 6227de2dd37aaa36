//! The one thread that writes: it commits together whatever waits together.

use std::mem;
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};

use engine_core::event::{Entry, Fact, Status};
use engine_core::ids::AggregateKey;
use engine_core::limits::{COMMITS_PER_SYNC_MAX, TAILS_KEPT};
use engine_core::ports::{PortError, PortErrorKind, Tail};
use rusqlite::{Connection, OptionalExtension as _, TransactionBehavior, named_params, params};
use tokio::sync::oneshot;

use super::failure::failure;
use super::status_text;
use crate::recent::Recent;

/// The newest tails as this process committed them, so that reading one needs no SQL.
///
/// Right because nobody else writes the file.
#[derive(Clone)]
pub(super) struct Tails(Arc<Mutex<Recent<AggregateKey, Arc<Tail>>>>);

impl Tails {
    fn new() -> Self {
        Self(Arc::new(Mutex::new(Recent::new(TAILS_KEPT))))
    }

    pub(super) fn get(&self, key: &AggregateKey) -> Option<Arc<Tail>> {
        self.lock().get(key).cloned()
    }

    /// Keeps a tail that was read, unless a commit has overtaken the reader.
    pub(super) fn offer(&self, key: &AggregateKey, tail: Tail) {
        let mut tails = self.lock();
        if tails.get(key).is_none_or(|known| known.seq < tail.seq) {
            tails.insert(key.clone(), Arc::new(tail));
        }
    }

    fn lock(&self) -> MutexGuard<'_, Recent<AggregateKey, Arc<Tail>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An entry, ready to be written.
pub(super) struct Change {
    key: AggregateKey,
    tail: Arc<Tail>,
    event_id: i64,
    inputs: String,
    facts: String,
    state: String,
    begun: Option<String>,
    ended: Option<Status>,
}

impl Change {
    /// Encodes an entry whose facts are `expanded` events.
    pub(super) fn new(entry: &Entry, expanded: usize) -> Result<Self, serde_json::Error> {
        let next_event_id =
            entry.event_id.0.saturating_add(i64::try_from(expanded).unwrap_or(i64::MAX));
        let tail =
            Tail { seq: entry.seq, at_ms: entry.at_ms, next_event_id, state: entry.state.clone() };
        Ok(Self {
            key: entry.key.clone(),
            tail: Arc::new(tail),
            event_id: entry.event_id.0,
            inputs: serde_json::to_string(&entry.inputs)?,
            facts: serde_json::to_string(&entry.facts)?,
            state: serde_json::to_string(&entry.state)?,
            begun: entry.facts.iter().find_map(|fact| match fact {
                Fact::Started { playbook, .. } => Some(playbook.path.clone()),
                _ => None,
            }),
            ended: entry.facts.iter().find_map(|fact| match fact {
                Fact::Finished { status, .. } => Some(*status),
                _ => None,
            }),
        })
    }
}

type Reply = oneshot::Sender<Result<(), PortError>>;
type Work = Box<dyn FnOnce(&mut Connection) + Send>;

enum Job {
    Commit(Box<Change>, Reply),
    Run(Work),
}

/// The thread and the way to it. Dropped, it finishes what waits and closes the database.
pub(super) struct Writer {
    jobs: Option<Sender<Job>>,
    thread: Option<JoinHandle<()>>,
    tails: Tails,
}

impl Writer {
    pub(super) fn spawn(name: &str, connection: Connection) -> Result<Self, PortError> {
        let (jobs, waiting) = mpsc::channel();
        let tails = Tails::new();
        let desk = Desk { name: name.to_owned(), connection, tails: tails.clone() };
        let thread = thread::Builder::new()
            .name("store".to_owned())
            .spawn(move || desk.work(&waiting))
            .map_err(|error| {
                let message = format!("no thread could be started to write `{name}`");
                PortError::caused(PortErrorKind::Unavailable, message, error)
            })?;
        Ok(Self { jobs: Some(jobs), thread: Some(thread), tails })
    }

    pub(super) fn tails(&self) -> &Tails {
        &self.tails
    }

    pub(super) fn commit(&self, change: Change, reply: Reply) {
        self.send(Job::Commit(Box::new(change), reply));
    }

    pub(super) fn run(&self, work: Work) {
        self.send(Job::Run(work));
    }

    fn send(&self, job: Job) {
        if let Some(jobs) = &self.jobs {
            // If the thread has ended, the reply is dropped with the job, and that is the answer.
            let _ = jobs.send(job);
        }
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.jobs = None;
        if let Some(thread) = self.thread.take() {
            // A panic of the thread has been reported by the panic hook.
            let _ = thread.join();
        }
    }
}

/// What the thread works with.
struct Desk {
    name: String,
    connection: Connection,
    tails: Tails,
}

impl Desk {
    fn work(mut self, waiting: &Receiver<Job>) {
        let mut group = Vec::new();
        while let Ok(first) = waiting.recv() {
            let mut next = Some(first);
            while let Some(job) = next.take() {
                match job {
                    Job::Commit(change, reply) => group.push((change, reply)),
                    Job::Run(work) => {
                        self.finish(mem::take(&mut group));
                        work(&mut self.connection);
                    }
                }
                if group.len() < COMMITS_PER_SYNC_MAX {
                    next = waiting.try_recv().ok();
                }
            }
            self.finish(mem::take(&mut group));
        }
    }

    /// Commits a group, or if that fails each change alone, so that one cannot spoil the others.
    fn finish(&mut self, group: Vec<(Box<Change>, Reply)>) {
        if group.is_empty() {
            return;
        }
        let changes: Vec<&Change> = group.iter().map(|(change, _)| &**change).collect();
        match self.write(&changes) {
            Ok(written) => {
                for ((change, reply), is_written) in group.into_iter().zip(written) {
                    self.answer(&change, reply, is_written);
                }
            }
            Err(_) if group.len() > 1 => group.into_iter().for_each(|one| self.finish(vec![one])),
            Err(error) => {
                let mut error = Some(failure(&self.name, error));
                for (change, reply) in group {
                    self.tails.lock().remove(&change.key);
                    if let Some(error) = error.take() {
                        // Whoever asked may have gone.
                        let _ = reply.send(Err(error));
                    }
                }
            }
        }
    }

    fn answer(&self, change: &Change, reply: Reply, is_written: bool) {
        let answer = if is_written {
            self.tails.lock().insert(change.key.clone(), change.tail.clone());
            Ok(())
        } else {
            // What is kept may be what led the caller astray.
            self.tails.lock().remove(&change.key);
            let message =
                format!("entry {} of `{}` is not the next one", change.tail.seq, change.key);
            Err(PortError::new(PortErrorKind::Conflict, message))
        };
        // Whoever asked may have gone.
        let _ = reply.send(answer);
    }

    /// Writes all changes in one transaction; false for those that were not the next of their
    /// aggregate.
    fn write(&mut self, changes: &[&Change]) -> rusqlite::Result<Vec<bool>> {
        let transaction =
            self.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let written: rusqlite::Result<Vec<bool>> =
            changes.iter().map(|change| append(&transaction, change)).collect();
        let written = written?;
        transaction.commit()?;
        Ok(written)
    }
}

/// Appends an entry if it is the next one. The condition is part of the statement that moves the
/// tail.
fn append(connection: &Connection, change: &Change) -> rusqlite::Result<bool> {
    let Some(aggregate_id) = move_tail(connection, change)? else { return Ok(false) };
    let tail = &change.tail;
    connection
        .prepare_cached(
            "INSERT INTO entry (aggregate_id, seq, at_ms, event_id, inputs, facts)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
        )?
        .execute(params![
            aggregate_id,
            tail.seq.cast_signed(),
            tail.at_ms,
            change.event_id,
            change.inputs,
            change.facts
        ])?;
    let execution_id = change.key.execution_id().0;
    if let Some(path) = &change.begun {
        connection
            .prepare_cached(
                "INSERT INTO execution (execution_id, path, status, started_ms)
                 VALUES (?1, ?2, ?3, ?4) ON CONFLICT (execution_id) DO NOTHING",
            )?
            .execute(params![execution_id, path, status_text(Status::Running), tail.at_ms])?;
    }
    if let Some(status) = change.ended {
        connection
            .prepare_cached(
                "UPDATE execution SET status = ?2, ended_ms = ?3 WHERE execution_id = ?1",
            )?
            .execute(params![execution_id, status_text(status), tail.at_ms])?;
    }
    Ok(true)
}

/// Makes `change` the newest of its aggregate and returns the aggregate's row; none if it is not
/// the next.
fn move_tail(connection: &Connection, change: &Change) -> rusqlite::Result<Option<i64>> {
    let Tail { seq, at_ms, next_event_id, .. } = &*change.tail;
    if *seq > 1 {
        return connection
            .prepare_cached(
                "UPDATE aggregate SET seq = ?2, at_ms = ?3, next_event_id = ?4, state = ?5
                 WHERE key = ?1 AND seq = ?2 - 1 RETURNING id",
            )?
            .query_row(
                params![
                    change.key.to_string(),
                    seq.cast_signed(),
                    at_ms,
                    next_event_id,
                    change.state
                ],
                |row| row.get(0),
            )
            .optional();
    }
    let (step, loop_id) = match &change.key {
        AggregateKey::Execution(_) => (None, None),
        AggregateKey::Loop { step, event_id, .. } => (Some(step.as_str()), Some(event_id.0)),
    };
    connection
        .prepare_cached(
            "INSERT INTO aggregate
             (key, execution_id, step, loop_id, seq, at_ms, next_event_id, state)
             VALUES (:key, :execution_id, :step, :loop_id, :seq, :at_ms, :next_event_id, :state)
             ON CONFLICT (key) DO NOTHING RETURNING id",
        )?
        .query_row(
            named_params! {
                ":key": change.key.to_string(),
                ":execution_id": change.key.execution_id().0,
                ":step": step,
                ":loop_id": loop_id,
                ":seq": seq.cast_signed(),
                ":at_ms": at_ms,
                ":next_event_id": next_event_id,
                ":state": change.state,
            },
            |row| row.get(0),
        )
        .optional()
}
