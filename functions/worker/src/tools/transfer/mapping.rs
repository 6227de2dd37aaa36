//! Which field of a source row fills which column of the target.

use engine_core::limits::TRANSFER_NAMES_SHOWN;
use serde_json::{Map, Value};

use super::Row;
use crate::tool::ToolError;

/// `mapping: {column: path}`; nothing changes where it is empty.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Mapping(Vec<Column>);

#[derive(Clone, Debug, PartialEq)]
struct Column {
    name: String,
    path: String,
    /// What a row without the field gets; a field that no row has is a mistake where this is not given.
    default: Option<Value>,
}

impl Mapping {
    /// Reads `{column: "dotted.field"}` or `{column: {from: "dotted.field", default: 0}}`.
    pub(super) fn of(given: Option<&Value>) -> Result<Self, ToolError> {
        let fields = match given {
            None | Some(Value::Null) => return Ok(Self::default()),
            Some(Value::Object(fields)) => fields,
            Some(other) => return Err(not_a_mapping(other)),
        };
        fields.iter().map(|(name, from)| Column::of(name, from)).collect::<Result<_, _>>().map(Self)
    }

    /// The target's columns with the types of the source; empty where one of them is not known.
    pub(super) fn typed(&self, source: &[super::query::Column]) -> Vec<super::query::Column> {
        if self.0.is_empty() {
            return source.to_vec();
        }
        let typed = |column: &Column| {
            let found = source.iter().find(|other| other.name == column.path)?;
            let of_type = found.of_type.clone();
            Some(super::query::Column { name: column.name.clone(), of_type })
        };
        self.0.iter().map(typed).collect::<Option<_>>().unwrap_or_default()
    }

    /// The path of the source that fills a column.
    pub(super) fn source_of<'a>(&'a self, name: &'a str) -> &'a str {
        self.0.iter().find(|column| column.name == name).map_or(name, |column| &column.path)
    }

    /// Source rows as target rows.
    pub(super) fn apply(&self, rows: Vec<Row>) -> Vec<Row> {
        if self.0.is_empty() {
            return rows;
        }
        let row = |row: Row| {
            let value = |column: &Column| {
                let found = find(&row, &column.path).or(column.default.as_ref());
                (column.name.clone(), found.cloned().unwrap_or_default())
            };
            self.0.iter().map(value).collect()
        };
        rows.into_iter().map(row).collect()
    }

    /// Refuses a path that no row has: it is a mistake, and the column would be null for good.
    pub(super) fn check(&self, rows: &[Row]) -> Result<(), ToolError> {
        let Some(first) = rows.first() else { return Ok(()) };
        let is_lost = |column: &&Column| {
            column.default.is_none() && rows.iter().all(|row| find(row, &column.path).is_none())
        };
        let Some(lost) = self.0.iter().find(is_lost) else { return Ok(()) };
        let names = first.keys().take(TRANSFER_NAMES_SHOWN).map(|name| format!("`{name}`"));
        Err(ToolError::input(format!(
            "`mapping.{column}: {path}`: none of the first {count} rows has `{path}`; the first row has \
             {names}; correct the path, or write `{column}: {{from: {path}, default: null}}` if it may be \
             missing",
            column = lost.name,
            path = lost.path,
            count = rows.len(),
            names = names.collect::<Vec<_>>().join(", "),
        )))
    }
}

impl Column {
    fn of(name: &str, from: &Value) -> Result<Self, ToolError> {
        let (path, default) = match from {
            Value::String(path) => (Some(path.as_str()), None),
            Value::Object(fields) => {
                let path =
                    ["from", "field", "source"].iter().find_map(|key| fields.get(*key)?.as_str());
                (path, fields.get("default").cloned())
            }
            _ => (None, None),
        };
        let path = path.map(|path| path.strip_prefix("$.").unwrap_or(path).trim());
        let Some(path) = path.filter(|path| !path.is_empty()) else {
            return Err(not_a_mapping(&Value::Object(Map::from_iter([(
                name.to_owned(),
                from.clone(),
            )]))));
        };
        Ok(Self { name: name.to_owned(), path: path.to_owned(), default })
    }
}

/// A value by its dotted path; a key that has dots itself wins, numbers index lists.
fn find<'a>(row: &'a Row, path: &str) -> Option<&'a Value> {
    if let Some(value) = row.get(path) {
        return Some(value);
    }
    let mut parts = path.split('.');
    let mut value = row.get(parts.next()?)?;
    for part in parts {
        value = match value {
            Value::Object(fields) => fields.get(part)?,
            Value::Array(values) => values.get(part.parse::<usize>().ok()?)?,
            _ => return None,
        };
    }
    Some(value)
}

fn not_a_mapping(given: &Value) -> ToolError {
    ToolError::input(format!(
        "`mapping` is a map of target columns to source fields (`user_id: user.id`), not `{given}`"
    ))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn row(value: Value) -> Row {
        let Value::Object(row) = value else { panic!("a map") };
        row
    }

    #[test]
    fn a_mapping_finds_fields_by_their_path() {
        let source = row(
            json!({"id": 1, "user": {"name": "a", "tags": ["x", {"y": 2}]}, "a.b": 3, "n": null}),
        );
        #[rustfmt::skip]
        let cases = [
            ("id", json!(1)),
            ("user.name", json!("a")),
            ("$.user.name", json!("a")),
            ("user.tags.0", json!("x")),
            ("user.tags.1.y", json!(2)),
            ("a.b", json!(3)),
            ("user", json!({"name": "a", "tags": ["x", {"y": 2}]})),
            ("n", json!(null)),
            ("user.tags.9", json!(null)),
            ("id.x", json!(null)),
        ];
        for (path, expect) in cases {
            let mapping = Mapping::of(Some(&json!({"c": path}))).unwrap();
            assert_eq!(mapping.apply(vec![source.clone()]), [row(json!({"c": expect}))], "{path}");
        }
    }

    #[test]
    fn a_mapping_keeps_its_order_and_drops_what_it_does_not_name() {
        let mapping =
            Mapping::of(Some(&json!({"b": "x", "a": {"from": "y", "default": 7}}))).unwrap();
        let mapped = mapping.apply(vec![row(json!({"x": 1, "z": 2}))]);
        assert_eq!(serde_json::to_string(&mapped).unwrap(), r#"[{"b":1,"a":7}]"#);
        assert_eq!(mapping.source_of("b"), "x");
        let same = row(json!({"x": 1}));
        assert_eq!(Mapping::of(None).unwrap().apply(vec![same.clone()]), [same]);
    }

    #[test]
    fn a_path_that_no_row_has_is_an_error_that_names_what_there_is() {
        let rows = [row(json!({"userId": 1, "t": 1})), row(json!({"t": 2}))];
        for (mapping, error) in [
            (json!({"u": "userId"}), None),
            (json!({"u": {"from": "nope", "default": null}}), None),
            (json!({"u": "user_id"}), Some("the first row has `userId`, `t`")),
            (json!({"u": "t.x"}), Some("`mapping.u: t.x`")),
        ] {
            let checked = Mapping::of(Some(&mapping)).unwrap().check(&rows);
            match (checked, error) {
                (Ok(()), None) => {}
                (Err(found), Some(error)) => assert!(found.message().contains(error), "{found}"),
                (checked, _) => panic!("{mapping}: {checked:?}"),
            }
        }
        for bad in [json!([1]), json!({"a": 1}), json!({"a": {"default": 1}}), json!({"a": " "})] {
            let error = Mapping::of(Some(&bad)).unwrap_err();
            assert!(error.message().contains("`mapping` is a map of target columns"), "{error}");
        }
    }
}
