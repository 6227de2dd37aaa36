//! What a command sees of its surroundings: little of the worker's, and what the playbook gives.

use std::path::Path;

use engine_core::limits::SHELL_VARIABLE_BYTES_MAX;
use serde_json::Value;

use crate::tool::{Call, ToolError};

/// Names that decide what a shell runs: an input must not replace one by chance.
const RESERVED: [&str; 10] =
    ["PATH", "HOME", "LANG", "TMPDIR", "IFS", "ENV", "BASH_ENV", "SHELLOPTS", "PS4", "PWD"];

/// The whole environment: `env` as it is written, and each input under its name in capitals.
pub(super) fn of(call: &Call<'_>, home: &Path) -> Result<Vec<(String, String)>, ToolError> {
    let path = std::env::var("PATH").unwrap_or_else(|_| "/usr/local/bin:/usr/bin:/bin".to_owned());
    let home = home.display().to_string();
    let mut pairs = Vec::new();
    for (name, value) in [("PATH", path), ("HOME", home.clone()), ("TMPDIR", home)] {
        pairs.push((name.to_owned(), value));
    }
    pairs.push(("LANG".to_owned(), "C.UTF-8".to_owned()));
    for (arg, value) in &call.args {
        let name = variable(arg);
        if RESERVED.contains(&name.as_str()) || name.starts_with("LD_") || is_own(&name) {
            return Err(ToolError::input(format!(
                "`args.{arg}` would become the variable {name}, on which the shell itself relies; \
                 rename the arg, or set {name} under `env`"
            )));
        }
        pairs.push((name, text(&format!("args.{arg}"), value)?));
    }
    match call.config.get("env") {
        None | Some(Value::Null) => {}
        Some(Value::Object(env)) => {
            for (name, value) in env {
                if !is_name(name) || is_own(name) {
                    return Err(ToolError::input(format!(
                        "`env.{name}` is no name of a variable that a playbook may set; use \
                         letters, digits and `_`, without NOETL_ in front"
                    )));
                }
                pairs.push((name.clone(), text(&format!("env.{name}"), value)?));
            }
        }
        Some(_) => return Err(ToolError::input("`env` must be a map from names to values")),
    }
    let own = [
        ("NOETL_EXECUTION_ID", call.execution_id),
        ("NOETL_STEP", call.step),
        ("NOETL_IDEMPOTENCY_KEY", call.idempotency_key),
    ];
    pairs.extend(own.map(|(name, value)| (name.to_owned(), value.to_owned())));
    Ok(pairs)
}

fn is_own(name: &str) -> bool {
    name.starts_with("NOETL_")
}

fn is_name(name: &str) -> bool {
    let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    !name.is_empty() && name.chars().all(is_word) && !name.starts_with(|c: char| c.is_ascii_digit())
}

/// An input's name as that of a variable: `file-name` is `FILE_NAME`.
fn variable(arg: &str) -> String {
    let letter = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_uppercase() } else { '_' };
    let name: String = arg.chars().map(letter).collect();
    if is_name(&name) { name } else { format!("_{name}") }
}

/// A value as a variable holds it: text as it is, nothing for null, JSON for lists and maps.
fn text(place: &str, value: &Value) -> Result<String, ToolError> {
    let text = match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    if text.len() >= SHELL_VARIABLE_BYTES_MAX - SHELL_VARIABLE_BYTES_MAX / 64 {
        return Err(ToolError::input(format!(
            "`{place}` has {} bytes, and a variable holds at most {} KiB; put it into a file",
            text.len(),
            SHELL_VARIABLE_BYTES_MAX >> 10
        )));
    }
    if text.contains('\0') {
        return Err(ToolError::input(format!("`{place}` contains a NUL, which no variable holds")));
    }
    Ok(text)
}
