//! What must hold for one fact, given everything before it.

use engine_core::event::{Entry, Fact, LoopOpen, Status};
use engine_core::ids::{AggregateKey, CommandId};
use engine_core::limits::REDRIVE_ENTRIES;
use engine_core::playbook::LoopMode;
use engine_core::state::{ExecutionState, LoopState, State, Waits};

use super::{Carried, Chain, Checks, Fault, Issue, Violation, ensure, frame_id};

impl Checks {
    pub(super) fn fact(
        &mut self,
        chain: &mut Chain,
        entry: &Entry,
        fact: &Fact,
        carried: &Carried<'_>,
        met: &mut Vec<Fault>,
    ) -> Result<(), Violation> {
        let key = &entry.key;
        match chain.state.take() {
            None => {
                if let Fact::LoopOpened { open } = fact {
                    let asked = self.requested.get(key);
                    ensure!(asked == Some(&**open), "I-11", "{key} opens as nobody asked it to");
                }
                Ok(())
            }
            Some(State::Execution(state)) => {
                let result = self.of_execution(chain, &state, fact, carried, met);
                chain.state = Some(State::Execution(state));
                result
            }
            Some(State::Loop(state)) => {
                let result = self.of_loop((chain, key), &state, fact, carried, met);
                chain.state = Some(State::Loop(state));
                result
            }
        }
    }

    fn of_execution(
        &mut self,
        chain: &mut Chain,
        state: &ExecutionState,
        fact: &Fact,
        carried: &Carried<'_>,
        met: &mut Vec<Fault>,
    ) -> Result<(), Violation> {
        match fact {
            Fact::StepEntered { run, step, .. } => {
                ensure!(chain.runs.insert(*run), "I-11", "`{step}` is entered as {run} again");
            }
            Fact::CommandIssued { command, .. } => {
                let (id, attempt) = (&command.id, command.attempt);
                ensure!(!chain.answered.contains(id), "I-1", "{id} is issued after its answer");
                if let Some((_, _, current)) = state.run_of_command(id) {
                    ensure!(attempt == current + 1, "I-13", "{id} jumps to attempt {attempt}");
                    self.reissued(chain, id, current, carried, met)?;
                }
            }
            Fact::Answered { command_id: id, attempt, worker, .. } => {
                let current = state.run_of_command(id).map(|(_, _, attempt)| attempt);
                ensure!(current == Some(*attempt), "I-13", "{id} attempt {attempt} is not awaited");
                ensure!(chain.answered.insert(id.clone()), "I-1", "{id} is answered twice");
                self.ran(id, *attempt, worker)?;
            }
            Fact::Retried { command_id, .. } => {
                chain.answered.remove(command_id);
            }
            Fact::LoopRequested { run, key, open } => {
                let mine = matches!(key, AggregateKey::Loop { event_id, .. } if event_id == run);
                let open = LoopOpen { heard: 0, ..(**open).clone() };
                let new = self.requested.insert(key.clone(), open).is_none();
                ensure!(mine && new, "I-11", "{key} is asked for by {run}, or again");
            }
            Fact::LoopDone { run, summary, .. } => {
                let closed = self.closed.get(&summary.key);
                // A loop that a failing execution no longer wants need not begin.
                let declined = state.failure.is_some() && summary.total == 0;
                let known = closed == Some(summary) || declined;
                ensure!(known, "I-3", "{} is done, not closed", summary.key);
                ensure!(chain.done.insert(*run), "I-3", "{} is done twice", summary.key);
            }
            Fact::StepExited { run, step, .. } => {
                let open = state.runs.get(run);
                ensure!(open.is_some(), "I-1", "`{step}` ({run}) exits and is not open");
                let waits = open.is_some_and(|run| matches!(run.waits, Waits::Loop { .. }));
                ensure!(!waits, "I-3", "`{step}` ({run}) exits before its loop is done");
            }
            Fact::Finished { status, .. } => {
                ensure!(state.status == Status::Running, "I-2", "the execution ends twice");
                let busy = *status != Status::Cancelled && !state.runs.is_empty();
                ensure!(!busy, "I-22", "it ends as {status:?} while steps are open");
                if *status == Status::Cancelled {
                    met.push(Fault::Cancel);
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn of_loop(
        &mut self,
        (chain, key): (&mut Chain, &AggregateKey),
        state: &LoopState,
        fact: &Fact,
        carried: &Carried<'_>,
        met: &mut Vec<Fault>,
    ) -> Result<(), Violation> {
        match fact {
            Fact::FrameIssued { first, len, attempt, .. } => {
                self.frame_issued((chain, key), state, (*first, *len, *attempt), carried, met)?;
            }
            Fact::FrameAnswered { first, attempt, worker, outcomes, retried, .. } => {
                let out = state.pending.iter().find(|frame| frame.first == *first);
                let current = out.map(|frame| frame.attempt);
                ensure!(
                    current == Some(*attempt),
                    "I-13",
                    "{key} [{first}] attempt {attempt} counts; {current:?} is awaited"
                );
                // An answer without a worker is the engine's own: the command counts as lost.
                if !worker.is_empty() {
                    self.ran(&frame_id(key, *first), *attempt, worker)?;
                }
                let sequential = state.mode == LoopMode::Sequential;
                for (index, _) in (*first..).zip(outcomes) {
                    if retried.contains(&index) {
                        continue;
                    }
                    let before = chain.settled.len() as u64;
                    ensure!(chain.settled.insert(index), "I-1", "{key} [{index}] counts twice");
                    ensure!(!sequential || index == before, "I-5", "{key} [{index}] out of turn");
                }
            }
            Fact::LoopClosed { summary, .. } => {
                let settled = chain.settled.len() as u64;
                ensure!(!state.closed, "I-3", "{key} closes twice");
                ensure!(state.pending.is_empty(), "I-3", "{key} closes with iterations out");
                ensure!(summary.total == settled, "I-3", "{key} counts {summary:?}, not {settled}");
                let all = settled == state.collection_size;
                ensure!(all || state.stopped, "I-3", "{key} closes after {settled} iterations");
                self.closed.insert(key.clone(), summary.clone());
            }
            _ => {}
        }
        Ok(())
    }

    fn frame_issued(
        &mut self,
        (chain, key): (&Chain, &AggregateKey),
        state: &LoopState,
        (first, len, attempt): (u64, u32, u32),
        carried: &Carried<'_>,
        met: &mut Vec<Fault>,
    ) -> Result<(), Violation> {
        ensure!(!state.stopped && !state.closed, "I-14", "{key} [{first}] is sent after the stop");
        let last = first + u64::from(len);
        ensure!(last <= state.collection_size, "I-11", "{key} [{first}; {len}] does not exist");
        let settled = chain.settled.range(first..last).next();
        ensure!(settled.is_none(), "I-1", "{key} {settled:?} is sent after its outcome");
        if attempt == 1 {
            let idle = state.mode == LoopMode::Parallel || state.pending.is_empty();
            ensure!(first == state.next && idle, "I-5", "{key} [{first}] is sent out of turn");
        } else if let Some(frame) = state.pending.iter().find(|frame| frame.first == first) {
            ensure!(attempt == frame.attempt + 1, "I-13", "{key} [{first}] jumps to {attempt}");
            self.reissued(chain, &frame_id(key, first), frame.attempt, carried, met)?;
        }
        Ok(())
    }

    /// I-9: a command is only given up for lost if a message was lost.
    fn reissued(
        &self,
        chain: &Chain,
        id: &CommandId,
        attempt: u32,
        carried: &Carried<'_>,
        met: &mut Vec<Fault>,
    ) -> Result<(), Violation> {
        met.push(Fault::Reissue);
        // Sending again looks back over so many entries; a queue without order may exceed them.
        let issue = self.issued.get(&(id.clone(), attempt));
        let distant = issue.is_some_and(|one| one.seq + REDRIVE_ENTRIES as u64 <= chain.seq);
        let ticked = |issue: &Issue| issue.inputs.iter().any(|input| input.0.starts_with("tick:"));
        let asleep = self.sleepers > 0 && issue.is_some_and(ticked);
        let explained =
            self.lost > 0 || distant || asleep || self.is_carried(id, attempt, carried, None);
        ensure!(explained, "I-9", "{id} attempt {attempt} vanished, and no message was lost");
        Ok(())
    }
}
