//! What must hold once nothing moves any more.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use engine_core::event::{Entry, Fact, LoopOpen, Status};
use engine_core::ids::AggregateKey;
use engine_core::load::{Readers, load};
use engine_core::payload::{LoopSummary, Payload, PayloadRef};
use engine_core::playbook::PlaybookRef;
use engine_core::state::{ExecutionState, LoopState, State};
use serde_json::{Value, json};

use super::check::{Violation, ensure};
use super::ports::plain_readers;
use super::tool::{End, Toolbox, plain};
use super::world::{Sim, Subject, World};

/// Judges every execution and every loop of a world.
pub(crate) fn judge(sim: &Sim) -> Result<(), Violation> {
    let readers = plain_readers(sim);
    let (log, count) = {
        let world = sim.lock();
        (world.log.clone(), world.subjects.len())
    };
    for number in 0..count {
        let (key, expected_loops) = {
            let world = sim.lock();
            let subject = &world.subjects[number];
            let certain = subject.expected.exact && !subject.cancelled;
            (AggregateKey::Execution(subject.id), certain.then(|| subject.expected.loops.clone()))
        };
        let Some(State::Execution(state)) = log.get(&key).and_then(|chain| last(chain)) else {
            return Err(Violation::new("I-9", format!("{key} never began")));
        };
        let checks = settled_steps(sim, number, &key, state)?;
        for (step, found, expected) in checks {
            let value = plain(ready(load(&readers, &found))?);
            ensure!(value == expected, "I-10", "{key}: `{step}` has {value}, not {expected}");
        }
        let mut loops: BTreeMap<(String, String), u64> = BTreeMap::new();
        for (of, chain) in log.iter().filter(|(of, _)| of.execution() == key && **of != key) {
            let items = judge_loop(sim, &readers, of, chain)?;
            *loops.entry(items).or_default() += 1;
        }
        judge_counts(sim, number, &readers, state)?;
        if let Some(expected) = expected_loops {
            ensure!(loops == expected, "I-11", "{key} loops over {loops:?}, not {expected:?}");
        }
    }
    for (key, chain) in log.iter().filter(|(key, _)| **key == key.execution()) {
        let known = sim.lock().subjects.iter().any(|one| one.id == key.execution_id());
        if !known {
            judge_child(sim, &readers, (key, chain), &log)?;
        }
    }
    log.iter().try_for_each(|(key, chain)| survives_writing(key, chain))
}

/// What iterations have counted: each of them once, where nothing came out of order.
fn judge_counts(
    sim: &Sim,
    number: usize,
    readers: &Readers,
    state: &ExecutionState,
) -> Result<(), Violation> {
    let counts = {
        let world = sim.lock();
        let subject = &world.subjects[number];
        let ordered = world.odds.fifo && world.checks.lost == 0 && world.checks.sleepers == 0;
        let certain = subject.expected.exact && state.status == Status::Completed && ordered;
        if certain { subject.expected.counts.clone() } else { BTreeMap::new() }
    };
    for (name, expected) in counts.iter().filter(|(_, count)| **count > 0) {
        let found = match state.vars.get(name) {
            Some(value) => ready(load(readers, value))?,
            None => Value::Null,
        };
        ensure!(found == json!(expected), "I-1", "`{name}` is {found}, not {expected}");
    }
    Ok(())
}

/// A child comes to what its input says, unless whoever asked for it has stopped.
fn judge_child(
    sim: &Sim,
    readers: &Readers,
    (key, chain): (&AggregateKey, &[Entry]),
    log: &BTreeMap<AggregateKey, Vec<Entry>>,
) -> Result<(), Violation> {
    let Some(State::Execution(state)) = last(chain) else {
        return Err(Violation::new("I-9", format!("{key} is no execution")));
    };
    let tools = tools_of(sim, &state.playbook)?;
    let workload = ready(load(readers, &state.workload))?;
    let input = workload.get("m").cloned().unwrap_or(Value::Null);
    let refused = tools.refuses("start", &input);
    let expected = if refused { Status::Failed } else { Status::Completed };
    let up = state.parent.as_ref().and_then(|up| log.get(&up.key)).and_then(|chain| last(chain));
    let stopped = match up {
        Some(State::Execution(up)) => up.status != Status::Completed,
        Some(State::Loop(up)) => up.stopped,
        None => true,
    };
    let cancel = state.status == Status::Cancelled && stopped;
    ensure!(
        state.status == expected || cancel,
        "I-10",
        "{key} ends as {:?}, not {expected:?} ({:?})",
        state.status,
        state.failure
    );
    for (of, chain) in log.iter().filter(|(of, _)| of.execution() == *key && *of != key) {
        judge_loop(sim, readers, of, chain)?;
    }
    Ok(())
}

fn tools_of(sim: &Sim, playbook: &PlaybookRef) -> Result<Arc<Toolbox>, Violation> {
    let tools = sim.lock().tools(playbook);
    tools.ok_or_else(|| Violation::new("I-11", format!("nobody knows {}", playbook.path)))
}

fn last(chain: &[Entry]) -> Option<&State> {
    chain.last().map(|entry| &entry.state)
}

/// The value of a future that never waits.
fn ready<T, E: ToString>(future: impl Future<Output = Result<T, E>>) -> Result<T, Violation> {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(result) => result.map_err(|error| Violation::new("I-10", error.to_string())),
        Poll::Pending => Err(Violation::new("I-10", "a plain read waits")),
    }
}

/// Status and counts of an execution; returns the results that are still to be compared.
fn settled_steps(
    sim: &Sim,
    number: usize,
    key: &AggregateKey,
    state: &ExecutionState,
) -> Result<Vec<(String, Payload, Value)>, Violation> {
    let world: &World = &sim.lock();
    let Subject { expected, cancelled, .. } = &world.subjects[number];
    let status = state.status;
    let cancel = *cancelled && status == Status::Cancelled;
    ensure!(
        status == expected.status || cancel,
        "I-10",
        "{key} ends as {status:?}, not {:?} ({:?})",
        expected.status,
        state.failure
    );
    let mut results = Vec::new();
    if !expected.exact || cancel {
        return Ok(results);
    }
    for (step, future) in &expected.steps {
        let name = step.as_str().into();
        let Some(found) = state.steps.get(&name) else {
            return Err(Violation::new("I-10", format!("{key} never came to `{step}`")));
        };
        let (runs, visits) = (future.runs, future.visits);
        ensure!(
            found.visits == visits,
            "I-10",
            "{key}: {} visits of `{step}`, not {visits}",
            found.visits
        );
        ensure!(found.runs == runs, "I-10", "{key}: {} runs of `{step}`, not {runs}", found.runs);
        if let Some(result) = &future.result {
            let held = found.result.clone().unwrap_or(Payload::Inline(Value::Null));
            results.push((step.clone(), held, result.clone()));
        }
    }
    let known = |step: &str| expected.steps.contains_key(step);
    let stray = state.steps.keys().find(|step| !known(step.as_str()));
    ensure!(stray.is_none(), "I-10", "{key} came to {stray:?}, where nothing leads");
    Ok(results)
}

/// The results of one loop; returns its step and its items.
fn judge_loop(
    sim: &Sim,
    readers: &Readers,
    key: &AggregateKey,
    chain: &[Entry],
) -> Result<(String, String), Violation> {
    let (Some(open), Some(State::Loop(state))) = (opening(chain), last(chain)) else {
        return Err(Violation::new("I-3", format!("{key} is no loop")));
    };
    let chunks = ready(load(readers, &Payload::Ref(open.collection.clone())))?;
    let chunks: Vec<PayloadRef> = serde_json::from_value(chunks).unwrap_or_default();
    let mut items = Vec::new();
    for chunk in chunks {
        if let Value::Array(part) = ready(load(readers, &Payload::Ref(chunk)))? {
            items.extend(part);
        }
    }
    ensure!(items.len() as u64 == open.collection_size, "I-11", "{key} has other items");
    let summary = closing(chain);
    ensure!(summary.is_some() && state.closed, "I-3", "{key} never closes");
    if let Some(summary) = summary
        && !state.stopped
    {
        let found = plain(ready(load(readers, &Payload::Loop(summary.clone())))?);
        let expected = aggregate(&*tools_of(sim, &state.playbook)?, state, &items);
        ensure!(found == expected, "I-10", "{key} results in {found}, not {expected}");
    }
    Ok((open.step.to_string(), json!(items).to_string()))
}

fn opening(chain: &[Entry]) -> Option<&LoopOpen> {
    chain.first()?.facts.iter().find_map(|fact| match fact {
        Fact::LoopOpened { open } => Some(&**open),
        _ => None,
    })
}

fn closing(chain: &[Entry]) -> Option<&LoopSummary> {
    chain.last()?.facts.iter().find_map(|fact| match fact {
        Fact::LoopClosed { summary, .. } => Some(summary),
        _ => None,
    })
}

fn aggregate(tools: &Toolbox, state: &LoopState, items: &[Value]) -> Value {
    let step = state.step.as_str();
    let failed = |item: &&Value| !matches!(tools.end(step, item), End::Good(_));
    let failed = items.iter().filter(failed).count();
    let results: Vec<Value> = items.iter().map(|item| tools.settled(step, item)).collect();
    let total = items.len();
    let counts = json!({"total": total, "success": total - failed, "failed": failed});
    json!({"results": results, "stats": counts})
}

/// I-7: entries that were written and read again lead to the same state.
fn survives_writing(key: &AggregateKey, chain: &[Entry]) -> Result<(), Violation> {
    let mut read = Vec::new();
    for entry in chain {
        let again = serde_json::to_vec(entry).and_then(|bytes| serde_json::from_slice(&bytes));
        let again: Entry = again.map_err(|error| Violation::new("I-7", error.to_string()))?;
        ensure!(again == *entry, "I-7", "{key} #{} reads otherwise than written", entry.seq);
        read.push(again);
    }
    let replayed = State::replay(&read);
    ensure!(replayed.as_ref() == last(chain), "I-7", "{key} replays to another state");
    Ok(())
}
