//! Engines with one part broken on purpose: a harness that lets one of them live is blind.

use engine_core::event::{Envelope, Input};
use engine_core::ids::{AggregateKey, CommandId};
use engine_core::state::State;

use super::check::{awaited, frame_of};
use super::fault::Odds;
use super::queue::Received;
use super::world::World;

/// A broken part.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Mutant {
    /// The event handler acknowledges before it handles.
    AckFirst,
    /// The store commits without its condition.
    PutInsteadOfCreate,
    /// Commands and messages go out before the entry is committed.
    SendBeforeCommit,
    /// Redelivered inputs are not told from new ones, and nobody sweeps.
    NoRedriveNoSweeper,
    /// Messages are lost, and nobody sweeps.
    NoSweeper,
    /// An answer of an older attempt counts for the current one.
    NoFence,
    /// The log of an open loop expires.
    TtlOnLive,
    /// An answer to an older instance of a loop counts for the newest one.
    LateAnswerToCurrentEpoch,
    /// Every copy of a folded input sends its commands again.
    AnyDuplicateRedrives,
    /// Whether to send again is decided before the commit, not after it.
    RedriveBeforePut,
    /// Delays of commands are ignored.
    EarlyTimers,
    /// Workers acknowledge before they run.
    WorkerAckFirst,
    /// An answer to a former call of a unit counts for the one that is out.
    FormerCall,
    /// What a child tells at its end is lost, and nobody asks it again.
    ChildUnheard,
    /// Workers forget which page they were asked for.
    FirstPageAgain,
}

impl Mutant {
    /// All of them.
    pub const ALL: [Self; 15] = [
        Self::AckFirst,
        Self::PutInsteadOfCreate,
        Self::SendBeforeCommit,
        Self::NoRedriveNoSweeper,
        Self::NoSweeper,
        Self::NoFence,
        Self::TtlOnLive,
        Self::LateAnswerToCurrentEpoch,
        Self::AnyDuplicateRedrives,
        Self::RedriveBeforePut,
        Self::EarlyTimers,
        Self::WorkerAckFirst,
        Self::FormerCall,
        Self::ChildUnheard,
        Self::FirstPageAgain,
    ];

    pub(crate) fn sweeps(self) -> bool {
        !matches!(self, Self::NoRedriveNoSweeper | Self::NoSweeper)
    }

    /// Makes sure that what the broken part is for does happen.
    pub(crate) fn bend(self, odds: &mut Odds) {
        match self {
            Self::NoSweeper => odds.message_lost = odds.message_lost.max(20_000),
            Self::NoRedriveNoSweeper | Self::AckFirst => odds.crash = odds.crash.max(10_000),
            _ => {}
        }
    }

    /// What the broken event handler takes for its batch.
    pub(crate) fn tamper(self, world: &World, batch: &mut [(Envelope, u32)]) {
        for (envelope, receives) in batch {
            let chain = world.log.get(&envelope.to);
            let folded = || {
                let mut entries = chain.into_iter().flatten();
                entries.any(|entry| entry.inputs.contains(&envelope.id))
            };
            match self {
                Self::NoRedriveNoSweeper => *receives = 1,
                Self::AnyDuplicateRedrives if folded() => *receives = 2,
                Self::RedriveBeforePut if !folded() => *receives = 1,
                Self::NoFence => {
                    let state = chain.and_then(|chain| chain.last()).map(|entry| &entry.state);
                    unfence(envelope, state);
                }
                Self::LateAnswerToCurrentEpoch => redirect(world, envelope),
                Self::FormerCall => {
                    let state = chain.and_then(|chain| chain.last()).map(|entry| &entry.state);
                    renumber(envelope, state);
                }
                Self::ChildUnheard if matches!(envelope.input, Input::Start(_)) && folded() => {
                    envelope.input = Input::Tick;
                }
                _ => {}
            }
        }
    }

    pub(crate) fn acknowledges_first(self, batch: &[Received<Envelope>]) -> bool {
        self == Self::AckFirst && !batch.is_empty()
    }
}

/// Makes an answer to one call of a unit the answer to the call that is out.
fn renumber(envelope: &mut Envelope, state: Option<&State>) {
    let Input::Answer(answer) = &mut envelope.input else { return };
    let id = answer.command_id.as_str();
    let first = id.split_once('/').map_or(id, |(first, _)| first).to_owned();
    let is_call = |id: &CommandId| {
        let rest = id.as_str().strip_prefix(&first);
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    };
    let awaited = state.map(|state| awaited(&envelope.to, state)).unwrap_or_default();
    let out = awaited.into_iter().find(|(id, _)| is_call(id));
    if let Some((id, attempt)) = out.filter(|(id, _)| *id != answer.command_id) {
        (answer.command_id, answer.attempt) = (id, attempt);
    }
}

fn unfence(envelope: &mut Envelope, state: Option<&State>) {
    let Input::Answer(answer) = &mut envelope.input else { return };
    let current = match state {
        Some(State::Execution(state)) => {
            state.run_of_command(&answer.command_id).map(|(_, _, attempt)| attempt)
        }
        Some(State::Loop(state)) => frame_of(state, &answer.command_id).map(|frame| frame.attempt),
        None => None,
    };
    answer.attempt = current.unwrap_or(answer.attempt);
}

fn redirect(world: &World, envelope: &mut Envelope) {
    let AggregateKey::Loop { execution_id, step, event_id } = envelope.to.clone() else { return };
    let newest = world.log.keys().rev().find(|key| {
        matches!(key, AggregateKey::Loop { execution_id: of, step: other, .. }
            if *of == execution_id && *other == step)
    });
    if let (Input::Answer(answer), Some(AggregateKey::Loop { event_id: newest, .. })) =
        (&mut envelope.input, newest)
    {
        let (old, new) = (format!("{step}:{event_id}"), format!("{step}:{newest}"));
        answer.command_id = CommandId(answer.command_id.as_str().replace(&old, &new));
        envelope.to = AggregateKey::Loop { execution_id, step, event_id: *newest };
    }
}
