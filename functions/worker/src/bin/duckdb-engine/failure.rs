//! What DuckDB says went wrong, as an answer.

use worker::tools::duckdb::protocol::Failure;

/// A failure of our own.
pub(crate) fn failed(class: &str, message: impl Into<String>) -> Failure {
    Failure { class: class.to_owned(), message: message.into() }
}

/// DuckDB's error: its text begins with its name.
pub(crate) fn of(error: duckdb::Error) -> Failure {
    let text = match error {
        duckdb::Error::DuckDBFailure(_, Some(message)) => message,
        other => other.to_string(),
    };
    let named = text.split_once(" Error: ");
    let named = named.or_else(|| text.split_once(" exception: "));
    match named.filter(|(class, _)| class.len() < 40 && !class.contains(['"', '\n'])) {
        Some((class, message)) => failed(class, message),
        None => failed("Other", text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_of_an_error_is_told_from_its_text() {
        let class = |message: &str| {
            let code = duckdb::ffi::Error::new(1);
            of(duckdb::Error::DuckDBFailure(code, Some(message.to_owned()))).class
        };
        assert_eq!(class("Parser Error: syntax error at or near \"SELEC\""), "Parser");
        assert_eq!(class("Out of Memory Error: no"), "Out of Memory");
        assert_eq!(class("whatever"), "Other");
    }
}
