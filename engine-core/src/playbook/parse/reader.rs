//! What all levels of the language share: closed maps, typed scalars, checked templates.

use serde_json::{Map, Value};

use super::Checks;
use super::node::{Data, Entry, Node, Scalar};
use super::references::Mention;
use super::source::Source;
use crate::limits;
use crate::playbook::diagnostic::{Diagnostic, Severity, Span};

/// Bytes of a name that is compared with others to find what was meant.
const COMPARED_BYTES_MAX: usize = 64;

/// Names that it is compared with.
const COMPARED_MAX: usize = 500;

/// Reads nodes as parts of a playbook and collects what is wrong with them.
pub(super) struct Reader<'a> {
    source: Source<'a>,
    checks: &'a Checks,
    found: Vec<Diagnostic>,
    errors: usize,
    warnings: usize,
    /// Index of the step that is being read.
    pub(super) from: usize,
    /// Steps and tasks that are named so far.
    pub(super) mentions: Vec<Mention>,
}

/// The keys that a map may have.
pub(super) struct Level {
    /// What the map is, for messages: `a step`.
    pub(super) name: &'static str,
    /// Its keys.
    pub(super) known: &'static [&'static str],
    /// Keys of other places or versions, with what to write instead.
    pub(super) moved: &'static [(&'static str, &'static str)],
}

/// What strings inside a value are.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Inside {
    /// Text that may hold templates.
    Data,
    /// The same, but `when` and its kin are conditions.
    Policy,
    /// Text of another language: templates in it are nobody's business here (decision D35).
    Foreign,
}

impl<'a> Reader<'a> {
    pub(super) fn new(text: &'a str, checks: &'a Checks, found: Vec<Diagnostic>) -> Self {
        let mut reader = Self {
            source: Source::new(text),
            checks,
            found: Vec::new(),
            errors: 0,
            warnings: 0,
            from: 0,
            mentions: Vec::new(),
        };
        for diagnostic in found {
            reader.report(diagnostic);
        }
        reader
    }

    /// Everything reported so far.
    pub(super) fn findings(self) -> Vec<Diagnostic> {
        self.found
    }

    /// Adds a finding; of each severity no more than a reader gets to see.
    pub(super) fn report(&mut self, diagnostic: Diagnostic) {
        let count = match diagnostic.severity {
            Severity::Error => &mut self.errors,
            Severity::Warning => &mut self.warnings,
        };
        *count += 1;
        if *count <= limits::DIAGNOSTICS_MAX {
            self.found.push(diagnostic);
        }
    }

    /// Whether more errors would not be shown: looking for advice takes time.
    pub(super) fn is_full(&self) -> bool {
        self.errors >= limits::DIAGNOSTICS_MAX
    }

    /// Whether the playbook cannot run.
    pub(super) fn has_errors(&self) -> bool {
        self.errors > 0
    }

    /// Adds an error with advice.
    pub(super) fn error(
        &mut self,
        code: &'static str,
        span: Span,
        message: impl Into<String>,
        advice: impl Into<String>,
    ) {
        self.report(Diagnostic::error(code, span, message).advised(advice));
    }

    /// Adds a warning with advice.
    pub(super) fn warn(
        &mut self,
        code: &'static str,
        span: Span,
        message: impl Into<String>,
        advice: impl Into<String>,
    ) {
        self.report(Diagnostic::warning(code, span, message).advised(advice));
    }

    /// Reports a value that is not what its key needs.
    pub(super) fn mismatch(&mut self, entry: &Entry, expected: &str, advice: impl Into<String>) {
        let message = format!("`{}` must be {expected}, not {}", entry.key, entry.value.noun());
        let span = if entry.value.scalar().is_some_and(|scalar| !scalar.text.is_empty()) {
            entry.value.span
        } else {
            entry.span
        };
        self.error("wrong-type", span, message, advice);
    }

    /// Reports keys that the map may not have.
    pub(super) fn close(&mut self, node: &Node, level: &Level) {
        for entry in node.entries() {
            if !level.known.contains(&entry.key.as_str()) {
                self.unknown(entry, level);
            }
        }
    }

    /// Reports one such key.
    pub(super) fn unknown(&mut self, entry: &Entry, level: &Level) {
        if self.is_full() {
            return;
        }
        let key = entry.key.as_str();
        if let Some((_, advice)) = level.moved.iter().find(|(moved, _)| *moved == key) {
            let message = format!("`{key}` is not a key of {} in this language", level.name);
            return self.error("moved-key", entry.span, message, *advice);
        }
        let message = format!("`{key}` is not a key of {}", level.name);
        let advice = if let Some(rest) = key.strip_prefix('-') {
            let rest = rest.trim_start();
            format!("put a space after the dash: `- {rest}: ...`")
        } else if let Some(near) = nearest(key, level.known.iter().copied()) {
            format!("did you mean `{near}`?")
        } else {
            format!("its keys are {}", listed(level.known.iter().copied()))
        };
        self.error("unknown-key", entry.span, message, advice);
    }

    /// Whether a key that is missing is there, but misspelt: one finding is enough.
    pub(super) fn misspelt(node: &Node, key: &str, level: &Level) -> bool {
        let unknown = |entry: &&Entry| !level.known.contains(&entry.key.as_str());
        let mut unknown = node.entries().iter().filter(unknown);
        unknown.any(|entry| nearest(&entry.key, std::iter::once(key)).is_some())
    }

    /// Two spellings of one key: the one that is there; both at once is an error.
    pub(super) fn either<'n>(&mut self, node: &'n Node, keys: [&str; 2]) -> Option<&'n Entry> {
        let (first, second) = (node.get(keys[0]), node.get(keys[1]));
        if let (Some(_), Some(second)) = (first, second) {
            let message = format!("`{}` and `{}` say the same", keys[0], keys[1]);
            self.error("conflict", second.span, message, format!("keep `{}` only", keys[0]));
        }
        first.or(second)
    }

    /// Text, without surrounding white space; not empty.
    /// A name: it is written into every key and every event, so it has a limit.
    pub(super) fn name(&mut self, entry: &Entry) -> Option<String> {
        let name = self.text(entry)?;
        if name.len() > limits::NAME_BYTES_MAX {
            let message =
                format!("`{}` is longer than {} bytes", entry.key, limits::NAME_BYTES_MAX);
            self.error("limit", entry.value.span, message, "choose a shorter name");
            return None;
        }
        Some(name)
    }

    pub(super) fn text(&mut self, entry: &Entry) -> Option<String> {
        match entry.value.text().map(str::trim) {
            Some("") => {
                let message = format!("`{}` is empty", entry.key);
                self.error("wrong-value", entry.value.span, message, "write a text");
                None
            }
            Some(text) => Some(text.to_owned()),
            None => {
                let advice = match entry.value.scalar() {
                    Some(scalar) if !entry.value.is_null() => {
                        format!("quote it: `\"{}\"`", scalar.text)
                    }
                    _ => "write a text".to_owned(),
                };
                self.mismatch(entry, "text", advice);
                None
            }
        }
    }

    /// A boolean; `yes` and `no` count, with a warning.
    pub(super) fn flag(&mut self, entry: &Entry) -> Option<bool> {
        if let Some(Value::Bool(flag)) = entry.value.typed() {
            return Some(*flag);
        }
        let scalar = entry.value.scalar();
        let Some((scalar, flag)) = scalar.zip(scalar.and_then(Scalar::old_boolean)) else {
            self.mismatch(entry, "true or false", "write `true` or `false`, without quotes");
            return None;
        };
        self.old_boolean(scalar, flag);
        Some(flag)
    }

    fn old_boolean(&mut self, scalar: &Scalar, flag: bool) {
        let message = format!("`{}` is text in YAML 1.2, and `{flag}` in YAML 1.1", scalar.text);
        let advice = format!("write `{flag}`, or quote it if it is text");
        self.warn("yaml-boolean", scalar.span, message, advice);
    }

    /// One of a few words.
    pub(super) fn choice<T: Copy>(&mut self, entry: &Entry, words: &[(&str, T)]) -> Option<T> {
        let word = entry.value.text().unwrap_or_default().trim();
        if let Some((_, meaning)) = words.iter().find(|(known, _)| *known == word) {
            return Some(*meaning);
        }
        let advice = format!("write {}", alternatives(words.iter().map(|(known, _)| *known)));
        if word.is_empty() {
            self.mismatch(entry, "one of a few words", advice);
        } else {
            let message = format!("`{}` cannot be `{word}`", entry.key);
            self.error("wrong-value", entry.value.span, message, advice);
        }
        None
    }

    /// A whole number from `min`, or a template that gives one.
    pub(super) fn count(&mut self, entry: &Entry, min: u64) -> Option<Value> {
        match entry.value.typed().and_then(Value::as_u64) {
            Some(count) if count >= min => return Some(Value::from(count)),
            _ if entry.value.text().is_some_and(is_template) => {
                return Some(self.value(&entry.value, Inside::Data));
            }
            _ => {}
        }
        let advice = format!("write a whole number from {min}, or a template");
        match entry.value.typed().filter(|value| value.is_number()) {
            Some(number) => {
                let message = format!("`{}` cannot be {number}", entry.key);
                self.error("wrong-value", entry.value.span, message, advice);
            }
            None => self.mismatch(entry, "a whole number", advice),
        }
        None
    }

    /// A map whose values may hold templates; nothing counts as an empty map.
    pub(super) fn object(&mut self, entry: &Entry) -> Map<String, Value> {
        if entry.value.is_null() {
            return Map::new();
        }
        let Value::Object(map) = self.value(&entry.value, Inside::Data) else {
            self.mismatch(entry, "a map", "write one `name: value` a line, indented below it");
            return Map::new();
        };
        map
    }

    /// The value as it is written, its templates checked.
    pub(super) fn value(&mut self, node: &Node, inside: Inside) -> Value {
        match &*node.data {
            Data::Scalar(scalar) => {
                if inside != Inside::Foreign {
                    self.check(scalar);
                }
                scalar.value()
            }
            Data::List(items) => items.iter().map(|item| self.value(item, inside)).collect(),
            Data::Map(entries) => {
                let pairs =
                    entries.iter().map(|entry| (entry.key.clone(), self.part(entry, inside)));
                Value::Object(pairs.collect())
            }
        }
    }

    fn part(&mut self, entry: &Entry, inside: Inside) -> Value {
        const CONDITIONS: [&str; 4] = ["when", "while", "retry_when", "stop_when"];
        if inside == Inside::Policy
            && CONDITIONS.contains(&entry.key.as_str())
            && entry.value.text().is_some()
        {
            return self.condition(entry).map_or(Value::Null, Value::String);
        }
        self.value(&entry.value, inside)
    }

    fn check(&mut self, scalar: &Scalar) {
        if let Some(flag) = scalar.old_boolean() {
            self.old_boolean(scalar, flag);
        }
        let may_hold = ["{{", "{%", "{#"].iter().any(|mark| scalar.text.contains(mark));
        if scalar.typed.is_none() && may_hold {
            self.compile(scalar, self.checks.text);
        }
    }

    fn compile(&mut self, scalar: &Scalar, check: super::Check) {
        if let Err(error) = check(&scalar.text) {
            let start = self.source.locate(scalar, error.line, error.column);
            let span = Span { start, length: 1 };
            let message = format!("the template does not compile: {}", error.message);
            self.report(Diagnostic::error("template-syntax", span, message));
        }
    }

    /// A condition, with or without braces; an unquoted boolean counts as its text.
    pub(super) fn condition(&mut self, entry: &Entry) -> Option<String> {
        let scalar = entry.value.scalar().filter(|_| !entry.value.is_null());
        let Some(scalar) = scalar.filter(|scalar| !scalar.text.trim().is_empty()) else {
            let advice = "write an expression, such as `\"{{ event.name == 'step.exit' }}\"`";
            self.mismatch(entry, "a condition", advice);
            return None;
        };
        if scalar.typed.is_none() {
            self.compile(scalar, self.checks.expression);
        }
        Some(scalar.text.clone())
    }

    /// The seconds of a time that is no template; negative ones too.
    pub(super) fn seconds(entry: &Entry) -> Option<f64> {
        let number = entry.value.typed().and_then(Value::as_f64);
        number.or_else(|| entry.value.text().map(str::trim).and_then(seconds))
    }

    /// A time: seconds as a number, text such as `30s`, or a template; not 0 if `positive`.
    pub(super) fn duration(&mut self, entry: &Entry, positive: bool) -> Option<Value> {
        let text = entry.value.text().map(str::trim);
        if text.is_some_and(is_template) {
            return Some(self.value(&entry.value, Inside::Data));
        }
        match Self::seconds(entry) {
            Some(seconds) if seconds > 0.0 || (seconds == 0.0 && !positive) => {
                Some(entry.value.value())
            }
            Some(_) => {
                let is = entry.value.scalar().map_or("", |scalar| scalar.text.as_str());
                let message = format!("`{}` cannot be {is}", entry.key);
                let least = if positive { "more than 0" } else { "0 or more" };
                self.error("wrong-value", entry.value.span, message, format!("write {least}"));
                None
            }
            None => {
                let advice =
                    "write seconds as a number, or text such as `30s`, `500ms`, `5m`, `1h`";
                self.mismatch(entry, "a time", advice);
                None
            }
        }
    }
}

/// Whether a text holds a template.
pub(super) fn is_template(text: &str) -> bool {
    text.contains("{{") || text.contains("{%")
}

/// Seconds of a text such as `30s`; negative ones too, so that they can be named as such.
fn seconds(text: &str) -> Option<f64> {
    let unit = text.find(|character: char| character.is_ascii_alphabetic()).unwrap_or(text.len());
    let (number, unit) = text.split_at(unit);
    let scale = match unit {
        "" | "s" | "sec" => 1.0,
        "ms" => 0.001,
        "m" | "min" => 60.0,
        "h" => 3600.0,
        _ => return None,
    };
    number.trim().parse::<f64>().ok().filter(|number| number.is_finite()).map(|n| n * scale)
}

/// The known word that somebody probably meant.
pub(super) fn nearest<'k>(word: &str, known: impl Iterator<Item = &'k str>) -> Option<&'k str> {
    // The distance takes time in proportion to both lengths: long names are compared by eye.
    if word.len() > COMPARED_BYTES_MAX {
        return None;
    }
    let lower = word.to_lowercase();
    let allowed = (lower.chars().count() / 3).clamp(1, 3);
    known
        .filter(|known| known.len() <= COMPARED_BYTES_MAX)
        .take(COMPARED_MAX)
        .map(|known| (strsim::damerau_levenshtein(&lower, &known.to_lowercase()), known))
        .filter(|(distance, _)| *distance <= allowed)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, known)| known)
}

/// The words in backticks, with commas.
pub(super) fn listed<'k>(words: impl Iterator<Item = &'k str>) -> String {
    words.map(|word| format!("`{word}`")).collect::<Vec<_>>().join(", ")
}

/// The words in backticks, the last after `or`.
fn alternatives<'k>(words: impl Iterator<Item = &'k str>) -> String {
    words.map(|word| format!("`{word}`")).collect::<Vec<_>>().join(" or ")
}
