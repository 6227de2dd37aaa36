//! Rows that pass through a database.

use engine_core::limits::{DUCKDB_ROWS_KEPT_BYTES, DUCKDB_ROWS_PASSED_BYTES};

use super::*;

const PIECES: u64 = 48;
const PIECE_BYTES: u64 = 1 << 20;

impl Bench {
    /// A session for rows in a file of this bench.
    async fn passing(&self, name: &str) -> Session {
        let Value::Object(config) = json!({"database": self.path(name)}) else { panic!("a map") };
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
