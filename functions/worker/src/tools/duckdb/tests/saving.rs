//! What sinks leave in tables.

use super::*;

impl Bench {
    async fn save(&self, config: Value) -> Result<Value, ToolFailure> {
        let mut call = call(config, "1");
        call.saves = true;
        match self.tool.call(&call).await {
            Ok(success) => Ok(success.result),
            Err(error) => Err(error.into_failure().0),
        }
    }

    async fn rows(&self, query: &str) -> Value {
        self.run(json!({"query": query})).await["rows"].clone()
    }
}

#[tokio::test]
async fn rows_are_saved_in_every_mode() {
    let bench = bench();
    bench.run(json!({"command": "CREATE TABLE t (id INTEGER PRIMARY KEY, v VARCHAR, n INTEGER DEFAULT 9)"})).await;
    #[rustfmt::skip]
    let cases = [
        ("append", json!([{"id": 1, "v": "a"}, {"id": 2, "v": "b", "n": 5}]), 2, json!([[1, "a", 9], [2, "b", 5]])),
        ("upsert", json!([{"id": 2, "v": "x"}, {"id": 3, "v": "y"}, {"id": 2, "v": "z"}]), 2, json!([[1, "a", 9], [2, "z", 5], [3, "y", 9]])),
        ("update", json!({"id": 1, "v": "q", "n": null}), 1, json!([[1, "q", null], [2, "z", 5], [3, "y", 9]])),
        ("update", json!({"id": 77, "v": "q"}), 0, json!([[1, "q", null], [2, "z", 5], [3, "y", 9]])),
        ("overwrite", json!([{"id": 4, "v": "only"}]), 1, json!([[4, "only", 9]])),
    ];
    for (mode, data, affected, expect) in cases {
        let config = json!({"table": "t", "mode": mode, "key": "id", "data": data});
        let saved = bench.save(config).await.unwrap();
        assert_eq!(saved["data"]["rows_affected"], json!(affected), "{mode}");
        let rows = bench.rows("SELECT [id::VARCHAR, v, n::VARCHAR] AS r FROM t ORDER BY id").await;
        let rows: Vec<Value> =
            rows.as_array().unwrap().iter().map(|row| row["r"].clone()).collect();
        let text = |value: &Value| match value {
            Value::Number(number) => json!(number.to_string()),
            other => other.clone(),
        };
        let expect: Vec<Value> = expect
            .as_array()
            .unwrap()
            .iter()
            .map(|row| row.as_array().unwrap().iter().map(text).collect())
            .collect();
        assert_eq!(rows, expect, "{mode}");
    }
}

#[tokio::test]
async fn values_of_every_type_are_stored_as_they_were_read() {
    let bench = bench();
    let made = "CREATE TABLE s AS SELECT 1 AS id, {'a': 1, 'b': [1, 2]} AS st, MAP {'k': 1} AS mp, \
        '\\x00\\xFF'::BLOB AS bl, 'a'::ENUM('a', 'b') AS en, uuid() AS u, true AS b, \
        INTERVAL '1 day' AS iv, TIME '01:02:03' AS t, TIMESTAMPTZ '2024-01-02 03:04:05+00' AS tz, \
        TIMESTAMP '2024-01-02 03:04:05' AS ts, 1.5::DECIMAL(10, 3) AS dc, [1.5, 2.5] AS li, \
        '{\"k\": null}'::JSON AS js, 170141183460469231731687303715884105727::HUGEINT AS h, \
        ['a\"b', 'c,d'] AS sl, BITSTRING '01' AS bt, \
        NULL::JSON AS nj, NULL::INTEGER[] AS nl; CREATE TABLE c AS FROM s LIMIT 0";
    bench.run(json!({"command": made})).await;
    let rows = bench.rows("FROM s").await;
    bench.save(json!({"table": "c", "data": rows})).await.unwrap();
    assert_eq!(bench.rows("FROM c").await, rows);
    assert_eq!(
        bench.rows("SELECT count(*) AS n FROM s JOIN c USING (bl, st, u)").await,
        json!([{"n": 1}])
    );
}

#[tokio::test]
async fn a_chunk_of_many_columns_costs_the_memory_of_its_values() {
    let bench = bench();
    let columns: Vec<String> = (0..200).map(|number| format!("c{number} VARCHAR")).collect();
    bench.run(json!({"command": format!("CREATE TABLE wide ({})", columns.join(", "))})).await;
    let row = |n: usize| -> Value {
        (0..200)
            .map(|column| (format!("c{column}"), json!(format!("{n:05}-{column:04}"))))
            .collect()
    };
    let rows: Value = (0..1_000).map(row).collect();
    let saved = bench.save(json!({"table": "wide", "data": rows})).await.unwrap();
    assert_eq!(saved["data"]["rows_affected"], json!(1_000));
    let found = bench.rows("SELECT count(*) AS n, max(c199) AS last FROM wide").await;
    assert_eq!(found, json!([{"n": 1_000, "last": "00999-0199"}]));
}

#[tokio::test]
async fn hostile_values_are_stored_and_nothing_else_happens() {
    let bench = bench();
    bench.run(json!({"command": "CREATE TABLE canary AS SELECT 1 AS a; CREATE TABLE h (id INTEGER, v VARCHAR)"})).await;
    let long = "x".repeat(1 << 20);
    let values = [
        "'; DROP TABLE canary; --",
        "\"quoted\"",
        "\u{1f986} ünï",
        "a\0b",
        "$1 :v ?",
        "{\"a\": 1}",
        "[1",
        "\\x41",
        "null",
        "",
        &long,
    ];
    let data: Vec<Value> =
        values.iter().enumerate().map(|(id, v)| json!({"id": id, "v": v})).collect();
    bench.save(json!({"table": "h", "data": data})).await.unwrap();
    let statement = json!({"statement": "INSERT INTO h VALUES (:id + 100, :v)", "params": data});
    bench.save(statement).await.unwrap();
    for base in [0, 100] {
        let query =
            format!("SELECT v FROM h WHERE id BETWEEN {base} AND {} ORDER BY id", base + 50);
        let rows = bench.rows(&query).await;
        let stored: Vec<&str> =
            rows.as_array().unwrap().iter().map(|row| row["v"].as_str().unwrap()).collect();
        assert_eq!(stored, values, "{base}");
    }
    assert_eq!(bench.rows("FROM canary").await, json!([{"a": 1}]));
}

#[tokio::test]
async fn a_save_is_whole_or_not_at_all() {
    let bench = bench();
    bench.run(json!({"command": "CREATE TABLE w (id INTEGER PRIMARY KEY, n INTEGER)"})).await;
    let rows = json!([{"id": 1}, {"id": 2}, {"id": 1}]);
    let failure = bench.save(json!({"table": "w", "data": rows, "batch": 1})).await.unwrap_err();
    assert_eq!((failure.kind.as_str(), failure.retryable), ("ConstraintError", false));
    let bad = json!([{"id": 1}, {"id": "no number"}]);
    let failure = bench.save(json!({"table": "w", "data": bad})).await.unwrap_err();
    assert_eq!((failure.kind.as_str(), failure.retryable), ("SqlError", false));
    assert!(failure.message.starts_with("table `w`: Conversion: "), "{}", failure.message);
    assert!(!failure.message.contains("LINE"), "{}", failure.message);
    let items = json!([{"id": 5}, {"id": "no number"}]);
    let statement = json!({"statement": "INSERT INTO w VALUES (:id, 0)", "params": items});
    bench.save(statement).await.unwrap_err();
    assert_eq!(bench.rows("FROM w").await, json!([]));
}

#[tokio::test]
async fn a_table_is_created_only_when_asked() {
    let bench = bench();
    let mut config = json!({"table": "made", "mode": "upsert", "keys": ["id"], "data": [{"id": 1, "x": 1.5, "l": [1]}]});
    let failure = bench.save(config.clone()).await.unwrap_err();
    assert!(failure.message.contains("create: true"), "{}", failure.message);
    config["create"] = json!(true);
    bench.save(config.clone()).await.unwrap();
    bench.save(config).await.unwrap();
    assert_eq!(bench.rows("FROM made").await, json!([{"id": 1, "x": 1.5, "l": [1]}]));
    let failure = bench.save(json!({"table": "made", "data": {"nope": 1}})).await.unwrap_err();
    assert!(failure.message.contains("`id`, `x`, `l`"), "{}", failure.message);
}

#[tokio::test]
async fn d30_a_sink_runs_commands() {
    let bench = bench();
    let commands = "-- Create\nCREATE OR REPLACE TABLE ta AS SELECT 'd' AS kind, COUNT(*) AS n, NOW() AS at;\n\
                    -- Insert\nINSERT INTO ta SELECT 's', 1, NOW();\nSELECT * FROM ta;";
    let saved = bench.save(json!({"commands": commands})).await.unwrap();
    assert_eq!(saved["status"], json!("success"));
    assert_eq!(bench.rows("SELECT count(*) AS n FROM ta").await, json!([{"n": 2}]));
}
