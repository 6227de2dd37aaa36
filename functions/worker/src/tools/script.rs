//! `script`: a file of the playbook, run by the interpreter that its name says.

#[cfg(test)]
mod tests;

use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;

use crate::tool::{Call, Success, Tool, ToolError};
use crate::tools::python::Python;
use crate::tools::shell::Shell;

/// `script`: finds the file; `python` and `shell` run it.
pub struct Script {
    python: Arc<Python>,
    shell: Shell,
}

impl Script {
    /// Scripts run as the code of these two tools does, within the same limits.
    #[must_use]
    pub fn new(python: Arc<Python>, shell: Shell) -> Self {
        Self { python, shell }
    }
}

#[async_trait]
impl Tool for Script {
    fn kind(&self) -> &'static str {
        "script"
    }

    async fn call(&self, call: &Call<'_>) -> Result<Success, ToolError> {
        if call.config.get("job").is_some_and(|job| !job.is_null()) {
            return Err(ToolError::input(
                "`job` describes a job of Kubernetes, and none is started here: remove it, and the \
                 script runs on the worker; what it needs must be installed there",
            ));
        }
        let script = call.config.get("script").filter(|script| !script.is_null());
        let uri = script.and_then(|script| script.as_str().or_else(|| script.get("uri")?.as_str()));
        let Some(uri) = uri.map(str::trim).filter(|uri| !uri.is_empty()) else {
            return Err(ToolError::input(
                "the `script` tool needs `script: {uri: ...}`, the path or the URL of a file",
            ));
        };
        match extension(uri).as_str() {
            "py" => self.python.call(call).await,
            "sh" => Box::pin(self.in_shell(call, None)).await,
            "bash" => Box::pin(self.in_shell(call, Some("/bin/bash -eu"))).await,
            _ => Err(ToolError::input(format!(
                "`script.uri: {uri}` does not say what runs it; name the file `.py` for Python or \
                 `.sh` for a shell"
            ))),
        }
    }
}

impl Script {
    async fn in_shell(&self, call: &Call<'_>, shell: Option<&str>) -> Result<Success, ToolError> {
        self.shell.check()?;
        let text = self.python.script(call).await?;
        let mut call = call.clone();
        if let Some(shell) = shell {
            call.config.entry("shell").or_insert_with(|| shell.into());
        }
        self.shell.run(&call, &[text]).await
    }
}

/// The extension of the file that a path or a URL names, in small letters.
fn extension(uri: &str) -> String {
    let path = uri.split(['?', '#']).next().unwrap_or_default();
    let extension = Path::new(path).extension().and_then(|extension| extension.to_str());
    extension.unwrap_or_default().to_ascii_lowercase()
}
