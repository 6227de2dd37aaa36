//! SQL text in tokens: just enough to know what is code, and what is quoted or a comment.

use memchr::memmem;

/// What a token is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Kind {
    /// White space, or a comment.
    Blank,
    /// A string, a quoted name, a dollar-quoted body.
    Quoted,
    /// A keyword or a plain name.
    Word,
    /// A number, or a placeholder such as `$1`.
    Number,
    /// One other character.
    Symbol,
}

/// A token: a range of the text. All tokens together are the text.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Token<'a> {
    pub(crate) kind: Kind,
    pub(crate) start: usize,
    pub(crate) text: &'a str,
}

/// The tokens of a text, in order; what is not closed goes to the end of the text.
pub(crate) fn tokens(text: &str) -> impl Iterator<Item = Token<'_>> {
    let mut at = 0;
    std::iter::from_fn(move || {
        let rest = text.get(at..).filter(|rest| !rest.is_empty())?;
        let (kind, len) = first(rest);
        let token = Token { kind, start: at, text: rest.get(..len).unwrap_or(rest) };
        at += token.text.len();
        Some(token)
    })
}

/// The first word of a statement, without blanks, comments and parentheses before it; empty if it has none.
pub(crate) fn first_word(text: &str) -> &str {
    let mut words = tokens(text).skip_while(|token| token.kind == Kind::Blank || token.text == "(");
    words.next().filter(|token| token.kind == Kind::Word).map_or("", |token| token.text)
}

/// Kind and length of the first token; the length ends at a character.
fn first(text: &str) -> (Kind, usize) {
    let bytes = text.as_bytes();
    let next = bytes.get(1).copied();
    match bytes.first().copied().unwrap_or_default() {
        b'-' if next == Some(b'-') => (Kind::Blank, line(text)),
        b'/' if next == Some(b'*') => (Kind::Blank, comment(bytes)),
        byte if byte.is_ascii_whitespace() => {
            (Kind::Blank, run(bytes, |byte| byte.is_ascii_whitespace()))
        }
        quote @ (b'\'' | b'"') => (Kind::Quoted, quoted(bytes, 0, quote, false)),
        b'e' | b'E' if next == Some(b'\'') => (Kind::Quoted, quoted(bytes, 1, b'\'', true)),
        b'$' => dollar(text),
        byte if begins_word(byte) => (Kind::Word, run(bytes, in_word)),
        byte if byte.is_ascii_digit() => (Kind::Number, run(bytes, in_word)),
        _ => (Kind::Symbol, 1),
    }
}

/// Every byte above ASCII may be in a name, so that a token never ends inside a character.
fn begins_word(byte: u8) -> bool {
    byte.is_ascii_alphabetic() || byte == b'_' || byte >= 0x80
}

fn in_word(byte: u8) -> bool {
    begins_word(byte) || byte.is_ascii_digit() || byte == b'$'
}

fn run(bytes: &[u8], belongs: impl Fn(u8) -> bool) -> usize {
    bytes.iter().position(|byte| !belongs(*byte)).unwrap_or(bytes.len())
}

fn line(text: &str) -> usize {
    text.find('\n').map_or(text.len(), |end| end + 1)
}

/// Comments of this kind are nested.
fn comment(bytes: &[u8]) -> usize {
    let (mut at, mut depth) = (2, 1);
    while depth > 0 {
        match (bytes.get(at), bytes.get(at + 1)) {
            (Some(b'/'), Some(b'*')) => (at, depth) = (at + 2, depth + 1),
            (Some(b'*'), Some(b'/')) => (at, depth) = (at + 2, depth - 1),
            (Some(_), _) => at += 1,
            (None, _) => return bytes.len(),
        }
    }
    at
}

/// The end of what the quote at `open` begins; a doubled quote does not end it.
fn quoted(bytes: &[u8], open: usize, quote: u8, has_escapes: bool) -> usize {
    let mut at = open + 1;
    while let Some(byte) = bytes.get(at) {
        at += 1;
        if has_escapes && *byte == b'\\' {
            at += 1;
        } else if *byte == quote {
            if bytes.get(at) != Some(&quote) {
                return at;
            }
            at += 1;
        }
    }
    bytes.len()
}

/// `$1`, `$tag$ .. $tag$`, `$name`, or a lone dollar.
fn dollar(text: &str) -> (Kind, usize) {
    let bytes = text.as_bytes();
    let tag = bytes.get(1..).unwrap_or_default();
    let named = run(tag, |byte| in_word(byte) && byte != b'$');
    if tag.first().is_some_and(u8::is_ascii_digit) {
        return (Kind::Number, 1 + named);
    }
    if tag.get(named) != Some(&b'$') {
        return if named > 0 { (Kind::Word, 1 + named) } else { (Kind::Symbol, 1) };
    }
    let (open, body) = bytes.split_at((named + 2).min(bytes.len()));
    let end = memmem::find(body, open).map_or(bytes.len(), |end| 2 * open.len() + end);
    (Kind::Quoted, end)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_code_is_told_from_what_is_quoted() {
        let shown = |text: &str| -> Vec<(Kind, String)> {
            tokens(text).map(|token| (token.kind, token.text.to_owned())).collect()
        };
        #[rustfmt::skip]
        let cases = [
            ("'it''s'", Kind::Quoted), ("E'it\\'s'", Kind::Quoted), ("e'a\\\\'", Kind::Quoted), ("\"a\"\"b\"", Kind::Quoted),
            ("$$a'b$$", Kind::Quoted), ("$x$ $y$ $$ $x$", Kind::Quoted), ("$é$;$é$", Kind::Quoted), ("-- a;b", Kind::Blank),
            ("/* a /* b */ ; */", Kind::Blank), ("/*", Kind::Blank), ("'open;", Kind::Quoted), ("$a$ open", Kind::Quoted),
            ("name$1", Kind::Word), ("größe", Kind::Word), ("$12", Kind::Number), ("12e3", Kind::Number), ("$name", Kind::Word), ("$", Kind::Symbol),
        ];
        for (text, kind) in cases {
            assert_eq!(shown(text), [(kind, text.to_owned())], "{text}");
        }
        assert_eq!(shown("\\'a'").len(), 2, "a backslash outside of a string means nothing");
    }
}
