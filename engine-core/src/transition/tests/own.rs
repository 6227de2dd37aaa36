//! Calls that the engine runs itself, rendered and answered without a run around them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde_json::{Map, Value, json};

use super::super::own::{Arranged, Origin, OwnAnswer, launched, taken};
use super::super::view::View;
use super::super::{Moment, Trouble, Turn};
use crate::event::{Fact, Outcome, Parent, ToolFailure};
use crate::ids::{AggregateKey, EventId, ExecutionId, SNOWFLAKE_EPOCH_MS};
use crate::limits::{
    CALLBACK_MS_DEFAULT, CHILD_PAYLOAD_BYTES_MAX, CHILD_TIMEOUT_MS_DEFAULT, PLAYBOOK_DEPTH_MAX,
    RETRY_DELAY_MS_MAX,
};
use crate::payload::Payload;
use crate::playbook::parse::parse;
use crate::playbook::{Playbook, PlaybookRef, Tool};
use crate::state::Unit;
use crate::template::Loaded;

const AT_MS: i64 = SNOWFLAKE_EPOCH_MS + 100_000_000;

fn playbook() -> Playbook {
    let text = "apiVersion: noetl.io/v2\nkind: Playbook\nmetadata: { name: t }\n\
                workflow:\n- { step: start, tool: { kind: noop } }\n";
    parse(text).playbook.unwrap()
}

fn newest(path: &str) -> PlaybookRef {
    PlaybookRef { path: path.to_owned(), hash: "h".to_owned() }
}

fn origin() -> Origin {
    Origin { command_id: "7:start:1".into(), attempt: 1, index: None, event_id: None }
}

/// A call as it comes out at `AT_MS`, below `depth` executions.
struct Asked {
    kind: &'static str,
    config: Value,
    args: Value,
    given: Value,
    depth: u32,
    nonce: u128,
    origin: Origin,
}

impl Asked {
    fn new(kind: &'static str, config: Value) -> Self {
        let (args, given) = (json!({}), json!({}));
        Self { kind, config, args, given, depth: 0, nonce: 1, origin: origin() }
    }

    fn arrange(&self) -> Result<Arranged, Trouble> {
        let playbook = playbook();
        let key = AggregateKey::Execution(ExecutionId(7));
        let playbooks = BTreeMap::from([
            ("child".to_owned(), Some(newest("child"))),
            ("gone".to_owned(), None),
        ]);
        let (seq, event_id) = (2, 5);
        let (playbook, key) = (&playbook, &key);
        let nonce = self.nonce;
        let moment =
            Moment { playbook, key, seq, at_ms: AT_MS, event_id, nonce, playbooks: &playbooks };
        let mut turn = Turn::begin(moment, None, &Arc::new(Loaded::default()));
        let parent = (self.depth > 0).then(|| Parent {
            key: key.clone(),
            command_id: "c".into(),
            attempt: 1,
            waits: true,
            return_step: None,
            depth: self.depth,
        });
        turn.record(Fact::Started {
            playbook: playbook.reference.clone(),
            entry: "start".into(),
            workload: Payload::Inline(json!({"n": 3, "where": "child", "inputs": {"a": 1}})),
            vars: BTreeMap::new(),
            parent,
        });
        let step = &playbook.steps[0];
        let names: BTreeSet<String> = BTreeSet::new();
        let given = self.given.as_object().cloned().unwrap();
        let view = View {
            names: &names,
            args: given.into_iter().map(|(name, value)| (name, Payload::Inline(value))).collect(),
            ..turn.view(step, None, None)
        };
        let map = |value: &Value| value.as_object().cloned().unwrap_or_else(Map::new);
        let mut config = map(&self.config);
        let args = config.shift_remove("args").map(|args| map(&args)).unwrap_or_default();
        let tool = Tool { kind: self.kind.to_owned(), config, args, position: step.position };
        turn.arrange(step, &tool, &map(&self.args), &view, &self.origin)
    }

    fn error(&self) -> String {
        match self.arrange() {
            Err(Trouble::Failed(error)) => format!("{}: {}", error.kind, error.message),
            other => panic!("a failure was expected: {other:?}"),
        }
    }
}

#[test]
fn a_child_gets_its_inputs_in_layers_and_knows_who_waits_for_it() {
    let config = json!({
        "path": "{{ where }}", "args": {"a": "tool", "b": "tool"}, "payload": "{{ inputs }}",
        "with": {"c": "{{ n }}"}, "return_step": "last",
    });
    let asked = Asked {
        args: json!({"a": "step", "d": "{{ n + 1 }}", "e": "step"}),
        given: json!({"e": "{{ 7 * 7 }}"}),
        ..Asked::new("playbook", config)
    };
    let Ok(Arranged::Child { child, start, waits, timeout_ms }) = asked.arrange() else {
        panic!("a child was expected")
    };
    let payload = json!({"a": 1, "d": 4, "e": "{{ 7 * 7 }}", "b": "tool", "c": 3});
    assert_eq!(Value::Object(start.payload.clone()), payload);
    assert_eq!((waits, timeout_ms), (true, CHILD_TIMEOUT_MS_DEFAULT));
    assert_eq!(start.playbook, newest("child"));
    let parent = start.parent.as_ref().unwrap();
    assert_eq!(parent.key, AggregateKey::Execution(ExecutionId(7)));
    assert_eq!((parent.command_id.as_str(), parent.attempt), ("7:start:1", 1));
    assert_eq!((parent.return_step.as_ref().unwrap().as_str(), parent.depth), ("last", 1));
    let told = launched(child, &start, AT_MS).result;
    assert_eq!(told.inline().unwrap()["status"], "started");
}

#[test]
fn the_id_of_a_child_follows_from_its_cause_and_its_second() {
    let id = |attempt, command: &str| {
        let origin = Origin { attempt, command_id: command.into(), ..origin() };
        let asked = Asked { origin, ..Asked::new("playbook", json!({"path": "child"})) };
        match asked.arrange() {
            Ok(Arranged::Child { child, .. }) => child.0,
            other => panic!("a child was expected: {other:?}"),
        }
    };
    assert_eq!(id(1, "a"), id(1, "a"));
    assert_ne!(id(1, "a"), id(2, "a"));
    assert_ne!(id(1, "a"), id(1, "b"));
    let at_ms = (id(1, "a") >> crate::ids::SNOWFLAKE_LOW_BITS) + SNOWFLAKE_EPOCH_MS;
    assert!((AT_MS - 1_024..=AT_MS + 1_024).contains(&at_ms), "{at_ms}");
}

#[test]
fn a_path_is_asked_for_once_and_its_absence_is_told() {
    let unknown = Asked::new("playbook", json!({"path": "other"})).arrange();
    assert_eq!(unknown, Err(Trouble::Path("other".to_owned())));
    let error = Asked::new("playbook", json!({"path": "gone"})).error();
    assert!(error.contains("`gone` is not registered; register it, or pass"), "{error}");
}

#[test]
fn a_call_that_cannot_work_says_why() {
    let big = "x".repeat(CHILD_PAYLOAD_BYTES_MAX);
    let cases = [
        ("playbook", json!({"content": "x"}), "name its `path`"),
        ("playbook", json!({}), "needs `path`"),
        ("playbook", json!({"path": 3}), "the path of a registered playbook"),
        ("playbook", json!({"path": "child", "version": 2}), "calls run the newest"),
        ("playbook", json!({"path": "child", "wait": "perhaps"}), "true or false"),
        ("playbook", json!({"path": "child", "payload": [1]}), "a map was expected"),
        ("playbook", json!({"path": "child", "args": {"x": big}}), "pass less"),
        ("playbook", json!({"path": "{{ nowhere }}"}), "`path` of the playbook call in `start`"),
        ("wait", json!({}), "one of `seconds` and `until`"),
        ("wait", json!({"seconds": 1, "until": "2030-01-01"}), "one of `seconds`"),
        ("wait", json!({"until": "soon"}), "Unix seconds was expected"),
        ("wait", json!({"seconds": "20000h"}), "longer than 365 days"),
        ("callback", json!({"timeout": "never"}), "`timeout` of `callback`"),
    ];
    for (kind, config, expect) in cases {
        let error = Asked::new(kind, config.clone()).error();
        assert!(error.contains(expect), "{config}: {error}");
    }
    let asked =
        Asked { depth: PLAYBOOK_DEPTH_MAX, ..Asked::new("playbook", json!({"path": "child"})) };
    assert!(asked.error().starts_with("LimitError: "), "{}", asked.error());
}

fn timer(kind: &'static str, config: Value) -> (i64, i64, Option<String>) {
    match Asked::new(kind, config).arrange() {
        Ok(Arranged::Timer { not_before_ms, until_ms, token, .. }) => {
            (not_before_ms - AT_MS, until_ms - AT_MS, token)
        }
        other => panic!("a timer was expected: {other:?}"),
    }
}

#[test]
fn timers_ring_as_late_as_a_queue_can_hold_them() {
    let longest = i64::try_from(RETRY_DELAY_MS_MAX).unwrap();
    let day = i64::try_from(CALLBACK_MS_DEFAULT).unwrap();
    assert_eq!(timer("wait", json!({"seconds": 2})), (2_000, 2_000, None));
    assert_eq!(timer("wait", json!({"seconds": "{{ n }}h"})), (longest, 10_800_000, None));
    let until = (AT_MS + 5_000) / 1_000;
    let (_, until_ms, _) = timer("wait", json!({"until": until}));
    assert_eq!(until_ms, 5_000);
    let (rings_ms, until_ms, token) = timer("callback", json!({}));
    assert_eq!((rings_ms, until_ms, token.unwrap().len()), (longest, day, 32));
}

#[test]
fn tokens_are_secret_and_say_which_iteration_they_are_for() {
    let token = |nonce, index: Option<u64>| {
        let event_id = index.map(|_| EventId(9));
        let origin = Origin { index, event_id, ..origin() };
        match (Asked { nonce, origin, ..Asked::new("callback", json!({})) }).arrange() {
            Ok(Arranged::Timer { token: Some(token), .. }) => token,
            other => panic!("a token was expected: {other:?}"),
        }
    };
    assert_eq!(token(1, None), token(1, None), "the same decision is the same bytes");
    assert_ne!(token(1, None), token(2, None));
    assert!(token(1, Some(4)).ends_with("-9-4"), "{}", token(1, Some(4)));
}

fn outcome(error: Option<ToolFailure>) -> Outcome {
    let result = Payload::Inline(json!({"x": 1}));
    Outcome { result, error, started_ms: 0, duration_ms: 0, output: String::new() }
}

#[test]
fn an_answer_ends_a_call_goes_on_waiting_or_begins_anew() {
    let (playbook, playbooks) = (playbook(), BTreeMap::new());
    let key = AggregateKey::Execution(ExecutionId(7));
    let unit = |until_ms| {
        let mut unit = Unit::default();
        let token = Some("t".to_owned());
        let wait = Arranged::Timer { not_before_ms: 0, until_ms, token, timeout_ms: 1 };
        wait.note(&mut unit, AT_MS - 60_000);
        unit
    };
    let moment = Moment {
        playbook: &playbook,
        key: &key,
        seq: 2,
        at_ms: AT_MS,
        event_id: 5,
        nonce: 0,
        playbooks: &playbooks,
    };
    let mut turn = Turn::begin(moment, None, &Arc::new(Loaded::default()));
    let error = Some(taken(ExecutionId(3)));
    assert_eq!(turn.read_answer("playbook", &unit(0), outcome(error)), OwnAnswer::Anew);
    let ended = turn.read_answer("playbook", &unit(0), outcome(None));
    assert_eq!(ended, OwnAnswer::Settled(outcome(None)));

    for kind in ["wait", "callback"] {
        let again = OwnAnswer::Again { not_before_ms: AT_MS + 1 };
        assert_eq!(turn.read_answer(kind, &unit(AT_MS + 1), outcome(None)), again, "{kind}");
        let later = OwnAnswer::Again { not_before_ms: turn.rings_ms(i64::MAX) };
        assert_eq!(turn.read_answer(kind, &unit(i64::MAX), outcome(None)), later, "{kind}");
    }
    let settled = |answer| match answer {
        OwnAnswer::Settled(outcome) => outcome,
        other => panic!("an outcome was expected: {other:?}"),
    };
    let waited = settled(turn.read_answer("wait", &unit(AT_MS), outcome(None)));
    let text = json!({"seconds": 60, "until": super::super::wait::time_text(AT_MS)});
    assert_eq!((waited.result, waited.duration_ms), (Payload::Inline(text), 60_000));
    let failed = settled(turn.read_answer("callback", &unit(AT_MS), outcome(None)));
    let error = failed.error.unwrap();
    assert!(error.kind == "TimeoutError" && error.message.contains("within 60 s"), "{error:?}");
    turn.is_callback = true;
    let told = settled(turn.read_answer("callback", &unit(AT_MS + 1), outcome(None)));
    assert_eq!(told, outcome(None));
}
