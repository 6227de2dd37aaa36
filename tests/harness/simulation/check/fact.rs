//! What must hold for one fact, given everything before it.

use engine_core::command::{CallSite, Command};
use engine_core::event::{Entry, Fact, LoopOpen, Outcome, Status};
use engine_core::ids::{AggregateKey, CommandId, EventId};
use engine_core::limits::REDRIVE_ENTRIES;
use engine_core::payload::Payload;
use engine_core::playbook::LoopMode;
use engine_core::state::{ExecutionState, LoopState, State, Waits};
use serde_json::Value;

use super::{
    Carried, Chain, Checks, Fault, Issue, Progress, Request, Stands, Violation, ensure, frame_id,
    numbered,
};

/// The entry at hand, and what else is known.
struct Book<'a> {
    entry: &'a Entry,
    carried: &'a Carried<'a>,
    met: &'a mut Vec<Fault>,
}

/// One call that goes out.
#[derive(Clone, Copy)]
struct Sent<'a> {
    id: &'a CommandId,
    of: (EventId, Option<u64>),
    call: u32,
    attempt: u32,
    site: CallSite,
    until_ms: Option<i64>,
}

impl Checks {
    pub(super) fn fact(
        &mut self,
        chain: &mut Chain,
        entry: &Entry,
        fact: &Fact,
        carried: &Carried<'_>,
        met: &mut Vec<Fault>,
    ) -> Result<(), Violation> {
        let mut book = Book { entry, carried, met };
        if let Fact::ChildRequested { child, start } = fact {
            let parent = start.parent.as_ref();
            let mine = parent.is_some_and(|parent| parent.key == entry.key);
            ensure!(mine, "I-11", "{} asks for a child of {parent:?}", entry.key);
            if let Some(parent) = parent.filter(|parent| parent.waits) {
                let call = (parent.command_id.clone(), parent.attempt);
                self.child_of.insert(call, *child);
            }
            let request = Request { start: (**start).clone(), told: None };
            let new = self.children.insert(*child, request).is_none();
            ensure!(new, "I-11", "exec:{child} is asked for twice");
        }
        match chain.state.take() {
            None => self.opening(entry, fact),
            Some(State::Execution(state)) => {
                let result = self.of_execution(chain, &state, fact, &mut book);
                chain.state = Some(State::Execution(state));
                result
            }
            Some(State::Loop(state)) => {
                let result = self.of_loop(chain, &state, fact, &mut book);
                chain.state = Some(State::Loop(state));
                result
            }
        }
    }

    /// Loops and children begin as somebody asked for them.
    fn opening(&self, entry: &Entry, fact: &Fact) -> Result<(), Violation> {
        let key = &entry.key;
        match fact {
            Fact::LoopOpened { open } => {
                let asked = self.requested.get(key);
                ensure!(asked == Some(&**open), "I-11", "{key} opens as nobody asked it to");
            }
            Fact::Started { parent: Some(parent), playbook, .. } => {
                let request = self.children.get(&key.execution_id()).map(|request| &request.start);
                let asked = request.is_some_and(|start| {
                    start.parent.as_ref() == Some(parent) && start.playbook == *playbook
                });
                ensure!(asked, "I-11", "{key} starts as nobody asked it to");
            }
            _ => {}
        }
        Ok(())
    }

    fn of_execution(
        &mut self,
        chain: &mut Chain,
        state: &ExecutionState,
        fact: &Fact,
        book: &mut Book<'_>,
    ) -> Result<(), Violation> {
        let id = book.entry.key.execution_id();
        match fact {
            Fact::StepEntered { run, step, .. } => {
                ensure!(chain.runs.insert(*run), "I-11", "`{step}` is entered as {run} again");
            }
            Fact::CommandIssued { run, command, unit } => {
                ensure!(state.runs.contains_key(run), "I-1", "{} is for no open run", command.id);
                let call = unit.as_ref().map_or(1, |unit| unit.calls);
                let spelled = numbered(format!("{id}:{}:{run}", command.step), call);
                ensure!(spelled == command.id, "I-8", "{} is call {call} of {run}", command.id);
                let until_ms = unit.as_ref().and_then(|unit| unit.until_ms);
                let Command { id, attempt, site, .. } = &**command;
                let (of, attempt, site) = ((*run, None), *attempt, *site);
                self.sent(chain, Sent { id, of, call, attempt, site, until_ms }, book)?;
            }
            Fact::Answered { run, command_id: id, attempt, worker, outcome, .. } => {
                let current = state.run_of_command(id).map(|(_, _, attempt)| attempt);
                ensure!(current == Some(*attempt), "I-13", "{id} attempt {attempt} is not awaited");
                self.answered(chain, (*run, None), (id, *attempt), (worker, outcome), book)?;
            }
            Fact::Continued { run, .. } => go_on(chain, (*run, None), Stands::Continued)?,
            Fact::Retried { run, .. } => go_on(chain, (*run, None), Stands::Retried)?,
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
                chain.calls.remove(&(*run, None));
            }
            Fact::ParentAnswered { outcome } => {
                let request = self.children.get_mut(&id);
                let told = request.map(|request| request.told.replace((**outcome).clone()));
                ensure!(told == Some(None), "I-2", "exec:{id} tells nobody, or tells it twice");
            }
            Fact::Finished { status, .. } => {
                ensure!(state.status == Status::Running, "I-2", "the execution ends twice");
                let busy = *status != Status::Cancelled && !state.runs.is_empty();
                ensure!(!busy, "I-22", "it ends as {status:?} while steps are open");
                let held = *status == Status::Completed && !state.arrived.is_empty();
                ensure!(!held, "I-22", "it ends while branches wait for others");
                let request = self.children.get(&id);
                let owes = request.is_some_and(|one| {
                    one.told.is_none() && one.start.parent.as_ref().is_some_and(|up| up.waits)
                });
                ensure!(!owes, "I-22", "exec:{id} ends and tells its parent nothing");
                if *status == Status::Cancelled {
                    book.met.push(Fault::Cancel);
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn of_loop(
        &mut self,
        chain: &mut Chain,
        state: &LoopState,
        fact: &Fact,
        book: &mut Book<'_>,
    ) -> Result<(), Violation> {
        let key = &book.entry.key;
        match fact {
            Fact::FrameIssued { .. } => self.frame_issued(chain, state, fact, book)?,
            Fact::FrameAnswered { first, attempt, worker, outcomes, retried, .. } => {
                let out = state.pending.iter().find(|frame| frame.first == *first);
                let current = out.map(|frame| frame.attempt);
                ensure!(
                    current == Some(*attempt),
                    "I-13",
                    "{key} [{first}] attempt {attempt} counts; {current:?} is awaited"
                );
                let id = frame_id(key, *first, 1);
                let new = chain.answered.insert((id.clone(), *attempt));
                ensure!(new, "I-1", "{id} attempt {attempt} is answered twice");
                // An answer without a worker is the engine's own: the command counts as lost.
                if !worker.is_empty() {
                    self.ran(&id, *attempt, worker)?;
                }
                chain.calls.remove(&(run_of(key), Some(*first)));
                for (index, _) in (*first..).zip(outcomes) {
                    if !retried.contains(&index) {
                        settled((chain, key), state, index)?;
                    }
                }
            }
            Fact::Answered { run, index, command_id: id, attempt, worker, outcome, .. } => {
                let out = state.pending.iter().find(|frame| Some(frame.first) == *index);
                let current = out.map(|one| (frame_id(key, one.first, one.call), one.attempt));
                let counts = (id.clone(), *attempt);
                ensure!(
                    current.as_ref() == Some(&counts),
                    "I-13",
                    "{counts:?} counts; {current:?} is awaited"
                );
                self.answered(chain, (*run, *index), (id, *attempt), (worker, outcome), book)?;
            }
            Fact::Continued { run, index, .. } => go_on(chain, (*run, *index), Stands::Continued)?,
            Fact::Retried { run, index, .. } => go_on(chain, (*run, *index), Stands::Retried)?,
            Fact::IterationSettled { index, .. } => {
                let out = state.pending.iter().any(|frame| frame.first == *index);
                ensure!(!out, "I-1", "{key} [{index}] is settled while a call of it is out");
                chain.calls.remove(&(run_of(key), Some(*index)));
                settled((chain, key), state, *index)?;
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
        chain: &mut Chain,
        state: &LoopState,
        fact: &Fact,
        book: &mut Book<'_>,
    ) -> Result<(), Violation> {
        let Fact::FrameIssued { first, len, attempt, call, site, unit, resumed, .. } = fact else {
            return Ok(());
        };
        let key = &book.entry.key;
        let waits = unit.as_ref().and_then(Payload::inline).and_then(|unit| unit.get("until_ms"));
        let until_ms = waits.and_then(Value::as_i64);
        ensure!(!state.stopped && !state.closed, "I-14", "{key} [{first}] is sent after the stop");
        let last = first + u64::from(*len);
        ensure!(last <= state.collection_size, "I-11", "{key} [{first}; {len}] does not exist");
        let settled = chain.settled.range(*first..last).next();
        ensure!(settled.is_none(), "I-1", "{key} {settled:?} is sent after its outcome");
        if *attempt == 1 && *call == 1 {
            let idle = state.mode == LoopMode::Parallel || state.pending.is_empty();
            let is_next = if *resumed { last <= state.next } else { *first == state.next };
            ensure!(is_next && idle, "I-5", "{key} [{first}] is sent out of turn");
            let met = state
                .pending
                .iter()
                .find(|out| out.first < last && *first < out.first + u64::from(out.len));
            ensure!(met.is_none(), "I-5", "{key} [{first}] is sent, and {met:?} is out");
        }
        let (id, of) = (frame_id(key, *first, *call), (run_of(key), Some(*first)));
        let (call, attempt, site) = (*call, *attempt, *site);
        self.sent(chain, Sent { id: &id, of, call, attempt, site, until_ms }, book)
    }

    /// A call goes out: the first, the next after one that was answered, or one again.
    fn sent(
        &mut self,
        chain: &mut Chain,
        sent: Sent<'_>,
        book: &mut Book<'_>,
    ) -> Result<(), Violation> {
        let Sent { id, of, call, attempt, site, until_ms } = sent;
        let answered = chain.answered.contains(&(id.clone(), attempt));
        ensure!(!answered, "I-1", "{id} attempt {attempt} is issued after its answer");
        let before = chain.calls.get(&of).copied();
        let follows = match before {
            None => attempt == 1 && call == 1,
            Some(Progress { stands: Stands::Answered, .. }) => false,
            Some(Progress { call: last, stands: Stands::Continued, .. }) => {
                call == last + 1 && attempt == 1
            }
            // A call that a rule made before it asked for another try has a number of its own.
            Some(Progress { call: last, stands: Stands::Retried, aside: true, tried, .. }) => {
                call == last + 1 && attempt == tried + 1
            }
            Some(Progress { call: last, attempt: tried, .. }) => {
                call == last && attempt == tried + 1
            }
        };
        ensure!(follows, "I-13", "{id} attempt {attempt} is issued, and {before:?} was before");
        if let Some(Progress { attempt: last, stands: Stands::Out, until_ms, .. }) = before {
            self.reissued((chain.seq, id), last, until_ms.is_some(), book)?;
        }
        let (stands, aside) = (Stands::Out, !matches!(site, CallSite::Tool | CallSite::Task(_)));
        let tried = if aside { before.map_or(0, |before| before.tried) } else { attempt };
        chain.calls.insert(of, Progress { call, attempt, stands, aside, tried, until_ms });
        Ok(())
    }

    /// An answer counts: once, from somebody who ran the call, and not before its time.
    fn answered(
        &self,
        chain: &mut Chain,
        of: (EventId, Option<u64>),
        (id, attempt): (&CommandId, u32),
        (worker, outcome): (&str, &Outcome),
        book: &Book<'_>,
    ) -> Result<(), Violation> {
        let new = chain.answered.insert((id.clone(), attempt));
        ensure!(new, "I-1", "{id} attempt {attempt} is answered twice");
        let Some(progress) = chain.calls.get_mut(&of) else {
            return Err(Violation::new("I-13", format!("{id} is answered and was never issued")));
        };
        let out = progress.stands == Stands::Out && progress.attempt == attempt;
        ensure!(out, "I-13", "{id} attempt {attempt} is answered; {progress:?}");
        progress.stands = Stands::Answered;
        match worker {
            "" | "engine" | "callback" => Ok(()),
            "playbook" => self.told(id, attempt, outcome),
            _ => {
                let early_ms = progress.until_ms.unwrap_or(0) - book.entry.at_ms;
                ensure!(early_ms <= 0, "P-12", "{id} ends {early_ms} ms before its time");
                self.ran(id, attempt, worker)
            }
        }
    }

    /// What counts as the answer of a child is what it told, or that it never ran or took too long.
    fn told(&self, id: &CommandId, attempt: u32, outcome: &Outcome) -> Result<(), Violation> {
        let child = self.child_of.get(&(id.clone(), attempt));
        let told = child.and_then(|child| self.children.get(child)?.told.as_ref());
        let same = told.is_some_and(|told| told.error == outcome.error);
        let kind = outcome.error.as_ref().map(|error| error.kind.as_str());
        let never = told.is_none() && matches!(kind, Some("Cancelled" | "TimeoutError"));
        ensure!(same || never, "I-13", "{id} attempt {attempt}: exec:{child:?} told {told:?}");
        Ok(())
    }

    /// I-9: a command is only given up for lost if a message was lost.
    fn reissued(
        &self,
        (seq, id): (u64, &CommandId),
        attempt: u32,
        waits: bool,
        book: &mut Book<'_>,
    ) -> Result<(), Violation> {
        let inputs = &book.entry.inputs;
        let heard = |text: String| inputs.iter().any(|input| input.0 == text);
        // A timer that rang before the time was over, and a child whose id was taken, go on.
        if (waits && heard(format!("{id}:{attempt}"))) || heard(format!("{id}.{attempt}:taken")) {
            return Ok(());
        }
        book.met.push(Fault::Reissue);
        // Sending again looks back over so many entries; a queue without order may exceed them.
        let issue = self.issued.get(&(id.clone(), attempt));
        let distant = issue.is_some_and(|one| one.seq + REDRIVE_ENTRIES as u64 <= seq);
        let ticked = |issue: &Issue| issue.inputs.iter().any(|input| input.0.starts_with("tick:"));
        let asleep = self.sleepers > 0 && issue.is_some_and(ticked);
        let carried = self.is_carried(id, attempt, book.carried, None);
        let explained = self.lost > 0 || distant || asleep || carried;
        ensure!(explained, "I-9", "{id} attempt {attempt} vanished, and no message was lost");
        Ok(())
    }
}

/// A run or an iteration goes on from the call that was answered last.
fn go_on(chain: &mut Chain, of: (EventId, Option<u64>), stands: Stands) -> Result<(), Violation> {
    let progress = chain.calls.get_mut(&of).filter(|one| one.stands == Stands::Answered);
    let Some(progress) = progress else {
        return Err(Violation::new("I-13", format!("{of:?} goes on from no answer: {stands:?}")));
    };
    progress.stands = stands;
    Ok(())
}

/// An iteration has its outcome.
fn settled(
    (chain, key): (&mut Chain, &AggregateKey),
    state: &LoopState,
    index: u64,
) -> Result<(), Violation> {
    let before = chain.settled.len() as u64;
    ensure!(chain.settled.insert(index), "I-1", "{key} [{index}] counts twice");
    let sequential = state.mode == LoopMode::Sequential;
    ensure!(!sequential || index == before, "I-5", "{key} [{index}] out of turn");
    Ok(())
}

/// The run that a loop belongs to.
fn run_of(key: &AggregateKey) -> EventId {
    match key {
        AggregateKey::Loop { event_id, .. } => *event_id,
        AggregateKey::Execution(id) => EventId(id.0),
    }
}
