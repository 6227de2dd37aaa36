//! The end of a run, for people: how it went, step by step, and what came of it.

use std::collections::BTreeMap;

use api::view::{Execution, LoopCount, status_text};
use api::waiting::Wait;
use engine_core::event::{Failure, Status};
use engine_core::ids::StepName;
use engine_core::payload::Payload;
use engine_core::playbook::Position;
use engine_core::playbook::diagnostic::Severity;
use engine_core::state::StepState;
use serde_json::Value;

use super::diagnostic::Report;
use super::table::{Align, table};
use super::{Styles, duration, number, printable, waiting};
use crate::playbooks::Source;

/// Lines of a result that are shown.
const RESULT_LINES: usize = 24;
/// Characters of each.
const LINE_CHARS: usize = 160;

/// `✔ COMPLETED path in 1.2 s` and a line for every step.
pub(crate) fn summary(
    execution: &Execution,
    durations: &BTreeMap<StepName, u64>,
    styles: &Styles,
) -> String {
    let status = execution.state.status;
    let head = match status {
        Status::Completed => styles.good.apply_to(format!("✔ {}", status_text(status))),
        Status::Running | Status::Skipped => {
            styles.odd.apply_to(format!("… {}", status_text(status)))
        }
        Status::Failed | Status::Cancelled => {
            styles.bad.apply_to(format!("✘ {}", status_text(status)))
        }
    };
    let path = printable(&execution.state.playbook.path);
    let path = styles.strong.apply_to(path);
    let took = duration(execution.duration_ms);
    let parent = execution.state.parent.as_ref();
    let parent = parent.map(|parent| format!(", called by {}", parent.key.execution_id()));
    let id = format!("execution {}{}", execution.execution_id, parent.unwrap_or_default());
    let id = styles.faint.apply_to(id);
    let head_row = ["step", "runs", "time", ""].map(|text| styles.faint.apply_to(text).to_string());
    let mut rows = vec![head_row.to_vec()];
    rows.extend(execution.steps().into_iter().map(|(name, step)| {
        let took = durations.get(name).map(|ms| duration(*ms)).unwrap_or_default();
        let waits: Vec<&Wait> = execution.waits.iter().filter(|wait| wait.step == *name).collect();
        vec![
            printable(name.as_str()),
            number(step.runs),
            took,
            outcome(step, execution.loops.get(name), &waits, styles),
        ]
    }));
    let aligns = [Align::Left, Align::Right, Align::Right, Align::Left];
    format!("{head} {path} in {took}  {id}\n{}", table(&aligns, &rows))
}

/// How a step stands, how its iterations do, and what it waits for.
fn outcome(step: &StepState, open: Option<&LoopCount>, waits: &[&Wait], styles: &Styles) -> String {
    let (failed, total) = match (&step.result, open) {
        (_, Some(open)) => (open.failed, Some(open.total)),
        (Some(Payload::Loop(summary)), None) => (summary.failed, None),
        _ => (0, None),
    };
    let mark = match step.status {
        Status::Completed => styles.good.apply_to("✔"),
        Status::Running => styles.odd.apply_to("…"),
        Status::Skipped => styles.faint.apply_to("–"),
        Status::Failed | Status::Cancelled => styles.bad.apply_to("✘"),
    };
    let mut parts = vec![mark.to_string()];
    parts.extend(total.map(|total| format!("of {}", number(total))));
    if failed > 0 {
        parts.push(styles.bad.apply_to(format!("{} failed", number(failed))).to_string());
    }
    if let [first, others @ ..] = waits {
        let index = first.index.map(|index| format!("[{index}] ")).unwrap_or_default();
        parts.push(format!("{index}{}", waiting(&first.what)));
        if !others.is_empty() {
            parts.push(format!("and {} more", number(others.len() as u64)));
        }
    }
    parts.join(" ")
}

/// The first failed iterations of a step, in the words that its loop has kept.
pub(crate) fn iterations(step: &StepName, failed: u64, errors: &[String]) -> String {
    let step = printable(step.as_str());
    let head = format!("  {} failed iterations of `{step}`, first of all:\n", number(failed));
    let lines = errors.iter().map(|error| format!("    {}\n", cut(&printable(error))));
    std::iter::once(head).chain(lines).collect()
}

/// A result as indented JSON, cut to a screenful.
pub(crate) fn result(value: &Value) -> String {
    let text = serde_json::to_string_pretty(value).unwrap_or_else(|_no_json| value.to_string());
    let lines: Vec<&str> = text.lines().collect();
    let shown = if lines.len() > RESULT_LINES { RESULT_LINES - 1 } else { lines.len() };
    let mut shown: Vec<String> =
        lines[..shown].iter().map(|line| format!("  {}", cut(line))).collect();
    if lines.len() > shown.len() {
        shown.push(format!("  … {} more lines", number((lines.len() - shown.len()) as u64)));
    }
    shown.join("\n")
}

fn cut(line: &str) -> String {
    match line.char_indices().nth(LINE_CHARS) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line.to_owned(),
    }
}

/// Why an execution failed: the place in the playbook, the tool's words, the traceback.
pub(crate) fn failure(failure: &Failure, source: Option<&Source>, colored: bool) -> String {
    let message = printable(&describe(failure));
    let mut text = match source.filter(|_| failure.line > 0) {
        Some(source) => {
            let position = step_position(source, failure.line);
            let mut report = Report::new(source, position, u32::MAX, message);
            report.severity = Severity::Error;
            report.label = Some("this step".to_owned());
            report.render(colored)
        }
        None => format!("  × {message}\n"),
    };
    if let Some(lines) = &failure.error.traceback {
        text.push_str(&traceback(lines));
    }
    text
}

/// The user's own lines of a traceback.
pub(crate) fn traceback(lines: &str) -> String {
    let lines = printable(lines);
    let lines = lines.lines().flat_map(|line| ["    ", line, "\n"]);
    std::iter::once("  traceback:\n").chain(lines).collect()
}

/// `step `fetch`, iteration 3, attempt 2: HTTPError: ...`; the place once, also if the message has it.
fn describe(failure: &Failure) -> String {
    let mut place = Vec::new();
    if let Some(step) = &failure.step {
        let name = format!("step `{step}`");
        if failure.error.message.contains(&name) {
            return format!("{}: {}", failure.error.kind, failure.error.message);
        }
        place.push(name);
    }
    if let Some(index) = failure.index {
        place.push(format!("iteration {index}"));
    }
    if failure.attempt > 1 {
        place.push(format!("attempt {}", failure.attempt));
    }
    let error = &failure.error;
    let what = format!("{}: {}", error.kind, error.message);
    if place.is_empty() { what } else { format!("{}: {what}", place.join(", ")) }
}

/// Where the text of a line starts.
fn step_position(source: &Source, line: u32) -> Position {
    let text = source.text.lines().nth(line.saturating_sub(1) as usize).unwrap_or_default();
    let blanks = text.chars().take_while(|char| char.is_whitespace()).count();
    let column = u32::try_from(blanks).map_or(1, |blanks| blanks + 1);
    Position { line, column }
}

#[cfg(test)]
mod tests;
