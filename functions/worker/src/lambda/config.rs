//! What a worker's environment lets its tools do.

use std::collections::BTreeMap;
use std::num::NonZero;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::available_parallelism;

use adapters::aws::config::{MASTER_KEY_SECRET, PAYLOADS_BUCKET};
use engine_core::ports::Secrets;
use tracing::warn;

use crate::aws::{Aws, AwsSettings, Own};
use crate::toolbox::Supplies;
use crate::tools::http::HttpPolicy;
use crate::tools::python::PythonPool;

/// Whether playbooks may run commands: `1`.
const ALLOW_SHELL: &str = "NOETL_ALLOW_SHELL";
/// The folder of files that sinks and transfers name.
const FILES_DIR: &str = "NOETL_FILES_DIR";
/// The interpreter of Python code.
const PYTHON: &str = "NOETL_PYTHON";
/// Whether requests reach addresses that are not public: `1`.
const ALLOW_PRIVATE: &str = "NOETL_ALLOW_PRIVATE";
/// What variables begin with that `secret.NAME` reads.
const SECRET_PREFIX: &str = "NOETL_SECRET_";

/// The only folder of a function that can be written to.
const FILES_DIR_DEFAULT: &str = "/tmp";
/// Where the managed runtime keeps its interpreter.
const MANAGED_PYTHON: &str = "/var/lang/bin/python3";

/// What is not a resource: see `adapters::aws::config` for those.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Config {
    allows_shell: bool,
    allows_private: bool,
    files: PathBuf,
    python: PathBuf,
    settings: AwsSettings,
    own: Own,
    env: BTreeMap<String, String>,
}

impl Config {
    /// Reads the variables that `lookup` knows, and the secrets among those of the process.
    pub(super) fn from_lookup(lookup: impl Fn(&str) -> Option<String>) -> Self {
        let given = |name: &str| lookup(name).filter(|value| !value.trim().is_empty());
        let is_on = |name: &str| given(name).is_some_and(|value| value == "1");
        let managed = || {
            let managed = Path::new(MANAGED_PYTHON);
            if managed.exists() { managed } else { Path::new("python3") }.to_owned()
        };
        Self {
            allows_shell: is_on(ALLOW_SHELL),
            allows_private: is_on(ALLOW_PRIVATE),
            files: given(FILES_DIR).unwrap_or_else(|| FILES_DIR_DEFAULT.to_owned()).into(),
            python: given(PYTHON).map_or_else(managed, PathBuf::from),
            settings: AwsSettings::from_lookup(&lookup),
            own: Own { secret: given(MASTER_KEY_SECRET), bucket: given(PAYLOADS_BUCKET) },
            env: secrets(std::env::vars_os().filter_map(|(name, value)| {
                Some((name.into_string().ok()?, value.into_string().ok()?))
            })),
        }
    }

    /// What tools are made of.
    pub(super) fn supplies(self, credentials: Arc<dyn Secrets>) -> Supplies {
        let policy = HttpPolicy { guard: !self.allows_private };
        if let Err(error) = std::fs::create_dir_all(&self.files) {
            let folder = self.files.display();
            warn!(%error, "`{FILES_DIR}` is `{folder}`, which cannot be made; tools with files will fail");
        }
        let interpreters = available_parallelism().map_or(1, NonZero::get);
        Supplies {
            policy,
            aws: Aws::new(self.settings, policy).keeping(self.own),
            python: PythonPool::new(self.python, interpreters),
            allows_shell: self.allows_shell,
            files: self.files,
            secrets: Some(credentials),
            env: self.env,
        }
    }
}

/// The variables that are meant for templates.
fn secrets(variables: impl Iterator<Item = (String, String)>) -> BTreeMap<String, String> {
    variables.filter(|(name, _)| name.starts_with(SECRET_PREFIX)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(pairs: &[(&str, &str)]) -> Config {
        Config::from_lookup(|name| {
            let found = pairs.iter().find(|(known, _)| *known == name);
            found.map(|(_, value)| (*value).to_owned())
        })
    }

    #[test]
    fn nothing_is_allowed_unless_the_owner_says_so() {
        let nothing = of(&[]);
        assert!(!nothing.allows_shell && !nothing.allows_private);
        assert_eq!(nothing.files, Path::new("/tmp"));
        let given = [(ALLOW_SHELL, "1"), (ALLOW_PRIVATE, "1"), (FILES_DIR, "/mnt"), (PYTHON, "/p")];
        let given = of(&given);
        assert!(given.allows_shell && given.allows_private);
        assert_eq!(
            (given.files.as_path(), given.python.as_path()),
            (Path::new("/mnt"), Path::new("/p"))
        );
        let odd = of(&[(ALLOW_SHELL, "true"), (ALLOW_PRIVATE, "0"), (FILES_DIR, " ")]);
        assert!(!odd.allows_shell && !odd.allows_private);
        assert_eq!(odd.files, Path::new("/tmp"));
    }

    #[test]
    fn templates_see_secrets_of_their_own_and_no_other_variable() {
        let variables =
            [("NOETL_SECRET_A", "1"), ("AWS_SECRET_ACCESS_KEY", "2"), ("NOETL_STATE", "3")];
        let seen =
            secrets(variables.map(|(name, value)| (name.to_owned(), value.to_owned())).into_iter());
        assert_eq!(seen.into_keys().collect::<Vec<_>>(), ["NOETL_SECRET_A"]);
    }
}
