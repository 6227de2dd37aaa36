//! `executions`: where they stand, and an end to them.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use engine_core::event::{Envelope, Input, Status};
use engine_core::ids::{AggregateKey, ExecutionId, InputId, StepName};
use engine_core::limits::{API_PAGE_DEFAULT, API_PAGE_MAX};
use engine_core::load::load;
use engine_core::payload::Payload;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::catalog::catalog_id;
use super::events::{Paging, page};
use super::problem::Problem;
use super::request::{Asked, Id, Object, execution_id, text};
use super::{Api, Registered, answer};
use crate::view::{Execution, LoopCount, error, write_view};
use engine_core::time::iso;

/// Iterations of a loop whose aggregate is shown as the result of an execution; `steps` shows them all.
const RESULTS_SHOWN: u64 = 100;

/// `GET executions?limit&before`.
#[derive(Deserialize)]
pub(super) struct List {
    limit: Option<usize>,
    /// The id of the last execution that is known already.
    before: Option<String>,
}

/// `GET executions`: the newest first.
pub(super) async fn list(
    State(api): State<Arc<Api>>,
    Asked(asked): Asked<List>,
) -> Result<Response, Problem> {
    let limit = asked.limit.unwrap_or(API_PAGE_DEFAULT).min(API_PAGE_MAX);
    let before = asked.before.as_deref().map(execution_id).transpose()?;
    let found = api.directory.executions(before, limit).await?;
    let rows: Vec<Value> = found
        .iter()
        .map(|one| {
            json!({
                "execution_id": one.execution_id,
                "path": one.path,
                "status": one.status,
                "start_time": iso(one.started_ms),
                "end_time": one.ended_ms.map(iso),
            })
        })
        .collect();
    Ok(answer::json(&Value::Array(rows)))
}

/// An execution that must be there.
pub(super) async fn find(api: &Api, id: ExecutionId) -> Result<Execution, Problem> {
    let found = Execution::find(&api.readers, id).await?;
    found.ok_or_else(|| Problem::not_found(format!("Execution {id} not found")))
}

/// `GET executions/{id}?page&page_size&event_type&since_event_id`: all but the results of its steps.
pub(super) async fn one(
    State(api): State<Arc<Api>>,
    Id(id): Id,
    Asked(paging): Asked<Paging>,
) -> Result<Response, Problem> {
    let execution = find(&api, id).await?;
    let state = &execution.state;
    let reference = state.playbook.clone();
    let version = api.directory.number(&reference).await?;
    let is_over = state.status != Status::Running;
    let ended_ms = execution.started_ms.saturating_add_unsigned(execution.duration_ms);
    let parent = state.parent.as_ref().map(|parent| parent.key.execution_id());
    let mut view = Map::new();
    let mut put = |key: &str, value: Value| view.insert(key.to_owned(), value);
    put("execution_id", json!(id));
    put("path", json!(reference.path));
    put("version", json!(version));
    let registered = version.map(|version| Registered { reference, version });
    put("catalog_id", json!(registered.as_ref().map(catalog_id)));
    put("status", json!(state.status));
    put("start_time", json!(iso(execution.started_ms)));
    put("end_time", json!(is_over.then(|| iso(ended_ms))));
    put("duration_ms", json!(execution.duration_ms));
    put("parent_execution_id", json!(parent));
    if let Some(failure) = &execution.failure {
        put("error", error(failure));
    }
    if is_over {
        put("result", result(&api, &execution.result).await?);
    }
    put("order", json!(order(&execution)));
    put("steps", steps_of(&execution));
    put("progress", progress(&execution.loops));
    let (events, pagination) = page(&api.readers, id, &paging).await?;
    put("events", Value::Array(events));
    put("pagination", pagination);
    Ok(answer::json(&Value::Object(view)))
}

/// The result of the step that finished last; of a long loop the counts only.
async fn result(api: &Api, payload: &Payload) -> Result<Value, Problem> {
    match payload {
        Payload::Loop(summary) if summary.total > RESULTS_SHOWN => {
            Ok(json!({"stats": summary.stats()}))
        }
        _ => Ok(load(&api.readers, payload).await?),
    }
}

/// The steps that have finished, by first finish.
fn order(execution: &Execution) -> Vec<&str> {
    let steps = execution.steps().into_iter();
    steps.filter(|(_, step)| step.order > 0).map(|(name, _)| name.as_str()).collect()
}

fn steps_of(execution: &Execution) -> Value {
    let steps = execution.steps().into_iter().map(|(name, step)| {
        let step = json!({"status": step.status, "runs": step.runs, "visits": step.visits});
        (name.to_string(), step)
    });
    Value::Object(steps.collect())
}

/// How far open loops are.
fn progress(loops: &BTreeMap<StepName, LoopCount>) -> Value {
    let loops = loops.iter().map(|(step, count)| {
        let count = json!({"total": count.total, "done": count.done, "failed": count.failed});
        (step.to_string(), count)
    });
    Value::Object(loops.collect())
}

/// `GET executions/{id}/steps`: the object of `run --json`, with every result.
pub(super) async fn steps(State(api): State<Arc<Api>>, Id(id): Id) -> Result<Response, Problem> {
    let execution = find(&api, id).await?;
    let mut out = answer::spool();
    write_view(&api.readers, &execution, &mut out).await?;
    answer::spooled(out)
}

/// `GET executions/{id}/status`: small enough to be asked again and again.
///
/// Variables whose value is not in the state itself are null.
pub(super) async fn status(State(api): State<Arc<Api>>, Id(id): Id) -> Result<Response, Problem> {
    let execution = find(&api, id).await?;
    let state = &execution.state;
    let mut current: Vec<&str> = state.runs.values().map(|run| run.step.as_str()).collect();
    current.dedup();
    let variables = state.vars.iter().map(|(name, value)| {
        let value = value.inline().cloned().unwrap_or_default();
        (name.clone(), value)
    });
    let last = state.last.as_ref().map(StepName::as_str);
    Ok(answer::json(&json!({
        "execution_id": id,
        "status": state.status,
        "current_step": current.last().copied().or(last),
        "current_steps": current,
        "completed_steps": order(&execution),
        "completed": state.status == Status::Completed,
        "failed": state.status == Status::Failed,
        "cancelled": state.status == Status::Cancelled,
        "progress": progress(&execution.loops),
        "variables": variables.collect::<Map<String, Value>>(),
    })))
}

/// `POST executions/{id}/cancel {reason?}`.
pub(super) async fn cancel(
    State(api): State<Arc<Api>>,
    Id(id): Id,
    Object(body): Object,
) -> Result<Response, Problem> {
    let reason = text(&body, "reason")?.unwrap_or("cancelled through the API").to_owned();
    if find(&api, id).await?.state.status == Status::Running {
        let to = AggregateKey::Execution(id);
        let input = Input::Cancel { reason };
        let envelope = Envelope { id: InputId(format!("{to}:cancel")), to, input };
        api.inputs.deliver(envelope).await?;
        // Where inputs are handled elsewhere, it goes on for a moment.
        let status = find(&api, id).await?.state.status;
        if matches!(status, Status::Running | Status::Cancelled) {
            let word = if status == Status::Running { "cancelling" } else { "cancelled" };
            return Ok(answer::json(&json!({
                "status": word,
                "execution_id": id,
                "cancelled_executions": [id],
                "message": format!("execution {id} is {word}"),
            })));
        }
    }
    Ok(answer::json(&json!({
        "status": "already_completed",
        "execution_id": id,
        "cancelled_executions": [],
        "message": format!("execution {id} has ended"),
    })))
}
