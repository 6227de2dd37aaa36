//! `execute` and `run/playbook`: begin an execution.

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use engine_core::event::{Envelope, IgnoreReason, Input, Start};
use engine_core::ids::{AggregateKey, ExecutionId, InputId};
use serde_json::{Map, Value, json};

use super::catalog::catalog_id;
use super::problem::Problem;
use super::request::{Object, text};
use super::{Api, Registered, answer};

/// What the inputs may be called.
const PAYLOADS: [&str; 4] = ["payload", "args", "parameters", "input"];

/// `POST execute {path | catalog_id, version?, payload? | args? | parameters?, workload?}`.
///
/// Inputs are always merged (decision D15), whatever `merge` says.
pub(super) async fn execute(
    State(api): State<Arc<Api>>,
    Object(body): Object,
) -> Result<Response, Problem> {
    let wanted = Wanted::of(&body)?;
    let payload = payload(&body)?;
    let id = api.ids.execution_id();
    let (found, _begun_before) = begin(&api, id, &wanted, payload).await?;
    Ok(answer::json(&json!({
        "execution_id": id,
        "status": "started",
        "path": found.reference.path,
        "version": found.version,
        "catalog_id": catalog_id(&found),
    })))
}

/// Begins an execution under that id: of which version, and why it changed nothing, if that is known.
pub(super) async fn begin(
    api: &Api,
    id: ExecutionId,
    wanted: &Wanted,
    payload: Map<String, Value>,
) -> Result<(Registered, Option<IgnoreReason>), Problem> {
    let found = api.directory.find(&wanted.path, wanted.version).await?;
    let found = found.ok_or_else(|| unknown(wanted))?;
    let reference = found.reference.clone();
    let missing = (api.refused)(&*api.catalog.playbook(&reference).await?);
    if !missing.is_empty() {
        let what = format!("playbook `{}` cannot run here", reference.path);
        return Err(Problem::playbook(&what, missing));
    }
    let to = AggregateKey::Execution(id);
    let start = Start { playbook: reference, payload, parent: None };
    let envelope = Envelope { id: InputId(format!("{to}:start")), to, input: Input::Start(start) };
    let ignored = api.inputs.deliver(envelope).await?;
    Ok((found, ignored))
}

fn unknown(wanted: &Wanted) -> Problem {
    let version = wanted.version.map(|number| format!(" version {number}")).unwrap_or_default();
    let cure = "register it with `POST /api/catalog/register`";
    Problem::not_found(format!("Playbook not found: {}{version}; {cure}", wanted.path))
}

/// Which version of which playbook.
#[derive(Debug, Eq, PartialEq)]
pub(super) struct Wanted {
    pub(super) path: String,
    /// None for the newest.
    pub(super) version: Option<u32>,
}

impl Wanted {
    pub(super) fn of(body: &Map<String, Value>) -> Result<Self, Problem> {
        let version = version(body)?;
        if let Some(id) = text(body, "catalog_id")? {
            let parts = id.rsplit_once('@');
            let named = parts.and_then(|(path, number)| Some((path, number.parse().ok()?)));
            let (path, number) = named.ok_or_else(|| {
                Problem::not_found(format!(
                    "there is no `{id}` in the catalog: ids are PATH@VERSION"
                ))
            })?;
            return Ok(Self { path: path.to_owned(), version: Some(number) });
        }
        match text(body, "path")? {
            Some(path) => Ok(Self { path: path.to_owned(), version }),
            None => Err(Problem::invalid("name the playbook by `path` or by `catalog_id`")),
        }
    }
}

/// A number, the same as a text, or `latest`.
fn version(body: &Map<String, Value>) -> Result<Option<u32>, Problem> {
    let number = match body.get("version") {
        None | Some(Value::Null) => return Ok(None),
        Some(Value::String(text)) if text == "latest" => return Ok(None),
        Some(Value::String(text)) => text.parse().ok(),
        Some(other) => other.as_u64().and_then(|number| u32::try_from(number).ok()),
    };
    let message = "`version` must be a number such as 3, or `latest`";
    number.map(Some).ok_or_else(|| Problem::invalid(message))
}

/// The inputs: one object, with `workload` beside it or in it.
pub(super) fn payload(body: &Map<String, Value>) -> Result<Map<String, Value>, Problem> {
    let given = |key: &str| body.get(key).filter(|value| !value.is_null());
    let mut payload = Map::new();
    let mut taken: Option<&str> = None;
    for key in PAYLOADS {
        let Some(value) = given(key) else { continue };
        if let Some(other) = taken {
            return Err(Problem::invalid(format!("give `{other}` or `{key}`, not both")));
        }
        payload = inputs(key, value)?;
        taken = Some(key);
    }
    if let Some(workload) = given("workload") {
        if payload.contains_key("workload") {
            let message = "`workload` is given twice: in the payload and beside it";
            return Err(Problem::invalid(message));
        }
        let workload = inputs("workload", workload)?;
        payload.insert("workload".to_owned(), Value::Object(workload));
    }
    Ok(payload)
}

fn inputs(key: &str, value: &Value) -> Result<Map<String, Value>, Problem> {
    let object = value.as_object().cloned();
    object.ok_or_else(|| Problem::invalid(format!("`{key}` must be a JSON object `{{...}}`")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn body(json: Value) -> Map<String, Value> {
        let Value::Object(body) = json else { panic!("no object") };
        body
    }

    #[test]
    fn a_playbook_is_named_by_path_or_by_catalog_id() {
        let wanted = |path: &str, version| Some(Wanted { path: path.to_owned(), version });
        #[rustfmt::skip]
        let cases = [
            (json!({"path": "a/b"}),                        wanted("a/b", None)),
            (json!({"path": "a/b", "version": 3}),          wanted("a/b", Some(3))),
            (json!({"path": "a/b", "version": "3"}),        wanted("a/b", Some(3))),
            (json!({"path": "a/b", "version": "latest"}),   wanted("a/b", None)),
            (json!({"catalog_id": "a@b@2"}),                wanted("a@b", Some(2))),
            (json!({"path": "a/b", "version": -1}),         None),
            (json!({"path": "a/b", "version": "new"}),      None),
            (json!({"path": 7}),                            None),
            (json!({"catalog_id": "12"}),                   None),
            (json!({}),                                     None),
        ];
        for (json, expect) in cases {
            assert_eq!(Wanted::of(&body(json.clone())).ok(), expect, "{json}");
        }
    }

    #[test]
    fn inputs_have_one_name_and_may_stand_beside_a_workload() {
        #[rustfmt::skip]
        let cases = [
            (json!({}),                                                 Some(json!({}))),
            (json!({"payload": {"a": 1}}),                              Some(json!({"a": 1}))),
            (json!({"args": {"a": 1}, "payload": null}),                Some(json!({"a": 1}))),
            (json!({"parameters": {"a": 1}, "merge": true}),            Some(json!({"a": 1}))),
            (json!({"payload": {"workload": {"a": 1}}}),                Some(json!({"workload": {"a": 1}}))),
            (json!({"payload": {"b": 2}, "workload": {"a": 1}}),        Some(json!({"b": 2, "workload": {"a": 1}}))),
            (json!({"payload": {"workload": {}}, "workload": {"a": 1}}), None),
            (json!({"payload": {}, "args": {}}),                        None),
            (json!({"payload": [1]}),                                   None),
            (json!({"workload": "x"}),                                  None),
        ];
        for (json, expect) in cases {
            let found = payload(&body(json.clone())).ok().map(Value::Object);
            assert_eq!(found, expect, "{json}");
        }
    }
}
