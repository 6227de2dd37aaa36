//! What people see. Standard output is for results, standard error for everything on the way there.

pub(crate) mod diagnostic;
pub(crate) mod events;
pub(crate) mod progress;
pub(crate) mod summary;
pub(crate) mod table;

use std::io::Write as _;

use api::waiting::{Waiting, utc};
use console::Style;

/// The styles of one stream: none when it is no terminal or the user wants none.
#[derive(Clone, Debug)]
pub(crate) struct Styles {
    /// What went well.
    pub(crate) good: Style,
    /// What went wrong.
    pub(crate) bad: Style,
    /// What may go wrong.
    pub(crate) odd: Style,
    /// What matters.
    pub(crate) strong: Style,
    /// What does not.
    pub(crate) faint: Style,
}

impl Styles {
    fn new(colored: bool) -> Self {
        let style = || Style::new().force_styling(colored);
        Self {
            good: style().green(),
            bad: style().red(),
            odd: style().yellow(),
            strong: style().bold(),
            faint: style().dim(),
        }
    }

    /// Those of standard output.
    pub(crate) fn stdout() -> Self {
        Self::new(console::colors_enabled())
    }

    /// Those of standard error.
    pub(crate) fn stderr() -> Self {
        Self::new(console::colors_enabled_stderr())
    }

    /// No styles.
    #[cfg(test)]
    pub(crate) fn plain() -> Self {
        Self::new(false)
    }
}

/// Reports an error with its causes on standard error.
pub(crate) fn error(error: &anyhow::Error) {
    let head = Styles::stderr().bad.apply_to("error:");
    // Nobody is left to tell if standard error is closed.
    let _ = writeln!(std::io::stderr(), "{head} {error:#}");
}

/// Says something on standard error.
pub(crate) fn note(text: impl std::fmt::Display) {
    // Nobody is left to tell if standard error is closed.
    let _ = writeln!(std::io::stderr(), "{text}");
}

/// A duration in the unit that people would use.
pub(crate) fn duration(ms: u64) -> String {
    match ms {
        0..1_000 => format!("{ms} ms"),
        1_000..60_000 => format!("{}.{} s", ms / 1_000, ms % 1_000 / 100),
        60_000..3_600_000 => format!("{} min {} s", ms / 60_000, ms % 60_000 / 1_000),
        _ => format!("{} h {} min", ms / 3_600_000, ms % 3_600_000 / 60_000),
    }
}

/// A number with a blank between thousands.
pub(crate) fn number(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(' ');
        }
        text.push(digit);
    }
    text
}

/// What a step waits for.
pub(crate) fn waiting(what: &Waiting) -> String {
    match what {
        Waiting::Callback { until_ms: None, .. } => "waits for a callback".to_owned(),
        Waiting::Callback { until_ms: Some(until_ms), .. } => {
            format!("waits for a callback until {}", utc(*until_ms))
        }
        Waiting::Time { until_ms } => format!("waits until {}", utc(*until_ms)),
        Waiting::Playbook { execution_id } => format!("runs execution {execution_id}"),
        Waiting::Retry { attempt, until_ms } => {
            format!("attempt {attempt} not before {}", utc(*until_ms))
        }
    }
}

/// A text without the control characters that would move a terminal's cursor or change its colors.
///
/// Names and messages may come from servers and scripts that nobody trusts.
pub(crate) fn printable(text: &str) -> String {
    let is_plain = |char: &char| !char.is_control() || matches!(char, '\n' | '\t');
    text.chars().filter(is_plain).collect()
}

/// The first line of a text, cut to `chars` characters.
pub(crate) fn one_line(text: &str, chars: usize) -> String {
    let line = text.lines().next().unwrap_or_default();
    let more = text.lines().nth(1).is_some();
    if line.chars().count() > chars || more {
        let cut: String = line.chars().take(chars).collect();
        return format!("{}…", cut.trim_end());
    }
    line.to_owned()
}

#[cfg(test)]
mod tests {
    use engine_core::ids::ExecutionId;

    use super::*;

    #[test]
    fn durations_and_numbers_read_as_people_say_them() {
        #[rustfmt::skip]
        let cases = [
            (0, "0 ms"), (999, "999 ms"), (1_000, "1.0 s"), (59_999, "59.9 s"),
            (60_000, "1 min 0 s"), (3_599_999, "59 min 59 s"), (3_600_000, "1 h 0 min"),
        ];
        for (ms, expect) in cases {
            assert_eq!(duration(ms), expect);
        }
        assert_eq!([0, 999, 1_000, 1_234_567].map(number), ["0", "999", "1 000", "1 234 567"]);
    }

    #[test]
    fn waiting_says_for_whom_and_how_long() {
        let (execution_id, token, until_ms) = (ExecutionId(7), String::new(), 1_772_366_400_000);
        #[rustfmt::skip]
        let cases = [
            (Waiting::Callback { execution_id, token: token.clone(), until_ms: None }, "waits for a callback"),
            (Waiting::Callback { execution_id, token, until_ms: Some(until_ms) }, "waits for a callback until 2026-03-01T12:00:00Z"),
            (Waiting::Time { until_ms },              "waits until 2026-03-01T12:00:00Z"),
            (Waiting::Playbook { execution_id },      "runs execution 7"),
            (Waiting::Retry { attempt: 2, until_ms }, "attempt 2 not before 2026-03-01T12:00:00Z"),
        ];
        for (what, expect) in cases {
            assert_eq!(waiting(&what), expect);
        }
    }

    #[test]
    fn control_characters_do_not_reach_the_terminal() {
        assert_eq!(printable("a\u{1b}[31mb\r\u{8}\u{9b}c\n\td"), "a[31mbc\n\td");
    }

    #[test]
    fn long_texts_are_cut_at_a_character() {
        assert_eq!(one_line("short", 10), "short");
        assert_eq!(one_line("täglich grüßt", 5), "tägli…");
        assert_eq!(one_line("first\nsecond", 10), "first…");
        assert_eq!(one_line("", 3), "");
    }
}
