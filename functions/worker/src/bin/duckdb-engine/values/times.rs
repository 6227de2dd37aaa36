//! Dates, times and intervals as text.

const DAY_SECONDS: i64 = 86_400;

/// Days since 1970 as a date.
pub(super) fn date(days: i32) -> String {
    match days {
        i32::MAX => "infinity".to_owned(),
        -2_147_483_647 => "-infinity".to_owned(),
        days => civil(days.into()),
    }
}

/// A time of day, in ticks of ten to the minus `digits` seconds.
pub(super) fn time(ticks: i64, digits: u32) -> String {
    let scale = 10_i64.pow(digits);
    let (seconds, part) = (ticks.div_euclid(scale), ticks.rem_euclid(scale));
    let (hours, minutes) = (seconds / 3_600, seconds / 60 % 60);
    let whole = format!("{hours:02}:{minutes:02}:{:02}", seconds % 60);
    if part == 0 { whole } else { format!("{whole}.{part:0>width$}", width = digits as usize) }
}

/// Ticks since 1970; `is_zoned` ones are of UTC.
pub(super) fn timestamp(ticks: i64, digits: u32, is_zoned: bool) -> String {
    match ticks {
        i64::MAX => return "infinity".to_owned(),
        -9_223_372_036_854_775_807 => return "-infinity".to_owned(),
        _ => {}
    }
    let day = DAY_SECONDS * 10_i64.pow(digits);
    let zone = if is_zoned { "+00:00" } else { "" };
    let (date, time) = (civil(ticks.div_euclid(day)), time(ticks.rem_euclid(day), digits));
    format!("{date}T{time}{zone}")
}

/// An interval as DuckDB writes it: `1 year 2 months 3 days 04:05:06.7`.
pub(super) fn interval(months: i32, days: i32, nanoseconds: i64) -> String {
    let mut parts = Vec::new();
    for (count, unit) in [(months / 12, "year"), (months % 12, "month"), (days, "day")] {
        if count != 0 {
            parts.push(format!("{count} {unit}{}", if count.abs() == 1 { "" } else { "s" }));
        }
    }
    if nanoseconds != 0 || parts.is_empty() {
        let micros = (nanoseconds / 1_000).checked_abs().unwrap_or(i64::MAX);
        let sign = if nanoseconds < 0 { "-" } else { "" };
        parts.push(format!("{sign}{}", time(micros, 6)));
    }
    parts.join(" ")
}

/// Days since 1970 in the Gregorian calendar (Hinnant's algorithm: eras of 400 years).
fn civil(days: i64) -> String {
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let of_era = shifted.rem_euclid(146_097);
    let year = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    let year = year + era * 400 + i64::from(month <= 2);
    let sign = if year < 0 { "-" } else { "" };
    format!("{sign}{:04}-{month:02}-{day:02}", year.abs())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_follow_the_calendar() {
        #[rustfmt::skip]
        let cases = [
            (0, "1970-01-01"), (-1, "1969-12-31"), (11_016, "2000-02-29"), (19_782, "2024-02-29"),
            (-719_528, "0000-01-01"), (-735_160, "-0043-03-15"), (2_932_896, "9999-12-31"), (i32::MAX, "infinity"),
        ];
        for (days, expect) in cases {
            assert_eq!(date(days), expect);
        }
    }

    #[test]
    fn intervals_read_as_duckdb_writes_them() {
        assert_eq!(interval(14, 3, 14_706_700_000_000), "1 year 2 months 3 days 04:05:06.700000");
        assert_eq!(interval(0, -1, 0), "-1 day");
        assert_eq!(interval(0, 0, 0), "00:00:00");
        assert_eq!(interval(0, 0, -1_000_000_000), "-00:00:01");
    }
}
