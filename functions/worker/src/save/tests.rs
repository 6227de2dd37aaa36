use serde_json::json;

use super::columns::ColumnType;
use super::*;
use crate::sql::tests::call;
use crate::tool::Reaction;

fn rows(value: Value) -> Vec<Row> {
    rows::of("data", value).unwrap()
}

#[tokio::test]
async fn rows_come_from_data_args_or_payload() {
    #[rustfmt::skip]
    let cases = [
        (json!({"data": {"a": 1}}), json!({}), json!([{"a": 1}])),
        (json!({"data": [{"a": 1}, {"b": 2}]}), json!({"a": 9}), json!([{"a": 1}, {"b": 2}])),
        (json!({"data": []}), json!({}), json!([])),
        (json!({"data": "[{\"a\": 1}]"}), json!({}), json!([{"a": 1}])),
        (json!({}), json!({"a": 9}), json!([{"a": 9}])),
        (json!({"data": null, "payload": {"a": 3}}), json!({}), json!([{"a": 3}])),
    ];
    for (config, args, expect) in cases {
        let mut call = call(config.clone());
        call.config.insert("table".to_owned(), json!("t"));
        let Value::Object(args) = args else { panic!("a map") };
        call.args = args;
        let Save::Rows { rows, table } = Save::of(&call).unwrap() else { panic!("{config}") };
        assert_eq!(json!(rows), expect, "{config}");
        assert_eq!((table.mode, table.batch_rows), (Mode::Append, SAVE_BATCH_ROWS_DEFAULT));
    }
}

#[tokio::test]
async fn a_table_says_how_rows_meet() {
    #[rustfmt::skip]
    let cases = [
        (json!({"mode": "insert"}), Mode::Append, vec![], SAVE_BATCH_ROWS_DEFAULT, false),
        (json!({"mode": "Overwrite", "batch": true, "create": "true"}), Mode::Overwrite, vec![], SAVE_BATCH_ROWS_DEFAULT, true),
        (json!({"mode": "upsert", "key": "a", "batch": 5}), Mode::Upsert, vec!["a"], 5, false),
        (json!({"mode": "update", "keys": "a, b", "chunk_size": "7"}), Mode::Update, vec!["a", "b"], 7, false),
        (json!({"mode": "upsert", "keys": ["a", "b"], "create": true}), Mode::Upsert, vec!["a", "b"], SAVE_BATCH_ROWS_DEFAULT, true),
    ];
    for (config, mode, keys, batch_rows, create) in cases {
        let Value::Object(mut map) = config.clone() else { panic!("a map") };
        map.insert("table".to_owned(), json!(" s.t "));
        let table = Table::of(&map).unwrap();
        let keys: Vec<String> = keys.into_iter().map(str::to_owned).collect();
        assert_eq!(
            table,
            Table { name: "s.t".to_owned(), mode, keys, batch_rows, create },
            "{config}"
        );
    }
}

#[tokio::test]
async fn what_nobody_can_mean_is_refused() {
    #[rustfmt::skip]
    let cases = [
        (json!({}), "where to save"),
        (json!({"table": "t"}), "what to save"),
        (json!({"table": "t", "data": 5}), "`data` is a number"),
        (json!({"table": "t", "data": [{"a": 1}, "x"]}), "`data[1]` is a text"),
        (json!({"table": "t", "data": {}}), "0 columns"),
        (json!({"table": "a..b", "data": {"a": 1}}), "part of it is empty"),
        (json!({"table": "t", "data": {"a": 1}, "mode": "merge"}), "`mode: merge`"),
        (json!({"table": "t", "data": {"a": 1}, "mode": "upsert"}), "needs `keys`"),
        (json!({"table": "t", "data": {"a": 1}, "mode": "upsert", "key": "b"}), "has no `b`"),
        (json!({"table": "t", "data": {"a": 1}, "batch": 0}), "between 1 and"),
        (json!({"table": "t", "data": {"a": 1}, "batch": 10_000_000}), "between 1 and"),
        (json!({"table": "t", "data": {"a": 1}, "keys": {"a": 1}}), "neither"),
        (json!({"statement": "SELECT :a", "params": 5}), "`params` is a number"),
        (json!({"statement": "SELECT :a", "params": [{"a": 1}, 2]}), "`params[1]` is a number"),
    ];
    for (config, expect) in cases {
        let error = Save::of(&call(config.clone())).unwrap_err();
        assert_eq!(error.reaction(), Reaction::Input, "{config}");
        assert!(error.message().contains(expect), "{config}: {error}");
    }
}

#[tokio::test]
async fn statements_run_once_for_each_item() {
    let named = |value: Value| match value {
        Value::Object(fields) => Params::Named(fields),
        _ => panic!("a map"),
    };
    #[rustfmt::skip]
    let cases = [
        (json!({"statement": "SELECT 1", "params": {"a": 1}}), None),
        (json!({"statement": "SELECT :a", "params": {"a": 1}}), Some(vec![named(json!({"a": 1}))])),
        (json!({"sql": "SELECT :a", "data": [{"a": 1}, {"a": 2}]}), Some(vec![named(json!({"a": 1})), named(json!({"a": 2}))])),
        (json!({"statement": "SELECT $1", "params": [1]}), Some(vec![Params::Listed(vec![json!(1)])])),
        (json!({"statement": "SELECT $1", "params": [[1], [2]]}), Some(vec![Params::Listed(vec![json!(1)]), Params::Listed(vec![json!(2)])])),
        (json!({"statement": "SELECT :a", "data": []}), Some(vec![])),
        (json!({"statement": "SELECT ':a'", "params": [1]}), None),
    ];
    for (config, expect) in cases {
        let Save::Statements { items, .. } = Save::of(&call(config.clone())).unwrap() else {
            panic!("{config}")
        };
        assert_eq!(items, expect, "{config}");
    }
}

#[test]
fn a_batch_has_one_set_of_columns() {
    let rows =
        rows(json!([{"a": 1, "b": 1}, {"b": 2, "a": 2}, {"a": 3, "b": 3}, {"a": 4}, {"b": 5}]));
    let sizes: Vec<usize> = rows::batches(&rows, 2).map(<[Row]>::len).collect();
    assert_eq!(sizes, [2, 1, 1, 1]);
}

#[test]
fn the_last_row_of_a_key_counts() {
    let rows =
        rows(json!([{"k": 1, "v": 1}, {"k": "1", "v": 2}, {"k": 2, "v": 3}, {"k": 1, "v": 4}]));
    let left = rows::last_of_each(&rows, &["k".to_owned()]);
    assert_eq!(json!(left), json!([{"k": "1", "v": 2}, {"k": 2, "v": 3}, {"k": 1, "v": 4}]));
}

#[test]
fn a_column_holds_all_its_values() {
    use ColumnType::{Big, Boolean, Float, Integer, Json, Text};
    let rows = rows(json!([
        {"b": true, "i": 1, "f": 1, "t": "x", "j": [], "n": null, "m": 1, "u": u64::MAX},
        {"b": null, "i": 2, "f": 2.5, "t": "y", "j": "z", "n": null, "m": "x", "u": 1, "late": 1},
    ]));
    let expect = [
        ("b", Boolean),
        ("i", Integer),
        ("f", Float),
        ("t", Text),
        ("j", Json),
        ("n", Text),
        ("m", Text),
        ("u", Big),
        ("late", Integer),
    ];
    let found = columns::of(&rows);
    let found: Vec<_> = found.iter().map(|(name, kind)| (name.as_str(), *kind)).collect();
    assert_eq!(found, expect);
}

#[test]
fn a_result_says_what_was_saved() {
    let Value::Object(config) = json!({"table": "t", "mode": "upsert", "key": "a"}) else {
        panic!()
    };
    let table = Table::of(&config).unwrap();
    assert_eq!(
        success("postgres", 3, 2, Some(&table)).result,
        json!({
            "status": "success",
            "data": {"saved": 3, "rows_affected": 2, "table": "t", "mode": "upsert"},
            "meta": {"tool": "postgres"},
        })
    );
}
