//! Into, between and out of databases.

use engine_core::limits::PARQUET_PART_CHUNKS;
use serde_json::{Map, Value, json};

use super::servers::{Server, auth, json_answer, sql, tool, tool_in, transfer, transfer_with};
use crate::tool::Progress;

/// A table of this test alone, made anew.
async fn table(name: &str, columns: &str) -> String {
    let name = format!("transfer_{name}_{}", std::process::id());
    sql(&format!("DROP TABLE IF EXISTS {name}; CREATE TABLE {name} ({columns})")).await;
    name
}

async fn drop_table(name: &str) {
    sql(&format!("DROP TABLE IF EXISTS {name}")).await;
}

/// A server whose answer is these rows.
async fn serving(rows: Vec<Value>) -> Server {
    Server::start(move |_| json_answer(&Value::Array(rows.clone()))).await
}

fn from(server: &Server) -> Value {
    json!({"type": "http", "url": server.url})
}

/// A target of the test database.
fn into(table: &str, extra: &Value) -> Value {
    let mut target = Map::from_iter([
        ("type".to_owned(), json!("postgres")),
        ("auth".to_owned(), auth()),
        ("table".to_owned(), json!(table)),
    ]);
    target.extend(extra.as_object().cloned().unwrap_or_default());
    Value::Object(target)
}

async fn count(table: &str) -> Value {
    sql(&format!("SELECT count(*) AS n FROM {table}")).await["rows"][0]["n"].clone()
}

#[tokio::test]
async fn ten_thousand_rows_go_from_http_into_postgres_with_their_types() {
    let table = table(
        "many",
        "id int primary key, owner int, at timestamptz, tags jsonb, price numeric(9,2)",
    )
    .await;
    let row = |n: i64| json!({"id": n, "user": {"id": n % 10}, "at": "2026-01-02T03:04:05Z", "tags": ["a", {"n": n}], "price": "1.10"});
    let source = serving((1..=10_000).map(row).collect()).await;
    let result = transfer(json!({
        "source": from(&source), "target": into(&table, &json!({})),
        "mapping": {"id": "id", "owner": "user.id", "at": "at", "tags": "tags", "price": "price"},
    }));
    let result = result.await.unwrap();
    assert_eq!(
        (&result["rows_transferred"], &result["chunks_processed"]),
        (&json!(10_000), &json!(10))
    );
    let sums = sql(&format!(
        "SELECT count(*) AS n, sum(owner) AS owners, sum((tags->1->>'n')::int) AS tags, sum(price)::text AS price FROM {table}"
    ))
    .await;
    assert_eq!(
        sums["rows"][0],
        json!({"n": 10_000, "owners": 45_000, "tags": 50_005_000, "price": "11000.00"})
    );
    drop_table(&table).await;
}

#[tokio::test]
async fn an_upsert_and_an_overwrite_that_run_twice_leave_the_same_rows() {
    for (name, extra) in [
        ("upsert", json!({"mode": "upsert", "keys": ["id"]})),
        ("overwrite", json!({"mode": "overwrite"})),
    ] {
        let table = table(name, "id int primary key, v text").await;
        let source =
            serving((0..25).map(|n| json!({"id": n, "v": format!("v{n}")})).collect()).await;
        for _ in 0..2 {
            let config =
                json!({"source": from(&source), "target": into(&table, &extra), "chunk_size": 10});
            assert_eq!(transfer(config).await.unwrap()["rows_affected"], json!(25), "{name}");
        }
        let left = sql(&format!("SELECT count(*) AS n, sum(id) AS ids FROM {table}")).await;
        assert_eq!(left["rows"][0], json!({"n": 25, "ids": 300}), "{name}");
        drop_table(&table).await;
    }
}

#[tokio::test]
async fn a_bad_row_is_named_and_the_chunks_before_it_stay() {
    let table = table("bad", "id int primary key, age int").await;
    let row = |n: i64| json!({"id": n, "person": {"age": if n == 2_417 { json!("old") } else { json!(n) }}});
    let source = serving((1..=3_000).map(row).collect()).await;
    let config = json!({
        "source": from(&source), "target": into(&table, &json!({})),
        "mapping": {"id": "id", "age": "person.age"},
    });
    let (failure, left) = transfer(config).await.unwrap_err();
    assert!(!failure.retryable, "{}", failure.message);
    for part in [
        "chunk 3: row 2417 of the source, field `person.age` for column `age`: ",
        "old",
        "the 2000 rows of the 2 chunks before are written and stay",
    ] {
        assert!(failure.message.contains(part), "{part}: {}", failure.message);
    }
    assert_eq!((count(&table).await, &left["rows_transferred"]), (json!(2_000), &json!(2_000)));
    drop_table(&table).await;
}

#[tokio::test]
async fn a_row_that_is_there_twice_is_named() {
    let table = table("twice", "id int primary key").await;
    let source = serving([1, 2, 3, 4, 3, 5].map(|id| json!({"id": id})).to_vec()).await;
    let config = json!({"source": from(&source), "target": into(&table, &json!({}))});
    let (failure, _) = transfer(config).await.unwrap_err();
    assert_eq!((failure.kind.as_str(), failure.retryable), ("ConstraintError", false));
    assert!(failure.message.starts_with("chunk 1: row 5 of the source"), "{}", failure.message);
    assert!(failure.message.ends_with("nothing is written"), "{}", failure.message);
    assert_eq!(count(&table).await, json!(0));
    drop_table(&table).await;
}

#[tokio::test]
async fn an_atomic_transfer_is_all_or_nothing() {
    let table = table("atomic", "id int primary key").await;
    sql(&format!("INSERT INTO {table} VALUES (-1)")).await;
    let bad = serving(
        (0..30).map(|n| json!({"id": if n == 25 { json!("x") } else { json!(n) }})).collect(),
    )
    .await;
    let good = serving((0..30).map(|n| json!({"id": n})).collect()).await;
    let extra = json!({"atomic": true, "mode": "overwrite"});
    let config =
        |source| json!({"source": from(source), "target": into(&table, &extra), "chunk_size": 10});
    let (failure, _) = transfer(config(&bad)).await.unwrap_err();
    assert!(failure.message.contains("row 26 of the source"), "{}", failure.message);
    assert!(
        failure.message.ends_with("nothing of what was sent before is kept"),
        "{}",
        failure.message
    );
    assert_eq!(count(&table).await, json!(1));
    transfer(config(&good)).await.unwrap();
    assert_eq!(count(&table).await, json!(30));
    drop_table(&table).await;
}

#[tokio::test]
async fn hostile_values_are_stored_as_they_are() {
    let table = table("hostile", "id int primary key, v text").await;
    let canary = format!("{table}_canary");
    sql(&format!("DROP TABLE IF EXISTS {canary}; CREATE TABLE {canary} (n int)")).await;
    let values = [
        format!("'; DROP TABLE {canary}; --"),
        format!("$$; DROP TABLE {canary}; $$"),
        "\"\\ \u{1f600} \u{202e} {{ 7 * 7 }} :name $1 %s ?".to_owned(),
        "<script>'\"`\r\n\t".to_owned(),
        "x".repeat(1 << 20),
        String::new(),
    ];
    let rows: Vec<_> = values.iter().enumerate().map(|(id, v)| json!({"id": id, "v": v})).collect();
    let source = serving(rows.clone()).await;
    transfer(json!({"source": from(&source), "target": into(&table, &json!({}))})).await.unwrap();
    assert_eq!(
        sql(&format!("SELECT id, v FROM {table} ORDER BY id")).await["rows"],
        Value::Array(rows)
    );
    assert_eq!(count(&canary).await, json!(0));

    let source = serving(vec![json!({"id": 99, "v": "a\u{0}b"})]).await;
    let config = json!({"source": from(&source), "target": into(&table, &json!({}))});
    let (failure, _) = transfer(config).await.unwrap_err();
    assert!(failure.message.contains('v') && !failure.retryable, "{}", failure.message);
    drop_table(&canary).await;
    drop_table(&table).await;
}

#[tokio::test]
async fn what_a_target_needs_is_said_before_the_source_is_written() {
    let source = serving(vec![json!({"id": 1, "nope": 2})]).await;
    let table = table("wrong", "id int").await;
    #[rustfmt::skip]
    let cases = [
        (into(&table, &json!({})), "nope"),
        (into("transfer_no_such_table", &json!({})), "transfer_no_such_table"),
        (into(&table, &json!({"mode": "upsert"})), "`keys`"),
        (into(&table, &json!({"mode": "merge"})), "`mode: merge`"),
        (into("", &json!({})), "`target` of type postgres needs `table`"),
        (into("a; DROP TABLE b", &json!({})), "a; DROP TABLE b"),
    ];
    for (target, expect) in cases {
        let (failure, _) =
            transfer(json!({"source": from(&source), "target": target})).await.unwrap_err();
        assert!(
            failure.message.contains(expect) && !failure.retryable,
            "{expect}: {}",
            failure.message
        );
    }
    drop_table(&table).await;
}

#[tokio::test]
async fn postgres_to_duckdb_to_parquet_keeps_rows_and_types() {
    let columns = "id bigint primary key, n numeric(12,3), d date, t timestamp, b boolean, s text, j jsonb, a int[]";
    let table = table("types", columns).await;
    sql(&format!(
        "INSERT INTO {table} SELECT g, g + 0.125, date '2026-01-01' + g, timestamp '2026-01-01 10:00' + g * interval '1 s', \
         g % 2 = 0, 'row ' || g, jsonb_build_object('n', g), ARRAY[g, g + 1] FROM generate_series(1, 2500) g"
    ))
    .await;
    let folder = tempfile::tempdir().unwrap();
    let tool = tool_in(folder.path());
    let run = |config| transfer_with(&tool, config, Progress::default());
    let database = folder.path().join("t.duckdb").display().to_string();
    let in_duckdb = json!({"type": "duckdb", "database": database, "table": "copy"});
    let mut target = in_duckdb.clone();
    target["create"] = json!(true);
    let query = format!("SELECT * FROM {table} WHERE id > $1 ORDER BY id");
    let result = run(json!({
        "source": {"type": "postgres", "auth": auth(), "query": query, "params": [0]}, "target": target,
    }))
    .await
    .unwrap();
    assert_eq!(
        (&result["rows_transferred"], &result["chunks_processed"]),
        (&json!(2_500), &json!(2))
    );
    // Chunks enough for parts that are put together.
    let small = 100;
    assert!(2_500 / small > PARQUET_PART_CHUNKS);
    let file = json!({"type": "file", "path": "t.parquet"});
    let result = run(json!({"source": in_duckdb, "target": file, "chunk_size": small})).await;
    let result = result.unwrap();
    assert!(result["bytes"].as_u64().unwrap() > 1_000, "{result}");
    let ids = json!({"type": "file", "path": "ids.csv"});
    run(json!({"source": file, "target": ids, "mapping": {"id": "id"}})).await.unwrap();
    let ids = std::fs::read_to_string(folder.path().join("ids.csv")).unwrap();
    let expect: Vec<String> = (1..=2_500).map(|id: i32| id.to_string()).collect();
    assert_eq!(ids.lines().skip(1).collect::<Vec<_>>(), expect, "rows are in their order");

    let described = json!({"type": "duckdb", "database": ":memory:", "files": folder.path(),
        "query": format!("SELECT column_name, column_type FROM (DESCRIBE SELECT * FROM read_parquet('{}/t.parquet'))", folder.path().display())});
    run(json!({"source": described, "target": {"type": "file", "path": "types.csv"}}))
        .await
        .unwrap();
    let types = std::fs::read_to_string(folder.path().join("types.csv")).unwrap();
    assert_eq!(
        types.lines().skip(1).collect::<Vec<_>>(),
        [
            "id,BIGINT",
            "n,\"DECIMAL(12,3)\"",
            "d,DATE",
            "t,TIMESTAMP",
            "b,BOOLEAN",
            "s,VARCHAR",
            "j,JSON",
            "a,INTEGER[]"
        ]
    );
    let back = format!("{table}_back");
    sql(&format!("DROP TABLE IF EXISTS {back}; CREATE TABLE {back} (LIKE {table})")).await;
    run(
        json!({"source": {"type": "file", "path": "t.parquet"}, "target": into(&back, &json!({}))}),
    )
    .await
    .unwrap();
    let differ = format!("SELECT * FROM {table} EXCEPT SELECT * FROM {back}");
    assert_eq!((count(&back).await, &sql(&differ).await["rows"]), (json!(2_500), &json!([])));
    drop_table(&back).await;
    drop_table(&table).await;
}

#[tokio::test]
async fn both_sides_may_be_one_duckdb_database() {
    let folder = tempfile::tempdir().unwrap();
    let database = folder.path().join("one.duckdb");
    let query = "SELECT i AS id FROM range(5000) r(i) ORDER BY i DESC";
    let queried = json!({"type": "duckdb", "database": database, "query": query});
    let numbers =
        json!({"type": "duckdb", "database": database, "table": "numbers", "create": true});
    let copy = json!({"type": "duckdb", "database": database, "table": "copy", "create": true});
    for (source, target) in [(&queried, &numbers), (&numbers, &copy)] {
        let config = json!({"source": source, "target": target});
        let result = transfer_with(&tool(), config, Progress::default()).await.unwrap();
        assert_eq!(result["rows_transferred"], json!(5_000), "{target}");
    }
}

#[tokio::test]
async fn a_bad_row_for_duckdb_is_named_as_well() {
    let source = serving(
        (1..=30)
            .map(|n| json!({"id": n, "v": if n == 25 { json!("x") } else { json!(n) }}))
            .collect(),
    )
    .await;
    let folder = tempfile::tempdir().unwrap();
    let target = json!({"type": "duckdb", "database": folder.path().join("b.duckdb"), "table": "t", "create": true});
    let config = json!({"source": from(&source), "target": target, "chunk_size": 10});
    let (failure, left) = transfer_with(&tool(), config, Progress::default()).await.unwrap_err();
    assert!(
        failure.message.starts_with("chunk 3: row 25 of the source, field `v` for column `v`: "),
        "{}",
        failure.message
    );
    assert_eq!(left["rows_transferred"], json!(20));
}

#[tokio::test]
async fn sqlite_and_postgres_exchange_rows() {
    let table = table("lite", "id int primary key, v text, j jsonb").await;
    sql(&format!(
        "INSERT INTO {table} SELECT g, 'v' || g, jsonb_build_object('n', g) FROM generate_series(1, 2500) g"
    ))
    .await;
    let folder = tempfile::tempdir().unwrap();
    let lite = |extra: Value| {
        let mut side =
            json!({"type": "sqlite", "database": folder.path().join("t.sqlite"), "table": "copy"});
        side.as_object_mut().unwrap().extend(extra.as_object().cloned().unwrap());
        side
    };
    let there = json!({
        "source": {"type": "postgres", "auth": auth(), "query": format!("SELECT * FROM {table} ORDER BY id")},
        "target": lite(json!({"create": true, "mode": "overwrite"})),
    });
    for _ in 0..2 {
        let result = transfer(there.clone()).await.unwrap();
        assert_eq!(result["rows_transferred"], json!(2_500));
    }
    let back = format!("{table}_back");
    sql(&format!("DROP TABLE IF EXISTS {back}; CREATE TABLE {back} (LIKE {table})")).await;
    let home = json!({"source": lite(json!({})), "target": into(&back, &json!({}))});
    assert_eq!(transfer(home).await.unwrap()["rows_transferred"], json!(2_500));
    let differ = format!("SELECT * FROM {table} EXCEPT SELECT * FROM {back}");
    assert_eq!((count(&back).await, &sql(&differ).await["rows"]), (json!(2_500), &json!([])));
    drop_table(&back).await;
    drop_table(&table).await;
}
