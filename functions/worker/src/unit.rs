//! What a command says about the run or the iteration that its call belongs to, as names for templates.

use std::collections::BTreeMap;

use engine_core::command::Command;
use engine_core::event::ToolFailure;
use engine_core::load::{Readers, load};
use engine_core::payload::Payload;
use engine_core::ports::{PortError, PortErrorKind};
use engine_core::state::Unit;
use engine_core::template::Context;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

/// A decoded unit with the names that follow from it.
#[derive(Default)]
pub(crate) struct Told {
    /// Variables of the unit alone: also `iter.NAME`.
    pub(crate) vars: BTreeMap<String, Payload>,
    /// Results of its tasks, by label.
    pub(crate) results: BTreeMap<String, Payload>,
    /// Names of the event at hand and of the call, nearest of all.
    names: Vec<(&'static str, Name)>,
    /// Names that need the response itself: `data`, its body, and `page`; inputs win over them.
    inside: Vec<(&'static str, Value)>,
    /// What the call is about: what a sink saves.
    pub(crate) response: Option<Payload>,
}

/// What the call itself says.
#[derive(Clone, Copy, Default)]
pub(crate) struct AboutCall<'a> {
    /// Of its task.
    pub(crate) label: Option<&'a str>,
    /// Whether its texts use `data` or `page`, for which the response is loaded at once.
    pub(crate) looks_inside: bool,
}

/// What one name means.
enum Name {
    Value(Value),
    /// A result; other keys are looked for in its body.
    Response(Payload),
}

impl Told {
    /// Decodes the unit of a command; none for a step of one call.
    ///
    /// # Errors
    /// Those of the ports; `Corrupt` if it does not decode.
    pub(crate) async fn of(
        readers: &Readers,
        command: &Command,
        about_call: &AboutCall<'_>,
    ) -> Result<Option<Self>, PortError> {
        let Some(payload) = &command.unit else { return Ok(None) };
        let unit: Unit = decoded(readers, payload, "unit").await?;
        let prev = unit.prev.clone().unwrap_or(Payload::Inline(Value::Null));
        let mut names = vec![
            ("_prev", Name::Response(prev)),
            ("_attempt", Name::Value(json!(command.attempt))),
            ("_page", Name::Value(json!(unit.page))),
            ("_retry", Name::Value(json!({"index": unit.page, "count": unit.page}))),
        ];
        if let Some(label) = about_call.label {
            names.push(("_task", Name::Value(json!(label))));
        }
        let response = match &unit.then {
            Some(then) => {
                let event = json!({"name": then.event, "step": command.step});
                names.push(("event", Name::Value(event)));
                names.push(("attempt", Name::Value(json!(then.attempt.max(1)))));
                about(&then.response, then.error.as_ref(), &mut names)
            }
            None if command.site.is_save() => {
                unit.prev.as_ref().and_then(|prev| about(prev, None, &mut names))
            }
            None => None,
        };
        let mut told =
            Self { vars: unit.vars, results: unit.results, names, inside: Vec::new(), response };
        if about_call.looks_inside {
            told.look_inside(readers, unit.page).await?;
        }
        Ok(Some(told))
    }

    async fn look_inside(&mut self, readers: &Readers, number: u32) -> Result<(), PortError> {
        let Some(response) = &self.response else { return Ok(()) };
        let response = load(readers, response).await?;
        let body = response.get("data").unwrap_or(&response).clone();
        self.inside.push(("page", json!({"data": items(&body), "number": number})));
        self.inside.push(("data", body));
        Ok(())
    }

    /// Names everything but the variables, which give way to `inputs` as results do.
    pub(crate) fn bind(&self, context: &mut Context, inputs: &BTreeMap<String, Payload>) {
        context.set_results("results", &self.results);
        for (name, result) in self.results.iter().filter(|(name, _)| !inputs.contains_key(*name)) {
            context.set_result(name, result);
        }
        for (name, value) in self.inside.iter().filter(|(name, _)| !inputs.contains_key(*name)) {
            context.set_value(name, value);
        }
        for (name, value) in &self.names {
            match value {
                Name::Value(value) => context.set_value(name, value),
                Name::Response(payload) => context.set_response(name, payload),
            }
        }
    }

    /// Whether no input may take a name.
    pub(crate) fn reserves(&self, name: &str) -> bool {
        self.names.iter().any(|(reserved, _)| *reserved == name)
    }

    /// `iter`: of the iteration, if there is one, and the variables of the unit.
    pub(crate) fn iteration(&self, iteration: &[(String, Value)]) -> BTreeMap<String, Payload> {
        let own = iteration.iter().find(|(name, _)| name == "iter");
        let own = own.and_then(|(_, iter)| iter.as_object()).into_iter().flatten();
        let own = own.map(|(name, value)| (name.clone(), Payload::Inline(value.clone())));
        own.chain(self.vars.clone()).collect()
    }

    /// Every name with its payload.
    pub(crate) fn all(&self) -> impl Iterator<Item = (&str, Payload)> {
        let stored = self.vars.iter().chain(&self.results);
        let stored = stored.map(|(name, payload)| (name.as_str(), payload.clone()));
        let inside = self.inside.iter();
        let inside = inside.map(|(name, value)| (*name, Payload::Inline(value.clone())));
        stored.chain(inside).chain(self.names.iter().map(|(name, value)| match value {
            Name::Value(value) => (*name, Payload::Inline(value.clone())),
            Name::Response(payload) => (*name, payload.clone()),
        }))
    }
}

/// Names what an event is about; returns it if there is anything.
fn about(
    response: &Payload,
    error: Option<&ToolFailure>,
    names: &mut Vec<(&'static str, Name)>,
) -> Option<Payload> {
    if let Some(error) = error {
        names.push(("error", Name::Value(error.value())));
        if let Some(status) = error.status {
            names.push(("status_code", Name::Value(json!(status))));
        }
        if *response == Payload::Inline(Value::Null) {
            return None;
        }
    } else if let Some(status) = response.inline().and_then(|value| value.get("status_code")) {
        names.push(("status_code", Name::Value(status.clone())));
    }
    for name in ["response", "this", "result", "output"] {
        names.push((name, Name::Response(response.clone())));
    }
    Some(response.clone())
}

/// The items of a page's body, where they have one of the usual names.
fn items(body: &Value) -> &Value {
    let named = ["data", "items", "results"].iter().filter_map(|key| body.get(key));
    named.into_iter().find(|value| value.is_array()).unwrap_or(body)
}

/// A part of a command that travels with it or is stored.
///
/// # Errors
/// Those of the ports; `Corrupt` if it does not decode.
pub(crate) async fn decoded<T: DeserializeOwned>(
    readers: &Readers,
    payload: &Payload,
    what: &str,
) -> Result<T, PortError> {
    let value = load(readers, payload).await?;
    serde_json::from_value(value).map_err(|error| {
        let message = format!("the {what} of the command cannot be decoded");
        PortError::caused(PortErrorKind::Corrupt, message, error)
    })
}
