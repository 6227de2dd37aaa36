use engine_core::command::{CallSite, Frame};
use engine_core::ids::{AggregateKey, ExecutionId};
use engine_core::payload::PayloadRef;
use engine_core::playbook::PlaybookRef;

use super::*;

fn command(kind: &str, frame: Option<Frame>) -> Command {
    Command {
        id: "7:a:1".into(),
        attempt: 3,
        reply_to: AggregateKey::Execution(ExecutionId(7)),
        playbook: PlaybookRef { path: "a/b".to_owned(), hash: "0".repeat(64) },
        step: "a".into(),
        tool_kind: kind.to_owned(),
        frame,
        site: CallSite::Tool,
        overrides: None,
        unit: None,
        vars: None,
        scope: Payload::Inline(Value::Null),
        not_before_ms: 0,
        timeout_ms: 1_000,
    }
}

fn frame(len: u32, fail_fast: bool) -> Frame {
    let collection = PayloadRef { uri: String::new(), sha256: String::new(), bytes: 0 };
    Frame { first: 0, len, total: 100, chunk_items: 10, collection, fail_fast }
}

#[test]
fn every_call_of_a_dead_command_failed_for_good() {
    #[rustfmt::skip]
    let cases = [
        (None,                          1),
        (Some(frame(5, false)),         5),
        (Some(frame(5, true)),          1),
        (Some(frame(u32::MAX, false)),  FRAME_ITEMS_MAX as usize),
        (Some(frame(0, false)),         1),
    ];
    for (frame, expect) in cases {
        let envelope = answer(&command("http", frame.clone()), "demo-commands-http-dead", 9);
        assert_eq!(envelope.id, "7:a:1.3.dead".into());
        let Input::Answer(answer) = envelope.input else { panic!("no answer") };
        assert_eq!((answer.attempt, answer.outcomes.len()), (3, expect), "{frame:?}");
        let error = answer.outcomes[0].error.clone().unwrap();
        assert_eq!((error.kind.as_str(), error.retryable), ("DeadLetter", false));
        assert!(error.message.contains("`demo-commands-http-dead`"), "{}", error.message);
    }
}

#[test]
fn only_the_queue_of_its_kind_is_believed_to_have_had_a_command() {
    #[rustfmt::skip]
    let cases = [
        ("http",     "demo-commands-http-dead",   true),
        ("wait",     "demo-commands-noop-dead",   true),
        ("http",     "demo-commands-python-dead", false),
        ("http",     "demo-events-dead.fifo",     false),
        ("http",     "",                          false),
    ];
    for (kind, queue, expect) in cases {
        let found = believed(Box::new(command(kind, None)), queue);
        assert_eq!(matches!(found, Found::Command(_)), expect, "{kind} {queue}");
    }
}

#[test]
fn each_cause_has_a_name_of_its_own() {
    let problems = [
        WireError::NotOurs(String::new()).into(),
        WireError::Truncated { bytes: 1 }.into(),
        WireError::FutureVersion { found: 9 }.into(),
        WireError::Forged(String::new()).into(),
        Undelivered::Port(PortError::new(PortErrorKind::NotFound, "no")),
    ];
    let classes: Vec<&str> = problems.iter().map(class).collect();
    assert_eq!(classes, ["NotOurs", "Truncated", "FutureVersion", "Forged", "BodyLost"]);
}
