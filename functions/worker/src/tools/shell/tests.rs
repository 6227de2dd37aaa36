use std::time::Duration;

use tokio::time::Instant;

use super::*;

async fn call_for(config: Value, args: Value, allowed: Duration) -> Result<Success, ToolError> {
    let (Value::Object(config), Value::Object(args)) = (config, args) else { panic!("maps") };
    let call = Call {
        config,
        args,
        context: None,
        idempotency_key: "c7.2",
        deadline: Instant::now() + allowed,
        attempt: 1,
        execution_id: "99",
        step: "work",
        saves: false,
        progress: crate::tool::Progress::default(),
    };
    Shell::new(true).call(&call).await
}

async fn call(config: Value, args: Value) -> Result<Success, ToolError> {
    call_for(config, args, Duration::from_mins(5)).await
}

async fn stdout(command: &str, args: Value) -> String {
    let success = call(json!({"cmd": command}), args).await.unwrap();
    success.result["stdout"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn the_shell_is_off_unless_it_is_switched_on() {
    let call = Call {
        config: json!({"cmd": "true"}).as_object().cloned().unwrap(),
        args: Map::new(),
        context: None,
        idempotency_key: "c1",
        deadline: Instant::now() + Duration::from_mins(1),
        attempt: 1,
        execution_id: "9",
        step: "work",
        saves: false,
        progress: crate::tool::Progress::default(),
    };
    let error = Shell::default().call(&call).await.unwrap_err();
    assert_eq!(error.reaction(), Reaction::Input);
    assert!(error.message().contains("NOETL_ALLOW_SHELL=1"), "{error}");
}

#[tokio::test]
async fn a_command_gives_its_output_and_exit_code() {
    let config = json!({"cmds": ["echo one; echo two >&2", "echo three"]});
    let success = call(config, json!({})).await.unwrap();
    let first = json!({"status": "success", "exit_code": 0, "stdout": "one\n", "stderr": "two\n"});
    let last = json!({"status": "success", "exit_code": 0, "stdout": "three\n", "stderr": ""});
    assert_eq!(success.result["command_0"], first);
    assert_eq!(success.result["command_1"], last);
    assert_eq!(success.result["stdout"], "three\n");
    assert_eq!(success.output, "one\ntwo\nthree\n");
    for key in SOURCES {
        assert_eq!(call(json!({key: "echo x"}), json!({})).await.unwrap().output, "x\n", "{key}");
    }
}

#[tokio::test]
async fn a_failed_command_shows_its_last_words_and_ends_the_list() {
    let config =
        json!({"cmds": ["echo fine", "echo a >&2\necho 'no luck' >&2\nexit 3", "echo no"]});
    let error = call(config, json!({})).await.unwrap_err();
    assert_eq!((error.kind(), error.reaction()), ("ShellError", Reaction::Rejected));
    let message = "`command_1` of 3 ended with exit code 3: a\nno luck";
    assert_eq!(error.message(), message);
    let (_, left) = error.into_failure();
    assert_eq!(left.result["exit_code"], 3);
    assert_eq!(left.result["command_0"]["stdout"], "fine\n");
    assert!(left.result.get("command_2").is_none());
    #[rustfmt::skip]
    let cases = [
        ("the first error ends a text", "false\necho no", "exit code 1"),
        ("a variable that is not set", "echo $NOT_SET", "NOT_SET"),
        ("no such program", "no-such-program", "exit code 127 (a program was not found)"),
        ("a signal", "kill -9 $$", "signal 9"),
    ];
    for (name, command, message) in cases {
        let error = call(json!({"cmd": command}), json!({})).await.unwrap_err();
        assert!(error.message().contains(message), "{name}: {error}");
    }
}

#[tokio::test]
async fn inputs_are_variables_and_never_part_of_the_command() {
    let hostile = "'; touch /never; $(false) `false` \"";
    let args = json!({"file-name": hostile, "n": 3, "list": [1, "a"], "none": null, "1st": true});
    let text = stdout("printf '%s|' \"$FILE_NAME\" \"$N\" \"$LIST\" \"$NONE\" \"$_1ST\"", args);
    assert_eq!(text.await, format!("{hostile}|3|[1,\"a\"]||true|"));
    let own = "echo $NOETL_EXECUTION_ID $NOETL_STEP $NOETL_IDEMPOTENCY_KEY";
    assert_eq!(stdout(own, json!({})).await, "99 work c7.2\n");
}

#[tokio::test]
async fn a_command_sees_nothing_else_of_the_worker() {
    let config = json!({"cmd": "env", "env": {"GIVEN": "x", "COUNT": 2}});
    let success = call(config, json!({"arg": "y"})).await.unwrap();
    let text = success.output;
    #[rustfmt::skip]
    let known = ["ARG", "COUNT", "GIVEN", "HOME", "LANG", "NOETL_EXECUTION_ID", "NOETL_IDEMPOTENCY_KEY", "NOETL_STEP", "OLDPWD", "PATH", "PWD", "SHLVL", "TMPDIR", "_"];
    for line in text.lines() {
        let name = line.split('=').next().unwrap();
        assert!(known.contains(&name), "{line}");
    }
    assert!(text.contains("GIVEN=x\n") && text.contains("COUNT=2\n") && text.contains("ARG=y\n"));
}

#[tokio::test]
async fn what_cannot_be_understood_is_named() {
    let long = "x".repeat(200 << 10);
    #[rustfmt::skip]
    let cases = [
        ("nothing", json!({}), json!({}), "needs `cmd`"),
        ("an empty text", json!({"cmd": " "}), json!({}), "`cmd` has no command"),
        ("an empty list", json!({"cmds": []}), json!({}), "`cmds` has no command"),
        ("a number", json!({"cmd": 1}), json!({}), "`cmd` must be text"),
        ("too many", json!({"cmds": vec!["true"; 101]}), json!({}), "101 commands"),
        ("a folder", json!({"cmd": "true", "cwd": "no/such"}), json!({}), "`cwd: no/such` is no folder"),
        ("an arg named path", json!({"cmd": "true"}), json!({"path": "/x"}), "`args.path` would become the variable PATH"),
        ("a preload", json!({"cmd": "true"}), json!({"ld_preload": "/x"}), "LD_PRELOAD"),
        ("an own name", json!({"cmd": "true", "env": {"NOETL_STEP": "x"}}), json!({}), "`env.NOETL_STEP`"),
        ("no name", json!({"cmd": "true", "env": {"a b": "x"}}), json!({}), "`env.a b`"),
        ("env as a list", json!({"cmd": "true", "env": ["a=b"]}), json!({}), "`env` must be a map"),
        ("a long value", json!({"cmd": "true"}), json!({"x": long}), "put it into a file"),
        ("a NUL", json!({"cmd": "true"}), json!({"x": "a\0b"}), "contains a NUL"),
    ];
    for (name, config, args, message) in cases {
        let error = call(config, args).await.unwrap_err();
        assert_eq!(error.reaction(), Reaction::Input, "{name}");
        assert!(error.message().contains(message), "{name}: {error}");
    }
}

#[tokio::test]
async fn a_folder_and_a_shell_can_be_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().canonicalize().unwrap();
    let config = json!({"cmd": "pwd; false; echo on", "cwd": path, "shell": "/bin/sh -u"});
    let success = call(config, json!({})).await.unwrap();
    assert_eq!(success.output, format!("{}\non\n", path.display()));
}

#[tokio::test]
async fn a_command_without_an_end_is_stopped_with_all_it_started() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("pids");
    let command =
        "echo started; sleep 600 & a=$!; setsid sleep 600 & echo \"$a $! $$\" > \"$OUT\"; wait";
    let allowed = Duration::from_millis(700);
    let error = call_for(json!({"cmd": command}), json!({"out": path}), allowed).await.unwrap_err();
    assert_eq!((error.kind(), error.reaction()), ("TimeoutError", Reaction::Transient));
    assert_eq!(error.into_failure().1.output, "started\n");
    for pid in std::fs::read_to_string(&path).unwrap().split_whitespace() {
        assert!(is_gone(pid), "process {pid} lives");
    }
}

#[tokio::test]
async fn what_a_command_leaves_running_is_stopped() {
    let pid = stdout("sleep 600 & echo $!", json!({})).await;
    assert!(is_gone(pid.trim()), "process {pid} lives");
}

/// Whether a process has ended; a zombie has.
fn is_gone(pid: &str) -> bool {
    (0..1_000).any(|_| {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        std::thread::yield_now();
        stat.is_empty() || stat.contains(") Z ") || stat.contains(") X ")
    })
}

#[tokio::test]
async fn a_flood_of_output_is_drained_and_cut() {
    let command = "head -c 50000000 /dev/zero | tr '\\0' x; echo; echo the end";
    let text = stdout(command, json!({})).await;
    assert!(text.len() < 70_000 && text.contains("bytes cut") && text.ends_with("the end\n"));
}

#[tokio::test]
async fn a_command_lives_within_limits() {
    let large = call(json!({"cmd": "truncate -s 1200000000 \"$HOME/x\""}), json!({})).await;
    assert!(large.is_err(), "a large file");
    let text = stdout(
        "ulimit -n; ulimit -c; ulimit -v; echo $HOME > \"$HOME/left\"; cat \"$HOME/left\"",
        json!({}),
    );
    let text = text.await;
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines[..3], ["1024", "0", "2097152"]);
    assert!(!Path::new(lines[3]).exists(), "its home is wiped");
}
