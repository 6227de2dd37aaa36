//! Rows that pass through a database.

use engine_core::limits::{DUCKDB_ROWS_KEPT_BYTES, DUCKDB_ROWS_PASSED_BYTES};

use super::*;

const PIECES: u64 = 48;
const PIECE_BYTES: u64 = 1 << 20;

impl Bench {
    /// A session for rows in a file of this bench.
    async fn passing(&self, name: &str) -> Session {
        self.passing_with(name, &json!([])).await
    }

    /// The same with others attached.
    async fn passing_with(&self, name: &str, attach: &Value) -> Session {
        let config = json!({"database": self.path(name), "attach": attach});
        let Value::Object(config) = config else { panic!("a map") };
        let settings = Settings::of(&config, "1", self.folder.path()).unwrap().of_rows();
        self.client.open(&settings, Instant::now() + Duration::from_mins(1)).await.unwrap()
    }
}

/// Text that no compression makes small.
fn piece(seed: u64) -> String {
    let mut state = seed.wrapping_mul(2).wrapping_add(1);
    let letters = (0..PIECE_BYTES).map(|_| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        char::from(b'0' + u8::try_from(state >> 58).unwrap())
    });
    letters.collect()
}

/// Bytes that DuckDB has in memory.
async fn held(session: &Session) -> u64 {
    let sum = "SELECT sum(memory_usage_bytes)::BIGINT FROM duckdb_memory()";
    session.run(sum, &Value::Null).await.unwrap().rows[0][0].as_u64().unwrap()
}

#[tokio::test]
async fn rows_that_pass_leave_no_memory_behind() {
    let bench = bench();
    let writing = bench.passing("t.duckdb").await;
    writing.run("CREATE TABLE t (id BIGINT, piece VARCHAR)", &Value::Null).await.unwrap();
    // Between two looks as much may come in as passes, packed and not.
    let most = DUCKDB_ROWS_KEPT_BYTES + 4 * DUCKDB_ROWS_PASSED_BYTES as u64;
    assert!(PIECES * PIECE_BYTES > 4 * most, "it would be seen");
    for id in 0..PIECES {
        let insert = "INSERT INTO t VALUES ($1, $2)";
        writing.run(insert, &json!([id, piece(id)])).await.unwrap();
        let held = held(&writing).await;
        assert!(held <= most, "{held} bytes after {id} pieces were written");
    }
    let looking = bench.passing("t.duckdb").await;
    let mut reading = writing.read("SELECT * FROM t", &Value::Null).await.unwrap();
    for id in 0..PIECES {
        let rows = reading.next(1).await.unwrap();
        assert_eq!(rows[0]["piece"], json!(piece(id)));
    }
    assert!(reading.next(1).await.unwrap().is_empty());
    let held = held(&looking).await;
    assert!(held <= most, "{held} bytes after all were read");
}

#[tokio::test]
async fn a_statement_joins_rows_that_pass_and_cannot_change_what_they_need() {
    let bench = bench();
    let rows = bench.passing("t.duckdb").await;
    rows.run("CREATE TABLE t AS SELECT 7 AS a", &Value::Null).await.unwrap();
    let database = bench.path("t.duckdb");
    let joined = bench.run(json!({"database": database, "query": "SELECT a FROM t"})).await;
    assert_eq!(joined["rows"], json!([{"a": 7}]));
    for command in ["SET memory_limit = '100GB'", "EXPLAIN ANALYZE SET max_memory = '100GB'"] {
        let failure = bench.fail(json!({"database": database, "command": command})).await;
        assert_eq!(failure.kind, "PermissionError", "{command}: {}", failure.message);
    }
}

#[tokio::test]
async fn the_log_of_rows_that_pass_is_as_long_as_their_tables_are_wide() {
    let bench = bench();
    let sqlite = json!([{"type": "sqlite", "path": bench.path("o.sqlite"), "alias": "o"}]);
    bench.run(json!({"attach": sqlite, "command": "CREATE TABLE o.t (a INTEGER)"})).await;
    let columns =
        |number: u64| (0..number).map(|n| format!("c{n} VARCHAR")).collect::<Vec<_>>().join(", ");
    #[rustfmt::skip]
    let cases = [
        (2, json!([]), "4.0 MiB"), (20, json!([]), "10.0 MiB"), (500, json!([]), "32.0 MiB"),
        // A server would be asked for all of its tables.
        (2, sqlite, "32.0 MiB"),
    ];
    for (width, attach, expect) in cases {
        let name = format!("w{width}.{expect}.duckdb");
        let session = bench.passing_with(&name, &attach).await;
        // As a transfer does: nobody else sees the table yet when the first rows come.
        session.run("BEGIN", &Value::Null).await.unwrap();
        session.run(&format!("CREATE TABLE t ({})", columns(width)), &Value::Null).await.unwrap();
        session.run("INSERT INTO t (c0) VALUES ($1)", &json!([piece(1)])).await.unwrap();
        session.run("COMMIT", &Value::Null).await.unwrap();
        session.run("INSERT INTO t (c0) VALUES ($1)", &json!([piece(2)])).await.unwrap();
        let log = session.run("SELECT current_setting('wal_autocheckpoint')", &Value::Null).await;
        assert_eq!(log.unwrap().rows, [[json!(expect)]], "{width} columns");
    }
}
