//! The conformance runner against the real program, and through its HTTP API, when the shared fixtures are
//! there.

#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::unwrap_used,
    reason = "a failed call is a failed test; figures are for readers of the log"
)]

use std::path::Path;
use std::process::Command;

use tests::binary::{program, root};
use tests::postgres::Postgres;
use tests::served::Served;

/// One that reads a script beside its playbook: a server would look beside itself.
const BESIDE_A_FILE: &str = "d15";
/// Runs of the whole set.
const RUNS: usize = 43;

#[test]
fn real_noetl_playbooks_give_what_their_expectations_say() {
    let shared = root().join("../shared/conformance");
    if !shared.join("run.py").exists() {
        eprintln!("SKIPPED LOUDLY: no conformance fixtures beside the project");
        return;
    }
    let postgres = Postgres::given();
    let folder = tempfile::tempdir().unwrap();
    copy(&shared, folder.path());
    for name in ["pg_local", "pg_k8s"] {
        let to = folder.path().join("credentials").join(format!("{name}.json"));
        std::fs::copy(postgres.credential(name, None).path(), to).unwrap();
    }
    let all: Vec<String> = std::fs::read_dir(folder.path().join("dev"))
        .unwrap()
        .map(|found| found.unwrap().file_name().to_string_lossy()[..3].to_owned())
        .collect();
    let program = program();
    let last = check(folder.path(), ["--cli", &program.to_string_lossy()], &all, &postgres);
    assert_eq!(last, format!("{RUNS} passed, 0 failed, 0 skipped"));
    let server = Served::start(":memory:", []);
    let posted: Vec<String> = all.into_iter().filter(|name| name != BESIDE_A_FILE).collect();
    let address = format!("http://{}", server.address());
    let last = check(folder.path(), ["--endpoint", &address], &posted, &postgres);
    assert!(last.ends_with(" passed, 0 failed, 0 skipped"), "{last}");
}

/// Copies a folder: the credentials in it must name the server of the tests.
fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for found in std::fs::read_dir(from).unwrap() {
        let found = found.unwrap();
        let target = to.join(found.file_name());
        if found.file_type().unwrap().is_dir() {
            copy(&found.path(), &target);
        } else {
            std::fs::copy(found.path(), target).unwrap();
        }
    }
}

/// The last line of a report without failures.
fn check(shared: &Path, through: [&str; 2], fixtures: &[String], postgres: &Postgres) -> String {
    let python = std::env::var("NOETL_PYTHON").unwrap_or_else(|_| "python3".to_owned());
    let ran = Command::new(python)
        .arg(shared.join("run.py"))
        .arg(shared.join("dev"))
        .args(through)
        .args(["--only", &fixtures.join(",")])
        .env("CONFORMANCE_PG", postgres.url())
        .output()
        .unwrap();
    let report = String::from_utf8_lossy(&ran.stdout);
    println!("{report}");
    let errors = String::from_utf8_lossy(&ran.stderr);
    assert!(ran.status.success(), "{through:?}: {report}\n{errors}");
    report.lines().last().unwrap_or_default().to_owned()
}
