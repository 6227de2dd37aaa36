//! The columns of a table that is created from rows.

use serde_json::Value;

use super::Row;

/// What a column holds, as far as JSON tells.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum ColumnType {
    Boolean,
    /// Whole numbers of 64 bits.
    Integer,
    /// Numbers of 64 bits with a fraction.
    Float,
    /// Numbers beyond 64 bits with a sign.
    Big,
    /// Texts, and what is mixed or always null.
    Text,
    /// Lists and maps.
    Json,
}

/// Every column of the rows, in the order of their first use, with the type that holds all its values.
pub(crate) fn of(rows: &[Row]) -> Vec<(String, ColumnType)> {
    let mut found: serde_json::Map<String, Value> = serde_json::Map::new();
    let mut types: Vec<Option<ColumnType>> = Vec::new();
    for (name, value) in rows.iter().flatten() {
        let index = if let Some(index) = found.get(name).and_then(Value::as_u64) {
            usize::try_from(index).unwrap_or(usize::MAX)
        } else {
            found.insert(name.clone(), Value::from(types.len()));
            types.push(None);
            types.len() - 1
        };
        if let (Some(slot), Some(new)) = (types.get_mut(index), of_value(value)) {
            *slot = Some(slot.map_or(new, |old| common(old, new)));
        }
    }
    let names = found.into_iter().map(|(name, _)| name);
    names.zip(types.into_iter().map(|kind| kind.unwrap_or(ColumnType::Text))).collect()
}

fn of_value(value: &Value) -> Option<ColumnType> {
    match value {
        Value::Null => None,
        Value::Bool(_) => Some(ColumnType::Boolean),
        Value::Number(number) if number.is_i64() => Some(ColumnType::Integer),
        Value::Number(number) if number.is_u64() => Some(ColumnType::Big),
        Value::Number(_) => Some(ColumnType::Float),
        Value::String(_) => Some(ColumnType::Text),
        Value::Array(_) | Value::Object(_) => Some(ColumnType::Json),
    }
}

fn common(old: ColumnType, new: ColumnType) -> ColumnType {
    use ColumnType::{Big, Float, Integer, Json, Text};
    match (old, new) {
        (old, new) if old == new => old,
        (Integer, Float) | (Float, Integer) => Float,
        (Integer | Big | Float, Integer | Big | Float) => Big,
        (Json, _) | (_, Json) => Json,
        _ => Text,
    }
}
