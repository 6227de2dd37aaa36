//! Files, and objects in a bucket.

use reqwest::Client;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::servers::{Ended, server, tool_in, transfer_with};
use crate::tool::Progress;

async fn run(folder: &TempDir, config: Value) -> Ended {
    transfer_with(&tool_in(folder.path()), config, Progress::default()).await
}

/// A folder with a file of 2,500 rows.
fn folder() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let rows: Vec<_> =
        (0..2_500).map(|n| json!({"id": n, "s": format!("row, \"{n}\""), "n": null})).collect();
    let lines =
        rows.iter().fold(String::new(), |lines, row| lines + row.to_string().as_str() + "\n");
    std::fs::write(folder.path().join("in.jsonl"), lines).unwrap();
    folder
}

fn file(path: &str) -> Value {
    json!({"type": "file", "path": path})
}

/// The rows of a file of JSON lines.
fn rows(folder: &TempDir, name: &str) -> Vec<Value> {
    let text = std::fs::read_to_string(folder.path().join(name)).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[tokio::test]
async fn every_format_of_a_file_gives_its_rows_back() {
    let folder = folder();
    let expect = rows(&folder, "in.jsonl");
    for name in ["out.json", "out.parquet", "out.csv"] {
        run(&folder, json!({"source": file("in.jsonl"), "target": file(name)})).await.unwrap();
        let result = run(&folder, json!({"source": file(name), "target": file("back.jsonl")}))
            .await
            .unwrap();
        assert_eq!(result["rows_transferred"], json!(2_500), "{name}");
        let mut back = rows(&folder, "back.jsonl");
        if name == "out.csv" {
            // CSV knows texts only.
            for row in &mut back {
                row["id"] = json!(row["id"].as_str().unwrap().parse::<i64>().unwrap());
            }
        }
        assert!(back == expect, "{name}: {:?}", back.first());
    }
}

#[tokio::test]
async fn every_format_of_an_object_gives_its_rows_back() {
    let folder = folder();
    let expect = rows(&folder, "in.jsonl");
    let bucket = format!("transfer-{}", std::process::id());
    let made =
        Client::new().put(format!("{}/{bucket}", server("NOETL_TEST_AWS"))).send().await.unwrap();
    assert!(made.status().is_success(), "{made:?}");
    for name in ["out.jsonl", "out.parquet"] {
        let object = json!({"type": "s3", "uri": format!("s3://{bucket}/{name}")});
        let result =
            run(&folder, json!({"source": file("in.jsonl"), "target": object})).await.unwrap();
        assert!(result["bytes"].as_u64().unwrap() > 1_000, "{result}");
        run(&folder, json!({"source": object, "target": file("back.jsonl")})).await.unwrap();
        assert!(rows(&folder, "back.jsonl") == expect, "{name}");
    }
    let none = json!({"type": "s3", "bucket": bucket, "key": "none.jsonl"});
    let (failure, _) =
        run(&folder, json!({"source": none, "target": file("x.jsonl")})).await.unwrap_err();
    assert!(!failure.retryable && failure.message.contains("none.jsonl"), "{}", failure.message);
}

#[tokio::test]
async fn a_file_stays_as_it_was_until_the_new_one_is_whole() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("out.jsonl"), "{\"old\":1}\n").unwrap();
    std::fs::write(folder.path().join("in.jsonl"), "{\"a\":1}\n{\"a\":2}\n{\"a\":").unwrap();
    let config = json!({"source": file("in.jsonl"), "target": file("out.jsonl"), "chunk_size": 1});
    let (failure, _) = run(&folder, config).await.unwrap_err();
    assert_eq!((failure.kind.as_str(), failure.retryable), ("DecodeError", false));
    assert!(failure.message.contains("behind 2 complete rows"), "{}", failure.message);
    assert_eq!(std::fs::read_to_string(folder.path().join("out.jsonl")).unwrap(), "{\"old\":1}\n");
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 2, "nothing is left behind");
}

#[tokio::test]
async fn files_outside_the_folder_are_refused() {
    let outer = tempfile::tempdir().unwrap();
    std::fs::write(outer.path().join("secret.jsonl"), "{\"a\":1}\n").unwrap();
    let folder = tempfile::tempdir_in(outer.path()).unwrap();
    std::fs::write(folder.path().join("in.jsonl"), "{\"a\":1}\n").unwrap();
    std::os::unix::fs::symlink(outer.path(), folder.path().join("link")).unwrap();
    std::os::unix::fs::symlink(outer.path().join("secret.jsonl"), folder.path().join("one.jsonl"))
        .unwrap();
    let absolute = outer.path().join("secret.jsonl").display().to_string();
    for path in ["../secret.jsonl", "link/secret.jsonl", "one.jsonl", "/etc/passwd", &absolute] {
        for config in [
            json!({"source": file(path), "target": file("out.jsonl")}),
            json!({"source": file("in.jsonl"), "target": file(path)}),
        ] {
            let (failure, _) = run(&folder, config).await.unwrap_err();
            assert_eq!(failure.kind, "ForbiddenPath", "{path}: {}", failure.message);
        }
    }
    assert_eq!(std::fs::read_to_string(outer.path().join("secret.jsonl")).unwrap(), "{\"a\":1}\n");
}

#[tokio::test]
async fn a_file_that_cannot_be_used_says_why() {
    let folder = folder();
    #[rustfmt::skip]
    let cases = [
        (json!({"source": file("none.jsonl"), "target": file("x.jsonl")}), "No such file"),
        (json!({"source": file("none.parquet"), "target": file("x.jsonl")}), "No such file"),
        (json!({"source": file("in.jsonl"), "target": file("x.xml")}), "write `format: json`"),
        (json!({"source": file("in.jsonl"), "target": file("no/x.jsonl")}), "the folder of `path: no/x.jsonl`"),
        (json!({"source": file("in.jsonl"), "target": file("x.csv"), "mode": "append"}), "`mode: append` cannot be had of a file"),
        (json!({"source": {"type": "file"}, "target": file("x.jsonl")}), "needs `path`"),
    ];
    for (config, expect) in cases {
        let (failure, _) = run(&folder, config).await.unwrap_err();
        assert!(failure.message.contains(expect) && !failure.retryable, "{}", failure.message);
    }
}
