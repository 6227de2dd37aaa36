use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use engine_core::event::ToolFailure;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Map;
use tempfile::TempDir;
use tokio::time::Instant;

use super::*;

mod doors;
mod passing;
mod saving;

/// A tool with a folder of its own.
struct Bench {
    tool: DuckDb,
    client: Arc<Client>,
    folder: TempDir,
}

fn bench() -> Bench {
    assert!(
        std::env::var_os("NOETL_DUCKDB_WORKER").is_some(),
        "`NOETL_DUCKDB_WORKER` is not set; run the tests with `make test`, which installs DuckDB"
    );
    let folder = TempDir::with_prefix("duckdb-test-").unwrap();
    let client = Arc::new(Client::default());
    let tool = DuckDb::new(client.clone()).with_data(folder.path().join("data"));
    Bench { tool, client, folder }
}

/// An execution that no other test has.
fn execution() -> String {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    format!("{}{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed))
}

fn call(config: Value, execution_id: &str) -> Call<'_> {
    let Value::Object(config) = config else { panic!("a map") };
    Call {
        config,
        args: Map::new(),
        context: None,
        idempotency_key: "c1.1",
        deadline: Instant::now() + Duration::from_mins(1),
        attempt: 1,
        execution_id,
        step: "analyse",
        saves: false,
        progress: crate::tool::Progress::default(),
    }
}

impl Bench {
    async fn run(&self, config: Value) -> Value {
        self.run_in("1", config).await
    }

    async fn run_in(&self, execution_id: &str, config: Value) -> Value {
        let name = config.to_string();
        match self.tool.call(&call(config, execution_id)).await {
            Ok(success) => success.result,
            Err(error) => panic!("{name}: {error}"),
        }
    }

    async fn fail(&self, config: Value) -> ToolFailure {
        let name = config.to_string();
        match self.tool.call(&call(config, "1")).await {
            Ok(success) => panic!("{name}: {success:?}"),
            Err(error) => error.into_failure().0,
        }
    }

    fn path(&self, name: &str) -> String {
        self.folder.path().canonicalize().unwrap().join(name).display().to_string()
    }
}

#[tokio::test]
async fn d12_a_command_returns_its_rows_by_statement_and_on_top() {
    let result = bench()
        .run(json!({"command": "SELECT 42 AS answer; CREATE TABLE t AS SELECT 1 AS a; SELECT a, 'x' AS b FROM t"}))
        .await;
    assert_eq!(result["command_0"]["rows"], json!([{"answer": 42}]));
    assert_eq!(result["command_1"]["status"], json!("success"));
    assert_eq!(result["command_2"]["columns"], json!(["a", "b"]));
    assert_eq!(result["rows"], json!([{"a": 1, "b": "x"}]));
    assert_eq!(result["row_count"], json!(1));
    assert_eq!(result["execution_id"], json!("1"));
    assert!(result["database_path"].as_str().unwrap().ends_with("data/duckdb_1.duckdb"));
}

#[tokio::test]
async fn tables_stay_between_the_steps_of_one_execution_and_no_other_sees_them() {
    let bench = bench();
    bench.run_in("7", json!({"command": "CREATE TABLE kept AS SELECT 5 AS n"})).await;
    let result = bench.run_in("7", json!({"query": "SELECT n FROM kept"})).await;
    assert_eq!(result["rows"], json!([{"n": 5}]));
    let failure = bench.fail(json!({"query": "SELECT n FROM kept"})).await;
    assert!(failure.message.contains("kept"), "{}", failure.message);
    let memory = json!({"database": ":memory:", "query": "CREATE TABLE kept AS SELECT 1"});
    bench.run(memory.clone()).await;
    bench.run(memory).await;
}

#[tokio::test]
async fn a_file_serves_several_calls_at_once() {
    let bench = bench();
    bench.run(json!({"command": "CREATE TABLE t (n INTEGER)"})).await;
    let calls =
        (0..8).map(|n| bench.run(json!({"command": "INSERT INTO t VALUES ($1)", "params": [n]})));
    futures_util::future::join_all(calls).await;
    let result = bench.run(json!({"query": "SELECT sum(n) AS s, count(*) AS c FROM t"})).await;
    assert_eq!(result["rows"], json!([{"s": 28, "c": 8}]));
}

#[tokio::test]
async fn params_are_bound_by_number_and_by_name() {
    let bench = bench();
    let hostile = "'; DROP TABLE t; --\u{1f986}\0";
    let cases = [
        json!({"query": "SELECT $1 AS a, $2 AS b", "params": [hostile, 2]}),
        json!({"query": "SELECT ? AS a, ? AS b", "params": [hostile, 2]}),
        json!({"query": "SELECT :x AS a, :y AS b", "params": {"x": hostile, "y": 2}}),
        json!({"query": "SELECT $x AS a, $y AS b", "params": {"x": hostile, "y": 2}}),
    ];
    for config in cases {
        let result = bench.run(config.clone()).await;
        assert_eq!(result["rows"], json!([{"a": hostile, "b": 2}]), "{config}");
    }
    let failure = bench.fail(json!({"query": "SELECT $1, $2", "params": [1]})).await;
    assert!(failure.message.contains("`$2`"), "{}", failure.message);
}

#[tokio::test]
async fn every_type_becomes_json_without_loss() {
    #[rustfmt::skip]
    let cases = [
        ("18446744073709551615::UBIGINT", json!(18_446_744_073_709_551_615_u64)),
        ("12::HUGEINT", json!(12)),
        ("170141183460469231731687303715884105727::HUGEINT", json!("170141183460469231731687303715884105727")),
        ("340282366920938463463374607431768211455::UHUGEINT", json!("340282366920938463463374607431768211455")),
        ("12.50::DECIMAL(10, 2)", json!(12.5)),
        ("-0.05::DECIMAL(4, 2)", json!(-0.05)),
        ("12345678901234567890.123::DECIMAL(38, 3)", json!("12345678901234567890.123")),
        ("0.1::FLOAT", json!(0.1)),
        ("'nan'::DOUBLE", json!("NaN")),
        ("'-inf'::FLOAT", json!("-Infinity")),
        ("DATE '2024-02-29'", json!("2024-02-29")),
        ("'infinity'::DATE", json!("infinity")),
        ("TIME '03:04:05.5'", json!("03:04:05.500000")),
        ("TIMETZ '03:04:05+02'", json!("03:04:05+02")),
        ("TIMESTAMP '2024-01-02 03:04:05'", json!("2024-01-02T03:04:05")),
        ("TIMESTAMP_NS '2024-01-02 03:04:05.000000001'", json!("2024-01-02T03:04:05.000000001")),
        ("TIMESTAMPTZ '2024-01-02 03:04:05+02'", json!("2024-01-02T01:04:05+00:00")),
        ("INTERVAL '14 months 3 days'", json!("1 year 2 months 3 days")),
        (r"'\x00\xFF'::BLOB", json!(r"\x00ff")),
        ("'00000000-0000-0000-0000-00000000000a'::UUID", json!("00000000-0000-0000-0000-00000000000a")),
        ("'a'::ENUM('a', 'b')", json!("a")),
        ("BITSTRING '0101'", json!("0101")),
        ("'{\"a\": [1]}'::JSON", json!({"a": [1]})),
        ("[1, NULL, 2]", json!([1, null, 2])),
        ("[1, 2]::INTEGER[2]", json!([1, 2])),
        ("{'x': 1, 'y': {'z': DATE '2024-01-02'}}", json!({"x": 1, "y": {"z": "2024-01-02"}})),
        ("MAP {'k': 1}", json!({"k": 1})),
        ("MAP {1: 'a'}", json!({"1": "a"})),
        ("union_value(n := 5)", json!(5)),
        ("1::VARIANT", json!("1")),
        ("NULL", json!(null)),
    ];
    let bench = bench();
    for (sql, expect) in cases {
        let result = bench.run(json!({"query": format!("SELECT {sql} AS v")})).await;
        assert_eq!(result["rows"][0]["v"], expect, "{sql}");
    }
    let result = bench.run(json!({"query": "SELECT * FROM test_all_types()"})).await;
    assert_eq!(result["row_count"], json!(3));
}

#[tokio::test]
async fn statements_stop_at_the_first_that_fails() {
    let bench = bench();
    let failure = bench
        .fail(json!({"command": "CREATE TABLE t AS SELECT 1 AS a; SELEC 1; DROP TABLE t"}))
        .await;
    assert_eq!((failure.kind.as_str(), failure.retryable), ("SqlError", false));
    assert!(failure.message.contains("command_1"), "{}", failure.message);
    assert_eq!(bench.run(json!({"query": "FROM t"})).await["row_count"], json!(1));
    let whole = json!({"transaction": true, "command": "INSERT INTO t VALUES (2); SELEC 1"});
    bench.fail(whole).await;
    assert_eq!(bench.run(json!({"query": "FROM t"})).await["row_count"], json!(1), "taken back");
}

#[tokio::test]
async fn a_result_that_is_too_large_is_refused_with_advice() {
    let query = "SELECT repeat('x', 1000000) AS s FROM range(100)";
    let failure = bench().fail(json!({"query": query})).await;
    assert_eq!(failure.kind, "TooLarge");
    assert!(failure.message.contains("LIMIT"), "{}", failure.message);
}

#[tokio::test]
async fn the_deadline_stops_a_query_and_frees_its_database() {
    let bench = bench();
    let endless = json!({"query": "SELECT count(*) FROM range(100000000000) a, range(100000) b"});
    let mut slow = call(endless, "1");
    slow.deadline = Instant::now() + Duration::from_millis(300);
    let error = bench.tool.call(&slow).await.unwrap_err();
    assert_eq!(error.kind(), "TimeoutError");
    // Its other declarations make this wait until the query has gone.
    let files = json!({"query": "SELECT 1 AS a", "files": bench.path("")});
    assert_eq!(bench.run(files).await["rows"], json!([{"a": 1}]));
}

#[tokio::test]
async fn a_process_that_dies_costs_one_call() {
    let bench = bench();
    bench.run(json!({"command": "CREATE TABLE t AS SELECT 1 AS a"})).await;
    let pid = bench.client.pid().await.unwrap();
    let query = json!({"query": "SELECT count(*) FROM range(100000000000) a, range(100000) b"});
    let killed = async {
        // The call is in the process when its session is: a second one has an answer then.
        bench.run(json!({"database": ":memory:", "query": "SELECT 1"})).await;
        kill(Pid::from_raw(i32::try_from(pid).unwrap()), Signal::SIGKILL).unwrap();
    };
    let (failure, ()) = tokio::join!(bench.fail(query), killed);
    assert_eq!((failure.kind.as_str(), failure.retryable), ("DuckDbLost", true));
    assert!(failure.message.contains("signal 9"), "{}", failure.message);
    assert_eq!(bench.run(json!({"query": "FROM t"})).await["rows"], json!([{"a": 1}]));
    assert_ne!(bench.client.pid().await.unwrap(), pid);
}

#[tokio::test]
async fn a_missing_executable_says_how_to_get_it() {
    let client = Arc::new(Client::default().with_program("/nowhere/duckdb-engine"));
    let folder = TempDir::new().unwrap();
    let tool = DuckDb::new(client).with_data(folder.path());
    let error = tool.call(&call(json!({"query": "SELECT 1"}), "1")).await.unwrap_err();
    assert_eq!(error.kind(), "DuckDbMissing");
    assert!(error.message().contains("make duckdb"), "{}", error.message());
}

#[tokio::test]
async fn a_cursor_reads_a_few_rows_at_a_time() {
    let bench = bench();
    let deadline = Instant::now() + Duration::from_mins(1);
    let Value::Object(memory) = json!({"database": ":memory:"}) else { unreachable!() };
    let settings = Settings::of(&memory, "1", bench.folder.path()).unwrap();
    let session = bench.client.open(&settings, deadline).await.unwrap();
    let mut cursor =
        session.read("SELECT i, 'x' AS x FROM range(2500) t(i)", &Value::Null).await.unwrap();
    assert_eq!(cursor.columns(), ["i", "x"]);
    let mut sizes = Vec::new();
    let mut sum = 0;
    loop {
        let rows = cursor.next(1_000).await.unwrap();
        if rows.is_empty() {
            break;
        }
        sizes.push(rows.len());
        sum += rows.iter().map(|row| row["i"].as_i64().unwrap()).sum::<i64>();
    }
    assert_eq!((sizes, sum), (vec![1_000, 1_000, 500], 2_499 * 2_500 / 2));
    let session = cursor.into_session();
    assert_eq!(session.run("SELECT 1", &Value::Null).await.unwrap().rows, [[json!(1)]]);
}
