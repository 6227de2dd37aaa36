//! A command becomes outcomes. Never fails: a problem is an outcome that says where, and the cure.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use engine_core::command::{Command, Frame};
use engine_core::event::{Answer, Envelope, Input, Outcome};
use engine_core::limits::{FRAME_ITEMS_MAX, TOOL_GRACE_MS, TOOL_TIMEOUT_MS_MAX};
use engine_core::load::{Readers, load};
use engine_core::playbook::Playbook;
use engine_core::ports::{Catalog, Clock, EventQueue, Secrets};
use serde_json::{Map, Value};
use tokio::sync::watch;
use tokio::time::{Instant, timeout, timeout_at};

use crate::credentials::{RemoteSecrets, Vault};
use crate::items::Items;
use crate::keychain::{Keychain, Ring};
use crate::outcome::{Outcomes, Place, Span};
use crate::private::{self, Mentioned};
use crate::progress::Reporter;
use crate::redact::Redactor;
use crate::render::{Renderer, has_word, is_template, iteration, overridden, unread, used};
use crate::scope::{Names, Scopes};
use crate::sink;
use crate::task::{Task, line, resolve};
use crate::tool::{Call, Progress, Success, TIMEOUT, Tool, ToolError};
use crate::unit::AboutCall;

/// Everything a worker works with. Built once, at start.
pub struct Workbench {
    catalog: Arc<dyn Catalog>,
    readers: Readers,
    clock: Arc<dyn Clock>,
    name: String,
    tools: BTreeMap<&'static str, Arc<dyn Tool>>,
    secrets: Option<Arc<dyn Secrets>>,
    remote: Option<Arc<dyn RemoteSecrets>>,
    requests: Option<Arc<dyn Tool>>,
    env: BTreeMap<String, String>,
    keychain: Keychain,
    scopes: Scopes,
    items: Items,
}

impl Workbench {
    /// A worker called `name`, still without tools, credentials and environment.
    #[must_use]
    pub fn new(
        catalog: Arc<dyn Catalog>,
        readers: Readers,
        clock: Arc<dyn Clock>,
        name: impl Into<String>,
    ) -> Self {
        Self {
            catalog,
            readers,
            clock,
            name: name.into(),
            tools: BTreeMap::new(),
            secrets: None,
            remote: None,
            requests: None,
            env: BTreeMap::new(),
            keychain: Keychain::default(),
            scopes: Scopes::new(),
            items: Items::new(),
        }
    }

    /// Adds a tool, under its own kind.
    #[must_use]
    pub fn with_tool(mut self, tool: Arc<dyn Tool>) -> Self {
        self.tools.insert(tool.kind(), tool);
        self
    }

    /// Lets templates and `auth` use credentials.
    #[must_use]
    pub fn with_secrets(mut self, secrets: Arc<dyn Secrets>) -> Self {
        self.secrets = Some(secrets);
        self
    }

    /// Lets `auth` and the keychain use secrets of a service outside.
    #[must_use]
    pub fn with_remote_secrets(mut self, remote: Arc<dyn RemoteSecrets>) -> Self {
        self.remote = Some(remote);
        self
    }

    /// Lets the keychain ask for tokens with `http`, also where steps have no such tool.
    #[must_use]
    pub fn with_requests(mut self, http: Arc<dyn Tool>) -> Self {
        self.requests = Some(http);
        self
    }

    /// Lets templates read these values as `env.NAME`, and no others.
    #[must_use]
    pub fn with_env(mut self, env: BTreeMap<String, String>) -> Self {
        self.env = env;
        self
    }

    /// The kinds that it can run, ascending.
    pub fn kinds(&self) -> impl Iterator<Item = &'static str> {
        self.tools.keys().copied()
    }

    fn vault(&self) -> Vault<'_> {
        Vault { secrets: self.secrets.as_deref(), remote: self.remote.as_deref(), env: &self.env }
    }

    fn tool(&self, kind: &str) -> Result<Arc<dyn Tool>, ToolError> {
        self.tools.get(kind).cloned().ok_or_else(|| {
            let known: Vec<_> = self.kinds().map(|kind| format!("`{kind}`")).collect();
            ToolError::input(format!(
                "this worker has no tool `{kind}`; it has {}",
                known.join(", ")
            ))
        })
    }
}

/// The circumstances of a command.
#[derive(Clone, Copy, Default)]
pub struct Terms<'a> {
    /// Who hears how far a long call is.
    pub events: Option<&'a dyn EventQueue>,
    /// When the worker itself ends: no call runs longer, whatever its step allows.
    pub ends: Option<Instant>,
}

impl Terms<'_> {
    /// How long one call of a command may take that begins now.
    fn allowed(&self, command: &Command) -> Duration {
        let (full, now) = (full(command), Instant::now());
        self.ends.map_or(full, |ends| full.min(ends.saturating_duration_since(now)))
    }

    fn is_over(&self) -> bool {
        self.ends.is_some_and(|ends| ends <= Instant::now())
    }
}

/// Runs a command: its one call, or the iterations of its frame in order.
pub async fn execute(bench: &Workbench, command: &Command) -> Answer {
    execute_within(bench, command, Terms::default()).await
}

/// As [`execute`], within `terms`.
pub async fn execute_within(bench: &Workbench, command: &Command, terms: Terms<'_>) -> Answer {
    let (outcomes, cut) = outcomes(bench, command, terms).await;
    let (command_id, attempt) = (command.id.clone(), command.attempt);
    Answer { command_id, attempt, worker: bench.name.clone(), outcomes, cut }
}

/// The message that carries an answer to whoever waits for it.
#[must_use]
pub fn envelope(command: &Command, answer: Answer) -> Envelope {
    Envelope {
        id: format!("{}.{}", command.id, command.attempt).into(),
        to: command.reply_to.clone(),
        input: Input::Answer(answer),
    }
}

/// The outcomes, and whether the worker's time was over before all of them.
async fn outcomes(bench: &Workbench, command: &Command, terms: Terms<'_>) -> (Vec<Outcome>, bool) {
    let started_ms = bench.clock.now_ms();
    match Job::prepare(bench, command, terms).await {
        Ok(job) => Box::pin(job.run()).await,
        Err((line, error)) => (refused(bench, command, line, started_ms, error).await, false),
    }
}

/// The same error for every call of a command that cannot even begin.
async fn refused(
    bench: &Workbench,
    command: &Command,
    line: u32,
    started_ms: i64,
    error: ToolError,
) -> Vec<Outcome> {
    let indexes = indexes(command.frame.as_ref());
    let mut outcomes = Vec::new();
    let mut results = Outcomes::new(&*bench.readers.payloads, calls(command));
    for index in indexes {
        let place = Place { command, line, part: None, kind: &command.tool_kind, index };
        let span = Span { started_ms, duration_ms: 0 };
        let failed = Err(error.clone());
        outcomes.push(results.of(failed, span, &place, &Redactor::default()).await);
        if command.frame.as_ref().is_some_and(|frame| frame.fail_fast) {
            break;
        }
    }
    outcomes
}

/// The iterations of a frame; one call without an index where there is none.
fn indexes(frame: Option<&Frame>) -> Vec<Option<u64>> {
    match frame {
        None => vec![None],
        Some(frame) => {
            let len = u64::from(frame.len.min(FRAME_ITEMS_MAX));
            (frame.first..frame.first.saturating_add(len)).map(Some).collect()
        }
    }
}

/// Names a call: the command's id with the index in the place of its frame's first one.
///
/// The same for all attempts, also for those in another frame.
fn call_id(command: &Command, index: Option<u64>) -> String {
    let id = command.id.as_str();
    let (Some(frame), Some(index)) = (&command.frame, index) else { return id.to_owned() };
    let (loop_id, call) = id.rsplit_once(':').unwrap_or((id, ""));
    let first = frame.first.to_string();
    match call.strip_prefix(first.as_str()) {
        Some(rest) if rest.is_empty() || rest.starts_with('/') => {
            format!("{loop_id}:{index}{rest}")
        }
        // Not an id that the engine makes.
        _ => format!("{id}.{index}"),
    }
}

fn calls(command: &Command) -> u32 {
    command.frame.as_ref().map_or(1, |frame| frame.len)
}

/// A command that is ready to run.
struct Job<'a> {
    bench: &'a Workbench,
    command: &'a Command,
    terms: Terms<'a>,
    part: Option<String>,
    task: Task,
    tool: Arc<dyn Tool>,
    names: Arc<Names>,
    execution_id: String,
    private: Vec<(String, Value)>,
    redactor: Redactor,
    /// Whether a call looks at its item at all.
    needs_item: bool,
    /// Whether its texts use the fields of its own `auth`.
    needs_auth: bool,
    /// When the call at hand began: what `now()` says in its templates.
    started_ms: i64,
    /// What the call at hand is known by outside, as [`call_id`] says.
    call_id: String,
}

impl<'a> Job<'a> {
    /// Finds the step, its tool and its variables; an error comes with the line of the step.
    async fn prepare(
        bench: &'a Workbench,
        command: &'a Command,
        terms: Terms<'a>,
    ) -> Result<Self, (u32, ToolError)> {
        let playbook = bench.catalog.playbook(&command.playbook).await;
        let playbook = playbook.map_err(|error| (0, unread(&error)))?;
        let line = line(&playbook, command);
        let placed = |error| (line, error);
        let task = resolve(&playbook, command).map_err(placed)?;
        let placed = |error| (task.line, error);
        let tool = bench.tool(&task.kind).map_err(placed)?;
        let names = names_of(&task);
        let about =
            AboutCall { label: task.label.as_deref(), looks_inside: looks_inside(&task, &names) };
        let scope = bench.scopes.of(&bench.readers, &playbook, command, &about).await;
        let scope = scope.map_err(|error| placed(unread(&error)))?;
        let mut redactor = Redactor::default();
        let execution_id = command.reply_to.execution_id().to_string();
        let mentioned = Mentioned::by(&task);
        let asker = Asker { playbook: &playbook, command, terms, execution_id: &execution_id };
        let private = asker.private(bench, &mentioned, &scope, &mut redactor).await;
        // An endpoint may repeat what it was sent.
        let private =
            private.map_err(|error| placed(error.reworded(|text| redactor.clean(text))))?;
        let is_static = !task.values().any(is_template);
        let part = match &task.label {
            Some(label) => Some(format!("task `{label}`")),
            None => task.saves.then(|| "sink".to_owned()),
        };
        let task = task.without_unused(&names);
        Ok(Self {
            needs_item: !is_static || task.kind == PYTHON,
            needs_auth: mentioned.auth,
            started_ms: 0,
            call_id: String::new(),
            execution_id,
            bench,
            command,
            terms,
            part,
            task,
            tool,
            names: scope,
            private,
            redactor,
        })
    }

    /// The outcomes, and whether the worker's time was over before all of them.
    async fn run(mut self) -> (Vec<Outcome>, bool) {
        let mut outcomes = Vec::new();
        let mut results = Outcomes::new(&*self.bench.readers.payloads, calls(self.command));
        let fail_fast = self.command.frame.as_ref().is_some_and(|frame| frame.fail_fast);
        for index in indexes(self.command.frame.as_ref()) {
            let started_ms = self.bench.clock.now_ms();
            self.started_ms = started_ms;
            let has_begun = !outcomes.is_empty();
            if has_begun && self.terms.is_over() {
                return (outcomes, true);
            }
            let is_short = self.terms.allowed(self.command) < full(self.command);
            let ended = self.call(index).await;
            // Its own time was not over: it runs again, from a new worker's first second on.
            if has_begun && is_short && is_late(&ended) {
                return (outcomes, true);
            }
            let elapsed_ms = self.bench.clock.now_ms().saturating_sub(started_ms);
            let span = Span { started_ms, duration_ms: u64::try_from(elapsed_ms).unwrap_or(0) };
            let place = Place {
                command: self.command,
                line: self.task.line,
                part: self.part.as_deref(),
                kind: &self.task.kind,
                index,
            };
            let outcome = results.of(ended, span, &place, &self.redactor).await;
            let failed = outcome.error.is_some();
            outcomes.push(outcome);
            if failed && fail_fast {
                break;
            }
        }
        (outcomes, false)
    }

    /// One call, from its item to its result.
    async fn call(&mut self, index: Option<u64>) -> Result<Success, ToolError> {
        let command = self.command;
        let allowed = self.terms.allowed(command);
        let deadline = Instant::now() + allowed;
        self.call_id = call_id(command, index);
        let rendered = timeout_at(deadline, self.render(index)).await;
        let (config, args, context) = rendered.map_err(|_elapsed| too_slow(command, allowed))??;
        let (sender, seen) = watch::channel(Value::Null);
        let call = Call {
            config,
            args,
            context,
            idempotency_key: &self.call_id,
            deadline,
            attempt: self.command.attempt,
            execution_id: &self.execution_id,
            step: self.command.step.as_str(),
            saves: self.task.saves,
            progress: Progress::to(sender),
        };
        // A tool stops by itself and says why; one that does not is dropped a little later.
        let grace = Duration::from_millis(TOOL_GRACE_MS);
        let work = timeout_at(deadline + grace, self.tool.call(&call));
        let reporter = Reporter {
            events: self.terms.events,
            command: self.command,
            index,
            started_ms: self.started_ms,
            worker: &self.bench.name,
            redactor: &self.redactor,
        };
        let ended = reporter.beside(work, seen).await;
        ended.unwrap_or_else(|_elapsed| Err(too_slow(command, allowed)))
    }

    async fn render(&mut self, index: Option<u64>) -> Result<Rendered, ToolError> {
        let names = self.iteration(index).await?;
        let mut private = self.private.clone();
        if self.needs_auth {
            let auth = self.auth(&private, &names).await?;
            private.push(("auth".to_owned(), auth));
        }
        let renderer = self.renderer(&private);
        let mut args = renderer.args(&self.task.args, &names).await?;
        let mut config = renderer.config(&self.task.config, &args, &names).await?;
        args = self.task.own(args);
        if self.task.saves {
            let told = self.names.told.as_ref().and_then(|told| told.response.clone());
            let result = match told.filter(|_| sink::is_open(&config, &args)) {
                Some(response) => renderer.full(response).await?,
                None => Value::Null,
            };
            sink::complete(&self.task.kind, &mut config, &mut args, result);
        }
        if let Some(Value::Object(overrides)) = &self.command.overrides {
            let mut overrides = overrides.clone();
            if let Some(Value::Object(given)) = overrides.shift_remove("args") {
                args.extend(given);
            }
            overridden(&mut config, &overrides);
        }
        let context = if self.task.kind == PYTHON {
            // A script's text is not known yet: it may use anything.
            let code = config.get("code").and_then(Value::as_str).unwrap_or("context");
            Some(renderer.variables(code, &args, &names).await?)
        } else {
            None
        };
        let vault = self.bench.vault();
        self.redactor.learn_config(&self.task.config, &config);
        vault.resolve_auth(&mut config, &mut self.redactor).await?;
        if self.task.kind == TRANSFER {
            for side in ["source", "target"] {
                if let Some(Value::Object(side)) = config.get_mut(side) {
                    vault.resolve_auth(side, &mut self.redactor).await?;
                }
            }
        }
        Ok((config, args, context))
    }

    fn renderer<'r>(&'r self, private: &'r [(String, Value)]) -> Renderer<'r> {
        Renderer {
            readers: &self.bench.readers,
            names: &self.names,
            execution_id: &self.execution_id,
            call_id: &self.call_id,
            now_ms: self.started_ms,
            private,
        }
    }

    /// The fields of the tool's own `auth`, for the texts beside it.
    async fn auth(
        &mut self,
        private: &[(String, Value)],
        names: &[(String, Value)],
    ) -> Result<Value, ToolError> {
        let mut own = self.task.config.clone();
        own.retain(|key, _| ["auth", "credential", "credentials"].contains(&key.as_str()));
        let mut config = self.renderer(private).config(&own, &Map::new(), names).await?;
        self.bench.vault().resolve_auth(&mut config, &mut self.redactor).await?;
        Ok(config.shift_remove("auth").unwrap_or_default())
    }

    async fn iteration(&self, index: Option<u64>) -> Result<Vec<(String, Value)>, ToolError> {
        let (Some(frame), Some(index)) = (&self.command.frame, index) else {
            return Ok(Vec::new());
        };
        let Some(iterator) = self.task.iterator.as_ref().filter(|_| self.needs_item) else {
            return Ok(Vec::new());
        };
        let item = self.bench.items.item(&*self.bench.readers.payloads, frame, index).await;
        Ok(iteration(iterator, index, frame.total, &item.map_err(|error| unread(&error))?))
    }
}

/// Who asks for secrets.
struct Asker<'a> {
    playbook: &'a Playbook,
    command: &'a Command,
    terms: Terms<'a>,
    execution_id: &'a str,
}

impl Asker<'_> {
    /// The secrets that the texts of a tool name, within the time of one call.
    async fn private(
        &self,
        bench: &Workbench,
        mentioned: &Mentioned,
        names: &Names,
        redactor: &mut Redactor,
    ) -> Result<Vec<(String, Value)>, ToolError> {
        let workload = match &names.scope.workload {
            Some(workload) if mentioned.needs_workload() => {
                load(&bench.readers, workload).await.map_err(|error| unread(&error))?
            }
            _ => Value::Null,
        };
        let vault = bench.vault();
        let ring = Ring {
            keychain: &bench.keychain,
            playbook: self.playbook,
            vault: &vault,
            clock: &*bench.clock,
            http: bench.requests.as_ref().or_else(|| bench.tools.get("http")).map(|tool| &**tool),
            workload: &workload,
            execution_id: self.execution_id,
        };
        let allowed = self.terms.allowed(self.command);
        let private = timeout(allowed, private::of(mentioned, &ring, redactor)).await;
        private.unwrap_or_else(|_elapsed| Err(too_slow(self.command, allowed)))
    }
}

/// Configuration, inputs and variables of one call.
type Rendered = (Map<String, Value>, Map<String, Value>, Option<Map<String, Value>>);

/// The kind whose sides have credentials of their own.
const TRANSFER: &str = "transfer";
/// The kind whose code may name variables.
const PYTHON: &str = "python";

/// The names that the templates of a tool beside the step's own use: only they leave names out.
fn names_of(task: &Task) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    if task.takes_last {
        task.own_values().for_each(|value| used(value, &mut names));
    }
    names
}

/// Whether `data` or `page` is used, in a template or in code.
fn looks_inside(task: &Task, names: &BTreeSet<String>) -> bool {
    let code = task.config.get("code").and_then(Value::as_str).unwrap_or_default();
    task.takes_last
        && ["data", "page"].iter().any(|name| names.contains(*name) || has_word(code, name))
}

fn is_late(ended: &Result<Success, ToolError>) -> bool {
    ended.as_ref().is_err_and(|error| error.kind() == TIMEOUT)
}

/// How long one call of a command may take where there is time enough.
fn full(command: &Command) -> Duration {
    Duration::from_millis(command.timeout_ms.min(TOOL_TIMEOUT_MS_MAX))
}

fn too_slow(command: &Command, allowed: Duration) -> ToolError {
    if allowed < full(command) {
        return ToolError::timeout(format!(
            "the tool did not end within the {:.3} s that its worker had left; do less in one step",
            allowed.as_secs_f64()
        ));
    }
    ToolError::timeout(format!(
        "the tool did not end within {} s; raise `timeout` of the step or its tool, or do less in \
         one step",
        allowed.as_secs_f64()
    ))
}

#[cfg(test)]
pub(crate) mod tests;
