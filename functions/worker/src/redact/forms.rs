//! The forms in which a secret may show up: as it is, escaped, encoded.

use std::collections::BTreeSet;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE, URL_SAFE_NO_PAD};
use serde_json::Value;

/// Characters that a piece of base64 needs to be told from chance.
const BASE64_CHARS_MIN: usize = 6;
/// Bytes of a secret that is looked for in all forms; a longer one only as it is and in JSON.
const FORMS_BYTES_MAX: usize = 8 << 10;

/// Every form of `secret`, itself among them.
pub(super) fn of(secret: &str) -> BTreeSet<String> {
    let mut forms = BTreeSet::from([secret.to_owned()]);
    let escaped = escaped(secret);
    forms.insert(ascii(&escaped));
    // JSON inside of JSON: a body that is logged.
    forms.insert(self::escaped(&escaped));
    forms.insert(escaped);
    if secret.len() > FORMS_BYTES_MAX {
        return forms;
    }
    for (kept, space) in [("-._~", "%20"), ("-._~/", "%20"), ("*-._", "+"), ("-._~", "+")] {
        let upper = percent(secret, kept, space);
        forms.insert(lowered(&upper));
        forms.insert(upper);
    }
    let hex = hex(secret);
    forms.insert(hex.to_ascii_uppercase());
    forms.insert(hex);
    for engine in [&STANDARD, &STANDARD_NO_PAD, &URL_SAFE, &URL_SAFE_NO_PAD] {
        forms.insert(engine.encode(secret));
    }
    for ahead in 0..3 {
        let piece = inside(secret, ahead);
        if piece.len() >= BASE64_CHARS_MIN {
            forms.insert(piece.replace('+', "-").replace('/', "_"));
            forms.insert(piece);
        }
    }
    forms
}

/// As it stands between the quotes of a JSON text.
fn escaped(text: &str) -> String {
    let json = Value::from(text).to_string();
    let inner = json.strip_prefix('"').and_then(|json| json.strip_suffix('"'));
    inner.unwrap_or(&json).to_owned()
}

/// As a JSON writer has it that keeps to ASCII, as Python's does.
fn ascii(escaped: &str) -> String {
    use std::fmt::Write as _;
    let mut out = String::with_capacity(escaped.len());
    for c in escaped.chars() {
        if c.is_ascii() {
            out.push(c);
            continue;
        }
        for unit in c.encode_utf16(&mut [0; 2]) {
            // Writing to a String cannot fail.
            let _ = write!(out, "\\u{unit:04x}");
        }
    }
    out
}

/// As it stands in a URL that leaves letters, digits and `kept` alone.
fn percent(text: &str, kept: &str, space: &str) -> String {
    use std::fmt::Write as _;
    text.bytes().fold(String::with_capacity(text.len()), |mut out, byte| {
        let c = char::from(byte);
        if byte == b' ' {
            out.push_str(space);
        } else if byte.is_ascii_alphanumeric() || (byte.is_ascii() && kept.contains(c)) {
            out.push(c);
        } else {
            // Writing to a String cannot fail.
            let _ = write!(out, "%{byte:02X}");
        }
        out
    })
}

/// The same URL text with small hexadecimal digits.
fn lowered(percent: &str) -> String {
    let mut digits = 0_u8;
    let lower = |c: char| {
        if c == '%' {
            digits = 2;
            return c;
        }
        let is_digit = digits > 0;
        digits = digits.saturating_sub(1);
        if is_digit { c.to_ascii_lowercase() } else { c }
    };
    percent.chars().map(lower).collect()
}

fn hex(text: &str) -> String {
    use std::fmt::Write as _;
    text.bytes().fold(String::with_capacity(text.len() * 2), |mut out, byte| {
        // Writing to a String cannot fail.
        let _ = write!(out, "{byte:02x}");
        out
    })
}

/// The characters of base64 that are the same whatever stands around, with `ahead` bytes in front.
fn inside(text: &str, ahead: usize) -> String {
    let mut bytes = vec![0; ahead];
    bytes.extend_from_slice(text.as_bytes());
    let encoded = STANDARD_NO_PAD.encode(&bytes);
    let first = (ahead * 8).div_ceil(6);
    let end = bytes.len() * 8 / 6;
    encoded.get(first..end).unwrap_or_default().to_owned()
}
