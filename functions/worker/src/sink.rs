//! What a sink saves when it does not say it: the result of its step.

use serde_json::{Map, Value, json};

/// Keys that say what a sink saves.
const SAVED: [&str; 5] = ["data", "payload", "body", "json", "form"];

/// Whether configuration and inputs leave open what is saved.
pub(crate) fn is_open(config: &Map<String, Value>, args: &Map<String, Value>) -> bool {
    args.is_empty() && !SAVED.iter().any(|key| config.contains_key(*key))
}

/// Fills in what the tool of a sink needs: `http` sends with `POST`, `python` gets inputs.
///
/// `result` is what the step has done; null if [`is_open`] says that nobody needs it.
pub(crate) fn complete(
    kind: &str,
    config: &mut Map<String, Value>,
    args: &mut Map<String, Value>,
    result: Value,
) {
    let open = is_open(config, args);
    match kind {
        "http" => {
            config.entry("method").or_insert_with(|| json!("POST"));
            if open {
                config.insert("json".to_owned(), result);
            } else if !SAVED.iter().any(|key| config.contains_key(*key)) {
                config.insert("json".to_owned(), Value::Object(args.clone()));
            }
        }
        "python" if open => {
            for name in ["data", "result", "this"] {
                args.insert(name.to_owned(), result.clone());
            }
        }
        "python" => {
            let given = ["data", "payload"].iter().find_map(|key| config.shift_remove(*key));
            if let Some(given) = given {
                args.entry("data").or_insert(given);
            }
        }
        _ if open && (["file", "s3"].contains(&kind) || config.contains_key("table")) => {
            config.insert("data".to_owned(), result);
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sink_saves_what_it_says_or_else_the_result() {
        #[rustfmt::skip]
        let cases = [
            ("http", json!({"url": "u"}), json!({}), json!({"url": "u", "method": "POST", "json": {"r": 1}}), json!({})),
            ("http", json!({"method": "PUT", "data": {"a": 1}}), json!({}), json!({"method": "PUT", "data": {"a": 1}}), json!({})),
            ("http", json!({"payload": null}), json!({}), json!({"payload": null, "method": "POST"}), json!({})),
            ("http", json!({}), json!({"a": 1}), json!({"method": "POST", "json": {"a": 1}}), json!({"a": 1})),
            ("python", json!({"code": "c"}), json!({}), json!({"code": "c"}), json!({"data": {"r": 1}, "result": {"r": 1}, "this": {"r": 1}})),
            ("python", json!({"data": [1]}), json!({}), json!({}), json!({"data": [1]})),
            ("python", json!({"data": [1]}), json!({"data": 2}), json!({}), json!({"data": 2})),
            ("python", json!({}), json!({"a": 1}), json!({}), json!({"a": 1})),
            ("s3", json!({"key": "k"}), json!({}), json!({"key": "k", "data": {"r": 1}}), json!({})),
            ("postgres", json!({"table": "t"}), json!({}), json!({"table": "t", "data": {"r": 1}}), json!({})),
            ("file", json!({"path": "p"}), json!({}), json!({"path": "p", "data": {"r": 1}}), json!({})),
            ("postgres", json!({"statement": "s"}), json!({}), json!({"statement": "s"}), json!({})),
        ];
        for (kind, config, args, filled, given) in cases {
            let name = format!("{kind} {config} {args}");
            let (Value::Object(mut config), Value::Object(mut args)) = (config, args) else {
                panic!("maps")
            };
            complete(kind, &mut config, &mut args, json!({"r": 1}));
            assert_eq!((Value::Object(config), Value::Object(args)), (filled, given), "{name}");
        }
    }
}
