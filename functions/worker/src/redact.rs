//! Takes secret values out of everything that leaves the worker.
//!
//! # Invariants
//!
//! * A secret of [`SECRET_BYTES_MIN`] bytes or more is in no text that was cleaned, in none of its forms
//!   (`forms`). A shorter one is a word that occurs anywhere: masking it would hide nothing.
//! * Results are data, and a mask changes data: there a secret of less than [`WORD_BYTES`] bytes is masked
//!   where it stands as a word of its own, and a token only from [`TOKEN_BYTES_MIN`] bytes on.
//! * A text is looked through once, whatever the number of secrets.

mod forms;

use std::collections::BTreeMap;
use std::sync::OnceLock;

use aho_corasick::{AhoCorasick, AhoCorasickBuilder, Input, MatchKind};
use serde_json::{Map, Value};

/// Shorter values are words that occur anywhere.
const SECRET_BYTES_MIN: usize = 4;
/// Shorter secrets are parts of ordinary words: data is masked where they stand alone.
const WORD_BYTES: usize = 8;
/// Shorter tokens cannot hold the 128 bits that RFC 6749 (10.10) asks for: data shows what a test server
/// made up.
const TOKEN_BYTES_MIN: usize = 16;
/// What stands in the place of a secret.
const MASK: &str = "***";

/// Where a secret is masked.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
enum Reach {
    /// In texts, and in data if it is long enough for a token.
    Token,
    /// In texts and in data.
    Everywhere,
}

/// The secret values of one command, in the forms in which they may show up.
#[derive(Default)]
pub(crate) struct Redactor {
    secrets: BTreeMap<String, Reach>,
    texts: OnceLock<Option<Masks>>,
    data: OnceLock<Option<Masks>>,
}

impl Redactor {
    /// Learns every text in a value: all of it is secret.
    pub(crate) fn learn(&mut self, value: &Value) {
        self.learn_all(value, Reach::Everywhere);
    }

    /// Learns every text in a value as a token: issued by a server, or made up by a test.
    pub(crate) fn learn_token(&mut self, value: &Value) {
        self.learn_all(value, Reach::Token);
    }

    fn learn_all(&mut self, value: &Value, reach: Reach) {
        match value {
            Value::String(text) => self.learn_text(text, reach),
            Value::Number(number) => self.learn_text(&number.to_string(), reach),
            Value::Array(values) => values.iter().for_each(|value| self.learn_all(value, reach)),
            Value::Object(map) => map.values().for_each(|value| self.learn_all(value, reach)),
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
            Value::String(text) => self.learn_url(text),
            _ => {}
        }
    }

    /// Learns what a tool's configuration carries openly: the user of a URL, and headers that the playbook
    /// itself writes.
    pub(crate) fn learn_config(
        &mut self,
        written: &Map<String, Value>,
        config: &Map<String, Value>,
    ) {
        for text in config.values().filter_map(Value::as_str) {
            self.learn_url(text);
        }
        let headers = written.get("headers").and_then(Value::as_object);
        for (name, value) in headers.into_iter().flatten() {
            let Some(text) = value.as_str().filter(|text| !text.contains("{{")) else { continue };
            if is_secret(name) || name.eq_ignore_ascii_case("cookie") {
                let word = text.split_whitespace().next_back().unwrap_or_default();
                self.learn_text(word, Reach::Token);
            }
        }
    }

    /// Learns the password in a URL, or the user where there is no password.
    fn learn_url(&mut self, text: &str) {
        let Some((_, rest)) = text.split_once("://") else { return };
        let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
        let Some((user, _host)) = authority.rsplit_once('@') else { return };
        let secret = user.split_once(':').map_or(user, |(_, password)| password);
        self.learn_text(secret, Reach::Everywhere);
        if let Some(plain) = unquoted(secret) {
            self.learn_text(&plain, Reach::Everywhere);
        }
    }

    fn learn_text(&mut self, text: &str, reach: Reach) {
        self.learn_url(text);
        let lines = text.lines().map(str::trim).filter(|_| text.trim().contains('\n'));
        // A key of many lines is also shown line by line.
        let lines = lines.filter(|line| line.len() >= TOKEN_BYTES_MIN && !line.starts_with("---"));
        for part in [text, text.trim()].into_iter().chain(lines) {
            let is_known = self.secrets.get(part).is_some_and(|known| *known >= reach);
            if part.len() < SECRET_BYTES_MIN || is_known {
                continue;
            }
            self.secrets.insert(part.to_owned(), reach);
            (self.texts, self.data) = (OnceLock::new(), OnceLock::new());
        }
    }

    /// The text without secrets.
    pub(crate) fn clean(&self, text: String) -> String {
        let masks = self.texts.get_or_init(|| Masks::new(self.secrets.keys(), false));
        masks.as_ref().and_then(|masks| masks.cleaned(&text)).unwrap_or(text)
    }

    /// The value without secrets in its texts, its numbers and its keys; its structure stays.
    pub(crate) fn clean_value(&self, value: Value) -> Value {
        let in_data = |(text, reach): (&'_ String, &Reach)| {
            *reach == Reach::Everywhere || text.len() >= TOKEN_BYTES_MIN
        };
        let chosen = self.secrets.iter().filter(|(text, reach)| in_data((text, reach)));
        let masks = self.data.get_or_init(|| Masks::new(chosen.map(|(text, _)| text), true));
        match masks {
            Some(masks) => masks.value(value),
            None => value,
        }
    }
}

/// What is looked for, all at once.
struct Masks {
    automaton: AhoCorasick,
    /// By pattern: whether it counts only as a word of its own.
    is_word: Vec<bool>,
    /// Whether a number can be one.
    numeric: bool,
}

impl Masks {
    /// None if there is nothing to look for, or nothing to look for it with.
    fn new<'a>(secrets: impl Iterator<Item = &'a String>, as_words: bool) -> Option<Self> {
        let mut patterns: BTreeMap<String, bool> = BTreeMap::new();
        let mut numeric = false;
        for secret in secrets {
            numeric |= secret.bytes().all(|byte| b"+-.eE0123456789".contains(&byte));
            let is_word = as_words && secret.len() < WORD_BYTES;
            for form in forms::of(secret) {
                // One that counts anywhere wins over one that counts as a word.
                *patterns.entry(form).or_insert(is_word) &= is_word;
            }
        }
        if patterns.is_empty() {
            return None;
        }
        let automaton = AhoCorasickBuilder::new()
            .match_kind(MatchKind::LeftmostLongest)
            .build(patterns.keys())
            .ok()?;
        Some(Self { automaton, is_word: patterns.into_values().collect(), numeric })
    }

    /// The text with masks; none if there was nothing to mask.
    fn cleaned(&self, text: &str) -> Option<String> {
        let mut cleaned: Option<String> = None;
        let (mut from, mut kept) = (0, 0);
        while let Some(found) = self.automaton.find(Input::new(text).range(from..)) {
            let is_word = self.is_word.get(found.pattern().as_usize()).copied().unwrap_or_default();
            if is_word && !stands_alone(text, found.start(), found.end()) {
                let next = text.get(found.start()..).and_then(|rest| rest.chars().next());
                from = found.start() + next.map_or(1, char::len_utf8);
                continue;
            }
            let out = cleaned.get_or_insert_with(|| String::with_capacity(text.len()));
            out.push_str(text.get(kept..found.start()).unwrap_or_default());
            out.push_str(MASK);
            (from, kept) = (found.end(), found.end());
        }
        let mut cleaned = cleaned?;
        cleaned.push_str(text.get(kept..).unwrap_or_default());
        Some(cleaned)
    }

    fn value(&self, value: Value) -> Value {
        match value {
            Value::String(text) => Value::String(self.cleaned(&text).unwrap_or(text)),
            Value::Number(number) if self.numeric => {
                self.cleaned(&number.to_string()).map_or(Value::Number(number), Value::String)
            }
            Value::Array(values) => values.into_iter().map(|value| self.value(value)).collect(),
            Value::Object(fields) => {
                let mut kept = Map::with_capacity(fields.len());
                for (name, value) in fields {
                    let name = self.cleaned(&name).map_or(name, |masked| free(&kept, masked));
                    kept.insert(name, self.value(value));
                }
                Value::Object(kept)
            }
            other => other,
        }
    }
}

/// A name that no field has yet: two keys that are masked stay two.
fn free(fields: &Map<String, Value>, masked: String) -> String {
    if !fields.contains_key(&masked) {
        return masked;
    }
    let numbered = (2..).map(|number: usize| format!("{masked} {number}"));
    numbered.into_iter().find(|name| !fields.contains_key(name)).unwrap_or(masked)
}

fn stands_alone(text: &str, start: usize, end: usize) -> bool {
    let is_part = |c: char| c.is_alphanumeric() || c == '_';
    let before = text.get(..start).and_then(|text| text.chars().next_back());
    let after = text.get(end..).and_then(|text| text.chars().next());
    !before.is_some_and(is_part) && !after.is_some_and(is_part)
}

/// Whether a name says that its value is secret.
pub(crate) fn is_secret(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    if ["_name", "_type", "_url", "_uri", "_field"].iter().any(|end| name.ends_with(end)) {
        return false;
    }
    [
        "password",
        "passwd",
        "passphrase",
        "pwd",
        "secret",
        "token",
        "key",
        "authorization",
        "value",
        "credential",
        "private",
        "signature",
        "dsn",
    ]
    .iter()
    .any(|word| name.contains(word))
}

/// The text behind percent signs; none if there are none, or it is no text.
fn unquoted(text: &str) -> Option<String> {
    if !text.contains('%') {
        return None;
    }
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let digits = after.get(..2).and_then(|digits| std::str::from_utf8(digits).ok());
        match digits.and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
            Some(byte) if *first == b'%' => {
                bytes.push(byte);
                rest = after.get(2..).unwrap_or_default();
            }
            _ => {
                bytes.push(*first);
                rest = after;
            }
        }
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests;
