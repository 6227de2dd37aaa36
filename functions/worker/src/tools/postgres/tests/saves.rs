use super::*;

async fn table(tool: &Postgres, name: &str, columns: &str) -> String {
    let table = unique(name);
    rows(tool, &format!("CREATE TABLE {table} ({columns})")).await;
    table
}

#[tokio::test]
async fn rows_meet_those_that_are_there_as_the_mode_says() {
    let tool = Postgres::default();
    let t = table(&tool, "modes", "id int primary key, name text, hits int default 7").await;
    #[rustfmt::skip]
    let steps = [
        (json!({"data": [{"id": 1, "name": "a"}, {"id": 2, "name": "b", "hits": 1}, {"id": 3, "name": "c"}]}), json!([[1, "a", 7], [2, "b", 1], [3, "c", 7]])),
        (json!({"mode": "insert", "data": {"ID": "4", "name": null, "hits": 2.0}}), json!([[1, "a", 7], [2, "b", 1], [3, "c", 7], [4, null, 2]])),
        (json!({"mode": "upsert", "key": "id", "data": [{"id": 1, "name": "A"}, {"id": 5, "name": "e"}, {"id": 1, "name": "AA"}]}), json!([[1, "AA", 7], [2, "b", 1], [3, "c", 7], [4, null, 2], [5, "e", 7]])),
        (json!({"mode": "update", "keys": ["id"], "data": [{"id": 2, "hits": 9}, {"id": 99, "hits": 9}]}), json!([[1, "AA", 7], [2, "b", 9], [3, "c", 7], [4, null, 2], [5, "e", 7]])),
        (json!({"mode": "upsert", "key": "id", "data": {"id": 2}}), json!([[1, "AA", 7], [2, "b", 9], [3, "c", 7], [4, null, 2], [5, "e", 7]])),
        (json!({"mode": "overwrite", "batch": 1, "data": [{"id": 8, "name": "x"}, {"id": 9, "name": "y"}]}), json!([[8, "x", 7], [9, "y", 7]])),
        (json!({"data": []}), json!([[8, "x", 7], [9, "y", 7]])),
        (json!({"mode": "overwrite", "data": []}), json!([])),
    ];
    for (mut config, expect) in steps {
        config["table"] = json!(t);
        let result =
            save(&tool, config.clone()).await.unwrap_or_else(|error| panic!("{config}: {error}"));
        assert_eq!(result["data"]["saved"], json!(config["data"].as_array().map_or(1, Vec::len)));
        let found = rows(
            &tool,
            &format!("SELECT json_build_array(id, name, hits) AS r FROM {t} ORDER BY id"),
        )
        .await;
        let found: Vec<&Value> = found.as_array().unwrap().iter().map(|row| &row["r"]).collect();
        assert_eq!(json!(found), expect, "{config}");
    }
    rows(&tool, &format!("DROP TABLE {t}")).await;
}

#[tokio::test]
async fn values_fit_their_columns() {
    let tool = Postgres::default();
    let t = table(&tool, "fit", "j jsonb, k json, l int[], t timestamptz, n numeric(30, 20), b bytea, s text, c char(3), f bool").await;
    let data = json!({
        "j": "{\"a\": [1]}", "k": [1, {"b": "c"}], "l": [1, 2], "t": "2026-01-02T03:04:05Z", "n": "1.00000000000000000001",
        "b": "\\x00ff", "s": {"as": "text"}, "c": "x", "f": "true",
    });
    save(&tool, json!({"table": t, "data": data})).await.unwrap();
    assert_eq!(
        rows(&tool, &format!("SELECT * FROM {t}")).await,
        json!([{
            "j": {"a": [1]}, "k": [1, {"b": "c"}], "l": [1, 2], "t": "2026-01-02T03:04:05+00:00",
            "n": "1.00000000000000000001", "b": "\\x00ff", "s": "{\"as\":\"text\"}", "c": "x  ", "f": true,
        }])
    );
    rows(&tool, &format!("DROP TABLE {t}")).await;
}

#[tokio::test]
async fn what_does_not_fit_is_named_and_nothing_is_kept() {
    let tool = Postgres::default();
    let t = table(
        &tool,
        "bad",
        "id int primary key, amount int not null check (amount < 100), name varchar(3)",
    )
    .await;
    let good = |id: i32| json!({"id": id, "amount": 1, "name": "x"});
    #[rustfmt::skip]
    let cases = [
        (json!({"id": 1, "amuont": 1}), "SqlError", "has no column `amuont`; it has `id`, `amount`, `name`"),
        (json!({"id": 900, "amount": "abc", "name": "x"}), "DataError", "row 3, column `amount`: invalid input syntax for type integer"),
        (json!({"id": 900, "amount": 1, "name": "long"}), "DataError", "row 3, column `name`: value too long"),
        (json!({"id": 900, "amount": 1, "name": "a\0"}), "DataError", "row 3, column `name` contains the character NUL"),
        (json!({"id": 900, "amount": 1.5, "name": "x"}), "DataError", "row 3, column `amount`"),
        (json!({"id": 900, "amount": null, "name": "x"}), "ConstraintError", "column `amount`"),
        (json!({"id": 900, "amount": 100, "name": "x"}), "ConstraintError", "check"),
        (json!({"id": 1, "amount": 1, "name": "x"}), "ConstraintError", "already exists"),
    ];
    for (bad, kind, expect) in cases {
        for batch in [2, 1_000] {
            let data = [good(1), good(2), good(3), bad.clone(), good(4)];
            let error =
                save(&tool, json!({"table": t, "data": data, "batch": batch})).await.unwrap_err();
            assert_eq!(
                (error.kind(), error.reaction()),
                (kind, Reaction::Rejected),
                "{bad}: {error}"
            );
            assert!(error.message().contains(expect), "{bad}: {error}");
            assert_eq!(
                rows(&tool, &format!("SELECT count(*) AS n FROM {t}")).await,
                json!([{"n": 0}]),
                "{bad}"
            );
        }
    }
    let error = save(&tool, json!({"table": format!("{t}x"), "data": good(1)})).await.unwrap_err();
    assert!(error.message().contains(&format!("`public.{t}`")), "{error}");
    let error =
        save(&tool, json!({"table": t, "data": {"name": "x"}, "mode": "upsert", "key": "name"}))
            .await
            .unwrap_err();
    assert!(error.message().contains("unique index"), "{error}");
    let error = save(&tool, json!({"table": t, "data": {"id": 1}, "mode": "update", "key": "id"}))
        .await
        .unwrap_err();
    assert_eq!(error.reaction(), Reaction::Input);
    rows(&tool, &format!("DROP TABLE {t}")).await;
}

#[tokio::test]
async fn a_table_is_created_only_when_that_is_asked_for() {
    let tool = Postgres::default();
    let t = unique("Made");
    let data = json!([{"id": 1, "x": 1.5, "ok": true, "big": u64::MAX, "list": [1], "none": null}, {"id": 2, "x": 2, "new": "n"}]);
    let config = json!({"table": t, "data": data, "mode": "upsert", "key": "id"});
    assert!(save(&tool, config.clone()).await.unwrap_err().message().contains("`create: true`"));
    let mut config = config;
    config["create"] = json!(true);
    for _ in 0..2 {
        save(&tool, config.clone()).await.unwrap();
    }
    let found = rows(&tool, &format!("SELECT * FROM \"{t}\" ORDER BY id")).await;
    assert_eq!(
        found[0],
        json!({"id": 1, "x": 1.5, "ok": true, "big": u64::MAX, "list": [1], "none": null, "new": null})
    );
    assert_eq!(found.as_array().unwrap().len(), 2);
    rows(&tool, &format!("DROP TABLE \"{t}\"")).await;
}

#[tokio::test]
async fn statements_of_a_sink_are_all_or_nothing() {
    let tool = Postgres::default();
    let t = table(&tool, "stat", "a int primary key, b text, c jsonb").await;
    let insert = format!("INSERT INTO {t} VALUES (:a, :b, :c)");
    let items = json!([{"a": 1, "b": {"x": 1}, "c": {"y": [2]}}, {"a": "2", "b": "it's", "c": "{\"z\": 3}"}]);
    let result = save(&tool, json!({"statement": insert, "params": items})).await.unwrap();
    assert_eq!(
        result["data"],
        json!({"saved": 2, "rows_affected": 2, "table": null, "mode": "statement"})
    );
    assert_eq!(
        rows(&tool, &format!("SELECT * FROM {t} ORDER BY a")).await,
        json!([{"a": 1, "b": "{\"x\":1}", "c": {"y": [2]}}, {"a": 2, "b": "it's", "c": {"z": 3}}])
    );
    let items = json!([{"a": 3, "b": "", "c": 1}, {"a": 1, "b": "", "c": 1}]);
    let error = save(&tool, json!({"statement": insert, "params": items})).await.unwrap_err();
    assert_eq!((error.kind(), error.reaction()), ("ConstraintError", Reaction::Rejected));
    assert!(error.message().starts_with("item 1: duplicate key"), "{error}");
    let both = format!("INSERT INTO {t} (a) VALUES (4); INSERT INTO {t} (a) VALUES (1)");
    save(&tool, json!({"statement": both})).await.unwrap_err();
    assert_eq!(rows(&tool, &format!("SELECT count(*) AS n FROM {t}")).await, json!([{"n": 2}]));
    rows(&tool, &format!("DROP TABLE {t}")).await;
}
