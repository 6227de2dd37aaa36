//! The end of a run, for people: how it went, step by step, and what came of it.

use std::collections::BTreeMap;

use api::view::{Execution, status_text};
use engine_core::event::{Failure, Status};
use engine_core::ids::StepName;
use engine_core::payload::Payload;
use engine_core::playbook::Position;
use engine_core::playbook::diagnostic::Severity;
use engine_core::state::StepState;
use serde_json::Value;

use super::diagnostic::Report;
use super::table::{Align, table};
use super::{Styles, duration, number, printable};
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
        Status::Running => styles.odd.apply_to(format!("… {}", status_text(status))),
        Status::Failed | Status::Cancelled => {
            styles.bad.apply_to(format!("✘ {}", status_text(status)))
        }
    };
    let path = printable(&execution.state.playbook.path);
    let path = styles.strong.apply_to(path);
    let took = duration(execution.duration_ms);
    let id = styles.faint.apply_to(format!("execution {}", execution.execution_id));
    let head_row = ["step", "runs", "time", ""].map(|text| styles.faint.apply_to(text).to_string());
    let mut rows = vec![head_row.to_vec()];
    rows.extend(execution.steps().into_iter().map(|step| row(step, durations, styles)));
    let aligns = [Align::Left, Align::Right, Align::Right, Align::Left];
    format!("{head} {path} in {took}  {id}\n{}", table(&aligns, &rows))
}

fn row(
    (name, step): (&StepName, &StepState),
    durations: &BTreeMap<StepName, u64>,
    styles: &Styles,
) -> Vec<String> {
    let failed = match &step.result {
        Some(Payload::Loop(summary)) if summary.failed > 0 => {
            format!("{} failed", number(summary.failed))
        }
        _ => String::new(),
    };
    let mark = match step.status {
        Status::Completed => styles.good.apply_to("✔"),
        Status::Running => styles.odd.apply_to("…"),
        Status::Failed | Status::Cancelled => styles.bad.apply_to("✘"),
    };
    vec![
        printable(name.as_str()),
        number(step.runs),
        durations.get(name).map(|ms| duration(*ms)).unwrap_or_default(),
        format!("{mark} {}", styles.bad.apply_to(failed)),
    ]
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
    if let Some(traceback) = &failure.error.traceback {
        text.push_str("  traceback:\n");
        for line in printable(traceback).lines() {
            text.extend(["    ", line, "\n"]);
        }
    }
    text
}

/// `step `fetch`, iteration 3, attempt 2: HTTPError: ...`
fn describe(failure: &Failure) -> String {
    let mut place = Vec::new();
    if let Some(step) = &failure.step {
        place.push(format!("step `{step}`"));
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
mod tests {
    use engine_core::event::ToolFailure;
    use engine_core::ids::ExecutionId;
    use engine_core::payload::Payload;
    use engine_core::playbook::PlaybookRef;
    use engine_core::state::ExecutionState;
    use serde_json::json;

    use super::*;

    fn step(order: u64, runs: u64, status: Status) -> StepState {
        StepState { status, runs, visits: 1, order, result: None }
    }

    #[test]
    fn a_summary_lists_the_steps_as_they_finished() {
        let reference = PlaybookRef { path: "examples/x".to_owned(), hash: String::new() };
        let nothing = Payload::Inline(Value::Null);
        let mut state = ExecutionState::begin(&reference, nothing.clone(), BTreeMap::new());
        state.status = Status::Failed;
        state.steps = BTreeMap::from([
            ("start".into(), step(1, 1, Status::Completed)),
            ("each".into(), step(2, 1_000, Status::Completed)),
            ("broken".into(), step(3, 1, Status::Failed)),
        ]);
        let execution = Execution {
            execution_id: ExecutionId(42),
            state: Box::new(state),
            result: nothing,
            failure: None,
            started_ms: 0,
            duration_ms: 1_250,
        };
        let durations =
            BTreeMap::from([("start".into(), 3), ("each".into(), 1_200), ("broken".into(), 47)]);
        let expect = "\
✘ FAILED examples/x in 1.2 s  execution 42
  step     runs   time
  start       1   3 ms  ✔
  each    1 000  1.2 s  ✔
  broken      1  47 ms  ✘
";
        assert_eq!(summary(&execution, &durations, &Styles::plain()), expect);
    }

    #[test]
    fn a_long_result_is_cut_to_a_screenful() {
        assert_eq!(result(&json!({"a": 1})), "  {\n    \"a\": 1\n  }");
        let shown = result(&json!((0..100).collect::<Vec<_>>()));
        assert_eq!(shown.lines().count(), RESULT_LINES);
        assert!(shown.ends_with("  … 79 more lines"), "{shown}");
        let wide = result(&json!("ü".repeat(500)));
        assert!(wide.chars().count() < 200 && wide.ends_with('…'), "{wide}");
    }

    #[test]
    fn a_failure_shows_the_place_the_words_and_the_traceback() {
        let text = "workflow:\n  - step: start\n  - step: fetch\n    tool: {kind: python}\n";
        let source = Source { name: "play.yaml".to_owned(), text: text.to_owned() };
        let error = ToolFailure {
            kind: "ValueError".to_owned(),
            message: "bad \u{1b}[2Jinput".to_owned(),
            traceback: Some("line 3, in main\n    raise ValueError".to_owned()),
            ..ToolFailure::default()
        };
        let failed =
            Failure { step: Some("fetch".into()), line: 3, attempt: 2, index: Some(4), error };
        let shown = failure(&failed, Some(&source), false);
        let expect = "  \
× step `fetch`, iteration 4, attempt 2: ValueError: bad [2Jinput
   ╭─[play.yaml:3:3]
 2 │   - step: start
 3 │   - step: fetch
   ·   ──────┬──────
   ·         ╰── this step
 4 │     tool: {kind: python}
   ╰────
  traceback:
    line 3, in main
        raise ValueError
";
        assert_eq!(shown, expect);
        let bare = Failure { step: None, line: 0, attempt: 0, index: None, ..failed };
        let shown = failure(&bare, Some(&source), false);
        assert!(shown.starts_with("  × ValueError: bad"), "{shown}");
    }
}
