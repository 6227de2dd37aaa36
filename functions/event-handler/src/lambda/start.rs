//! What starts an execution from outside: a plain message, or a call of the function.

use std::sync::Arc;

use adapters::catalog::Registry;
use adapters::lambda::Refused;
use engine_core::event::{Envelope, Input, Start};
use engine_core::ids::{AggregateKey, ExecutionId, InputId};
use engine_core::playbook::PlaybookRef;
use engine_core::playbook::diagnostic::Diagnostic;
use engine_core::playbook::support::refused_on_lambda;
use engine_core::ports::{EventQueue, IdGenerator};
use serde_json::{Map, Value};
use tracing::info;

/// Hands starts over to the queue of events: whatever folds them there is the only writer.
pub struct Starter {
    /// Playbooks by path.
    pub catalog: Arc<dyn Registry>,
    /// Where starts go.
    pub events: Arc<dyn EventQueue>,
    /// Ids for starts that nobody repeats.
    pub ids: Arc<dyn IdGenerator>,
}

impl Starter {
    /// Starts what a message of the start queue asks for; its copies start nothing more.
    ///
    /// # Errors
    /// `Event` if it is no such message or cannot run, `Port` if a port did not do its part.
    pub async fn message(&self, message_id: &str, body: &str) -> Result<ExecutionId, Refused> {
        // The parser's own message may quote a secret, so only the place is told.
        let body: Value = serde_json::from_str(body).map_err(|error| {
            let (line, column) = (error.line(), error.column());
            Refused::Event(format!("the message is not JSON (line {line}, column {column})"))
        })?;
        let wanted = Wanted::of(body)?;
        let id =
            wanted.id().unwrap_or_else(|| ExecutionId::derived(&format!("message:{message_id}")));
        self.start(id, wanted).await
    }

    /// Starts what the function is called with.
    ///
    /// # Errors
    /// As [`Starter::message`].
    pub async fn call(&self, event: Value) -> Result<ExecutionId, Refused> {
        if event.get("path").is_none() {
            let message = "the function takes events of its queues, and `{\"path\", \"payload\"}` to start a \
                           playbook; this is neither";
            return Err(Refused::Event(message.to_owned()));
        }
        let wanted = Wanted::of(event)?;
        let id = wanted.id().unwrap_or_else(|| self.ids.execution_id());
        self.start(id, wanted).await
    }

    async fn start(&self, id: ExecutionId, wanted: Wanted) -> Result<ExecutionId, Refused> {
        let playbook = self.playbook(&wanted).await?;
        let to = AggregateKey::Execution(id);
        info!(execution.id = %id, playbook.path = playbook.path, "execution asked for");
        let start = Start { playbook, payload: wanted.payload, parent: None };
        let envelope =
            Envelope { id: InputId(format!("{to}:start")), to, input: Input::Start(start) };
        self.events.send(&[envelope]).await?;
        Ok(id)
    }

    /// The version that is asked for, if it can run.
    async fn playbook(&self, wanted: &Wanted) -> Result<PlaybookRef, Refused> {
        let Wanted { path, version, .. } = wanted;
        let Some(found) = self.catalog.find(path, *version).await? else {
            let version = version.map(|number| format!(" version {number}")).unwrap_or_default();
            let cure = "register it with `POST /api/catalog/register`";
            return Err(Refused::Event(format!("Playbook not found: {path}{version}; {cure}")));
        };
        let playbook = self.catalog.playbook(&found.reference).await?;
        let problems = refused_on_lambda(&playbook);
        if problems.is_empty() {
            return Ok(found.reference);
        }
        let problems: Vec<String> = problems.iter().map(Diagnostic::to_string).collect();
        let message = format!("playbook `{path}` cannot run here: {}", problems.join("; "));
        Err(Refused::Event(message))
    }
}

/// `{"path", "payload"?, "version"?, "idempotency_key"?}`.
#[derive(Debug, Eq, PartialEq)]
struct Wanted {
    path: String,
    /// None for the newest.
    version: Option<u32>,
    payload: Map<String, Value>,
    key: Option<String>,
}

impl Wanted {
    fn of(body: Value) -> Result<Self, Refused> {
        let Value::Object(mut body) = body else {
            return Err(wrong("a start must be a JSON object `{\"path\", \"payload\"}`"));
        };
        let mut take = |key: &str| body.shift_remove(key).filter(|value| !value.is_null());
        let path = match take("path") {
            Some(Value::String(path)) if !path.is_empty() => path,
            _ => return Err(wrong("name the playbook by `path`, a text")),
        };
        let payload = match take("payload") {
            None => Map::new(),
            Some(Value::Object(payload)) => payload,
            Some(_) => return Err(wrong("`payload` must be a JSON object `{...}`")),
        };
        let version = take("version").map(|version| {
            let number = version.as_u64().and_then(|number| u32::try_from(number).ok());
            number.ok_or_else(|| wrong("`version` must be a number such as 3"))
        });
        let key = match take("idempotency_key") {
            None => None,
            Some(Value::String(key)) if !key.is_empty() => Some(key),
            Some(_) => return Err(wrong("`idempotency_key` must be a text that is not empty")),
        };
        let version = version.transpose()?;
        match body.keys().next() {
            None => Ok(Self { path, version, payload, key }),
            Some(other) => Err(Refused::Event(format!(
                "`{other}` means nothing here: a start has `path`, `payload`, `version` and \
                 `idempotency_key`"
            ))),
        }
    }

    /// The id that follows from the key: one execution for each key of a path.
    fn id(&self) -> Option<ExecutionId> {
        let key = self.key.as_ref()?;
        Some(ExecutionId::derived(&format!("key:{}:{key}", self.path)))
    }
}

fn wrong(message: &str) -> Refused {
    Refused::Event(message.to_owned())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_start_has_a_path_and_nothing_that_is_not_understood() {
        #[rustfmt::skip]
        let cases = [
            (json!({"path": "a/b"}),                                          None),
            (json!({"path": "a/b", "payload": {"n": 1}, "version": 3}),       None),
            (json!({"path": "a/b", "payload": null, "idempotency_key": "k"}), None),
            (json!({}),                                                       Some("by `path`")),
            (json!({"path": ""}),                                             Some("by `path`")),
            (json!({"path": 7}),                                              Some("by `path`")),
            (json!([1]),                                                      Some("a JSON object")),
            (json!({"path": "a", "payload": "secret"}),                       Some("`payload` must be")),
            (json!({"path": "a", "version": "x"}),                            Some("`version` must be")),
            (json!({"path": "a", "version": -1}),                             Some("`version` must be")),
            (json!({"path": "a", "idempotency_key": ""}),                     Some("`idempotency_key`")),
            (json!({"path": "a", "idempotency-key": "k"}),                    Some("`idempotency-key` means nothing")),
        ];
        for (body, expect) in cases {
            let told = Wanted::of(body.clone()).err().map(|error| error.to_string());
            match (&told, expect) {
                (None, None) => {}
                (Some(told), Some(expect)) => {
                    assert!(told.contains(expect) && !told.contains("secret"), "{told}");
                }
                _ => panic!("{body}: {told:?}"),
            }
        }
    }

    #[test]
    fn an_id_follows_from_the_key_and_the_path_alone() {
        let id = |path: &str, key: &str, payload: Value| {
            let body = json!({"path": path, "idempotency_key": key, "payload": payload});
            Wanted::of(body).unwrap().id()
        };
        assert_eq!(id("a", "k", json!({})), id("a", "k", json!({"n": 1})));
        assert_ne!(id("a", "k", json!({})), id("b", "k", json!({})));
        assert_ne!(id("a", "k", json!({})), id("a", "l", json!({})));
        assert_eq!(Wanted::of(json!({"path": "a"})).unwrap().id(), None);
    }
}
