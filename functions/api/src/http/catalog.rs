//! `catalog/*`: playbooks, checked and registered.

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
use engine_core::limits::PLAYBOOK_BYTES_MAX;
use engine_core::playbook::Playbook;
use engine_core::playbook::diagnostic::Diagnostic;
use engine_core::playbook::parse::{Parsed, parse};
use serde_json::{Value, json};

use super::problem::Problem;
use super::request::{Raw, object, text};
use super::{Api, Registered, answer};

/// `POST catalog/register {content | content_base64}`, or the playbook's text itself (decision D49).
pub(super) async fn register(
    State(api): State<Arc<Api>>,
    Raw(body): Raw,
) -> Result<Response, Problem> {
    let Given { text, path } = Given::of(&body)?;
    let (playbook, found, doubts) = add(&api, &text).await?;
    let Registered { reference, version } = &found;
    let mut warnings: Vec<String> = doubts.iter().map(Diagnostic::to_string).collect();
    if let Some(path) = path.filter(|path| *path != reference.path) {
        warnings.push(format!(
            "the request says path `{path}`; it is registered under its own, `{}`",
            reference.path
        ));
    }
    Ok(answer::json(&json!({
        "status": "success",
        "message": format!("Resource '{}' version '{version}' registered.", reference.path),
        "path": reference.path,
        "version": version,
        "catalog_id": catalog_id(&found),
        "kind": "Playbook",
        "steps": playbook.steps.len(),
        "warnings": warnings,
    })))
}

/// Checks and registers a text: what it is, which version of what, and what is doubtful about it.
pub(super) async fn add(
    api: &Api,
    text: &str,
) -> Result<(Playbook, Registered, Vec<Diagnostic>), Problem> {
    let Parsed { playbook, diagnostics } = parse(text);
    let Some(playbook) = playbook else {
        return Err(Problem::playbook("the playbook has errors", diagnostics));
    };
    let found = api.directory.register(text).await?;
    Ok((playbook, found, diagnostics))
}

/// `catalog/list`: every version, the newest registration first.
pub(super) async fn list(State(api): State<Arc<Api>>) -> Result<Response, Problem> {
    let entries = api.directory.playbooks().await?;
    let entries: Vec<Value> = entries
        .iter()
        .map(|one| {
            json!({
                "catalog_id": catalog_id(one),
                "path": one.reference.path,
                "version": one.version,
                "kind": "Playbook",
                "hash": one.reference.hash,
            })
        })
        .collect();
    Ok(answer::json(&json!({"entries": entries})))
}

/// `{path}@{version}`: what names a version without a table of numbers.
pub(super) fn catalog_id(of: &Registered) -> String {
    format!("{}@{}", of.reference.path, of.version)
}

/// What a request to register holds.
#[derive(Debug, Eq, PartialEq)]
struct Given {
    text: String,
    /// Where the client believes that it belongs (decision D48).
    path: Option<String>,
}

impl Given {
    fn of(body: &[u8]) -> Result<Self, Problem> {
        let given = match serde_json::from_slice::<Value>(body) {
            Ok(body) => Self::of_json(body)?,
            Err(_not_json) => Self { text: utf8(body.to_vec())?, path: None },
        };
        if given.text.len() > PLAYBOOK_BYTES_MAX {
            return Err(Problem::invalid(format!(
                "the playbook has more than {PLAYBOOK_BYTES_MAX} bytes, which is the limit"
            )));
        }
        if !given.text.trim_end().contains('\n') && given.text.starts_with("apiVersion:") {
            let cure = "send the file with `curl --data-binary @FILE`; `-d @FILE` drops line ends";
            return Err(Problem::invalid(format!("the playbook is one line: {cure}")));
        }
        Ok(given)
    }

    fn of_json(body: Value) -> Result<Self, Problem> {
        let body = object(body)?;
        let path = text(&body, "path")?.map(str::to_owned);
        let text = match (text(&body, "content")?, text(&body, "content_base64")?) {
            (Some(content), None) => plain(content).unwrap_or_else(|| content.to_owned()),
            (None, Some(encoded)) => plain(encoded).ok_or_else(|| {
                Problem::invalid("`content_base64` is not base64 of a text in UTF-8")
            })?,
            _ => {
                let message = "give the playbook's text as `content`, or as `content_base64`";
                return Err(Problem::invalid(message));
            }
        };
        Ok(Self { text, path })
    }
}

/// What base64 stands for; a playbook cannot be mistaken for it, as it has colons.
fn plain(encoded: &str) -> Option<String> {
    let packed: String = encoded.split_ascii_whitespace().collect();
    let bytes = STANDARD.decode(&packed).or_else(|_| STANDARD_NO_PAD.decode(&packed)).ok()?;
    String::from_utf8(bytes).ok()
}

fn utf8(bytes: Vec<u8>) -> Result<String, Problem> {
    let message = "the body is neither JSON nor a text in UTF-8";
    String::from_utf8(bytes).map_err(|_not_text| Problem::bad(message))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn d49_a_playbook_comes_as_json_as_base64_or_as_it_is() {
        let given = |body: &str| Given::of(body.as_bytes()).map(|given| given.text).ok();
        #[rustfmt::skip]
        let cases = [
            (r#"{"content": "a: 1\nb: 2\n"}"#,                  Some("a: 1\nb: 2\n")),
            (r#"{"content": "YTogMQo=", "path": "p"}"#,         Some("a: 1\n")),
            (r#"{"content_base64": "YTogMQo="}"#,               Some("a: 1\n")),
            (r#"{"content_base64": "YTog\nMQo"}"#,              Some("a: 1\n")),
            ("apiVersion: noetl.io/v2\nkind: Playbook\n",       Some("apiVersion: noetl.io/v2\nkind: Playbook\n")),
            ("apiVersion: noetl.io/v2kind: Playbook",           None),
            (r#"{"content_base64": "a: 1"}"#,                   None),
            (r#"{"content": "a: 1", "content_base64": "YQ=="}"#, None),
            (r#"{"content": 1}"#,                               None),
            (r#"{"content": ""}"#,                              None),
            ("{}",                                              None),
            ("[1]",                                             None),
        ];
        for (body, expect) in cases {
            assert_eq!(given(body).as_deref(), expect, "{body}");
        }
        assert!(Given::of(&[0xff, 0xfe]).is_err());
        assert!(Given::of(&vec![b'#'; PLAYBOOK_BYTES_MAX + 1]).is_err());
    }
}
