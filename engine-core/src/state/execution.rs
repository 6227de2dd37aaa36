//! The state of an execution: steps, open runs, variables; results by reference.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::{At, Unit};
use crate::command::{CallSite, Command};
use crate::event::{Closing, Fact, Failure, Outcome, Parent, Status};
use crate::ids::{AggregateKey, CommandId, EventId, StepName};
use crate::limits::{QUEUE_ALLOWANCE_MS, STATE_VALUE_BYTES_MAX};
use crate::payload::Payload;
use crate::playbook::PlaybookRef;

/// Where an execution stands.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct ExecutionState {
    /// `Running` until the one terminal fact.
    pub status: Status,
    /// The pinned playbook version.
    pub playbook: PlaybookRef,
    /// The call that started it, for a sub-playbook.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub parent: Option<Parent>,
    /// Unix milliseconds by which it must end, and the number of the timer that is out.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub timer: Option<(i64, u32)>,
    /// Branches that wait for others, by the step that they reached.
    #[serde(skip_serializing_if = "BTreeMap::is_empty", default)]
    pub arrived: BTreeMap<StepName, Arrival>,
    /// The merged workload.
    pub workload: Payload,
    /// Execution variables; each small, or a reference.
    pub vars: BTreeMap<String, Payload>,
    /// What is known of each step that was entered.
    pub steps: BTreeMap<StepName, StepState>,
    /// Step runs that have not exited. The execution ends when there is none.
    pub runs: BTreeMap<EventId, StepRun>,
    /// The first unhandled failure.
    pub failure: Option<Failure>,
    /// The step that exited last.
    pub last: Option<StepName>,
    /// Entries into steps so far.
    pub entered: u64,
    /// Steps that finished for the first time so far; numbers [`StepState::order`].
    pub finished: u64,
    /// Inputs folded so far.
    pub folded: u64,
}

/// What is known of one step, over all its runs.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct StepState {
    /// Of its newest run.
    pub status: Status,
    /// Finished tool executions: each iteration once, failed attempts that were retried not.
    pub runs: u64,
    /// Entries into the step.
    pub visits: u64,
    /// Rank by first finish, from 1; 0 before.
    pub order: u64,
    /// The newest result: known from the answer on, so that rules and successors can name the step.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub result: Option<Payload>,
}

/// Branches that reached a step which waits for all of them.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
pub struct Arrival {
    /// The run that arrived last.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub cause: Option<EventId>,
    /// Arguments of all transitions; a later one wins.
    #[serde(skip_serializing_if = "BTreeMap::is_empty", default)]
    pub args: BTreeMap<String, Payload>,
}

/// One entry into a step that has not exited yet.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct StepRun {
    /// The step.
    pub step: StepName,
    /// Arguments of the transition.
    #[serde(skip_serializing_if = "BTreeMap::is_empty", default)]
    pub args: BTreeMap<String, Payload>,
    /// What it waits for.
    pub waits: Waits,
    /// Whether a rule has routed: later `next` of this run are void.
    #[serde(skip_serializing_if = "std::ops::Not::not", default)]
    pub routed: bool,
    /// What the tool returned, or what a rule put in its place.
    pub result: Payload,
    /// What it has done so far, where one call is not all.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub unit: Option<Box<Unit>>,
}

/// What an open run waits for.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Waits {
    /// Nothing yet: between its entry and its command, inside one decision.
    Nothing,
    /// An answer.
    Command {
        /// To this command.
        id: CommandId,
        /// Of this attempt.
        attempt: u32,
        /// The entry that holds the command.
        issued_seq: u64,
        /// Unix milliseconds after which it counts as lost.
        deadline_ms: i64,
    },
    /// Its loop.
    Loop {
        /// The loop's key.
        key: AggregateKey,
        /// The entry that asked for it.
        issued_seq: u64,
        /// Signals heard without a gap.
        heard: u64,
        /// Signals heard beyond a gap.
        #[serde(skip_serializing_if = "BTreeSet::is_empty", default)]
        ahead: BTreeSet<u64>,
        /// What its last signal said, once that was heard.
        #[serde(skip_serializing_if = "Option::is_none", default)]
        closed: Option<Closing>,
    },
}

impl ExecutionState {
    /// The state right after the start.
    #[must_use]
    pub fn begin(
        playbook: &PlaybookRef,
        workload: Payload,
        vars: BTreeMap<String, Payload>,
    ) -> Self {
        Self {
            status: Status::Running,
            playbook: playbook.clone(),
            parent: None,
            timer: None,
            arrived: BTreeMap::new(),
            workload,
            vars,
            steps: BTreeMap::new(),
            runs: BTreeMap::new(),
            failure: None,
            last: None,
            entered: 0,
            finished: 0,
            folded: 0,
        }
    }

    /// The open run that waits for that loop.
    #[must_use]
    pub fn run_of_loop(&self, loop_key: &AggregateKey) -> Option<(EventId, &StepRun)> {
        self.runs
            .iter()
            .map(|(id, run)| (*id, run))
            .find(|(_, run)| matches!(&run.waits, Waits::Loop { key, .. } if key == loop_key))
    }

    /// The open run that waits for that command.
    #[must_use]
    pub fn run_of_command(&self, command: &CommandId) -> Option<(EventId, &StepRun, u32)> {
        self.runs.iter().find_map(|(run_id, run)| match &run.waits {
            Waits::Command { id, attempt, .. } if id == command => Some((*run_id, run, *attempt)),
            _ => None,
        })
    }

    /// Folds one fact. Total: what was recorded happened.
    pub fn apply(&mut self, fact: &Fact, at: &At<'_>) {
        match fact {
            Fact::StepEntered { step, run, args, .. } => self.enter(step, *run, args),
            Fact::CommandIssued { run, command, unit } => {
                self.wait(*run, command, at);
                if let Some(open) = self.runs.get_mut(run) {
                    open.unit.clone_from(unit);
                }
            }
            Fact::TimerSet { until_ms, number, .. } => self.timer = Some((*until_ms, *number)),
            Fact::Arrived { step, cause, args } => {
                let arrival = self.arrived.entry(step.clone()).or_default();
                arrival.cause = *cause;
                arrival.args.extend(args.clone());
            }
            Fact::Answered { run, step, site, outcome, .. } => {
                self.answer(*run, step, *site, at.remember(&outcome.result, 0), outcome);
            }
            // An attempt that is tried again, and a call that others follow, was no finished execution.
            Fact::Retried { step, .. } | Fact::Continued { step, .. } => {
                let state = self.step(step);
                state.runs = state.runs.saturating_sub(1);
            }
            Fact::ResultSet { run, result } => {
                let result = at.remember(result, 0);
                if let Some(open) = self.runs.get_mut(run) {
                    open.result = result.clone();
                    let step = open.step.clone();
                    self.step(&step).result = Some(result);
                }
            }
            Fact::VariablesSet { values, .. } => {
                self.vars.extend(values.iter().map(|(name, value)| (name.clone(), value.clone())));
            }
            Fact::Routed { run, .. } => {
                if let Some(open) = self.runs.get_mut(run) {
                    open.routed = true;
                }
            }
            Fact::LoopRequested { run, key, .. } => {
                let waits = Waits::Loop {
                    key: key.clone(),
                    issued_seq: at.seq,
                    heard: 0,
                    ahead: BTreeSet::new(),
                    closed: None,
                };
                self.hold(*run, Payload::Inline(serde_json::Value::Null), waits);
            }
            Fact::SignalHeard { run, number, closed } => self.hear(*run, *number, closed.as_ref()),
            Fact::LoopDone { run, step, summary } => {
                let result = Payload::Loop(summary.clone());
                self.hold(*run, result.clone(), Waits::Nothing);
                let state = self.step(step);
                state.runs += summary.total;
                state.result = Some(result);
            }
            Fact::StepExited { run, step, status, result, .. } => {
                self.exit(*run, step, *status, at.remember(result, 0));
            }
            Fact::Failed { failure } => {
                self.failure.get_or_insert_with(|| failure.clone());
            }
            Fact::Finished { status, .. } => {
                self.status = *status;
                self.runs.clear();
            }
            _ => {}
        }
    }

    fn step(&mut self, name: &StepName) -> &mut StepState {
        self.steps.entry(name.clone()).or_insert_with(|| StepState {
            status: Status::Running,
            runs: 0,
            visits: 0,
            order: 0,
            result: None,
        })
    }

    fn enter(&mut self, step: &StepName, run: EventId, args: &BTreeMap<String, Payload>) {
        self.entered += 1;
        let state = self.step(step);
        state.visits += 1;
        state.status = Status::Running;
        let open = StepRun {
            step: step.clone(),
            args: args.clone(),
            waits: Waits::Nothing,
            routed: false,
            result: Payload::Inline(serde_json::Value::Null),
            unit: None,
        };
        self.arrived.remove(step);
        self.runs.insert(run, open);
    }

    fn wait(&mut self, run: EventId, command: &Command, at: &At<'_>) {
        let wait_ms = command.timeout_ms.saturating_add(QUEUE_ALLOWANCE_MS);
        let from_ms = at.at_ms.max(command.not_before_ms);
        if let Some(open) = self.runs.get_mut(&run) {
            open.waits = Waits::Command {
                id: command.id.clone(),
                attempt: command.attempt,
                issued_seq: at.seq,
                deadline_ms: from_ms.saturating_add_unsigned(wait_ms),
            };
        }
    }

    /// A sink leaves the result of its run alone.
    fn answer(
        &mut self,
        run: EventId,
        step: &StepName,
        site: CallSite,
        result: Payload,
        outcome: &Outcome,
    ) {
        self.step(step).runs += 1;
        if !matches!(site, CallSite::Tool | CallSite::Task(_)) {
            if let Some(open) = self.runs.get_mut(&run) {
                open.waits = Waits::Nothing;
            }
            return;
        }
        self.hold(run, result.clone(), Waits::Nothing);
        if outcome.error.is_none() {
            self.step(step).result = Some(result);
        }
    }

    fn hold(&mut self, run: EventId, result: Payload, waits: Waits) {
        if let Some(open) = self.runs.get_mut(&run) {
            open.result = result;
            open.waits = waits;
        }
    }

    fn hear(&mut self, run: EventId, number: u64, last: Option<&Closing>) {
        let Some(open) = self.runs.get_mut(&run) else { return };
        if let Waits::Loop { heard, ahead, closed, .. } = &mut open.waits {
            ahead.insert(number);
            while ahead.remove(&(*heard + 1)) {
                *heard += 1;
            }
            if let Some(last) = last {
                *closed = Some(last.clone());
            }
        }
    }

    fn exit(&mut self, run: EventId, step: &StepName, status: Status, result: Payload) {
        self.runs.remove(&run);
        let rank = self.finished + 1;
        let skipped = status == Status::Skipped;
        let state = self.step(step);
        state.status = status;
        // A step that did not run left nothing: neither a result, nor that of the execution.
        if !skipped {
            state.result = Some(result);
            self.last = Some(step.clone());
        }
        let state = self.step(step);
        if state.order == 0 {
            state.order = rank;
            self.finished = rank;
        }
    }
}

impl At<'_> {
    /// A recorded value as a state keeps it: itself when small, else by its place in the log.
    #[must_use]
    pub fn remember(&self, payload: &Payload, item: u32) -> Payload {
        match payload {
            Payload::Inline(value) if !is_small(value) => self.place(item),
            _ => payload.clone(),
        }
    }

    /// The place of a recorded value in the log.
    #[must_use]
    pub fn place(&self, item: u32) -> Payload {
        Payload::Log { key: self.key.clone(), seq: self.seq, fact: self.fact, item }
    }
}

/// Whether a state may hold the value itself.
#[must_use]
pub fn is_small(value: &serde_json::Value) -> bool {
    match value {
        serde_json::Value::String(text) => text.len() <= STATE_VALUE_BYTES_MAX,
        serde_json::Value::Array(_) | serde_json::Value::Object(_) => {
            serde_json::to_string(value).is_ok_and(|json| json.len() <= STATE_VALUE_BYTES_MAX)
        }
        _ => true,
    }
}
