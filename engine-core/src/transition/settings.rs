//! Numbers and durations as playbooks write them.

use serde_json::Value;

use super::Trouble;
use crate::template::{Context, evaluate};

/// Renders a setting that may be a template.
pub(super) fn rendered(value: &Value, context: &Context, place: &str) -> Result<Value, Trouble> {
    match value {
        Value::String(text) => {
            evaluate(text, context).map_err(|error| Trouble::template(place, error))
        }
        _ => Ok(value.clone()),
    }
}

/// A whole number that is not negative.
pub(super) fn whole(value: &Value, context: &Context, place: &str) -> Result<u64, Trouble> {
    let value = rendered(value, context, place)?;
    let number = match &value {
        Value::String(text) => text.trim().parse().ok(),
        other => other.as_u64(),
    };
    number.ok_or_else(|| {
        Trouble::failed("ValueError", format!("{place} is `{value}`; a whole number was expected"))
    })
}

/// Milliseconds: a number of seconds, or text such as `500ms`, `30s`, `5m`, `1h`.
pub(super) fn duration_ms(value: &Value, context: &Context, place: &str) -> Result<u64, Trouble> {
    let value = rendered(value, context, place)?;
    parse_duration_ms(&value).ok_or_else(|| {
        let hint = "seconds, or a text such as `30s` or `500ms`, were expected";
        Trouble::failed("ValueError", format!("{place} is `{value}`; {hint}"))
    })
}

/// Seconds as a number, or text with a unit, in milliseconds; none for anything else.
pub(super) fn parse_duration_ms(value: &Value) -> Option<u64> {
    match value {
        Value::Number(number) => seconds_ms(number.as_f64()?),
        Value::String(text) => {
            let text = text.trim();
            let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
            let number: f64 = digits.trim().parse().ok()?;
            match &text[digits.len()..] {
                "ms" => seconds_ms(number / 1e3),
                "" | "s" => seconds_ms(number),
                "m" => seconds_ms(number * 60.0),
                "h" => seconds_ms(number * 3_600.0),
                _ => None,
            }
        }
        _ => None,
    }
}

/// Milliseconds of a number of seconds; none if negative or beyond a century.
fn seconds_ms(seconds: f64) -> Option<u64> {
    const CENTURY_S: f64 = 3.2e9;
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "the range was just checked"
    )]
    (0.0..CENTURY_S).contains(&seconds).then(|| (seconds * 1e3).round() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn durations_read_as_people_write_them() {
        let cases = [
            (json!(2), Some(2_000)),
            (json!(0.25), Some(250)),
            (json!("30s"), Some(30_000)),
            (json!("500ms"), Some(500)),
            (json!("1.5 m"), Some(90_000)),
            (json!("2h"), Some(7_200_000)),
            (json!("7"), Some(7_000)),
            (json!(-1), None),
            (json!("soon"), None),
            (json!("3 d"), None),
            (json!([1]), None),
        ];
        for (value, expect) in cases {
            assert_eq!(parse_duration_ms(&value), expect, "{value}");
        }
    }
}
