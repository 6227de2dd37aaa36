//! A scanner that walks to the rows of a JSON document and hands them out one by one.
//!
//! Only one row is ever buffered. What is not on the way is skipped, whatever its size.

use engine_core::limits::TRANSFER_NAMES_SHOWN;
use memchr::memchr2;
use serde_json::Value;

use super::{Malformed, Ready, grow};

/// Where the rows are, and where the next page is named: keys from the root.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(in super::super) struct Paths {
    /// Empty: the document is the list; or each document is a row, which makes JSON lines.
    pub(in super::super) data: Vec<String>,
    /// Keys to the URL of the next page.
    pub(in super::super) next: Option<Vec<String>>,
}

/// Where the scanner is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum State {
    /// Before a value.
    Value,
    /// Before a key, or the end of its object.
    Key,
    /// Inside a key.
    InKey,
    /// Between a key and its value.
    Colon,
    /// Behind the value of a key.
    After,
    /// Before a row, or the end of the list.
    Row,
    /// Behind a row.
    Between,
    /// Inside a value that is taken or skipped whole.
    Whole(Use),
    /// Behind a document.
    End,
}

/// What a value is for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Use {
    Row,
    Next,
    Nothing,
}

/// How deep inside a value the scanner is.
#[derive(Debug, Default)]
struct Nesting {
    depth: usize,
    in_text: bool,
    is_escaped: bool,
}

impl Nesting {
    /// How many bytes belong to the value, and whether it ends with them.
    fn scan(&mut self, bytes: &[u8]) -> (usize, bool) {
        let mut at = 0;
        while let Some(byte) = bytes.get(at) {
            if self.is_escaped {
                self.is_escaped = false;
            } else if self.in_text {
                let rest = bytes.get(at..).unwrap_or_default();
                let Some(found) = memchr2(b'"', b'\\', rest) else { return (bytes.len(), false) };
                at += found;
                if rest.get(found) == Some(&b'\\') {
                    self.is_escaped = true;
                } else {
                    self.in_text = false;
                    if self.depth == 0 {
                        return (at + 1, true);
                    }
                }
            } else {
                match byte {
                    b'"' => self.in_text = true,
                    b'{' | b'[' => self.depth += 1,
                    // The end of a number or a word is the byte behind it.
                    b'}' | b']' | b',' | b' ' | b'\t' | b'\n' | b'\r' if self.depth == 0 => {
                        return (at, true);
                    }
                    b'}' | b']' => {
                        self.depth -= 1;
                        if self.depth == 0 {
                            return (at + 1, true);
                        }
                    }
                    _ => {}
                }
            }
            at += 1;
        }
        (bytes.len(), false)
    }
}

/// The scanner.
#[derive(Debug)]
pub(in super::super) struct Json {
    paths: Paths,
    state: State,
    /// Keys of the open objects.
    here: Vec<String>,
    in_list: bool,
    nesting: Nesting,
    buffer: Vec<u8>,
    is_found: bool,
    next: Option<Value>,
    /// Keys seen beside the way, for the error.
    seen: Vec<String>,
    rows: u64,
}

impl Json {
    /// A scanner for one or more documents.
    pub(in super::super) fn new(paths: Paths) -> Self {
        Self {
            paths,
            state: State::Value,
            here: Vec::new(),
            in_list: false,
            nesting: Nesting::default(),
            buffer: Vec::new(),
            is_found: false,
            next: None,
            seen: Vec::new(),
            rows: 0,
        }
    }

    pub(super) fn take_next(&mut self) -> Option<Value> {
        self.next.take()
    }

    pub(super) fn feed(&mut self, bytes: &[u8], ready: &mut Ready) -> Result<(), Malformed> {
        let mut rest = bytes;
        while let Some(byte) = rest.first() {
            let used = match self.state {
                State::Whole(what) => self.whole(what, rest, ready)?,
                State::InKey => self.key(rest)?,
                _ if byte.is_ascii_whitespace() => 1,
                // A byte order mark before the document.
                State::Value if self.is_start() && matches!(byte, 0xef | 0xbb | 0xbf) => 1,
                _ => self.step(*byte)?,
            };
            rest = rest.get(used..).unwrap_or_default();
        }
        Ok(())
    }

    /// There are no more bytes.
    pub(super) fn end(&mut self, ready: &mut Ready) -> Result<(), Malformed> {
        // A number or a word at the root has no end of its own.
        if let State::Whole(what) = self.state
            && self.here.is_empty()
            && !self.in_list
            && self.nesting.depth == 0
            && !self.nesting.in_text
        {
            self.taken(what, ready)?;
        }
        match self.state {
            State::End if self.is_found => Ok(()),
            State::End => Err(self.nothing_there()),
            _ if self.is_start() && self.paths.data.is_empty() => Ok(()),
            _ => Err(Malformed::cut(format!(
                "the data ends in the middle, behind {} complete rows",
                self.rows
            ))),
        }
    }

    fn is_start(&self) -> bool {
        self.state == State::Value && self.here.is_empty() && self.rows == 0 && !self.is_found
    }

    /// One byte of structure; how many bytes it used.
    fn step(&mut self, byte: u8) -> Result<usize, Malformed> {
        match (self.state, byte) {
            (State::Value, _) => return self.value(byte),
            (State::End, _) if self.paths.data.is_empty() => return self.value(byte),
            (State::Row | State::Between, b']') => {
                self.in_list = false;
                self.state = self.behind();
            }
            (State::Row, b'}' | b',' | b':') => return Err(self.unexpected(byte, "a row")),
            (State::Row, _) => {
                self.begin(Use::Row);
                return Ok(0);
            }
            (State::Between, b',') => self.state = State::Row,
            (State::Between, _) => return Err(self.unexpected(byte, "`,` or `]`")),
            (State::Key, b'"') => {
                self.buffer.clear();
                self.nesting = Nesting { in_text: true, ..Nesting::default() };
                self.state = State::InKey;
            }
            (State::Key, b'}') => self.state = self.close(),
            (State::Key, _) => return Err(self.unexpected(byte, "a key")),
            (State::Colon, b':') => self.state = State::Value,
            (State::Colon, _) => return Err(self.unexpected(byte, "`:`")),
            (State::After, b',') => {
                self.here.pop();
                self.state = State::Key;
            }
            (State::After, b'}') => {
                self.here.pop();
                self.state = self.close();
            }
            (State::After, _) => return Err(self.unexpected(byte, "`,` or `}`")),
            (State::End | State::InKey | State::Whole(_), _) => {
                return Err(self.unexpected(byte, "the end"));
            }
        }
        Ok(1)
    }

    /// The beginning of a value: the rows, the way to them, or something else.
    fn value(&mut self, byte: u8) -> Result<usize, Malformed> {
        let is_on_way =
            |path: &[String]| path.len() > self.here.len() && path.starts_with(&self.here);
        let next = self.paths.next.as_deref();
        if self.here == self.paths.data {
            self.is_found = true;
            match byte {
                b'[' => {
                    self.in_list = true;
                    self.state = State::Row;
                    return Ok(1);
                }
                b'{' => self.begin(Use::Row),
                b'n' => self.begin(Use::Nothing),
                _ => return Err(self.no_list(byte)),
            }
        } else if next == Some(&self.here) {
            self.begin(Use::Next);
        } else if byte == b'{' && (is_on_way(&self.paths.data) || next.is_some_and(is_on_way)) {
            self.state = State::Key;
            return Ok(1);
        } else if matches!(byte, b'}' | b']' | b',' | b':') {
            return Err(self.unexpected(byte, "a value"));
        } else {
            self.begin(Use::Nothing);
        }
        Ok(0)
    }

    fn begin(&mut self, what: Use) {
        self.nesting = Nesting::default();
        self.buffer.clear();
        self.state = State::Whole(what);
    }

    fn whole(&mut self, what: Use, rest: &[u8], ready: &mut Ready) -> Result<usize, Malformed> {
        let (used, is_over) = self.nesting.scan(rest);
        if what != Use::Nothing {
            let bytes = rest.get(..used).unwrap_or_default();
            grow(&mut self.buffer, bytes, self.rows + 1)?;
        }
        if is_over {
            self.taken(what, ready)?;
        }
        Ok(used)
    }

    /// A value is complete.
    fn taken(&mut self, what: Use, ready: &mut Ready) -> Result<(), Malformed> {
        match what {
            Use::Nothing => {}
            Use::Next => self.next = serde_json::from_slice(&self.buffer).ok(),
            Use::Row => {
                self.rows += 1;
                ready.push(self.row()?, self.buffer.len());
            }
        }
        self.state = self.behind();
        Ok(())
    }

    fn row(&self) -> Result<super::Row, Malformed> {
        let row = self.rows;
        match serde_json::from_slice(&self.buffer) {
            Ok(Value::Object(fields)) => Ok(fields),
            Ok(other) => Err(Malformed::bad(format!(
                "row {row} is {}, and a row is a map of column names to values; point `data_path` at \
                 a list of maps",
                kind(&other)
            ))),
            Err(error) => Err(Malformed::bad(format!("row {row} is no JSON: {error}"))),
        }
    }

    fn key(&mut self, rest: &[u8]) -> Result<usize, Malformed> {
        let (used, is_over) = self.nesting.scan(rest);
        grow(&mut self.buffer, rest.get(..used).unwrap_or_default(), self.rows)?;
        if is_over {
            let quoted = [b"\"", &*self.buffer].concat();
            let key: String = serde_json::from_slice(&quoted)
                .map_err(|error| Malformed::bad(format!("a key is no JSON: {error}")))?;
            if self.seen.len() < TRANSFER_NAMES_SHOWN {
                self.seen.push(self.path(&key));
            }
            self.here.push(key);
            self.state = State::Colon;
        }
        Ok(used)
    }

    /// The path of a key of the innermost object.
    fn path(&self, key: &str) -> String {
        let mut path = self.here.join(".");
        if !path.is_empty() {
            path.push('.');
        }
        path + key
    }

    /// The state behind an object that ends.
    fn close(&self) -> State {
        if self.here.is_empty() { State::End } else { State::After }
    }

    /// The state behind a value.
    fn behind(&self) -> State {
        if self.in_list { State::Between } else { self.close() }
    }

    fn unexpected(&self, byte: u8, expected: &str) -> Malformed {
        Malformed::bad(format!(
            "this is no JSON: `{}` behind {} rows, where {expected} belongs; say what it is with \
             `format: json`, `jsonl` or `csv`",
            byte.escape_ascii(),
            self.rows
        ))
    }

    fn no_list(&self, byte: u8) -> Malformed {
        let place = match self.here.join(".") {
            path if path.is_empty() => "the data".to_owned(),
            path => format!("`{path}`"),
        };
        Malformed::bad(format!(
            "{place} is no list of rows but a value that begins with `{}`; point `data_path` at a \
             list of maps",
            byte.escape_ascii()
        ))
    }

    fn nothing_there(&self) -> Malformed {
        let seen: Vec<_> = self.seen.iter().map(|path| format!("`{path}`")).collect();
        Malformed::bad(format!(
            "there is nothing at `data_path: {}`; there is {}",
            self.paths.data.join("."),
            if seen.is_empty() { "no map at all".to_owned() } else { seen.join(", ") }
        ))
    }
}

/// What a value is, for people.
fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "text",
        Value::Array(_) => "a list",
        Value::Object(_) => "a map",
    }
}
