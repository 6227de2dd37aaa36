//! What a request holds, read with messages that a person can use.

use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{FromRequest, FromRequestParts, Path, Query, Request};
use axum::http::StatusCode;
use axum::http::request::Parts;
use engine_core::ids::ExecutionId;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use super::problem::Problem;

/// The whole body, up to the limit of its route.
pub(super) struct Raw(pub(super) Bytes);

impl<S: Send + Sync> FromRequest<S> for Raw {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        Bytes::from_request(request, state).await.map(Self).map_err(|rejection| unread(&rejection))
    }
}

fn unread(rejection: &BytesRejection) -> Problem {
    if rejection.status() == StatusCode::PAYLOAD_TOO_LARGE {
        let message = "the body is larger than this route takes";
        return Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "TooLarge", message);
    }
    Problem::bad("the body did not arrive whole")
}

/// A body of any JSON; an empty one is null.
pub(super) struct Json(pub(super) Value);

impl<S: Send + Sync> FromRequest<S> for Json {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        let Raw(bytes) = Raw::from_request(request, state).await?;
        json(&bytes).map(Self)
    }
}

/// A body that is a JSON object; an empty one is `{}`.
pub(super) struct Object(pub(super) Map<String, Value>);

impl<S: Send + Sync> FromRequest<S> for Object {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        let Json(body) = Json::from_request(request, state).await?;
        object(body).map(Self)
    }
}

/// The value that a body holds.
pub(super) fn json(bytes: &[u8]) -> Result<Value, Problem> {
    if bytes.trim_ascii().is_empty() {
        return Ok(Value::Null);
    }
    // The parser's own message may quote a secret, so only the place is told.
    serde_json::from_slice(bytes).map_err(|error| {
        let (line, column) = (error.line(), error.column());
        Problem::bad(format!("the body is not JSON (line {line}, column {column})"))
    })
}

/// The object that a body is; nothing counts as an empty one.
pub(super) fn object(body: Value) -> Result<Map<String, Value>, Problem> {
    match body {
        Value::Object(object) => Ok(object),
        Value::Null => Ok(Map::new()),
        _ => Err(Problem::invalid("the body must be a JSON object `{...}`")),
    }
}

/// The text under a key; none if it is missing, null or empty.
pub(super) fn text<'a>(
    body: &'a Map<String, Value>,
    key: &str,
) -> Result<Option<&'a str>, Problem> {
    match body.get(key) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) if text.is_empty() => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(_) => Err(Problem::invalid(format!("`{key}` must be a text"))),
    }
}

/// `{id}` of a path.
pub(super) struct Id(pub(super) ExecutionId);

impl<S: Send + Sync> FromRequestParts<S> for Id {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let Path(id): Path<String> = part(parts, state).await?;
        execution_id(&id).map(Self)
    }
}

/// `{id}` and `{token}` of a path.
pub(super) struct IdAndToken(pub(super) ExecutionId, pub(super) String);

impl<S: Send + Sync> FromRequestParts<S> for IdAndToken {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let Path((id, token)): Path<(String, String)> = part(parts, state).await?;
        Ok(Self(execution_id(&id)?, token))
    }
}

async fn part<S: Send + Sync, T: DeserializeOwned + Send>(
    parts: &mut Parts,
    state: &S,
) -> Result<Path<T>, Problem> {
    let read = Path::from_request_parts(parts, state).await;
    read.map_err(|_rejection| Problem::bad("the path of the request is not UTF-8"))
}

/// An execution id as a client writes it.
pub(super) fn execution_id(text: &str) -> Result<ExecutionId, Problem> {
    match text.parse() {
        Ok(ExecutionId(id)) if id > 0 => Ok(ExecutionId(id)),
        _ => Err(Problem::bad(format!(
            "`{}` is no execution id: that is a number, such as 321456789012345678",
            text.chars().take(40).collect::<String>()
        ))),
    }
}

/// What stands behind the `?`.
pub(super) struct Asked<T>(pub(super) T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequestParts<S> for Asked<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        match Query::from_request_parts(parts, state).await {
            Ok(Query(asked)) => Ok(Self(asked)),
            Err(rejection) => Err(Problem::bad(rejection.body_text())),
        }
    }
}
