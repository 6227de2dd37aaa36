//! `DuckDB` in a process of its own: what goes wrong in it costs one call, not the worker.
//!
//! Reads requests from stdin and answers on stdout, as [`worker::tools::duckdb::protocol`] says;
//! ends with its stdin.
//!
//! # Layout
//!
//! * `session`: one thread per session, one connection each. `statement`: runs a statement.
//! * `databases`: which files are open, and for whom. `database`: opens one, and closes it off.
//! * `cache`: lets memory go behind rows that pass.
//! * `guard`: what `DuckDB` leaves open. `failure`: what went wrong.
//! * `values`: from `DuckDB`'s types to JSON and back.

mod cache;
mod database;
mod databases;
mod failure;
mod guard;
mod session;
mod statement;
mod values;

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use engine_core::limits::DUCKDB_SESSIONS_MAX;
use worker::tools::duckdb::protocol::{Answer, Ask, Reply, Request, read, write};

use crate::databases::Databases;
use crate::failure::failed;
use crate::session::Session;

/// How often idle databases are closed, and sessions that should end are told so again.
const TICK: Duration = Duration::from_secs(1);
/// How long the end may take: what a database has not written into its file is in its log.
const END: Duration = Duration::from_secs(5);

/// Where answers go, whole.
#[derive(Clone, Default)]
struct Answers(Arc<Mutex<()>>);

impl Answers {
    fn send(&self, id: u64, answer: Answer) {
        let _turn = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut stdout = io::stdout().lock();
        let sent = write(&mut stdout, &Reply { id, answer }).or_else(|error| {
            if error.kind() != io::ErrorKind::FileTooLarge {
                return Err(error);
            }
            write(
                &mut stdout,
                &Reply { id, answer: Answer::Failed(failed("TooLarge", error.to_string())) },
            )
        });
        if sent.is_err() {
            // Nobody listens any more.
            std::process::exit(0);
        }
    }
}

fn main() -> io::Result<()> {
    let databases = Databases::new(home());
    let answers = Answers::default();
    let version = duckdb::Connection::open_in_memory()
        .and_then(|memory| memory.version())
        .map_err(io::Error::other)?;
    answers.send(0, Answer::Hello { version });
    let sessions = Arc::new(Mutex::new(BTreeMap::<u64, Session>::new()));
    tick(&databases, &sessions);
    let mut stdin = io::stdin().lock();
    while let Some(request) = read::<Request>(&mut stdin)? {
        let mut sessions = sessions.lock().unwrap_or_else(PoisonError::into_inner);
        sessions.retain(|_, session| !session.has_ended());
        route(request, &mut sessions, &databases, &answers);
    }
    std::thread::spawn(|| {
        std::thread::sleep(END);
        std::process::abort();
    });
    let sessions = std::mem::take(&mut *sessions.lock().unwrap_or_else(PoisonError::into_inner));
    for session in sessions.into_values() {
        session.join();
    }
    databases.close_idle(Instant::now() + END * 1_000);
    Ok(())
}

fn route(
    request: Request,
    sessions: &mut BTreeMap<u64, Session>,
    databases: &Arc<Databases>,
    answers: &Answers,
) {
    let Request { id, session: number, ask } = request;
    if matches!(ask, Ask::Close) {
        if let Some(session) = sessions.get_mut(&number) {
            session.stop();
        }
        return;
    }
    if matches!(ask, Ask::Open(_) | Ask::Release { .. }) && !sessions.contains_key(&number) {
        if sessions.len() >= DUCKDB_SESSIONS_MAX * 2 {
            let text = "too many calls that were given up are still running";
            return answers.send(id, Answer::Failed(failed("Busy", text)));
        }
        match Session::start(databases.clone(), answers.clone()) {
            Ok(session) => drop(sessions.insert(number, session)),
            Err(error) => {
                return answers.send(id, Answer::Failed(failed("Busy", error.to_string())));
            }
        }
    }
    match sessions.get(&number) {
        Some(session) if session.ask(id, ask) => {}
        _ => answers.send(id, Answer::Failed(failed("Session", "the session has ended"))),
    }
}

/// Does from time to time what nobody asks for.
fn tick(databases: &Arc<Databases>, sessions: &Arc<Mutex<BTreeMap<u64, Session>>>) {
    let (databases, sessions) = (databases.clone(), sessions.clone());
    std::thread::spawn(move || {
        loop {
            std::thread::sleep(TICK);
            let mut sessions = sessions.lock().unwrap_or_else(PoisonError::into_inner);
            sessions.retain(|_, session| !session.has_ended());
            sessions.values_mut().for_each(Session::insist);
            drop(sessions);
            databases.close_idle(Instant::now());
        }
    });
}

/// The folder with the extensions: named, else beside the executable, else where it was built with.
fn home() -> PathBuf {
    if let Some(named) = std::env::var_os("NOETL_DUCKDB_HOME") {
        return named.into();
    }
    let beside = std::env::current_exe().ok().and_then(|exe| Some(exe.parent()?.join("duckdb")));
    let built = option_env!("DUCKDB_LIB_DIR").map(PathBuf::from);
    beside.filter(|folder| folder.is_dir()).or(built).unwrap_or_default()
}
