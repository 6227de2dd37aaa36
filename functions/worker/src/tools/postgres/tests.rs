use std::time::Duration;

use serde_json::{Map, Value, json};
use tokio::time::Instant;

use super::*;
use crate::sql::tests::call;
use crate::tool::Reaction;

mod errors;
mod hostile;
mod saves;
mod transfers;
mod values;

/// The server of the tests, as a credential.
pub(super) fn server() -> String {
    std::env::var("NOETL_TEST_POSTGRES")
        .expect("NOETL_TEST_POSTGRES is not set: run the tests with `make test`")
}

/// A name that no other test has.
pub(super) fn unique(name: &str) -> String {
    use std::sync::atomic::{AtomicU32, Ordering};
    static NEXT: AtomicU32 = AtomicU32::new(0);
    format!("pgtest_{}_{name}_{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed))
}

/// A call of the server with that configuration.
pub(super) fn configured(config: Value) -> Call<'static> {
    let mut call = call(config);
    call.config.entry("auth").or_insert_with(|| json!({"db_conn_string": server()}));
    call
}

pub(super) async fn run(tool: &Postgres, config: Value) -> Result<Value, ToolError> {
    tool.call(&configured(config)).await.map(|success| success.result)
}

/// The rows of a statement that works.
pub(super) async fn rows(tool: &Postgres, sql: &str) -> Value {
    run(tool, json!({"query": sql})).await.unwrap_or_else(|error| panic!("{sql}: {error}"))["rows"]
        .clone()
}

pub(super) async fn save(tool: &Postgres, config: Value) -> Result<Value, ToolError> {
    let mut call = configured(config);
    call.saves = true;
    tool.call(&call).await.map(|success| success.result)
}

#[tokio::test]
async fn a_failed_statement_stops_no_other_unless_all_are_one() {
    let tool = Postgres::default();
    let table = unique("each");
    let statements = format!(
        "CREATE TABLE {table} (a int); INSERT INTO {table} VALUES (1); SELECT * FROM missing; \
         INSERT INTO {table} VALUES (2);"
    );
    let error = run(&tool, json!({"command": statements})).await.unwrap_err();
    assert_eq!((error.kind(), error.reaction()), ("SqlError", Reaction::Rejected));
    assert!(error.message().starts_with("command_2: relation \"missing\""), "{error}");
    let (_, left) = error.into_failure();
    assert_eq!(left.result["command_3"]["row_count"], 1);
    assert_eq!(
        rows(&tool, &format!("SELECT a FROM {table} ORDER BY 1")).await,
        json!([{"a": 1}, {"a": 2}])
    );

    let statements =
        [format!("INSERT INTO {table} VALUES (3)"), "SELECT * FROM missing".to_owned()];
    let error = run(&tool, json!({"commands": statements, "transaction": true})).await.unwrap_err();
    assert!(error.message().starts_with("command_1:"), "{error}");
    assert_eq!(rows(&tool, &format!("SELECT count(*) AS n FROM {table}")).await, json!([{"n": 2}]));
    let statements = format!("INSERT INTO {table} VALUES (3); INSERT INTO {table} VALUES (4)");
    run(&tool, json!({"query": statements, "transaction": true})).await.unwrap();
    assert_eq!(rows(&tool, &format!("SELECT count(*) AS n FROM {table}")).await, json!([{"n": 4}]));
    rows(&tool, &format!("DROP TABLE {table}")).await;
}

#[tokio::test]
async fn a_transaction_that_is_left_open_is_undone_and_told() {
    let tool = Postgres::default();
    let table = unique("open");
    rows(&tool, &format!("CREATE TABLE {table} (a int)")).await;
    let open = format!("BEGIN; INSERT INTO {table} VALUES (1)");
    let error = run(&tool, json!({"query": open})).await.unwrap_err();
    assert!(error.message().contains("add `COMMIT`"), "{error}");
    let whole = format!("BEGIN; INSERT INTO {table} VALUES (2); COMMIT");
    run(&tool, json!({"query": whole})).await.unwrap();
    assert_eq!(rows(&tool, &format!("SELECT a FROM {table}")).await, json!([{"a": 2}]));
    rows(&tool, &format!("DROP TABLE {table}")).await;
}

#[tokio::test]
async fn databases_and_procedures_need_no_transaction() {
    let tool = Postgres::default();
    let (database, procedure) = (unique("db"), unique("proc"));
    run(&tool, json!({"query": format!("CREATE DATABASE {database}; DROP DATABASE {database}")}))
        .await
        .unwrap();
    let statements = format!(
        "CREATE PROCEDURE {procedure}(INOUT a numeric, OUT t timestamp, OUT i interval) LANGUAGE plpgsql \
         AS $$ BEGIN a := a + 0.25; COMMIT; t := '2026-01-02'; i := '1 day'; END $$; \
         CALL {procedure}(1.25, null, null); DROP PROCEDURE {procedure}"
    );
    let result = run(&tool, json!({"query": statements})).await.unwrap();
    assert_eq!(result["rows"][0]["a"], json!(1.5));
    assert_eq!(result["rows"][0]["i"], json!("1 day"));
}

#[tokio::test]
async fn connections_are_kept_and_nothing_is_left_in_them() {
    let tool = Postgres::default();
    let pid = "SELECT pg_backend_pid() AS pid";
    let first = rows(&tool, pid).await;
    let dirty = "SET search_path = pg_catalog; CREATE TEMP TABLE left_over (a int); SELECT pg_advisory_lock(4711)";
    run(&tool, json!({"query": dirty})).await.unwrap();
    assert_eq!(rows(&tool, pid).await, first);
    let state = "SELECT current_setting('search_path') AS path, to_regclass('left_over') IS NULL AS clean, \
        (SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid()) AS locks";
    assert_eq!(
        rows(&tool, state).await,
        json!([{"path": "\"$user\", public", "clean": true, "locks": 0}])
    );
}

#[tokio::test]
async fn a_hundred_calls_share_a_few_connections() {
    let tool = Postgres::default();
    let name = unique("shared");
    let statement = format!("SELECT pg_backend_pid() AS pid, '{name}' AS name");
    let calls = (0..100).map(|_| rows(&tool, &statement));
    let found = futures_util::future::join_all(calls).await;
    let pids: std::collections::BTreeSet<String> =
        found.iter().map(|rows| rows[0]["pid"].to_string()).collect();
    assert!(pids.len() <= engine_core::limits::POSTGRES_CLIENTS_MAX, "{} backends", pids.len());
}

#[tokio::test]
async fn pools_are_bounded() {
    let tool = Postgres::default();
    for number in 0..engine_core::limits::POSTGRES_POOLS_MAX + 5 {
        let auth =
            json!({"host": "127.0.0.1", "port": 1, "user": format!("u{number}"), "dbname": "d"});
        let error = run(&tool, json!({"auth": auth, "query": "SELECT 1"})).await.unwrap_err();
        assert_eq!(error.reaction(), Reaction::Transient);
    }
    assert_eq!(tool.pools().count(), engine_core::limits::POSTGRES_POOLS_MAX);
}

#[tokio::test]
async fn a_call_out_of_time_is_cancelled_at_the_server() {
    let tool = Postgres::default();
    let tag = unique("slow");
    let mut slow = configured(json!({"query": format!("SELECT pg_sleep(600) AS {tag}")}));
    slow.deadline = Instant::now() + Duration::from_millis(300);
    let error = tool.call(&slow).await.unwrap_err();
    assert_eq!((error.kind(), error.reaction()), ("TimeoutError", Reaction::Transient));
    let ask = format!(
        "SELECT count(*) AS n FROM pg_stat_activity WHERE state = 'active' AND query LIKE '%AS {tag}' \
         AND pid <> pg_backend_pid()"
    );
    for _ in 0..100_000 {
        if rows(&tool, &ask).await == json!([{"n": 0}]) {
            return;
        }
    }
    panic!("the statement still runs");
}

#[tokio::test]
async fn too_many_rows_stop_early_with_advice() {
    let tool = Postgres::default();
    let flood = "SELECT repeat('x', 1000000) AS x FROM generate_series(1, 100000)";
    let error = run(&tool, json!({"query": flood})).await.unwrap_err();
    assert_eq!(error.reaction(), Reaction::Input);
    assert!(error.message().contains("add `LIMIT`"), "{error}");
    assert_eq!(rows(&tool, "SELECT 1 AS a").await, json!([{"a": 1}]));
}

#[tokio::test]
async fn params_are_bound_by_name_and_by_number() {
    let tool = Postgres::default();
    let config = json!({"query": "SELECT $1::int AS a, $2 AS b", "params": [5, "x"]});
    assert_eq!(run(&tool, config).await.unwrap()["rows"], json!([{"a": 5, "b": "x"}]));
    let config = json!({
        "query": "SELECT :n::numeric + 1 AS n; SELECT :s AS s, :j::jsonb AS j, :l::int[] AS l, :t::timestamptz AS t",
        "params": {"n": 1.5, "s": "a:b", "j": {"k": [1]}, "l": [1, null], "t": "2026-01-02 03:04:05+02", "unused": 1},
    });
    let result = run(&tool, config).await.unwrap();
    assert_eq!(result["command_0"]["rows"], json!([{"n": 2.5}]));
    assert_eq!(
        result["rows"],
        json!([{"s": "a:b", "j": {"k": [1]}, "l": [1, null], "t": "2026-01-02T01:04:05+00:00"}])
    );
    #[rustfmt::skip]
    let refused = [
        (json!({"query": "SELECT $1::int, $2::int", "params": [1]}), "uses `$2`"),
        (json!({"query": "SELECT $1::int", "params": [1, 2]}), "has 2 values"),
        (json!({"query": "SELECT :a", "params": {"b": 1}}), "`:a`"),
        (json!({"query": "SELECT :a"}), "`:name` in a statement needs `params`"),
        (json!({"query": "SELECT 1", "params": "x"}), "neither a map"),
    ];
    for (config, expect) in refused {
        let error = run(&tool, config.clone()).await.unwrap_err();
        assert!(error.message().contains(expect), "{config}: {error}");
    }
}

fn fields(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(fields) => fields,
        other => panic!("{other} is no map"),
    }
}
