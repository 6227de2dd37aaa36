//! Which steps of the canonical dialect wait for all their branches without saying so.

use std::collections::{BTreeMap, BTreeSet};

use super::step::Draft;
use crate::ids::StepName;

/// Indexes of the drafts that two or more steps lead forward to.
///
/// Forward is every arc that does not go back to a step on the way that a depth-first search from
/// `entry` has come; what it does not reach counts for nothing.
///
/// Source: R. Tarjan, Depth-first search and linear graph algorithms, SIAM Journal on Computing 1, 1972.
pub(super) fn implied(drafts: &[Draft], entry: &StepName) -> BTreeSet<usize> {
    let by_name: BTreeMap<&StepName, usize> =
        drafts.iter().enumerate().map(|(index, draft)| (&draft.step.name, index)).collect();
    let arcs: Vec<Vec<usize>> = drafts.iter().map(|draft| arcs_of(draft, &by_name)).collect();
    let mut sources: BTreeMap<usize, BTreeSet<usize>> = BTreeMap::new();
    let mut seen = BTreeSet::new();
    let mut open = BTreeSet::new();
    // The way from the entry: each step, and how many of its arcs were followed.
    let mut way: Vec<(usize, usize)> = Vec::new();
    let mut next = by_name.get(entry).copied();
    loop {
        if let Some(step) = next.take().filter(|step| seen.insert(*step)) {
            open.insert(step);
            way.push((step, 0));
        }
        let Some((from, followed)) = way.last_mut() else { break };
        let Some(to) = arcs.get(*from).and_then(|arcs| arcs.get(*followed)) else {
            open.remove(from);
            way.pop();
            continue;
        };
        *followed += 1;
        if !open.contains(to) {
            sources.entry(*to).or_default().insert(*from);
            next = Some(*to);
        }
    }
    sources.into_iter().filter(|(_, from)| from.len() > 1).map(|(to, _)| to).collect()
}

fn arcs_of(draft: &Draft, by_name: &BTreeMap<&StepName, usize>) -> Vec<usize> {
    draft.step.next.targets.iter().filter_map(|target| by_name.get(&target.step).copied()).collect()
}
