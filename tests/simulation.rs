//! No lost and no doubled work, whatever goes wrong: thousands of worlds, each drawn from one number.
//!
//! `SIM_SEEDS=100000` runs more of them, `SIM_FROM=...` others. `SIM_SEED=... cargo test -p tests --test
//! simulation replay -- --nocapture` tells what happens in one; with `SIM_MUTANT=NoFence` in a broken one.

#![expect(
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "seeds, coverage and timelines are for a person to read; a failed call is a failed test"
)]

use std::collections::BTreeMap;
use std::num::NonZero;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::OnceLock;
use std::time::Instant;

use tests::simulation::{self, Actor, Coverage, Fault, Kind, Mutant, Report, Violation};

/// Worlds of one run, unless `SIM_SEEDS` says otherwise: about two minutes on two cores.
const SEEDS: u64 = 5_000;
/// Worlds in which a mutant must be found out.
const MUTANT_SEEDS: u64 = 2_000;
/// An await that was reached so often must have been somebody's last.
const REACHED_ENOUGH: u64 = 500;

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok()?.parse().ok()
}

/// Runs one world; a panic of the code under test is a violation like any other.
fn live(seed: u64, mutant: Option<Mutant>) -> Result<Report, Violation> {
    let lived = catch_unwind(AssertUnwindSafe(|| simulation::run(seed, mutant)));
    let report = lived.map_err(|_panic| Violation {
        invariant: "panic",
        detail: "the code under test panicked; see above".to_owned(),
    })?;
    match report.violation.clone() {
        Some(violation) => Err(violation),
        None => Ok(report),
    }
}

/// Seeds that once failed, with what they failed by.
fn regressions() -> impl Iterator<Item = u64> {
    let lines = include_str!("regressions/seeds.txt").lines();
    lines.filter_map(|line| line.split_whitespace().next()?.parse().ok())
}

fn demand(seed: u64) -> Report {
    match live(seed, None) {
        Ok(report) => report,
        Err(violation) => panic!(
            "{violation}\nSIM_SEED={seed} cargo test -p tests --test simulation replay -- --nocapture"
        ),
    }
}

/// What the worlds of this run met; each test that asks waits for the one run that they share.
fn survey() -> &'static (Coverage, u64) {
    static SURVEY: OnceLock<(Coverage, u64)> = OnceLock::new();
    SURVEY.get_or_init(|| {
        for seed in regressions() {
            demand(seed);
        }
        let (from, count) = (number("SIM_FROM").unwrap_or(0), number("SIM_SEEDS").unwrap_or(SEEDS));
        let begun = Instant::now();
        let threads = std::thread::available_parallelism().map_or(1, NonZero::get) as u64;
        let lives = |first: u64| {
            let (mut met, mut commits, mut calls) = (Coverage::default(), 0, 0);
            for seed in (from + first..from + count).step_by(usize::try_from(threads).unwrap()) {
                let report = demand(seed);
                met.absorb(&report.coverage);
                commits += report.commits;
                calls += report.calls;
            }
            (met, commits, calls)
        };
        let (mut met, mut commits, mut calls) = (Coverage::default(), 0, 0);
        std::thread::scope(|scope| {
            let running: Vec<_> =
                (0..threads).map(|first| scope.spawn(move || lives(first))).collect();
            for thread in running {
                let (more, more_commits, more_calls) = thread.join().unwrap();
                met.absorb(&more);
                commits += more_commits;
                calls += more_calls;
            }
        });
        println!("{count} seeds, {commits} entries, {calls} tool calls in {:?}", begun.elapsed());
        (met, count)
    })
}

#[test]
fn five_thousand_seeds_run_without_a_violation() {
    assert!(survey().1 > 0, "no seed was run");
}

/// A run that never met a fault, or never died at some await, proves nothing about it.
#[test]
fn every_fault_met_its_chance() {
    let (met, count) = survey();
    let enough = *count >= SEEDS;
    for fault in Fault::ALL {
        let count = met.faults.get(&fault).copied().unwrap_or(0);
        println!("{count:>10}  {fault:?}");
        assert!(count > 0 || !enough, "no seed met {fault:?}");
    }
    for (place, reached) in &met.reached {
        let crashed = met.crashed.get(place).copied().unwrap_or(0);
        let (actor, site) = place;
        println!("{reached:>10} reached, {crashed:>6} died  {actor:?} at {site:?}");
        let common = *actor != Actor::Client && *reached >= REACHED_ENOUGH;
        assert!(crashed > 0 || !common || !enough, "nobody died as {actor:?} at {site:?}");
    }
}

/// Pairs of a fault and a kind of entry that do not meet, and why.
const NEVER: [(Fault, Kind, &str); 32] = [
    (Fault::Restart, Kind::LoopClosed, "nothing is awaited behind it"),
    (Fault::Restart, Kind::ParentAnswered, "nothing is awaited behind it"),
    (Fault::Restart, Kind::Finished, "nothing is awaited behind it"),
    (Fault::SendPartial, Kind::Started, "it sends one message at most"),
    (Fault::SendPartial, Kind::ChildStarted, "it sends one message at most"),
    (Fault::SendPartial, Kind::ParentAnswered, "it sends one message at most"),
    (Fault::SendPartial, Kind::Failed, "it sends one message at most"),
    (Fault::DeadLettered, Kind::ParentAnswered, "not met in these seeds"),
    (Fault::DeadLettered, Kind::CalledBack, "not met in these seeds"),
    (Fault::StaleAnswer, Kind::LoopRequested, "not met in these seeds"),
    (Fault::SlowTool, Kind::LoopClosed, "no command follows it"),
    (Fault::SlowTool, Kind::ParentAnswered, "no command follows it"),
    (Fault::SlowTool, Kind::Failed, "no command follows it"),
    (Fault::SlowTool, Kind::Finished, "no command follows it"),
    (Fault::StaleAnswer, Kind::LoopClosed, "no answer to it is awaited"),
    (Fault::StaleAnswer, Kind::ParentAnswered, "no answer to it is awaited"),
    (Fault::StaleAnswer, Kind::Stopped, "no answer to it is awaited"),
    (Fault::StaleAnswer, Kind::Failed, "no answer to it is awaited"),
    (Fault::StaleAnswer, Kind::Finished, "no answer to it is awaited"),
    (Fault::DoubleAnswer, Kind::LoopClosed, "no command follows it"),
    (Fault::DoubleAnswer, Kind::ParentAnswered, "no command follows it"),
    (Fault::DoubleAnswer, Kind::Finished, "no command follows it"),
    (Fault::AnswerAfterEnd, Kind::Failed, "not met in these seeds"),
    (Fault::Cancel, Kind::FrameIssued, "it is of a loop, or the end itself"),
    (Fault::Cancel, Kind::Resumed, "it is of a loop, or the end itself"),
    (Fault::Cancel, Kind::FrameAnswered, "it is of a loop, or the end itself"),
    (Fault::Cancel, Kind::IterationSettled, "it is of a loop, or the end itself"),
    (Fault::Cancel, Kind::LoopOpened, "it is of a loop, or the end itself"),
    (Fault::Cancel, Kind::LoopClosed, "it is of a loop, or the end itself"),
    (Fault::Cancel, Kind::Signal, "it is of a loop, or the end itself"),
    (Fault::Cancel, Kind::ParentAnswered, "it is of a loop, or the end itself"),
    (Fault::Cancel, Kind::Finished, "it is of a loop, or the end itself"),
];

#[test]
fn every_fault_met_every_kind_of_entry() {
    let (met, count) = survey();
    let mut missing = Vec::new();
    println!("{:>15} {:?}", "", Kind::ALL);
    for fault in Fault::ANYTIME {
        let row = Kind::ALL.map(|kind| met.pairs.get(&(fault, kind)).copied().unwrap_or(0));
        println!("{:>15} {row:?}", format!("{fault:?}"));
        for (kind, count) in Kind::ALL.into_iter().zip(row) {
            let never = NEVER.iter().any(|(f, k, _)| (*f, *k) == (fault, kind));
            if never != (count == 0) {
                missing.push((fault, kind, count));
            }
        }
    }
    assert!(missing.is_empty() || *count < SEEDS, "{missing:?}");
}

#[test]
fn the_same_seed_gives_the_same_trace() {
    let mut traces = BTreeMap::new();
    for seed in 0..50 {
        let (first, second) = (simulation::run(seed, None), simulation::replay(seed, None));
        assert_eq!(first.trace, second.trace, "I-21: seed {seed} has two futures");
        traces.insert(first.trace, seed);
    }
    assert_eq!(traces.len(), 50, "different seeds are different worlds");
}

#[test]
fn each_mutant_is_killed() {
    let mut alive = Vec::new();
    for mutant in Mutant::ALL {
        let death = (0..MUTANT_SEEDS)
            .find_map(|seed| live(seed, Some(mutant)).err().map(|violation| (seed, violation)));
        match death {
            Some((seed, violation)) => {
                let detail: String = violation.to_string().chars().take(120).collect();
                println!("{mutant:?}: seed {seed}: {detail}");
            }
            None => alive.push(mutant),
        }
    }
    assert!(alive.is_empty(), "{alive:?} survive {MUTANT_SEEDS} seeds");
}

#[test]
fn replay() {
    let Some(seed) = number("SIM_SEED") else { return };
    let wanted = std::env::var("SIM_MUTANT").unwrap_or_default();
    let mutant = Mutant::ALL.into_iter().find(|mutant| format!("{mutant:?}") == wanted);
    let report = simulation::replay(seed, mutant);
    for line in &report.timeline {
        println!("{line}");
    }
    println!("trace {:016x}, {} s of virtual time", report.trace, report.took_ms / 1_000);
    assert_eq!(report.violation, None);
}

/// Which seeds of a range fail, and by what.
#[test]
fn scan() {
    let (Some(from), Some(count)) = (number("SCAN_FROM"), number("SCAN")) else { return };
    let mut found: BTreeMap<&'static str, Vec<(u64, String)>> = BTreeMap::new();
    let begun = Instant::now();
    let mut slow = Vec::new();
    for seed in from..from + count {
        let born = Instant::now();
        match live(seed, None) {
            Err(violation) => {
                found.entry(violation.invariant).or_default().push((seed, violation.detail));
            }
            Ok(report) => slow.push((born.elapsed(), seed, report.commits, report.calls)),
        }
    }
    slow.sort();
    for (took, seed, commits, calls) in slow.iter().rev().take(15) {
        println!("{took:?} {seed}: {commits} entries, {calls} calls");
    }
    for (invariant, seeds) in &found {
        println!("{invariant}: {} seeds", seeds.len());
        for (seed, detail) in seeds.iter().take(8) {
            println!("   {seed}: {}", detail.chars().take(400).collect::<String>());
        }
    }
    println!("{:?}", begun.elapsed());
}
