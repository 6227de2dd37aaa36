use std::time::Duration;

use engine_core::event::ToolFailure;
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::*;

pub(super) fn tool() -> Python {
    Python::new(PythonPool::new("python3", 1))
}

async fn call(
    tool: &Python,
    config: Value,
    args: Value,
) -> Result<Success, (ToolFailure, Success)> {
    call_for(tool, config, args, Duration::from_mins(1)).await
}

pub(super) async fn call_for(
    tool: &Python,
    config: Value,
    args: Value,
    allowed: Duration,
) -> Result<Success, (ToolFailure, Success)> {
    call_of(tool, "99", config, args, allowed).await
}

pub(super) async fn call_of(
    tool: &Python,
    execution_id: &str,
    config: Value,
    args: Value,
    allowed: Duration,
) -> Result<Success, (ToolFailure, Success)> {
    let (Value::Object(config), Value::Object(args)) = (config, args) else { panic!("maps") };
    let context = json!({"workload": {"size": 3}, "colour": "red", "input": {"inner": 1}});
    let call = Call {
        config,
        args,
        context: context.as_object().cloned(),
        idempotency_key: "c7.2",
        deadline: Instant::now() + allowed,
        attempt: 1,
        execution_id,
        step: "work",
        saves: false,
        progress: crate::tool::Progress::default(),
    };
    tool.call(&call).await.map_err(ToolError::into_failure)
}

pub(super) async fn run(tool: &Python, code: &str, args: Value) -> Value {
    match call(tool, json!({"code": code}), args).await {
        Ok(success) => success.result,
        Err((failure, _)) => panic!("{code}: {failure:?}"),
    }
}

pub(super) async fn fail(tool: &Python, code: &str) -> (ToolFailure, Success) {
    match call(tool, json!({"code": code}), json!({})).await {
        Ok(success) => panic!("{code}: {success:?}"),
        Err(failed) => failed,
    }
}

/// After whatever happened, the next call works.
pub(super) async fn works(tool: &Python) {
    assert_eq!(run(tool, "result = 6 * 7", json!({})).await, json!(42));
}

#[tokio::test]
async fn code_says_its_result_in_many_ways() {
    #[rustfmt::skip]
    let cases = [
        ("a variable", "result = {'a': 1}", json!({}), json!({"a": 1})),
        ("main", "def main():\n    return 1", json!({}), json!(1)),
        ("main beats result", "result = 1\ndef main():\n    return 2", json!({}), json!(2)),
        ("args are globals", "result = x + 1", json!({"x": 2}), json!(3)),
        ("text stays text", "result = int(n) + len(n)", json!({"n": "41"}), json!(43)),
        ("JSON-looking text is parsed", "result = [a['k'], b]", json!({"a": "{\"k\": 1}", "b": "[1, 2]"}), json!([1, [1, 2]])),
        ("Python-looking text is parsed", "result = a", json!({"a": "{'k': (1, None)}"}), json!({"k": [1, null]})),
        ("other braces stay text", "result = a", json!({"a": "{not a map}"}), json!("{not a map}")),
        ("input_data is the args", "result = input_data['a']", json!({"a": 5}), json!(5)),
        ("an arg may be named input_data", "result = input_data", json!({"input_data": 5}), json!(5)),
        ("an arg named result is no result", "x = 1", json!({"result": 5}), json!({"status": "success", "message": "the code ran; it has no `main` and set no `result`", "locals_count": 1, "locals_keys": ["x"]})),
        ("an arg named result may be replaced", "result = {'r': result}", json!({"result": 5}), json!({"r": 5})),
        ("main takes args by name", "def main(a, b=2):\n    return [a, b]", json!({"a": 1}), json!([1, 2])),
        ("main takes the rest", "def main(a, **rest):\n    return rest", json!({"a": 1, "b": 2}), json!({"b": 2})),
        ("one parameter takes all", "def main(input_data):\n    return input_data", json!({"a": 1}), json!({"a": 1})),
        ("one parameter prefers its name", "def main(a):\n    return a", json!({"a": 1, "b": 2}), json!(1)),
        ("positional-only parameters work", "def main(a, /, b):\n    return [a, b]", json!({"a": 1, "b": 2}), json!([1, 2])),
        ("main takes the context", "def main(context):\n    return context['colour']", json!({}), json!("red")),
        ("main takes context keys", "def main(a, colour, inner):\n    return [a, colour, inner]", json!({"a": 1}), json!([1, "red", 1])),
        ("async main is awaited", "import asyncio\nasync def main():\n    await asyncio.sleep(0)\n    return 3", json!({}), json!(3)),
        ("helpers and imports are seen by main", "import math\nK = 2\ndef f(x):\n    return x * K\ndef main():\n    return f(math.floor(2.5))", json!({}), json!(4)),
        ("a return ends the code", "x = 1\nif x:\n    return {'x': x}\nresult = 2", json!({}), json!({"x": 1})),
        ("a return after main", "def main():\n    return 1\nreturn main() + 1", json!({}), json!(2)),
        ("a return that is not reached", "if False:\n    return 1\nresult = 7", json!({}), json!(7)),
        ("names of returning code are global", "import json as j\nfor i in range(3):\n    pass\ntry:\n    1/0\nexcept ZeroDivisionError as e:\n    k = 1\ndef f():\n    return [i, k, y]\ny: int = 4\n(z := 5)\nt = [w := q for q in range(2)]\nreturn f() + [z, w, j.loads('1')]", json!({}), json!([2, 1, 4, 5, 1, 1])),
        ("modules are there", "result = [json.loads('1'), os.path.sep, str(uuid.UUID(int=0))[:2], datetime.date(2024, 1, 2)]", json!({}), json!([1, "/", "00", "2024-01-02"])),
        ("helpers are there", "result = [get_val({'a': [{'b': 1}]}, 'a.0.b'), get_val({}, 'x.y', 2), deep_merge({'a': {'b': 1}}, {'a': {'c': 2}}), len(format_iso8601(now_utc())) > 20]", json!({}), json!([1, 2, {"a": {"b": 1, "c": 2}}, true])),
        ("data is the context's", "result = 'data' in globals()", json!({}), json!(false)),
        ("the ids are there", "result = [execution_id, os.environ['NOETL_COMMAND_ID']]", json!({}), json!(["99", "c7.2"])),
        ("dataclasses know their module", "from __future__ import annotations\nfrom dataclasses import dataclass, asdict\n@dataclass\nclass P:\n    x: int\nresult = asdict(P(1))", json!({}), json!({"x": 1})),
        ("odd values become JSON", "from decimal import Decimal\nfrom pathlib import Path\nfrom enum import Enum\nclass C(Enum):\n    A = 'a'\nresult = [float('nan'), float('inf'), (1, 2), {3}, Decimal('1.5'), Decimal(2), datetime.datetime(2024, 1, 2, 3), Path('/p'), C.A, {1: 2, None: 3, datetime.date(2024, 1, 2): 4}]", json!({}),
            json!([null, null, [1, 2], [3], 1.5, 2, "2024-01-02T03:00:00", "/p", "a", {"1": 2, "null": 3, "2024-01-02": 4}])),
        ("broken text is repaired", "result = 'a\\ud800b'", json!({}), json!("a?b")),
    ];
    let tool = tool();
    for (name, code, args, expect) in cases {
        assert_eq!(run(&tool, code, args).await, expect, "{name}");
    }
}

#[tokio::test]
async fn d41_helpers_and_imports_at_the_top_are_seen_by_main() {
    let code = "import math\nTAX = 2\ndef twice(x):\n    return x * TAX\n\
                def main(price):\n    return twice(math.ceil(price))";
    assert_eq!(run(&tool(), code, json!({"price": 1.5})).await, json!(4));
}

#[tokio::test]
async fn d42_input_data_is_all_arguments_as_a_global_and_as_a_lone_parameter() {
    let (tool, args) = (tool(), json!({"x": 1, "y": 2}));
    for code in [
        "result = input_data",
        "def main():\n    return input_data",
        "def main(input_data):\n    return input_data",
        "def main(everything):\n    return everything",
    ] {
        assert_eq!(run(&tool, code, args.clone()).await, args, "{code}");
    }
}

#[tokio::test]
async fn d56_code_may_end_with_a_return_and_keeps_its_lines_and_its_scope() {
    let tool = tool();
    let code = "x = 20\ndef f():\n    return x + n\nreturn {'sum': f() * 2}";
    assert_eq!(run(&tool, code, json!({"n": 1})).await, json!({"sum": 42}));
    let (failure, _) = fail(&tool, "x = 1\nif x:\n    raise KeyError('here')\nreturn x").await;
    let told = format!("{} {:?}", failure.message, failure.traceback);
    assert!(told.contains("line 3"), "{told}");
}

#[tokio::test]
async fn libs_are_imported_under_their_alias() {
    let tool = tool();
    let libs = json!({"m": "math", "dt": {"from": "datetime", "import": "datetime"}, "p": {"from": "os", "import": "path"}});
    let config =
        json!({"libs": libs, "code": "result = [m.floor(1.5), dt(2024, 1, 2).year, p.sep]"});
    assert_eq!(call(&tool, config, json!({})).await.unwrap().result, json!([1, 2024, "/"]));
    let config = json!({"libs": ["math"], "code": "result = math.floor(2.5)"});
    assert_eq!(call(&tool, config, json!({})).await.unwrap().result, json!(2));
    for (libs, expect) in [
        (json!({"x": "no_such_module_x"}), "-m pip install no_such_module_x"),
        (json!({"x": {"from": "math", "import": "nothing"}}), "`math` has no `nothing`"),
        (json!({"x": 5}), "module name"),
        (json!("math"), "is not understood"),
    ] {
        let config = json!({"libs": libs, "code": "result = 1"});
        let (failure, _) = call(&tool, config, json!({})).await.unwrap_err();
        assert_eq!((failure.kind.as_str(), failure.retryable), ("InputError", false));
        assert!(failure.message.contains(expect), "{}", failure.message);
    }
    works(&tool).await;
}

#[tokio::test]
async fn the_source_may_be_a_file_or_packed() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("hello.py");
    std::fs::write(&path, "def main(name):\n    return f'hi {name}'\n").unwrap();
    let tool = tool();
    let uri = path.to_str().unwrap();
    for config in [
        json!({"script": {"uri": uri, "source": {"type": "file"}}, "code": "result = 0"}),
        json!({"script": format!("file://{uri}")}),
        json!({"code_b64": "ZGVmIG1haW4obmFtZSk6CiAgICBy\nZXR1cm4gZidoaSB7bmFtZX0n", "code": "result = 0"}),
    ] {
        let success = call(&tool, config.clone(), json!({"name": "Ann"})).await.unwrap();
        assert_eq!(success.result, json!("hi Ann"), "{config}");
    }
    for (config, expect) in [
        (json!({}), "needs `code`"),
        (json!({"code": "  "}), "needs `code`"),
        (json!({"script": {}}), "needs `uri`"),
        (json!({"script": "no/such/file.py"}), "the path is relative to"),
        (
            json!({"script": {"uri": "s3://b/k", "source": {"type": "s3"}}}),
            "no worker reads buckets",
        ),
        (json!({"script": {"uri": "gs://b/k"}}), "`source.type: gs` is not supported"),
        (
            json!({"script": {"uri": "k.py", "source": {"type": "gcs"}}}),
            "`source.type: gcs` is not",
        ),
        (json!({"script": "/dev/zero"}), "has more than 1024 KiB"),
        (json!({"script": "http://127.0.0.1:9/x.py"}), "is not a public address"),
        (json!({"code_b64": "***"}), "is not base64"),
    ] {
        let (failure, _) = call(&tool, config, json!({})).await.unwrap_err();
        assert!(failure.message.contains(expect), "{}", failure.message);
    }
}

#[tokio::test]
async fn the_source_may_be_on_a_server() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((mut socket, _)) = listener.accept().await {
            let mut head = vec![0; 4_096];
            let len = socket.read(&mut head).await.unwrap();
            let head = String::from_utf8_lossy(&head[..len]).to_lowercase();
            let (status, body) = match head.split(' ').nth(1).unwrap() {
                "/hello.py" => {
                    ("200 OK", format!("result = {}", i32::from(head.contains("x-key: k"))))
                }
                "/long.py" => ("200 OK", "#".repeat((1 << 20) + 1)),
                _ => ("404 Not Found", String::new()),
            };
            let length = body.len();
            let answer = format!(
                "HTTP/1.1 {status}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}"
            );
            socket.write_all(answer.as_bytes()).await.unwrap();
        }
    });
    let tool = tool().with_scripts(HttpPolicy { guard: false });
    let headers = json!({"X-Key": "k"});
    for (script, expect) in [
        (json!(format!("{url}/hello.py")), Ok(json!(0))),
        (
            json!({"uri": format!("{url}/hello.py"), "source": {"type": "http", "headers": headers}}),
            Ok(json!(1)),
        ),
        (json!({"uri": "hello.py", "source": {"type": "http", "endpoint": url}}), Ok(json!(0))),
        (json!(format!("{url}/other.py")), Err("cannot be fetched: HTTP 404")),
        (json!(format!("{url}/long.py")), Err("has more than 1024 KiB")),
    ] {
        let ended = call(&tool, json!({"script": script}), json!({})).await;
        match expect {
            Ok(result) => assert_eq!(ended.unwrap().result, result),
            Err(text) => {
                let failure = ended.unwrap_err().0;
                assert!(failure.message.contains(text), "{}", failure.message);
            }
        }
    }
}

#[tokio::test]
async fn an_exception_shows_only_the_playbooks_own_lines() {
    let tool = tool();
    let code = "import json\ndef f(x):\n    return json.loads(x)\n\nf('{')";
    let (failure, _) = fail(&tool, code).await;
    assert_eq!((failure.kind.as_str(), failure.retryable), ("JSONDecodeError", false));
    assert_eq!(
        failure.traceback.unwrap(),
        "  File \"<step work>\", line 5, in <module>\n    f('{')\n  File \"<step work>\", line 3, in f\n    return json.loads(x)\n"
            .replace("    return json.loads(x)\n", "    return json.loads(x)\n           ^^^^^^^^^^^^^\n")
            .replace("           ^^^^^^^^^^^^^\n", if underlines(&tool).await { "           ^^^^^^^^^^^^^\n" } else { "" })
    );
    #[rustfmt::skip]
    let cases = [
        ("a raised class", "class Boom(Exception): pass\nraise Boom('why')", "Boom", "why", "line 2"),
        ("no message", "raise ValueError", "ValueError", "ValueError", "line 1"),
        ("a name", "result = nope", "NameError", "'nope' is not defined", "line 1"),
        ("syntax", "x = 1\ny = (", "SyntaxError", "never closed", "line 2"),
        ("in returning code", "x = 1\n\nif x:\n    raise KeyError('k')\nreturn 1", "KeyError", "'k'", "line 4"),
        ("in main", "def main():\n    assert False, 'no'", "AssertionError", "no", "line 2"),
        ("sys.exit", "import sys\nsys.exit(3)", "SystemExit", "called `exit` (3)", "line 2"),
        ("sys.exit(0)", "import sys\nsys.exit(0)", "SystemExit", "called `exit` (0)", "line 2"),
        ("an interrupt", "raise KeyboardInterrupt", "KeyboardInterrupt", "interrupted", "line 1"),
        ("recursion", "def f(): f()\nf()", "RecursionError", "recursion", "line 1"),
        ("a message that cannot be shown", "class E(Exception):\n    def __str__(self): raise self\nraise E", "E", "cannot be shown", "line 3"),
        ("a broken message", "raise ValueError('a\\ud800')", "ValueError", "a?", "line 1"),
    ];
    for (name, code, kind, message, line) in cases {
        let (failure, _) = fail(&tool, code).await;
        assert_eq!(failure.kind, kind, "{name}: {failure:?}");
        assert!(failure.message.contains(message), "{name}: {failure:?}");
        let traceback = failure.traceback.unwrap_or_default();
        assert!(traceback.contains(line) && !traceback.contains("<string>"), "{name}: {traceback}");
    }
    works(&tool).await;
}

/// Newer interpreters underline the place inside a line.
async fn underlines(tool: &Python) -> bool {
    fail(tool, "f = 1\nf(f(1)) + 1").await.0.traceback.unwrap().contains('^')
}

#[tokio::test]
async fn inputs_and_results_that_do_not_fit_are_named() {
    let tool = tool();
    #[rustfmt::skip]
    let cases = [
        ("*args", "def main(*a): pass", "InputError", "`*args`"),
        ("missing", "def main(a, b): pass", "InputError", "`main` needs `a`, `b`; the step's args are none"),
        ("bytes", "result = {'a': [0, b'x']}", "ResultError", "`result.a[1]` is bytes"),
        ("an object", "result = {'a': object()}", "ResultError", "`result.a` is a `object`"),
        ("a function", "def main():\n    return len", "ResultError", "`result` is a `builtin_function_or_method`"),
        ("a key", "result = {(1, 2): 3}", "ResultError", "a key of `result` is a `tuple`"),
        ("a circle", "a = []\na.append(a)\nresult = a", "ResultError", "contains itself"),
        ("depth", "a = []\nfor _ in range(200):\n    a = [a]\nresult = a", "ResultError", "nested"),
        ("size", "result = 'x' * (70 << 20)", "ResultError", "return where it is"),
    ];
    for (name, code, kind, message) in cases {
        let (failure, _) = fail(&tool, code).await;
        assert_eq!(
            (failure.kind.as_str(), failure.retryable),
            (kind, false),
            "{name}: {failure:?}"
        );
        assert!(failure.message.contains(message), "{name}: {failure:?}");
    }
    works(&tool).await;
}

#[tokio::test]
async fn a_result_may_say_that_it_is_an_error() {
    let tool = tool();
    #[rustfmt::skip]
    let cases = [
        ("text", "result = {'status': 'error', 'error': 'why', 'n': 1}", "PythonError", "why"),
        ("any case, in message", "result = {'status': 'ERROR', 'message': 'why'}", "PythonError", "why"),
        ("a map", "result = {'status': 'error', 'error': {'type': 'T', 'message': 'why'}}", "T", "why"),
        ("nothing", "result = {'status': 'error'}", "PythonError", "without `error` or `message`"),
    ];
    for (name, code, kind, message) in cases {
        let (failure, left) = fail(&tool, code).await;
        assert_eq!(failure.kind, kind, "{name}");
        assert!(failure.message.contains(message), "{name}: {}", failure.message);
        assert!(left.result["status"].is_string(), "{name}");
    }
    assert_eq!(run(&tool, "result = {'status': 'errors'}", json!({})).await["status"], "errors");
}

#[tokio::test]
async fn printed_text_is_captured_per_call() {
    let tool = tool();
    let code = "import sys, subprocess\nprint('one')\nprint('two', file=sys.stderr)\nos.write(1, b'three\\n')\nsubprocess.run(['echo', 'four'])\nresult = 1";
    let success = call(&tool, json!({"code": code}), json!({})).await.unwrap();
    assert_eq!(success.output, "one\ntwo\nthree\nfour\n");
    let success =
        call(&tool, json!({"code": "print('end', end='')\nresult = 1"}), json!({})).await.unwrap();
    assert_eq!(success.output, "end");
    let (_, left) = fail(&tool, "print('before')\nraise ValueError('x')").await;
    assert_eq!(left.output, "before\n");
    let success = call(&tool, json!({"code": "result = 1"}), json!({})).await.unwrap();
    assert_eq!(success.output, "");
}

#[tokio::test]
async fn a_flood_of_output_is_drained_and_cut() {
    let tool = tool();
    let code = "block = 'x' * (1 << 20)\nfor _ in range(16):\n    print(block)\nprint('the end')\nresult = 1";
    let success = call(&tool, json!({"code": code}), json!({})).await.unwrap();
    assert!(success.output.len() < 20_000, "{}", success.output.len());
    assert!(success.output.contains("bytes cut") && success.output.ends_with("the end\n"));
    works(&tool).await;
}

#[tokio::test]
async fn code_leaves_nothing_behind() {
    let tool = tool();
    let dirty = "import sys, builtins\nleft = 1\nos.environ['LEFT'] = '1'\nos.chdir('/')\nsys.path.insert(0, '/left')\nsys.setrecursionlimit(5000)\nsys.stdout = None\nos.umask(0)\nimport signal\nsignal.alarm(1)\nresult = os.getpid()";
    let look = "import sys, signal\nresult = ['left' in globals(), 'LEFT' in os.environ, os.getcwd() == '/', '/left' in sys.path, sys.getrecursionlimit(), os.umask(0) == 0, signal.alarm(0), os.getpid()]\nprint('seen')";
    let pid = run(&tool, dirty, json!({})).await;
    let success = call(&tool, json!({"code": look}), json!({})).await.unwrap();
    assert_eq!(success.output, "seen\n");
    assert_eq!(success.result, json!([false, false, false, false, 1000, false, 0, pid]));
}

#[tokio::test]
async fn code_sees_nothing_of_the_worker() {
    let tool = tool();
    let names = run(&tool, "result = sorted(os.environ)", json!({})).await;
    let known = ["HOME", "LANG", "LD_LIBRARY_PATH", "NOETL_COMMAND_ID", "PATH", "TMPDIR"];
    for name in names.as_array().unwrap() {
        let name = name.as_str().unwrap();
        assert!(known.contains(&name), "{name} is visible");
    }
    let places = "import tempfile\nresult = [tempfile.gettempdir(), os.environ['HOME']]";
    let places = run(&tool, places, json!({})).await;
    assert!(places[0].as_str().unwrap().contains("noetl-python-"), "{places}");
    assert_eq!(places[0], places[1], "its home and its temporary folder are the execution's");
}

#[tokio::test]
async fn code_that_does_not_end_is_stopped_with_all_it_started() {
    let tool = tool();
    works(&tool).await;
    let folder = tempfile::tempdir().unwrap();
    let code = "import subprocess, time\nprint('started', flush=True)\na = subprocess.Popen(['sleep', '600'])\nb = subprocess.Popen(['sleep', '600'], start_new_session=True)\nopen(path, 'w').write(f'{a.pid} {b.pid} {os.getpid()}')\ntime.sleep(600)";
    let path = folder.path().join("pids");
    let args = json!({"path": path.to_str().unwrap()});
    let allowed = Duration::from_millis(700);
    let (failure, left) = call_for(&tool, json!({"code": code}), args, allowed).await.unwrap_err();
    assert_eq!((failure.kind.as_str(), failure.retryable), ("TimeoutError", true));
    assert!(failure.message.contains("raise the step's `timeout`"), "{}", failure.message);
    assert_eq!(left.output, "started\n");
    for pid in std::fs::read_to_string(&path).unwrap().split(' ') {
        assert!(is_gone(pid), "process {pid} lives");
    }
    works(&tool).await;
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
async fn strays_of_a_call_are_stopped() {
    let tool = tool();
    let code = "import subprocess\na = subprocess.Popen(['sleep', '600'])\nb = subprocess.Popen(['sh', '-c', 'setsid sleep 600 & echo $!'], stdout=subprocess.PIPE)\nc = int(b.stdout.readline())\npid = os.fork()\nif pid == 0:\n    import time\n    time.sleep(600)\nresult = [a.pid, c, pid, os.getpid()]";
    let pids = run(&tool, code, json!({})).await;
    let pids: Vec<String> = pids.as_array().unwrap().iter().map(Value::to_string).collect();
    for pid in &pids[..3] {
        assert!(is_gone(pid), "process {pid} lives");
    }
    let own = run(&tool, "result = os.getpid()", json!({})).await;
    assert_eq!(own.to_string(), pids[3], "the interpreter itself is kept");
}

#[tokio::test]
async fn hostile_code_is_an_error_and_the_next_call_works() {
    #[rustfmt::skip]
    let cases = [
        ("os._exit", "os._exit(3)", "WorkerLost", "exit code 3"),
        ("a deadly signal", "import signal\nos.kill(os.getpid(), signal.SIGKILL)", "WorkerLost", "signal 9"),
        ("the whole group", "import signal\nos.killpg(0, signal.SIGKILL)", "WorkerLost", "signal 9"),
        ("a crash", "import ctypes\nctypes.string_at(0)", "WorkerLost", "signal 11"),
        ("closing everything", "os.closerange(0, 1024)\nresult = 1", "WorkerLost", "interpreter"),
        ("garbage on every descriptor", "for fd in range(3, 1024):\n    try:\n        os.write(fd, b'\\xff' * 64)\n    except OSError:\n        pass\nresult = 1", "WorkerLost", "a frame of"),
        ("too much memory", "x = bytearray(8 << 30)", "MemoryError", "memory"),
        ("too large a file", "import tempfile\nf = tempfile.TemporaryFile()\nf.truncate((1 << 30) + 1)", "OSError", "File too large"),
        ("too many files", "a = [open('/dev/null') for _ in range(2000)]", "OSError", "Too many open files"),
    ];
    let tool = tool();
    for (name, code, kind, message) in cases {
        let (failure, _) = fail(&tool, code).await;
        assert_eq!(
            (failure.kind.as_str(), failure.retryable),
            (kind, false),
            "{name}: {failure:?}"
        );
        assert!(failure.message.contains(message), "{name}: {failure:?}");
        works(&tool).await;
    }
    for (name, code) in [
        (
            "closing its own streams",
            "import sys\nos.close(0); os.close(1); os.close(2)\nsys.stdout.close()\nresult = 42",
        ),
        ("a fork that comes back", "os.fork()\nresult = 42"),
        (
            "a thread that stays",
            "import threading, time\nthreading.Thread(target=time.sleep, args=(600,), daemon=True).start()\nresult = 42",
        ),
        ("reading its input", "import sys\nresult = 42 + len(sys.stdin.read())"),
    ] {
        assert_eq!(run(&tool, code, json!({})).await, json!(42), "{name}");
        works(&tool).await;
    }
}

#[tokio::test]
async fn too_many_processes_are_stopped() {
    let tool = Python::new(PythonPool::new("python3", 1).with_processes_max(8));
    let code = "import time\nfor _ in range(16):\n    if os.fork() == 0:\n        time.sleep(600)\ntime.sleep(600)";
    let (failure, _) = fail(&tool, code).await;
    assert_eq!(failure.kind, "ProcessLimit");
    assert!(failure.message.contains("started 16 processes"), "{}", failure.message);
    works(&tool).await;
}

#[tokio::test]
async fn an_interpreter_that_does_not_start_says_why() {
    for (python, expect) in [("no-such-python", "No such file"), ("false", "no answer")] {
        let tool = Python::new(PythonPool::new(python, 1));
        let (failure, _) = fail(&tool, "result = 1").await;
        assert_eq!(failure.kind, "InterpreterError");
        assert!(failure.message.contains(expect), "{}", failure.message);
    }
}

#[tokio::test]
async fn calls_share_the_pool() {
    let tool = Python::new(PythonPool::new("python3", 2));
    let code = "result = os.getpid()";
    let calls = (0..20).map(|_| run(&tool, code, json!({})));
    let pids = futures_util::future::join_all(calls).await;
    let distinct: std::collections::BTreeSet<String> = pids.iter().map(Value::to_string).collect();
    assert!(distinct.len() <= 2, "{distinct:?}");
}

#[tokio::test]
async fn calls_in_a_row_use_one_interpreter() {
    let tool = tool();
    let pid = run(&tool, "result = os.getpid()", json!({})).await;
    for n in 0..1_000 {
        let code = "result = [x, os.getpid()]";
        assert_eq!(run(&tool, code, json!({"x": n})).await, json!([n, pid]));
    }
}
