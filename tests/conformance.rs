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

/// The fixtures whose tools this version runs.
const FIXTURES: &str = "d01,d02,d03,d04,d05,d09,d13,d17";

#[test]
fn real_noetl_playbooks_give_what_their_expectations_say() {
    let shared = root().join("../shared/conformance");
    if !shared.join("run.py").exists() {
        eprintln!("SKIPPED LOUDLY: no conformance fixtures beside the project");
        return;
    }
    let program = program();
    check(&shared, ["--cli", &program.to_string_lossy()]);
    let server = Served::start(":memory:", []);
    check(&shared, ["--endpoint", &format!("http://{}", server.address())]);
}

fn check(shared: &Path, through: [&str; 2]) {
    let python = std::env::var("NOETL_PYTHON").unwrap_or_else(|_| "python3".to_owned());
    let ran = Command::new(python)
        .arg(shared.join("run.py"))
        .arg(shared.join("dev"))
        .args(through)
        .args(["--only", FIXTURES])
        .output()
        .unwrap();
    let report = String::from_utf8_lossy(&ran.stdout);
    println!("{report}");
    let errors = String::from_utf8_lossy(&ran.stderr);
    assert!(ran.status.success(), "{through:?}: {report}\n{errors}");
    let last = report.lines().last().unwrap_or_default();
    assert!(last.contains(" passed, 0 failed, 0 skipped"), "{through:?}: {report}");
}
