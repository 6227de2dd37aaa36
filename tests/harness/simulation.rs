//! A hostile world for the real engine: one seed is one world, and the same world every time.
//!
//! # Layout
//!
//! * `world`: time, queues, log, objects. `queue`: the manners of SQS. `ports`: the engine's view of it.
//! * `shell`: event handler, worker, sweeper, clients, around the real [`engine_core::driver::Driver`].
//!   `visit`: whoever answers callbacks.
//! * `executor`: polls one task at a time; every await of a port may be the last of its task.
//! * `fault`: what goes wrong, how likely, how often it did. `kind`: which entries it met. `mutant`:
//!   engines broken on purpose.
//! * `plan`, `tool`: playbooks drawn by chance, and what they must come to.
//! * `check`: what must hold after every step. `verdict`: what must hold at the end.
//!
//! Nothing else is simulated: parser, templates, transitions, driver and loading are the real ones.

mod check;
mod executor;
mod fault;
mod kind;
mod mutant;
mod plan;
mod ports;
mod queue;
mod rng;
mod shell;
mod tool;
mod verdict;
mod visit;
mod world;

use std::sync::Arc;

use engine_core::event::Fact;
use engine_core::ids::ExecutionId;
use engine_core::playbook::Playbook;
use engine_core::playbook::parse::parse;

pub use self::check::Violation;
pub use self::fault::{Actor, Coverage, Fault, Site};
pub use self::kind::Kind;
pub use self::mutant::Mutant;

use self::executor::Executor;
use self::plan::{Book, Plan};
use self::world::{BEGINNING_MS, Sim, Subject, Wake, World};

/// What became of one world.
#[derive(Clone, Debug)]
pub struct Report {
    /// What was wrong, if anything was.
    pub violation: Option<Violation>,
    /// A number that stands for everything that happened, in its order.
    pub trace: u64,
    /// What it met.
    pub coverage: Coverage,
    /// What happened, in words, if that was asked for.
    pub timeline: Vec<String>,
    /// Entries committed.
    pub commits: u64,
    /// Tools called.
    pub calls: u64,
    /// Virtual milliseconds from the first thing that happened to the last.
    pub took_ms: i64,
}

/// Runs the world of a seed to its end, or to its first violation.
#[must_use]
pub fn run(seed: u64, mutant: Option<Mutant>) -> Report {
    live(seed, mutant, false)
}

/// As [`run`], with a line for everything that happens.
#[must_use]
pub fn replay(seed: u64, mutant: Option<Mutant>) -> Report {
    live(seed, mutant, true)
}

fn live(seed: u64, mutant: Option<Mutant>, tell: bool) -> Report {
    let mut world = World::new(seed, mutant);
    if tell {
        world.timeline = Some(Vec::new());
    }
    populate(&mut world);
    let sim = Sim::new(world);
    if sim.lock().violation.is_none() {
        Executor::new(&sim).run();
    }
    if sim.lock().violation.is_none() {
        let verdict = verdict::judge(&sim);
        sim.lock().check(verdict);
    }
    let mut world = sim.lock();
    Report {
        violation: world.violation.take(),
        trace: world.trace,
        coverage: std::mem::take(&mut world.coverage),
        timeline: world.timeline.take().unwrap_or_default(),
        commits: world.checks.commits,
        calls: world.checks.calls,
        took_ms: world.now_ms - BEGINNING_MS,
    }
}

/// Draws playbooks, and the moments of what comes from outside.
fn populate(world: &mut World) {
    let count = 1 + usize::from(world.rng.below(4) == 0);
    for number in 0..count {
        let plan = Plan::draw(&mut world.rng, &format!("simulated/{number}"));
        for book in plan.books.iter().chain([&plan.book]) {
            world.note(|| format!("PLAYBOOK {number}\n{}", book.text));
        }
        for shape in &plan.shapes {
            world.coverage.met(*shape);
        }
        let Plan { book, books, expected, .. } = plan;
        let Some(playbook) = add(world, book) else { return };
        for book in books {
            if add(world, book).is_none() {
                return;
            }
        }
        let id = ExecutionId(1_000 + i64::try_from(number).unwrap_or(0));
        world.subjects.push(Subject { id, playbook, expected, cancelled: false });
        let start_ms = world.now_ms + world.rng.span_ms(0, 2_000);
        world.schedule(start_ms, Wake::Start(number));
        if world.rng.below(6) == 0 {
            let cancel_ms = start_ms + world.rng.span_ms(0, 20_000);
            world.schedule(cancel_ms, Wake::Cancel(number));
        }
    }
    let troubled_ms = *world.rng.pick(&[5_000, 60_000, 600_000, 1_800_000]);
    let heal_ms = world.now_ms + world.rng.span_ms(troubled_ms / 2, troubled_ms);
    for _ in 0..world.odds.restarts {
        let at_ms = world.now_ms + world.rng.span_ms(100, troubled_ms / 2);
        world.schedule(at_ms, Wake::Restart);
    }
    world.schedule(heal_ms, Wake::Heal);
    let sweep_ms = world.now_ms + world.rng.span_ms(1, 60_000);
    world.schedule(sweep_ms, Wake::Sweep);
}

/// Registers a playbook, if it is one.
fn add(world: &mut World, book: Book) -> Option<Arc<Playbook>> {
    let parsed = parse(&book.text);
    let Some(playbook) = parsed.playbook.map(Arc::new) else {
        let found = parsed.diagnostics.first().map(|found| found.message.clone());
        world.fail("parser", found.unwrap_or_default());
        return None;
    };
    world.library.insert(playbook.reference.path.clone(), (Arc::clone(&playbook), book.tools));
    Some(playbook)
}

/// A fact in a few words.
fn brief(fact: &Fact) -> String {
    match fact {
        Fact::Started { .. } => "started".to_owned(),
        Fact::StepEntered { step, run, .. } => format!("enter {step} ({run})"),
        Fact::CommandIssued { command, .. } => {
            format!("issue {} attempt {}", command.id, command.attempt)
        }
        Fact::Answered { command_id, attempt, outcome, .. } => {
            let end = outcome.error.as_ref().map_or("ok", |error| &error.message);
            format!("answer {command_id} attempt {attempt}: {end}")
        }
        Fact::Progressed { .. } => "progress".to_owned(),
        Fact::Retried { command_id, delay_ms, .. } => {
            format!("retry {command_id} in {delay_ms} ms")
        }
        Fact::LoopRequested { key, open, .. } => {
            format!("ask for {key} over {}", open.collection_size)
        }
        Fact::SignalHeard { run, number, .. } => format!("hear {number} of {run}"),
        Fact::LoopDone { summary, .. } => format!("loop done {}", summary.stats()),
        Fact::StepExited { step, status, .. } => format!("exit {step}: {status:?}"),
        Fact::Finished { status, .. } => format!("FINISHED {status:?}"),
        Fact::LoopOpened { open } => format!("open over {}", open.collection_size),
        Fact::FrameIssued { first, len, attempt, call, .. } => {
            format!("issue [{first}; {len}]/{call}@{attempt}")
        }
        Fact::FrameAnswered { first, len, attempt, outcomes, retried, .. } => {
            let failed = outcomes.iter().filter(|outcome| outcome.error.is_some()).count();
            format!("answer [{first}; {len}]@{attempt}: {failed} failed, retry {retried:?}")
        }
        Fact::SignalSent { signal } => format!("signal {}", signal.number),
        Fact::LoopStopped { reason } => format!("stop: {reason}"),
        Fact::LoopClosed { summary, .. } => format!("CLOSED {}", summary.stats()),
        Fact::StopSent { key, .. } => format!("stop {key}"),
        Fact::Failed { failure } => format!("failed: {}", failure.error.message),
        Fact::Ignored { input, reason } => format!("ignore {input}: {reason:?}"),
        Fact::ChildRequested { child, .. } => format!("ask for exec:{child}"),
        Fact::ParentAnswered { outcome } => {
            format!("tell the parent: failed {}", outcome.error.is_some())
        }
        Fact::Arrived { step, .. } => format!("arrive at {step}"),
        Fact::TimerSet { rings_ms, number, .. } => format!("timer {number} at {rings_ms}"),
        Fact::CommandCancelled { command_id, .. } => format!("cancel {command_id}"),
        Fact::LoopFailed { step, .. } => format!("no collection for {step}"),
        Fact::Continued { step, index, failed, .. } => {
            format!("go on with {step} {index:?}, failed {failed}")
        }
        Fact::IterationSettled { index, outcome, .. } => {
            format!("settle [{index}]: failed {}", outcome.error.is_some())
        }
        Fact::ResultSet { .. }
        | Fact::LoopVariables { .. }
        | Fact::VariablesSet { .. }
        | Fact::Saved { .. }
        | Fact::Routed { .. } => "rule".to_owned(),
    }
}
