//! `playbook`: another playbook's execution as one call of this one.

use serde_json::{Map, Value, json};

use super::own::{Arranged, Origin, PLAYBOOK};
use super::pending::failed_outcome;
use super::settings::duration_ms;
use super::view::View;
use super::{Needs, Trouble, Turn};
use crate::event::{Answer, Fact, Failure, Outcome, Parent, Start, Status, ToolFailure};
use crate::ids::{
    AggregateKey, CommandId, ExecutionId, SNOWFLAKE_EPOCH_MS, SNOWFLAKE_LOW_BITS, StepName,
    snowflake_floor,
};
use crate::limits::{
    ANSWER_BYTES_MAX, CHILD_PAYLOAD_BYTES_MAX, CHILD_TIMEOUT_MS_DEFAULT, ERROR_BYTES_MAX,
    PLAYBOOK_DEPTH_MAX, WAIT_MS_MAX,
};
use crate::payload::{Payload, sha256};
use crate::playbook::{PlaybookRef, Step, Tool};
use crate::state::State;
use crate::template::{Coerce, Context, render};

/// Bits of a child's id below the second of its request: a hash of its cause.
const CAUSE_BITS: u32 = 32;

impl Turn<'_> {
    /// Executions above this one.
    pub(super) fn depth(&self) -> u32 {
        match &self.state {
            Some(State::Execution(state)) => state.parent.as_ref().map_or(0, |parent| parent.depth),
            Some(State::Loop(state)) => state.depth,
            None => 0,
        }
    }

    /// Renders a call of another playbook.
    pub(super) fn call_playbook(
        &self,
        step: &Step,
        tool: &Tool,
        args: &Map<String, Value>,
        view: &View<'_>,
        origin: &Origin,
    ) -> Result<Arranged, Trouble> {
        let call = Call { step, tool, context: view.context() };
        call.refuse_unsupported()?;
        let path = call.path()?;
        let playbook = match self.moment.playbooks.get(&path) {
            Some(Some(playbook)) => playbook.clone(),
            Some(None) => {
                let cure = "register it, or pass `--register FILE`";
                let message = format!("playbook `{path}` is not registered; {cure}");
                return Err(call.failed("PlaybookError", &message));
            }
            None => return Err(Trouble::Path(path)),
        };
        let payload = self.child_payload(&call, args, view)?;
        let (waits, timeout_ms) = (call.waits()?, call.timeout_ms()?);
        let parent = Parent {
            key: self.moment.key.clone(),
            command_id: origin.command_id.clone(),
            attempt: origin.attempt,
            waits,
            return_step: call.return_step()?,
            depth: self.depth_below(&call, &playbook)?,
        };
        let start = Box::new(Start { playbook, payload, parent: Some(parent) });
        Ok(Arranged::Child { child: self.child_id(origin), start, waits, timeout_ms })
    }

    /// How deep a child of this call would be.
    fn depth_below(&self, call: &Call<'_>, playbook: &PlaybookRef) -> Result<u32, Trouble> {
        let depth = self.depth().saturating_add(1);
        if depth <= PLAYBOOK_DEPTH_MAX {
            return Ok(depth);
        }
        let message = format!(
            "playbooks call each other more than {PLAYBOOK_DEPTH_MAX} deep, here `{}`: one that \
             calls itself has no way out",
            playbook.path
        );
        Err(call.failed("LimitError", &message))
    }

    /// An id that follows from the call: a request that is sent twice starts one execution.
    ///
    /// Its upper bits are the time of the request, as in every id, in steps of about a second; the lower
    /// 32 are a hash of the cause. Two causes of one second may share them: the execution that has the
    /// id already refuses the other's start, and the call is arranged anew with the next attempt.
    fn child_id(&self, origin: &Origin) -> ExecutionId {
        let Origin { command_id, attempt, .. } = origin;
        let cause = format!("{} {command_id} {attempt}", self.moment.key);
        let [a, b, c, d, ..] = sha256(cause.as_bytes());
        let hash = i64::from(u32::from_be_bytes([a, b, c, d]));
        let second = snowflake_floor(self.moment.at_ms) >> CAUSE_BITS << CAUSE_BITS;
        ExecutionId((second | hash).max(1))
    }

    /// The child's inputs: the step's `args`, under those of the tool, under those of the transition.
    fn child_payload(
        &self,
        call: &Call<'_>,
        args: &Map<String, Value>,
        view: &View<'_>,
    ) -> Result<Map<String, Value>, Trouble> {
        let mut payload = call.map("args", &Value::Object(args.clone()))?;
        payload.extend(call.map("args", &Value::Object(call.tool.args.clone()))?);
        for key in ["payload", "with"] {
            if let Some(value) = call.tool.config.get(key) {
                payload.extend(call.map(key, value)?);
            }
        }
        let mut missing = Vec::new();
        for (name, value) in &view.args {
            if name == "loop_results" && matches!(value, Payload::Loop(_)) {
                // Whoever follows a loop has it, and nobody asked for it: it may be of any size.
                continue;
            }
            match (value.inline(), self.loaded.value(value)) {
                (Some(value), _) => drop(payload.insert(name.clone(), value.clone())),
                (None, Some(value)) => drop(payload.insert(name.clone(), (*value).clone())),
                (None, None) => missing.push(value.clone()),
            }
        }
        if !missing.is_empty() {
            return Err(Trouble::Needs(missing));
        }
        // A map of JSON values always has a JSON form.
        let bytes = serde_json::to_vec(&payload).unwrap_or_default().len();
        if bytes > CHILD_PAYLOAD_BYTES_MAX {
            let message = format!(
                "the inputs of the child have {bytes} bytes; at most {CHILD_PAYLOAD_BYTES_MAX} are \
                 allowed: pass less, or store them and pass their place"
            );
            return Err(call.failed("LimitError", &message));
        }
        Ok(payload)
    }
}

impl Turn<'_> {
    /// What a waiting parent is told as the result of an execution that ended well; none if none waits.
    ///
    /// `{status, execution_id, result}`, where `result` is that of `return_step`, else of the last step.
    /// A result that is too large to be copied, or that is put together only when somebody reads it (of a
    /// loop, of pages), is told as it is: `.result` of it is itself in every template.
    pub(super) fn result_for_parent(
        &self,
        last: &Payload,
    ) -> Result<Option<Result<Payload, ToolFailure>>, Needs> {
        let Some(state) = self.execution() else { return Ok(None) };
        let Some(parent) = state.parent.as_ref().filter(|parent| parent.waits) else {
            return Ok(None);
        };
        let result = match &parent.return_step {
            None => last.clone(),
            Some(name) if self.step_of(name).is_none() => {
                return Ok(Some(Err(self.no_such_step(name))));
            }
            Some(name) => {
                let found = state.steps.get(name).and_then(|step| step.result.clone());
                found.unwrap_or(Payload::Inline(Value::Null))
            }
        };
        let value = match &result {
            Payload::Inline(value) => value.clone(),
            Payload::Ref(reference) if reference.bytes > ANSWER_BYTES_MAX as u64 => {
                return Ok(Some(Ok(result)));
            }
            Payload::Ref(_) | Payload::Log { .. } => match self.loaded.value(&result) {
                Some(value) => (*value).clone(),
                None => return Err(Needs::from(vec![result])),
            },
            Payload::Loop(_) | Payload::List(_) | Payload::Pages(_) => return Ok(Some(Ok(result))),
        };
        Ok(Some(Ok(self.told("completed", &value))))
    }

    fn told(&self, status: &str, result: &Value) -> Payload {
        let execution_id = self.moment.key.execution_id();
        Payload::Inline(json!({"status": status, "execution_id": execution_id, "result": result}))
    }

    fn no_such_step(&self, name: &StepName) -> ToolFailure {
        let playbook = self.moment.playbook;
        let steps: Vec<String> =
            playbook.steps.iter().map(|step| format!("`{}`", step.name)).collect();
        let message = format!(
            "`return_step: {name}` is no step of playbook `{}`; it has {}",
            playbook.reference.path,
            steps.join(", ")
        );
        ToolFailure { kind: "PlaybookError".to_owned(), message, ..ToolFailure::default() }
    }

    /// The outcome of the parent's call; none if nobody waits.
    pub(super) fn outcome_for_parent(
        &self,
        status: Status,
        failure: Option<&Failure>,
        told: Option<Result<Payload, ToolFailure>>,
    ) -> Option<Outcome> {
        let state = self.execution()?;
        state.parent.as_ref().filter(|parent| parent.waits)?;
        let name = match status {
            Status::Completed => "completed",
            Status::Cancelled => "cancelled",
            Status::Failed | Status::Running | Status::Skipped => "failed",
        };
        let (result, error) = match told {
            Some(Ok(result)) => (result, None),
            Some(Err(error)) => (self.told(name, &Value::Null), Some(error)),
            None => (self.told(name, &Value::Null), Some(self.failure_for_parent(status, failure))),
        };
        // An execution's id begins with the time of its request.
        let id = self.moment.key.execution_id();
        let started_ms = (id.0 >> SNOWFLAKE_LOW_BITS) + SNOWFLAKE_EPOCH_MS;
        let took_ms = self.moment.at_ms.saturating_sub(started_ms);
        let duration_ms = u64::try_from(took_ms).unwrap_or(0);
        Some(Outcome { result, error, started_ms, duration_ms, output: String::new() })
    }

    fn failure_for_parent(&self, status: Status, failure: Option<&Failure>) -> ToolFailure {
        let path = &self.moment.playbook.reference.path;
        let id = self.moment.key.execution_id();
        let (kind, verb) = match status {
            Status::Cancelled => ("Cancelled", "was cancelled"),
            _ => ("PlaybookError", "failed"),
        };
        let step = failure.and_then(|failure| failure.step.as_ref());
        let place = step.map(|step| format!(" at step `{step}`")).unwrap_or_default();
        let cause = failure.map(|failure| failure.error.message.as_str()).unwrap_or_default();
        let text = format!("playbook `{path}` (execution {id}) {verb}{place}: {cause}");
        let message = text[..text.floor_char_boundary(ERROR_BYTES_MAX)].to_owned();
        ToolFailure { kind: kind.to_owned(), message, ..ToolFailure::default() }
    }

    /// Stops a child that took too long; the answer that its call gets instead of the child's.
    pub(super) fn child_overdue(
        &mut self,
        command_id: CommandId,
        attempt: u32,
        child: ExecutionId,
    ) -> Answer {
        let (key, reason) = (AggregateKey::Execution(child), "its call timed out".to_owned());
        self.record(Fact::StopSent { key, reason });
        let error = ToolFailure {
            kind: "TimeoutError".to_owned(),
            message: format!(
                "execution {child} did not end within the `timeout` of its call; raise it, or look \
                 at what the execution waits for"
            ),
            ..ToolFailure::default()
        };
        let outcomes = vec![failed_outcome(error)];
        Answer { command_id, attempt, worker: PLAYBOOK.to_owned(), outcomes, cut: false }
    }
}

/// The tool of one call, and what names mean in it.
struct Call<'a> {
    step: &'a Step,
    tool: &'a Tool,
    context: Context,
}

impl Call<'_> {
    fn place(&self, key: &str) -> String {
        format!("`{key}` of the playbook call in `{}` (line {})", self.step.name, self.line())
    }

    fn line(&self) -> u32 {
        self.tool.position.line
    }

    fn failed(&self, kind: &str, message: &str) -> Trouble {
        let step = &self.step.name;
        Trouble::failed(kind, format!("step `{step}` (line {}): {message}", self.line()))
    }

    /// A key of the configuration, rendered; null counts as absent.
    fn value(&self, key: &str, coerce: Coerce) -> Result<Option<Value>, Trouble> {
        let Some(raw) = self.tool.config.get(key) else { return Ok(None) };
        let value = render(raw, &self.context, coerce)
            .map_err(|error| Trouble::template(&self.place(key), error))?;
        Ok((!value.is_null()).then_some(value))
    }

    fn wrong(&self, key: &str, value: &Value, expected: &str) -> Trouble {
        let place = self.place(key);
        Trouble::failed("ValueError", format!("{place} is `{value}`; {expected} was expected"))
    }

    fn refuse_unsupported(&self) -> Result<(), Trouble> {
        if self.tool.config.contains_key("content") {
            let message = "a playbook inside a call (`content`) is not run; register it, and name \
                           its `path`";
            return Err(self.failed("PlaybookError", message));
        }
        match self.value("version", Coerce::Mixed)? {
            None => Ok(()),
            Some(Value::String(text)) if text == "latest" => Ok(()),
            Some(version) => {
                let message = format!("`version: {version}` is not run; calls run the newest one");
                Err(self.failed("PlaybookError", &message))
            }
        }
    }

    fn path(&self) -> Result<String, Trouble> {
        match self.value("path", Coerce::Never)? {
            Some(Value::String(path)) if !path.trim().is_empty() => Ok(path.trim().to_owned()),
            Some(other) => Err(self.wrong("path", &other, "the path of a registered playbook")),
            None => Err(self.failed("PlaybookError", "a playbook call needs `path`")),
        }
    }

    fn return_step(&self) -> Result<Option<StepName>, Trouble> {
        match self.value("return_step", Coerce::Never)? {
            None => Ok(None),
            Some(Value::String(name)) if name.is_empty() => Ok(None),
            Some(Value::String(name)) => Ok(Some(name.into())),
            Some(other) => Err(self.wrong("return_step", &other, "the name of a step")),
        }
    }

    fn waits(&self) -> Result<bool, Trouble> {
        match self.value("wait", Coerce::Mixed)? {
            None => Ok(true),
            Some(Value::Bool(waits)) => Ok(waits),
            Some(other) => Err(self.wrong("wait", &other, "true or false")),
        }
    }

    fn timeout_ms(&self) -> Result<u64, Trouble> {
        let own = self.tool.config.get("timeout").filter(|value| !value.is_null());
        let Some(value) = own.or(self.step.timeout.as_ref()) else {
            return Ok(CHILD_TIMEOUT_MS_DEFAULT);
        };
        let ms = duration_ms(value, &self.context, &self.place("timeout"))?;
        Ok(ms.clamp(1, WAIT_MS_MAX))
    }

    /// Inputs for the child; null gives none.
    fn map(&self, key: &str, raw: &Value) -> Result<Map<String, Value>, Trouble> {
        let value = render(raw, &self.context, Coerce::Mixed)
            .map_err(|error| Trouble::template(&self.place(key), error))?;
        match value {
            Value::Object(map) => Ok(map),
            Value::Null => Ok(Map::new()),
            other => Err(self.wrong(key, &other, "a map")),
        }
    }
}
