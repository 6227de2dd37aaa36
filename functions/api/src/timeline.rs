//! The logs of an execution and its loops as one, in causal order.

use std::collections::VecDeque;
use std::sync::Arc;

use engine_core::event::{Entry, Fact};
use engine_core::ids::{AggregateKey, EventId, ExecutionId};
use engine_core::ports::{PortError, StateStore};
use engine_core::project::{Event, expand, expanded_len};

/// Entries of one log held at a time: one read for some, for each may hold thousands of results.
const PAGE_ENTRIES: usize = 16;

/// Reads all entries of an execution: by time, and at the same time the cause before its effect.
///
/// A loop's log is opened when the entry that asked for it has passed by, and an entry that hears a signal
/// waits for the entry that sent it. So the order holds also where clocks differ.
pub struct Timeline {
    store: Arc<dyn StateStore>,
    execution: Log,
    loops: Vec<Log>,
}

/// One aggregate's log, read page by page.
struct Log {
    key: AggregateKey,
    page: VecDeque<Entry>,
    /// The number of the next entry to read; none when the last page is in.
    from: Option<u64>,
    /// The highest signal that has passed by.
    told: u64,
}

impl Timeline {
    /// The entries of one execution; there are none if it is unknown.
    #[must_use]
    pub fn new(store: Arc<dyn StateStore>, execution_id: ExecutionId) -> Self {
        let execution = Log::new(AggregateKey::Execution(execution_id));
        Self { store, execution, loops: Vec::new() }
    }

    /// The next entry; none after the last one.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn next(&mut self) -> Result<Option<Entry>, PortError> {
        self.execution.fill(&*self.store).await?;
        for log in &mut self.loops {
            log.fill(&*self.store).await?;
        }
        self.loops.retain(|log| !log.page.is_empty());
        let looping = self
            .loops
            .iter()
            .enumerate()
            .filter_map(|(index, log)| Some((log.page.front()?.at_ms, index)))
            .min();
        match (self.execution.page.front(), looping) {
            (Some(head), Some((at_ms, index))) if at_ms < head.at_ms || self.is_early(head) => {
                Ok(self.loops[index].pop())
            }
            (Some(_), _) => Ok(self.pop_execution()),
            (None, Some((_, index))) => Ok(self.loops[index].pop()),
            (None, None) => Ok(None),
        }
    }

    /// Whether an entry hears a signal that has not passed by.
    fn is_early(&self, head: &Entry) -> bool {
        head.facts.iter().any(|fact| match fact {
            Fact::SignalHeard { run, number, .. } => {
                self.loops.iter().any(|log| log.run() == Some(*run) && log.told < *number)
            }
            _ => false,
        })
    }

    fn pop_execution(&mut self) -> Option<Entry> {
        let entry = self.execution.pop()?;
        for fact in &entry.facts {
            if let Fact::LoopRequested { key, .. } = fact {
                self.loops.push(Log::new(key.clone()));
            }
        }
        Some(entry)
    }
}

impl Log {
    fn new(key: AggregateKey) -> Self {
        Self { key, page: VecDeque::new(), from: Some(1), told: 0 }
    }

    async fn fill(&mut self, store: &dyn StateStore) -> Result<(), PortError> {
        let (true, Some(from)) = (self.page.is_empty(), self.from) else { return Ok(()) };
        let entries = store.entries(&self.key, from, PAGE_ENTRIES).await?;
        self.from = match entries.last() {
            Some(last) if entries.len() == PAGE_ENTRIES => Some(last.seq + 1),
            _ => None,
        };
        self.page = entries.into();
        Ok(())
    }

    fn pop(&mut self) -> Option<Entry> {
        let entry = self.page.pop_front()?;
        for fact in &entry.facts {
            if let Fact::SignalSent { signal } = fact {
                self.told = self.told.max(signal.number);
            }
        }
        Some(entry)
    }

    /// The step entry that a loop belongs to.
    fn run(&self) -> Option<EventId> {
        match &self.key {
            AggregateKey::Loop { event_id, .. } => Some(*event_id),
            AggregateKey::Execution(_) => None,
        }
    }
}

/// Hands every event of an execution over, in causal order.
///
/// # Errors
/// Those of the store.
pub async fn for_each_event(
    store: &Arc<dyn StateStore>,
    execution_id: ExecutionId,
    mut each: impl FnMut(Event),
) -> Result<(), PortError> {
    let mut timeline = Timeline::new(store.clone(), execution_id);
    while let Some(entry) = timeline.next().await? {
        expand(&entry).into_iter().for_each(&mut each);
    }
    Ok(())
}

/// The number of events of an execution, loops included.
///
/// # Errors
/// Those of the store.
pub async fn count_events(
    store: &Arc<dyn StateStore>,
    execution_id: ExecutionId,
) -> Result<u64, PortError> {
    let mut timeline = Timeline::new(store.clone(), execution_id);
    let mut events = 0;
    while let Some(entry) = timeline.next().await? {
        events += expanded_len(&entry.facts) as u64;
    }
    Ok(events)
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;
    use crate::fixture::{self, World};

    /// `{aggregate}{seq}` of each entry, in order: `e` for the execution, else the loop's step.
    async fn order(world: World) -> Vec<String> {
        let mut timeline = Timeline::new(Arc::new(world), fixture::ID);
        let mut order = Vec::new();
        while let Some(entry) = timeline.next().await.unwrap() {
            let who = match &entry.key {
                AggregateKey::Execution(_) => "e".to_owned(),
                AggregateKey::Loop { step, .. } => step.to_string(),
            };
            order.push(format!("{who}{}", entry.seq));
        }
        order
    }

    #[tokio::test]
    async fn a_cause_comes_before_its_effect_in_the_same_millisecond() {
        let mut world = World::default();
        world.begin(1_000);
        world.ask_for_loop(1_000, "a", 2);
        world.run_loop(1_000, "a", 2);
        world.close_loop(1_000, "a");
        world.hear_loop(1_000, "a");
        world.end(1_000);
        assert_eq!(order(world).await, ["e1", "e2", "a1", "a2", "a3", "e3", "e4"]);
    }

    #[tokio::test]
    async fn loops_side_by_side_go_by_time() {
        let mut world = World::default();
        world.begin(1_000);
        world.ask_for_loop(1_000, "a", 1);
        world.ask_for_loop(1_001, "b", 1);
        world.run_loop(1_005, "a", 1);
        world.run_loop(1_003, "b", 1);
        world.close_loop(1_009, "a");
        world.close_loop(1_004, "b");
        world.hear_loop(1_004, "b");
        world.hear_loop(1_010, "a");
        let expect = ["e1", "e2", "e3", "b1", "b2", "b3", "e4", "a1", "a2", "a3", "e5"];
        assert_eq!(order(world).await, expect);
    }

    #[tokio::test]
    async fn a_clock_behind_does_not_turn_cause_and_effect_round() {
        let mut world = World::default();
        world.begin(1_000);
        world.ask_for_loop(1_000, "a", 1);
        world.run_loop(2_000, "a", 1);
        world.close_loop(2_000, "a");
        world.hear_loop(1_500, "a");
        assert_eq!(order(world).await, ["e1", "e2", "a1", "a2", "a3", "e3"]);
    }

    #[tokio::test]
    async fn a_loop_longer_than_a_page_comes_whole_and_counts_right() {
        let iterations = 3 * PAGE_ENTRIES as u64;
        let mut world = World::default();
        world.begin(1_000);
        world.ask_for_loop(1_000, "a", iterations);
        world.run_loop(1_001, "a", 0);
        for index in 0..iterations {
            world.answer(1_002, "a", index, vec![Ok(Value::Null)]);
        }
        world.close_loop(1_002, "a");
        world.hear_loop(1_003, "a");
        world.end(1_004);
        let store: Arc<dyn StateStore> = Arc::new(world);
        let mut events = Vec::new();
        for_each_event(&store, fixture::ID, |event| events.push(event)).await.unwrap();
        let done = events.iter().filter(|event| event.event_type == "iteration_completed");
        assert_eq!(done.count() as u64, iterations);
        assert_eq!(count_events(&store, fixture::ID).await.unwrap(), events.len() as u64);
        assert_eq!(events.last().map(|event| event.event_type), Some("playbook.completed"));
    }

    #[tokio::test]
    async fn an_unknown_execution_has_no_entries() {
        assert!(order(World::default()).await.is_empty());
    }
}
