use std::time::Duration;

use serde_json::Map;
use tempfile::TempDir;

use super::*;

async fn save(folder: &Path, config: Value, args: Value) -> Result<Value, ToolError> {
    let (Value::Object(config), Value::Object(args)) = (config, args) else { panic!("maps") };
    let call = Call {
        config,
        args,
        context: None,
        idempotency_key: "c1",
        deadline: Instant::now() + Duration::from_mins(5),
        attempt: 1,
        execution_id: "9",
        step: "work",
        saves: true,
        progress: crate::tool::Progress::default(),
    };
    FileSink::new(folder).call(&call).await.map(|success| success.result)
}

fn folder() -> TempDir {
    tempfile::tempdir().unwrap()
}

#[tokio::test]
async fn a_value_is_written_in_every_format() {
    let rows = json!([{"a": 1, "b": "x,\"y\"\nz"}, {"b": "", "c": [1]}, {"a": null}]);
    #[rustfmt::skip]
    let cases = [
        ("json", "f.json", rows.clone(), format!("{rows}\n"), 3),
        ("jsonl", "f.jsonl", rows.clone(), "{\"a\":1,\"b\":\"x,\\\"y\\\"\\nz\"}\n{\"b\":\"\",\"c\":[1]}\n{\"a\":null}\n".to_owned(), 3),
        ("one map as jsonl", "f.ndjson", json!({"a": 1}), "{\"a\":1}\n".to_owned(), 1),
        ("csv", "f.csv", rows, "a,b,c\n1,\"x,\"\"y\"\"\nz\",\n,\"\",[1]\n,,\n".to_owned(), 3),
        ("two quotes and spaces", "f.csv", json!([{" k": "\"\"", "s": " x "}]), "\" k\",s\n\"\"\"\"\"\",\" x \"\n".to_owned(), 1),
        ("text", "f.txt", json!("one\ntwo"), "one\ntwo".to_owned(), 1),
        ("lines", "f.log", json!(["one", 2, true]), "one\n2\ntrue\n".to_owned(), 3),
        ("nothing", "f.jsonl", json!([]), String::new(), 0),
    ];
    for (name, path, data, text, rows) in cases {
        let folder = folder();
        let result = save(folder.path(), json!({"path": path, "data": data}), json!({})).await;
        let result = result.unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(
            (&result["rows"], &result["bytes"]),
            (&json!(rows), &json!(text.len())),
            "{name}"
        );
        assert_eq!(fs::read_to_string(result["path"].as_str().unwrap()).unwrap(), text, "{name}");
        assert_eq!(fs::read_to_string(folder.path().join(path)).unwrap(), text, "{name}");
    }
}

#[tokio::test]
async fn a_second_save_appends_or_overwrites() {
    let folder = folder();
    let path = folder.path();
    let rows = |n: i64| json!([{"a": n, "b": "x"}]);
    #[rustfmt::skip]
    let cases = [
        ("lines append", json!({"path": "f.jsonl"}), "{\"a\":1,\"b\":\"x\"}\n{\"a\":2,\"b\":\"x\"}\n"),
        ("rows append under one header", json!({"path": "f.csv"}), "a,b\n1,x\n2,x\n"),
        ("a document overwrites", json!({"path": "f.json"}), "[{\"a\":2,\"b\":\"x\"}]\n"),
        ("rows overwrite", json!({"path": "g.csv", "mode": "overwrite"}), "a,b\n2,x\n"),
        ("a folder on the way", json!({"path": "x/y/f", "format": "csv"}), "a,b\n1,x\n2,x\n"),
    ];
    for (name, config, text) in cases {
        for n in 1..=2 {
            let mut config = config.clone();
            config["data"] = rows(n);
            save(path, config, json!({})).await.unwrap_or_else(|error| panic!("{name}: {error}"));
        }
        let file = path.join(config["path"].as_str().unwrap());
        assert_eq!(fs::read_to_string(file).unwrap(), text, "{name}");
    }
    let other = json!({"path": "f.csv", "data": {"b": "y", "new": 1}});
    let error = save(path, other, json!({})).await.unwrap_err();
    assert!(error.message().contains("no column `new`; it has a, b"), "{error}");
    let fewer = json!({"path": "f.csv", "data": {"b": "y"}});
    save(path, fewer, json!({})).await.unwrap();
    assert!(fs::read_to_string(path.join("f.csv")).unwrap().ends_with("\n,y\n"));
    let left: Vec<_> =
        fs::read_dir(path).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert!(left.iter().all(|name| !name.to_string_lossy().starts_with('.')), "{left:?}");
}

#[tokio::test]
async fn a_path_cannot_leave_its_folder() {
    let (folder, outside) = (folder(), folder());
    let root = folder.path();
    std::os::unix::fs::symlink(outside.path(), root.join("out")).unwrap();
    std::os::unix::fs::symlink(outside.path().join("f.json"), root.join("link.json")).unwrap();
    std::os::unix::fs::symlink(root, root.join("home")).unwrap();
    let absolute = outside.path().join("f.json").display().to_string();
    #[rustfmt::skip]
    let cases = ["../f.json", "a/../../f.json", "a/../f.json", "/f.json", &absolute, "out/f.json", "out/deep/f.json", "link.json", ".."];
    for path in cases {
        let config = json!({"path": path, "format": "json", "data": 1});
        let error = save(root, config, json!({})).await.unwrap_err();
        assert_eq!(error.reaction(), Reaction::Input, "{path}");
        assert!(error.message().contains("NOETL_FILES_DIR"), "{path}: {error}");
    }
    assert_eq!(fs::read_dir(outside.path()).unwrap().count(), 0, "nothing is written outside");
    let inside = root.join("in.json").display().to_string();
    for path in [inside.as_str(), "./a/./f.json", "home/f.json"] {
        save(root, json!({"path": path, "data": 1}), json!({})).await.unwrap();
    }
}

#[tokio::test]
async fn what_cannot_be_saved_is_named() {
    let folder = folder();
    fs::create_dir(folder.path().join("d.json")).unwrap();
    fs::write(folder.path().join("plain"), "x").unwrap();
    let long = format!("{}.json", "x".repeat(300));
    #[rustfmt::skip]
    let cases = [
        ("no path", json!({}), "needs `path`"),
        ("no format", json!({"path": "f.bin", "data": 1}), "does not say its format"),
        ("a format", json!({"path": "f", "format": "xlsx", "data": 1}), "`format: xlsx` is not known"),
        ("a mode", json!({"path": "f.csv", "mode": "upsert", "data": 1}), "`mode: upsert` is not known"),
        ("appending json", json!({"path": "f.json", "mode": "append", "data": 1}), "use `format: jsonl`"),
        ("csv of numbers", json!({"path": "f.csv", "data": [{"a": 1}, 2]}), "row 1 is none"),
        ("text of maps", json!({"path": "f.txt", "data": {"a": 1}}), "for maps use `json`"),
        ("a folder", json!({"path": "d.json", "data": 1}), "is no file"),
        ("below a file", json!({"path": "plain/f.json", "data": 1}), "a part of it is a file"),
        ("a slash", json!({"path": "x/", "format": "json", "data": 1}), "names no file"),
        ("a long name", json!({"path": long, "data": 1}), "write a shorter name"),
    ];
    for (name, config, message) in cases {
        let error = save(folder.path(), config, json!({})).await.unwrap_err();
        assert_eq!(error.reaction(), Reaction::Input, "{name}: {error}");
        assert!(error.message().contains(message), "{name}: {error}");
    }
    let error = save(Path::new("no/such"), json!({"path": "f.json", "data": 1}), json!({})).await;
    assert!(error.unwrap_err().message().contains("NOETL_FILES_DIR"));
}

#[tokio::test]
async fn the_args_are_saved_where_nothing_else_is_named() {
    let folder = folder();
    save(folder.path(), json!({"path": "f.json"}), json!({"a": 1})).await.unwrap();
    assert_eq!(fs::read_to_string(folder.path().join("f.json")).unwrap(), "{\"a\":1}\n");
    let empty: Map<String, Value> = Map::new();
    let config = json!({"path": "f.csv", "payload": empty});
    assert_eq!(save(folder.path(), config, json!({})).await.unwrap()["rows"], 1);
}

#[tokio::test]
async fn appends_at_the_same_time_do_not_mix() {
    let folder = folder();
    let text = "x".repeat(10_000);
    let saves = (0..50).map(|n| {
        let row = json!({"path": "f.jsonl", "data": {"n": n, "text": text}});
        save(folder.path(), row, json!({}))
    });
    for saved in futures_util::future::join_all(saves).await {
        saved.unwrap();
    }
    let written = fs::read_to_string(folder.path().join("f.jsonl")).unwrap();
    assert_eq!(written.lines().count(), 50);
    for line in written.lines() {
        assert_eq!(serde_json::from_str::<Value>(line).unwrap()["text"], text);
    }
}
