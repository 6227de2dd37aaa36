//! One interpreter process and the conversation with it.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use engine_core::limits::{
    OUTPUT_BYTES_MAX, PYTHON_FILE_BYTES, PYTHON_OPEN_FILES, RESULT_BYTES_MAX,
};
use memchr::memmem;
use nix::unistd::Pid;
use serde::Deserialize;
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command};
use tokio::time::{Instant, interval_at, sleep_until, timeout_at};

use super::processes::{started_by, stop_all, stop_strays};
use crate::output::Capture;

/// The program that the interpreter runs.
const RUNNER: &str = concat!(include_str!("contract.py"), include_str!("runner.py"));
/// How often the processes of a running call are counted.
const COUNT_EVERY: Duration = Duration::from_millis(200);
/// Bytes that one read may take: what a pipe holds.
const READ_BYTES: usize = 64 << 10;
/// How long the end of the output may lag behind the answer.
const MARKER_LAG: Duration = Duration::from_secs(1);

/// What every interpreter of a pool is started with.
#[derive(Clone, Debug)]
pub(super) struct Settings {
    pub(super) memory_bytes: u64,
    pub(super) processes_max: usize,
}

/// A failed run, in the runner's words.
#[derive(Debug, Deserialize)]
pub(super) struct Failure {
    pub(super) kind: String,
    pub(super) message: String,
    pub(super) traceback: String,
}

/// What the runner answered.
pub(super) struct Reply {
    pub(super) failure: Option<Failure>,
    pub(super) result: Vec<u8>,
    /// Whether the interpreter is as it was before the call.
    pub(super) reusable: bool,
}

/// Why there is no answer.
#[derive(Debug)]
pub(super) enum Loss {
    Timeout,
    Busy,
    Ended(String),
    Garbage(String),
    Processes(usize),
    Start { python: String, why: String },
}

/// What the runner says when it is ready.
#[derive(Deserialize)]
struct Hello {
    /// Ends each call's output; as hex.
    marker: String,
    pid: u32,
    executable: String,
}

/// The runner's own part of an answer.
#[derive(Deserialize)]
struct Header {
    ok: bool,
    children: bool,
    threads: bool,
    #[serde(flatten)]
    failure: Option<Failure>,
}

/// A running interpreter; dropping it stops it and everything it has started.
pub(super) struct Interpreter {
    child: Child,
    stdin: ChildStdin,
    stdout: ChildStdout,
    stderr: ChildStderr,
    inbox: Vec<u8>,
    marker: Vec<u8>,
    processes_max: usize,
    is_direct: bool,
    executable: PathBuf,
}

impl Drop for Interpreter {
    fn drop(&mut self) {
        if let Some(leader) = self.leader() {
            stop_all(leader);
        }
    }
}

impl Interpreter {
    /// Starts an interpreter that sees nothing of the worker's environment.
    pub(super) async fn start(
        python: &Path,
        settings: &Settings,
        deadline: Instant,
    ) -> Result<Self, Loss> {
        let failed = |why: String| Loss::Start { python: python.display().to_string(), why };
        let mut interpreter = Self::spawn(python, settings).map_err(failed)?;
        let config = json!({
            "memory_bytes": settings.memory_bytes,
            "file_bytes": PYTHON_FILE_BYTES,
            "open_files": PYTHON_OPEN_FILES,
            "paths": paths(),
        });
        let greeted = timeout_at(deadline, interpreter.greet(config.to_string().as_bytes())).await;
        match greeted {
            Err(_elapsed) => Err(Loss::Timeout),
            Ok(Some(hello)) => {
                interpreter.marker = unhex(&hello.marker).unwrap_or_default();
                interpreter.is_direct = interpreter.child.id() == Some(hello.pid);
                interpreter.executable = hello.executable.into();
                Ok(interpreter)
            }
            Ok(None) => {
                let mut said = Vec::new();
                // It has ended: what it says about it is there, or never will be.
                let _ = timeout_at(deadline, interpreter.stderr.read_to_end(&mut said)).await;
                let said = String::from_utf8_lossy(&said);
                let last =
                    said.lines().rfind(|line| !line.trim().is_empty()).unwrap_or("no answer");
                Err(failed(last.to_owned()))
            }
        }
    }

    fn spawn(python: &Path, settings: &Settings) -> Result<Self, String> {
        let mut command = Command::new(python);
        command.args(["-I", "-B", "-X", "utf8", "-c", RUNNER]);
        command.env_clear().envs(environment());
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let spawned = command.process_group(0).kill_on_drop(true).spawn();
        let mut child = spawned.map_err(|error| error.to_string())?;
        let pipes = (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let (Some(stdin), Some(stdout), Some(stderr)) = pipes else {
            return Err("its pipes are missing".to_owned());
        };
        let processes_max = settings.processes_max;
        Ok(Self {
            child,
            stdin,
            stdout,
            stderr,
            inbox: Vec::new(),
            marker: Vec::new(),
            processes_max,
            is_direct: false,
            executable: PathBuf::new(),
        })
    }

    /// Sends the configuration and takes what the runner says about itself.
    async fn greet(&mut self, config: &[u8]) -> Option<Hello> {
        self.send(config).await.ok()?;
        loop {
            if let Some(frame) = self.take_frame().ok()? {
                return serde_json::from_slice(&frame).ok();
            }
            if self.stdout.read_buf(&mut self.inbox).await.ok()? == 0 {
                return None;
            }
        }
    }

    /// The interpreter itself, if what was started is a script in front of it.
    ///
    /// Such a script would be mistaken for the interpreter: what the code starts is told from it by
    /// its process id.
    pub(super) fn behind(&self) -> Option<&Path> {
        (!self.is_direct).then_some(&self.executable)
    }

    /// Whether it still runs, as far as can be seen.
    pub(super) fn is_alive(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Runs one call; what it prints goes to `output` whatever happens.
    ///
    /// After a [`Loss`] the interpreter must not be used again.
    pub(super) async fn call(
        &mut self,
        request: &[u8],
        deadline: Instant,
        output: &mut String,
    ) -> Result<Reply, Loss> {
        let mut capture = Capture::new(OUTPUT_BYTES_MAX);
        let frames = self.exchange(request, deadline, &mut capture).await;
        *output = capture.into_text();
        let (header, result) = frames?;
        let header: Header = serde_json::from_slice(&header)
            .map_err(|error| Loss::Garbage(format!("an answer that is not JSON: {error}")))?;
        let clean = match self.leader() {
            Some(leader) if header.children => stop_strays(leader).await,
            _ => true,
        };
        Ok(Reply {
            failure: header.failure.filter(|_| !header.ok),
            result,
            reusable: clean && !header.threads,
        })
    }

    async fn exchange(
        &mut self,
        request: &[u8],
        mut deadline: Instant,
        capture: &mut Capture,
    ) -> Result<(Vec<u8>, Vec<u8>), Loss> {
        match timeout_at(deadline, self.send(request)).await {
            Err(_elapsed) => return Err(Loss::Timeout),
            Ok(Err(_broken)) => return Err(self.ended().await),
            Ok(Ok(())) => {}
        }
        let mut frames = Vec::new();
        let mut window = Vec::new();
        let mut is_marked = false;
        let mut count = interval_at(Instant::now() + COUNT_EVERY, COUNT_EVERY);
        loop {
            // Without room, a read takes a few bytes at a time.
            self.inbox.reserve(READ_BYTES);
            window.reserve(READ_BYTES);
            if let (true, [header, result]) = (is_marked, frames.as_mut_slice()) {
                return Ok((std::mem::take(header), std::mem::take(result)));
            }
            tokio::select! {
                read = self.stdout.read_buf(&mut self.inbox), if frames.len() < 2 => {
                    if read.unwrap_or(0) == 0 {
                        self.drain(&mut window, capture).await;
                        return Err(self.ended().await);
                    }
                    while let Some(frame) = self.take_frame()? {
                        frames.push(frame);
                    }
                    if frames.len() >= 2 {
                        deadline = deadline.min(Instant::now() + MARKER_LAG);
                    }
                }
                read = self.stderr.read_buf(&mut window), if !is_marked => {
                    if read.unwrap_or(0) == 0 {
                        return Err(self.ended().await);
                    }
                    is_marked = sift(&mut window, &self.marker, capture);
                }
                _ = count.tick() => self.check_processes()?,
                () = sleep_until(deadline) => {
                    capture.push(&window);
                    return Err(Loss::Timeout);
                }
            }
        }
    }

    async fn send(&mut self, frame: &[u8]) -> std::io::Result<()> {
        let length = u32::try_from(frame.len()).map_err(std::io::Error::other)?;
        let mut bytes = Vec::with_capacity(frame.len() + 4);
        bytes.extend_from_slice(&length.to_be_bytes());
        bytes.extend_from_slice(frame);
        self.stdin.write_all(&bytes).await?;
        self.stdin.flush().await
    }

    /// The next whole frame of what was received.
    fn take_frame(&mut self) -> Result<Option<Vec<u8>>, Loss> {
        let Some((head, rest)) = self.inbox.split_first_chunk::<4>() else { return Ok(None) };
        let length = u32::from_be_bytes(*head) as usize;
        if length > RESULT_BYTES_MAX {
            return Err(Loss::Garbage(format!("a frame of {length} bytes")));
        }
        if rest.len() < length {
            return Ok(None);
        }
        let remainder = self.inbox.split_off(4 + length);
        let mut frame = std::mem::replace(&mut self.inbox, remainder);
        frame.drain(..4);
        Ok(Some(frame))
    }

    fn check_processes(&self) -> Result<(), Loss> {
        match self.leader().map(|leader| started_by(leader).len()) {
            Some(count) if count > self.processes_max => Err(Loss::Processes(count)),
            _ => Ok(()),
        }
    }

    /// Takes what is left in the pipe of an interpreter that has gone.
    async fn drain(&mut self, window: &mut Vec<u8>, capture: &mut Capture) {
        // Somebody it has started may hold the pipe open: what is there must do.
        let until = Instant::now() + COUNT_EVERY;
        while let Ok(Ok(1..)) = timeout_at(until, self.stderr.read_buf(window)).await {
            sift(window, &self.marker, capture);
        }
        capture.push(window);
    }

    async fn ended(&mut self) -> Loss {
        let until = Instant::now() + MARKER_LAG;
        match timeout_at(until, self.child.wait()).await {
            Ok(Ok(status)) => Loss::Ended(describe(status)),
            _ => Loss::Garbage("it closed or lost them".to_owned()),
        }
    }

    fn leader(&self) -> Option<Pid> {
        let id = self.child.id()?;
        i32::try_from(id).ok().map(Pid::from_raw)
    }
}

/// Moves output from the window to the capture; true once the marker was seen.
fn sift(window: &mut Vec<u8>, marker: &[u8], capture: &mut Capture) -> bool {
    let found = memmem::find(window, marker);
    // A marker may have come in part: as many bytes as it could have so far are held back.
    let end = found.unwrap_or_else(|| (window.len() + 1).saturating_sub(marker.len()));
    capture.push(window.get(..end).unwrap_or_default());
    window.drain(..end);
    found.is_some()
}

fn describe(status: ExitStatus) -> String {
    use std::os::unix::process::ExitStatusExt as _;
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit code {code}"),
        (None, Some(signal)) => format!("signal {signal}"),
        (None, None) => status.to_string(),
    }
}

/// All that the code sees of its surroundings, beside the folder of its execution.
fn environment() -> Vec<(&'static str, OsString)> {
    let path = std::env::var_os("PATH").unwrap_or_else(|| "/usr/local/bin:/usr/bin:/bin".into());
    let mut pairs = vec![("PATH", path), ("LANG", "C.UTF-8".into())];
    // A managed runtime keeps the interpreter's own libraries there.
    pairs.extend(std::env::var_os("LD_LIBRARY_PATH").map(|value| ("LD_LIBRARY_PATH", value)));
    pairs
}

/// Where modules are found besides the interpreter's own places.
fn paths() -> Vec<String> {
    let given = std::env::var_os("PYTHONPATH").unwrap_or_default();
    let paths = std::env::split_paths(&given).map(|path| path.display().to_string());
    paths.filter(|path| !path.is_empty()).collect()
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let digit = |c: u8| char::from(c).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let pair = |pair: &[u8; 2]| Some(digit(pair[0])? << 4 | digit(pair[1])?);
    let (pairs, rest) = text.as_bytes().as_chunks::<2>();
    if !rest.is_empty() {
        return None;
    }
    pairs.iter().map(pair).collect()
}
