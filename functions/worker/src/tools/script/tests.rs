use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::Instant;

use super::*;
use crate::tools::python::PythonPool;

async fn call(is_allowed: bool, config: Value) -> Result<Success, ToolError> {
    let python = Arc::new(Python::new(PythonPool::new("python3", 1)));
    let call = Call {
        config: config.as_object().cloned().unwrap(),
        args: json!({"n": 20}).as_object().cloned().unwrap(),
        context: None,
        idempotency_key: "c1",
        deadline: Instant::now() + Duration::from_mins(5),
        attempt: 1,
        execution_id: "9",
        step: "work",
        saves: false,
        progress: crate::tool::Progress::default(),
    };
    Script::new(python, Shell::new(is_allowed)).call(&call).await
}

#[tokio::test]
async fn a_script_runs_as_its_name_says() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        json!({"script": {"uri": path, "source": {"type": "file"}}})
    };
    let python = write("a.py", "def main(n):\n    return n + 1");
    assert_eq!(call(false, python).await.unwrap().result, json!(21));
    let shell = write("a.sh", "echo $((N + 2))");
    assert_eq!(call(true, shell.clone()).await.unwrap().result["stdout"], "22\n");
    let error = call(false, shell).await.unwrap_err();
    assert!(error.message().contains("NOETL_ALLOW_SHELL=1"), "{error}");
}

#[tokio::test]
async fn a_script_that_cannot_run_is_named() {
    #[rustfmt::skip]
    let cases = [
        ("nothing", json!({}), "needs `script: {uri: ...}`"),
        ("a job", json!({"script": "a.py", "job": {"image": "python:3.11"}}), "job of Kubernetes"),
        ("another language", json!({"script": "a.rb"}), "name the file `.py`"),
        ("no file", json!({"script": "no-such.py"}), "cannot be read"),
        ("no shell file", json!({"script": {"uri": "no-such.sh"}}), "cannot be read"),
        ("a bucket", json!({"script": {"uri": "s3://b/a.py"}}), "presigned URL"),
    ];
    for (name, config, message) in cases {
        let error = call(true, config).await.unwrap_err();
        assert!(error.message().contains(message), "{name}: {error}");
    }
}

#[test]
fn a_query_is_no_part_of_the_name() {
    assert_eq!(extension("https://h/a.PY?x=a.sh"), "py");
    assert_eq!(extension("a"), "");
}
