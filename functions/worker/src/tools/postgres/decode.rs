//! What the server sends, as JSON.
//!
//! Whole numbers up to 64 bits and booleans are what they are. `numeric` is a number if that number says
//! exactly the same, else text; so is `float` (`NaN` is text). Times are ISO 8601, `timestamptz` in UTC.
//! `bytea` is `\x` and digits. `json` is itself, arrays are lists. Everything else is `PostgreSQL`'s own
//! text: the statement is asked for it, as [`is_known`] says.

use std::fmt::Write as _;

use serde_json::{Number, Value};
use tokio_postgres::types::{FromSql, Kind, Type};

use super::time;

/// A value of a known type.
pub(super) struct Decoded(pub(super) Value);

impl<'a> FromSql<'a> for Decoded {
    fn from_sql(
        ty: &Type,
        raw: &'a [u8],
    ) -> Result<Self, Box<dyn std::error::Error + Sync + Send>> {
        decode(ty, raw)
            .map(Self)
            .ok_or_else(|| format!("a value of the type `{ty}` has no form that is known").into())
    }

    fn from_sql_null(_: &Type) -> Result<Self, Box<dyn std::error::Error + Sync + Send>> {
        Ok(Self(Value::Null))
    }

    fn accepts(ty: &Type) -> bool {
        is_known(ty)
    }
}

/// Whether values of a type are read as they are sent; others must be cast to text.
pub(super) fn is_known(ty: &Type) -> bool {
    match ty.kind() {
        Kind::Enum(_) => true,
        Kind::Array(inner) | Kind::Domain(inner) => is_known(inner),
        Kind::Simple | Kind::Pseudo => [
            Type::BOOL,
            Type::INT2,
            Type::INT4,
            Type::INT8,
            Type::OID,
            Type::FLOAT4,
            Type::FLOAT8,
            Type::NUMERIC,
            Type::TEXT,
            Type::VARCHAR,
            Type::BPCHAR,
            Type::NAME,
            Type::UNKNOWN,
            Type::UUID,
            Type::BYTEA,
            Type::JSON,
            Type::JSONB,
            Type::DATE,
            Type::TIME,
            Type::TIMESTAMP,
            Type::TIMESTAMPTZ,
            Type::VOID,
        ]
        .contains(ty),
        _ => false,
    }
}

fn decode(ty: &Type, raw: &[u8]) -> Option<Value> {
    match ty.kind() {
        Kind::Array(inner) => return Reader(raw).array(inner),
        Kind::Domain(inner) => return decode(inner, raw),
        _ => {}
    }
    let value = match *ty {
        Type::BOOL => Value::Bool(*raw.first()? != 0),
        Type::INT2 => i16::from_be_bytes(raw.try_into().ok()?).into(),
        Type::INT4 => i32::from_be_bytes(raw.try_into().ok()?).into(),
        Type::INT8 => i64::from_be_bytes(raw.try_into().ok()?).into(),
        Type::OID => u32::from_be_bytes(raw.try_into().ok()?).into(),
        // By its shortest text: 0.1 stays 0.1.
        Type::FLOAT4 => float(f32::from_be_bytes(raw.try_into().ok()?).to_string().parse().ok()?),
        Type::FLOAT8 => float(f64::from_be_bytes(raw.try_into().ok()?)),
        Type::NUMERIC => exact(&numeric(raw)?),
        Type::UUID => uuid::Uuid::from_slice(raw).ok()?.to_string().into(),
        Type::BYTEA => hex(raw).into(),
        Type::JSON => json(raw),
        Type::JSONB => json(raw.get(1..)?),
        Type::DATE => time::date(i32::from_be_bytes(raw.try_into().ok()?)).into(),
        Type::TIME => time::time(i64::from_be_bytes(raw.try_into().ok()?)).into(),
        Type::TIMESTAMP => time::timestamp(i64::from_be_bytes(raw.try_into().ok()?), "").into(),
        Type::TIMESTAMPTZ => {
            time::timestamp(i64::from_be_bytes(raw.try_into().ok()?), "+00:00").into()
        }
        Type::VOID => Value::Null,
        _ => text(raw).into(),
    };
    Some(value)
}

/// The database's encoding may not promise UTF-8.
fn text(raw: &[u8]) -> String {
    String::from_utf8_lossy(raw).into_owned()
}

/// JSON that is nested too deep for a value stays text.
fn json(raw: &[u8]) -> Value {
    serde_json::from_slice(raw).unwrap_or_else(|_too_deep| text(raw).into())
}

fn float(value: f64) -> Value {
    match Number::from_f64(value) {
        Some(number) => Value::Number(number),
        None if value.is_nan() => "NaN".into(),
        None if value > 0.0 => "Infinity".into(),
        None => "-Infinity".into(),
    }
}

fn hex(raw: &[u8]) -> String {
    raw.iter().fold(String::from("\\x"), |mut text, byte| {
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// A decimal number as a JSON number if nothing is lost, else as text.
pub(super) fn exact(text: &str) -> Value {
    if let Ok(whole) = text.parse::<i64>() {
        return whole.into();
    }
    if let Ok(whole) = text.parse::<u64>() {
        return whole.into();
    }
    let kept = text.contains('.').then(|| text.trim_end_matches('0').trim_end_matches('.'));
    match text.parse::<f64>().ok().and_then(Number::from_f64) {
        Some(number) if number.as_f64().map(|float| float.to_string()).as_deref() == kept => {
            Value::Number(number)
        }
        _ => text.into(),
    }
}

/// Digits to the base 10,000, their weight, a sign, and how many decimals are shown.
fn numeric(raw: &[u8]) -> Option<String> {
    let mut reader = Reader(raw);
    let digits = usize::try_from(reader.i16()?).ok()?;
    let weight = reader.i16()?;
    let sign = reader.u16()?;
    let scale = usize::from(reader.u16()?);
    match sign {
        0xc000 => return Some("NaN".to_owned()),
        0xd000 => return Some("Infinity".to_owned()),
        0xf000 => return Some("-Infinity".to_owned()),
        _ => {}
    }
    let digits: Vec<i16> = (0..digits).map(|_| reader.i16()).collect::<Option<_>>()?;
    let digit = |place: i32| -> i16 {
        let index = usize::try_from(i32::from(weight) - place).ok();
        index.and_then(|index| digits.get(index)).copied().unwrap_or(0)
    };
    let mut text = String::new();
    let mut first = true;
    for place in (0..=i32::from(weight.max(0))).rev() {
        let group = digit(place);
        let digits = if first { group.to_string() } else { format!("{group:04}") };
        text.push_str(&digits);
        first = false;
    }
    if scale > 0 {
        let groups = i32::try_from(scale.div_ceil(4)).ok()?;
        let decimals = (1..=groups).fold(String::new(), |mut decimals, place| {
            // Writing to a String cannot fail.
            let _ = write!(decimals, "{:04}", digit(-place));
            decimals
        });
        text.push('.');
        text.push_str(decimals.get(..scale)?);
    }
    let sign = if sign == 0x4000 { "-" } else { "" };
    Some(format!("{sign}{text}"))
}

/// Reads from the front, and never beyond the end.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, len: usize) -> Option<&'a [u8]> {
        let (front, rest) = self.0.split_at_checked(len)?;
        self.0 = rest;
        Some(front)
    }

    fn i16(&mut self) -> Option<i16> {
        Some(i16::from_be_bytes(self.take(2)?.try_into().ok()?))
    }

    fn u16(&mut self) -> Option<u16> {
        Some(u16::from_be_bytes(self.take(2)?.try_into().ok()?))
    }

    fn i32(&mut self) -> Option<i32> {
        Some(i32::from_be_bytes(self.take(4)?.try_into().ok()?))
    }

    /// Dimensions, then elements: lists in lists.
    fn array(&mut self, inner: &Type) -> Option<Value> {
        let dimensions = self.i32()?;
        self.take(8)?;
        let mut sizes = Vec::new();
        for _ in 0..dimensions {
            sizes.push(usize::try_from(self.i32()?).ok()?);
            self.take(4)?;
        }
        if sizes.is_empty() { Some(Value::Array(Vec::new())) } else { self.list(&sizes, inner) }
    }

    fn list(&mut self, sizes: &[usize], inner: &Type) -> Option<Value> {
        let Some((size, deeper)) = sizes.split_first() else {
            let len = self.i32()?;
            return match usize::try_from(len) {
                Ok(len) => decode(inner, self.take(len)?),
                Err(_null) => Some(Value::Null),
            };
        };
        (0..*size).map(|_| self.list(deeper, inner)).collect::<Option<_>>().map(Value::Array)
    }
}

/// A value that came as text; only where a server cannot send it in another form.
pub(super) fn from_text(ty: &Type, text: &str) -> Value {
    match *ty {
        Type::BOOL => Value::Bool(text == "t"),
        Type::INT2 | Type::INT4 | Type::INT8 | Type::OID | Type::NUMERIC => exact(text),
        Type::FLOAT4 | Type::FLOAT8 => text.parse().map_or_else(|_bad| text.into(), float),
        Type::JSON | Type::JSONB => json(text.as_bytes()),
        Type::VOID => Value::Null,
        _ => text.into(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_decimal_is_a_number_only_if_nothing_is_lost() {
        #[rustfmt::skip]
        let cases = [
            ("0", json!(0)), ("-12", json!(-12)), ("18446744073709551615", json!(u64::MAX)), ("18446744073709551616", json!("18446744073709551616")),
            ("0.1", json!(0.1)), ("12.50", json!(12.5)), ("5.00", json!(5.0)), ("-0.5", json!(-0.5)), ("0.30000000000000004", json!(0.300_000_000_000_000_04)),
            ("1234567890.123456789012", json!("1234567890.123456789012")), ("0.1000000000000000055", json!("0.1000000000000000055")), ("NaN", json!("NaN")),
        ];
        for (text, expect) in cases {
            assert_eq!(exact(text), expect, "{text}");
        }
    }

    #[test]
    fn broken_bytes_are_no_value_and_no_panic() {
        let arrays = [Type::INT4_ARRAY, Type::TEXT_ARRAY, Type::NUMERIC, Type::JSONB, Type::UUID];
        for ty in arrays {
            for len in 0..40 {
                for byte in [0, 1, 0x7f, 0xff] {
                    let _ = decode(&ty, &vec![byte; len]);
                }
            }
        }
        assert_eq!(decode(&Type::INT4, &[1]), None);
    }
}
