//! `:name` in SQL becomes a numbered placeholder: values travel beside the text, never in it.

use serde_json::{Map, Value};

use super::lexer::{Kind, Token, tokens};
use crate::tool::ToolError;

/// How a driver writes its placeholders.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Style {
    /// `$1`, as in `PostgreSQL` and `DuckDB`.
    Dollar,
    /// `?1`, as in `SQLite`.
    Question,
}

/// The text with numbers in the place of names, and the names in the order of their numbers.
///
/// The same name has the same number. `::type`, `:=`, slices such as `[1:2]`, and whatever is quoted
/// or a comment stay as they are.
///
/// # Errors
/// [`ToolError::input`] for a text that has names and numbers: nobody could tell which is which.
pub(crate) fn bind(text: &str, style: Style) -> Result<(String, Vec<String>), ToolError> {
    let tokens: Vec<Token<'_>> = tokens(text).collect();
    let mut bound = String::with_capacity(text.len());
    let mut names: Vec<String> = Vec::new();
    let mut numbered = None;
    let mut at = 0;
    while let Some(token) = tokens.get(at) {
        let before = at.checked_sub(1).and_then(|before| tokens.get(before));
        if let Some(name) = tokens.get(at + 1).filter(|_| begins(token, before)).and_then(name) {
            let number = names.iter().position(|known| known == name).unwrap_or_else(|| {
                names.push(name.to_owned());
                names.len() - 1
            });
            bound.push(match style {
                Style::Dollar => '$',
                Style::Question => '?',
            });
            bound.push_str(&(number + 1).to_string());
            at += 2;
            continue;
        }
        if token.kind == Kind::Number && token.text.starts_with('$') {
            numbered = Some(token.text);
        }
        bound.push_str(token.text);
        at += 1;
    }
    match (numbered, names.first()) {
        (Some(number), Some(name)) => Err(ToolError::input(format!(
            "the statement uses `:{name}` and `{number}`; write names and give `params` as a map, \
             or write numbers and give it as a list"
        ))),
        _ => Ok((bound, names)),
    }
}

/// Whether a text has places for values: `:name` or `$1`.
pub(crate) fn has_places(text: &str) -> bool {
    let is_number = |token: Token<'_>| token.kind == Kind::Number && token.text.starts_with('$');
    tokens(text).any(is_number)
        || !bind(text, Style::Dollar).is_ok_and(|(_, names)| names.is_empty())
}

/// Whether a placeholder may begin here: not behind a name, a number or a bracket (a slice), nor a colon.
fn begins(token: &Token<'_>, before: Option<&Token<'_>>) -> bool {
    token.text == ":"
        && before.is_none_or(|before| match before.kind {
            Kind::Blank => true,
            Kind::Symbol => ![":", ")", "]"].contains(&before.text),
            Kind::Word | Kind::Number | Kind::Quoted => false,
        })
}

fn name<'a>(token: &Token<'a>) -> Option<&'a str> {
    (token.kind == Kind::Word && !token.text.starts_with('$')).then_some(token.text)
}

/// The values for the names of [`bind`], in the order of their numbers.
///
/// # Errors
/// [`ToolError::input`] for a name without a value, with the names that have one.
pub(crate) fn values(
    names: &[String],
    params: &Map<String, Value>,
) -> Result<Vec<Value>, ToolError> {
    let value = |name: &String| {
        params.get(name).cloned().ok_or_else(|| {
            let known: Vec<_> = params.keys().map(|key| format!("`{key}`")).collect();
            let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
            ToolError::input(format!(
                "the statement uses `:{name}`, and `params` has no value for it; given are {known}"
            ))
        })
    };
    names.iter().map(value).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn names_become_numbers_and_nothing_else_changes() {
        #[rustfmt::skip]
        let cases: [(&str, &str, &[&str]); 15] = [
            ("SELECT 1", "SELECT 1", &[]),
            ("SELECT :a", "SELECT $1", &["a"]),
            ("VALUES (:a,:b,:a)", "VALUES ($1,$2,$1)", &["a", "b"]),
            ("SELECT :a::int, x::text", "SELECT $1::int, x::text", &["a"]),
            ("SELECT ':a', \":b\", $$:c$$, E'\\':d'", "SELECT ':a', \":b\", $$:c$$, E'\\':d'", &[]),
            ("SELECT 1 -- :a\n/* :b */", "SELECT 1 -- :a\n/* :b */", &[]),
            ("SELECT f(x := 1, y:=:a)", "SELECT f(x := 1, y:=$1)", &["a"]),
            ("SELECT v[1:2], v[lo:hi], v[f(1):hi]", "SELECT v[1:2], v[lo:hi], v[f(1):hi]", &[]),
            ("SELECT ARRAY[:a,:b]", "SELECT ARRAY[$1,$2]", &["a", "b"]),
            ("SELECT x=:größe", "SELECT x=$1", &["größe"]),
            ("SELECT x->:key", "SELECT x->$1", &["key"]),
            ("SELECT : a", "SELECT : a", &[]),
            ("SELECT {'a':b}", "SELECT {'a':b}", &[]),
            (":a", "$1", &["a"]),
            ("SELECT '12:30'::time, :", "SELECT '12:30'::time, :", &[]),
        ];
        for (text, expect, names) in cases {
            let (bound, found) = bind(text, Style::Dollar).unwrap();
            assert_eq!(
                (bound.as_str(), found),
                (expect, names.iter().map(|s| (*s).to_owned()).collect()),
                "{text}"
            );
        }
        assert_eq!(bind("SELECT :a, :b", Style::Question).unwrap().0, "SELECT ?1, ?2");
        let error = bind("SELECT :a, $1", Style::Dollar).unwrap_err();
        assert!(error.message().contains("`:a` and `$1`"), "{error}");
    }

    #[test]
    fn a_name_without_a_value_says_which_there_are() {
        let Value::Object(params) = json!({"a": 1, "b": null}) else { panic!("a map") };
        let names = ["b", "a"].map(str::to_owned);
        assert_eq!(values(&names, &params).unwrap(), [json!(null), json!(1)]);
        let error = values(&["c".to_owned()], &params).unwrap_err();
        assert!(error.message().ends_with("given are `a`, `b`"), "{error}");
        let error = values(&["c".to_owned()], &Map::new()).unwrap_err();
        assert!(error.message().ends_with("given are none"), "{error}");
    }
}
