//! Whether somebody still waits for what is about to begin.

use super::outbox::{answering, awaits, never_began};
use super::{Driver, DriverError};
use crate::event::{Envelope, Fact, Input, Parent, Start, Status, ToolFailure};
use crate::ids::AggregateKey;
use crate::ports::{PortError, Tail};
use crate::state::State;
use crate::transition::{failed_outcome, taken};

/// How the call that asked for a child execution stands.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Asking {
    /// It waits.
    Waits,
    /// It waits for the answer, but its execution or loop is being stopped.
    Stops,
    /// Nobody waits any longer.
    Gone,
}

impl Driver {
    /// Whether something may begin under `key`: a loop while its run waits for it, a child execution while
    /// its call does, any other execution always.
    ///
    /// Asked before and after the first commit: whoever asked and stops in between has sent the order to
    /// stop either after that commit, or the second look sees it.
    pub(super) async fn is_wanted(
        &self,
        key: &AggregateKey,
        inputs: &[Envelope],
    ) -> Result<bool, DriverError> {
        let execution = key.execution();
        if *key == execution {
            return match child(inputs) {
                Some(parent) => Ok(self.asking(parent).await? == Asking::Waits),
                None => Ok(true),
            };
        }
        Ok(match self.ports.store.tail(&execution).await? {
            Some(Tail { state: State::Execution(state), .. }) => {
                state.failure.is_none() && state.run_of_loop(key).is_some()
            }
            _ => false,
        })
    }

    /// Tells whoever is being stopped and waits for it that a loop or a child will never begin.
    pub(super) async fn decline(
        &self,
        key: &AggregateKey,
        inputs: &[Envelope],
    ) -> Result<(), DriverError> {
        if let Some(parent) = child(inputs) {
            return self.decline_child(key, parent).await;
        }
        let asked = inputs.iter().find_map(|envelope| match &envelope.input {
            Input::LoopOpen(open) => Some(open.collection_size),
            _ => None,
        });
        let Some(skipped) = asked else { return Ok(()) };
        match self.ports.store.tail(&key.execution()).await? {
            Some(Tail { state: State::Execution(state), .. })
                if state.run_of_loop(key).is_some() =>
            {
                Ok(self.ports.events.send(&[never_began(key, skipped)]).await?)
            }
            _ => Ok(()),
        }
    }

    async fn decline_child(&self, key: &AggregateKey, parent: &Parent) -> Result<(), DriverError> {
        if self.asking(parent).await? == Asking::Gone {
            return Ok(());
        }
        let error = ToolFailure {
            kind: "Cancelled".to_owned(),
            message: "the execution did not begin: who asked for it was stopped".to_owned(),
            ..ToolFailure::default()
        };
        let answer = answering(&format!("{key}:declined"), parent, failed_outcome(error));
        Ok(self.ports.events.send(&[answer]).await?)
    }

    /// How the call that asks for a child execution stands.
    async fn asking(&self, parent: &Parent) -> Result<Asking, PortError> {
        let Some(Tail { state, .. }) = self.ports.store.tail(&parent.key).await? else {
            return Ok(Asking::Gone);
        };
        let (waits, stops) = match &state {
            State::Execution(state) => {
                let found = state.run_of_command(&parent.command_id);
                let waits = found.is_some_and(|(_, _, attempt)| attempt == parent.attempt);
                (waits, state.failure.is_some())
            }
            State::Loop(state) => {
                (awaits(state, &parent.command_id, parent.attempt), state.stopped)
            }
        };
        Ok(match (waits, stops) {
            (false, _) => Asking::Gone,
            (true, true) => Asking::Stops,
            (true, false) => Asking::Waits,
        })
    }

    /// Whether an execution that runs has a call that waited for it and does so no longer.
    pub(super) async fn is_orphan(&self, state: &State) -> Result<bool, DriverError> {
        let State::Execution(state) = state else { return Ok(false) };
        match &state.parent {
            Some(parent) if parent.waits && state.status == Status::Running => {
                Ok(self.asking(parent).await? != Asking::Waits)
            }
            _ => Ok(false),
        }
    }

    /// Answers a call that asked for an execution which exists already.
    ///
    /// If it is the call's own and has ended, its answer may be lost: it is sent again. If it is
    /// somebody else's, the two drew the same id.
    pub(super) async fn tell_asking(
        &self,
        key: &AggregateKey,
        tail: &Tail,
        parent: &Parent,
    ) -> Result<(), DriverError> {
        let State::Execution(state) = &tail.state else { return Ok(()) };
        if state.parent.as_ref() != Some(parent) {
            if parent.waits {
                let error = taken(key.execution_id());
                let id = format!("{}.{}:taken", parent.command_id, parent.attempt);
                let answer = answering(&id, parent, failed_outcome(error));
                self.ports.events.send(&[answer]).await?;
            }
            return Ok(());
        }
        if state.status == Status::Running {
            return Ok(());
        }
        let last = self.ports.store.entries(key, tail.seq, 1).await?;
        let told = last.iter().flat_map(|entry| &entry.facts).find_map(|fact| match fact {
            Fact::ParentAnswered { outcome } => Some((**outcome).clone()),
            _ => None,
        });
        match told {
            Some(outcome) => {
                let answer = answering(&format!("{key}:finished"), parent, outcome);
                Ok(self.ports.events.send(&[answer]).await?)
            }
            None => Ok(()),
        }
    }
}

/// The waiting call that a batch for a new execution comes from.
fn child(inputs: &[Envelope]) -> Option<&Parent> {
    let start = inputs.iter().find_map(|envelope| match &envelope.input {
        Input::Start(start) => Some(start),
        _ => None,
    })?;
    let Start { parent, .. } = start;
    parent.as_ref().filter(|parent| parent.waits)
}
