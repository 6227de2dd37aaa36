//! What follows from an input: the decisions, one file per rule.
//!
//! Pure and total: the same arguments give the same bytes. A decision that touches a value which is
//! elsewhere ends in [`Needs`]; the caller loads it and asks again.

mod admit;
mod child;
mod collection;
mod enter;
mod execution;
mod exit;
mod finish;
mod frames;
mod items;
mod join;
mod own;
mod pages;
mod pending;
mod policy;
mod progress;
pub mod retry;
mod rules;
mod set;
mod settings;
mod timer;
mod unit;
mod view;
mod wait;
mod ways;
mod workload;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;

pub(crate) use self::frames::{Issued, frame_command};
pub(crate) use self::own::{PLAYBOOK, WAIT, taken};
pub(crate) use self::pending::failed_outcome;
pub(crate) use self::timer::timer_id;

use crate::event::{Envelope, Fact, IgnoreReason, Input, ToolFailure};
use crate::ids::{AggregateKey, EventId, InputId};
use crate::limits::{ENTRY_INLINE_BYTES_MAX, INLINE_BYTES_MAX, STATE_VALUE_BYTES_MAX};
use crate::payload::{Blob, Payload};
use crate::playbook::{Playbook, PlaybookRef};
use crate::project::event_span;
use crate::state::execution::is_small;
use crate::state::{At, State};
use crate::template::{Loaded, TemplateError};

/// The decision at hand: whose, and which entry it will become.
#[derive(Clone, Copy, Debug)]
pub struct Moment<'a> {
    /// The pinned playbook.
    pub playbook: &'a Playbook,
    /// The aggregate.
    pub key: &'a AggregateKey,
    /// The number of the entry.
    pub seq: u64,
    /// Its Unix milliseconds.
    pub at_ms: i64,
    /// The id of its first expanded event.
    pub event_id: i64,
    /// 128 bits that nobody can guess: what tokens of this decision are derived from.
    pub nonce: u128,
    /// The newest versions of the paths that the decision asked for; none where there is none.
    pub playbooks: &'a BTreeMap<String, Option<PlaybookRef>>,
}

/// What a batch of inputs causes.
#[derive(Clone, Debug, PartialEq)]
pub struct Transition {
    /// The state after it.
    pub state: State,
    /// Facts to record; empty if every input was ignored.
    pub facts: Vec<Fact>,
    /// Objects that must be stored before the facts are.
    pub blobs: Vec<Blob>,
    /// Inputs that changed nothing, and why.
    pub ignored: Vec<(InputId, IgnoreReason)>,
    /// What it took.
    pub rules: RuleCount,
}

/// How often rules were asked, and how often one applied. Nothing depends on it.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct RuleCount {
    /// Rules whose condition was evaluated.
    pub evaluated: u64,
    /// Those that applied.
    pub matched: u64,
}

/// What must be known before the decision can be made.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Needs {
    /// Values to load.
    pub payloads: Vec<Payload>,
    /// Paths whose newest playbook versions are asked for: [`Moment::playbooks`].
    pub paths: Vec<String>,
}

impl From<Vec<Payload>> for Needs {
    fn from(payloads: Vec<Payload>) -> Self {
        Self { payloads, paths: Vec::new() }
    }
}

impl Needs {
    /// The newest version of a path.
    #[must_use]
    pub fn path(path: String) -> Self {
        Self { payloads: Vec::new(), paths: vec![path] }
    }
}

/// Decides what follows from `inputs`, in their order.
///
/// `state` is the fold of the log so far; none before the first entry. Returns none if there is
/// neither a state nor an input that could begin one.
///
/// # Errors
/// [`Needs`] until `loaded` holds every value that the decision touches.
///
/// Source: the Decider pattern, J. Chassaing, thinkbeforecoding.com, 2021.
pub fn transition(
    moment: &Moment<'_>,
    state: Option<&State>,
    inputs: &[Envelope],
    loaded: &Arc<Loaded>,
) -> Result<Option<Transition>, Needs> {
    let mut turn = Turn::begin(*moment, state.cloned(), loaded);
    for envelope in inputs {
        turn.take(envelope)?;
    }
    Ok(turn.finish(inputs.len() as u64))
}

/// Why a decision could not be carried through.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Trouble {
    /// Load these first.
    Needs(Vec<Payload>),
    /// Find the newest version of this path first.
    Path(String),
    /// The playbook cannot say what comes next.
    Failed(ToolFailure),
}

impl Trouble {
    /// A failure that is the playbook's fault.
    pub(crate) fn failed(kind: &str, message: impl Into<String>) -> Self {
        Self::Failed(ToolFailure {
            kind: kind.to_owned(),
            message: message.into(),
            ..ToolFailure::default()
        })
    }

    /// A template's error, with the place of the template.
    pub(crate) fn template(place: &str, error: TemplateError) -> Self {
        match error {
            TemplateError::Needs(payloads) => Self::Needs(payloads),
            TemplateError::Undefined(text) | TemplateError::Failed(text) => {
                Self::failed("TemplateError", format!("{place}: {text}"))
            }
        }
    }
}

/// One decision's working copy. Facts pass through one door: [`Turn::record`].
pub(crate) struct Turn<'a> {
    moment: Moment<'a>,
    state: Option<State>,
    facts: Vec<Fact>,
    blobs: Vec<Blob>,
    /// Bytes of the values that the facts hold themselves.
    inline_bytes: usize,
    ignored: Vec<(InputId, IgnoreReason)>,
    loaded: Arc<Loaded>,
    /// Whether the answer at hand came from outside, not from a timer.
    is_callback: bool,
    rules: RuleCount,
}

impl<'a> Turn<'a> {
    fn begin(moment: Moment<'a>, state: Option<State>, loaded: &Arc<Loaded>) -> Self {
        let (facts, blobs, ignored) = (Vec::new(), Vec::new(), Vec::new());
        let (inline_bytes, loaded) = (0, Arc::clone(loaded));
        let (is_callback, rules) = (false, RuleCount::default());
        Self { moment, state, facts, blobs, inline_bytes, ignored, loaded, is_callback, rules }
    }

    fn finish(self, inputs: u64) -> Option<Transition> {
        let Self { mut facts, blobs, ignored, state, rules, .. } = self;
        let mut state = state?;
        // Alone they are only counted; beside other facts they cost nothing and tell a reader more.
        if !facts.is_empty() {
            state.fold(inputs);
            let told = ignored
                .iter()
                .map(|(input, reason)| Fact::Ignored { input: input.clone(), reason: *reason });
            facts.extend(told);
        }
        Some(Transition { state, facts, blobs, ignored, rules })
    }

    /// One input: one call per arm.
    fn take(&mut self, envelope: &Envelope) -> Result<(), Needs> {
        let known = match &self.state {
            None => None,
            Some(State::Execution(_)) => Some(true),
            Some(State::Loop(_)) => Some(false),
        };
        let was_going = self.is_going();
        let taken = match (&envelope.input, known) {
            (Input::Start(start), None) => self.start(start).map(|()| None),
            (Input::LoopOpen(open), None) => self.open_loop(open).map(|()| None),
            (Input::Start(_) | Input::LoopOpen(_), Some(_)) => Ok(Some(IgnoreReason::Duplicate)),
            (Input::Answer(answer), Some(true)) if self.is_timer(answer) => self.timer_rang(answer),
            (Input::Answer(answer), Some(true)) => self.answered(answer),
            (Input::Answer(answer), Some(false)) => self.frame_answered(answer),
            (Input::Progress(report), Some(true)) => Ok(self.progressed(report)),
            (Input::Progress(report), Some(false)) => Ok(self.item_progressed(report)),
            (Input::LoopSignal(signal), Some(true)) => self.signalled(signal),
            (Input::Cancel { reason }, Some(true)) => Ok(self.cancel(reason)),
            (Input::Cancel { reason }, Some(false)) => Ok(self.stop_loop(reason)),
            (Input::Tick, Some(true)) => self.execution_tick().map(|()| None),
            (Input::Tick, Some(false)) => {
                self.expire_calls().and_then(|()| self.loop_tick()).map(|()| None)
            }
            (Input::Callback { token, data }, Some(true)) => self.called_back(token, data),
            (Input::Callback { token, data }, Some(false)) => self.item_called_back(token, data),
            (Input::Resume, _) => Ok(None),
            _ => Ok(Some(IgnoreReason::Unknown)),
        };
        if let Some(reason) = taken? {
            self.ignored.push((envelope.id.clone(), reason));
        }
        if was_going && !self.is_going() {
            self.stop_calls()?;
        }
        Ok(())
    }

    /// The only way a fact enters a turn: what is recorded is what happened.
    fn record(&mut self, fact: Fact) {
        let at = At {
            key: self.moment.key,
            seq: self.moment.seq,
            at_ms: self.moment.at_ms,
            fact: u32::try_from(self.facts.len()).unwrap_or(u32::MAX),
        };
        match &mut self.state {
            Some(state) => state.apply(&fact, &at),
            None => self.state = State::begin(&fact, &at),
        }
        self.remember(&fact, &at);
        self.facts.push(fact);
    }

    /// Makes a value that was just recorded known under the name that the state gives it: it is not in
    /// the log yet, and later inputs of this decision may ask for it.
    fn remember(&mut self, fact: &Fact, at: &At<'_>) {
        let by_place = matches!(
            fact,
            Fact::LoopOpened { .. } | Fact::FrameIssued { .. } | Fact::LoopVariables { .. }
        );
        let Some(payload) = fact.payload(0) else { return };
        let name = if by_place { at.place(0) } else { at.remember(payload, 0) };
        let stored = self.loaded.value(payload);
        let value = payload.inline().or(stored.as_deref());
        if let (None, Some(value)) = (name.inline(), value) {
            Arc::make_mut(&mut self.loaded).insert(&name, value);
        }
    }

    /// An id that nothing else of this aggregate has.
    fn next_event_id(&self) -> EventId {
        let offset = i64::try_from(event_span(&self.facts)).unwrap_or(i64::MAX);
        EventId(self.moment.event_id.saturating_add(offset))
    }

    /// Moves a value that is too large for an entry to the payload store.
    fn spill(&mut self, payload: Payload) -> Payload {
        match &payload {
            Payload::Inline(value) => match serde_json::to_vec(value) {
                Ok(bytes) if !self.has_room(bytes.len()) => self.store(value, bytes),
                _ => payload,
            },
            _ => payload,
        }
    }

    /// Whether the entry may hold a value of so many bytes beside those that it holds already.
    fn has_room(&mut self, bytes: usize) -> bool {
        let filled = self.inline_bytes.saturating_add(bytes);
        let room = bytes <= INLINE_BYTES_MAX
            && (bytes <= STATE_VALUE_BYTES_MAX || filled <= ENTRY_INLINE_BYTES_MAX);
        if room {
            self.inline_bytes = filled;
        }
        room
    }

    /// Moves a value that is too large for a state to the payload store.
    fn keep(&mut self, payload: Payload) -> Payload {
        match &payload {
            Payload::Inline(value) if !is_small(value) => match serde_json::to_vec(value) {
                Ok(bytes) => self.store(value, bytes),
                Err(_) => payload,
            },
            _ => payload,
        }
    }

    fn store(&mut self, value: &serde_json::Value, bytes: Vec<u8>) -> Payload {
        let blob = Blob::new(self.moment.key.execution_id(), bytes);
        let payload = Payload::Ref(blob.reference.clone());
        Arc::make_mut(&mut self.loaded).insert(&payload, value);
        self.blobs.push(blob);
        payload
    }
}
