//! Sending again: what may be lost between a commit and its receivers, and everything after a restart.

use std::collections::BTreeSet;

use super::outbox::{
    Outbox, frames, message, opening, outbox, starting, still_pending, timer, unwanted,
};
use super::{Driver, DriverError};
use crate::event::{Envelope, Fact, LoopOpen, Status};
use crate::ids::{AggregateKey, ExecutionId};
use crate::limits::{PLAYBOOK_DEPTH_MAX, RETRY_DELAY_MS_MAX};
use crate::ports::Tail;
use crate::state::{ExecutionState, LoopState, State, StepRun, Waits};

/// Entries read at a time when the signals of a loop are sent again.
const SIGNAL_PAGE_ENTRIES: usize = 256;

impl Driver {
    /// Asks again for the loops and children that an aggregate waits for: the message, or their answer,
    /// may be lost.
    pub(super) async fn ask_again(
        &self,
        key: &AggregateKey,
        state: &State,
    ) -> Result<(), DriverError> {
        let mut envelopes = Vec::new();
        match state {
            State::Execution(state) => {
                envelopes.extend(self.openings(state).await?);
                let calls =
                    |run: &StepRun| run.unit.as_ref().is_some_and(|unit| unit.child.is_some());
                for seq in issuing(state, calls) {
                    envelopes.extend(self.starts(key, seq).await?);
                }
            }
            State::Loop(state) => {
                for seq in unit_entries(state) {
                    envelopes.extend(self.starts(key, seq).await?);
                }
            }
        }
        if !envelopes.is_empty() {
            self.ports.events.send(&envelopes).await?;
        }
        Ok(())
    }

    /// The messages that open the loops which an execution waits for.
    async fn openings(&self, state: &ExecutionState) -> Result<Vec<Envelope>, DriverError> {
        let mut envelopes = Vec::new();
        for run in state.runs.values() {
            let Waits::Loop { key, issued_seq, heard, .. } = &run.waits else { continue };
            let found = self.ports.store.entries(&key.execution(), *issued_seq, 1).await?;
            let facts = found.iter().flat_map(|entry| &entry.facts);
            let open = facts.filter_map(|fact| match fact {
                Fact::LoopRequested { key: of, open, .. } if of == key => Some(open),
                _ => None,
            });
            envelopes.extend(
                open.map(|open| opening(key, LoopOpen { heard: *heard, ..(**open).clone() })),
            );
        }
        Ok(envelopes)
    }

    /// The messages that start the children which one entry asked for.
    async fn starts(&self, key: &AggregateKey, seq: u64) -> Result<Vec<Envelope>, DriverError> {
        let found = self.ports.store.entries(key, seq, 1).await?;
        let facts = found.iter().flat_map(|entry| &entry.facts);
        let starts = facts.filter_map(|fact| match fact {
            Fact::ChildRequested { child, start } => Some(starting(*child, start)),
            _ => None,
        });
        Ok(starts.collect())
    }

    /// Stops a loop or a child that nobody wants any more: the order to stop may be lost.
    pub(super) async fn stop_again(
        &self,
        key: &AggregateKey,
        state: &State,
    ) -> Result<(), DriverError> {
        let lost = match state {
            State::Loop(state) if !state.stopped && !state.closed => {
                !self.is_wanted(key, &[]).await?
            }
            State::Loop(_) => false,
            State::Execution(_) => self.is_orphan(state).await?,
        };
        if lost {
            self.ports.events.send(&[unwanted(key)]).await?;
        }
        Ok(())
    }

    /// Sends a loop's signals above number `heard` again.
    pub(super) async fn signal_again(
        &self,
        key: &AggregateKey,
        heard: u64,
    ) -> Result<(), DriverError> {
        let mut from = 1;
        loop {
            let entries = self.ports.store.entries(key, from, SIGNAL_PAGE_ENTRIES).await?;
            let mut envelopes: Vec<Envelope> = Vec::new();
            for entry in &entries {
                let signals = entry.facts.iter().filter(
                    |fact| matches!(fact, Fact::SignalSent { signal } if signal.number > heard),
                );
                envelopes.extend(signals.filter_map(|fact| message(key, &entry.state, fact)));
            }
            if !envelopes.is_empty() {
                self.ports.events.send(&envelopes).await?;
            }
            match entries.last() {
                Some(last) if entries.len() == SIGNAL_PAGE_ENTRIES => from = last.seq + 1,
                _ => return Ok(()),
            }
        }
    }

    /// Sends everything again that an execution and its children have pending, after their queues were
    /// lost.
    ///
    /// Returns how the execution stands; none if there is no such execution.
    ///
    /// # Errors
    /// Those of the ports.
    pub async fn resume(&self, execution_id: ExecutionId) -> Result<Option<Status>, DriverError> {
        self.resume_below(execution_id, 0).await
    }

    /// As [`Driver::resume`], for an execution with so many above it.
    async fn resume_below(
        &self,
        execution_id: ExecutionId,
        depth: u32,
    ) -> Result<Option<Status>, DriverError> {
        let key = AggregateKey::Execution(execution_id);
        let Some(Tail { state, .. }) = self.ports.store.tail(&key).await? else { return Ok(None) };
        let State::Execution(execution) = &state else { return Ok(None) };
        let mut children = self.entries_again(&key, &state, &issuing(execution, |_| true)).await?;
        for run in execution.runs.values() {
            let Waits::Loop { key: of, .. } = &run.waits else { continue };
            let Some(tail) = self.ports.store.tail(of).await? else { continue };
            if let State::Loop(state) = &tail.state {
                let commands = frames(of, state);
                self.send(Outbox { commands, ..Outbox::default() }).await?;
                let entries = unit_entries(state);
                children.extend(self.entries_again(of, &tail.state, &entries).await?);
            }
        }
        self.ring_again(&key, execution).await?;
        let envelopes = self.openings(execution).await?;
        self.send(Outbox { envelopes, ..Outbox::default() }).await?;
        for child in children.into_iter().filter(|_| depth < PLAYBOOK_DEPTH_MAX) {
            Box::pin(self.resume_below(child, depth + 1)).await?;
        }
        Ok(Some(execution.status))
    }

    /// Sends again what entries of an aggregate left pending; returns the children that they asked for.
    async fn entries_again(
        &self,
        key: &AggregateKey,
        state: &State,
        entries: &BTreeSet<u64>,
    ) -> Result<Vec<ExecutionId>, DriverError> {
        let mut children = Vec::new();
        for seq in entries {
            for entry in &self.ports.store.entries(key, *seq, 1).await? {
                let mut again = still_pending(outbox(entry), state);
                if matches!(state, State::Loop(_)) {
                    // Frames without a unit were sent from the state.
                    again.commands.retain(|command| command.unit.is_some());
                }
                self.send(again).await?;
                children.extend(entry.facts.iter().filter_map(|fact| match fact {
                    Fact::ChildRequested { child, .. } => Some(*child),
                    _ => None,
                }));
            }
        }
        Ok(children)
    }

    /// Sends the timer of an execution again.
    async fn ring_again(
        &self,
        key: &AggregateKey,
        state: &ExecutionState,
    ) -> Result<(), DriverError> {
        let timer_out =
            state.timer.filter(|_| state.status == Status::Running && state.failure.is_none());
        let Some((until_ms, number)) = timer_out else { return Ok(()) };
        let longest_ms = self.ports.clock.now_ms().saturating_add_unsigned(RETRY_DELAY_MS_MAX);
        let command = timer(key, &state.playbook, number, until_ms.min(longest_ms));
        Ok(self.ports.commands.send(&[command]).await?)
    }
}

/// The entries that hold the commands which an execution waits for. Several runs may wait for commands of
/// one entry; it is read once.
fn issuing(state: &ExecutionState, wanted: impl Fn(&StepRun) -> bool) -> BTreeSet<u64> {
    let runs = state.runs.values().filter(|run| wanted(run));
    let seqs = runs.filter_map(|run| match &run.waits {
        Waits::Command { issued_seq, .. } => Some(*issued_seq),
        _ => None,
    });
    seqs.collect()
}

/// The entries that hold the calls of units which a loop waits for.
fn unit_entries(state: &LoopState) -> BTreeSet<u64> {
    state.pending.iter().filter_map(|frame| frame.unit).map(|(seq, _)| seq).collect()
}
