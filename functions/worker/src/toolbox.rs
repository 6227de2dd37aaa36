//! The tools of a process, made of what its owner lets them use.
//!
//! One method per kind, and nothing that lists them but [`Toolbox::all`]: a process that answers one kind of
//! command is linked without the others.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use engine_core::ports::Secrets;

use crate::aws::Aws;
use crate::execute::Workbench;
use crate::tool::Tool;
use crate::tools::duckdb::DuckDb;
use crate::tools::duckdb::client::Client;
use crate::tools::file::FileSink;
use crate::tools::http::{Http, HttpPolicy};
use crate::tools::lambda::Lambda;
use crate::tools::nats::Nats;
use crate::tools::noop::Noop;
use crate::tools::postgres::Postgres;
use crate::tools::python::{Python, PythonPool};
use crate::tools::rhai::Rhai;
use crate::tools::s3::S3;
use crate::tools::script::Script;
use crate::tools::secrets::SecretsTool;
use crate::tools::shell::Shell;
use crate::tools::sqlite::Sqlite;
use crate::tools::transfer::Transfer;
use crate::tools::wait::Wait;

/// Tools of one kind, or of several.
pub type Tools = Vec<Arc<dyn Tool>>;

/// What tools may use.
pub struct Supplies {
    /// What requests may reach.
    pub policy: HttpPolicy,
    /// AWS on behalf of this process.
    pub aws: Aws,
    /// Python interpreters; none is started before it is needed.
    pub python: PythonPool,
    /// Whether the owner of this machine lets playbooks run commands on it.
    pub allows_shell: bool,
    /// The folder of files that sinks and transfers name.
    pub files: PathBuf,
    /// Credentials, where there are some.
    pub secrets: Option<Arc<dyn Secrets>>,
    /// The variables that templates may read.
    pub env: BTreeMap<String, String>,
}

/// Makes tools; those of one box share connections and interpreters.
pub struct Toolbox {
    policy: HttpPolicy,
    aws: Aws,
    python: Arc<Python>,
    postgres: Arc<Postgres>,
    duckdb: Arc<Client>,
    shell: Shell,
    files: PathBuf,
    secrets: Option<Arc<dyn Secrets>>,
    env: BTreeMap<String, String>,
}

impl Toolbox {
    /// A box of what `supplies` allow.
    #[must_use]
    pub fn new(supplies: Supplies) -> Self {
        let Supplies { policy, aws, python, allows_shell, files, secrets, env } = supplies;
        Self {
            policy,
            aws,
            python: Arc::new(Python::new(python).with_scripts(policy)),
            postgres: Arc::default(),
            duckdb: Arc::default(),
            shell: Shell::new(allows_shell),
            files,
            secrets,
            env,
        }
    }

    /// A bench with these tools, and with the credentials and the environment of this box.
    #[must_use]
    pub fn equip(&self, mut bench: Workbench, tools: Tools) -> Workbench {
        for tool in tools {
            bench = bench.with_tool(tool);
        }
        if let Some(secrets) = &self.secrets {
            bench = bench.with_secrets(secrets.clone());
        }
        bench
            .with_remote_secrets(Arc::new(self.aws.clone()))
            .with_requests(Arc::new(Http::new(self.policy)))
            .with_env(self.env.clone())
    }

    /// Every tool.
    #[must_use]
    pub fn all(&self) -> Tools {
        let kinds: [fn(&Self) -> Tools; 15] = [
            Self::http,
            Self::python,
            Self::postgres,
            Self::duckdb,
            Self::sqlite,
            Self::transfer,
            Self::s3,
            Self::nats,
            Self::lambda,
            Self::secrets,
            Self::rhai,
            Self::script,
            Self::shell,
            Self::file,
            Self::noop,
        ];
        kinds.iter().flat_map(|tools| tools(self)).collect()
    }

    /// `http`.
    #[must_use]
    pub fn http(&self) -> Tools {
        vec![Arc::new(Http::new(self.policy))]
    }

    /// `python`.
    #[must_use]
    pub fn python(&self) -> Tools {
        vec![self.python.clone()]
    }

    /// `postgres`.
    #[must_use]
    pub fn postgres(&self) -> Tools {
        vec![self.postgres.clone()]
    }

    /// `duckdb`.
    #[must_use]
    pub fn duckdb(&self) -> Tools {
        vec![Arc::new(DuckDb::new(self.duckdb.clone()))]
    }

    /// `sqlite`.
    #[must_use]
    pub fn sqlite(&self) -> Tools {
        vec![Arc::new(Sqlite)]
    }

    /// `transfer`.
    #[must_use]
    pub fn transfer(&self) -> Tools {
        vec![Arc::new(Transfer::new(
            self.policy,
            &self.postgres,
            self.duckdb.clone(),
            self.aws.clone(),
            self.files.clone(),
        ))]
    }

    /// `s3`.
    #[must_use]
    pub fn s3(&self) -> Tools {
        vec![Arc::new(S3::new(self.aws.clone()))]
    }

    /// `nats`.
    #[must_use]
    pub fn nats(&self) -> Tools {
        vec![Arc::new(Nats::new(self.policy))]
    }

    /// `lambda`.
    #[must_use]
    pub fn lambda(&self) -> Tools {
        vec![Arc::new(Lambda::new(self.aws.clone()))]
    }

    /// `secrets`.
    #[must_use]
    pub fn secrets(&self) -> Tools {
        let (secrets, env) = (self.secrets.clone(), self.env.clone());
        vec![Arc::new(SecretsTool::new(self.aws.clone(), secrets, env))]
    }

    /// `rhai`.
    #[must_use]
    pub fn rhai(&self) -> Tools {
        vec![Arc::new(Rhai)]
    }

    /// `script`, which `python` and `shell` run.
    #[must_use]
    pub fn script(&self) -> Tools {
        vec![Arc::new(Script::new(self.python.clone(), self.shell.clone()))]
    }

    /// `shell`.
    #[must_use]
    pub fn shell(&self) -> Tools {
        vec![Arc::new(self.shell.clone())]
    }

    /// `file`.
    #[must_use]
    pub fn file(&self) -> Tools {
        vec![Arc::new(FileSink::new(self.files.clone()))]
    }

    /// `noop`, and the timers `wait` and `callback`, whose commands come with it.
    #[must_use]
    pub fn noop(&self) -> Tools {
        vec![Arc::new(Noop), Arc::new(Wait::TIME), Arc::new(Wait::CALLBACK)]
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use engine_core::playbook::support::{KINDS_RUN, SINKS_RUN};

    use super::*;
    use crate::aws::AwsSettings;

    #[tokio::test]
    async fn there_is_a_tool_for_every_kind_that_the_engine_does_not_run_itself() {
        let policy = HttpPolicy::default();
        let toolbox = Toolbox::new(Supplies {
            policy,
            aws: Aws::new(AwsSettings::default(), policy),
            python: PythonPool::new("python3", 1),
            allows_shell: false,
            files: PathBuf::from("."),
            secrets: None,
            env: BTreeMap::new(),
        });
        let made: BTreeSet<&str> = toolbox.all().iter().map(|tool| tool.kind()).collect();
        let mut expect: BTreeSet<&str> = KINDS_RUN.into_iter().chain(SINKS_RUN).collect();
        expect.retain(|kind| !["playbook", "workbook"].contains(kind));
        assert_eq!(made, expect);
    }
}
