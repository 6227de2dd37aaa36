//! Names that NATS accepts. Its client lets some through that fail later, and say nothing useful.

use engine_core::limits::NATS_NAME_BYTES_MAX;

use crate::tool::ToolError;

/// A key of a key-value bucket.
pub(super) fn key(name: &str) -> Result<&str, ToolError> {
    let is_valid = |byte: u8| byte.is_ascii_alphanumeric() || b"-/_=.".contains(&byte);
    if name.bytes().all(is_valid) && has_parts(name) {
        return Ok(name);
    }
    Err(ToolError::input(format!(
        "`{name}` is no key: it has letters, digits, `-`, `/`, `_`, `=` and `.`, at most \
         {NATS_NAME_BYTES_MAX}, and no `.` at its begin, at its end or twice in a row; encode what \
         else it must hold"
    )))
}

/// A bucket or a stream.
pub(super) fn bucket<'a>(name: &'a str, what: &str) -> Result<&'a str, ToolError> {
    let is_valid = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
    if !name.is_empty() && name.len() <= 255 && name.bytes().all(is_valid) {
        return Ok(name);
    }
    Err(ToolError::input(format!(
        "`{name}` is no name of a {what}: it has letters, digits, `-` and `_`"
    )))
}

/// A subject that a message is sent to.
pub(super) fn subject(name: &str) -> Result<&str, ToolError> {
    let is_valid = |char: char| !char.is_whitespace() && !char.is_control() && !"*>".contains(char);
    if name.chars().all(is_valid) && has_parts(name) {
        return Ok(name);
    }
    Err(ToolError::input(format!(
        "`{name}` is no subject to publish to: it has no spaces, no `*` and `>`, at most \
         {NATS_NAME_BYTES_MAX} bytes, and something between its dots"
    )))
}

fn has_parts(name: &str) -> bool {
    name.len() <= NATS_NAME_BYTES_MAX && name.split('.').all(|part| !part.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_fail_later_are_refused_at_once() {
        let long = "k".repeat(NATS_NAME_BYTES_MAX + 1);
        #[rustfmt::skip]
        let table = [
            ("a", true, true), ("a.b/c=d-e_F9", true, true), ("", false, false), (".a", false, false),
            ("a.", false, false), ("a..b", false, false), ("a b", false, false), ("a*", false, false),
            ("a.>", false, false), ("ü", false, true), ("a:b", false, true), (&long, false, false),
            ("a\nb", false, false),
        ];
        for (name, is_key, is_subject) in table {
            assert_eq!(
                (key(name).is_ok(), subject(name).is_ok()),
                (is_key, is_subject),
                "{name:?}"
            );
        }
        for (name, is_bucket) in [("a-B_9", true), ("", false), ("a.b", false), ("a b", false)] {
            assert_eq!(bucket(name, "bucket").is_ok(), is_bucket, "{name:?}");
        }
    }
}
