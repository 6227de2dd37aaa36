//! `executions/{id}/callbacks/{token}`: somebody answers a step that waits.

use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use engine_core::event::{Envelope, Fact, IgnoreReason, Input, Status};
use engine_core::ids::{AggregateKey, EventId, ExecutionId, InputId};
use engine_core::limits::CALLBACK_ENTRIES;
use engine_core::load::{Readers, load};
use engine_core::payload::Payload;
use engine_core::ports::{PortError, Tail};
use engine_core::state::{self, LoopState, Unit};
use serde_json::{Value, json};

use super::problem::Problem;
use super::request::{IdAndToken, Json};
use super::{Api, answer};

/// Entries read at a time.
const PAGE_ENTRIES: usize = 64;

/// `POST executions/{id}/callbacks/{token}` with any JSON: it becomes the result of the step.
pub(super) async fn deliver(
    State(api): State<Arc<Api>>,
    IdAndToken(id, token): IdAndToken,
    Json(data): Json,
) -> Result<Response, Problem> {
    match look(&api.readers, id, &token).await? {
        Found::Waiting(to) => {
            let input = Input::Callback { token: token.clone(), data: Payload::Inline(data) };
            let envelope = Envelope { id: InputId(format!("{to}:callback:{token}")), to, input };
            match api.inputs.deliver(envelope).await? {
                None => {
                    let body = json!({"status": "accepted", "execution_id": id});
                    Ok((StatusCode::ACCEPTED, answer::json(&body)).into_response())
                }
                Some(IgnoreReason::Unknown) => Err(unknown(id)),
                Some(_) => Err(answered()),
            }
        }
        Found::Answered => Err(answered()),
        Found::Over => Err(Problem::conflict(format!("execution {id} has ended"))),
        Found::Nothing => Err(unknown(id)),
    }
}

fn unknown(id: ExecutionId) -> Problem {
    Problem::not_found(format!("nothing in execution {id} waits for this callback"))
}

fn answered() -> Problem {
    Problem::conflict("this callback was answered before, or came too late")
}

/// Who waits for a token.
#[derive(Debug, Eq, PartialEq)]
enum Found {
    /// This one.
    Waiting(AggregateKey),
    /// Nobody any more.
    Answered,
    /// Nobody: the execution has ended.
    Over,
    /// Nobody ever.
    Nothing,
}

async fn look(readers: &Readers, id: ExecutionId, token: &str) -> Result<Found, PortError> {
    let key = AggregateKey::Execution(id);
    let tail = readers.store.tail(&key).await?;
    let Some(Tail { seq, state: state::State::Execution(state), .. }) = tail else {
        return Ok(Found::Nothing);
    };
    if state.status != Status::Running {
        return Ok(Found::Over);
    }
    let mut units = state.runs.values().filter_map(|run| run.unit.as_deref());
    if units.any(|unit| waits(unit, token)) {
        return Ok(Found::Waiting(key));
    }
    if let Some((event_id, index)) = parts(token) {
        for key in readers.store.aggregates(id).await? {
            let is_meant =
                matches!(&key, AggregateKey::Loop { event_id: of, .. } if *of == event_id);
            if is_meant {
                return look_in_loop(readers, key, token, index).await;
            }
        }
    }
    let was_issued = was_issued(readers, &key, seq, token).await?;
    Ok(if was_issued { Found::Answered } else { Found::Nothing })
}

/// The loop instance and the iteration that `{secret}-{event_id}-{index}` is for.
fn parts(token: &str) -> Option<(EventId, u64)> {
    let (rest, index) = token.rsplit_once('-')?;
    let (_secret, event_id) = rest.rsplit_once('-')?;
    Some((event_id.parse().ok()?, index.parse().ok()?))
}

async fn look_in_loop(
    readers: &Readers,
    key: AggregateKey,
    token: &str,
    index: u64,
) -> Result<Found, PortError> {
    let tail = readers.store.tail(&key).await?;
    let Some(Tail { state: state::State::Loop(state), .. }) = tail else {
        return Ok(Found::Nothing);
    };
    let unit = unit(readers, &key, &state, index).await?;
    if unit.is_some_and(|unit| waits(&unit, token)) {
        return Ok(Found::Waiting(key));
    }
    // Whether it was this token that was answered is no secret worth a walk through the log.
    let is_out = state.pending.iter().any(|frame| frame.first == index);
    Ok(if index < state.next && !is_out { Found::Answered } else { Found::Nothing })
}

/// What the iteration that is out has done so far.
async fn unit(
    readers: &Readers,
    key: &AggregateKey,
    state: &LoopState,
    index: u64,
) -> Result<Option<Unit>, PortError> {
    let frame = state.pending.iter().find(|frame| frame.first == index);
    let Some((seq, fact)) = frame.and_then(|frame| frame.unit) else { return Ok(None) };
    let held = Payload::Log { key: key.clone(), seq, fact, item: 0 };
    let unit: Value = load(readers, &held).await?;
    Ok(serde_json::from_value(unit).ok())
}

fn waits(unit: &Unit, token: &str) -> bool {
    unit.token.as_deref().is_some_and(|known| same(known.as_bytes(), token.as_bytes()))
}

/// Whether two texts are the same, in a time that does not tell where they differ.
fn same(known: &[u8], given: &[u8]) -> bool {
    let differs = known.iter().zip(given).fold(0, |differs, (a, b)| differs | (a ^ b));
    known.len() == given.len() && differs == 0
}

/// Whether a newer entry of the execution gave the token out.
async fn was_issued(
    readers: &Readers,
    key: &AggregateKey,
    last: u64,
    token: &str,
) -> Result<bool, PortError> {
    let mut from = last.saturating_sub(CALLBACK_ENTRIES) + 1;
    while from <= last {
        let entries = readers.store.entries(key, from, PAGE_ENTRIES).await?;
        let mut facts = entries.iter().flat_map(|entry| &entry.facts);
        let is_it = |fact: &Fact| match fact {
            Fact::CommandIssued { unit: Some(unit), .. } => waits(unit, token),
            _ => false,
        };
        if facts.any(is_it) {
            return Ok(true);
        }
        from += PAGE_ENTRIES as u64;
    }
    Ok(false)
}

#[cfg(test)]
mod tests;
