//! `v2/*`: `NoETL`'s second event API (seed 004), for clients that were written for it.

use std::collections::BTreeSet;
use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use engine_core::driver::outbox;
use engine_core::ids::{AggregateKey, ExecutionId};
use engine_core::limits::PLAYBOOK_BYTES_MAX;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::problem::Problem;
use super::request::{Asked, Object, text};
use super::start::{Wanted, begin, payload};
use super::{Api, answer, catalog};

/// What a client may tell; everything else is said by workers, through their queue.
const STARTS: [&str; 2] = ["workflow.start", "execution_start"];
/// What names a playbook.
const NAMES: [&str; 2] = ["path", "catalog_id"];

/// `GET v2/health`.
pub(super) async fn health() -> Response {
    answer::json(&json!({"status": "healthy", "service": "noetl-v2-event-api", "engine": "ready"}))
}

/// `?playbook_yaml`.
#[derive(Deserialize)]
pub(super) struct Given {
    playbook_yaml: Option<String>,
}

/// `POST v2/engine/register-playbook {playbook_yaml}`; the text may stand in the query instead.
pub(super) async fn register(
    State(api): State<Arc<Api>>,
    Asked(given): Asked<Given>,
    Object(body): Object,
) -> Result<Response, Problem> {
    let named = text(&body, "playbook_yaml")?.map(str::to_owned).or(given.playbook_yaml);
    let yaml = named.ok_or_else(|| Problem::bad("give the playbook's text as `playbook_yaml`"))?;
    if yaml.len() > PLAYBOOK_BYTES_MAX {
        return Err(Problem::bad(format!(
            "the playbook has more than {PLAYBOOK_BYTES_MAX} bytes, which is the limit"
        )));
    }
    let added = catalog::add(&api, &yaml).await;
    let (playbook, found, _doubts) =
        added.map_err(|problem| problem.where_unprocessable(StatusCode::BAD_REQUEST))?;
    Ok(answer::json(&json!({
        "status": "registered",
        "name": playbook.name,
        "path": found.reference.path,
    })))
}

/// `POST v2/events {execution_id?, name: "workflow.start", payload?, path? | catalog_id?, version?}`: begins
/// an execution, once for each `execution_id`.
///
/// An `execution_id` that is a number is the id; any other text stands for one, which is answered. Where no
/// playbook is named, the only one that is registered is meant.
pub(super) async fn event(
    State(api): State<Arc<Api>>,
    Object(body): Object,
) -> Result<Response, Problem> {
    let name = text(&body, "name")?.or(text(&body, "event_type")?);
    match name {
        Some(name) if STARTS.contains(&name) => {}
        Some(name) => {
            return Err(Problem::invalid(format!(
                "`{name}` is said by workers, which answer through their queue; a client says \
                 `workflow.start`"
            )));
        }
        None => return Err(Problem::invalid("say which event it is by `name`")),
    }
    let id = id(&api, &body)?;
    let wanted = wanted(&api, &body).await?;
    let (found, ignored) = begin(&api, id, &wanted, payload(&body)?).await?;
    let commands = commands(&api, id).await?;
    let (status, what) = match (&commands, ignored) {
        (_, Some(_)) => ("processed", "had begun before"),
        (Some(_), None) => ("processed", "has begun"),
        (None, None) => ("queued", "begins"),
    };
    let commands = commands.filter(|_| ignored.is_none()).unwrap_or_default();
    Ok(answer::json(&json!({
        "status": status,
        "execution_id": id,
        "commands_generated": commands.len(),
        "commands": commands,
        "message": format!("execution {id} of `{}` {what}", found.reference.path),
    })))
}

/// The id that the client names, or one of our own.
fn id(api: &Api, body: &Map<String, Value>) -> Result<ExecutionId, Problem> {
    let Some(text) = text(body, "execution_id")? else { return Ok(api.ids.execution_id()) };
    match text.parse() {
        Ok(ExecutionId(number)) if number > 0 => Ok(ExecutionId(number)),
        _ => Ok(ExecutionId::derived(&format!("client:{text}"))),
    }
}

async fn wanted(api: &Api, body: &Map<String, Value>) -> Result<Wanted, Problem> {
    if NAMES.iter().any(|name| body.get(*name).is_some_and(|value| !value.is_null())) {
        return Wanted::of(body);
    }
    let known = api.directory.playbooks().await?;
    let paths: BTreeSet<&str> = known.iter().map(|one| one.reference.path.as_str()).collect();
    let mut paths = paths.into_iter();
    match (paths.next(), paths.next()) {
        (Some(path), None) => Ok(Wanted { path: path.to_owned(), version: None }),
        (None, _) => Err(Problem::not_found(
            "no playbook is registered; post one to `/api/v2/engine/register-playbook`",
        )),
        (Some(_), Some(_)) => Err(Problem::invalid(
            "several playbooks are registered: name one by `path` or by `catalog_id`",
        )),
    }
}

/// What the first entry of an execution asks workers for; none if it is not there yet.
async fn commands(api: &Api, id: ExecutionId) -> Result<Option<Vec<Value>>, Problem> {
    let key = AggregateKey::Execution(id);
    let entries = api.readers.store.entries(&key, 1, 1).await?;
    let Some(first) = entries.first() else { return Ok(None) };
    let commands = outbox(first).commands.into_iter().map(|command| {
        json!({
            "execution_id": id,
            "step": command.step,
            "tool_kind": command.tool_kind,
            "attempt": command.attempt,
        })
    });
    Ok(Some(commands.collect()))
}
