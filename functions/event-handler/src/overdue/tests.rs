use std::collections::BTreeMap;

use async_trait::async_trait;
use engine_core::event::{Entry, LoopOpen};
use engine_core::ids::EventId;
use engine_core::payload::{Payload, PayloadRef};
use engine_core::playbook::{LoopMode, PlaybookRef};
use engine_core::ports::{PortError, PortErrorKind};
use engine_core::state::{PendingFrame, StepRun};
use serde_json::Value;

use super::*;

const ID: ExecutionId = ExecutionId(7);
/// Now, in every test.
const NOW_MS: i64 = 10_000_000;
/// So long ago that nothing may have happened since.
const LONG_AGO_MS: i64 = NOW_MS - TICK_INTERVAL_MS;
const JUST_NOW_MS: i64 = NOW_MS - 1;

/// Where aggregates stand.
#[derive(Default)]
struct World(BTreeMap<AggregateKey, Tail>);

impl World {
    fn put(&mut self, key: AggregateKey, at_ms: i64, state: State) {
        self.0.insert(key, Tail { seq: 1, at_ms, next_event_id: 1, state });
    }
}

#[async_trait]
impl StateStore for World {
    async fn tail(&self, key: &AggregateKey) -> Result<Option<Tail>, PortError> {
        Ok(self.0.get(key).cloned())
    }

    async fn commit(&self, _entry: &Entry) -> Result<(), PortError> {
        Err(PortError::new(PortErrorKind::Refused, "nothing is written here"))
    }

    async fn entries(
        &self,
        _key: &AggregateKey,
        _from: u64,
        _limit: usize,
    ) -> Result<Vec<Entry>, PortError> {
        Ok(Vec::new())
    }

    async fn aggregates(&self, _id: ExecutionId) -> Result<Vec<AggregateKey>, PortError> {
        Ok(self.0.keys().cloned().collect())
    }
}

fn playbook() -> PlaybookRef {
    PlaybookRef { path: "a/b".to_owned(), hash: "0".repeat(64) }
}

fn loop_key() -> AggregateKey {
    AggregateKey::Loop { execution_id: ID, step: "a".into(), event_id: EventId(1) }
}

fn calls(deadline_ms: i64) -> Waits {
    Waits::Command { id: "c".into(), attempt: 1, issued_seq: 1, deadline_ms }
}

fn loops() -> Waits {
    Waits::Loop { key: loop_key(), issued_seq: 1, heard: 0, ahead: [].into(), closed: None }
}

/// An execution with one run for each wait.
fn execution(waits: Vec<Waits>) -> ExecutionState {
    let nothing = Payload::Inline(Value::Null);
    let mut state = ExecutionState::begin(&playbook(), nothing.clone(), BTreeMap::new());
    for (number, waits) in (1..).zip(waits) {
        let run = StepRun {
            step: "a".into(),
            args: BTreeMap::new(),
            waits,
            routed: false,
            result: nothing.clone(),
            unit: None,
        };
        state.runs.insert(EventId(number), run);
    }
    state
}

/// A loop that began long ago, with a frame out until a time.
fn a_loop(deadline_ms: i64, closed: bool) -> State {
    let open = LoopOpen {
        playbook: playbook(),
        step: "a".into(),
        tool_kind: "noop".to_owned(),
        iterator: "item".to_owned(),
        mode: LoopMode::Sequential,
        collection_size: 9,
        collection: PayloadRef { uri: String::new(), sha256: String::new(), bytes: 0 },
        chunk_items: 1,
        max_in_flight: 1,
        frame_items_max: 1,
        fail_fast: false,
        timeout_ms: 1_000,
        scope: Payload::Inline(Value::Null),
        heard: 0,
        about: Value::Null,
        note: None,
        depth: 0,
    };
    let mut state = LoopState::open(&open, 0);
    let frame = PendingFrame {
        first: 0,
        len: 1,
        attempt: 1,
        deadline_after_ms: deadline_ms,
        call: 1,
        unit: None,
    };
    state.pending.push(frame);
    state.closed = closed;
    State::Loop(Box::new(state))
}

/// Who is ticked.
async fn ticked(world: &World) -> Vec<String> {
    let ticks = ticks(world, ID, NOW_MS).await.unwrap();
    assert!(ticks.iter().all(|one| one.input == Input::Tick));
    ticks.into_iter().map(|one| one.to.to_string()).collect()
}

#[tokio::test]
async fn an_execution_is_ticked_when_it_is_quiet_or_a_call_is_overdue() {
    #[rustfmt::skip]
    let cases = [
        ("a quiet one",             LONG_AGO_MS, calls(NOW_MS + 1), true),
        ("one that is busy",        JUST_NOW_MS, calls(NOW_MS + 1), false),
        ("a busy one with a loss",  JUST_NOW_MS, calls(NOW_MS - 1), true),
        ("one that waits for days", LONG_AGO_MS, calls(i64::MAX),   true),
    ];
    for (name, at_ms, waits, expect) in cases {
        let mut world = World::default();
        let state = State::Execution(Box::new(execution(vec![waits])));
        world.put(AggregateKey::Execution(ID), at_ms, state);
        assert_eq!(ticked(&world).await.len(), usize::from(expect), "{name}");
    }
}

#[tokio::test]
async fn what_has_ended_or_never_began_is_left_alone() {
    let mut world = World::default();
    assert!(ticked(&world).await.is_empty());
    let mut state = execution(vec![]);
    state.status = Status::Completed;
    world.put(AggregateKey::Execution(ID), LONG_AGO_MS, State::Execution(Box::new(state)));
    assert!(ticked(&world).await.is_empty());
}

#[tokio::test]
async fn the_end_of_the_whole_execution_is_overdue_too() {
    let mut world = World::default();
    let mut state = execution(vec![calls(i64::MAX)]);
    state.timer = Some((NOW_MS - 1, 1));
    world.put(AggregateKey::Execution(ID), JUST_NOW_MS, State::Execution(Box::new(state)));
    assert_eq!(ticked(&world).await, ["exec:7"]);
}

#[tokio::test]
async fn a_loop_that_is_at_work_keeps_ticks_away_from_its_execution() {
    let (both, own) = (vec!["exec:7", "exec:7:loop:a:1"], vec!["exec:7:loop:a:1"]);
    #[rustfmt::skip]
    let cases = [
        ("at work",              JUST_NOW_MS, Some((NOW_MS + 1, false)), vec![]),
        ("at work, with a loss", JUST_NOW_MS, Some((NOW_MS - 1, false)), own),
        ("quiet",                LONG_AGO_MS, Some((NOW_MS + 1, false)), both),
        ("closed, unheard",      LONG_AGO_MS, Some((0, true)),           vec!["exec:7"]),
        ("not opened",           LONG_AGO_MS, None,                      vec!["exec:7"]),
    ];
    for (name, at_ms, found, expect) in cases {
        let mut world = World::default();
        let state = State::Execution(Box::new(execution(vec![loops()])));
        world.put(AggregateKey::Execution(ID), LONG_AGO_MS, state);
        if let Some((deadline_ms, closed)) = found {
            world.put(loop_key(), at_ms, a_loop(deadline_ms, closed));
        }
        assert_eq!(ticked(&world).await, expect, "{name}");
    }
}
