//! `check`: everything that is wrong with playbooks, without running them.

use std::io::Write as _;
use std::path::PathBuf;

use clap::{Args as ClapArgs, ValueEnum};
use engine_core::playbook::calls::circles;
use engine_core::playbook::diagnostic::{Diagnostic, Severity};
use engine_core::playbook::support::unsupported_on_lambda;
use serde_json::{Value, json};

use super::{stdout, write_json};
use crate::ending::{Ending, invalid};
use crate::playbooks::{Source, Target};
use crate::render::{Styles, diagnostic, number};

/// Checks playbooks without running them; ends with 2 if there is any error
#[derive(ClapArgs, Debug)]
pub(crate) struct Args {
    /// Playbook files
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Print the findings as a JSON array
    #[arg(long)]
    json: bool,
    /// Judge the text alone: what this build cannot run is no error
    #[arg(long)]
    syntax_only: bool,
    /// Where the playbooks are to run
    #[arg(long, value_enum, default_value_t = Place::Local, conflicts_with = "syntax_only")]
    target: Place,
}

/// Where playbooks run.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
enum Place {
    /// In one process, on this machine.
    Local,
    /// In functions, in the cloud.
    Lambda,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<Ending> {
    let sources: Result<Vec<Source>, _> =
        args.files.iter().map(|file| Source::read(file)).collect();
    let checked = check(sources.map_err(invalid)?, args.syntax_only, args.target);
    let mut out = stdout();
    if args.json {
        write_json(&mut out, &rows(&checked))?;
    } else {
        let colored = console::colors_enabled();
        for (source, diagnostics) in &checked {
            for found in diagnostics {
                write!(out, "{}", diagnostic::render(source, found, colored))?;
            }
        }
        writeln!(out, "{}", tally(&checked, &Styles::stdout()))?;
    }
    out.flush()?;
    let errors = count(&checked, Severity::Error);
    Ok(if errors > 0 { Ending::Invalid } else { Ending::Completed })
}

type Checked = [(Source, Vec<Diagnostic>)];

/// Every source with its findings by position, also those that only all of them together show.
fn check(sources: Vec<Source>, syntax_only: bool, place: Place) -> Vec<(Source, Vec<Diagnostic>)> {
    let target = if syntax_only { Target::Anywhere } else { Target::Here };
    let mut checked = Vec::new();
    let mut playbooks = Vec::new();
    for (index, source) in sources.into_iter().enumerate() {
        let mut parsed = source.check(target);
        if let Some(playbook) = parsed.playbook {
            if place == Place::Lambda {
                parsed.diagnostics.extend(unsupported_on_lambda(&playbook));
            }
            playbooks.push((index, playbook));
        }
        checked.push((source, parsed.diagnostics));
    }
    let all: Vec<_> = playbooks.iter().map(|(_, playbook)| playbook).collect();
    for (number, found) in circles(&all) {
        let file = playbooks.get(number).and_then(|(index, _)| checked.get_mut(*index));
        if let Some((_, diagnostics)) = file {
            diagnostics.push(found);
        }
    }
    for (_, diagnostics) in &mut checked {
        diagnostics.sort_by_key(|found| found.position);
    }
    checked
}

/// The findings, each with its file.
fn rows(checked: &Checked) -> Vec<Value> {
    let row = |source: &Source, found: &Diagnostic| {
        let mut row = json!({"file": source.name});
        if let (Some(row), Value::Object(found)) = (row.as_object_mut(), json!(found)) {
            row.extend(found);
        }
        row
    };
    let rows = checked
        .iter()
        .flat_map(|(source, diagnostics)| diagnostics.iter().map(move |found| row(source, found)));
    rows.collect()
}

fn count(checked: &Checked, severity: Severity) -> usize {
    let diagnostics = checked.iter().flat_map(|(_, diagnostics)| diagnostics);
    diagnostics.filter(|found| found.severity == severity).count()
}

/// `2 errors and 1 warning in 3 files`
fn tally(checked: &Checked, styles: &Styles) -> String {
    let some = |count: usize, what: &str| {
        let plural = if count == 1 { "" } else { "s" };
        format!("{} {what}{plural}", number(count as u64))
    };
    let (errors, warnings) = (count(checked, Severity::Error), count(checked, Severity::Warning));
    let files = some(checked.len(), "file");
    let style = match (errors, warnings) {
        (0, 0) => return format!("{} {files} without findings", styles.good.apply_to("✔")),
        (0, _) => styles.odd.apply_to("⚠"),
        _ => styles.bad.apply_to("✘"),
    };
    format!("{style} {} and {} in {files}", some(errors, "error"), some(warnings, "warning"))
}

#[cfg(test)]
mod tests {
    use engine_core::playbook::Position;

    use super::*;

    fn checked(severities: &[Severity]) -> Vec<(Source, Vec<Diagnostic>)> {
        let source = Source { name: "a.yaml".to_owned(), text: "x".to_owned() };
        let found = |severity: &Severity| Diagnostic {
            severity: *severity,
            code: "unknown-key",
            message: "`x` is no key".to_owned(),
            position: Position { line: 1, column: 1 },
            length: 1,
            path: "x".to_owned(),
            advice: None,
        };
        vec![(source, severities.iter().map(found).collect())]
    }

    #[test]
    fn the_tally_counts_errors_and_warnings() {
        let (error, warning) = (Severity::Error, Severity::Warning);
        #[rustfmt::skip]
        let cases = [
            (vec![],                      "✔ 1 file without findings"),
            (vec![warning],               "⚠ 0 errors and 1 warning in 1 file"),
            (vec![error, error, warning], "✘ 2 errors and 1 warning in 1 file"),
        ];
        for (severities, expect) in cases {
            assert_eq!(tally(&checked(&severities), &Styles::plain()), expect);
        }
    }

    fn source(path: &str, tool: &str) -> Source {
        let text = format!(
            "apiVersion: noetl.io/v2\nkind: Playbook\nmetadata: {{name: {path}}}\n\
             workflow: [{{step: start, tool: {tool}}}]\n"
        );
        Source { name: format!("{path}.yaml"), text }
    }

    fn codes(checked: &Checked) -> Vec<Vec<&'static str>> {
        let codes = |found: &Vec<Diagnostic>| found.iter().map(|found| found.code).collect();
        checked.iter().map(|(_, found)| codes(found)).collect()
    }

    #[test]
    fn playbooks_that_call_each_other_are_named_when_both_are_given() {
        let a = || source("a", "{kind: playbook, path: b}");
        let b = || source("b", "{kind: playbook, path: a}");
        let check = |sources| codes(&check(sources, false, Place::Local));
        assert_eq!(check(vec![a()]), [Vec::<&str>::new()]);
        assert_eq!(check(vec![a(), b()]), [vec![], vec!["call-circle"]]);
        let own = source("c", "{kind: playbook, path: c}");
        assert_eq!(check(vec![own]), [vec!["call-circle"]]);
    }

    #[test]
    fn the_target_decides_what_runs() {
        let file = "{kind: python, script: {uri: x.py, source: {type: file}}}";
        let found = |tool, place| codes(&check(vec![source("a", tool)], false, place));
        let nothing = [Vec::<&str>::new()];
        assert_eq!(found(file, Place::Local), nothing);
        assert_eq!(found(file, Place::Lambda), [["unsupported"]]);
        assert_eq!(found("{kind: snowflake}", Place::Local), [["unsupported"]]);
        let only_text = check(vec![source("a", "{kind: snowflake}")], true, Place::Local);
        assert_eq!(codes(&only_text), nothing);
    }

    #[test]
    fn a_row_names_its_file_first() {
        let rows = Value::Array(rows(&checked(&[Severity::Error]))).to_string();
        assert!(rows.starts_with(r#"[{"file":"a.yaml","severity":"error""#), "{rows}");
    }
}
