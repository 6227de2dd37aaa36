//! JSON values as parameters: sent as text, which the server reads by the type of their place.

use bytes::BytesMut;
use serde_json::Value;
use tokio_postgres::types::{Format, IsNull, Kind, ToSql, Type, to_sql_checked};

use crate::tool::{Reaction, ToolError};

/// A parameter's text; none is null.
pub(super) struct Text(Option<String>);

impl std::fmt::Debug for Text {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The driver logs parameters, and some are secrets.
        f.write_str("Text(..)")
    }
}

impl ToSql for Text {
    fn to_sql(
        &self,
        _: &Type,
        out: &mut BytesMut,
    ) -> Result<IsNull, Box<dyn std::error::Error + Sync + Send>> {
        let Some(text) = &self.0 else { return Ok(IsNull::Yes) };
        out.extend_from_slice(text.as_bytes());
        Ok(IsNull::No)
    }

    fn accepts(_: &Type) -> bool {
        true
    }

    fn encode_format(&self, _: &Type) -> Format {
        Format::Text
    }

    to_sql_checked!();
}

impl Text {
    /// A text as it is.
    pub(super) fn of(text: String) -> Self {
        Self(Some(text))
    }
}

/// The parameters of a statement whose places have these types.
///
/// # Errors
/// Too few values, or a text with NUL.
pub(super) fn encode(values: &[Value], types: &[Type]) -> Result<Vec<Text>, ToolError> {
    if values.len() < types.len() {
        return Err(ToolError::input(format!(
            "the statement uses `${}`, and `params` has {} values; give one for each number",
            types.len(),
            values.len()
        )));
    }
    let encoded = values.iter().zip(types).enumerate().map(|(index, (value, ty))| {
        let text = text(value, ty);
        if text.as_ref().is_some_and(|text| text.contains('\0')) {
            return Err(nul(&format!("the value for `${}`", index + 1)));
        }
        Ok(Text(text))
    });
    encoded.collect()
}

/// `PostgreSQL` has no place for that character.
pub(super) fn nul(what: &str) -> ToolError {
    ToolError::new(
        Reaction::Rejected,
        "DataError",
        format!(
            "{what} contains the character NUL, which PostgreSQL cannot store in a text; take it out, \
             or store the bytes as `bytea`"
        ),
    )
}

fn text(value: &Value, ty: &Type) -> Option<String> {
    if let Kind::Domain(inner) = ty.kind() {
        return text(value, inner);
    }
    let is_json = [Type::JSON, Type::JSONB].contains(ty);
    match (value, ty.kind()) {
        (Value::Null, _) => None,
        (value, _) if is_json => Some(json(value).to_string()),
        (Value::Array(items), Kind::Array(inner)) => Some(array(items, inner)),
        (Value::String(text), _) => Some(text.clone()),
        (Value::Number(_), _) if [Type::INT2, Type::INT4, Type::INT8].contains(ty) => {
            Some(whole(value).to_string())
        }
        (value, _) => Some(value.to_string()),
    }
}

/// What goes into a column of JSON: a text with a list or a map in it is that list or map.
pub(super) fn json(value: &Value) -> std::borrow::Cow<'_, Value> {
    use std::borrow::Cow;
    let Value::String(text) = value else { return Cow::Borrowed(value) };
    if !text.trim_start().starts_with(['{', '[']) {
        return Cow::Borrowed(value);
    }
    serde_json::from_str(text).map_or(Cow::Borrowed(value), Cow::Owned)
}

/// 3.0 as 3: code that calculates leaves such numbers.
pub(super) fn whole(value: &Value) -> Value {
    let float = value.as_f64().filter(|_| !value.is_i64() && !value.is_u64());
    let text = float.filter(|float| float.fract() == 0.0).map(|float| format!("{float:.0}"));
    text.and_then(|text| text.parse::<i64>().ok()).map_or_else(|| value.clone(), Value::from)
}

/// An array as `PostgreSQL` writes it, every element in quotes.
fn array(items: &[Value], inner: &Type) -> String {
    let element = |item: &Value| match item {
        Value::Array(items) if ![Type::JSON, Type::JSONB].contains(inner) => array(items, inner),
        item => text(item, inner).map_or_else(
            || "NULL".to_owned(),
            |text| format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\"")),
        ),
    };
    format!("{{{}}}", items.iter().map(element).collect::<Vec<_>>().join(","))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_value_is_written_as_its_place_reads_it() {
        #[rustfmt::skip]
        let cases = [
            (json!(null), Type::TEXT, None), (json!("it's"), Type::TEXT, Some("it's")), (json!(1.5), Type::NUMERIC, Some("1.5")),
            (json!(3.0), Type::INT4, Some("3")), (json!(3.5), Type::INT4, Some("3.5")), (json!(true), Type::BOOL, Some("true")),
            (json!({"a": 1}), Type::TEXT, Some("{\"a\":1}")), (json!([1, "x"]), Type::TEXT, Some("[1,\"x\"]")),
            (json!([1, null, 3.0]), Type::INT4_ARRAY, Some("{\"1\",NULL,\"3\"}")), (json!([["a\"b"], ["c\\d"]]), Type::TEXT_ARRAY, Some("{{\"a\\\"b\"},{\"c\\\\d\"}}")),
            (json!("{1,2}"), Type::INT4_ARRAY, Some("{1,2}")), (json!([]), Type::TEXT_ARRAY, Some("{}")),
            (json!("{\"a\": 1}"), Type::JSONB, Some("{\"a\":1}")), (json!("{broken"), Type::JSONB, Some("\"{broken\"")),
            (json!("text"), Type::JSON, Some("\"text\"")), (json!([1]), Type::JSONB, Some("[1]")),
        ];
        for (value, ty, expect) in cases {
            assert_eq!(text(&value, &ty).as_deref(), expect, "{value} as {ty}");
        }
    }

    #[test]
    fn a_missing_value_and_nul_are_refused() {
        let error = encode(&[json!(1)], &[Type::INT4, Type::INT4]).unwrap_err();
        assert!(error.message().contains("`$2`"), "{error}");
        let error = encode(&[json!("a\0b")], &[Type::TEXT]).unwrap_err();
        assert_eq!((error.kind(), error.reaction()), ("DataError", Reaction::Rejected));
    }
}
