//! What a call may touch, and what it may not.

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::*;

/// The test server's credential.
fn postgres() -> Value {
    let url = std::env::var("NOETL_TEST_POSTGRES")
        .expect("`NOETL_TEST_POSTGRES` is not set; run the tests with `make test`");
    let url = reqwest::Url::parse(&url).unwrap();
    json!({
        "type": "postgres",
        "db_host": url.host_str(), "db_port": url.port(), "db_user": url.username(),
        "db_password": url.password(), "db_name": url.path().trim_start_matches('/'),
    })
}

#[tokio::test]
async fn nothing_outside_is_touched_unless_it_is_declared() {
    let bench = bench();
    let out = bench.path("out.csv");
    let statements = [
        "SELECT * FROM read_csv('/etc/passwd')".to_owned(),
        "SELECT * FROM '/etc/some.csv'".to_owned(),
        "SELECT * FROM read_text('/proc/self/environ')".to_owned(),
        "SELECT * FROM glob('/etc/*')".to_owned(),
        format!("COPY (SELECT 1) TO '{out}'"),
        "INSTALL httpfs".to_owned(),
        "LOAD httpfs".to_owned(),
        format!("ATTACH '{}' AS other", bench.path("other.duckdb")),
        "ATTACH 'host=127.0.0.1' AS pg (TYPE postgres)".to_owned(),
        "SELECT * FROM 'https://example.com/a.csv'".to_owned(),
        "SELECT * FROM query('SELECT 1')".to_owned(),
        "CALL enable_logging(storage = 'file', storage_path = '/tmp/log')".to_owned(),
        "SET enable_external_access = true".to_owned(),
        "SET memory_limit = '100GB'".to_owned(),
        "RESET lock_configuration".to_owned(),
    ];
    for statement in statements {
        let failure = bench.fail(json!({"command": statement})).await;
        assert_eq!(failure.kind, "PermissionError", "{statement}: {}", failure.message);
    }
    assert!(!std::path::Path::new(&out).exists());
}

#[tokio::test]
async fn files_in_declared_folders_are_read_and_written() {
    let bench = bench();
    let inside = bench.path("inside");
    std::fs::create_dir(&inside).unwrap();
    std::fs::create_dir(bench.path("inside2")).unwrap();
    for format in ["parquet", "csv", "json"] {
        let command = format!(
            "COPY (SELECT 1 AS a, 'x' AS b) TO '{inside}/t.{format}'; SELECT * FROM '{inside}/t.{format}'"
        );
        let result = bench.run(json!({"command": command, "files": [inside]})).await;
        assert_eq!(result["rows"], json!([{"a": 1, "b": "x"}]), "{format}");
    }
    for outside in [format!("{inside}2/t.csv"), format!("{inside}/../t.csv")] {
        let command = format!("COPY (SELECT 1) TO '{outside}'");
        let failure = bench.fail(json!({"command": command, "files": inside})).await;
        assert_eq!(failure.kind, "PermissionError", "{outside}: {}", failure.message);
    }
    let failure = bench.fail(json!({"command": "SELECT 1", "files": bench.path("none")})).await;
    assert!(failure.message.contains("no folder"), "{}", failure.message);
}

#[tokio::test]
async fn external_access_opens_everything_in_a_process_of_its_own() {
    let bench = bench();
    bench.run(json!({"command": "CREATE TABLE t AS SELECT 1 AS a"})).await;
    let pid = bench.client.pid().await;
    let file = bench.path("a.csv");
    std::fs::write(&file, "n\n7\n").unwrap();
    let query = format!("SELECT n, a FROM '{file}', t");
    let result = bench.run(json!({"query": query, "external_access": true})).await;
    assert_eq!(result["rows"], json!([{"n": 7, "a": 1}]));
    assert_eq!(bench.client.pid().await, pid);
    assert_eq!(bench.run(json!({"query": "FROM t"})).await["row_count"], json!(1));
}

#[tokio::test]
async fn other_databases_are_attached_by_their_alias() {
    let bench = bench();
    let lite = bench.path("lite.db");
    let connection = rusqlite::Connection::open(&lite).unwrap();
    connection.execute_batch("CREATE TABLE t (a INTEGER); INSERT INTO t VALUES (3)").unwrap();
    drop(connection);
    bench.run(json!({"database": bench.path("duck.db"), "command": "CREATE TABLE t AS SELECT 4 AS a"})).await;
    let table = format!("duckdb_attach_{}", execution());
    let config = json!({
        "auth": {"pg": postgres()},
        "attach": [
            {"type": "sqlite", "path": lite, "alias": "lite", "read_only": true},
            {"type": "duckdb", "path": bench.path("duck.db"), "alias": "duck"},
            {"type": "postgres", "auth": postgres(), "alias": "again"},
        ],
        "command": [
            // As playbooks write it for a DuckDB that declares nothing.
            "INSTALL postgres; LOAD postgres; ATTACH '' AS pg (TYPE postgres, SECRET pg)",
            format!("CREATE TABLE pg.public.{table} AS SELECT 5 AS a"),
            format!("SELECT a FROM lite.t UNION ALL SELECT a FROM duck.t UNION ALL SELECT a FROM again.public.{table} ORDER BY a"),
        ],
    });
    let result = bench.run(config.clone()).await;
    assert_eq!(result["rows"], json!([{"a": 3}, {"a": 4}, {"a": 5}]));
    assert_eq!(result["secrets_created"], json!(["pg", "again"]));
    let mut config = config;
    config["command"] = json!("INSERT INTO lite.t VALUES (1)");
    let failure = bench.fail(config.clone()).await;
    assert!(failure.message.contains("read-only"), "{}", failure.message);
    config["command"] = json!("SELECT * FROM sqlite_scan('/x', 't')");
    assert_eq!(bench.fail(config.clone()).await.kind, "PermissionError");
    config["command"] = json!(format!("DROP TABLE pg.public.{table}"));
    bench.run(config).await;
}

#[tokio::test]
async fn one_credential_is_attached_under_the_usual_name_or_where_it_is_wanted() {
    let attach = json!([{"type": "postgres", "alias": "pg"}]);
    let config = json!({"auth": postgres(), "attach": attach, "query": "SELECT count(*) >= 0 AS ok FROM pg.pg_catalog.pg_class"});
    assert_eq!(bench().run(config).await["rows"], json!([{"ok": true}]));
    let config = json!({"auth": postgres(), "query": "SELECT count(*) >= 0 AS ok FROM postgres_db.pg_catalog.pg_class"});
    assert_eq!(bench().run(config).await["rows"], json!([{"ok": true}]));
}

#[tokio::test]
async fn a_server_that_does_not_let_in_says_why_and_shows_no_secret() {
    let bench = bench();
    let mut wrong = postgres();
    wrong["db_password"] = json!("canary-4711");
    let failure = bench.fail(json!({"auth": {"pg": wrong}, "query": "SELECT 1"})).await;
    assert_eq!((failure.kind.as_str(), failure.retryable), ("AuthError", false));
    assert!(!failure.message.contains("canary"), "{}", failure.message);
    let mut closed = postgres();
    closed["db_port"] = json!(1);
    let failure = bench.fail(json!({"auth": {"pg": closed}, "query": "SELECT 1"})).await;
    assert_eq!((failure.kind.as_str(), failure.retryable), ("ConnectionError", true));
    assert!(failure.message.contains("port 1"), "{}", failure.message);
}

async fn make_bucket(endpoint: &str, bucket: &str) {
    let host = endpoint.trim_start_matches("http://").trim_end_matches('/');
    let mut server = TcpStream::connect(host).await.unwrap();
    let request = format!(
        "PUT /{bucket} HTTP/1.1\r\nHost: {host}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
    );
    server.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    server.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
}

#[tokio::test]
async fn a_bucket_is_read_and_written_with_its_credential() {
    let endpoint = std::env::var("NOETL_TEST_AWS")
        .expect("`NOETL_TEST_AWS` is not set; run the tests with `make test`");
    let bench = bench();
    let bucket = format!("duckdb-{}", execution());
    make_bucket(&endpoint, &bucket).await;
    let auth = json!({"lake": {
        "type": "s3", "key_id": "test", "secret_key": "testtest", "region": "us-east-1",
        "endpoint": endpoint, "bucket": bucket,
    }});
    let command = format!(
        "COPY (SELECT 1 AS a) TO 's3://{bucket}/a.parquet'; SELECT * FROM 's3://{bucket}/*.parquet'"
    );
    let result = bench.run(json!({"auth": auth, "command": command})).await;
    assert_eq!(result["rows"], json!([{"a": 1}]));
    let other = json!({"auth": auth, "query": "SELECT * FROM 's3://another/a.parquet'"});
    assert_eq!(bench.fail(other).await.kind, "PermissionError");
    let absent = json!({"auth": auth, "query": format!("SELECT * FROM 's3://{bucket}/b.parquet'")});
    assert_eq!(bench.fail(absent).await.kind, "HttpError");
}

#[test]
fn declarations_that_say_too_little_are_refused() {
    let folder = TempDir::new().unwrap();
    #[rustfmt::skip]
    let cases = [
        (json!({"attach": [{"type": "oracle", "alias": "o"}]}), "`oracle`"),
        (json!({"attach": [{"type": "sqlite", "alias": "o"}]}), "`path`"),
        (json!({"attach": [{"type": "sqlite", "path": "x"}]}), "`alias`"),
        (json!({"attach": [{"type": "postgres", "alias": "o", "auth": "pg"}]}), "`pg`"),
        (json!({"attach": "pg"}), "list"),
        (json!({"auth": "pg"}), "`auth`"),
        (json!({"auth": {"sf": {"type": "snowflake"}}}), "`snowflake`"),
        (json!({"files": [5]}), "`5`"),
        (json!({"database": 5}), "`database: 5`"),
        (json!({"database": "/nowhere/at/all.db"}), "does not exist"),
    ];
    for (config, expect) in cases {
        let Value::Object(fields) = &config else { panic!("a map") };
        let error = Settings::of(fields, "1", folder.path()).unwrap_err();
        assert!(error.message().contains(expect), "{config}: {}", error.message());
    }
}
