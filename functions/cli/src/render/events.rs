//! Events as lines.

use api::waiting::utc;
use console::pad_str;
use engine_core::project::Event;
use serde_json::Value;

use super::{Styles, duration, one_line, printable};

/// Characters of what an event carries.
const TEXT_CHARS: usize = 90;
/// Columns of the type of an event: the longest has 22.
const TYPE_COLUMNS: usize = 22;

/// One line: milliseconds since the start, what happened, where, and an error if there is one.
pub(crate) fn line(event: &Event, started_ms: i64, styles: &Styles) -> String {
    let after_ms = (event.at_ms - started_ms).max(0);
    let after = format!("+{}.{:03}", after_ms / 1_000, after_ms % 1_000);
    let style = match event.status {
        "FAILED" => &styles.bad,
        "COMPLETED" => &styles.good,
        "SKIPPED" => &styles.faint,
        _ => &styles.strong,
    };
    let kind = pad_str(event.event_type, TYPE_COLUMNS, console::Alignment::Left, None);
    let mut line =
        format!("{:>10}  {}  {}", styles.faint.apply_to(after), style.apply_to(kind), place(event));
    if let Some(text) = error(&event.result) {
        line.push_str("  ");
        line.push_str(&one_line(&printable(&text), TEXT_CHARS));
    }
    line
}

/// The step, with the iteration, the tool, the attempt if it is not the first, and what it is about.
fn place(event: &Event) -> String {
    let name = printable(&event.node_name);
    let index = event.current_index.map(|index| format!("[{index}]")).unwrap_or_default();
    let kind = event.node_type.as_ref().map(|kind| format!(" ({kind})")).unwrap_or_default();
    let attempt = match event.meta.get("attempt").and_then(Value::as_u64) {
        Some(attempt) if attempt > 1 => format!(" attempt {attempt}"),
        _ => String::new(),
    };
    format!("{name}{index}{kind}{attempt}{}", about(&event.meta))
}

/// Which of the step's calls it is, and what it waits for.
fn about(meta: &Value) -> String {
    let number = |key: &str| meta.get(key).and_then(Value::as_i64);
    let text = |value: &Value| printable(value.as_str().unwrap_or_default());
    let site = meta.get("site").map(|site| match site.get("task") {
        Some(task) => format!(" task {task}"),
        None if site.get("named").is_some() => " task of a rule".to_owned(),
        None => " save".to_owned(),
    });
    let parts = [
        site,
        number("page").map(|page| format!(" page {page}")),
        meta.get("callback").map(|callback| format!(" token {}", text(&callback["token"]))),
        number("until_ms").map(|until_ms| format!(" waits until {}", utc(until_ms))),
        meta.get("child_execution_id").map(|child| format!(" execution {}", text(child))),
        meta.get("parent_execution_id").map(|parent| format!(" called by {}", text(parent))),
        number("retry_delay_ms").map(|ms| format!(" in {}", duration(ms.unsigned_abs()))),
    ];
    parts.into_iter().flatten().collect()
}

fn error(result: &Value) -> Option<String> {
    // A failed execution nests the tool's error in the place where it happened.
    let error = result.get("error").filter(|error| !error.is_null())?;
    let error = error.get("error").unwrap_or(error);
    let text = |key: &str| error.get(key).and_then(Value::as_str).unwrap_or_default();
    Some(format!("{}: {}", text("type"), text("message")))
}

#[cfg(test)]
mod tests {
    use engine_core::ids::EventId;
    use serde_json::json;

    use super::*;

    fn event(event_type: &'static str, status: &'static str, result: Value) -> Event {
        Event {
            execution_id: "7".to_owned(),
            event_id: EventId(1),
            parent_event_id: None,
            at_ms: 2_034,
            event_type,
            node_name: "fetch".to_owned(),
            node_type: None,
            status,
            loop_name: None,
            loop_id: None,
            current_index: None,
            result,
            meta: Value::Null,
        }
    }

    #[test]
    fn a_line_says_when_what_and_where() {
        let shown = |event: &Event| line(event, 1_000, &Styles::plain());
        let done = event("call.done", "COMPLETED", json!({"response": 1}));
        assert_eq!(shown(&done), "    +1.034  call.done               fetch");
        let issued = Event {
            node_type: Some("http".to_owned()),
            current_index: Some(4),
            meta: json!({"attempt": 2}),
            ..event("command.issued", "PENDING", Value::Null)
        };
        let expect = "    +1.034  command.issued          fetch[4] (http) attempt 2";
        assert_eq!(shown(&issued), expect);
    }

    #[test]
    fn a_call_says_which_it_is_and_what_it_waits_for() {
        #[rustfmt::skip]
        let cases = [
            (json!({"attempt": 1}),                                   ""),
            (json!({"page": 3}),                                      " page 3"),
            (json!({"site": {"task": 1}}),                            " task 1"),
            (json!({"site": {"named": {"rule": 1}}}),                 " task of a rule"),
            (json!({"site": "sink"}),                                 " save"),
            (json!({"site": {"save": {"rule": 1}}}),                  " save"),
            (json!({"callback": {"token": "t"}, "until_ms": 0}),      " token t waits until 1970-01-01T00:00:00Z"),
            (json!({"child_execution_id": "77"}),                     " execution 77"),
            (json!({"parent_execution_id": "7"}),                     " called by 7"),
            (json!({"retry_delay_ms": 1_500}),                        " in 1.5 s"),
        ];
        for (meta, expect) in cases {
            assert_eq!(about(&meta), expect, "{meta}");
        }
    }

    #[test]
    fn an_error_is_shown_wherever_it_is_nested() {
        let cause = json!({"type": "HTTPError", "message": "503"});
        for result in [json!({"error": cause}), json!({"error": {"step": "a", "error": cause}})] {
            let text = line(&event("x", "FAILED", result), 0, &Styles::plain());
            assert!(text.ends_with("fetch  HTTPError: 503"), "{text}");
        }
    }
}
