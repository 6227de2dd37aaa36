//! Comma separated values (RFC 4180) become rows of text; the first line names the columns.
//!
//! An empty field is null, a quoted empty one is empty text, as `PostgreSQL` has it.

use engine_core::limits::TRANSFER_NAMES_SHOWN;
use serde_json::Value;

use super::{Malformed, Ready, grow};

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum State {
    /// At the beginning of a field.
    Start,
    /// Inside a field without quotes.
    Plain,
    /// Inside quotes.
    Quoted,
    /// Behind a quote inside quotes: their end, or one half of a doubled quote.
    Quote,
}

/// The scanner.
#[derive(Debug)]
pub(in super::super) struct Csv {
    delimiter: u8,
    state: State,
    was_quoted: bool,
    field: Vec<u8>,
    fields: Vec<Value>,
    bytes: usize,
    columns: Option<Vec<String>>,
    rows: u64,
}

impl Csv {
    /// A scanner for fields between `delimiter`s.
    pub(in super::super) fn new(delimiter: u8) -> Self {
        Self {
            delimiter,
            state: State::Start,
            was_quoted: false,
            field: Vec::new(),
            fields: Vec::new(),
            bytes: 0,
            columns: None,
            rows: 0,
        }
    }

    pub(super) fn feed(&mut self, bytes: &[u8], ready: &mut Ready) -> Result<(), Malformed> {
        for byte in bytes {
            self.bytes += 1;
            match (self.state, *byte) {
                (State::Start, b'"') => (self.state, self.was_quoted) = (State::Quoted, true),
                (State::Quoted, b'"') => self.state = State::Quote,
                (State::Quote, b'"') => {
                    self.state = State::Quoted;
                    self.push(b'"')?;
                }
                (State::Quoted, byte) => self.push(byte)?,
                (_, byte) if byte == self.delimiter => self.field()?,
                (_, b'\n') => self.line(ready)?,
                (State::Quote, b'\r') => {}
                (State::Quote, _) => {
                    return Err(Malformed::bad(format!(
                        "line of row {}: text behind a closing quote; double the quotes inside a \
                         field, or name the right `delimiter`",
                        self.rows + 1
                    )));
                }
                (_, byte) => {
                    self.state = State::Plain;
                    self.push(byte)?;
                }
            }
        }
        Ok(())
    }

    /// There are no more bytes.
    pub(super) fn end(&mut self, ready: &mut Ready) -> Result<(), Malformed> {
        if self.state == State::Quoted {
            return Err(Malformed::cut(format!(
                "the data ends inside quotes, behind {} complete rows",
                self.rows
            )));
        }
        if self.state != State::Start || !self.fields.is_empty() {
            self.line(ready)?;
        }
        Ok(())
    }

    fn push(&mut self, byte: u8) -> Result<(), Malformed> {
        grow(&mut self.field, &[byte], self.rows + 1)
    }

    fn field(&mut self) -> Result<(), Malformed> {
        let text = std::str::from_utf8(&self.field).map_err(|_invalid| {
            Malformed::bad(format!(
                "row {} is not UTF-8; save the file as UTF-8 first",
                self.rows + 1
            ))
        })?;
        let is_null = text.is_empty() && !self.was_quoted;
        self.fields.push(if is_null { Value::Null } else { Value::from(text) });
        self.field.clear();
        (self.state, self.was_quoted) = (State::Start, false);
        Ok(())
    }

    fn line(&mut self, ready: &mut Ready) -> Result<(), Malformed> {
        // The carriage return of a line break; inside quotes it is text.
        if !self.was_quoted && self.field.last() == Some(&b'\r') {
            self.field.pop();
        }
        let is_blank = self.fields.is_empty() && self.field.is_empty() && !self.was_quoted;
        self.field()?;
        let fields = std::mem::take(&mut self.fields);
        let bytes = std::mem::take(&mut self.bytes);
        if is_blank {
            return Ok(());
        }
        let Some(columns) = &self.columns else {
            self.columns = Some(header(fields)?);
            return Ok(());
        };
        self.rows += 1;
        if fields.len() != columns.len() {
            return Err(Malformed::bad(format!(
                "row {} has {} fields, and the first line names {} columns ({})",
                self.rows,
                fields.len(),
                columns.len(),
                shown(columns)
            )));
        }
        ready.push(columns.iter().cloned().zip(fields).collect(), bytes);
        Ok(())
    }
}

/// The names of the first line.
fn header(fields: Vec<Value>) -> Result<Vec<String>, Malformed> {
    let mut columns = Vec::with_capacity(fields.len());
    for field in fields {
        let name = field.as_str().unwrap_or_default().trim().trim_start_matches('\u{feff}');
        if name.is_empty() || columns.iter().any(|column| column == name) {
            return Err(Malformed::bad(format!(
                "the first line names the columns, each once, and `{name}` is empty or there twice"
            )));
        }
        columns.push(name.to_owned());
    }
    Ok(columns)
}

fn shown(columns: &[String]) -> String {
    let names: Vec<_> =
        columns.iter().take(TRANSFER_NAMES_SHOWN).map(|name| format!("`{name}`")).collect();
    names.join(", ")
}
