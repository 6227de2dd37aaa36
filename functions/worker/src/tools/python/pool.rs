//! Warm interpreters, as many as calls run at once.

use std::path::PathBuf;
use std::sync::{Mutex, OnceLock, PoisonError};

use engine_core::limits::{PYTHON_MEMORY_BYTES, PYTHON_PROCESSES_MAX};
use nix::sys::prctl::set_dumpable;
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout_at};

use super::folders::{Folders, Stay};
use super::interpreter::{Interpreter, Loss, Reply, Settings};

/// A bounded set of interpreters; each is started when first needed and replaced when lost.
pub struct PythonPool {
    python: PathBuf,
    settings: Settings,
    free: Semaphore,
    idle: Mutex<Vec<Interpreter>>,
    /// The interpreter behind a script that `python` names.
    direct: OnceLock<PathBuf>,
    folders: Folders,
}

impl PythonPool {
    /// At most `size` (at least 1) interpreters, started as `python`: a path, or a name in `PATH`.
    #[must_use]
    pub fn new(python: impl Into<PathBuf>, size: usize) -> Self {
        Self {
            python: python.into(),
            settings: Settings {
                memory_bytes: PYTHON_MEMORY_BYTES,
                processes_max: PYTHON_PROCESSES_MAX,
            },
            free: Semaphore::new(size.clamp(1, Semaphore::MAX_PERMITS)),
            idle: Mutex::new(Vec::new()),
            direct: OnceLock::new(),
            folders: Folders::default(),
        }
    }

    /// Limits each interpreter's address space, in bytes.
    #[must_use]
    pub fn with_memory_bytes(mut self, bytes: u64) -> Self {
        self.settings.memory_bytes = bytes;
        self
    }

    /// Limits the processes that one call may have started at a time.
    #[must_use]
    pub fn with_processes_max(mut self, processes: usize) -> Self {
        self.settings.processes_max = processes;
        self
    }

    /// Runs one call on a free interpreter; what it prints goes to `output`.
    pub(super) async fn call(
        &self,
        request: &[u8],
        deadline: Instant,
        output: &mut String,
    ) -> Result<Reply, Loss> {
        let permit = timeout_at(deadline, self.free.acquire()).await;
        let Ok(Ok(_permit)) = permit else { return Err(Loss::Busy) };
        let mut interpreter = match self.take() {
            Some(idle) => idle,
            None => self.start(deadline).await?,
        };
        let reply = interpreter.call(request, deadline, output).await?;
        if reply.reusable {
            self.idle.lock().unwrap_or_else(PoisonError::into_inner).push(interpreter);
        }
        Ok(reply)
    }

    /// The folder of an execution's code, for the time of one call.
    pub(super) async fn folder(&self, execution_id: &str) -> Result<Stay<'_>, Loss> {
        self.folders.enter(execution_id).await.map_err(|error| Loss::Start {
            python: self.python.display().to_string(),
            why: format!("no temporary folder: {error}"),
        })
    }

    /// An idle interpreter that still lives.
    fn take(&self) -> Option<Interpreter> {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        while let Some(mut interpreter) = idle.pop() {
            if interpreter.is_alive() {
                return Some(interpreter);
            }
        }
        None
    }

    async fn start(&self, deadline: Instant) -> Result<Interpreter, Loss> {
        // Code that runs as the same user must not read the worker's memory and environment.
        if let Err(error) = set_dumpable(false) {
            tracing::warn!(%error, "the worker stays readable for the code that it runs");
        }
        let python = self.direct.get().unwrap_or(&self.python);
        let interpreter = Interpreter::start(python, &self.settings, deadline).await?;
        let Some(executable) = interpreter.behind() else { return Ok(interpreter) };
        let executable = self.direct.get_or_init(|| executable.to_path_buf());
        Interpreter::start(executable, &self.settings, deadline).await
    }
}
