//! The tools of this process, and what the environment lets them do.

use std::collections::BTreeMap;
use std::env::var_os;
use std::path::PathBuf;
use std::sync::Arc;

use engine_core::ports::Secrets;
use worker::aws::{Aws, AwsSettings};
use worker::execute::Workbench;
use worker::tools::duckdb::DuckDb;
use worker::tools::duckdb::client::Client;
use worker::tools::file::FileSink;
use worker::tools::http::{Http, HttpPolicy};
use worker::tools::lambda::Lambda;
use worker::tools::nats::Nats;
use worker::tools::noop::Noop;
use worker::tools::postgres::Postgres;
use worker::tools::python::{Python, PythonPool};
use worker::tools::rhai::Rhai;
use worker::tools::s3::S3;
use worker::tools::script::Script;
use worker::tools::secrets::SecretsTool;
use worker::tools::shell::Shell;
use worker::tools::sqlite::Sqlite;
use worker::tools::transfer::Transfer;
use worker::tools::wait::Wait;

/// A bench with every tool, the credentials, and the environment that templates may read.
pub(super) fn equipped(
    bench: Workbench,
    policy: HttpPolicy,
    interpreters: PythonPool,
    secrets: Arc<dyn Secrets>,
    env: BTreeMap<String, String>,
) -> Workbench {
    let aws = Aws::new(AwsSettings::from_lookup(|name| std::env::var(name).ok()), policy);
    let duckdb = Arc::<Client>::default();
    let postgres = Postgres::default();
    let transfer = Transfer::new(policy, &postgres, duckdb.clone(), aws.clone(), files());
    let python = Arc::new(Python::new(interpreters).with_scripts(policy));
    let shell = Shell::new(allows_shell());
    bench
        .with_tool(Arc::new(Noop))
        .with_tool(Arc::new(Wait::TIME))
        .with_tool(Arc::new(Wait::CALLBACK))
        .with_tool(Arc::new(Http::new(policy)))
        .with_tool(python.clone())
        .with_tool(Arc::new(postgres))
        .with_tool(Arc::new(DuckDb::new(duckdb)))
        .with_tool(Arc::new(Sqlite))
        .with_tool(Arc::new(transfer))
        .with_tool(Arc::new(FileSink::new(files())))
        .with_tool(Arc::new(S3::new(aws.clone())))
        .with_tool(Arc::new(Nats::new(policy)))
        .with_tool(Arc::new(Lambda::new(aws.clone())))
        .with_tool(Arc::new(SecretsTool::new(aws.clone(), Some(secrets.clone()), env.clone())))
        .with_tool(Arc::new(Rhai))
        .with_tool(Arc::new(Script::new(python, shell.clone())))
        .with_tool(Arc::new(shell))
        .with_secrets(secrets)
        .with_remote_secrets(Arc::new(aws))
        .with_env(env)
}

/// The folder for files that playbooks name: `NOETL_FILES_DIR`, else the working directory.
fn files() -> PathBuf {
    var_os("NOETL_FILES_DIR").map_or_else(|| PathBuf::from("."), PathBuf::from)
}

/// Whether the owner of this machine lets playbooks run commands on it.
fn allows_shell() -> bool {
    var_os("NOETL_ALLOW_SHELL").is_some_and(|value| value == "1")
}
