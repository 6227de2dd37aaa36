//! One text, several statements: split where `PostgreSQL`'s own terminal splits it.

use super::lexer::{Kind, tokens};

/// The words at the beginning of a statement that tell whether it has a body of statements.
const LEADING_WORDS: usize = 5;

/// The statements of a text, trimmed, without the semicolons; those without code are left out.
///
/// A semicolon in quotes, comments, parentheses, or between `BEGIN` and `END` of a function, a
/// procedure or a trigger does not end a statement. What is kept is kept as it stands.
pub(crate) fn statements(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut current = Statement::default();
    for token in tokens(text) {
        if token.text == ";" && current.is_flat() {
            found.extend(text.get(current.start..token.start).filter(|_| current.has_code));
            current = Statement { start: token.start + 1, ..Statement::default() };
        } else {
            current.take(token.kind, token.text);
        }
    }
    found.extend(text.get(current.start..).filter(|_| current.has_code));
    found.into_iter().map(|statement| statement.trim().to_owned()).collect()
}

/// What is known of the statement that is being read.
#[derive(Default)]
struct Statement {
    start: usize,
    has_code: bool,
    words: usize,
    creates: bool,
    /// It may have a body between `BEGIN` and `END`.
    has_body: bool,
    parentheses: usize,
    /// Open `BEGIN` and `CASE` inside the body.
    blocks: usize,
}

impl Statement {
    fn is_flat(&self) -> bool {
        self.parentheses == 0 && self.blocks == 0
    }

    fn take(&mut self, kind: Kind, text: &str) {
        self.has_code |= kind != Kind::Blank;
        match (kind, text) {
            (Kind::Symbol, "(") => self.parentheses += 1,
            (Kind::Symbol, ")") => self.parentheses = self.parentheses.saturating_sub(1),
            (Kind::Word, word) => self.word(word),
            _ => {}
        }
    }

    fn word(&mut self, word: &str) {
        let is = |name: &str| word.eq_ignore_ascii_case(name);
        self.words += 1;
        if self.words == 1 {
            self.creates = is("create");
        } else if self.words <= LEADING_WORDS {
            let names_one = ["function", "procedure", "trigger"].into_iter().any(is);
            self.has_body |= self.creates && names_one;
        }
        if !self.has_body || self.parentheses > 0 {
            return;
        }
        if is("begin") || (self.blocks > 0 && is("case")) {
            self.blocks += 1;
        } else if is("end") {
            self.blocks = self.blocks.saturating_sub(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statements_end_at_semicolons_of_their_own() {
        #[rustfmt::skip]
        let cases: [(&str, &[&str]); 16] = [
            ("", &[]),
            (" ; ;\n;", &[]),
            ("SELECT 1", &["SELECT 1"]),
            ("SELECT 1; SELECT 2;\n", &["SELECT 1", "SELECT 2"]),
            ("SELECT 'a;b', \"c;d\"; SELECT 'it''s;'", &["SELECT 'a;b', \"c;d\"", "SELECT 'it''s;'"]),
            ("SELECT E'\\';'; SELECT 2", &["SELECT E'\\';'", "SELECT 2"]),
            ("SELECT '\\'; SELECT 2", &["SELECT '\\'", "SELECT 2"]),
            ("DO $b$ BEGIN x; END $b$; SELECT $$;$$", &["DO $b$ BEGIN x; END $b$", "SELECT $$;$$"]),
            ("-- only; a comment\n; /* and; /* another; */ */", &[]),
            ("-- told\nSELECT 1; -- and; told\n", &["-- told\nSELECT 1"]),
            ("SELECT /* ; */ 1 -- ;\n; SELECT 2", &["SELECT /* ; */ 1 -- ;", "SELECT 2"]),
            ("SELECT 'two\n  lines'", &["SELECT 'two\n  lines'"]),
            ("CREATE RULE r AS ON INSERT TO t DO (SELECT 1; SELECT 2); SELECT 3", &["CREATE RULE r AS ON INSERT TO t DO (SELECT 1; SELECT 2)", "SELECT 3"]),
            ("CREATE OR REPLACE FUNCTION f() RETURNS int BEGIN ATOMIC SELECT CASE WHEN true THEN 1 END; SELECT 2; END; SELECT 3", &["CREATE OR REPLACE FUNCTION f() RETURNS int BEGIN ATOMIC SELECT CASE WHEN true THEN 1 END; SELECT 2; END", "SELECT 3"]),
            ("create temp trigger x after insert on t begin select 1; select 2; end; select 3", &["create temp trigger x after insert on t begin select 1; select 2; end", "select 3"]),
            ("BEGIN; SELECT 1; END; COMMIT", &["BEGIN", "SELECT 1", "END", "COMMIT"]),
        ];
        for (text, expect) in cases {
            assert_eq!(statements(text), expect, "{text}");
        }
    }

    /// `SplitMix64`: chance that can be repeated.
    fn draw(state: &mut u64) -> u64 {
        *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut word = *state;
        word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        word ^ (word >> 31)
    }

    #[test]
    fn any_text_keeps_its_code_in_order() {
        let pieces = [
            "'", "\"", "$", "$a$", "$$", ";", "--", "\n", "/*", "*/", "(", ")", "E'", "\\", "x",
            "create", " ", "function", "begin", "case", "end", "é", "\u{0}", ":", "1", "€",
        ];
        for seed in 0..20_000 {
            let mut state = seed;
            let len = draw(&mut state) % 24;
            let text: String = (0..len)
                .map(|_| pieces[usize::try_from(draw(&mut state)).unwrap_or(0) % pieces.len()])
                .collect();
            let whole: String = tokens(&text).map(|token| token.text).collect();
            assert_eq!(whole, text, "seed {seed}");
            let mut rest = text.as_str();
            for statement in statements(&text) {
                let start = rest.find(&statement).unwrap_or_else(|| panic!("seed {seed}"));
                let between = tokens(&rest[..start]);
                let dropped: Vec<_> = between
                    .filter(|token| token.kind != Kind::Blank && token.text != ";")
                    .collect();
                assert!(dropped.is_empty(), "seed {seed}: {dropped:?} of {text:?}");
                rest = &rest[start + statement.len()..];
            }
        }
    }

    #[test]
    fn a_megabyte_of_openings_is_read_once() {
        for piece in ["'", "$a", "$$;", "/*", "(", "begin ", "\"", "E'\\"] {
            let text = piece.repeat((1 << 20) / piece.len());
            assert!(statements(&text).len() <= text.len(), "{piece}");
        }
    }
}
