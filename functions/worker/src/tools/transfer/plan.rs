//! What a transfer is told: two sides, a mapping, a chunk.

use engine_core::limits::{
    TRANSFER_CHUNK_ROWS_DEFAULT, TRANSFER_CHUNK_ROWS_DUCKDB, TRANSFER_CHUNK_ROWS_MAX,
};
use serde_json::{Map, Value};

use super::mapping::Mapping;
use crate::tool::ToolError;

/// Keys of the target that may stand beside `source` and `target` as well.
const OF_TARGET: [&str; 7] =
    ["mode", "key", "keys", "create", "atomic", "table", "conflict_columns"];

/// What can stand at either side.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Kind {
    Http,
    Postgres,
    DuckDb,
    Sqlite,
    S3,
    File,
}

impl Kind {
    /// The name in playbooks.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Postgres => "postgres",
            Self::DuckDb => "duckdb",
            Self::Sqlite => "sqlite",
            Self::S3 => "s3",
            Self::File => "file",
        }
    }

    fn of(name: &str) -> Option<Self> {
        match name {
            "http" | "https" | "api" | "rest" => Some(Self::Http),
            "postgres" | "postgresql" | "pg" => Some(Self::Postgres),
            "duckdb" => Some(Self::DuckDb),
            "sqlite" => Some(Self::Sqlite),
            "s3" => Some(Self::S3),
            "file" => Some(Self::File),
            _ => None,
        }
    }
}

/// One side: where rows come from, or where they go.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Side {
    pub(super) kind: Kind,
    pub(super) config: Map<String, Value>,
}

impl Side {
    /// The side that stands under `key`.
    fn of(config: &Map<String, Value>, key: &str) -> Result<Self, ToolError> {
        let side = match config.get(key) {
            Some(Value::Object(side)) if !side.is_empty() => side,
            Some(other) if !other.is_null() => {
                return Err(ToolError::input(format!(
                    "`{key}` is a map such as `{{type: postgres, auth: NAME, ...}}`, not `{other}`"
                )));
            }
            _ => {
                return Err(ToolError::input(format!(
                    "`transfer` needs `{key}`: a map with `type` (http, postgres, duckdb, sqlite, s3, \
                     file) and what that type needs"
                )));
            }
        };
        let named = ["type", "tool", "kind"].iter().find_map(|key| side.get(*key)?.as_str());
        let Some(name) = named.map(|name| name.trim().to_ascii_lowercase()) else {
            return Err(ToolError::input(format!("`{key}` needs `type`: {KNOWN}")));
        };
        let Some(kind) = Kind::of(&name) else {
            return Err(ToolError::input(format!(
                "`{key}.type: {name}` is not known to `transfer`; there is {KNOWN}"
            )));
        };
        Ok(Self { kind, config: side.clone() })
    }

    /// The text of a key; none if it is missing or blank.
    pub(super) fn text(&self, key: &str) -> Option<&str> {
        self.config.get(key).and_then(Value::as_str).filter(|text| !text.trim().is_empty())
    }

    /// A switch, also as the text `true` or `false`.
    pub(super) fn flag(&self, key: &str) -> bool {
        match self.config.get(key) {
            Some(Value::Bool(flag)) => *flag,
            Some(Value::String(text)) => text.trim().eq_ignore_ascii_case("true"),
            _ => false,
        }
    }
}

const KNOWN: &str = "http, postgres, duckdb, sqlite, s3, file";

/// What a transfer does.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Plan {
    pub(super) source: Side,
    pub(super) target: Side,
    pub(super) mapping: Mapping,
    /// Rows of one chunk.
    pub(super) chunk_rows: usize,
}

impl Plan {
    /// Reads the configuration of a call.
    pub(super) fn of(config: &Map<String, Value>) -> Result<Self, ToolError> {
        let source = Side::of(config, "source")?;
        let mut target = Side::of(config, "target")?;
        for key in OF_TARGET {
            if let Some(value) = config.get(key).filter(|value| !value.is_null()) {
                target.config.entry(key).or_insert_with(|| value.clone());
            }
        }
        let mapping = target.config.shift_remove("mapping");
        let mapping = mapping.filter(|mapping| !mapping.is_null());
        let mapping = Mapping::of(mapping.as_ref().or_else(|| config.get("mapping")))?;
        Ok(Self { mapping, chunk_rows: chunk_rows(config, target.kind)?, source, target })
    }
}

fn chunk_rows(config: &Map<String, Value>, target: Kind) -> Result<usize, ToolError> {
    let given = ["chunk_size", "chunksize", "batch_size"].iter().find_map(|key| config.get(*key));
    let number = match given {
        None | Some(Value::Null) if target == Kind::DuckDb => {
            return Ok(TRANSFER_CHUNK_ROWS_DUCKDB);
        }
        None | Some(Value::Null) => return Ok(TRANSFER_CHUNK_ROWS_DEFAULT),
        Some(Value::String(text)) => text.trim().parse().ok(),
        Some(value) => value.as_u64().and_then(|number| usize::try_from(number).ok()),
    };
    number.filter(|number| (1..=TRANSFER_CHUNK_ROWS_MAX).contains(number)).ok_or_else(|| {
        ToolError::input(format!(
            "`chunk_size: {}` is no number of rows from 1 to {TRANSFER_CHUNK_ROWS_MAX}; a chunk is \
             held in memory and written by one statement",
            given.unwrap_or(&Value::Null)
        ))
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn plan(config: Value) -> Result<Plan, ToolError> {
        let Value::Object(config) = config else { panic!("a map") };
        Plan::of(&config)
    }

    #[test]
    fn sides_are_named_by_type_tool_or_kind() {
        for key in ["type", "tool", "kind"] {
            let plan = plan(json!({
                "source": {key: "http", "url": "u"}, "target": {key: "PostgreSQL", "table": "t"}
            }));
            let plan = plan.unwrap();
            assert_eq!((plan.source.kind, plan.target.kind), (Kind::Http, Kind::Postgres));
            assert_eq!(plan.chunk_rows, 1_000);
        }
    }

    #[test]
    fn mode_keys_and_mapping_may_stand_at_either_place() {
        for config in [
            json!({"source": {"type": "file"}, "target": {"type": "s3", "mode": "upsert", "keys": ["a"], "mapping": {"a": "b"}}}),
            json!({"source": {"type": "file"}, "target": {"type": "s3"}, "mode": "upsert", "keys": ["a"], "mapping": {"a": "b"}}),
            json!({"source": {"type": "file"}, "target": {"type": "s3", "mode": "upsert", "mapping": null}, "mode": "append", "keys": ["a"], "mapping": {"a": "b"}}),
        ] {
            let plan = plan(config).unwrap();
            assert_eq!(
                (&plan.target.config["mode"], &plan.target.config["keys"]),
                (&json!("upsert"), &json!(["a"]))
            );
            assert_eq!(plan.mapping.source_of("a"), "b");
        }
    }

    #[test]
    fn what_is_missing_or_wrong_is_named() {
        let (source, target) = (json!({"type": "http"}), json!({"type": "postgres"}));
        #[rustfmt::skip]
        let cases = [
            (json!({}), "`transfer` needs `source`"),
            (json!({"source": source}), "`transfer` needs `target`"),
            (json!({"source": "http", "target": target}), "`source` is a map"),
            (json!({"source": {"url": "u"}, "target": target}), "`source` needs `type`"),
            (json!({"source": {"type": "snowflake"}, "target": target}), "`source.type: snowflake` is not known"),
            (json!({"source": source, "target": target, "chunk_size": 0}), "`chunk_size: 0`"),
            (json!({"source": source, "target": target, "chunk_size": 10_001}), "from 1 to 10000"),
            (json!({"source": source, "target": target, "chunk_size": "many"}), "`chunk_size: \"many\"`"),
            (json!({"source": source, "target": target, "chunk_size": -1}), "`chunk_size: -1`"),
            (json!({"source": source, "target": target, "mapping": []}), "`mapping` is a map"),
        ];
        for (config, expect) in cases {
            let error = plan(config).unwrap_err();
            assert!(error.message().contains(expect), "{error}");
        }
        let target = json!({"type": "duckdb", "table": "t"});
        let chunk = json!({"source": source, "target": target});
        assert_eq!(plan(chunk).unwrap().chunk_rows, 2_048, "whole vectors");
        let chunk = json!({"source": source, "target": target, "chunk_size": "10000"});
        assert_eq!(plan(chunk).unwrap().chunk_rows, 10_000);
    }
}
