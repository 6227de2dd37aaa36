//! Somebody outside who answers steps that wait for a callback: once, twice, wrongly, or too late.

use engine_core::event::{Entry, Envelope, Fact, Input, Status};
use engine_core::ids::{AggregateKey, InputId};
use engine_core::payload::Payload;
use engine_core::ports::Ports;
use engine_core::state::State;
use serde_json::Value;

use super::fault::Site;
use super::tool::Manner;
use super::world::{Sim, World};

/// Milliseconds between two looks of a visitor.
const VISITOR_MS: i64 = 60_000;

/// Somebody with a token.
#[derive(Clone, Debug)]
pub(crate) struct Visit {
    to: AggregateKey,
    pub(crate) token: String,
    data: Value,
    manner: Manner,
}

/// The callbacks that an entry begins to wait for.
pub(crate) fn waiting(world: &World, entry: &Entry) -> Vec<Visit> {
    let found = entry.facts.iter().filter_map(|fact| match (fact, &entry.state) {
        (Fact::CommandIssued { run, command, unit: Some(unit) }, State::Execution(state)) => {
            let token = unit.token.clone()?;
            let args = &state.runs.get(run)?.args;
            let input = args.get("m").or_else(|| args.get("n")).and_then(Payload::inline);
            Some((token, command.step.to_string(), input.cloned().unwrap_or(Value::Null)))
        }
        (Fact::FrameIssued { first, unit: Some(unit), step, .. }, State::Loop(state)) => {
            let token = world.value(unit)?.get("token")?.as_str()?.to_owned();
            let chunks = world.value(&Payload::Ref(state.collection.clone()))?;
            let number = |number: u64| usize::try_from(number).unwrap_or(usize::MAX);
            let chunk = chunks.get(number(first / state.chunk_items))?.clone();
            let chunk = world.value(&Payload::Ref(serde_json::from_value(chunk).ok()?))?;
            let item = chunk.get(number(first % state.chunk_items))?;
            Some((token, step.to_string(), item.clone()))
        }
        _ => None,
    });
    let playbook = match &entry.state {
        State::Execution(state) => &state.playbook,
        State::Loop(state) => &state.playbook,
    };
    let Some(tools) = world.tools(playbook) else { return Vec::new() };
    let visits = found.filter_map(|(token, step, input)| {
        let (to, data) = (entry.key.clone(), tools.result(&step, &input));
        Some(Visit { to, token, data, manner: tools.manner(&step)? })
    });
    visits.collect()
}

impl World {
    /// A value that is written, or in the payload store.
    fn value(&self, payload: &Payload) -> Option<Value> {
        match payload {
            Payload::Inline(value) => Some(value.clone()),
            Payload::Ref(reference) => serde_json::from_slice(self.blobs.get(&reference.uri)?).ok(),
            _ => None,
        }
    }

    /// Whether somebody with this token is still waited for.
    fn awaits_visit(&self, visit: &Visit) -> bool {
        let Some(entries) = self.log.get(&visit.to) else { return false };
        match entries.last().map(|entry| &entry.state) {
            Some(State::Execution(state)) => {
                let mut units = state.runs.values().filter_map(|run| run.unit.as_ref());
                state.status == Status::Running
                    && units.any(|unit| unit.token.as_ref() == Some(&visit.token))
            }
            Some(State::Loop(state)) => state.pending.iter().any(|frame| {
                let Some((seq, fact)) = frame.unit else { return false };
                let entry = entries.iter().find(|entry| entry.seq == seq);
                let unit = entry.and_then(|entry| entry.payload(fact, 0));
                let unit = unit.and_then(|unit| self.value(unit)).unwrap_or_default();
                unit.get("token").and_then(Value::as_str) == Some(visit.token.as_str())
            }),
            None => false,
        }
    }
}

/// Answers in the visitor's manner, until it is heard.
pub(crate) async fn answer(sim: Sim, ports: Ports, visit: Visit) {
    let says = |token: &str, name: &str| Envelope {
        id: InputId(format!("callback:{}:{name}", visit.token)),
        to: visit.to.clone(),
        input: Input::Callback {
            token: token.to_owned(),
            data: Payload::Inline(visit.data.clone()),
        },
    };
    let right = says(&visit.token, "right");
    let wrong = says(&format!("x{}", visit.token), "wrong");
    let mut first = match visit.manner {
        Manner::Once | Manner::Late => vec![right.clone()],
        Manner::Twice => vec![right.clone(), says(&visit.token, "again")],
        Manner::Wrong => vec![wrong],
    };
    if visit.manner == Manner::Late {
        while sim.lock().awaits_visit(&visit) {
            sim.wait(Site::Wait, VISITOR_MS).await;
        }
    }
    loop {
        // An unclear answer is cleared up by the look that follows.
        let _ = ports.events.send(&first).await;
        sim.wait(Site::Wait, VISITOR_MS).await;
        if !sim.lock().awaits_visit(&visit) {
            return;
        }
        first = vec![right.clone()];
    }
}
