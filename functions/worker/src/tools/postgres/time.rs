//! Dates and times as ISO 8601, from days and microseconds since 2000-01-01.

/// Days from 0000-03-01 to 2000-01-01 in the calendar without leap exceptions before 1582.
const EPOCH_DAYS: i64 = 730_425;
const DAY_MICROS: i64 = 86_400_000_000;
const SECOND_MICROS: i64 = 1_000_000;

/// `2026-01-31`; `infinity` for the ends of the range.
pub(super) fn date(days: i32) -> String {
    match days {
        i32::MAX => "infinity".to_owned(),
        i32::MIN => "-infinity".to_owned(),
        days => {
            let (text, era) = day(i64::from(days));
            text + era
        }
    }
}

/// `23:59:59.000001`; without decimals for whole seconds. 24:00:00 is a time, too.
pub(super) fn time(micros: i64) -> String {
    let seconds = micros / SECOND_MICROS;
    let clock = format!("{:02}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60);
    match micros % SECOND_MICROS {
        0 => clock,
        part => format!("{clock}.{part:06}"),
    }
}

/// `2026-01-31T23:59:59` with `zone` behind it.
pub(super) fn timestamp(micros: i64, zone: &str) -> String {
    match micros {
        i64::MAX => "infinity".to_owned(),
        i64::MIN => "-infinity".to_owned(),
        micros => {
            let (date, era) = day(micros.div_euclid(DAY_MICROS));
            format!("{date}T{}{zone}{era}", time(micros.rem_euclid(DAY_MICROS)))
        }
    }
}

/// The date of a day, and ` BC` for years before 1.
///
/// Source: H. Hinnant, "chrono-Compatible Low-Level Date Algorithms", `civil_from_days`.
fn day(days: i64) -> (String, &'static str) {
    let days = days + EPOCH_DAYS;
    let cycle = days.div_euclid(146_097);
    let of_cycle = days.rem_euclid(146_097);
    let year = (of_cycle - of_cycle / 1_460 + of_cycle / 36_524 - of_cycle / 146_096) / 365;
    let of_year = of_cycle - (365 * year + year / 4 - year / 100);
    let month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month + 2) / 5 + 1;
    let (month, next) = if month < 10 { (month + 3, 0) } else { (month - 9, 1) };
    let year = year + cycle * 400 + next;
    let (year, era) = if year > 0 { (year, "") } else { (1 - year, " BC") };
    (format!("{year:04}-{month:02}-{day:02}"), era)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_and_microseconds_become_iso_8601() {
        #[rustfmt::skip]
        let dates = [
            (0, "2000-01-01"), (-1, "1999-12-31"), (59, "2000-02-29"), (366, "2001-01-01"), (-10_957, "1970-01-01"),
            (-730_119, "0001-01-01"), (-730_120, "0001-12-31 BC"), (2_921_939, "9999-12-31"), (i32::MAX, "infinity"), (i32::MIN, "-infinity"),
        ];
        for (days, expect) in dates {
            assert_eq!(date(days), expect);
        }
        assert_eq!(timestamp(0, ""), "2000-01-01T00:00:00");
        assert_eq!(timestamp(-1, "+00:00"), "1999-12-31T23:59:59.999999+00:00");
        assert_eq!(timestamp(i64::MAX, ""), "infinity");
        assert_eq!(time(DAY_MICROS), "24:00:00");
        assert_eq!(time(1_500), "00:00:00.001500");
    }
}
