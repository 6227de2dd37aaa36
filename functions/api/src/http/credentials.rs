//! `credentials`: values go in and never come out.
//!
//! They are kept where the [`super::Keyring`] keeps them: `serve` encrypts them into its store.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::Response;
use engine_core::limits::{CREDENTIAL_BYTES_MAX, NAME_BYTES_MAX};
use engine_core::ports::CredentialNote;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::problem::Problem;
use super::request::{Asked, Object, text};
use super::{Api, answer};
use engine_core::time::iso;

/// Bytes of all that is kept openly with a credential.
const NOTE_BYTES_MAX: usize = 16 << 10;

/// `POST credentials {name, type?, data, description?, tags?, meta?}`.
pub(super) async fn add(
    State(api): State<Arc<Api>>,
    Object(mut body): Object,
) -> Result<Response, Problem> {
    let note = note(&body)?;
    let data = body.remove("data").filter(Value::is_object);
    let data = data.ok_or_else(|| Problem::invalid("`data` must be an object of fields"))?;
    if data.to_string().len() > CREDENTIAL_BYTES_MAX {
        return Err(Problem::invalid(format!("`data` has more than {CREDENTIAL_BYTES_MAX} bytes")));
    }
    let answered = json!({"status": "success", "name": note.name, "type": note.kind});
    api.credentials.add(note, data).await?;
    Ok(answer::json(&answered))
}

fn note(body: &Map<String, Value>) -> Result<CredentialNote, Problem> {
    let name = text(body, "name")?.map(str::to_owned);
    let name = name.ok_or_else(|| Problem::invalid("`name` is missing"))?;
    if name.len() > NAME_BYTES_MAX {
        return Err(Problem::invalid(format!("`name` has more than {NAME_BYTES_MAX} bytes")));
    }
    let kind = text(body, "type")?.or(text(body, "credential_type")?);
    let meta = body.get("meta").cloned().unwrap_or_default();
    if !matches!(meta, Value::Null | Value::Object(_)) {
        return Err(Problem::invalid("`meta` must be an object"));
    }
    let note = CredentialNote {
        name,
        kind: kind.unwrap_or_default().to_owned(),
        description: text(body, "description")?.unwrap_or_default().to_owned(),
        tags: tags(body.get("tags"))?,
        meta,
        ..CredentialNote::default()
    };
    if shown(&note).to_string().len() > NOTE_BYTES_MAX {
        let message = format!(
            "`description`, `tags` and `meta` have more than {NOTE_BYTES_MAX} bytes together"
        );
        return Err(Problem::invalid(message));
    }
    Ok(note)
}

/// A list of words, or one text with commas.
fn tags(given: Option<&Value>) -> Result<Vec<String>, Problem> {
    let words = match given {
        None | Some(Value::Null) => Some(Vec::new()),
        Some(Value::String(text)) => Some(text.split(',').map(str::to_owned).collect()),
        Some(Value::Array(words)) => {
            words.iter().map(|word| word.as_str().map(str::to_owned)).collect()
        }
        Some(_) => None,
    };
    let words: Option<Vec<String>> = words;
    let words =
        words.ok_or_else(|| Problem::invalid("`tags` must be a list of texts, or `a,b`"))?;
    let words = words.iter().map(|word| word.trim()).filter(|word| !word.is_empty());
    Ok(words.map(str::to_owned).collect())
}

/// `GET credentials`: everything but the data.
pub(super) async fn list(State(api): State<Arc<Api>>) -> Result<Response, Problem> {
    let notes = api.credentials.notes().await?;
    let shown: Vec<Value> = notes.iter().map(shown).collect();
    Ok(answer::json(&json!({"credentials": shown})))
}

/// What may be asked for.
#[derive(Deserialize)]
pub(super) struct Wanted {
    #[serde(default)]
    include_data: String,
}

/// `GET credentials/{name}`: everything but the data, whoever asks for it.
pub(super) async fn one(
    State(api): State<Arc<Api>>,
    Path(name): Path<String>,
    Asked(wanted): Asked<Wanted>,
) -> Result<Response, Problem> {
    if !["", "false", "0"].contains(&wanted.include_data.as_str()) {
        let message = "the data of a credential is for tools alone and never shown; leave out \
                       `include_data`, and name the credential in `auth`";
        return Err(Problem::new(StatusCode::FORBIDDEN, "Forbidden", message));
    }
    let notes = api.credentials.notes().await?;
    match notes.iter().find(|note| note.name == name) {
        Some(note) => Ok(answer::json(&shown(note))),
        None => Err(unknown(&name, &notes)),
    }
}

/// `DELETE credentials/{name}`.
pub(super) async fn remove(
    State(api): State<Arc<Api>>,
    Path(name): Path<String>,
) -> Result<Response, Problem> {
    if api.credentials.remove(&name).await? {
        return Ok(answer::json(&json!({"status": "success", "name": name})));
    }
    let notes = api.credentials.notes().await?;
    if notes.iter().any(|note| note.name == name) {
        let message = format!(
            "credential `{name}` comes from a file; start the server without that `--credential`"
        );
        return Err(Problem::conflict(message));
    }
    Err(unknown(&name, &notes))
}

fn unknown(name: &str, notes: &[CredentialNote]) -> Problem {
    let known: Vec<String> = notes.iter().map(|note| format!("`{}`", note.name)).collect();
    let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
    Problem::not_found(format!("credential `{name}` does not exist (there is: {known})"))
}

fn shown(note: &CredentialNote) -> Value {
    let CredentialNote { name, kind, description, tags, meta, created_ms, updated_ms } = note;
    let mut shown = json!({"name": name, "type": kind, "description": description, "tags": tags,
        "meta": meta});
    // Nobody counts when a file was read.
    if let (Some(shown), true) = (shown.as_object_mut(), *updated_ms > 0) {
        shown.insert("created_at".to_owned(), json!(iso(*created_ms)));
        shown.insert("updated_at".to_owned(), json!(iso(*updated_ms)));
    }
    shown
}
