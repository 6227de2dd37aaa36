//! What hostile code may not reach, and what it may not use up.
//!
//! Each case runs in a process of its own, which is the worker: a canary is in its environment.

use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt as _;
use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};

use super::tests::{call_for, call_of, fail, run, tool, works};

const CANARY: &str = "canary-5f1c0e";
/// What the process of a case is told: whose environment is looked for.
const CASE: &str = "NOETL_SECURITY_CASE";

/// Whether this process is the one that a case is for; if not, such a process runs it.
fn is_worker(name: &str, user: Option<u32>) -> bool {
    if std::env::var_os(CASE).is_some_and(|case| case == name) {
        return true;
    }
    let folder = tempfile::tempdir().unwrap();
    std::fs::set_permissions(folder.path(), PermissionsExt::from_mode(0o755)).unwrap();
    let mut program = std::env::current_exe().unwrap();
    if user.is_some() {
        // The build's folder may be closed to others.
        let copy = folder.path().join("worker");
        std::fs::copy(&program, &copy).unwrap();
        program = copy;
    }
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let mut command = Command::new(program);
    command.args(["--exact", &format!("tools::python::security_tests::{name}"), "--nocapture"]);
    command.env(CASE, name).env("NOETL_CANARY", CANARY).env("AWS_SECRET_ACCESS_KEY", CANARY);
    command.env("AWS_LAMBDA_RUNTIME_API", listener.local_addr().unwrap().to_string());
    command.env("PATH", "/usr/local/bin:/usr/bin:/bin").env_remove("TMPDIR");
    command.current_dir("/");
    if let Some(user) = user {
        command.uid(user).gid(user);
    }
    let ended = command.output().unwrap();
    let said = String::from_utf8_lossy(&ended.stdout);
    assert!(ended.status.success() && said.contains("1 passed"), "{name}: {said}");
    listener.set_nonblocking(true).unwrap();
    assert!(listener.accept().is_err(), "{name}: the code found the runtime's address");
    false
}

fn is_root() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    status.contains("\nUid:\t0\t")
}

/// Looks for the canary and for the runtime's address wherever code may look, and connects to it.
const SEARCH: &str = r#"
import glob, socket
texts = {"os.environ": repr(dict(os.environ)).encode()}
for path in glob.glob("/proc/[0-9]*/environ") + ["/proc/self/environ", "/proc/1/environ"]:
    try:
        texts[path] = open(path, "rb").read()
    except OSError:
        pass
found = [place for place, text in texts.items() if canary.encode() in text]
address = [text for text in texts.values() if b"AWS_LAMBDA_RUNTIME_API" in text]
for text in address:
    host, port = text.split(b"AWS_LAMBDA_RUNTIME_API=")[1].split(b"\0")[0].split(b":")
    socket.create_connection((host.decode(), int(port)))
def opens(path):
    try:
        open(path, "rb").close()
        return True
    except OSError:
        return False
memory = [pid for pid in ("1", str(os.getppid())) if opens(f"/proc/{pid}/mem")]
aws = sorted(name for name in os.environ if name.startswith("AWS_"))
result = {"found": found, "address": len(address), "memory": memory, "aws": aws}
"#;

async fn finds_nothing() {
    let tool = tool();
    let found = run(&tool, SEARCH, json!({"canary": CANARY})).await;
    assert_eq!(found, json!({"found": [], "address": 0, "memory": [], "aws": []}));
    let child = r#"
import subprocess, sys
look = f"open('/proc/{os.getppid()}/environ', 'rb').read()"
result = subprocess.run([sys.executable, "-c", look], capture_output=True, text=True).stderr.splitlines()[-1:]
"#;
    let refused = run(&tool, child, json!({})).await;
    assert!(refused[0].as_str().unwrap_or_default().contains("Permission"), "{refused}");
}

#[tokio::test]
async fn code_finds_neither_environment_nor_memory_of_the_worker() {
    if is_worker("code_finds_neither_environment_nor_memory_of_the_worker", None) {
        assert_eq!(std::env::var("NOETL_CANARY").as_deref(), Ok(CANARY));
        finds_nothing().await;
    }
}

#[tokio::test]
async fn code_finds_nothing_of_a_worker_without_powers_either() {
    let name = "code_finds_nothing_of_a_worker_without_powers_either";
    // Only root can become somebody else; whoever is not root is somebody else already.
    let user = is_root().then_some(65_534);
    if is_worker(name, user) {
        assert!(!is_root());
        finds_nothing().await;
    }
}

#[tokio::test]
async fn code_cannot_gain_powers() {
    let code = r"
lines = open('/proc/self/status').read().splitlines()
result = {name: value.strip() for name, value in (line.split(':', 1) for line in lines)}
";
    let status = run(&tool(), code, json!({})).await;
    assert_eq!(status["NoNewPrivs"], "1");
    for set in ["CapPrm", "CapEff", "CapBnd"] {
        let bits = u64::from_str_radix(status[set].as_str().unwrap(), 16).unwrap();
        // A worker without powers cannot take the bounding set away; it is worth nothing there.
        assert!(bits & !0x4fb == 0 || (set == "CapBnd" && !is_root()), "{set}: {bits:x}");
    }
}

/// Bytes of memory that this process uses.
fn resident() -> usize {
    let text = std::fs::read_to_string("/proc/self/statm").unwrap();
    text.split(' ').nth(1).unwrap().parse::<usize>().unwrap() * 4_096
}

#[tokio::test]
async fn a_huge_allocation_fails_in_the_code_and_not_in_the_worker() {
    if is_worker("a_huge_allocation_fails_in_the_code_and_not_in_the_worker", None) {
        let tool = tool();
        works(&tool).await;
        let before = resident();
        let (failure, _) = fail(&tool, "x = bytearray(10 << 30)").await;
        assert_eq!(failure.kind, "MemoryError");
        works(&tool).await;
        assert!(resident() < before + (16 << 20), "{} after {before}", resident());
    }
}

#[tokio::test]
async fn a_gigabyte_of_output_is_drained_in_bounded_memory() {
    if is_worker("a_gigabyte_of_output_is_drained_in_bounded_memory", None) {
        let tool = tool();
        works(&tool).await;
        let before = resident();
        let code = r"
block = b'x' * (1 << 20)
for _ in range(1024):
    view = memoryview(block)
    while view:
        view = view[os.write(1, view):]
result = 1
";
        let allowed = Duration::from_mins(5);
        let ended = call_for(&tool, json!({"code": code}), json!({}), allowed).await.unwrap();
        assert!(ended.output.len() < 20_000 && ended.output.contains("bytes cut"));
        works(&tool).await;
        assert!(resident() < before + (16 << 20), "{} after {before}", resident());
    }
}

#[tokio::test]
async fn files_of_one_execution_are_gone_in_the_next() {
    let tool = tool();
    let allowed = Duration::from_mins(1);
    let leave = r"
import tempfile
home = os.environ['HOME']
open(os.path.join(tempfile.gettempdir(), 'left'), 'w').write('secret')
os.makedirs(home + '/a/b')
open(home + '/a/b/.hidden', 'w').close()
os.symlink('/etc', home + '/link')
result = [home, os.getpid()]
";
    let look = r"
old = os.listdir(old) if os.path.exists(old) else []
result = [old, sorted(os.listdir(os.environ['HOME'])), os.getpid()]
";
    let config = |code: &str| json!({"code": code});
    let ask = async |execution: &str, old: &Value| {
        let args = json!({"old": old});
        call_of(&tool, execution, config(look), args, allowed).await.unwrap().result
    };
    let first = call_of(&tool, "1", config(leave), json!({}), allowed).await.unwrap().result;
    let again = ask("1", &first[0]).await;
    assert_eq!(again[1], json!(["a", "left", "link"]), "another attempt may count on them");
    let other = ask("2", &first[0]).await;
    assert_eq!(other, json!([[], [], first[1]]), "the same interpreter, and nothing is left");
    assert!(std::path::Path::new("/etc/passwd").exists(), "a link is removed, not what it shows");
}
