//! `wait` and `callback`: calls that wait for a time, or for somebody.

use serde_json::{Value, json};

use super::own::{Arranged, CALLBACK, Origin, OwnAnswer};
use super::settings::{duration_ms, rendered};
use super::view::View;
use super::{Trouble, Turn};
use crate::event::{Outcome, ToolFailure};
use crate::limits::{
    CALLBACK_MS_DEFAULT, RETRY_DELAY_MS_MAX, TOOL_TIMEOUT_MS_DEFAULT, WAIT_MS_MAX,
};
use crate::payload::{Payload, sha256_hex};
use crate::playbook::{Step, Tool};
use crate::state::Unit;
use crate::time::iso;

/// Hex digits of a token: 128 bits.
const TOKEN_DIGITS: usize = 32;

impl Turn<'_> {
    /// Renders a `wait`: `seconds`, or `until`.
    pub(super) fn wait_for_time(&self, tool: &Tool, view: &View<'_>) -> Result<Arranged, Trouble> {
        let (context, line) = (view.context(), tool.position.line);
        let place = |key: &str| format!("`{key}` of `wait` (line {line})");
        let given = |key: &str| tool.config.get(key).filter(|value| !value.is_null());
        let until_ms = match (given("seconds"), given("until")) {
            (Some(value), None) => {
                let ms = duration_ms(value, &context, &place("seconds"))?;
                self.moment.at_ms.saturating_add_unsigned(ms)
            }
            (None, Some(value)) => {
                let value = rendered(value, &context, &place("until"))?;
                instant_ms(&value).ok_or_else(|| {
                    let hint = "a time such as `2027-01-31T09:00:00Z`, or Unix seconds";
                    let message = format!("{} is `{value}`; {hint} was expected", place("until"));
                    Trouble::failed("ValueError", message)
                })?
            }
            (None, None) | (Some(_), Some(_)) => {
                let message = format!("`wait` (line {line}) needs one of `seconds` and `until`");
                return Err(Trouble::failed("ValueError", message));
            }
        };
        if until_ms > self.moment.at_ms.saturating_add_unsigned(WAIT_MS_MAX) {
            let days = WAIT_MS_MAX / 86_400_000;
            let message = format!("`wait` (line {line}) is longer than {days} days");
            return Err(Trouble::failed("LimitError", message));
        }
        Ok(self.timer(until_ms, None))
    }

    /// Renders a `callback`: a token for whoever answers, and the time until which it is good.
    pub(super) fn wait_for_callback(
        &self,
        step: &Step,
        tool: &Tool,
        view: &View<'_>,
        origin: &Origin,
    ) -> Result<Arranged, Trouble> {
        let own = tool.config.get("timeout").filter(|value| !value.is_null());
        let place = format!("`timeout` of `callback` (line {})", tool.position.line);
        let timeout_ms = match own.or(step.timeout.as_ref()) {
            Some(value) => duration_ms(value, &view.context(), &place)?.clamp(1, WAIT_MS_MAX),
            None => CALLBACK_MS_DEFAULT,
        };
        let until_ms = self.moment.at_ms.saturating_add_unsigned(timeout_ms);
        Ok(self.timer(until_ms, Some(self.token(origin))))
    }

    fn timer(&self, until_ms: i64, token: Option<String>) -> Arranged {
        let not_before_ms = self.rings_ms(until_ms);
        Arranged::Timer { not_before_ms, until_ms, token, timeout_ms: TOOL_TIMEOUT_MS_DEFAULT }
    }

    /// When a timer for `until_ms` comes back: no queue holds a message longer than this.
    pub(super) fn rings_ms(&self, until_ms: i64) -> i64 {
        until_ms.min(self.moment.at_ms.saturating_add_unsigned(RETRY_DELAY_MS_MAX))
    }

    /// What a callback must present: 128 bits that nobody can guess, and in a loop which iteration it is
    /// for.
    fn token(&self, origin: &Origin) -> String {
        let mut secret = self.moment.nonce.to_le_bytes().to_vec();
        secret.extend_from_slice(origin.command_id.as_str().as_bytes());
        let mut token = sha256_hex(&secret);
        token.truncate(TOKEN_DIGITS);
        match (origin.event_id, origin.index) {
            (Some(event_id), Some(index)) => format!("{token}-{event_id}-{index}"),
            _ => token,
        }
    }

    /// What it means that the timer of a call came back.
    pub(super) fn rung(&self, kind: &str, unit: &Unit) -> OwnAnswer {
        let at_ms = self.moment.at_ms;
        let until_ms = unit.until_ms.unwrap_or(at_ms);
        if at_ms < until_ms {
            return OwnAnswer::Again { not_before_ms: self.rings_ms(until_ms) };
        }
        let since_ms = unit.since_ms.unwrap_or(until_ms);
        let (until, seconds) = (time_text(until_ms), until_ms.abs_diff(since_ms) / 1_000);
        let (result, error) = if kind == CALLBACK {
            (Value::Null, Some(unanswered(&until, seconds)))
        } else {
            (json!({"seconds": seconds, "until": until}), None)
        };
        OwnAnswer::Settled(Outcome {
            result: Payload::Inline(result),
            error,
            started_ms: since_ms,
            duration_ms: at_ms.abs_diff(since_ms),
            output: String::new(),
        })
    }
}

/// The failure of a callback that nobody answered.
fn unanswered(until: &str, seconds: u64) -> ToolFailure {
    ToolFailure {
        kind: "TimeoutError".to_owned(),
        message: format!(
            "nobody answered within {seconds} s (until {until}): send the token of the step's \
             `command.issued` event while it waits, or give the step a longer `timeout`"
        ),
        ..ToolFailure::default()
    }
}

/// Unix milliseconds of a number of Unix seconds, or of a text such as `2027-01-31T09:00:00+01:00`.
/// Without an offset a text is in UTC.
fn instant_ms(value: &Value) -> Option<i64> {
    /// Seconds of the year 9999's end: later times are not meant.
    const LAST_S: f64 = 253_402_300_799.0;
    match value {
        Value::Number(number) => {
            let seconds = number.as_f64()?;
            #[expect(clippy::cast_possible_truncation, reason = "the range was just checked")]
            (0.0..=LAST_S).contains(&seconds).then(|| (seconds * 1e3).round() as i64)
        }
        Value::String(text) => text_ms(text.trim()),
        _ => None,
    }
}

/// As RFC 3339, with a space for `T` and without seconds if one likes.
fn text_ms(text: &str) -> Option<i64> {
    if let Ok(seconds) = text.parse::<f64>() {
        return instant_ms(&json!(seconds));
    }
    let (date, rest) = text.split_once(['T', 't', ' ']).unwrap_or((text, "00:00"));
    let mut parts = date.split('-');
    let mut part = |digits: usize| {
        let part = parts.next().filter(|part| part.len() == digits)?;
        part.bytes().all(|byte| byte.is_ascii_digit()).then(|| part.parse::<i64>().ok())?
    };
    let (year, month, day) = (part(4)?, part(2)?, part(2)?);
    let date_ms = days_from_civil(year, month, day) * 86_400_000;
    if !time_text(date_ms).starts_with(date) {
        return None;
    }
    let (clock, offset_ms) = zone(rest)?;
    let mut fields = clock.split(':');
    let mut field = |most: f64| {
        let field = fields.next()?;
        let plain = field.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
        field.parse::<f64>().ok().filter(|number| plain && (0.0..most).contains(number))
    };
    let (hours, minutes) = (field(24.0)?, field(60.0)?);
    let seconds = if clock.matches(':').count() > 1 { field(61.0)? } else { 0.0 };
    let of_day = (hours * 3_600.0 + minutes * 60.0 + seconds) * 1e3;
    #[expect(clippy::cast_possible_truncation, reason = "below 10^8")]
    let of_day_ms = of_day.round() as i64;
    Some(date_ms + of_day_ms - offset_ms)
}

/// The time of day, and the milliseconds that its zone is ahead of UTC.
fn zone(text: &str) -> Option<(&str, i64)> {
    if let Some(clock) = text.strip_suffix(['Z', 'z']) {
        return Some((clock, 0));
    }
    let Some(at) = text.rfind(['+', '-']) else { return Some((text, 0)) };
    let (clock, offset) = text.split_at(at);
    let sign = if offset.starts_with('-') { -1 } else { 1 };
    let digits: String = offset.chars().filter(char::is_ascii_digit).collect();
    let number: i64 = digits.parse().ok().filter(|_| digits.len() == 4)?;
    Some((clock, sign * (number / 100 * 60 + number % 100) * 60_000))
}

/// Days since 1970-01-01 of a date.
///
/// Source: Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms", 2013.
fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let of_era = year.rem_euclid(400);
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
}

/// `2027-01-15T08:00:00Z`.
pub(super) fn time_text(at_ms: i64) -> String {
    iso(at_ms.div_euclid(1_000).saturating_mul(1_000)).replace(".000Z", "Z")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_read_as_people_write_them() {
        let cases = [
            (json!(0), Some(0)),
            (json!(1.5), Some(1_500)),
            (json!("1800000000"), Some(1_800_000_000_000)),
            (json!("1970-01-02"), Some(86_400_000)),
            (json!("2027-01-15T08:00:00Z"), Some(1_800_000_000_000)),
            (json!("2027-01-15 09:00:00.250+01:00"), Some(1_800_000_000_250)),
            (json!("2027-01-15T03:00-0500"), Some(1_800_000_000_000)),
            (json!("2028-02-29T00:00:00Z"), Some(1_835_395_200_000)),
            (json!("2027-02-29T00:00:00Z"), None),
            (json!("2027-13-01"), None),
            (json!("2027-1-1"), None),
            (json!("2027-01-15T25:00Z"), None),
            (json!("2027-01-15T08:00+1"), None),
            (json!("tomorrow"), None),
            (json!(-1), None),
            (json!(true), None),
        ];
        for (value, expect) in cases {
            assert_eq!(instant_ms(&value), expect, "{value}");
        }
    }

    #[test]
    fn times_are_written_as_they_are_read() {
        for at_ms in [0, 951_782_400_000, 1_800_000_000_000, 4_102_444_799_000] {
            let text = time_text(at_ms);
            assert_eq!(text_ms(&text), Some(at_ms), "{text}");
        }
        assert_eq!(time_text(1_800_000_000_000), "2027-01-15T08:00:00Z");
    }
}
