//! Hand-made values for every contract.

use std::collections::BTreeMap;

use adapters::embedded::store::Options;
use engine_core::command::{CallSite, Command};
use engine_core::event::{Entry, Fact, LoopOpen, Outcome, Status, ToolFailure};
use engine_core::ids::{AggregateKey, EventId, ExecutionId, InputId};
use engine_core::payload::{LoopSummary, Payload, PayloadRef};
use engine_core::playbook::{LoopMode, PlaybookRef};
use engine_core::ports::PortError;
use engine_core::state::{ExecutionState, State};
use serde_json::json;

/// 2024-01-01T00:00:00Z, when Snowflakes begin.
pub(crate) const START_MS: i64 = 1_704_067_200_000;

pub(crate) fn options() -> Options {
    Options { expanded, bytes_max: None }
}

/// Number of events that facts are shown as, counted apart from the view that shows them.
pub(crate) fn expanded(facts: &[Fact]) -> usize {
    let events = facts.iter().enumerate().map(|(number, fact)| match fact {
        Fact::Started { .. } | Fact::Saved { .. } | Fact::Retried { .. } => 2,
        Fact::Finished { status, .. } => 2 - usize::from(*status == Status::Cancelled),
        Fact::CommandIssued { command, .. } if command.site.is_save() => 2,
        Fact::CommandIssued { .. }
        | Fact::Continued { .. }
        | Fact::CommandCancelled { .. }
        | Fact::LoopDone { .. }
        | Fact::LoopFailed { .. }
        | Fact::LoopOpened { .. }
        | Fact::LoopClosed { .. } => 1,
        Fact::Answered { site, .. } => 4 - usize::from(site.is_save()),
        Fact::StepExited { run, status, .. } => {
            let runs = *status != Status::Skipped;
            1 + usize::from(runs && ends_answered(&facts[..number], |of, _| of == *run))
        }
        Fact::IterationSettled { index, .. } => {
            2 + usize::from(ends_answered(&facts[..number], |_, of| of == Some(*index)))
        }
        Fact::FrameIssued { len, attempt, call, site, resumed, .. } => {
            let begins = usize::from((*attempt, *call, *resumed) == (1, 1, false));
            *len as usize * (1 + begins + usize::from(site.is_save()))
        }
        Fact::FrameAnswered { outcomes, retried, .. } => 7 * outcomes.len() - retried.len(),
        _ => 0,
    });
    events.sum()
}

/// Whether the newest of the facts about some call is its answer.
fn ends_answered(before: &[Fact], is_it: impl Fn(EventId, Option<u64>) -> bool) -> bool {
    let mut answered = false;
    for fact in before {
        match fact {
            Fact::Answered { run, index, .. } if is_it(*run, *index) => answered = true,
            Fact::Continued { run, index, .. } | Fact::Retried { run, index, .. }
                if is_it(*run, *index) =>
            {
                answered = false;
            }
            _ => {}
        }
    }
    answered
}

pub(crate) fn execution(id: i64) -> AggregateKey {
    AggregateKey::Execution(ExecutionId(id))
}

pub(crate) fn loop_of(id: i64, step: &str, event_id: i64) -> AggregateKey {
    AggregateKey::Loop {
        execution_id: ExecutionId(id),
        step: step.into(),
        event_id: EventId(event_id),
    }
}

/// A state that says by `folded` which entry it belongs to.
pub(crate) fn state(seq: u64) -> State {
    state_of(seq, Status::Running)
}

/// The state of an execution that stands so, after entry `seq`.
pub(crate) fn state_of(seq: u64, status: Status) -> State {
    State::Execution(Box::new(ExecutionState {
        parent: None,
        timer: None,
        arrived: BTreeMap::new(),
        status,
        playbook: playbook_ref(),
        workload: Payload::Inline(json!({"text": "quote \" and \u{1F600}", "big": i64::MAX})),
        vars: BTreeMap::new(),
        steps: BTreeMap::new(),
        runs: BTreeMap::new(),
        failure: None,
        last: None,
        entered: 0,
        finished: 0,
        folded: seq,
    }))
}

pub(crate) fn entry(key: &AggregateKey, seq: u64, facts: Vec<Fact>) -> Entry {
    Entry {
        key: key.clone(),
        seq,
        at_ms: START_MS + seq.cast_signed(),
        event_id: EventId(seq.cast_signed() * 1_000),
        inputs: vec![InputId(format!("input.{seq}"))],
        facts,
        state: state(seq),
    }
}

pub(crate) fn playbook_ref() -> PlaybookRef {
    PlaybookRef { path: "tests/hello".into(), hash: "0".repeat(64) }
}

pub(crate) fn started() -> Fact {
    Fact::Started {
        parent: None,
        playbook: playbook_ref(),
        entry: "start".into(),
        workload: Payload::Inline(json!({"n": 1})),
        vars: BTreeMap::new(),
    }
}

pub(crate) fn finished(status: Status) -> Fact {
    Fact::Finished {
        status,
        final_step: None,
        result: Payload::Inline(json!({"ok": true})),
        failure: None,
    }
}

pub(crate) fn command(step: &str, attempt: u32) -> Command {
    Command {
        site: CallSite::Tool,
        unit: None,
        vars: None,
        id: format!("{step}.c").into(),
        attempt,
        reply_to: execution(1),
        playbook: playbook_ref(),
        step: step.into(),
        tool_kind: "http".into(),
        frame: None,
        overrides: None,
        scope: Payload::Inline(json!({})),
        not_before_ms: 0,
        timeout_ms: 1_000,
    }
}

pub(crate) fn outcome(error: Option<&str>) -> Outcome {
    Outcome {
        result: Payload::Inline(json!({"a": 1})),
        error: error.map(|message| ToolFailure {
            kind: "HTTPError".into(),
            message: message.into(),
            ..ToolFailure::default()
        }),
        started_ms: START_MS,
        duration_ms: 7,
        output: String::new(),
    }
}

pub(crate) fn loop_open(step: &str, collection_size: u64) -> Box<LoopOpen> {
    Box::new(LoopOpen {
        playbook: playbook_ref(),
        step: step.into(),
        tool_kind: "python".into(),
        iterator: "item".into(),
        mode: LoopMode::Parallel,
        collection_size,
        collection: PayloadRef { uri: String::new(), sha256: String::new(), bytes: 0 },
        chunk_items: 10,
        max_in_flight: 8,
        frame_items_max: 10,
        fail_fast: false,
        timeout_ms: 1_000,
        scope: Payload::Inline(json!({})),
        heard: 0,
        note: None,
        depth: 0,
        about: json!({"nested_task": {"tool": "python"}, "collection": [1, 2], "enumerate": false}),
    })
}

pub(crate) fn summary(key: &AggregateKey, total: u64, failed: u64) -> LoopSummary {
    LoopSummary { key: key.clone(), total, failed }
}

/// The error with all its causes, as a shell prints it.
pub(crate) fn chain(error: &PortError) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}
