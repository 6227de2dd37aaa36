//! One command: a group of processes that has ended when the call has.

use std::os::unix::process::ExitStatusExt as _;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use engine_core::limits::{
    PYTHON_FILE_BYTES, PYTHON_MEMORY_BYTES, PYTHON_OPEN_FILES, PYTHON_PROCESSES_MAX,
    SHELL_OUTPUT_BYTES_MAX,
};
use nix::unistd::Pid;
use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio::process::{Child, Command};
use tokio::time::{Instant, interval_at, sleep_until, timeout_at};

use super::Setting;
use crate::output::Capture;
use crate::tool::{Reaction, ToolError};
use crate::tools::python::processes::{started_by, stop_all};

/// How often the processes of a running command are counted.
const COUNT_EVERY: Duration = Duration::from_millis(200);
/// How long what is left in the pipes may take after the command has ended.
const DRAIN: Duration = Duration::from_secs(1);
/// Bytes that one read may take: what a pipe holds.
const READ_BYTES: usize = 64 << 10;

/// A command that has ended by itself.
pub(super) struct Ended {
    pub(super) exit_code: Option<i32>,
    pub(super) how: String,
    pub(super) stdout: String,
    pub(super) stderr: String,
}

/// Stops the command with all it has started, however the call ends.
struct Group {
    child: Child,
    leader: Option<Pid>,
}

impl Drop for Group {
    fn drop(&mut self) {
        self.stop();
    }
}

impl Group {
    fn stop(&mut self) {
        if let Some(leader) = self.leader.take() {
            stop_all(leader);
        }
    }
}

/// Runs one command until it ends, or the deadline; `place` is what errors call it.
///
/// What it prints is added to `output`, also if it is stopped.
pub(super) async fn run(
    setting: &Setting,
    command: &str,
    (place, deadline): (&str, Instant),
    output: &mut String,
) -> Result<Ended, ToolError> {
    let mut group = spawn(setting, command, place)?;
    let (stdout, stderr) = (group.child.stdout.take(), group.child.stderr.take());
    let mut out = Capture::new(SHELL_OUTPUT_BYTES_MAX);
    let mut err = Capture::new(SHELL_OUTPUT_BYTES_MAX);
    let status = {
        let reading = async { tokio::join!(read(stdout, &mut out), read(stderr, &mut err)) };
        tokio::pin!(reading);
        let mut is_read = false;
        let status = loop {
            tokio::select! {
                status = group.child.wait() => break status.map_err(|error| lost(place, &error)),
                _ = &mut reading, if !is_read => is_read = true,
                error = watched(group.leader, place, deadline) => break Err(error),
            }
        };
        // What it left running would hold the pipes open.
        group.stop();
        if !is_read {
            let _ = timeout_at(Instant::now() + DRAIN, &mut reading).await;
        }
        status
    };
    let (stdout, stderr) = (out.into_text(), err.into_text());
    output.extend([stdout.as_str(), &stderr]);
    let status = status?;
    Ok(Ended { exit_code: status.code(), how: describe(status), stdout, stderr })
}

fn spawn(setting: &Setting, command: &str, place: &str) -> Result<Group, ToolError> {
    let mut process = Command::new("/bin/sh");
    process.args(["-c", &limited(), "sh"]).args(&setting.shell).args(["-c", command]);
    process.env_clear().envs(setting.environment.iter().cloned()).current_dir(&setting.folder);
    process.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let spawned = process.process_group(0).kill_on_drop(true).spawn();
    let child = spawned.map_err(|error| {
        ToolError::input(format!(
            "{place} does not start: {error}; pass less under `args` and `env`, or use a file"
        ))
    })?;
    let leader = child.id().and_then(|id| i32::try_from(id).ok()).map(Pid::from_raw);
    Ok(Group { child, leader })
}

/// A shell that limits itself, and then becomes the one that was asked for.
fn limited() -> String {
    // Blocks of 512 bytes, and KiB, are what POSIX shells count in. A lower limit of the system stays.
    let limits = [
        ("c", 0),
        ("f", PYTHON_FILE_BYTES / 512),
        ("n", PYTHON_OPEN_FILES),
        ("v", PYTHON_MEMORY_BYTES / 1024),
    ];
    let mut text = String::new();
    for (limit, value) in limits {
        text.extend(["ulimit -", limit, " ", &value.to_string(), " 2>/dev/null || :; "]);
    }
    text + "exec \"$@\""
}

/// Returns when the command has to be stopped.
async fn watched(leader: Option<Pid>, place: &str, deadline: Instant) -> ToolError {
    let mut count = interval_at(Instant::now() + COUNT_EVERY, COUNT_EVERY);
    loop {
        tokio::select! {
            () = sleep_until(deadline) => {
                return ToolError::timeout(format!(
                    "{place} did not end in time and was stopped with all it had started; raise the \
                     step's `timeout`, or do less in one step"
                ));
            }
            _ = count.tick() => {
                let found = leader.map_or(0, |leader| started_by(leader).len());
                if found > PYTHON_PROCESSES_MAX {
                    let message = format!(
                        "{place} started {found} processes and was stopped; start fewer at a time"
                    );
                    return ToolError::new(Reaction::Rejected, "ProcessLimit", message);
                }
            }
        }
    }
}

async fn read(pipe: Option<impl AsyncRead + Unpin>, capture: &mut Capture) {
    let Some(mut pipe) = pipe else { return };
    let mut window = Vec::with_capacity(READ_BYTES);
    while let Ok(1..) = pipe.read_buf(&mut window).await {
        capture.push(&window);
        window.clear();
    }
}

fn lost(place: &str, error: &std::io::Error) -> ToolError {
    let message = format!("{place} was lost: {error}; try again");
    ToolError::new(Reaction::Transient, "WorkerError", message)
}

fn describe(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(127), _) => "exit code 127 (a program was not found)".to_owned(),
        (Some(code), _) => format!("exit code {code}"),
        (None, Some(signal)) => format!("signal {signal}"),
        (None, None) => status.to_string(),
    }
}
