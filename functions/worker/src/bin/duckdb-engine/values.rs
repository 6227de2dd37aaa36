//! DuckDB's values as JSON, and JSON as DuckDB's values; nothing is rounded.
//!
//! | type | JSON |
//! |---|---|
//! | integers, decimals | a number if JSON's readers keep it exactly, else text |
//! | `FLOAT`, `DOUBLE` | a number, or `NaN`, `Infinity`, `-Infinity` as text |
//! | dates, times, timestamps | ISO 8601, with `+00:00` if they are of a time zone |
//! | `INTERVAL` | text, as DuckDB writes it |
//! | `BLOB` | `\x` and hexadecimal digits |
//! | `LIST`, `ARRAY`, `STRUCT`, `MAP`, `UNION` | a list, a map, or the value |
//! | `JSON` | what it holds |
//! | `UUID`, `ENUM`, and everything else | text |

mod times;

use duckdb::arrow::array::{Array, ArrayRef, AsArray as _, IntervalMonthDayNanoArray, UnionArray};
use duckdb::arrow::datatypes::{
    ArrowDictionaryKeyType, DataType, Date32Type, Decimal32Type, Decimal64Type, Decimal128Type,
    Float32Type, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type, IntervalUnit,
    Time64MicrosecondType, TimeUnit, TimestampMicrosecondType, TimestampMillisecondType,
    TimestampNanosecondType, TimestampSecondType, UInt8Type, UInt16Type, UInt32Type, UInt64Type,
};
use duckdb::arrow::util::display::array_value_to_string;
use duckdb::core::{LogicalTypeHandle, LogicalTypeId};
use duckdb::types::Value as Native;
use serde_json::{Map, Value};

/// Levels of lists and structs that become JSON; below, it is text.
const DEPTH_MAX: usize = 64;

/// Whether a type's values arrive whole; others must be asked for as text.
pub(crate) fn is_native(of_type: &LogicalTypeHandle) -> bool {
    use LogicalTypeId as Id;
    match of_type.try_id() {
        Ok(Id::List | Id::Array | Id::Struct | Id::Map | Id::Union) => {
            (0..of_type.num_children()).all(|index| is_native(&of_type.child(index)))
        }
        Ok(
            Id::Boolean
            | Id::Tinyint
            | Id::Smallint
            | Id::Integer
            | Id::Bigint
            | Id::UTinyint
            | Id::USmallint
            | Id::UInteger
            | Id::UBigint
            | Id::Float
            | Id::Double
            | Id::Timestamp
            | Id::Date
            | Id::Time
            | Id::Interval
            | Id::Hugeint
            | Id::Varchar
            | Id::Blob
            | Id::Decimal
            | Id::TimestampS
            | Id::TimestampMs
            | Id::TimestampNs
            | Id::Enum
            | Id::Uuid
            | Id::TimestampTZ
            | Id::SqlNull,
        ) => true,
        _ => false,
    }
}

/// JSON as a value that is bound; lists and maps are JSON text.
pub(crate) fn to_duckdb(value: &Value) -> Native {
    match value {
        Value::Null => Native::Null,
        Value::Bool(flag) => Native::Boolean(*flag),
        Value::Number(number) => match (number.as_i64(), number.as_u64()) {
            (Some(integer), _) => Native::BigInt(integer),
            (_, Some(integer)) => Native::UBigInt(integer),
            _ => number.as_f64().map_or_else(|| Native::Text(number.to_string()), Native::Double),
        },
        Value::String(text) => Native::Text(text.clone()),
        Value::Array(_) | Value::Object(_) => Native::Text(value.to_string()),
    }
}

/// About how many bytes a value has as JSON.
pub(crate) fn weight(value: &Value) -> usize {
    match value {
        Value::String(text) => text.len() + 3,
        Value::Array(items) => 2 + items.iter().map(weight).sum::<usize>(),
        Value::Object(fields) => {
            2 + fields.iter().map(|(key, value)| key.len() + 4 + weight(value)).sum::<usize>()
        }
        _ => 8,
    }
}

/// One value of a column.
pub(crate) fn to_json(column: &ArrayRef, row: usize, depth: usize) -> Value {
    if column.is_null(row) {
        return Value::Null;
    }
    if depth > DEPTH_MAX {
        return as_text(column, row);
    }
    scalar(column, row)
        .or_else(|| timed(column, row))
        .or_else(|| nested(column, row, depth))
        .unwrap_or_else(|| as_text(column, row))
}

/// The value of a JSON text; the text itself if it is too deep for readers of JSON.
pub(crate) fn parsed(value: Value) -> Value {
    let Value::String(text) = &value else { return value };
    match serde_json::from_str(text) {
        Ok(inner) if depth(&inner) <= DEPTH_MAX => inner,
        _ => value,
    }
}

fn depth(value: &Value) -> usize {
    match value {
        Value::Array(items) => 1 + items.iter().map(depth).max().unwrap_or(0),
        Value::Object(fields) => 1 + fields.values().map(depth).max().unwrap_or(0),
        _ => 0,
    }
}

fn scalar(column: &ArrayRef, row: usize) -> Option<Value> {
    Some(match column.data_type() {
        DataType::Boolean => column.as_boolean().value(row).into(),
        DataType::Int8 => column.as_primitive::<Int8Type>().value(row).into(),
        DataType::Int16 => column.as_primitive::<Int16Type>().value(row).into(),
        DataType::Int32 => column.as_primitive::<Int32Type>().value(row).into(),
        DataType::Int64 => column.as_primitive::<Int64Type>().value(row).into(),
        DataType::UInt8 => column.as_primitive::<UInt8Type>().value(row).into(),
        DataType::UInt16 => column.as_primitive::<UInt16Type>().value(row).into(),
        DataType::UInt32 => column.as_primitive::<UInt32Type>().value(row).into(),
        DataType::UInt64 => column.as_primitive::<UInt64Type>().value(row).into(),
        DataType::Float32 => float32(column.as_primitive::<Float32Type>().value(row)),
        DataType::Float64 => float64(column.as_primitive::<Float64Type>().value(row)),
        DataType::Decimal32(_, scale) => {
            decimal(column.as_primitive::<Decimal32Type>().value(row).into(), *scale)
        }
        DataType::Decimal64(_, scale) => {
            decimal(column.as_primitive::<Decimal64Type>().value(row).into(), *scale)
        }
        DataType::Decimal128(_, scale) => {
            decimal(column.as_primitive::<Decimal128Type>().value(row), *scale)
        }
        DataType::Utf8 => column.as_string::<i32>().value(row).into(),
        DataType::LargeUtf8 => column.as_string::<i64>().value(row).into(),
        DataType::Utf8View => column.as_string_view().value(row).into(),
        DataType::Binary => hex(column.as_binary::<i32>().value(row)),
        DataType::LargeBinary => hex(column.as_binary::<i64>().value(row)),
        DataType::FixedSizeBinary(_) => hex(column.as_fixed_size_binary().value(row)),
        _ => return None,
    })
}

fn timed(column: &ArrayRef, row: usize) -> Option<Value> {
    let text = match column.data_type() {
        DataType::Date32 => times::date(column.as_primitive::<Date32Type>().value(row)),
        DataType::Time64(TimeUnit::Microsecond) => {
            times::time(column.as_primitive::<Time64MicrosecondType>().value(row), 6)
        }
        DataType::Timestamp(unit, zone) => {
            let (ticks, digits) = match unit {
                TimeUnit::Second => (column.as_primitive::<TimestampSecondType>().value(row), 0),
                TimeUnit::Millisecond => {
                    (column.as_primitive::<TimestampMillisecondType>().value(row), 3)
                }
                TimeUnit::Microsecond => {
                    (column.as_primitive::<TimestampMicrosecondType>().value(row), 6)
                }
                TimeUnit::Nanosecond => {
                    (column.as_primitive::<TimestampNanosecondType>().value(row), 9)
                }
            };
            times::timestamp(ticks, digits, zone.is_some())
        }
        DataType::Interval(IntervalUnit::MonthDayNano) => {
            let value = column.as_any().downcast_ref::<IntervalMonthDayNanoArray>()?.value(row);
            times::interval(value.months, value.days, value.nanoseconds)
        }
        _ => return None,
    };
    Some(text.into())
}

fn nested(column: &ArrayRef, row: usize, depth: usize) -> Option<Value> {
    Some(match column.data_type() {
        DataType::List(_) => list(&column.as_list::<i32>().value(row), depth),
        DataType::LargeList(_) => list(&column.as_list::<i64>().value(row), depth),
        DataType::FixedSizeList(..) => list(&column.as_fixed_size_list().value(row), depth),
        DataType::Struct(fields) => {
            let structs = column.as_struct();
            let pairs = fields.iter().zip(structs.columns());
            let pairs =
                pairs.map(|(field, inner)| (field.name().clone(), to_json(inner, row, depth + 1)));
            Value::Object(pairs.collect())
        }
        DataType::Map(..) => {
            let entries = column.as_map().value(row);
            let (keys, values) = (entries.column(0), entries.column(1));
            let pairs = (0..entries.len()).map(|index| {
                let key = match to_json(keys, index, depth + 1) {
                    Value::String(text) => text,
                    other => other.to_string(),
                };
                (key, to_json(values, index, depth + 1))
            });
            Value::Object(pairs.collect::<Map<_, _>>())
        }
        DataType::Union(..) => {
            let union = column.as_any().downcast_ref::<UnionArray>()?;
            to_json(&union.value(row), 0, depth + 1)
        }
        DataType::Dictionary(key, _) => match key.as_ref() {
            DataType::UInt8 => entry::<UInt8Type>(column, row, depth)?,
            DataType::UInt16 => entry::<UInt16Type>(column, row, depth)?,
            DataType::UInt32 => entry::<UInt32Type>(column, row, depth)?,
            _ => return None,
        },
        _ => return None,
    })
}

fn entry<K: ArrowDictionaryKeyType>(column: &ArrayRef, row: usize, depth: usize) -> Option<Value> {
    let dictionary = column.as_dictionary_opt::<K>()?;
    Some(to_json(dictionary.values(), dictionary.key(row)?, depth + 1))
}

fn list(items: &ArrayRef, depth: usize) -> Value {
    Value::Array((0..items.len()).map(|index| to_json(items, index, depth + 1)).collect())
}

fn as_text(column: &ArrayRef, row: usize) -> Value {
    match array_value_to_string(column, row) {
        Ok(text) => text.into(),
        Err(error) => format!("a value that is not shown: {error}").into(),
    }
}

/// The shortest text of a `FLOAT` is what people wrote; widened, it would have grown digits.
fn float32(value: f32) -> Value {
    value.to_string().parse().map_or(Value::Null, float64)
}

fn float64(value: f64) -> Value {
    if value.is_finite() {
        return value.into();
    }
    let text = if value.is_nan() { "NaN" } else { "Infinity" };
    if value < 0.0 { format!("-{text}").into() } else { text.into() }
}

/// An integer scaled by a power of ten.
fn decimal(unscaled: i128, scale: i8) -> Value {
    let scale = usize::try_from(scale).unwrap_or(0);
    let text = if scale == 0 {
        unscaled.to_string()
    } else {
        let digits = format!("{:0>width$}", unscaled.unsigned_abs(), width = scale + 1);
        let (whole, part) = digits.split_at(digits.len() - scale);
        format!("{}{whole}.{part}", if unscaled < 0 { "-" } else { "" })
    };
    exact(&text)
}

/// A number if it can be one without loss.
fn exact(text: &str) -> Value {
    if let Ok(integer) = text.parse::<i64>() {
        return integer.into();
    }
    if let Ok(integer) = text.parse::<u64>() {
        return integer.into();
    }
    let short =
        if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.') } else { text };
    if let Ok(integer) = short.parse::<i64>() {
        return integer.into();
    }
    match text.parse::<f64>() {
        Ok(number) if short.contains('.') && number.to_string() == short => number.into(),
        _ => text.into(),
    }
}

fn hex(bytes: &[u8]) -> Value {
    use std::fmt::Write as _;
    let mut text = String::with_capacity(2 + bytes.len() * 2);
    text.push_str("\\x");
    for byte in bytes {
        // Writing to a text does not fail.
        let _ = write!(text, "{byte:02x}");
    }
    text.into()
}
