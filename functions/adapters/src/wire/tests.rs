use engine_core::command::CallSite;
use engine_core::event::{Answer, Input, Outcome};
use engine_core::ids::{EventId, ExecutionId};
use engine_core::payload::{Blob, Payload};
use engine_core::playbook::PlaybookRef;
use proptest::prelude::*;
use serde_json::json;

use super::*;

fn key(step: &str) -> AggregateKey {
    AggregateKey::Loop {
        execution_id: ExecutionId(7),
        step: step.into(),
        event_id: EventId(i64::MAX),
    }
}

fn answer(to: AggregateKey, result: Value, output: &str) -> Envelope {
    let outcome = Outcome {
        result: Payload::Inline(result),
        error: None,
        started_ms: 0,
        duration_ms: 1,
        output: output.to_owned(),
    };
    let input = Input::Answer(Answer {
        command_id: "c".into(),
        attempt: 1,
        worker: "w".to_owned(),
        outcomes: vec![outcome],
        cut: false,
    });
    Envelope { id: "i".into(), to, input }
}

fn a_command() -> Command {
    Command {
        id: "c".into(),
        attempt: 1,
        reply_to: key("s"),
        playbook: PlaybookRef { path: "p".to_owned(), hash: "0".repeat(64) },
        step: "s".into(),
        tool_kind: "http".to_owned(),
        frame: None,
        site: CallSite::Tool,
        overrides: None,
        unit: None,
        vars: None,
        scope: Payload::Inline(json!({})),
        not_before_ms: 0,
        timeout_ms: 1,
    }
}

/// What SQS accepts: the characters of XML 1.0.
fn is_accepted(one: char) -> bool {
    matches!(one, '\t' | '\n' | '\r' | ' '..='\u{D7FF}' | '\u{E000}'..='\u{FFFD}' | '\u{10000}'..)
}

fn values() -> impl Strategy<Value = Value> {
    // Characters at the borders of what is accepted come up as often as all others.
    let odd = prop::sample::select(vec![
        '\0',
        '\u{1}',
        '\u{7f}',
        '\u{FFFD}',
        '\u{FFFE}',
        '\u{FFFF}',
        '"',
        '\\',
        '\u{1F600}',
    ]);
    let text = prop::collection::vec(prop_oneof![any::<char>(), odd], 0..20)
        .prop_map(|chars| chars.into_iter().collect::<String>());
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        text.clone().prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 40, 6, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
            prop::collection::btree_map(text.clone(), inner, 0..6)
                .prop_map(|map| map.into_iter().collect::<Value>()),
        ]
    })
}

proptest! {
    #[test]
    fn any_envelope_comes_back_as_it_was_and_holds_only_what_sqs_accepts(
        step in any::<String>(), result in values(), output in any::<String>(),
    ) {
        let sent = answer(key(&step), result, &output);
        let body = envelope(&sent).unwrap();
        prop_assert!(body.chars().all(is_accepted), "{body:?}");
        prop_assert_eq!(decode(&body).unwrap(), Message::Envelope(sent));
    }

    #[test]
    fn any_text_is_read_or_refused_with_a_sentence(body in any::<String>()) {
        prop_assert!(!decode(&body).unwrap_err().to_string().is_empty());
    }

    #[test]
    fn any_part_of_a_message_is_truncated(result in values(), part in 0.0..1.0) {
        let body = envelope(&answer(key("s"), result, "")).unwrap();
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss, reason = "a part of a length")]
        let mut end = 1 + ((body.len() - 2) as f64 * part) as usize;
        while !body.is_char_boundary(end) { end -= 1; }
        let is_truncated = matches!(decode(&body[..end]), Err(WireError::Truncated { bytes }) if bytes == end);
        prop_assert!(is_truncated);
    }
}

#[test]
fn a_message_is_spelled_as_the_queue_shows_it() {
    let tick = Envelope { id: "t".into(), to: key("s"), input: Input::Tick };
    let expect = format!(
        r#"{{"v":1,"envelope":{{"id":"t","to":"exec:7:loop:s:{}","input":{{"input":"tick"}}}}}}"#,
        i64::MAX
    );
    assert_eq!(envelope(&tick).unwrap(), expect);
    let body = command(&a_command()).unwrap();
    assert!(body.starts_with(r#"{"v":1,"command":{"id":"c","attempt":1,"#), "{body}");
    assert_eq!(decode(&body).unwrap(), Message::Command(Box::new(a_command())));
}

#[test]
fn what_is_not_ours_is_told_from_what_is_newer() {
    let cases = [
        ("", "no JSON"),
        ("hello", "no JSON"),
        ("[1", "no JSON"),
        ("{}", "`v` is missing"),
        (r#"{"envelope":{}}"#, "`v` is missing"),
        (r#"{"v":"1","envelope":{}}"#, "`v` is no version"),
        (r#"{"v":0}"#, "`v` is no version"),
        (r#"{"v":1}"#, "not of this engine"),
        (r#"{"v":1,"envelope":{"id":"x"}}"#, "missing field `to`"),
        (r#"{"v":1,"letter":{}}"#, "it has no `envelope`, `command` or `spilled`"),
        (r#"{"v":2,"letter":{}}"#, "has version 2, and this build reads up to 1"),
        (r#"{"v":1,"envelope":{"id":"x","#, "ends after 28 bytes"),
    ];
    for (body, expect) in cases {
        let error = decode(body).unwrap_err();
        assert!(error.to_string().contains(expect), "{body}: {error}");
    }
    let noise = "\u{2603}{".repeat(1 << 18);
    assert!(matches!(decode(&noise), Err(WireError::NotOurs(_))));
    let deep = format!(r#"{{"v":1,"envelope":{}"#, "[".repeat(1 << 20));
    assert!(matches!(decode(&deep), Err(WireError::NotOurs(_))));
}

#[test]
fn a_spilled_message_is_for_whom_it_says() {
    let body = command(&a_command()).unwrap();
    let blob = Blob::new(ExecutionId(7), body.clone().into_bytes());
    let outside = spilled(blob.reference.clone(), key("s")).unwrap();
    let Message::Spilled(found) = decode(&outside).unwrap() else { panic!("{outside}") };
    assert_eq!(found.open(body.as_bytes()).unwrap(), Message::Command(Box::new(a_command())));

    let other = Spilled { to: key("t"), ..found.clone() };
    assert!(matches!(other.open(body.as_bytes()), Err(WireError::Forged(_))));
    assert!(matches!(found.open(outside.as_bytes()), Err(WireError::NotOurs(_))));
    assert!(matches!(found.open(&[0xff]), Err(WireError::NotOurs(_))));
    let foreign = spilled(blob.reference, AggregateKey::Execution(ExecutionId(8))).unwrap();
    let error = decode(&foreign).unwrap_err();
    assert!(error.to_string().contains("for execution 8 and names the payload `7/"), "{error}");
}
