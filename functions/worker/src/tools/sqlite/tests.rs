use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;

use super::place::Place;
use super::*;
use crate::save::{Row, Table};
use crate::sql::tests::call;
use crate::tool::Reaction;

/// A folder for a database, and its path.
fn folder() -> (TempDir, String) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("data.db").to_string_lossy().into_owned();
    (folder, path)
}

fn with_path(mut config: Value, path: &str) -> Value {
    config["database"] = json!(path);
    config
}

async fn run(path: &str, config: Value) -> Result<Value, ToolError> {
    let call = call(with_path(config, path));
    Sqlite.call(&call).await.map(|success| success.result)
}

async fn save(path: &str, config: Value) -> Result<Value, ToolError> {
    let call = Call { saves: true, ..call(with_path(config, path)) };
    Sqlite.call(&call).await.map(|success| success.result)
}

async fn rows(path: &str, query: &str) -> Value {
    run(path, json!({"query": query})).await.unwrap()["rows"].clone()
}

#[tokio::test]
async fn a_result_names_every_statement() {
    let (_folder, path) = folder();
    let text = "CREATE TABLE t (a INTEGER, b TEXT); INSERT INTO t VALUES (1, 'x;y'), (2, NULL);
                SELECT * FROM t ORDER BY a";
    let result = run(&path, json!({"command": text})).await.unwrap();
    assert_eq!(result["command_1"]["row_count"], 2);
    assert_eq!(result["rows"], json!([{"a": 1, "b": "x;y"}, {"a": 2, "b": null}]));
    assert_eq!(result["columns"], json!(["a", "b"]));
}

#[tokio::test]
async fn every_value_comes_back_as_it_was() {
    let (_folder, path) = folder();
    run(&path, json!({"query": "CREATE TABLE t (v)"})).await.unwrap();
    #[rustfmt::skip]
    let cases = [
        (json!(null),                      json!(null)),
        (json!(true),                      json!(1)),
        (json!(-9_223_372_036_854_775_808_i64), json!(-9_223_372_036_854_775_808_i64)),
        (json!(9_223_372_036_854_775_807_i64),  json!(9_223_372_036_854_775_807_i64)),
        (json!(18_446_744_073_709_551_615_u64), json!("18446744073709551615")),
        (json!(0.1),                       json!(0.1)),
        (json!("'; drop table t; --"),     json!("'; drop table t; --")),
        (json!("grüße \u{1F600}\n\"q\""),  json!("grüße \u{1F600}\n\"q\"")),
        (json!("a\u{0}b"),                 json!("a\u{0}b")),
        (json!({"a": [1]}),                json!("{\"a\":[1]}")),
        (json!("x".repeat(1 << 20)),       json!("x".repeat(1 << 20))),
    ];
    for (given, expect) in cases {
        for params in [json!([given]), json!({"v": given})] {
            let place = if params.is_array() { "$1" } else { ":v" };
            let text = format!("DELETE FROM t; INSERT INTO t VALUES ({place}); SELECT v FROM t");
            let result = run(&path, json!({"query": text, "params": params})).await.unwrap();
            assert_eq!(result["rows"][0]["v"], expect);
        }
        save(&path, json!({"table": "t", "mode": "overwrite", "data": {"v": given}}))
            .await
            .unwrap();
        assert_eq!(rows(&path, "SELECT v FROM t").await, json!([{"v": expect}]));
    }
    let special = rows(&path, "SELECT x'00ff' AS b, 9e999 AS i, -9e999 AS n").await;
    assert_eq!(special, json!([{"b": "\\x00ff", "i": "Infinity", "n": "-Infinity"}]));
}

#[tokio::test]
async fn numbers_of_values_count_not_their_order() {
    let (_folder, path) = folder();
    let config = json!({"query": "SELECT $2 AS b, $1 AS a", "params": [1, 2]});
    assert_eq!(run(&path, config).await.unwrap()["rows"], json!([{"b": 2, "a": 1}]));
    let error = run(&path, json!({"query": "SELECT $2", "params": [1]})).await.unwrap_err();
    assert!(error.message().contains("a place for value 2"), "{error}");
}

#[tokio::test]
async fn a_failed_statement_stops_others_only_in_a_transaction() {
    let (_folder, path) = folder();
    let text = "CREATE TABLE t (a UNIQUE); INSERT INTO t VALUES (1); INSERT INTO t VALUES (1);
                INSERT INTO t VALUES (2)";
    let error = run(&path, json!({"query": text})).await.unwrap_err();
    assert_eq!((error.reaction(), error.kind()), (Reaction::Rejected, "ConstraintError"));
    assert!(error.message().starts_with("command_2: "), "{error}");
    assert_eq!(rows(&path, "SELECT a FROM t").await, json!([{"a": 1}, {"a": 2}]));
    let text = "INSERT INTO t VALUES (3); INSERT INTO t VALUES (1)";
    let error = run(&path, json!({"query": text, "transaction": true})).await.unwrap_err();
    assert!(error.message().contains("nothing was kept"), "{error}");
    assert_eq!(rows(&path, "SELECT count(*) AS n FROM t").await, json!([{"n": 2}]));
}

#[tokio::test]
async fn a_sink_meets_rows_by_its_mode() {
    let (_folder, path) = folder();
    let two = json!([{"k": 1, "v": "a"}, {"k": 2, "v": "b"}]);
    let made = json!({"table": "t", "mode": "upsert", "key": "k", "create": true, "data": two});
    let saved = save(&path, made.clone()).await.unwrap();
    assert_eq!(saved["data"]["rows_affected"], 2);
    #[rustfmt::skip]
    let cases = [
        (made,                                                                              json!([[1, "a"], [2, "b"]])),
        (json!({"mode": "upsert", "key": "k", "data": [{"k": 2, "v": "B"}, {"k": 3, "v": "c"}]}), json!([[1, "a"], [2, "B"], [3, "c"]])),
        (json!({"mode": "update", "key": "k", "data": [{"k": 1, "v": "A"}, {"k": 9, "v": "no"}]}), json!([[1, "A"], [2, "B"], [3, "c"]])),
        (json!({"mode": "append", "data": {"k": 4}}),                                       json!([[1, "A"], [2, "B"], [3, "c"], [4, null]])),
        (json!({"mode": "overwrite", "data": [{"k": 7, "v": "z"}]}),                        json!([[7, "z"]])),
        (json!({"mode": "append", "data": []}),                                             json!([[7, "z"]])),
    ];
    for (mut config, expect) in cases {
        config["table"] = json!("t");
        save(&path, config.clone()).await.unwrap();
        let found = rows(&path, "SELECT json_array(k, v) AS row FROM t ORDER BY k").await;
        let found: Vec<Value> = found
            .as_array()
            .unwrap()
            .iter()
            .map(|row| serde_json::from_str(row["row"].as_str().unwrap()).unwrap())
            .collect();
        assert_eq!(json!(found), expect, "{config}");
    }
}

#[tokio::test]
async fn a_broken_row_leaves_nothing() {
    let (_folder, path) = folder();
    run(&path, json!({"query": "CREATE TABLE t (k INTEGER PRIMARY KEY)"})).await.unwrap();
    let config = json!({"table": "t", "data": [{"k": 1}, {"k": 1}]});
    let error = save(&path, config).await.unwrap_err();
    assert_eq!(error.kind(), "ConstraintError");
    assert!(error.message().contains("row 1: ") && error.message().contains("nothing was saved"));
    let config = json!({"statement": "INSERT INTO t VALUES (:k)", "params": [{"k": 5}, {"k": 5}]});
    let error = save(&path, config).await.unwrap_err();
    assert!(error.message().contains("item 1: "), "{error}");
    assert_eq!(rows(&path, "SELECT * FROM t").await, json!([]));
}

#[tokio::test]
async fn an_error_names_what_there_is_and_the_cure() {
    let (folder, path) = folder();
    run(&path, json!({"query": "CREATE TABLE people (name)"})).await.unwrap();
    let text = folder.path().join("text.db");
    std::fs::write(&text, "this is only a text, and a long one, ".repeat(100)).unwrap();
    let text = text.to_string_lossy().into_owned();
    let nowhere = folder.path().join("none/x.db").to_string_lossy().into_owned();
    #[rustfmt::skip]
    let cases = [
        (&path, json!({"query": "SELECT * FROM persons"}), "SqlError", "it has the tables `people`"),
        (&path, json!({"query": "INSERT INTO people (age) VALUES (1)"}), "SqlError", "it has the columns `name`"),
        (&path, json!({"query": "SELEC 1"}), "SqlError", "syntax error"),
        (&path, json!({"query": "ATTACH 'other.db' AS o"}), "SqlError", "declare it: `attach:"),
        (&path, json!({"query": "SELECT load_extension('x')"}), "SqlError", "not authorized"),
        (&path, json!({"query": "CREATE TABLE x (a)", "read_only": true}), "SqlError", "drop `read_only: true`"),
        (&text, json!({"query": "SELECT * FROM t"}), "ConnectionError", "the file is something else"),
        (&nowhere, json!({"query": "SELECT 1"}), "ConnectionError", "the folder must exist"),
    ];
    for (path, config, kind, expect) in cases {
        let error = run(path, config.clone()).await.unwrap_err();
        assert_eq!(error.kind(), kind, "{config}: {error}");
        assert_ne!(error.reaction(), Reaction::Transient, "{config}: {error}");
        assert!(error.message().contains(expect), "{config}: {error}");
    }
    let error = save(&path, json!({"table": "t", "data": {"a": 1}})).await.unwrap_err();
    assert!(error.message().contains("it has the tables `people`"), "{error}");
    let config = json!({"table": "people", "mode": "upsert", "key": "name", "data": {"name": 1}});
    let error = save(&path, config).await.unwrap_err();
    assert!(error.message().contains("a unique index on exactly the `keys`"), "{error}");
    let error = Sqlite.call(&call(json!({"query": "SELECT 1"}))).await.unwrap_err();
    assert!(error.message().contains("which database"), "{error}");
}

#[tokio::test]
async fn what_is_declared_is_attached() {
    let (folder, path) = folder();
    let other = folder.path().join("other.db").to_string_lossy().into_owned();
    run(&other, json!({"query": "CREATE TABLE t (a); INSERT INTO t VALUES (7)"})).await.unwrap();
    let config = json!({"query": "SELECT a FROM o.t", "attach": [{"alias": "o", "path": other}]});
    assert_eq!(run(&path, config).await.unwrap()["rows"], json!([{"a": 7}]));
    let many = vec![json!({"alias": "o", "path": other}); SQLITE_MANY];
    let error = run(&path, json!({"query": "SELECT 1", "attach": many})).await.unwrap_err();
    assert!(error.message().contains("at most"), "{error}");
}

const SQLITE_MANY: usize = engine_core::limits::SQLITE_ATTACHED_MAX + 1;

#[tokio::test]
async fn a_locked_database_is_worth_another_try() {
    let (_folder, path) = folder();
    run(&path, json!({"query": "CREATE TABLE t (a)"})).await.unwrap();
    let holder = Connection::open(&path).unwrap();
    holder.execute_batch("BEGIN EXCLUSIVE").unwrap();
    let mut call = call(json!({"query": "INSERT INTO t VALUES (1)", "database": path}));
    call.deadline = Instant::now() + Duration::from_millis(50);
    let error = Sqlite.call(&call).await.unwrap_err();
    assert_eq!(error.reaction(), Reaction::Transient, "{error}");
}

#[tokio::test]
async fn a_statement_without_an_end_is_interrupted() {
    let (_folder, path) = folder();
    let text =
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT max(i) FROM n";
    let mut call = call(json!({"query": [text, text], "database": path}));
    call.deadline = Instant::now() + Duration::from_millis(50);
    let error = Sqlite.call(&call).await.unwrap_err();
    assert_eq!(error.kind(), "TimeoutError", "{error}");
}

#[tokio::test]
async fn a_query_is_read_in_chunks_and_rows_are_written_back() {
    let (_folder, path) = folder();
    let made: Vec<Row> = (0..25).map(|i| Row::from_iter([("i".to_owned(), json!(i))])).collect();
    let config = json!({"table": "t", "create": true});
    let table = Table::of(config.as_object().unwrap()).unwrap();
    let place = Place::of_config(json!({"database": path}).as_object().unwrap()).unwrap();
    let deadline = Instant::now() + Duration::from_mins(1);
    let rows = made.clone();
    let written = move |base: &mut Connection| write::rows(base, &table, &rows, deadline);
    assert_eq!(opened(place.clone(), deadline, written).await.unwrap(), 25);
    let query = "SELECT i FROM t ORDER BY i".to_owned();
    let mut chunks = read::chunks(place.clone(), query, 10, deadline);
    let (mut sizes, mut found) = (Vec::new(), Vec::new());
    while let Some(chunk) = chunks.recv().await {
        let chunk = chunk.unwrap();
        sizes.push(chunk.len());
        found.extend(chunk);
    }
    assert_eq!((sizes, found), (vec![10, 10, 5], made));
    let mut broken = read::chunks(place, "SELECT * FROM nowhere".to_owned(), 10, deadline);
    assert!(broken.recv().await.unwrap().is_err());
    assert!(broken.recv().await.is_none());
}
