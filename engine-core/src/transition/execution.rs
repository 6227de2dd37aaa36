//! What an execution does with each of its inputs.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::exit::Ending;
use super::rules::{self, Effect, Fired, Verdict};
use super::view::{Occasion, View};
use super::{Needs, Trouble, Turn, workload};
use crate::command::CallSite;
use crate::event::{
    Answer, Closing, Fact, Failure, IgnoreReason, LoopSignal, Outcome, Signal, Start, Status,
    ToolFailure,
};
use crate::ids::{CommandId, EventId, StepName};
use crate::payload::{LoopSummary, Payload};
use crate::playbook::{OnError, Step};
use crate::state::{ExecutionState, State, Waits};

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
        let step = open.step.clone();
        if current != answer.attempt {
            return Ok(Some(IgnoreReason::StaleAttempt));
        }
        let outcome = answer.outcomes.first().cloned().unwrap_or_else(no_outcome);
        self.take_outcome(run, &step, answer, outcome)?;
        self.quiesce()?;
        Ok(None)
    }

    fn unawaited(&self, command: &CommandId) -> IgnoreReason {
        let ours = format!("{}:", self.moment.key.execution_id());
        if command.as_str().starts_with(&ours) {
            IgnoreReason::Duplicate
        } else {
            IgnoreReason::Unknown
        }
    }

    fn take_outcome(
        &mut self,
        run: EventId,
        step: &StepName,
        answer: &Answer,
        outcome: Outcome,
    ) -> Result<(), Needs> {
        let error = outcome.error.clone();
        let result = self.spill(outcome.result);
        self.record(Fact::Answered {
            run,
            index: None,
            site: CallSite::Tool,
            step: step.clone(),
            command_id: answer.command_id.clone(),
            attempt: answer.attempt,
            worker: answer.worker.clone(),
            outcome: Outcome { result, ..outcome },
        });
        let response = self.result_of(run);
        let mut ending = Ending {
            run,
            step: step.clone(),
            attempt: answer.attempt,
            error,
            handled: false,
            fired: Fired::default(),
        };
        if self.is_failing() {
            return self.exit(ending, &response);
        }
        let name = if ending.error.is_some() { "call.error" } else { "call.done" };
        if self.consult(&mut ending, name, &response)? == Flow::Over {
            return Ok(());
        }
        let response = self.result_of(run);
        self.exit(ending, &response)
    }

    /// The result that an open run has by now.
    pub(super) fn result_of(&self, run: EventId) -> Payload {
        let open = self.execution().and_then(|state| state.runs.get(&run));
        open.map_or(Payload::Inline(Value::Null), |open| open.result.clone())
    }

    /// Asks the rules of a run's step about an event, and does what they say.
    pub(super) fn consult(
        &mut self,
        ending: &mut Ending,
        name: &'static str,
        response: &Payload,
    ) -> Result<Flow, Needs> {
        let Some(step) = self.step_of(&ending.step) else { return Ok(Flow::On) };
        if step.rules.is_empty() {
            return Ok(Flow::On);
        }
        let occasion = Occasion {
            name,
            response: response.clone(),
            error: ending.error.clone(),
            attempt: ending.attempt,
        };
        let mut view = self.view(step, Some(ending.run), Some(occasion));
        let command = self.command_id(&ending.step, ending.run);
        match settle(rules::evaluate(step, &mut view, &command, &mut ending.fired))? {
            Ok(Verdict { matched, mut effects }) => {
                ending.handled |= matched && ending.error.is_some();
                // One transition per step run: what routed on an earlier event stands (decision D14).
                if self.has_routed(ending.run) {
                    effects.retain(|effect| !matches!(effect, Effect::Route(..)));
                }
                self.carry_out(ending, effects)
            }
            Err(failure) => {
                self.fail_run(ending, failure)?;
                Ok(Flow::Over)
            }
        }
    }

    /// Does what rules ask for.
    pub(super) fn carry_out(
        &mut self,
        ending: &Ending,
        effects: Vec<Effect>,
    ) -> Result<Flow, Needs> {
        let mut flow = Flow::On;
        for effect in effects {
            match effect {
                Effect::Set(values) => self.set(&ending.step, values),
                Effect::Result(result) => {
                    let result = self.spill(result);
                    self.record(Fact::ResultSet { run: ending.run, result });
                }
                Effect::Save(data) => {
                    let (run, step) = (ending.run, ending.step.clone());
                    let data = self.spill(data);
                    self.record(Fact::Saved { run, step, data });
                }
                Effect::Retry(delay_ms) => {
                    self.retry(ending, delay_ms)?;
                    flow = Flow::Over;
                }
                Effect::Route(to, args) => self.route(ending.run, &to, args)?,
                Effect::Fail(failure) => {
                    self.fail_run(ending, failure)?;
                    return Ok(Flow::Over);
                }
                Effect::Skip => {}
            }
        }
        Ok(flow)
    }

    pub(super) fn set(&mut self, step: &StepName, values: BTreeMap<String, Payload>) {
        let kept = values.into_iter().map(|(name, value)| (name, self.keep(value))).collect();
        self.record(Fact::VariablesSet { step: step.clone(), values: kept });
    }

    /// Enters a step from a rule, unless this run has routed on an earlier event (decision D14).
    fn route(
        &mut self,
        run: EventId,
        to: &StepName,
        args: BTreeMap<String, Payload>,
    ) -> Result<(), Needs> {
        self.record(Fact::Routed { run, to: to.clone() });
        self.enter(to, args, Some(run))
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
            Signal::Set { values } => self.set(&step, values.clone()),
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
        let mut ending = Ending {
            run,
            step: step.clone(),
            attempt: 0,
            error: None,
            handled: false,
            fired: Fired::default(),
        };
        let response = Payload::Loop(summary);
        if !self.is_failing() {
            // Rules on `loop.done` may take care of a loop that failed as a whole.
            ending.error.clone_from(&error);
            if self.consult(&mut ending, "loop.done", &response)? == Flow::Over {
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
            args,
            item,
            occasion,
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
