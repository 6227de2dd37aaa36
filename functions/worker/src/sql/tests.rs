use std::time::Duration;

use serde_json::json;
use tokio::time::Instant;

use super::*;
use crate::tool::{Progress, Reaction};

/// A call with that configuration and a minute of time.
pub(crate) fn call(config: Value) -> Call<'static> {
    let Value::Object(config) = config else { panic!("a map") };
    Call {
        config,
        args: Map::new(),
        context: None,
        idempotency_key: "1.1",
        deadline: Instant::now() + Duration::from_mins(1),
        attempt: 1,
        execution_id: "1",
        step: "step",
        saves: false,
        progress: Progress::default(),
    }
}

#[tokio::test]
async fn commands_come_from_the_first_key_that_has_them() {
    #[rustfmt::skip]
    let cases = [
        (json!({"query": "SELECT 1; SELECT 2"}), vec!["SELECT 1", "SELECT 2"]),
        (json!({"commands": ["SELECT 1", "SELECT 2; SELECT 3;"]}), vec!["SELECT 1", "SELECT 2", "SELECT 3"]),
        (json!({"command": "SELECT 2", "query": "SELECT 1"}), vec!["SELECT 1"]),
        (json!({"query": null, "cmd": "SELECT 1"}), vec!["SELECT 1"]),
        (json!({"query": "SELECT 1", "command_b64": "U0VM\nRUNUIDI="}), vec!["SELECT 2"]),
        (json!({"statement": "SELECT 1"}), vec!["SELECT 1"]),
        (json!({"sql": "SELECT 'a\nb'"}), vec!["SELECT 'a\nb'"]),
    ];
    for (config, expect) in cases {
        assert_eq!(commands(&call(config.clone())).unwrap(), expect, "{config}");
    }
    #[rustfmt::skip]
    let refused = [
        (json!({}), "nothing to run"),
        (json!({"query": " -- only words\n;"}), "no statement"),
        (json!({"query": ["SELECT 1", 2]}), "at [1]"),
        (json!({"query": {"a": 1}}), "no text"),
        (json!({"query_b64": "***"}), "Base64"),
        (json!({"query": "SELECT 1;".repeat(SQL_STATEMENTS_MAX + 1)}), "at most"),
    ];
    for (config, expect) in refused {
        let error = commands(&call(config)).unwrap_err();
        assert_eq!(error.reaction(), Reaction::Input);
        assert!(error.message().contains(expect), "{error}");
    }
}

#[test]
fn d40_a_result_names_every_command_and_the_last_rows() {
    let rows = |name: &str| StatementResult::Rows {
        columns: vec![name.to_owned()],
        rows: vec![json!({name: 1})],
    };
    let done = StatementResult::Done { affected: 3 };
    let result = envelope(vec![rows("a"), rows("b"), done.clone()]).unwrap().result;
    assert_eq!(
        result,
        json!({
            "command_0": {"status": "success", "row_count": 1, "columns": ["a"], "rows": [{"a": 1}]},
            "command_1": {"status": "success", "row_count": 1, "columns": ["b"], "rows": [{"b": 1}]},
            "command_2": {"status": "success", "row_count": 3, "message": "done; 3 rows affected"},
            "rows": [{"b": 1}], "row_count": 1, "columns": ["b"], "affected_rows": 3,
        })
    );
    let result = envelope(vec![done.clone(), done]).unwrap().result;
    assert_eq!(result["row_count"], 3);
    assert_eq!(result["affected_rows"], 6);
    assert_eq!(result["rows"], json!([]));
}

#[test]
fn a_failure_keeps_what_the_others_left() {
    let failed = |kind: &str| {
        StatementResult::Failed(ToolError::new(
            Reaction::Rejected,
            kind,
            format!("{kind} is wrong"),
        ))
    };
    let done = StatementResult::Done { affected: 1 };
    let error = envelope(vec![done, failed("SqlError"), failed("Other")]).unwrap_err();
    assert_eq!((error.kind(), error.reaction()), ("SqlError", Reaction::Rejected));
    assert_eq!(error.message(), "command_1: SqlError is wrong; command_2: Other is wrong;");
    let (_, beside) = error.into_failure();
    assert_eq!(beside.result["command_0"]["row_count"], 1);
    assert_eq!(
        beside.result["command_1"],
        json!({"status": "error", "message": "SqlError is wrong"})
    );
}

#[test]
fn a_column_that_comes_again_keeps_its_value() {
    assert_eq!(unique_columns(["a", "b", "a", "a", "a_2"]), ["a", "b", "a_2", "a_3", "a_2_2"]);
}
