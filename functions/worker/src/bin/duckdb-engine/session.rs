//! One session: a thread, a connection, one request after the other.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use duckdb::InterruptHandle;
use serde_json::Value;
use worker::tools::duckdb::protocol::{Answer, Ask, Failure, Table};

use crate::Answers;
use crate::cache::Cache;
use crate::databases::{Checkout, Databases};
use crate::failure::failed;
use crate::guard;
use crate::statement::{self, Running};
use crate::values::weight;

/// How a session is spoken to.
pub(crate) struct Session {
    requests: Option<Sender<(u64, Ask)>>,
    shared: Arc<Shared>,
    thread: JoinHandle<()>,
}

#[derive(Default)]
struct Shared {
    is_stopping: AtomicBool,
    interrupt: Mutex<Option<Arc<InterruptHandle>>>,
}

impl Shared {
    fn interrupt(&self) {
        let handle = self.interrupt.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(handle) = &*handle {
            handle.interrupt();
        }
    }
}

impl Session {
    /// A session without a database.
    pub(crate) fn start(databases: Arc<Databases>, answers: Answers) -> std::io::Result<Self> {
        let (requests, received) = channel();
        let shared = Arc::new(Shared::default());
        let work = Work { databases, answers, shared: shared.clone(), checkout: None };
        let thread = std::thread::Builder::new()
            .name("session".to_owned())
            .spawn(move || work.run(&received))?;
        Ok(Self { requests: Some(requests), shared, thread })
    }

    /// Passes a request on; false if nobody takes it any more.
    pub(crate) fn ask(&self, id: u64, ask: Ask) -> bool {
        self.requests.as_ref().is_some_and(|requests| requests.send((id, ask)).is_ok())
    }

    /// Stops what it does, and ends it.
    pub(crate) fn stop(&mut self) {
        self.shared.is_stopping.store(true, Ordering::SeqCst);
        self.requests = None;
        self.shared.interrupt();
    }

    /// Interrupts again what should have ended: the first time may have been before it began.
    pub(crate) fn insist(&mut self) {
        if self.requests.is_none() {
            self.shared.interrupt();
        }
    }

    pub(crate) fn has_ended(&self) -> bool {
        self.thread.is_finished()
    }

    /// Stops it and waits for its end.
    pub(crate) fn join(mut self) {
        self.stop();
        // It has answered whatever there was to say.
        let _ = self.thread.join();
    }
}

/// The session's own side.
struct Work {
    databases: Arc<Databases>,
    answers: Answers,
    shared: Arc<Shared>,
    checkout: Option<Checkout>,
}

impl Work {
    fn run(mut self, received: &Receiver<(u64, Ask)>) {
        let mut waiting = None;
        while let Some((id, ask)) = waiting.take().or_else(|| received.recv().ok()) {
            if self.shared.is_stopping.load(Ordering::SeqCst) {
                break;
            }
            let done = catch_unwind(AssertUnwindSafe(|| self.work(id, ask, received)));
            waiting = done.unwrap_or_else(|_| {
                self.fail(id, failed("Internal", "the DuckDB client library panicked"));
                None
            });
        }
        // The handle outlives the connection, but must not name it any more.
        *self.shared.interrupt.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// Answers one request; what came while it was at it, and is something else, is left over.
    fn work(&mut self, id: u64, ask: Ask, received: &Receiver<(u64, Ask)>) -> Option<(u64, Ask)> {
        let answer = match ask {
            Ask::Open(opening) => self.databases.checkout(&opening).map(|checkout| {
                let handle = checkout.connection.interrupt_handle();
                *self.shared.interrupt.lock().unwrap_or_else(PoisonError::into_inner) =
                    Some(handle);
                self.checkout = Some(checkout);
                Answer::Done
            }),
            Ask::Execute { sql, params, bytes_max } => {
                self.execute(&sql, &params, bytes_max).map(Answer::Table)
            }
            Ask::Read { sql, params } => {
                let running =
                    self.checkout(&sql).and_then(|Checkout { connection, cache, .. }| {
                        let start = || statement::start(connection, &sql, &params);
                        Ok((cache.during(start)?, cache))
                    });
                match running {
                    Ok((running, cache)) => return self.read(id, running, cache, received),
                    Err(failure) => Err(failure),
                }
            }
            Ask::Next { .. } => Err(failed("Session", "nothing is being read")),
            Ask::Release { path, wait_ms } => {
                self.databases.release(&path, wait_ms).map(|()| Answer::Done)
            }
            Ask::Close => return None,
        };
        self.answers.send(id, answer.unwrap_or_else(Answer::Failed));
        None
    }

    /// Gives out rows until something else is asked.
    fn read(
        &self,
        id: u64,
        mut running: Running<'_>,
        cache: &Cache,
        received: &Receiver<(u64, Ask)>,
    ) -> Option<(u64, Ask)> {
        self.answers.send(id, Answer::Table(running.head()));
        loop {
            let (id, ask) = received.recv().ok()?;
            if self.shared.is_stopping.load(Ordering::SeqCst) {
                return None;
            }
            let Ask::Next { rows_max } = ask else { return Some((id, ask)) };
            let rows = cache.during(|| running.next(rows_max)).and_then(|rows| {
                cache.passed(rows.iter().flatten().map(weight).sum())?;
                Ok(rows)
            });
            self.answers.send(id, rows.map_or_else(Answer::Failed, Answer::Rows));
        }
    }

    fn execute(&self, sql: &str, params: &Value, bytes_max: usize) -> Result<Table, Failure> {
        let Checkout { connection, cache, .. } = self.checkout(sql)?;
        let done = cache.during(|| statement::execute(connection, sql, params, bytes_max))?;
        cache.passed(weight(params))?;
        Ok(done)
    }

    /// The database, if the statement may run on it.
    fn checkout(&self, sql: &str) -> Result<&Checkout, Failure> {
        let checkout = self.checkout.as_ref();
        let checkout = checkout.ok_or_else(|| failed("Session", "no database is open"))?;
        guard::check(sql, &checkout.rules)?;
        Ok(checkout)
    }

    fn fail(&self, id: u64, failure: Failure) {
        self.answers.send(id, Answer::Failed(failure));
    }
}
