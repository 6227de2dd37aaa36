//! `credentials`: values go in and never come out.
//!
//! They are kept where the [`super::Keyring`] keeps them: `serve` in memory, until it ends.

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use engine_core::limits::{CREDENTIAL_BYTES_MAX, NAME_BYTES_MAX};
use serde_json::{Value, json};

use super::problem::Problem;
use super::request::{Object, text};
use super::{Api, answer};

/// `POST credentials {name, type?, data}`.
pub(super) async fn add(
    State(api): State<Arc<Api>>,
    Object(mut body): Object,
) -> Result<Response, Problem> {
    let name = text(&body, "name")?.map(str::to_owned);
    let name = name.ok_or_else(|| Problem::invalid("`name` is missing"))?;
    if name.len() > NAME_BYTES_MAX {
        return Err(Problem::invalid(format!("`name` has more than {NAME_BYTES_MAX} bytes")));
    }
    let kind = text(&body, "type")?.unwrap_or_default().to_owned();
    let data = body.remove("data").filter(Value::is_object);
    let data = data.ok_or_else(|| Problem::invalid("`data` must be an object of fields"))?;
    if data.to_string().len() > CREDENTIAL_BYTES_MAX {
        return Err(Problem::invalid(format!("`data` has more than {CREDENTIAL_BYTES_MAX} bytes")));
    }
    api.credentials.add(&name, &kind, data).await?;
    Ok(answer::json(&json!({"status": "success", "name": name, "type": kind})))
}

/// `GET credentials`: names and kinds.
pub(super) async fn list(State(api): State<Arc<Api>>) -> Result<Response, Problem> {
    let names = api.credentials.names().await?.into_iter();
    let names: Vec<Value> = names.map(|(name, kind)| json!({"name": name, "type": kind})).collect();
    Ok(answer::json(&json!({"credentials": names})))
}
