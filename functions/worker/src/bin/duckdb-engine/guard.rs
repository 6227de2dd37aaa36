//! What DuckDB itself leaves open when files and servers are closed to a database.
//!
//! The extensions for other databases open any file and server of theirs, and a log goes to any file,
//! whatever `enable_external_access` says; and a database file in an allowed folder may be open
//! already, where no lock would tell. What is declared has been attached before.

use worker::tools::duckdb::protocol::{Failure, Rules};

use crate::failure::failed;

/// Functions that reach outside.
const REFUSED: [&str; 6] = [
    "enable_logging",
    "sqlite_scan",
    "sqlite_attach",
    "postgres_scan",
    "postgres_scan_pushdown",
    "postgres_attach",
];
/// Runs a text, which could name any of them.
const RUNS_TEXT: &str = "query";
/// What `cache` sets in a database whose configuration is locked to all others.
const KEPT: [&str; 5] = [
    "memory_limit",
    "max_memory",
    "max_vacuum_tasks",
    "wal_autocheckpoint",
    "checkpoint_threshold",
];
/// Words of the statements that set something.
const SETS: [&str; 3] = ["set", "reset", "pragma"];

/// Refuses a statement that reaches outside without a declaration.
pub(crate) fn check(sql: &str, rules: &Rules) -> Result<(), Failure> {
    if rules.external_access {
        return Ok(());
    }
    if attaches(sql) && !sql.contains(":memory:") {
        return Err(failed("Permission", "`ATTACH` names what is not declared"));
    }
    let mut rest = sql;
    let mut is_setting = false;
    while let Some(start) = rest.find(is_of_word) {
        rest = &rest[start..];
        let end = rest.find(|c| !is_of_word(c)).unwrap_or(rest.len());
        let (word, behind) = rest.split_at(end);
        let word = word.to_ascii_lowercase();
        is_setting |= SETS.contains(&word.as_str());
        if is_setting && KEPT.contains(&word.as_str()) {
            let text = format!("Cannot change `{word}` - the configuration has been locked");
            return Err(failed("Invalid Input", text));
        }
        let is_text = word == RUNS_TEXT && is_called(behind);
        if is_text || REFUSED.contains(&word.as_str()) {
            return Err(failed("Permission", format!("`{word}` reaches outside of the database")));
        }
        rest = behind;
    }
    Ok(())
}

/// Whether a statement attaches a database, behind comments and `EXPLAIN`.
fn attaches(sql: &str) -> bool {
    let mut rest = sql;
    loop {
        rest = rest.trim_start();
        let word = rest.find(|c| !is_of_word(c)).map_or(rest, |end| &rest[..end]);
        if rest.starts_with("--") {
            rest = rest.split_once('\n').map_or("", |(_, rest)| rest);
        } else if rest.starts_with("/*") {
            rest = rest.split_once("*/").map_or("", |(_, rest)| rest);
        } else if ["explain", "analyze"].iter().any(|skip| word.eq_ignore_ascii_case(skip)) {
            rest = &rest[word.len()..];
        } else {
            return word.eq_ignore_ascii_case("attach");
        }
    }
}

fn is_of_word(c: char) -> bool {
    c == '_' || c.is_alphanumeric()
}

/// Whether a name is followed by its arguments; a comment between them counts as such.
fn is_called(behind: &str) -> bool {
    let behind = behind.trim_start_matches(|c: char| c.is_whitespace() || c == '"');
    ["(", "/*", "--"].iter().any(|start| behind.starts_with(start))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_reaches_outside_is_refused() {
        let rules = Rules { extensions: vec!["sqlite_scanner".to_owned()], ..Rules::default() };
        #[rustfmt::skip]
        let cases = [
            ("SELECT * FROM t", true),
            ("SELECT query FROM t WHERE (query = 'x')", true),
            ("SELECT * FROM postgres_query('pg', 'select 1')", true),
            ("SELECT * FROM query('SELECT 1')", false),
            ("SELECT * FROM \"query\" /* */ ('SELECT 1')", false),
            ("CALL Enable_Logging(storage='file')", false),
            ("SELECT * FROM sqlite_scan('/x', 't')", false),
            ("ATTACH '/x' AS x (TYPE sqlite)", false),
            ("/* a */ -- b\n attach '/x' AS x (TYPE sqlite)", false),
            ("EXPLAIN ANALYZE ATTACH '/x' AS x", false),
            ("ATTACH ':memory:' AS x", true),
            ("SELECT 'please attach'", true),
            ("SET memory_limit = '1TB'", false),
            ("RESET GLOBAL \"max_memory\"", false),
            ("EXPLAIN (ANALYZE, FORMAT json) SET/**/MAX_VACUUM_TASKS = 9", false),
            ("PRAGMA memory_limit='1TB'", false),
            ("SELECT current_setting('memory_limit')", true),
            ("SET TimeZone = 'UTC'", true),
        ];
        for (sql, is_allowed) in cases {
            assert_eq!(check(sql, &rules).is_ok(), is_allowed, "{sql}");
        }
        let open = Rules { external_access: true, ..rules };
        assert!(check("SELECT * FROM query('SELECT 1')", &open).is_ok());
    }
}
