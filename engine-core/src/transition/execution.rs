//! What an execution does with each of its inputs.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value};

use super::exit::Ending;
use super::rules::{Effect, Verdict};
use super::unit::suspend;
use super::view::{Occasion, View};
use super::{Needs, Trouble, Turn, workload};
use crate::event::{
    Answer, Closing, Fact, Failure, IgnoreReason, LoopSignal, Outcome, Signal, Start, Status,
    ToolFailure,
};
use crate::ids::{CommandId, EventId, StepName};
use crate::payload::{LoopSummary, Payload};
use crate::playbook::{OnError, Step};
use crate::state::{Continuation, ExecutionState, State, Unit, Waits};

/// What became of one event of a run.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Flow {
    /// Go on with the run.
    On,
    /// The run waits again, or has ended.
    Over,
}

/// Splits what cannot be decided yet from what the playbook got wrong.
pub(super) fn settle<T>(result: Result<T, Trouble>) -> Result<Result<T, ToolFailure>, Needs> {
    match result {
        Ok(value) => Ok(Ok(value)),
        Err(Trouble::Failed(failure)) => Ok(Err(failure)),
        Err(Trouble::Needs(payloads)) => Err(Needs::from(payloads)),
        Err(Trouble::Path(path)) => Err(Needs::path(path)),
    }
}

impl<'a> Turn<'a> {
    /// The execution's state; only called where one is known to be.
    pub(super) fn execution(&self) -> Option<&ExecutionState> {
        match &self.state {
            Some(State::Execution(state)) => Some(state),
            Some(State::Loop(_)) | None => None,
        }
    }

    pub(super) fn is_running(&self) -> bool {
        self.execution().is_some_and(|state| state.status == Status::Running)
    }

    /// Whether nothing new may begin.
    pub(super) fn is_failing(&self) -> bool {
        self.execution().is_none_or(|state| state.failure.is_some())
    }

    pub(super) fn step_of(&self, name: &StepName) -> Option<&'a Step> {
        self.moment.playbook.step(name)
    }

    /// Begins the execution and enters its first step.
    pub(super) fn start(&mut self, start: &Start) -> Result<(), Needs> {
        let playbook = self.moment.playbook;
        let merged = settle(self.merged_workload(&start.payload))?;
        let (merged, failure) = match merged {
            Ok(merged) => (merged, None),
            Err(failure) => (Map::new(), Some(failure)),
        };
        let workload = self.spill(Payload::Inline(Value::Object(merged)));
        let mut vars = BTreeMap::new();
        if let Some(Value::Object(given)) = start.payload.get("vars") {
            for (name, value) in given {
                vars.insert(name.clone(), self.keep(Payload::Inline(value.clone())));
            }
        }
        let entry = playbook.entry.clone();
        let started = Fact::Started {
            playbook: start.playbook.clone(),
            entry: entry.clone(),
            workload,
            vars,
            parent: start.parent.clone(),
        };
        self.record(started);
        if let Some(error) = failure {
            self.record(Fact::Failed { failure: Failure { error, ..Failure::default() } });
        } else {
            self.set_timer()?;
            let args = workload::flat(&start.payload).into_iter();
            let args = args.map(|(name, value)| (name, Payload::Inline(value))).collect();
            self.enter(&entry, args, None)?;
        }
        self.quiesce()
    }

    /// Folds a worker's answer to a step's command.
    pub(super) fn answered(&mut self, answer: &Answer) -> Result<Option<IgnoreReason>, Needs> {
        if !self.is_running() {
            return Ok(Some(IgnoreReason::Terminal));
        }
        let found = self.execution().and_then(|state| state.run_of_command(&answer.command_id));
        let Some((run, open, current)) = found else {
            return Ok(Some(self.unawaited(&answer.command_id)));
        };
        if current != answer.attempt {
            return Ok(Some(IgnoreReason::StaleAttempt));
        }
        let mut ending = Ending::failed(run, open.step.clone(), answer.attempt);
        ending.unit = open.unit.as_deref().cloned().unwrap_or_default();
        let outcome = answer.outcomes.first().cloned().unwrap_or_else(no_outcome);
        if let Some(outcome) = self.heard_own(&mut ending, outcome)? {
            self.take_outcome(ending, answer, outcome)?;
        }
        self.quiesce()?;
        Ok(None)
    }

    pub(super) fn unawaited(&self, command: &CommandId) -> IgnoreReason {
        let ours = format!("{}:", self.moment.key.execution_id());
        if command.as_str().starts_with(&ours) {
            IgnoreReason::Duplicate
        } else {
            IgnoreReason::Unknown
        }
    }

    pub(super) fn take_outcome(
        &mut self,
        mut ending: Ending,
        answer: &Answer,
        outcome: Outcome,
    ) -> Result<(), Needs> {
        ending.error.clone_from(&outcome.error);
        let result = self.spill(outcome.result);
        self.record(Fact::Answered {
            run: ending.run,
            index: None,
            step: ending.step.clone(),
            site: ending.unit.site,
            command_id: answer.command_id.clone(),
            attempt: answer.attempt,
            worker: answer.worker.clone(),
            outcome: Outcome { result: result.clone(), ..outcome },
        });
        let response = self.named_in_log(&result);
        if self.is_failing() {
            return self.exit(ending, &response);
        }
        self.after_answer(ending, response)
    }

    /// The result that an open run has by now.
    pub(super) fn result_of(&self, run: EventId) -> Payload {
        let open = self.execution().and_then(|state| state.runs.get(&run));
        open.map_or(Payload::Inline(Value::Null), |open| open.result.clone())
    }

    /// Asks the rules of a step about an event of a run or an iteration, and does what they say.
    ///
    /// `then` is where an earlier evaluation waited for a call.
    pub(super) fn consult(
        &mut self,
        ending: &mut Ending,
        name: &'static str,
        response: &Payload,
        then: Option<&Continuation>,
    ) -> Result<Flow, Needs> {
        let Some(step) = self.step_of(&ending.step) else { return Ok(Flow::On) };
        if step.rules.is_empty() && step.retries.is_empty() {
            return Ok(Flow::On);
        }
        let occasion = Occasion {
            name,
            response: response.clone(),
            error: ending.error.clone(),
            attempt: ending.attempt,
        };
        let asked = self.sight(step, ending, Some(occasion)).and_then(|mut view| {
            let verdict = self.ask(step, &mut view, ending, then)?;
            Ok((verdict, view))
        });
        match settle(asked)? {
            Ok((Verdict { matched, mut effects, place }, view)) => {
                ending.unit = view.unit.clone();
                ending.handled |= matched && ending.error.is_some();
                if let Some(place) = place {
                    suspend(ending, &view, name, response, place);
                }
                // One transition per step run: what routed on an earlier event stands (decision D14).
                if ending.index.is_none() && self.has_routed(ending.run) {
                    effects.retain(|effect| !matches!(effect, Effect::Route(..)));
                }
                self.carry_out(ending, effects)
            }
            Err(failure) => {
                self.fail_by_rule(ending, failure)?;
                Ok(Flow::Over)
            }
        }
    }

    /// A rule that cannot be rendered fails its run; in a loop the execution, as no iteration can do better.
    fn fail_by_rule(&mut self, ending: &Ending, error: ToolFailure) -> Result<(), Needs> {
        match ending.index {
            None => self.fail_run(ending, error),
            Some(_) => self.fail_execution(ending, error),
        }
    }

    pub(super) fn set(
        &mut self,
        ending: &Ending,
        values: BTreeMap<String, Payload>,
    ) -> Result<(), Needs> {
        let kept: BTreeMap<String, Payload> =
            values.into_iter().map(|(name, value)| (name, self.keep(value))).collect();
        match ending.index {
            None => self.record(Fact::VariablesSet { step: ending.step.clone(), values: kept }),
            Some(_) => self.set_from_item(kept)?,
        }
        Ok(())
    }

    /// Enters a step from a rule, unless this run has routed on an earlier event (decision D14).
    pub(super) fn route(
        &mut self,
        ending: &Ending,
        to: &StepName,
        mut args: BTreeMap<String, Payload>,
    ) -> Result<(), Needs> {
        if ending.index.is_some() {
            self.signal(Signal::Route { to: to.clone(), args });
            return Ok(());
        }
        // What follows a loop is told its results (`dsl.md` 3.3).
        let known = self.execution().and_then(|state| state.steps.get(&ending.step));
        if let Some(aggregate @ Payload::Loop(_)) = known.and_then(|step| step.result.clone()) {
            args.entry("loop_results".to_owned()).or_insert(aggregate);
        }
        self.record(Fact::Routed { run: ending.run, to: to.clone() });
        self.enter(to, args, Some(ending.run))
    }

    /// The loop tells something.
    pub(super) fn signalled(&mut self, heard: &LoopSignal) -> Result<Option<IgnoreReason>, Needs> {
        if !self.is_running() {
            return Ok(Some(IgnoreReason::Terminal));
        }
        let found = self.execution().and_then(|state| state.run_of_loop(&heard.from));
        let Some((run, open)) = found else { return Ok(Some(IgnoreReason::Duplicate)) };
        let (step, known) = (open.step.clone(), was_heard(&open.waits, heard.number));
        if known {
            return Ok(Some(IgnoreReason::Duplicate));
        }
        let closed = match &heard.signal {
            Signal::Closed(closing) => Some(closing.clone()),
            _ => None,
        };
        self.record(Fact::SignalHeard { run, number: heard.number, closed });
        match &heard.signal {
            Signal::Set { values } => {
                self.record(Fact::VariablesSet { step: step.clone(), values: values.clone() });
            }
            Signal::Route { to, args } if !self.is_failing() => {
                self.enter(to, args.clone(), Some(run))?;
            }
            Signal::Fail { failure } => self.give_up(failure.clone()),
            Signal::Route { .. } | Signal::Closed(_) => {}
        }
        self.close_loop(run, &step, heard)?;
        self.quiesce()?;
        Ok(None)
    }

    /// Ends the run of a loop once its last signal and all before it were heard.
    fn close_loop(
        &mut self,
        run: EventId,
        step: &StepName,
        signal: &LoopSignal,
    ) -> Result<(), Needs> {
        let waits = self.execution().and_then(|state| state.runs.get(&run)).map(|run| &run.waits);
        let Some(Waits::Loop { ahead, closed: Some(closing), .. }) = waits else { return Ok(()) };
        if !ahead.is_empty() || !complete(waits, signal) {
            return Ok(());
        }
        let closing = closing.clone();
        let summary = closing.summary.clone();
        self.record(Fact::LoopDone { run, step: step.clone(), summary: summary.clone() });
        let error = self.loop_error(step, &closing);
        let mut ending = Ending::new(run, step.clone());
        let response = Payload::Loop(summary);
        if !self.is_failing() {
            // Rules on `loop.done` may take care of a loop that failed as a whole.
            ending.error.clone_from(&error);
            if self.consult(&mut ending, "loop.done", &response, None)? == Flow::Over {
                return Ok(());
            }
        }
        ending.error = error;
        let response = self.result_of(run);
        self.exit(ending, &response)
    }

    /// Why a closed loop counts as failed, if it does (decision D26).
    fn loop_error(&self, step: &StepName, closing: &Closing) -> Option<ToolFailure> {
        let LoopSummary { total, failed, .. } = closing.summary;
        let fail_fast = self
            .step_of(step)
            .and_then(|step| step.repeat.as_ref())
            .is_some_and(|repeat| repeat.fail_fast);
        let unhandled = failed.saturating_sub(closing.handled);
        let all = total > 0 && failed == total;
        let lost = unhandled > 0 && (all || fail_fast);
        lost.then(|| ToolFailure {
            kind: "LoopError".to_owned(),
            message: format!(
                "{failed} of {total} iterations failed, {} did not run; first errors: {}",
                closing.skipped,
                closing.errors.join("; ")
            ),
            ..ToolFailure::default()
        })
    }

    /// Whether the failures of a step leave the execution alone.
    pub(super) fn continues(&self, step: &StepName) -> bool {
        self.step_of(step).is_some_and(|step| step.on_error == OnError::Continue)
    }

    /// The steps among some names that have no result yet.
    pub(super) fn pending(
        &self,
        names: &BTreeSet<String>,
        known: &BTreeMap<String, Payload>,
    ) -> Vec<String> {
        let is_step = |name: &&String| self.step_of(&StepName::from(name.as_str())).is_some();
        let names = names.iter().filter(|name| !known.contains_key(*name));
        names.filter(is_step).cloned().collect()
    }

    /// What names mean for a step, here and now.
    pub(super) fn view(
        &self,
        step: &'a Step,
        run: Option<EventId>,
        occasion: Option<Occasion>,
    ) -> View<'a> {
        let (mut vars, mut steps) = (BTreeMap::new(), BTreeMap::new());
        let (mut args, mut workload) = (BTreeMap::new(), Payload::Inline(Value::Null));
        let mut result = None;
        if let Some(state) = self.execution() {
            vars.clone_from(&state.vars);
            workload.clone_from(&state.workload);
            for name in &step.names.engine {
                let found = state.steps.get(&StepName::from(name.as_str()));
                if let Some(result) = found.and_then(|found| found.result.clone()) {
                    steps.insert(name.clone(), result);
                }
            }
            if let Some(open) = run.and_then(|run| state.runs.get(&run)) {
                args.clone_from(&open.args);
                let answered = occasion.as_ref().is_some_and(|event| event.name != "step.enter");
                result = answered.then(|| open.result.clone());
            }
        }
        let pending = self.pending(&step.names.engine, &steps);
        let execution_id = self.moment.key.execution_id();
        let loaded = self.loaded.clone();
        let (names, item) = (&step.names.engine, None);
        View {
            execution_id,
            step: &step.name,
            names,
            workload,
            vars,
            steps,
            pending,
            args,
            item,
            unit: Unit::default(),
            occasion,
            output: None,
            result,
            loaded,
        }
    }
}

fn was_heard(waits: &Waits, number: u64) -> bool {
    matches!(waits, Waits::Loop { heard, ahead, .. } if number <= *heard || ahead.contains(&number))
}

/// Whether all signals up to the last one were heard: the last one is the highest number there is.
fn complete(waits: Option<&Waits>, signal: &LoopSignal) -> bool {
    matches!(waits, Some(Waits::Loop { heard, .. }) if *heard >= signal.number)
}

fn no_outcome() -> Outcome {
    Outcome {
        result: Payload::Inline(Value::Null),
        error: Some(ToolFailure {
            kind: "WorkerError".to_owned(),
            message: "the worker answered without an outcome".to_owned(),
            ..ToolFailure::default()
        }),
        started_ms: 0,
        duration_ms: 0,
        output: String::new(),
    }
}
