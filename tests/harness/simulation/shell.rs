//! The shells around the engine: event handler, worker, sweeper, and a program that starts and cancels.
//!
//! They do what the real ones do with a message and nothing else: receive, work, acknowledge, or give
//! it back.

use std::sync::Arc;

use engine_core::command::{Command, Frame, Scope};
use engine_core::driver::{Delivery, Driver, DriverError};
use engine_core::event::{Answer, Envelope, Input, Outcome, Report, Start};
use engine_core::ids::{AggregateKey, ExecutionId, InputId};
use engine_core::limits::QUEUE_ALLOWANCE_MS;
use engine_core::load::{Readers, load};
use engine_core::payload::{Payload, PayloadRef};
use engine_core::ports::{PortError, PortErrorKind, Ports};
use engine_core::state::State;
use serde_json::{Map, Value, json};

use super::fault::{Fault, Site};
use super::mutant::Mutant;
use super::queue::Received;
use super::rng::{hash, mix};
use super::tool::Call;
use super::world::{Sim, Wake};

/// Milliseconds after which a failed batch is tried again.
const BACKOFF_MS: (u64, u64) = (200, 5_000);
/// Milliseconds between two looks of a client.
const CLIENT_MS: i64 = 60_000;
/// Milliseconds of a call that tells how far it is.
const TELLS_MS: u64 = 500;
/// One frame of so many has a worker whose time ends before all of its iterations.
const LATE_FRAME: u64 = 8;
/// Inputs that the sweeper sends at once.
const SWEEP_BATCH: usize = 10;

/// One invocation of the event handler.
pub(crate) async fn handle(sim: Sim, driver: Arc<Driver>, batch: Vec<Received<Envelope>>) {
    let mut held: Vec<(Envelope, u32)> =
        batch.iter().map(|one| ((*one.body).clone(), one.receives)).collect();
    let mutant = {
        let mut world = sim.lock();
        world.delivered(&batch);
        let newest = world.newest(&batch[0].body.to);
        world.take_up(newest);
        world.note(|| {
            let one =
                |one: &Received<Envelope>| format!("{} (receive {})", one.body.id, one.receives);
            let inputs: Vec<String> = batch.iter().map(one).collect();
            format!("receive  {}: {}", batch[0].body.to, inputs.join(", "))
        });
        if let Some(mutant) = world.mutant {
            mutant.tamper(&world, &mut held);
        }
        world.mutant
    };
    let early = mutant.is_some_and(|mutant| mutant.acknowledges_first(&batch));
    if early {
        acknowledge(&sim, &batch).await;
    }
    sim.reach(Site::Received).await;
    let deliveries: Vec<Delivery> = held
        .into_iter()
        .map(|(envelope, receive_count)| Delivery { envelope, receive_count })
        .collect();
    match driver.handle(&deliveries).await {
        Ok(_) if early => {}
        Ok(_) => acknowledge(&sim, &batch).await,
        Err(error) => {
            complain(&sim, &error);
            let mut world = sim.lock();
            let at_ms = world.now_ms + world.rng.span_ms(BACKOFF_MS.0, BACKOFF_MS.1);
            world.note(|| format!("give back ({error})"));
            for one in &batch {
                world.events.give_back(one, at_ms);
            }
            world.schedule(at_ms, Wake::Pump);
        }
    }
}

async fn acknowledge(sim: &Sim, batch: &[Received<Envelope>]) {
    for one in batch {
        sim.reach(Site::Acknowledge).await;
        let mut world = sim.lock();
        world.note(|| format!("ack      {} {}", one.body.to, one.body.id));
        world.acknowledge_event(one);
    }
}

/// The engine may find a service silent or an aggregate contended, nothing else.
fn complain(sim: &Sim, error: &DriverError) {
    let expected = match error {
        DriverError::Port(error) => error.kind == PortErrorKind::Unavailable,
        DriverError::Contended(_) => true,
        DriverError::Loads(_) => false,
    };
    if !expected {
        sim.lock().fail("driver", error.to_string());
    }
}

/// One invocation of a worker.
pub(crate) async fn work(sim: Sim, ports: Ports, received: Received<Command>, name: String) {
    let mutant = {
        let mut world = sim.lock();
        let kinds = world.asking(&received.body.id, received.body.attempt);
        world.take_up(kinds);
        world.mutant
    };
    if mutant == Some(Mutant::WorkerAckFirst) {
        sim.lock().commands.acknowledge(&received);
    }
    sim.reach(Site::Received).await;
    let command = &*received.body;
    let answered = match run(&sim, &ports, command, &name).await {
        Ok(mut outcomes) => {
            let cut = lasts(command).is_some_and(|lasts| lasts < outcomes.len());
            outcomes.truncate(lasts(command).unwrap_or(usize::MAX));
            let answer = Answer {
                command_id: command.id.clone(),
                attempt: command.attempt,
                worker: name,
                outcomes,
                cut,
            };
            let id = InputId(format!("{}:{}", command.id, command.attempt));
            let to = command.reply_to.clone();
            ports.events.send(&[Envelope { id, to, input: Input::Answer(answer) }]).await
        }
        Err(error) => Err(error),
    };
    if answered.is_ok() {
        sim.reach(Site::Acknowledge).await;
        sim.lock().commands.acknowledge(&received);
    } else {
        let mut world = sim.lock();
        let at_ms = world.now_ms + world.rng.span_ms(BACKOFF_MS.0, BACKOFF_MS.1);
        world.commands.give_back(&received, at_ms);
        world.schedule(at_ms, Wake::Pump);
    }
}

/// How many iterations of a frame this worker has time for, where not for all; the same for copies.
fn lasts(command: &Command) -> Option<usize> {
    let frame = command.frame.as_ref().filter(|frame| frame.len > 1)?;
    let number = mix(hash(u64::from(command.attempt), command.id.as_str().as_bytes()));
    let lasts = 1 + (number >> 8) % u64::from(frame.len);
    usize::try_from(lasts).ok().filter(|_| number.is_multiple_of(LATE_FRAME))
}

/// Runs a command: one call, or one per item of its frame.
async fn run(
    sim: &Sim,
    ports: &Ports,
    command: &Command,
    worker: &str,
) -> Result<Vec<Outcome>, PortError> {
    let readers =
        Readers { store: Arc::clone(&ports.store), payloads: Arc::clone(&ports.payloads) };
    let scope = load(&readers, &command.scope).await?;
    let scope: Scope = serde_json::from_value(scope)
        .map_err(|error| PortError::new(PortErrorKind::Corrupt, error.to_string()))?;
    let Some(frame) = &command.frame else {
        // A child's first step is given `m`, beside what else its caller was given.
        let input = match scope.args.get("m").or_else(|| scope.args.get("n")) {
            Some(payload) => load(&readers, payload).await?,
            None => Value::Null,
        };
        return Ok(vec![call(sim, ports, command, (None, &input), worker).await]);
    };
    let mut outcomes = Vec::new();
    for (index, input) in (frame.first..).zip(items(&readers, frame).await?) {
        let outcome = call(sim, ports, command, (Some(index), &input), worker).await;
        let failed = outcome.error.is_some();
        outcomes.push(outcome);
        if failed && frame.fail_fast {
            break;
        }
    }
    Ok(outcomes)
}

/// The items of a frame, from the chunks of the stored collection.
async fn items(readers: &Readers, frame: &Frame) -> Result<Vec<Value>, PortError> {
    let corrupt = |text: &str| PortError::new(PortErrorKind::Corrupt, text);
    let chunks = load(readers, &Payload::Ref(frame.collection.clone())).await?;
    let chunks: Vec<PayloadRef> =
        serde_json::from_value(chunks).map_err(|error| corrupt(&error.to_string()))?;
    let mut items = Vec::new();
    let mut open: Option<(u64, Value)> = None;
    for index in frame.first..frame.first + u64::from(frame.len) {
        let (number, offset) = (index / frame.chunk_items, index % frame.chunk_items);
        if open.as_ref().is_none_or(|(held, _)| *held != number) {
            let chunk = usize::try_from(number).ok().and_then(|number| chunks.get(number));
            let chunk = chunk.ok_or_else(|| corrupt("no such chunk"))?;
            open = Some((number, load(readers, &Payload::Ref(chunk.clone())).await?));
        }
        let item = open.as_ref().zip(usize::try_from(offset).ok());
        let item = item.and_then(|((_, chunk), offset)| chunk.get(offset));
        items.push(item.cloned().ok_or_else(|| corrupt("no such item"))?);
    }
    Ok(items)
}

/// Calls the tool once; its effect comes before its answer.
async fn call(
    sim: &Sim,
    ports: &Ports,
    command: &Command,
    (index, input): (Option<u64>, &Value),
    worker: &str,
) -> Outcome {
    let (step, attempt) = (command.step.as_str(), command.attempt);
    let (started_ms, mut wait_ms, outcome) = {
        let mut world = sim.lock();
        let now_ms = world.now_ms;
        let called = world.checks.called(command, worker, now_ms);
        world.check(called);
        let tools = world.tools(&command.playbook);
        let forgets = world.mutant == Some(Mutant::FirstPageAgain);
        let (site, overrides) = (command.site, command.overrides.as_ref());
        let overrides = overrides.filter(|_| !forgets);
        let call = Call { step, site, overrides, attempt };
        let outcome = tools.as_ref().map(|tools| tools.call(&call, input));
        let wait_ms = tools.map_or(0, |tools| tools.duration_ms(step, input));
        (now_ms, wait_ms, outcome)
    };
    {
        let mut world = sim.lock();
        if world.roll(Fault::SlowTool, |odds| odds.slow_tool) {
            world.note(|| format!("SLOW     {} attempt {attempt}", command.id));
            wait_ms += command.timeout_ms + QUEUE_ALLOWANCE_MS + world.rng.within(1, 120_000);
        }
    }
    let (early_ms, late_ms) = (wait_ms / 2, wait_ms - wait_ms / 2);
    sim.wait(Site::Tool, i64::try_from(early_ms).unwrap_or(i64::MAX)).await;
    if wait_ms >= TELLS_MS {
        tell(ports, command, index, worker, started_ms).await;
        sim.wait(Site::Tool, i64::try_from(late_ms).unwrap_or(i64::MAX)).await;
    }
    let (result, error) = match outcome {
        Some(Ok(result)) => (result, None),
        Some(Err(error)) => (Value::Null, Some(error)),
        None => (Value::Null, None),
    };
    Outcome {
        result: Payload::Inline(result),
        error,
        started_ms,
        duration_ms: wait_ms,
        output: String::new(),
    }
}

/// Tells that a call is half done; nothing may depend on it.
async fn tell(ports: &Ports, command: &Command, index: Option<u64>, worker: &str, started_ms: i64) {
    let report = Report {
        command_id: command.id.clone(),
        attempt: command.attempt,
        index,
        number: 1,
        started_ms,
        worker: worker.to_owned(),
        data: json!({"done": 0.5}),
    };
    let item = index.map(|index| format!(".{index}")).unwrap_or_default();
    let id = InputId(format!("{}:{}{item}:progress:1", command.id, command.attempt));
    let (to, input) = (command.reply_to.clone(), Input::Progress(report));
    // One that is lost is lost.
    let _ = ports.events.send(&[Envelope { id, to, input }]).await;
}

/// One minute of the sweeper: a tick to every open aggregate.
pub(crate) async fn sweep(sim: Sim, ports: Ports) {
    sim.reach(Site::Received).await;
    let (keys, minute) = {
        let world = sim.lock();
        let keys: Vec<AggregateKey> = world.checks.open.iter().cloned().collect();
        (keys, world.now_ms / 60_000)
    };
    let tick = |key: &AggregateKey| Envelope {
        id: InputId(format!("tick:{minute}")),
        to: key.clone(),
        input: Input::Tick,
    };
    for keys in keys.chunks(SWEEP_BATCH) {
        let ticks: Vec<Envelope> = keys.iter().map(tick).collect();
        // The next minute comes anyway.
        let _ = ports.events.send(&ticks).await;
    }
}

/// Asks for an execution, or for its end, until it is so.
pub(crate) async fn insist(sim: Sim, ports: Ports, number: usize, cancel: bool) {
    let (key, playbook) = {
        let world = sim.lock();
        let subject = &world.subjects[number];
        (AggregateKey::Execution(subject.id), subject.playbook.reference.clone())
    };
    let (id, input) = if cancel {
        ("cancel", Input::Cancel { reason: "somebody asked for it".to_owned() })
    } else {
        ("start", Input::Start(Start { playbook, payload: Map::new(), parent: None }))
    };
    let envelope = Envelope { id: InputId(id.to_owned()), to: key.clone(), input };
    loop {
        // An unclear answer is cleared up by the look that follows.
        let _ = ports.events.send(std::slice::from_ref(&envelope)).await;
        sim.wait(Site::Wait, CLIENT_MS).await;
        let world = sim.lock();
        let state = world.log.get(&key).and_then(|chain| chain.last()).map(|entry| &entry.state);
        let done = match state {
            None => false,
            Some(_) if !cancel => true,
            Some(State::Execution(state)) => state.status != engine_core::event::Status::Running,
            Some(State::Loop(_)) => true,
        };
        if done {
            return;
        }
    }
}

/// Takes up an execution after the process that held the queues died.
pub(crate) async fn resume(sim: Sim, driver: Arc<Driver>, id: ExecutionId) {
    sim.reach(Site::Received).await;
    loop {
        let lost = {
            let mut world = sim.lock();
            world.checks.resumes += 1;
            world.checks.lost
        };
        match driver.resume(id).await {
            Ok(_) => return sim.lock().resumed(id, lost),
            Err(error) => complain(&sim, &error),
        }
        sim.wait(Site::Wait, 1_000).await;
    }
}
