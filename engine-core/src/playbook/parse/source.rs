//! From a place inside a decoded scalar to its place in the file.

use std::iter::Peekable;
use std::str::CharIndices;

use super::node::{Scalar, Style};
use crate::playbook::Position;

/// The file, by lines.
#[derive(Debug)]
pub(super) struct Source<'a> {
    text: &'a str,
    /// Byte offset of each line.
    lines: Vec<usize>,
}

impl<'a> Source<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        let breaks = text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n');
        let lines = std::iter::once(0).chain(breaks.map(|(at, _)| at + 1)).collect();
        Self { text, lines }
    }

    /// Byte offset of a place; the end of the text if there is no such place.
    fn offset(&self, place: Position) -> usize {
        let line = place.line.saturating_sub(1) as usize;
        let Some(start) = self.lines.get(line).copied() else { return self.text.len() };
        let rest = self.text.get(start..).unwrap_or_default();
        let column = place.column.saturating_sub(1) as usize;
        rest.char_indices().nth(column).map_or(self.text.len(), |(at, _)| start + at)
    }

    fn place(&self, offset: usize) -> Position {
        let line = self.lines.partition_point(|start| *start <= offset).max(1);
        let start = self.lines.get(line - 1).copied().unwrap_or_default();
        let before = self.text.get(start..offset).unwrap_or_default();
        let number = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
        Position { line: number(line), column: number(before.chars().count() + 1) }
    }

    /// Where a place in the scalar's text stands in the file; line and column count from 1.
    ///
    /// Folding, quoting and indentation change only white space and escapes, so that every other
    /// character of the text is found in the file in the same order.
    pub(super) fn locate(&self, scalar: &Scalar, line: u32, column: u32) -> Position {
        let target = index_of(&scalar.text, line, column);
        let start = self.offset(scalar.span.start);
        let mut file = Cursor::new(self.text.get(start..).unwrap_or_default(), scalar.style);
        let mut last = None;
        for (index, expected) in scalar.text.chars().enumerate() {
            if index > target {
                break;
            }
            if expected.is_whitespace() {
                continue;
            }
            match file.next_of(expected) {
                Some(at) if index == target => return self.place(start + at),
                Some(at) => last = Some((at, index)),
                None => return scalar.span.start,
            }
        }
        // The place is white space: it is as far behind the last character as in the text.
        match last {
            Some((at, index)) => {
                let Position { line, column } = self.place(start + at);
                let gap = u32::try_from(target.saturating_sub(index)).unwrap_or(0);
                Position { line, column: column.saturating_add(gap) }
            }
            None => scalar.span.start,
        }
    }
}

/// Index of a place among the characters of `text`; the end if it is behind it.
fn index_of(text: &str, line: u32, column: u32) -> usize {
    let before = text.split_inclusive('\n').take(line.saturating_sub(1) as usize);
    let start: usize = before.map(|line| line.chars().count()).sum();
    start + column.saturating_sub(1) as usize
}

/// The characters of a scalar as the file spells them.
struct Cursor<'a> {
    rest: Peekable<CharIndices<'a>>,
    /// The quote, if there is one.
    quote: Option<char>,
}

impl<'a> Cursor<'a> {
    fn new(text: &'a str, style: Style) -> Self {
        let mut rest = text.char_indices().peekable();
        // An anchor or a tag stands before the value; before a block, on the line of its header.
        while let Some((_, '&' | '!')) = rest.peek().filter(|_| style != Style::Plain) {
            let ends = |character: char| match style {
                Style::Block => character == '\n',
                Style::Plain | Style::Quoted => character.is_whitespace(),
            };
            while rest.next_if(|(_, character)| !ends(*character)).is_some() {}
            while rest.next_if(|(_, character)| character.is_whitespace()).is_some() {}
        }
        let quoted = style == Style::Quoted;
        let quote = rest.next_if(|(_, mark)| quoted && matches!(mark, '"' | '\'')).map(|at| at.1);
        Self { rest, quote }
    }

    /// Passes the next character, which decodes to `expected`, and says where it stands.
    fn next_of(&mut self, expected: char) -> Option<usize> {
        loop {
            let (at, character) = self.rest.next()?;
            if character.is_whitespace() {
                continue;
            }
            if self.quote == Some('"') && character == '\\' {
                if self.escape()? {
                    continue;
                }
                return Some(at);
            }
            if character != expected {
                return None;
            }
            if self.quote == Some('\'') && character == '\'' {
                self.rest.next();
            }
            return Some(at);
        }
    }

    /// Passes the rest of an escape; whether it stands for white space.
    fn escape(&mut self) -> Option<bool> {
        let digits = match self.rest.next()?.1 {
            'n' | 't' | 'r' | ' ' | '\t' | '\n' | '\r' | 'N' | '_' | 'L' | 'P' | 'v' => {
                return Some(true);
            }
            'x' => 2,
            'u' => 4,
            'U' => 8,
            _ => 0,
        };
        for _ in 0..digits {
            self.rest.next()?;
        }
        Some(false)
    }
}

#[cfg(test)]
mod tests {
    use super::super::document;
    use super::*;

    /// Where the first `@` of the value of `key` is found to be, as `line:column`.
    fn place(yaml: &str) -> String {
        let root = document::read(yaml).root.unwrap();
        let scalar = root.entries()[0].value.scalar().unwrap();
        let before = scalar.text.split('@').next().unwrap();
        let line = before.matches('\n').count() + 1;
        let column = before.rsplit('\n').next().unwrap().chars().count() + 1;
        let (line, column) = (u32::try_from(line).unwrap(), u32::try_from(column).unwrap());
        let Position { line, column } = Source::new(yaml).locate(scalar, line, column);
        format!("{line}:{column}")
    }

    #[test]
    fn a_place_in_a_scalar_is_found_in_the_file() {
        #[rustfmt::skip]
        let cases = [
            ("k: ab @", "1:7"),
            ("k: \"ab @\"", "1:8"),
            ("k: 'it''s @'", "1:11"),
            ("k: \"a\\n\\\"b\\x41 @\"", "1:16"),
            ("k: |\n  a\n\n  b @\n", "4:5"),
            ("k: |-\n\n    a\n     @\n", "4:6"),
            ("k: >\n  a\n  b\n\n  c @\n", "5:5"),
            ("k: a\n  b\n  c @", "3:5"),
            ("k: \"a\n  b \\\n  c @\"", "3:5"),
            ("k: &anchor |\n  a\n  @\n", "3:3"),
            ("k: &anchor \"a @\"", "1:15"),
            ("k: äö @", "1:7"),
            ("k: |\r\n  a\r\n  b @\r\n", "3:5"),
        ];
        for (yaml, expect) in cases {
            assert_eq!(place(yaml), expect, "{yaml:?}");
        }
    }
}
