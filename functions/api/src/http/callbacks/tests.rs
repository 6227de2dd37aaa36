use std::collections::BTreeMap;

use async_trait::async_trait;
use engine_core::command::CallSite;
use engine_core::event::{Entry, LoopOpen};
use engine_core::payload::PayloadRef;
use engine_core::playbook::{LoopMode, PlaybookRef};
use engine_core::ports::{PortErrorKind, StateStore};
use engine_core::state::{ExecutionState, PendingFrame, StepRun, Waits};

use super::*;
use crate::fixture::NoPayloads;

const ID: ExecutionId = ExecutionId(70);
const LOOP: EventId = EventId(7);

/// One entry of an execution and one of a loop in it, with the states after them.
struct Two {
    execution: Entry,
    looping: Entry,
}

#[async_trait]
impl StateStore for Two {
    async fn tail(&self, key: &AggregateKey) -> Result<Option<Tail>, PortError> {
        let found = [&self.execution, &self.looping].into_iter().find(|entry| entry.key == *key);
        Ok(found.map(|entry| {
            let (seq, state) = (entry.seq, entry.state.clone());
            Tail { seq, at_ms: 0, next_event_id: 9, state }
        }))
    }

    async fn commit(&self, _entry: &Entry) -> Result<(), PortError> {
        Err(PortError::new(PortErrorKind::Refused, "made by hand"))
    }

    async fn entries(
        &self,
        key: &AggregateKey,
        from: u64,
        limit: usize,
    ) -> Result<Vec<Entry>, PortError> {
        let all = [&self.execution, &self.looping].into_iter();
        let found = all.filter(|entry| entry.key == *key && entry.seq >= from).take(limit);
        Ok(found.cloned().collect())
    }

    async fn aggregates(&self, _id: ExecutionId) -> Result<Vec<AggregateKey>, PortError> {
        Ok(vec![self.execution.key.clone(), self.looping.key.clone()])
    }
}

fn playbook() -> PlaybookRef {
    PlaybookRef { path: "p".to_owned(), hash: String::new() }
}

fn unit(token: &str) -> Unit {
    Unit { token: Some(token.to_owned()), ..Unit::default() }
}

fn entry(key: AggregateKey, facts: Vec<Fact>, state: state::State) -> Entry {
    Entry { key, seq: 1, at_ms: 0, event_id: EventId(1), inputs: Vec::new(), facts, state }
}

fn execution(status: Status) -> Entry {
    let workload = Payload::Inline(Value::Null);
    let mut state = ExecutionState::begin(&playbook(), workload, BTreeMap::new());
    state.status = status;
    let run = StepRun {
        step: "ask".into(),
        args: BTreeMap::new(),
        waits: Waits::Nothing,
        routed: false,
        result: Payload::Inline(Value::Null),
        unit: Some(Box::new(unit("open-token"))),
    };
    state.runs.insert(EventId(3), run);
    entry(AggregateKey::Execution(ID), Vec::new(), state::State::Execution(Box::new(state)))
}

/// Iteration 0 is answered; 1 is out and waits for `iteration-token-7-1`.
fn looping() -> Entry {
    let open = LoopOpen {
        depth: 0,
        playbook: playbook(),
        step: "each".into(),
        tool_kind: "callback".to_owned(),
        iterator: "item".to_owned(),
        mode: LoopMode::Sequential,
        collection_size: 3,
        collection: PayloadRef { uri: String::new(), sha256: String::new(), bytes: 0 },
        chunk_items: 1,
        max_in_flight: 1,
        frame_items_max: 1,
        fail_fast: false,
        timeout_ms: 1_000,
        scope: Payload::Inline(Value::Null),
        heard: 0,
        note: None,
        about: Value::Null,
    };
    let mut state = LoopState::open(&open, 0);
    let frame = PendingFrame {
        first: 1,
        len: 1,
        attempt: 1,
        deadline_after_ms: 0,
        call: 1,
        unit: Some((1, 0)),
    };
    (state.next, state.pending) = (2, vec![frame]);
    let issued = Fact::FrameIssued {
        first: 1,
        len: 1,
        attempt: 1,
        not_before_ms: 0,
        tool_kind: "callback".to_owned(),
        step: "each".into(),
        call: 1,
        site: CallSite::Tool,
        unit: Some(Payload::Inline(json!(unit("iteration-token-7-1")))),
        resumed: false,
    };
    let key = AggregateKey::Loop { execution_id: ID, step: "each".into(), event_id: LOOP };
    entry(key, vec![issued], state::State::Loop(Box::new(state)))
}

async fn found(status: Status, id: ExecutionId, token: &str) -> Found {
    let store = Two { execution: execution(status), looping: looping() };
    let readers = Readers { store: Arc::new(store), payloads: Arc::new(NoPayloads) };
    look(&readers, id, token).await.unwrap()
}

#[tokio::test]
async fn a_token_finds_who_waits_for_it_and_no_other_does() {
    let execution = || Found::Waiting(AggregateKey::Execution(ID));
    let each = || Found::Waiting(looping().key);
    #[rustfmt::skip]
    let cases = [
        (Status::Running,   ID,             "open-token",           execution()),
        (Status::Running,   ID,             "open-tokem",           Found::Nothing),
        (Status::Running,   ID,             "open-toke",            Found::Nothing),
        (Status::Running,   ID,             "open-token-",          Found::Nothing),
        (Status::Running,   ID,             "",                     Found::Nothing),
        (Status::Running,   ID,             "iteration-token-7-1",  each()),
        (Status::Running,   ID,             "iteration-token-7-0",  Found::Answered),
        (Status::Running,   ID,             "iteration-token-7-2",  Found::Nothing),
        (Status::Running,   ID,             "iteration-token-8-1",  Found::Nothing),
        (Status::Running,   ID,             "other-token-7-1",      Found::Nothing),
        (Status::Running,   ID,             "iteration-token",      Found::Nothing),
        (Status::Running,   ExecutionId(1), "open-token",           Found::Nothing),
        (Status::Completed, ID,             "open-token",           Found::Over),
        (Status::Cancelled, ID,             "iteration-token-7-1",  Found::Over),
    ];
    for (status, id, token, expect) in cases {
        assert_eq!(found(status, id, token).await, expect, "{status:?} {id} {token}");
    }
}
