//! `shell`: commands of the playbook on this machine, where its owner allows that.

mod environment;
mod process;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};

use async_trait::async_trait;
use engine_core::limits::SHELL_COMMANDS_MAX;
use serde_json::{Map, Value, json};
use tempfile::TempDir;

use self::process::{Ended, run};
use crate::tool::{Call, Reaction, Success, Tool, ToolError};

/// The shell of a command that names none: it stops at the first error.
const SHELL: &str = "/bin/sh -eu";
/// Where a command may stand, the first one first.
const SOURCES: [&str; 5] = ["cmds", "commands", "cmd", "command", "code"];
/// Lines of stderr that an error shows.
const LINES_SHOWN: usize = 5;

/// `shell`: off unless it was switched on.
#[derive(Clone, Debug, Default)]
pub struct Shell {
    is_allowed: bool,
}

/// What every command of one call is started with.
struct Setting {
    shell: Vec<String>,
    folder: PathBuf,
    environment: Vec<(String, String)>,
}

impl Shell {
    /// A tool that runs commands if `is_allowed`, and otherwise says how to allow it.
    #[must_use]
    pub fn new(is_allowed: bool) -> Self {
        Self { is_allowed }
    }

    /// Whether commands may run at all.
    ///
    /// # Errors
    /// If not; it says how to allow it.
    pub(super) fn check(&self) -> Result<(), ToolError> {
        if self.is_allowed {
            return Ok(());
        }
        Err(ToolError::input(
            "this machine runs no `shell` commands; set NOETL_ALLOW_SHELL=1 where the worker starts \
             to allow it, which lets every playbook run any program with the worker's rights",
        ))
    }

    /// Runs `commands` in a row, up to the first that fails.
    pub(super) async fn run(
        &self,
        call: &Call<'_>,
        commands: &[String],
    ) -> Result<Success, ToolError> {
        self.check()?;
        let home = TempDir::with_prefix("noetl-shell-").map_err(|error| {
            let message = format!("no temporary folder: {error}; free space, or set TMPDIR");
            ToolError::new(Reaction::Transient, "WorkerError", message)
        })?;
        let setting = setting(call, home.path())?;
        let (mut entries, mut output) = (Map::new(), String::new());
        for (index, command) in commands.iter().enumerate() {
            let place = format!("`command_{index}` of {}", commands.len());
            let ended = run(&setting, command, (&place, call.deadline), &mut output).await;
            let ended = ended.map_err(|error| error.with_output(output.clone()))?;
            let entry = ended.entry();
            let failed = failed(&ended, &place);
            entries.insert(format!("command_{index}"), entry.clone());
            if let Some(error) = failed {
                return Err(error.with_result(result(entry, entries)).with_output(output));
            }
            if index + 1 == commands.len() {
                return Ok(Success { result: result(entry, entries), output });
            }
        }
        Err(ToolError::input("the `shell` tool needs a command, and its list is empty"))
    }
}

#[async_trait]
impl Tool for Shell {
    fn kind(&self) -> &'static str {
        "shell"
    }

    async fn call(&self, call: &Call<'_>) -> Result<Success, ToolError> {
        Box::pin(self.run(call, &commands(&call.config)?)).await
    }
}

/// The last entry's own fields, and all entries by their number.
fn result(last: Value, entries: Map<String, Value>) -> Value {
    let mut fields = match last {
        Value::Object(fields) => fields,
        _ => Map::new(),
    };
    fields.extend(entries);
    Value::Object(fields)
}

fn commands(config: &Map<String, Value>) -> Result<Vec<String>, ToolError> {
    let given = SOURCES.iter().find_map(|key| Some((*key, config.get(*key)?)));
    let Some((key, given)) = given.filter(|(_, value)| !value.is_null()) else {
        return Err(ToolError::input("the `shell` tool needs `cmd`, a command, or `cmds`, a list"));
    };
    let bad = || ToolError::input(format!("`{key}` must be text or a list of texts"));
    let commands: Vec<String> = match given {
        Value::String(text) => vec![text.clone()],
        Value::Array(list) => {
            let texts = list.iter().map(|each| each.as_str().map(str::to_owned).ok_or_else(bad));
            texts.collect::<Result<_, _>>()?
        }
        _ => return Err(bad()),
    };
    if commands.len() > SHELL_COMMANDS_MAX {
        return Err(ToolError::input(format!(
            "`{key}` has {} commands, and {SHELL_COMMANDS_MAX} are allowed; put them into one text \
             or a script",
            commands.len()
        )));
    }
    if commands.is_empty() || commands.iter().any(|command| command.trim().is_empty()) {
        return Err(ToolError::input(format!("`{key}` has no command, or an empty one")));
    }
    Ok(commands)
}

fn setting(call: &Call<'_>, home: &Path) -> Result<Setting, ToolError> {
    let shell = call.text("shell").unwrap_or(SHELL);
    let folder = PathBuf::from(call.text("cwd").unwrap_or("."));
    if !folder.is_dir() {
        return Err(ToolError::input(format!(
            "`cwd: {}` is no folder; it is relative to `{}`",
            folder.display(),
            std::env::current_dir().unwrap_or_default().display()
        )));
    }
    Ok(Setting {
        shell: shell.split_whitespace().map(str::to_owned).collect(),
        folder,
        environment: environment::of(call, home)?,
    })
}

impl Ended {
    fn entry(&self) -> Value {
        json!({
            "status": if self.exit_code == Some(0) { "success" } else { "error" },
            "exit_code": self.exit_code,
            "stdout": self.stdout,
            "stderr": self.stderr,
        })
    }
}

fn failed(ended: &Ended, place: &str) -> Option<ToolError> {
    if ended.exit_code == Some(0) {
        return None;
    }
    let lines: Vec<&str> = ended.stderr.lines().filter(|line| !line.trim().is_empty()).collect();
    let shown = lines.get(lines.len().saturating_sub(LINES_SHOWN)..).unwrap_or_default().join("\n");
    let said = if shown.is_empty() { "it said nothing on stderr" } else { &shown };
    let message = format!("{place} ended with {}: {said}", ended.how);
    Some(ToolError::new(Reaction::Rejected, "ShellError", message))
}
