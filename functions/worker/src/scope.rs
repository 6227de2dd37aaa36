//! The variables that came with a command, decoded once for all iterations of a loop.

use std::sync::{Arc, Mutex, PoisonError};

use engine_core::command::{Command, Scope};
use engine_core::ids::StepName;
use engine_core::limits::SCOPES_CACHED;
use engine_core::load::{Readers, load};
use engine_core::payload::Payload;
use engine_core::ports::{PortError, PortErrorKind};
use engine_core::template::{Context, Loaded};
use serde_json::{Map, Value};
use tokio::sync::OnceCell;

use crate::cache::Cache;

/// A decoded scope, with what its templates have asked for so far.
pub(crate) struct Names {
    pub(crate) scope: Scope,
    pub(crate) evaluation: Mutex<Evaluation>,
    transition: OnceCell<Map<String, Value>>,
}

/// What one evaluation leaves for the next one of the same scope.
#[derive(Default)]
pub(crate) struct Evaluation {
    pub(crate) loaded: Arc<Loaded>,
    /// The names that are the same in every iteration; none until a template needs them.
    pub(crate) base: Option<Context>,
}

impl Names {
    pub(crate) fn new(scope: Scope) -> Self {
        Self { scope, evaluation: Mutex::default(), transition: OnceCell::new() }
    }

    /// The arguments of the transition, in full.
    pub(crate) async fn transition(
        &self,
        readers: &Readers,
    ) -> Result<&Map<String, Value>, PortError> {
        let all = || async {
            let mut args = Map::new();
            for (name, payload) in &self.scope.args {
                args.insert(name.clone(), load(readers, payload).await?);
            }
            Ok(args)
        };
        self.transition.get_or_try_init(all).await
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
        let mut evaluation = self.evaluation.lock().unwrap_or_else(PoisonError::into_inner);
        let mut loaded = (*evaluation.loaded).clone();
        for (payload, value) in &values {
            loaded.insert(payload, value);
        }
        *evaluation = Evaluation { loaded: Arc::new(loaded), base: None };
        Ok(())
    }
}

/// Scopes by where they are stored; one that travels in its command is not worth keeping.
pub(crate) struct Scopes(Cache<(Payload, StepName), Names>);

impl Scopes {
    pub(crate) fn new() -> Self {
        Self(Cache::new(SCOPES_CACHED))
    }

    pub(crate) async fn of(
        &self,
        readers: &Readers,
        command: &Command,
    ) -> Result<Arc<Names>, PortError> {
        if let Payload::Inline(value) = &command.scope {
            return Ok(Arc::new(Names::new(decode(value.clone())?)));
        }
        let key = (command.scope.clone(), command.step.clone());
        if let Some(known) = self.0.get(&key) {
            return Ok(known);
        }
        let names = Arc::new(Names::new(decode(load(readers, &command.scope).await?)?));
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
