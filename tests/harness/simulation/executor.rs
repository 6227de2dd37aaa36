//! Runs a world: polls one task at a time, in an order and with deaths that follow from the seed.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use engine_core::driver::Driver;

use super::fault::{Actor, Fault};
use super::kind::Kinds;
use super::ports::ports;
use super::world::{Sim, Wake, World};
use super::{shell, visit};

/// Milliseconds that a world may take after everything was healed.
const PATIENCE_MS: i64 = 4 * 3_600_000;
/// Milliseconds after which a loop without an execution must have stopped.
const STOP_MS: i64 = 7 * 60_000;
/// Milliseconds between two rounds of the sweeper.
const SWEEP_MS: i64 = 60_000;

type Work = Pin<Box<dyn Future<Output = ()> + Send>>;

struct Task {
    actor: Actor,
    /// The place that it holds in its shell, until it sleeps too long.
    seat: Option<usize>,
    /// What a supervisor does when it dies.
    revive: Option<usize>,
    work: Work,
}

/// A process that handles one batch at a time, and keeps its memory until it dies.
struct Seat {
    driver: Arc<Driver>,
    skew_ms: i64,
    busy: bool,
}

/// The scheduler of one world.
pub(crate) struct Executor {
    sim: Sim,
    tasks: BTreeMap<u64, Task>,
    next: u64,
    handlers: Vec<Seat>,
    workers: Vec<bool>,
    healed_ms: Option<i64>,
    started: usize,
}

impl Executor {
    pub(crate) fn new(sim: &Sim) -> Self {
        let (workers, skews) = {
            let mut world = sim.lock();
            let handlers = world.rng.within(1, 6);
            let workers = world.rng.within(1, 16);
            let most = world.odds.skew_ms;
            let mut skews = Vec::new();
            for _ in 0..handlers {
                let middle_ms = i64::try_from(most).unwrap_or(0);
                skews.push(world.rng.span_ms(0, 2 * most) - middle_ms);
            }
            if most > 0 && handlers > 1 {
                world.coverage.met(Fault::ClockSkew);
            }
            (workers, skews)
        };
        let seat = |skew_ms: &i64| Seat {
            driver: Arc::new(Driver::new(ports(sim, *skew_ms))),
            skew_ms: *skew_ms,
            busy: false,
        };
        Self {
            sim: sim.clone(),
            tasks: BTreeMap::new(),
            next: 0,
            handlers: skews.iter().map(seat).collect(),
            workers: (0..workers).map(|_| false).collect(),
            healed_ms: None,
            started: 0,
        }
    }

    /// Runs until nothing is left to do, something is wrong, or patience ends.
    pub(crate) fn run(&mut self) {
        loop {
            let Some(wake) = self.sim.lock().next() else {
                self.sim.lock().fail("I-9", "nothing is under way, and something is not over");
                return;
            };
            let task_ended = self.happen(wake);
            let mut world = self.sim.lock();
            if world.violation.is_some() {
                return;
            }
            if task_ended && self.is_quiet(&world) {
                return;
            }
            if self.healed_ms.is_some_and(|healed| world.now_ms > healed + PATIENCE_MS) {
                let open: Vec<String> = world.checks.open.iter().map(ToString::to_string).collect();
                let waiting = world.events.bodies().count() + world.commands.bodies().count();
                let detail = format!("open: {}; {waiting} messages", open.join(", "));
                world.fail("I-9", detail);
                return;
            }
        }
    }

    fn is_quiet(&self, world: &World) -> bool {
        self.tasks.is_empty()
            && self.started == world.subjects.len()
            && world.late_writes == 0
            && world.checks.open.is_empty()
            && world.events.is_empty()
            && world.commands.is_empty()
    }

    /// One step; whether a task may have ended by it.
    fn happen(&mut self, wake: Wake) -> bool {
        match wake {
            Wake::Task(number) => return self.poll(number),
            Wake::Pump => {}
            Wake::Sweep => self.sweep(),
            Wake::Start(number) => {
                self.started += 1;
                self.ask(number, false);
            }
            Wake::Cancel(number) => {
                self.sim.lock().subjects[number].cancelled = true;
                self.ask(number, true);
            }
            Wake::Visit(visit) => {
                let work = visit::answer(self.sim.clone(), ports(&self.sim, 0), *visit);
                self.spawn(Actor::Client, None, None, Box::pin(work));
            }
            Wake::LateWrite(entry) => {
                let mut world = self.sim.lock();
                world.late_writes -= 1;
                world.append(&entry);
            }
            Wake::Restart => self.restart(),
            Wake::Resume(number) => self.resume(number),
            Wake::Heal => self.heal(),
        }
        self.pump();
        true
    }

    fn ask(&mut self, number: usize, cancel: bool) {
        let work = shell::insist(self.sim.clone(), ports(&self.sim, 0), number, cancel);
        self.spawn(Actor::Client, None, None, Box::pin(work));
    }

    fn sweep(&mut self) {
        self.check_stops();
        let (now_ms, sweeps, open) = {
            let world = self.sim.lock();
            let sweeps = world.mutant.is_none_or(super::Mutant::sweeps);
            (world.now_ms, sweeps, !world.checks.open.is_empty())
        };
        self.sim.lock().schedule(now_ms + SWEEP_MS, Wake::Sweep);
        if sweeps && open {
            let work = shell::sweep(self.sim.clone(), ports(&self.sim, 0));
            self.spawn(Actor::Sweeper, None, None, Box::pin(work));
        }
    }

    /// Long after the last fault, no loop may go on for nobody.
    fn check_stops(&self) {
        let mut world = self.sim.lock();
        if self.healed_ms.is_some_and(|healed| world.now_ms > healed + STOP_MS) {
            let unstopped: Vec<String> = world
                .checks
                .unstopped(STOP_MS, world.now_ms)
                .iter()
                .map(ToString::to_string)
                .collect();
            if !unstopped.is_empty() {
                world.fail("I-14", format!("nobody wants {}", unstopped.join(", ")));
            }
        }
    }

    fn heal(&mut self) {
        let mut world = self.sim.lock();
        world.note(|| "HEAL     nothing goes wrong from here on".to_owned());
        world.odds.heal();
        world.healed = true;
        self.healed_ms = Some(world.now_ms);
    }

    /// The whole process dies and comes back without its queues.
    fn restart(&mut self) {
        let count = {
            let mut world = self.sim.lock();
            world.note(|| "RESTART  every task and both queues are gone".to_owned());
            world.coverage.met(Fault::Restart);
            world.forget();
            world.subjects.len()
        };
        let clients = std::mem::take(&mut self.tasks);
        for (number, task) in clients {
            if task.actor == Actor::Client {
                let now_ms = self.sim.lock().now_ms;
                self.tasks.insert(number, task);
                self.sim.lock().schedule(now_ms, Wake::Task(number));
            }
        }
        for number in 0..self.handlers.len() {
            self.replace(number);
        }
        self.workers.iter_mut().for_each(|busy| *busy = false);
        for number in 0..count {
            let mut world = self.sim.lock();
            let at_ms = world.now_ms + 1_000;
            world.schedule(at_ms, Wake::Resume(number));
        }
    }

    fn resume(&mut self, number: usize) {
        let id = self.sim.lock().subjects[number].id;
        let driver = Arc::new(Driver::new(ports(&self.sim, 0)));
        let work = shell::resume(self.sim.clone(), driver, id);
        self.spawn(Actor::Resume, None, Some(number), Box::pin(work));
    }

    /// A seat's process died: the next one knows nothing.
    fn replace(&mut self, number: usize) {
        let seat = &mut self.handlers[number];
        seat.driver = Arc::new(Driver::new(ports(&self.sim, seat.skew_ms)));
        seat.busy = false;
    }

    fn spawn(&mut self, actor: Actor, seat: Option<usize>, revive: Option<usize>, work: Work) {
        self.next += 1;
        self.tasks.insert(self.next, Task { actor, seat, revive, work });
        let mut world = self.sim.lock();
        let now_ms = world.now_ms;
        world.schedule(now_ms, Wake::Task(self.next));
    }

    /// Hands visible messages to whoever is free.
    fn pump(&mut self) {
        while let Some(seat) = self.handlers.iter().position(|seat| !seat.busy) {
            let mut world = self.sim.lock();
            let World { events, now_ms, rng, .. } = &mut *world;
            let receipt = events.receive(*now_ms, rng);
            let hidden_ms = *now_ms + events.visibility_ms();
            let dead: Vec<Kinds> = receipt.dead.iter().map(|one| world.origin(one)).collect();
            world.buried(&dead, receipt.overtaken);
            let batch = receipt.batch;
            if batch.is_empty() {
                break;
            }
            world.schedule(hidden_ms, Wake::Pump);
            let doomed = batch.iter().any(|one| world.is_doomed(true, one.number));
            drop(world);
            if !doomed {
                self.handlers[seat].busy = true;
                let driver = Arc::clone(&self.handlers[seat].driver);
                let work = shell::handle(self.sim.clone(), driver, batch);
                self.spawn(Actor::Handler, Some(seat), None, Box::pin(work));
            }
        }
        while let Some(seat) = self.workers.iter().position(|busy| !busy) {
            let mut world = self.sim.lock();
            let World { commands, now_ms, rng, .. } = &mut *world;
            let mut receipt = commands.receive(*now_ms, rng);
            let hidden_ms = *now_ms + commands.visibility_ms();
            let dead = receipt.dead.iter().map(|one| world.asking(&one.id, one.attempt));
            let dead: Vec<Kinds> = dead.collect();
            world.buried(&dead, receipt.overtaken);
            let Some(received) = receipt.batch.pop() else { break };
            world.schedule(hidden_ms, Wake::Pump);
            let doomed = world.is_doomed(false, received.number);
            drop(world);
            if !doomed {
                self.workers[seat] = true;
                let (ports, name) = (ports(&self.sim, 0), format!("w{}", self.next));
                let work = shell::work(self.sim.clone(), ports, received, name);
                self.spawn(Actor::Worker, Some(seat), None, Box::pin(work));
            }
        }
    }

    /// Polls a task once and decides what becomes of it; whether it is gone.
    fn poll(&mut self, number: u64) -> bool {
        let Some(task) = self.tasks.get_mut(&number) else { return true };
        let actor = task.actor;
        self.sim.lock().polled = number;
        let poll = task.work.as_mut().poll(&mut Context::from_waker(Waker::noop()));
        let mut world = self.sim.lock();
        let suspended = world.take_suspended();
        match (poll, suspended) {
            (Poll::Ready(()), _) | (Poll::Pending, None) => {
                drop(world);
                self.end(number, false);
                true
            }
            (Poll::Pending, Some((site, wait_ms))) => {
                let now_ms = world.now_ms;
                let mark = [actor as u64, site as u64, number, now_ms.unsigned_abs()];
                for part in mark {
                    world.mark(&part.to_le_bytes());
                }
                *world.coverage.reached.entry((actor, site)).or_default() += 1;
                let mortal = actor != Actor::Client;
                if mortal && world.roll(Fault::Crash, |odds| odds.crash) {
                    *world.coverage.crashed.entry((actor, site)).or_default() += 1;
                    world.note(|| format!("CRASH    {actor:?} {number} at {site:?}"));
                    drop(world);
                    self.end(number, true);
                    return true;
                }
                let zombie = mortal && world.roll(Fault::Zombie, |odds| odds.zombie);
                let wait_ms = wait_ms.unwrap_or(0) + pause(&mut world, actor, zombie);
                if zombie {
                    world.checks.sleepers += u64::from(actor == Actor::Handler);
                    world.note(|| format!("ZOMBIE   {actor:?} {number} at {site:?}"));
                }
                world.schedule(now_ms + wait_ms, Wake::Task(number));
                drop(world);
                if zombie {
                    self.leave(number);
                    self.pump();
                }
                false
            }
        }
    }

    /// A task that sleeps too long is replaced, and goes on beside its successor.
    fn leave(&mut self, number: u64) {
        let Some(task) = self.tasks.get_mut(&number) else { return };
        match (task.actor, task.seat.take()) {
            (Actor::Handler, Some(seat)) => self.replace(seat),
            (Actor::Worker, Some(seat)) => self.workers[seat] = false,
            _ => {}
        }
    }

    fn end(&mut self, number: u64, died: bool) {
        let Some(task) = self.tasks.remove(&number) else { return };
        self.sim.lock().at_hand.remove(&number);
        match (task.actor, task.seat) {
            (Actor::Handler, Some(seat)) if died => self.replace(seat),
            (Actor::Handler, Some(seat)) => self.handlers[seat].busy = false,
            (Actor::Worker, Some(seat)) => self.workers[seat] = false,
            _ => {}
        }
        if died && let Some(subject) = task.revive {
            let mut world = self.sim.lock();
            let at_ms = world.now_ms + 1_000;
            world.schedule(at_ms, Wake::Resume(subject));
        }
        self.pump();
    }
}

/// Milliseconds until a task goes on.
fn pause(world: &mut World, actor: Actor, zombie: bool) -> i64 {
    let latency_ms = world.latency_ms;
    let pause_ms = world.rng.span_ms(0, latency_ms);
    if !zombie {
        return pause_ms;
    }
    let visibility_ms = match actor {
        Actor::Worker => world.commands.visibility_ms(),
        _ => world.events.visibility_ms(),
    };
    pause_ms + visibility_ms * world.rng.span_ms(1, 5)
}
