//! The tools of this process, and what the environment lets them do.

use std::collections::BTreeMap;
use std::env::{var, var_os};
use std::path::PathBuf;
use std::sync::Arc;

use engine_core::ports::Secrets;
use worker::aws::{Aws, AwsSettings};
use worker::execute::Workbench;
use worker::toolbox::{Supplies, Toolbox};
use worker::tools::http::HttpPolicy;
use worker::tools::python::PythonPool;

/// A bench with every tool, the credentials, and the environment that templates may read.
pub(super) fn equipped(
    bench: Workbench,
    policy: HttpPolicy,
    python: PythonPool,
    secrets: Arc<dyn Secrets>,
    env: BTreeMap<String, String>,
) -> Workbench {
    let toolbox = Toolbox::new(Supplies {
        policy,
        aws: Aws::new(AwsSettings::from_lookup(|name| var(name).ok()), policy),
        python,
        allows_shell: allows_shell(),
        files: files(),
        secrets: Some(secrets),
        env,
    });
    toolbox.equip(bench, toolbox.all())
}

/// The folder for files that playbooks name: `NOETL_FILES_DIR`, else the working directory.
fn files() -> PathBuf {
    var_os("NOETL_FILES_DIR").map_or_else(|| PathBuf::from("."), PathBuf::from)
}

/// Whether the owner of this machine lets playbooks run commands on it.
fn allows_shell() -> bool {
    var_os("NOETL_ALLOW_SHELL").is_some_and(|value| value == "1")
}
