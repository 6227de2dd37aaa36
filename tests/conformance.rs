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
use tests::served::Served;

/// The fixtures that need an HTTP server and Python only.
const FIXTURES: &str =
    "d01,d02,d03,d04,d05,d07,d08,d09,d10,d13,d15,d17,d18,d19,d20,d21,d22,d23,d24";
/// One that reads a script beside its playbook: a server would look beside itself.
const BESIDE_A_FILE: &str = "d15,";

#[test]
fn real_noetl_playbooks_give_what_their_expectations_say() {
    let shared = root().join("../shared/conformance");
    if !shared.join("run.py").exists() {
        eprintln!("SKIPPED LOUDLY: no conformance fixtures beside the project");
        return;
    }
    let program = program();
    check(&shared, ["--cli", &program.to_string_lossy()], FIXTURES);
    let server = Served::start(":memory:", []);
    let posted = FIXTURES.replace(BESIDE_A_FILE, "");
    check(&shared, ["--endpoint", &format!("http://{}", server.address())], &posted);
}

fn check(shared: &Path, through: [&str; 2], fixtures: &str) {
    let python = std::env::var("NOETL_PYTHON").unwrap_or_else(|_| "python3".to_owned());
    let ran = Command::new(python)
        .arg(shared.join("run.py"))
        .arg(shared.join("dev"))
        .args(through)
        .args(["--only", fixtures])
        .output()
        .unwrap();
    let report = String::from_utf8_lossy(&ran.stdout);
    println!("{report}");
    let errors = String::from_utf8_lossy(&ran.stderr);
    assert!(ran.status.success(), "{through:?}: {report}\n{errors}");
    let last = report.lines().last().unwrap_or_default();
    assert!(last.contains(" passed, 0 failed, 0 skipped"), "{through:?}: {report}");
}
