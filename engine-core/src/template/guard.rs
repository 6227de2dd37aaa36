//! What is refused before it is parsed: text whose syntax tree would be too deep to walk.

use minijinja::machinery::{Token, tokenize};
use minijinja::syntax::SyntaxConfig;

use crate::limits::{TEMPLATE_CHAIN_MAX, TEMPLATE_NESTING_MAX, TEMPLATE_SOURCE_BYTES_MAX};

use super::SyntaxError;

/// Counts brackets, blocks and operators.
///
/// The parser of the template engine bounds the brackets, but neither `a+a+a+...` nor `{% elif %}`:
/// both become a level of the tree for each, and the tree is walked with the stack.
///
/// # Errors
/// [`SyntaxError`] at the place where it became too much.
pub(super) fn assert_shallow(text: &str, is_expression: bool) -> Result<(), SyntaxError> {
    if text.len() > TEMPLATE_SOURCE_BYTES_MAX {
        let len = text.len();
        let message = format!("the template has {len} bytes, limit {TEMPLATE_SOURCE_BYTES_MAX}");
        return Err(SyntaxError { message, line: 1, column: 1 });
    }
    let mut shape = Shape::default();
    for token in tokenize(text, is_expression, SyntaxConfig::default()) {
        // The parser says what is wrong with a token, and where.
        let Ok((token, span)) = token else { return Ok(()) };
        shape.add(&token);
        if let Some(message) = shape.excess() {
            return Err(SyntaxError {
                message,
                line: u32::from(span.start_line),
                column: u32::from(span.start_col) + 1,
            });
        }
    }
    Ok(())
}

/// How deep the tree is at one token.
#[derive(Default)]
struct Shape {
    /// Operators since the last comma, for each open bracket.
    chains: Vec<usize>,
    /// Operators of the expression around the innermost open bracket.
    operators: usize,
    blocks: usize,
    branches: usize,
    is_keyword_next: bool,
}

impl Shape {
    fn add(&mut self, token: &Token<'_>) {
        let is_keyword = std::mem::take(&mut self.is_keyword_next);
        match token {
            Token::VariableStart => self.start(),
            Token::BlockStart => {
                self.start();
                self.is_keyword_next = true;
            }
            Token::Ident(word) if is_keyword => self.keyword(word),
            Token::Ident("and" | "or" | "not" | "is" | "in" | "if" | "else") => self.operators += 1,
            Token::Comma | Token::Colon => self.operators = 0,
            Token::BracketOpen | Token::ParenOpen | Token::BraceOpen => {
                self.chains.push(self.operators + 1);
                self.operators = 0;
            }
            Token::BracketClose | Token::ParenClose | Token::BraceClose => {
                self.operators = self.chains.pop().unwrap_or_default();
            }
            Token::TemplateData(_)
            | Token::VariableEnd
            | Token::BlockEnd
            | Token::Ident(_)
            | Token::Str(_)
            | Token::String(_)
            | Token::Int(_)
            | Token::Int128(_)
            | Token::Float(_) => {}
            _ => self.operators += 1,
        }
    }

    fn start(&mut self) {
        self.chains.clear();
        self.operators = 0;
    }

    fn keyword(&mut self, word: &str) {
        match word {
            "if" | "for" | "macro" | "call" | "filter" | "with" => self.blocks += 1,
            "elif" => self.branches += 1,
            "endif" | "endfor" | "endmacro" | "endcall" | "endfilter" | "endwith" => {
                self.blocks = self.blocks.saturating_sub(1);
            }
            _ => {}
        }
    }

    fn excess(&self) -> Option<String> {
        if self.chains.len().max(self.blocks) > TEMPLATE_NESTING_MAX {
            return Some(format!("nested more than {TEMPLATE_NESTING_MAX} levels deep"));
        }
        let operators = self.operators + self.chains.iter().sum::<usize>();
        (operators.max(self.branches) > TEMPLATE_CHAIN_MAX).then(|| {
            format!("more than {TEMPLATE_CHAIN_MAX} operators in one expression; split it up")
        })
    }
}
