//! One `duckdb-engine` process and the conversation with it.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use engine_core::limits::{DUCKDB_START_MS, ERROR_BYTES_MAX};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::{Child, ChildStderr, ChildStdout, Command};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, timeout_at};

use super::protocol::{self, Answer, Ask, Reply, Request};

/// Frames above this are decoded where they hold nobody up.
const DECODED_HERE_BYTES: usize = 256 << 10;

/// Why there is no answer.
#[derive(Clone, Debug)]
pub(super) enum Loss {
    /// The time is over.
    Timeout,
    /// The process has gone; the text says how.
    Ended(String),
    /// The process does not come up.
    Start(String),
    /// The request is longer than a frame may be.
    TooLong(String),
}

/// Who waits for which answer.
#[derive(Default)]
struct Waiting {
    answers: BTreeMap<u64, oneshot::Sender<Answer>>,
    ended: Option<String>,
}

/// A running process. When the last user drops it, its stdin closes and it ends by itself.
pub(super) struct Process {
    requests: mpsc::UnboundedSender<Vec<u8>>,
    waiting: Arc<Mutex<Waiting>>,
    numbers: AtomicU64,
    #[cfg(test)]
    pid: Option<u32>,
}

impl Process {
    /// Starts `program`, which sees nothing of the worker's environment.
    pub(super) async fn start(program: &Path, deadline: Instant) -> Result<Self, Loss> {
        let failed = |why: String| Loss::Start(format!("`{}` {why}", program.display()));
        let mut command = Command::new(program);
        command.env_clear().envs(environment());
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        // A signal for the terminal's group is the worker's: it ends this one by its stdin.
        let spawned = command.process_group(0).spawn();
        let mut child = spawned.map_err(|error| failed(format!("does not start: {error}")))?;
        let pipes = (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let (Some(mut stdin), Some(stdout), Some(stderr)) = pipes else {
            return Err(failed("has no pipes".to_owned()));
        };
        #[cfg(test)]
        let pid = child.id();
        let waiting = Arc::new(Mutex::new(Waiting::default()));
        let (greeted, greeting) = oneshot::channel();
        lock(&waiting).answers.insert(0, greeted);
        // Unbounded, but each session has one request out: their number is limited.
        let (requests, mut queue) = mpsc::unbounded_channel::<Vec<u8>>();
        tokio::spawn(async move {
            while let Some(frame) = queue.recv().await {
                let sent = stdin.write_all(&frame).await;
                if sent.is_err() || stdin.flush().await.is_err() {
                    break;
                }
            }
        });
        tokio::spawn(listen(child, stdout, stderr, waiting.clone()));
        let process = Self {
            requests,
            waiting,
            numbers: AtomicU64::new(1),
            #[cfg(test)]
            pid,
        };
        let until = deadline.min(Instant::now() + Duration::from_millis(DUCKDB_START_MS));
        match timeout_at(until, greeting).await {
            Ok(Ok(Answer::Hello { .. })) => Ok(process),
            Ok(_) => Err(failed(format!("does not come up: {}", process.ended()))),
            Err(_elapsed) => Err(Loss::Timeout),
        }
    }

    /// A number that no session of this process has.
    pub(super) fn number(&self) -> u64 {
        self.numbers.fetch_add(1, Ordering::Relaxed)
    }

    /// Asks, and waits for the answer until `deadline`.
    pub(super) async fn ask(
        &self,
        session: u64,
        ask: Ask,
        deadline: Instant,
    ) -> Result<Answer, Loss> {
        let id = self.number();
        let frame = protocol::frame(&Request { id, session, ask });
        let frame = frame.map_err(|error| Loss::TooLong(error.to_string()))?;
        let (sender, answer) = oneshot::channel();
        lock(&self.waiting).answers.insert(id, sender);
        if !self.is_alive() || self.requests.send(frame).is_err() {
            return Err(Loss::Ended(self.ended()));
        }
        match timeout_at(deadline, answer).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(_gone)) => Err(Loss::Ended(self.ended())),
            Err(_elapsed) => {
                lock(&self.waiting).answers.remove(&id);
                Err(Loss::Timeout)
            }
        }
    }

    /// Ends a session; nobody waits for that.
    pub(super) fn close(&self, session: u64) {
        if let Ok(frame) = protocol::frame(&Request { id: 0, session, ask: Ask::Close }) {
            // A process that has gone has no sessions.
            let _ = self.requests.send(frame);
        }
    }

    pub(super) fn is_alive(&self) -> bool {
        lock(&self.waiting).ended.is_none()
    }

    /// Its process id.
    #[cfg(test)]
    pub(super) fn pid(&self) -> Option<u32> {
        self.pid
    }

    fn ended(&self) -> String {
        lock(&self.waiting).ended.clone().unwrap_or_else(|| "it closed its pipes".to_owned())
    }
}

/// Hands out answers until the process ends.
async fn listen(
    mut child: Child,
    mut stdout: ChildStdout,
    stderr: ChildStderr,
    waiting: Arc<Mutex<Waiting>>,
) {
    let said = tokio::spawn(last_words(stderr));
    while let Some(reply) = receive(&mut stdout).await {
        if let Some(asked) = lock(&waiting).answers.remove(&reply.id) {
            // Whoever asked may have given up.
            let _ = asked.send(reply.answer);
        }
    }
    // What no longer speaks as agreed is of no use.
    let _ = child.start_kill();
    let how = child.wait().await.map_or_else(|error| error.to_string(), describe);
    let said = said.await.unwrap_or_default();
    let how = if said.is_empty() { how } else { format!("{how}: {said}") };
    let mut waiting = lock(&waiting);
    waiting.ended = Some(how);
    waiting.answers.clear();
}

async fn receive(stdout: &mut ChildStdout) -> Option<Reply> {
    let mut head = [0; 4];
    stdout.read_exact(&mut head).await.ok()?;
    let mut body = vec![0; protocol::length(head).ok()?];
    stdout.read_exact(&mut body).await.ok()?;
    if body.len() <= DECODED_HERE_BYTES {
        return serde_json::from_slice(&body).ok();
    }
    tokio::task::spawn_blocking(move || serde_json::from_slice(&body)).await.ok()?.ok()
}

/// The end of what the process printed.
async fn last_words(mut stderr: ChildStderr) -> String {
    let mut said = Vec::new();
    while let Ok(1..) = stderr.read_buf(&mut said).await {
        let excess = said.len().saturating_sub(ERROR_BYTES_MAX);
        said.drain(..excess);
    }
    String::from_utf8_lossy(&said).trim().to_owned()
}

fn describe(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit code {code}"),
        (None, Some(signal)) => format!("signal {signal}"),
        (None, None) => status.to_string(),
    }
}

/// All that the process sees of its surroundings.
fn environment() -> Vec<(&'static str, OsString)> {
    let mut pairs: Vec<(&str, OsString)> = vec![
        ("LANG", "C.UTF-8".into()),
        ("TZ", "UTC".into()),
        ("TMPDIR", std::env::temp_dir().into()),
    ];
    for name in ["NOETL_DUCKDB_HOME", "LD_LIBRARY_PATH"] {
        pairs.extend(std::env::var_os(name).map(|value| (name, value)));
    }
    pairs
}

/// The executable: named by the environment, else beside this one.
pub(super) fn program() -> Result<PathBuf, String> {
    let named = std::env::var_os("NOETL_DUCKDB_WORKER").filter(|path| !path.is_empty());
    if let Some(named) = named {
        let path = PathBuf::from(named);
        return if path.is_file() {
            Ok(path)
        } else {
            Err(format!("`NOETL_DUCKDB_WORKER` names `{}`, which is no file", path.display()))
        };
    }
    let beside = std::env::current_exe().map(|exe| exe.with_file_name("duckdb-engine"));
    match beside {
        Ok(path) if path.is_file() => Ok(path),
        Ok(path) => Err(format!("there is no `{}`", path.display())),
        Err(error) => Err(format!("where this program is cannot be told: {error}")),
    }
}

fn lock(waiting: &Mutex<Waiting>) -> MutexGuard<'_, Waiting> {
    waiting.lock().unwrap_or_else(PoisonError::into_inner)
}
