//! Names of tables and columns that come from outside: always quoted, never code.

use crate::tool::ToolError;

/// Catalog, schema and table: no name has more parts.
const PARTS_MAX: usize = 3;

/// `schema.table` as `"schema"."table"`; parts that are quoted already stay what they are.
///
/// # Errors
/// [`ToolError::input`] for an empty name or part, more than three parts, NUL, or an open quote.
pub(crate) fn quote(name: &str) -> Result<String, ToolError> {
    let parts = parts(name)?;
    Ok(parts.iter().map(|part| quote_part(part)).collect::<Vec<_>>().join("."))
}

/// One part, in quotes, whatever it contains.
pub(crate) fn quote_part(part: &str) -> String {
    format!("\"{}\"", part.replace('"', "\"\""))
}

/// The parts of a name, without their quotes.
///
/// # Errors
/// As [`quote`].
pub(crate) fn parts(name: &str) -> Result<Vec<String>, ToolError> {
    let refuse = |why: &str| {
        ToolError::input(format!(
            "`{}` is no name of a table: {why}; write `table`, `schema.table`, or \
             `\"schema\".\"table\"`",
            name.replace('\0', "\u{fffd}")
        ))
    };
    if name.contains('\0') {
        return Err(refuse("a name cannot contain NUL"));
    }
    let mut parts = Vec::new();
    let mut rest = Some(name.trim());
    while let Some(text) = rest {
        let (part, after) = match text.strip_prefix('"') {
            Some(text) => unquoted(text).ok_or_else(|| refuse("a quote is not closed"))?,
            None => match text.split_once('.') {
                Some((part, after)) => (part.to_owned(), Some(after)),
                None => (text.to_owned(), None),
            },
        };
        if part.is_empty() {
            return Err(refuse("a part of it is empty"));
        }
        parts.push(part);
        if parts.len() > PARTS_MAX {
            return Err(refuse("it has more than three parts"));
        }
        rest = after;
    }
    Ok(parts)
}

/// What is in the quotes that have been opened, and what follows the point behind them.
fn unquoted(text: &str) -> Option<(String, Option<&str>)> {
    let mut part = String::new();
    let mut rest = text;
    loop {
        let (inner, after) = rest.split_once('"')?;
        part.push_str(inner);
        match after.strip_prefix('"') {
            Some(after) => {
                part.push('"');
                rest = after;
            }
            None if after.is_empty() => return Some((part, None)),
            None => return Some((part, Some(after.strip_prefix('.')?))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_quoted_part_by_part() {
        let cases = [
            ("t", "\"t\""),
            (" public.t ", "\"public\".\"t\""),
            ("db.public.t", "\"db\".\"public\".\"t\""),
            ("\"a.b\".\"c\"\"d\"", "\"a.b\".\"c\"\"d\""),
            ("t; drop table x", "\"t; drop table x\""),
            ("t\" (a) values (1); --", "\"t\"\" (a) values (1); --\""),
            ("größe", "\"größe\""),
            ("Mixed", "\"Mixed\""),
        ];
        for (name, expect) in cases {
            assert_eq!(quote(name).unwrap(), expect, "{name}");
        }
        for name in ["", "  ", "a..b", ".a", "a.", "a.b.c.d", "a\0b", "\"a", "\"a\"b", "\"\""] {
            assert!(quote(name).is_err(), "{name:?}");
        }
    }
}
