//! Tools that only wait: `wait` for a time, `callback` for somebody's answer.

use super::node::{Entry, Node};
use super::reader::{Level, Reader, is_template};
use crate::limits::WAIT_MS_MAX;

pub(super) const WAIT: Level = Level {
    name: "a tool of the kind `wait`",
    known: &[
        "kind", "name", "seconds", "until", "args", "input", "retry", "sink", "save", "spec",
        "set", "output",
    ],
    moved: &[
        ("duration", "write `seconds`: a number, or text such as `5m`"),
        ("delay", "write `seconds`: a number, or text such as `5m`"),
        ("for", "write `seconds`: a number, or text such as `5m`"),
        ("minutes", "write `seconds: 5m`"),
        ("hours", "write `seconds: 2h`"),
        ("timeout", "write `seconds`, the time to wait"),
        ("at", "write `until`"),
    ],
};

pub(super) const CALLBACK: Level = Level {
    name: "a tool of the kind `callback`",
    known: &[
        "kind", "name", "timeout", "args", "input", "retry", "sink", "save", "spec", "set",
        "output",
    ],
    moved: &[("seconds", "write `timeout`"), ("token", "drop it; the engine gives one out")],
};

impl Reader<'_> {
    /// Checks `{kind: wait, seconds}` or `{kind: wait, until}`.
    pub(super) fn wait(&mut self, node: &Node) {
        const FORMS: &str = "write `seconds: 30`, or `until: \"2030-01-31T09:00:00Z\"`";
        self.close(node, &WAIT);
        match (node.get("seconds"), node.get("until")) {
            (None, None) => {
                let misspelt =
                    ["seconds", "until"].iter().any(|key| Self::misspelt(node, key, &WAIT));
                let moved = WAIT.moved.iter().any(|(key, _)| node.get(key).is_some());
                if !misspelt && !moved {
                    let message = "`wait` needs `seconds` or `until`";
                    self.error("missing-key", node.span, message, FORMS);
                }
            }
            (Some(_), Some(until)) => {
                let message = "`seconds` and `until` say the same";
                self.error("conflict", until.span, message, "keep one of them");
            }
            (Some(seconds), None) => self.pause(seconds, false),
            (None, Some(until)) => self.instant(until),
        }
    }

    /// Checks `{kind: callback, timeout}`.
    pub(super) fn callback(&mut self, node: &Node) {
        self.close(node, &CALLBACK);
        if let Some(timeout) = node.get("timeout") {
            self.pause(timeout, true);
        }
    }

    /// A time that is not longer than any step may wait.
    fn pause(&mut self, entry: &Entry, positive: bool) {
        const LONGEST_S: u64 = WAIT_MS_MAX / 1_000;
        self.duration(entry, positive);
        let longest = std::time::Duration::from_secs(LONGEST_S).as_secs_f64();
        if Self::seconds(entry).is_some_and(|seconds| seconds > longest) {
            let message = format!("`{}` is longer than a step may wait", entry.key);
            let advice = format!("write {LONGEST_S} seconds or less, which is a year");
            self.error("limit", entry.value.span, message, advice);
        }
    }

    /// A date with a time, or Unix seconds, or a template that gives one.
    fn instant(&mut self, entry: &Entry) {
        let value = &entry.value;
        let is_number = value.typed().is_some_and(serde_json::Value::is_number);
        if is_number || value.text().is_some_and(|text| is_template(text) || is_instant(text)) {
            return;
        }
        let advice = "write `\"2030-01-31T09:00:00Z\"`, Unix seconds, or a template";
        self.mismatch(entry, "a date with a time", advice);
    }
}

/// Whether a text begins as `2030-01-31` or `2030-01-31T09:00`.
fn is_instant(text: &str) -> bool {
    let shape = |text: &str, shape: &str| {
        text.len() == shape.len()
            && text.bytes().zip(shape.bytes()).all(|(is, like)| match like {
                b'0' => is.is_ascii_digit(),
                b'T' => matches!(is, b'T' | b't' | b' '),
                like => is == like,
            })
    };
    let text = text.trim();
    let prefix = |shape: &str| text.get(..shape.len()).unwrap_or_default();
    shape(text, "0000-00-00") || shape(prefix("0000-00-00T00:00"), "0000-00-00T00:00")
}
