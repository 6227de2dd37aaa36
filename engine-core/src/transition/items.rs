//! Iterations that make several calls, or whose calls rules watch: each is a unit of its loop.

use serde::Deserialize;
use serde_json::{Map, Value};

use super::enter::first_site;
use super::execution::settle;
use super::exit::Ending;
use super::frames::Issued;
use super::own::{Arranged, is_own, launched};
use super::view::{Item, Occasion, View};
use super::{Needs, Trouble, Turn};
use crate::command::{CallSite, Scope};
use crate::event::{Answer, Fact, Failure, Outcome, Signal, ToolFailure};
use crate::ids::{AggregateKey, EventId, StepName};
use crate::payload::{Payload, PayloadRef};
use crate::playbook::Step;
use crate::state::{LoopState, PendingFrame, Unit};

impl<'a> Turn<'a> {
    /// Folds the answer to a call of one iteration.
    pub(super) fn item_answered(
        &mut self,
        frame: &PendingFrame,
        answer: &Answer,
        outcome: Outcome,
    ) -> Result<(), Needs> {
        let mut ending = match settle(self.ending_of(frame))? {
            Ok(ending) => ending,
            Err(error) => {
                let mut lost = Ending::failed(self.loop_run(), frame_step(self), frame.attempt);
                lost.index = Some(frame.first);
                return self.fail(lost, error);
            }
        };
        let Some(outcome) = self.heard_own(&mut ending, outcome)? else { return Ok(()) };
        if ending.unit.began_ms == 0 {
            ending.unit.began_ms = outcome.started_ms;
        }
        ending.error.clone_from(&outcome.error);
        let result = self.spill(outcome.result);
        self.record(Fact::Answered {
            run: ending.run,
            index: ending.index,
            step: ending.step.clone(),
            site: ending.unit.site,
            command_id: answer.command_id.clone(),
            attempt: answer.attempt,
            worker: answer.worker.clone(),
            outcome: Outcome { result: result.clone(), ..outcome },
        });
        let response = self.named_in_log(&result);
        self.after_answer(ending, response)
    }

    /// The run that the loop belongs to.
    fn loop_run(&self) -> EventId {
        match self.moment.key {
            AggregateKey::Loop { event_id, .. } => *event_id,
            AggregateKey::Execution(id) => EventId(id.0),
        }
    }

    /// What a pending iteration has done so far.
    pub(super) fn unit_of(&self, frame: &PendingFrame) -> Result<Unit, Trouble> {
        let Some(place) = self.unit_place(frame) else { return Ok(Unit::default()) };
        let unit = self.known(&place)?;
        Unit::deserialize(&*unit).map_err(|error| {
            Trouble::failed("StateError", format!("what iteration {} did: {error}", frame.first))
        })
    }

    /// Where the log holds the unit of a pending iteration.
    pub(super) fn unit_place(&self, frame: &PendingFrame) -> Option<Payload> {
        let key = self.moment.key.clone();
        frame.unit.map(|(seq, fact)| Payload::Log { key, seq, fact, item: 0 })
    }

    /// Records the outcome of an iteration, all calls together.
    pub(super) fn settle_item(&mut self, ending: &Ending) {
        let Some(index) = ending.index else { return };
        let failed = ending.error.is_some();
        let began_ms = ending.unit.began_ms;
        let result = self.spill(self.result_now(ending));
        let outcome = Outcome {
            result,
            error: ending.error.clone(),
            started_ms: began_ms,
            duration_ms: u64::try_from(self.moment.at_ms - began_ms).unwrap_or(0),
            output: String::new(),
        };
        let handled = failed && ending.handled;
        let step = ending.step.clone();
        self.record(Fact::IterationSettled { index, step, outcome, handled });
        let gives_up = self.looping().is_some_and(|state| state.fail_fast && !state.stopped);
        if gives_up && failed && !handled {
            self.record(Fact::LoopStopped { reason: "an iteration failed".to_owned() });
        }
    }

    /// Tells the execution that it has failed, and begins nothing new.
    pub(super) fn fail_from_item(&mut self, failure: Failure) {
        self.signal(Signal::Fail { failure });
        if self.looping().is_some_and(|state| !state.stopped) {
            self.record(Fact::LoopStopped { reason: "an iteration failed".to_owned() });
        }
    }

    /// The error of an iteration that would go on in a loop that was stopped.
    pub(super) fn is_cut_short(&self, ending: &Ending) -> Option<ToolFailure> {
        let stopped = self.looping().is_some_and(|state| state.stopped);
        (stopped && ending.index.is_some()).then(|| {
            ending.error.clone().unwrap_or_else(|| ToolFailure {
                kind: "Cancelled".to_owned(),
                message: "the loop was stopped before the iteration was through".to_owned(),
                ..ToolFailure::default()
            })
        })
    }

    /// Sets variables of the execution, for the later iterations too.
    pub(super) fn set_from_item(
        &mut self,
        values: std::collections::BTreeMap<String, Payload>,
    ) -> Result<(), Needs> {
        let mut all = match settle(self.loop_variables())? {
            Ok(all) => all,
            Err(_unreadable) => Map::new(),
        };
        for (name, value) in &values {
            // A payload always has a JSON form.
            all.insert(name.clone(), serde_json::to_value(value).unwrap_or_default());
        }
        let all = self.spill(Payload::Inline(Value::Object(all)));
        self.record(Fact::LoopVariables { values: all });
        self.signal(Signal::Set { values });
        Ok(())
    }

    /// The variables that iterations have set so far: payloads by name, as JSON.
    fn loop_variables(&self) -> Result<Map<String, Value>, Trouble> {
        let Some(place) = self.looping().and_then(|state| variables_place(self.moment.key, state))
        else {
            return Ok(Map::new());
        };
        Ok(self.known(&place)?.as_object().cloned().unwrap_or_default())
    }

    /// Sends out a call of one iteration; one of the engine's own kinds is arranged.
    pub(super) fn issue_item(&mut self, ending: &Ending, attempt: u32) -> Result<(), Needs> {
        let Some(step) = self.step_of(&ending.step) else { return Ok(()) };
        if !is_own(&self.kind_at(step, ending.unit.site)) {
            self.issue_item_at(ending, attempt, 0);
            return Ok(());
        }
        let arranged = match settle(self.arrange_call(step, ending, attempt))? {
            Ok(arranged) => arranged,
            Err(error) => {
                let failed = Ending { attempt, ..ending.clone() };
                return self.fail(failed, error);
            }
        };
        let mut next = ending.clone();
        arranged.note(&mut next.unit, self.moment.at_ms);
        self.issue_item_at(&next, attempt, arranged.not_before_ms(self.moment.at_ms));
        if let Arranged::Child { child, start, waits, .. } = arranged {
            let outcome = (!waits).then(|| launched(child, &start, self.moment.at_ms));
            self.record(Fact::ChildRequested { child, start });
            let pending = self.looping().and_then(|state| {
                state.pending.iter().find(|frame| Some(frame.first) == ending.index).cloned()
            });
            if let (Some(outcome), Some(frame)) = (outcome, pending) {
                return self.item_answered(&frame, &self.own_answer(&next, attempt), outcome);
            }
        }
        Ok(())
    }

    /// Sends out a call of one iteration as its unit says, not before a time.
    pub(super) fn issue_item_at(&mut self, ending: &Ending, attempt: u32, not_before_ms: i64) {
        let Some(first) = ending.index else { return };
        let kind = self.step_of(&ending.step).map(|step| self.kind_at(step, ending.unit.site));
        let (call, site) = (ending.unit.calls, ending.unit.site);
        let plain = ending.unit == Unit::default();
        // A unit is plain data: it always has a JSON form.
        let unit = Payload::Inline(serde_json::to_value(&ending.unit).unwrap_or_default());
        let unit = (!plain).then(|| self.spill(unit));
        let tool_kind = kind.unwrap_or_default();
        let len = 1;
        self.issue_frame(Issued {
            first,
            len,
            attempt,
            not_before_ms,
            call,
            site,
            tool_kind,
            unit,
            resumed: false,
        });
    }

    /// An iteration that nothing has happened to yet.
    pub(super) fn first_of_item(&self, step: &Step, index: u64) -> Ending {
        let mut ending = Ending::new(self.loop_run(), step.name.clone());
        ending.index = Some(index);
        ending.unit.site = first_site(step);
        ending
    }

    /// A pending iteration, as its next call goes on from it.
    pub(super) fn ending_of(&self, frame: &PendingFrame) -> Result<Ending, Trouble> {
        let mut ending = Ending::failed(self.loop_run(), frame_step(self), frame.attempt);
        ending.index = Some(frame.first);
        ending.unit = self.unit_of(frame)?;
        Ok(ending)
    }

    /// What names mean for one iteration: the scope of the opening, what iterations have set, the item.
    pub(super) fn item_view(
        &self,
        index: u64,
        step: &'a Step,
        occasion: Option<Occasion>,
    ) -> Result<View<'a>, Trouble> {
        let Some(state) = self.looping() else {
            return Err(Trouble::failed("StateError", "an iteration outside of a loop"));
        };
        let scope = Payload::Log { key: self.moment.key.clone(), seq: 1, fact: 0, item: 0 };
        let scope = self.known(&scope)?;
        let mut scope = Scope::deserialize(&*scope)
            .map_err(|error| Trouble::failed("StateError", format!("the loop's scope: {error}")))?;
        for (name, value) in self.loop_variables()? {
            if let Ok(value) = Payload::deserialize(value) {
                scope.vars.insert(name, value);
            }
        }
        let value = self.item(state, index)?;
        let (iterator, total) = (state.iterator.clone(), state.collection_size);
        let repeat = step.repeat.as_ref();
        let chunked = repeat.is_some_and(|repeat| repeat.chunk.is_some());
        let numbered = repeat.is_some_and(|repeat| repeat.enumerate);
        let answered = occasion.as_ref().filter(|occasion| occasion.name != "step.enter");
        Ok(View {
            execution_id: self.moment.key.execution_id(),
            step: &step.name,
            names: &step.names.engine,
            workload: scope.workload.unwrap_or(Payload::Inline(Value::Null)),
            vars: scope.vars,
            pending: self.pending(&step.names.engine, &scope.steps),
            steps: scope.steps,
            args: scope.args,
            item: Some(Item { iterator, value, index, total, chunked, numbered }),
            unit: Unit::default(),
            result: answered.map(|occasion| occasion.response.clone()),
            occasion,
            output: None,
            loaded: self.loaded.clone(),
        })
    }

    fn item(&self, state: &LoopState, index: u64) -> Result<Value, Trouble> {
        let chunks = self.known(&Payload::Ref(state.collection.clone()))?;
        let (chunk, offset) = (index / state.chunk_items, index % state.chunk_items);
        let at = |number: u64| usize::try_from(number).unwrap_or(usize::MAX);
        let reference: Option<PayloadRef> =
            chunks.get(at(chunk)).cloned().and_then(|chunk| serde_json::from_value(chunk).ok());
        let items = match reference {
            Some(reference) => self.known(&Payload::Ref(reference))?,
            None => std::sync::Arc::default(),
        };
        Ok(items.get(at(offset)).cloned().unwrap_or(Value::Null))
    }
}

fn frame_step(turn: &Turn<'_>) -> StepName {
    turn.looping().map_or_else(|| StepName(String::new()), |state| state.step.clone())
}

/// Where the log holds the variables that iterations have set.
pub(super) fn variables_place(key: &AggregateKey, state: &LoopState) -> Option<Payload> {
    state.vars.map(|(seq, fact)| Payload::Log { key: key.clone(), seq, fact, item: 0 })
}

/// The configuration that a unit's pages changed, for the step's own tool.
pub(super) fn overrides(site: CallSite, unit: Option<&Payload>) -> Option<Value> {
    let unit = unit.filter(|_| site == CallSite::Tool)?.inline()?;
    unit.get("overrides").filter(|value| !value.is_null()).cloned()
}
