//! No lost or doubled work, whatever goes wrong: thousands of worlds, each drawn from one number.

use tests::simulation::run;

#[test]
fn smoke() {
    let count: u64 = std::env::var("SIM_SEEDS").ok().and_then(|s| s.parse().ok()).unwrap_or(100);
    let from: u64 = std::env::var("SIM_FROM").ok().and_then(|s| s.parse().ok()).unwrap_or(0);
    let start = std::time::Instant::now();
    let mut bad = std::collections::BTreeMap::new();
    let (mut commits, mut calls) = (0, 0);
    for seed in from..from + count {
        let report = run(seed, None);
        commits += report.commits;
        calls += report.calls;
        if let Some(v) = report.violation {
            let e: &mut Vec<(u64, String)> = bad.entry(v.invariant).or_default();
            e.push((seed, v.detail));
        }
    }
    println!("{count} seeds in {:?}; commits {commits} calls {calls}", start.elapsed());
    for (k, v) in bad {
        println!("{k}: {}", v.len());
        for (seed, d) in v.iter().take(5) {
            println!("   {seed}: {}", d.chars().take(400).collect::<String>());
        }
    }
}

#[test]
fn replay() {
    let Some(seed) = std::env::var("SIM_SEED").ok().and_then(|s| s.parse().ok()) else { return };
    let report = tests::simulation::replay(seed, None);
    for line in &report.timeline {
        println!("{line}");
    }
}
