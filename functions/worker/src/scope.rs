//! The variables that came with a command, decoded once for all iterations of a loop.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use engine_core::command::{Command, Scope};
use engine_core::ids::StepName;
use engine_core::limits::SCOPES_CACHED;
use engine_core::load::{Readers, load};
use engine_core::payload::Payload;
use engine_core::playbook::Playbook;
use engine_core::ports::{PortError, PortErrorKind};
use engine_core::template::{Context, Loaded};
use serde_json::{Map, Value};
use tokio::sync::OnceCell;

use crate::cache::Cache;
use crate::unit::{AboutCall, Told, decoded};

/// A decoded scope, with what its templates have asked for so far.
pub(crate) struct Names {
    pub(crate) scope: Scope,
    /// What the run has done so far, where one call is not all.
    pub(crate) told: Option<Told>,
    /// Steps of the playbook that the scope has no result of.
    pub(crate) pending: Vec<String>,
    pub(crate) evaluation: Mutex<Evaluation>,
    transition: OnceCell<Map<String, Value>>,
    /// The scope that other commands share.
    shared: Option<Arc<Self>>,
}

/// What one evaluation leaves for the next one of the same scope.
#[derive(Default)]
pub(crate) struct Evaluation {
    pub(crate) loaded: Arc<Loaded>,
    /// The names that are the same in every iteration; none until a template needs them.
    pub(crate) base: Option<Context>,
}

impl Names {
    pub(crate) fn new(scope: Scope, playbook: &Playbook) -> Self {
        let steps = playbook.steps.iter().map(|step| step.name.as_str());
        let pending = steps.filter(|name| !scope.steps.contains_key(*name));
        Self {
            pending: pending.map(str::to_owned).collect(),
            scope,
            told: None,
            evaluation: Mutex::default(),
            transition: OnceCell::new(),
            shared: None,
        }
    }

    /// The same scope for one command that says more.
    fn extended(shared: Arc<Self>, told: Option<Told>, vars: BTreeMap<String, Payload>) -> Self {
        let mut scope = shared.scope.clone();
        scope.vars.extend(vars);
        let loaded = Arc::clone(&shared.lock().loaded);
        Self {
            scope,
            told,
            pending: shared.pending.clone(),
            evaluation: Mutex::new(Evaluation { loaded, base: None }),
            transition: OnceCell::new(),
            shared: Some(shared),
        }
    }

    pub(crate) fn lock(&self) -> std::sync::MutexGuard<'_, Evaluation> {
        self.evaluation.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The arguments of the transition, in full.
    pub(crate) async fn transition(
        &self,
        readers: &Readers,
    ) -> Result<&Map<String, Value>, PortError> {
        let of = self.shared.as_deref().unwrap_or(self);
        let all = || async {
            let mut args = Map::new();
            for (name, payload) in &of.scope.args {
                args.insert(name.clone(), load(readers, payload).await?);
            }
            Ok(args)
        };
        of.transition.get_or_try_init(all).await
    }

    /// Makes values known to the evaluations that follow.
    pub(crate) async fn supply(
        &self,
        readers: &Readers,
        needed: &[Payload],
    ) -> Result<(), PortError> {
        let mut values = Vec::with_capacity(needed.len());
        for payload in needed {
            values.push((payload, load(readers, payload).await?));
        }
        self.learn(values.iter().map(|(payload, value)| (*payload, value)));
        if let Some(shared) = &self.shared {
            // What belongs to one command would pile up.
            let common = values.iter().filter(|(payload, _)| shared.holds(payload));
            shared.learn(common.map(|(payload, value)| (*payload, value)));
        }
        Ok(())
    }

    fn learn<'a>(&self, values: impl Iterator<Item = (&'a Payload, &'a Value)>) {
        let mut values = values.peekable();
        if values.peek().is_none() {
            return;
        }
        let mut evaluation = self.lock();
        let mut loaded = (*evaluation.loaded).clone();
        for (payload, value) in values {
            loaded.insert(payload, value);
        }
        *evaluation = Evaluation { loaded: Arc::new(loaded), base: None };
    }

    fn holds(&self, payload: &Payload) -> bool {
        let Scope { workload, vars, steps, args } = &self.scope;
        let mut named = vars.values().chain(steps.values()).chain(args.values()).chain(workload);
        named.any(|known| known == payload)
    }
}

/// Scopes by where they are stored; one that travels in its command is not worth keeping.
pub(crate) struct Scopes(Cache<(Payload, StepName), Names>);

impl Scopes {
    pub(crate) fn new() -> Self {
        Self(Cache::new(SCOPES_CACHED))
    }

    /// The names of one command.
    pub(crate) async fn of(
        &self,
        readers: &Readers,
        playbook: &Playbook,
        command: &Command,
        about_call: &AboutCall<'_>,
    ) -> Result<Arc<Names>, PortError> {
        let shared = self.shared(readers, playbook, command).await?;
        let told = Told::of(readers, command, about_call).await?;
        let vars = match &command.vars {
            Some(payload) => decoded(readers, payload, "variables").await?,
            None => BTreeMap::new(),
        };
        if told.is_none() && vars.is_empty() {
            return Ok(shared);
        }
        Ok(Arc::new(Names::extended(shared, told, vars)))
    }

    async fn shared(
        &self,
        readers: &Readers,
        playbook: &Playbook,
        command: &Command,
    ) -> Result<Arc<Names>, PortError> {
        if let Payload::Inline(value) = &command.scope {
            return Ok(Arc::new(Names::new(decode(value.clone())?, playbook)));
        }
        let key = (command.scope.clone(), command.step.clone());
        if let Some(known) = self.0.get(&key) {
            return Ok(known);
        }
        let scope = decode(load(readers, &command.scope).await?)?;
        let names = Arc::new(Names::new(scope, playbook));
        self.0.insert(key, Arc::clone(&names));
        Ok(names)
    }
}

fn decode(value: Value) -> Result<Scope, PortError> {
    if value.is_null() {
        return Ok(Scope::default());
    }
    serde_json::from_value(value).map_err(|error| {
        PortError::caused(PortErrorKind::Corrupt, "the command's scope does not decode", error)
    })
}
