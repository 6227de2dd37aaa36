//! Takes secret values out of texts before they leave the worker.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
use serde_json::Value;

/// Shorter values are words that occur anywhere; masking them would hide no secret.
const SECRET_BYTES_MIN: usize = 4;
/// What stands in the place of a secret.
const MASK: &str = "***";

/// The secret values of one command, in the forms in which they may show up.
#[derive(Default)]
pub(crate) struct Redactor {
    forms: Vec<String>,
}

impl Redactor {
    /// Learns every text in a value: all of it is secret.
    pub(crate) fn learn(&mut self, value: &Value) {
        match value {
            Value::String(text) => self.learn_text(text),
            Value::Number(number) => self.learn_text(&number.to_string()),
            Value::Array(values) => values.iter().for_each(|value| self.learn(value)),
            Value::Object(fields) => fields.values().for_each(|value| self.learn(value)),
            Value::Null | Value::Bool(_) => {}
        }
    }

    /// Learns the fields of a credential whose names say that they are secret.
    ///
    /// Hosts, ports and user names stay readable: an error message lives of them.
    pub(crate) fn learn_credential(&mut self, value: &Value) {
        match value {
            Value::Object(fields) => {
                for (name, value) in fields {
                    if is_secret(name) { self.learn(value) } else { self.learn_credential(value) }
                }
            }
            Value::Array(values) => values.iter().for_each(|value| self.learn_credential(value)),
            _ => {}
        }
    }

    fn learn_text(&mut self, text: &str) {
        if text.len() < SECRET_BYTES_MIN {
            return;
        }
        let json = Value::from(text).to_string();
        let quoted = json.trim_matches('"').to_owned();
        let base64 = [STANDARD.encode(text), STANDARD_NO_PAD.encode(text)];
        for form in [text.to_owned(), quoted, percent(text)].into_iter().chain(base64) {
            if !self.forms.contains(&form) {
                self.forms.push(form);
            }
        }
        // A secret that holds another one must go first.
        self.forms.sort_by_key(|form| std::cmp::Reverse(form.len()));
    }

    /// The text without secrets.
    pub(crate) fn clean(&self, text: String) -> String {
        self.forms.iter().fold(text, |text, form| {
            if text.contains(form.as_str()) { text.replace(form.as_str(), MASK) } else { text }
        })
    }
}

fn is_secret(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    if name.ends_with("_name") {
        return false;
    }
    ["password", "passphrase", "secret", "token", "key", "authorization", "value", "credential"]
        .iter()
        .any(|word| name.contains(word))
}

/// As it stands in a URL.
fn percent(text: &str) -> String {
    use std::fmt::Write as _;
    text.bytes().fold(String::with_capacity(text.len()), |mut out, byte| {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            // Writing to a String cannot fail.
            let _ = write!(out, "%{byte:02X}");
        }
        out
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn secrets_are_masked_in_every_form() {
        let mut redactor = Redactor::default();
        redactor.learn(&json!({"a": ["s3cret/pw\"x"], "n": 123_456}));
        redactor
            .learn_credential(&json!({"host": "db.local", "user": "joe", "password": "pw-77777",
            "header_name": "X-Key-Name", "nested": {"access_token": "tok-1"}}));
        #[rustfmt::skip]
        let cases = [
            ("plain", "got s3cret/pw\"x!", "got ***!"),
            ("JSON", r#"{"p":"s3cret/pw\"x"}"#, r#"{"p":"***"}"#),
            ("URL", "http://h/?p=s3cret%2Fpw%22x&q=1", "http://h/?p=***&q=1"),
            ("base64", "Basic czNjcmV0L3B3Ing=", "Basic ***"),
            ("numbers", "pin 123456", "pin ***"),
            ("credential", "joe@db.local pw-77777 tok-1 X-Key-Name", "joe@db.local *** *** X-Key-Name"),
            ("nothing", "plain text", "plain text"),
        ];
        for (name, text, expect) in cases {
            assert_eq!(redactor.clean(text.to_owned()), expect, "{name}");
        }
    }
}
