//! The YAML document as a tree in which everything knows where it stands.

use std::rc::Rc;

use serde_json::{Map, Number, Value};

use crate::playbook::diagnostic::Span;

/// A value of the document. Cloning shares: an alias costs nothing, only walking it does.
#[derive(Clone, Debug)]
pub(super) struct Node {
    /// Where it is used; for an alias, the alias.
    pub(super) span: Span,
    /// What it is.
    pub(super) data: Rc<Data>,
}

/// What a node is.
#[derive(Debug)]
pub(super) enum Data {
    /// A scalar.
    Scalar(Scalar),
    /// A sequence.
    List(Vec<Node>),
    /// A mapping, in document order, keys unique.
    Map(Vec<Entry>),
}

/// A scalar, as written.
#[derive(Debug)]
pub(super) struct Scalar {
    /// The decoded text.
    pub(super) text: String,
    /// How it is written.
    pub(super) style: Style,
    /// What it means when it is not text.
    pub(super) typed: Option<Value>,
    /// Where it is written, however it is reached.
    pub(super) span: Span,
}

/// How a scalar is written: where its characters are in the source depends on it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Style {
    /// Without quotes.
    Plain,
    /// In single or double quotes.
    Quoted,
    /// After `|` or `>`.
    Block,
}

/// One entry of a mapping.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    /// The key; numbers and booleans as they are written.
    pub(super) key: String,
    /// Where the key stands.
    pub(super) span: Span,
    /// The value.
    pub(super) value: Node,
}

impl Node {
    /// The entries of a mapping; none for anything else.
    pub(super) fn entries(&self) -> &[Entry] {
        match &*self.data {
            Data::Map(entries) => entries,
            Data::Scalar(_) | Data::List(_) => &[],
        }
    }

    /// The items of a sequence.
    pub(super) fn items(&self) -> Option<&[Self]> {
        match &*self.data {
            Data::List(items) => Some(items),
            Data::Scalar(_) | Data::Map(_) => None,
        }
    }

    /// The entry of that key.
    pub(super) fn get(&self, key: &str) -> Option<&Entry> {
        self.entries().iter().find(|entry| entry.key == key)
    }

    /// Whether it is a mapping.
    pub(super) fn is_map(&self) -> bool {
        matches!(&*self.data, Data::Map(_))
    }

    /// The scalar.
    pub(super) fn scalar(&self) -> Option<&Scalar> {
        match &*self.data {
            Data::Scalar(scalar) => Some(scalar),
            Data::List(_) | Data::Map(_) => None,
        }
    }

    /// The text of a scalar that is text.
    pub(super) fn text(&self) -> Option<&str> {
        self.scalar().filter(|scalar| scalar.typed.is_none()).map(|scalar| scalar.text.as_str())
    }

    /// The value of a scalar that is not text.
    pub(super) fn typed(&self) -> Option<&Value> {
        self.scalar().and_then(|scalar| scalar.typed.as_ref())
    }

    /// Whether nothing is written here, or `null`.
    pub(super) fn is_null(&self) -> bool {
        self.typed().is_some_and(Value::is_null)
    }

    /// The value as JSON, as written.
    pub(super) fn value(&self) -> Value {
        match &*self.data {
            Data::Scalar(scalar) => scalar.value(),
            Data::List(items) => items.iter().map(Self::value).collect(),
            Data::Map(entries) => {
                let pairs = entries.iter().map(|entry| (entry.key.clone(), entry.value.value()));
                Value::Object(pairs.collect::<Map<_, _>>())
            }
        }
    }

    /// What it is, for a message.
    pub(super) fn noun(&self) -> &'static str {
        match &*self.data {
            Data::List(_) => "a list",
            Data::Map(_) => "a map",
            Data::Scalar(scalar) => match scalar.typed {
                None | Some(Value::String(_)) => "text",
                Some(Value::Null) => "nothing",
                Some(Value::Bool(_)) => "true or false",
                Some(_) => "a number",
            },
        }
    }
}

impl Scalar {
    /// The value as JSON.
    pub(super) fn value(&self) -> Value {
        self.typed.clone().unwrap_or_else(|| Value::String(self.text.clone()))
    }

    /// Whether text that YAML 1.1 reads as a boolean stands here without quotes, and which.
    pub(super) fn old_boolean(&self) -> Option<bool> {
        match (self.style, self.text.to_ascii_lowercase().as_str()) {
            (Style::Plain, "yes" | "on") => Some(true),
            (Style::Plain, "no" | "off") => Some(false),
            _ => None,
        }
    }
}

/// What plain text means under the core schema of YAML 1.2; `None` when it is text.
///
/// # Errors
/// The advice, when it is a number that JSON cannot hold.
pub(super) fn resolve(text: &str) -> Result<Option<Value>, &'static str> {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Ok(Some(Value::Null)),
        "true" | "True" | "TRUE" => return Ok(Some(Value::Bool(true))),
        "false" | "False" | "FALSE" => return Ok(Some(Value::Bool(false))),
        _ => {}
    }
    let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
    if matches!(unsigned, ".inf" | ".Inf" | ".INF") || matches!(text, ".nan" | ".NaN" | ".NAN") {
        return Err("JSON has no such number; quote it if it is text");
    }
    let all = |digits: &str, radix| {
        !digits.is_empty() && digits.chars().all(|digit| digit.is_digit(radix))
    };
    let based = |prefix: &str, radix| text.strip_prefix(prefix).filter(|rest| all(rest, radix));
    let integer = if let Some(digits) = based("0x", 16) {
        u64::from_str_radix(digits, 16).map(Number::from)
    } else if let Some(digits) = based("0o", 8) {
        u64::from_str_radix(digits, 8).map(Number::from)
    } else if all(unsigned, 10) {
        text.parse::<i64>().map(Number::from).or_else(|_| text.parse::<u64>().map(Number::from))
    } else if is_decimal(unsigned) {
        let float = text.parse::<f64>().ok().and_then(Number::from_f64);
        return float.map(|float| Some(Value::Number(float))).ok_or("it is too large for a number");
    } else {
        return Ok(None);
    };
    integer
        .map(|integer| Some(Value::Number(integer)))
        .map_err(|_overflow| "it exceeds 64 bits; quote it to keep its digits")
}

/// `[0-9]+.[0-9]*`, `.[0-9]+`, either with an exponent; an exponent alone also makes a number.
fn is_decimal(text: &str) -> bool {
    let (mantissa, exponent) = match text.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, Some(exponent)),
        None => (text, None),
    };
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let exponent = exponent.map(|text| text.strip_prefix(['-', '+']).unwrap_or(text));
    !(whole.is_empty() && fraction.is_empty())
        && digits(whole)
        && digits(fraction)
        && exponent.is_none_or(|text| !text.is_empty() && digits(text))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn plain_text_means_what_yaml_1_2_says() {
        #[rustfmt::skip]
        let cases = [
            ("", Some(json!(null))), ("~", Some(json!(null))), ("null", Some(json!(null))),
            ("true", Some(json!(true))), ("False", Some(json!(false))),
            ("yes", None), ("on", None), ("no", None), ("nullable", None),
            ("0", Some(json!(0))), ("-12", Some(json!(-12))), ("+3", Some(json!(3))),
            ("007", Some(json!(7))), ("0x1F", Some(json!(31))), ("0o17", Some(json!(15))),
            ("18446744073709551615", Some(json!(u64::MAX))),
            ("1.5", Some(json!(1.5))), ("1.", Some(json!(1.0))), (".5", Some(json!(0.5))),
            ("1e3", Some(json!(1000.0))), ("-2.5E-1", Some(json!(-0.25))),
            ("1_000", None), ("12:30:00", None), ("2024-01-01", None), ("1.2.3", None),
            (".", None), ("-", None), ("e5", None), ("1e", None), ("0x", None), ("--1", None),
        ];
        for (text, expect) in cases {
            assert_eq!(resolve(text), Ok(expect), "{text}");
        }
        for text in [".inf", "-.INF", ".nan", "99999999999999999999", "1e999"] {
            assert!(resolve(text).is_err(), "{text}");
        }
    }
}
