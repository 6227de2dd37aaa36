//! The real program, as a person runs it.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use serde_json::Value;

/// The program under test: `NOETL_BINARY`, or the newest build beside this test.
///
/// # Panics
/// If there is none; the message says how to build it.
#[must_use]
pub fn program() -> PathBuf {
    if let Some(given) = std::env::var_os("NOETL_BINARY") {
        return PathBuf::from(given);
    }
    let exe = std::env::current_exe().unwrap_or_default();
    let profiles = exe.ancestors().nth(3).map(Path::to_path_buf).unwrap_or_default();
    for profile in ["release", "debug"] {
        let found = profiles.join(profile).join("noetl-lambda");
        if found.exists() {
            return found;
        }
    }
    panic!("no noetl-lambda beside {}: run `make release` first", exe.display());
}

/// The root of the project.
#[must_use]
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().map(Path::to_path_buf).unwrap_or_default()
}

/// The path of one of our own examples.
#[must_use]
pub fn example(name: &str) -> PathBuf {
    root().join("playbooks").join(name)
}

/// What a run of the program left.
#[derive(Debug)]
pub struct Ran {
    /// The exit code; none if it was killed.
    pub code: Option<i32>,
    /// What it wrote to its output.
    pub stdout: String,
    /// What it wrote to its errors.
    pub stderr: String,
}

impl Ran {
    /// The JSON object of `--json`.
    ///
    /// # Panics
    /// If there is none; the message shows what was there instead.
    #[must_use]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| {
            panic!("no JSON ({error}) in {:?}; stderr: {}", self.stdout, self.stderr)
        })
    }
}

impl From<Output> for Ran {
    fn from(output: Output) -> Self {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let (stdout, stderr) = (text(&output.stdout), text(&output.stderr));
        Self { code: output.status.code(), stdout, stderr }
    }
}

/// Runs the program to its end.
///
/// # Panics
/// If it cannot be started.
#[must_use]
pub fn run<'a>(arguments: impl IntoIterator<Item = &'a str>) -> Ran {
    let output = command(arguments).output();
    output.unwrap_or_else(|error| panic!("cannot start {}: {error}", program().display())).into()
}

/// Starts the program and does not wait.
///
/// # Panics
/// If it cannot be started.
#[must_use]
pub fn start<'a>(arguments: impl IntoIterator<Item = &'a str>) -> Child {
    let child = command(arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    child.unwrap_or_else(|error| panic!("cannot start {}: {error}", program().display()))
}

/// The program with these arguments, not yet started.
#[must_use]
pub fn command<'a>(arguments: impl IntoIterator<Item = &'a str>) -> Command {
    let mut command = Command::new(program());
    command.args(arguments).current_dir(root()).stdin(Stdio::null());
    command
}

/// Runs a playbook given as text, in memory, and returns what it left.
///
/// # Panics
/// If the text cannot be written to a file.
#[must_use]
pub fn run_text(playbook: &str, payload: &Value) -> Ran {
    let file = written(playbook);
    let path = file.path().to_string_lossy().into_owned();
    let payload = payload.to_string();
    run(["run", &path, "--json", "--store", ":memory:", "--payload", &payload])
}

/// A file that holds `text` and goes away with the value.
///
/// # Panics
/// If it cannot be written.
#[must_use]
pub fn written(text: &str) -> tempfile::NamedTempFile {
    let write = || {
        let mut file = tempfile::Builder::new().suffix(".yaml").tempfile()?;
        file.write_all(text.as_bytes())?;
        std::io::Result::Ok(file)
    };
    write().unwrap_or_else(|error| panic!("cannot write a playbook: {error}"))
}

/// A playbook of the given `workflow` (and other root keys), with the common head.
#[must_use]
pub fn playbook(rest: &str) -> String {
    let head =
        "apiVersion: noetl.io/v2\nkind: Playbook\nmetadata: { name: case, path: tests/case }\n";
    format!("{head}{rest}")
}
