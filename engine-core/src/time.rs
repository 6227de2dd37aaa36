//! Unix milliseconds as people read them.

const DAY_MS: i64 = 86_400_000;

/// `2026-02-01T08:30:00.123Z`.
///
/// Source: H. Hinnant, "chrono-compatible low-level date algorithms", `civil_from_days`, 2013.
#[must_use]
pub fn iso(at_ms: i64) -> String {
    let (days, ms) = (at_ms.div_euclid(DAY_MS), at_ms.rem_euclid(DAY_MS));
    // Days since 1 March of the year 0; an era has 400 years.
    let shifted = days + 719_468;
    let (era, day) = (shifted.div_euclid(146_097), shifted.rem_euclid(146_097));
    let year_of_era = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day_of_year = day - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day_of_month = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = era * 400 + year_of_era + i64::from(month <= 2);
    let (hour, minute) = (ms / 3_600_000, ms / 60_000 % 60);
    let (second, millis) = (ms / 1_000 % 60, ms % 1_000);
    format!("{year:04}-{month:02}-{day_of_month:02}T{hour:02}:{minute:02}:{second:02}.{millis:03}Z")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn milliseconds_are_dates() {
        #[rustfmt::skip]
        let cases = [
            (0,                 "1970-01-01T00:00:00.000Z"),
            (-1,                "1969-12-31T23:59:59.999Z"),
            (951_782_400_000,   "2000-02-29T00:00:00.000Z"),
            (1_704_067_200_000, "2024-01-01T00:00:00.000Z"),
            (1_769_934_600_123, "2026-02-01T08:30:00.123Z"),
            (4_107_542_399_999, "2100-02-28T23:59:59.999Z"),
            (4_107_542_400_000, "2100-03-01T00:00:00.000Z"),
        ];
        for (at_ms, expect) in cases {
            assert_eq!(iso(at_ms), expect, "{at_ms}");
        }
    }
}
