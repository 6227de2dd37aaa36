//! `spec.join: all`: a step that runs once, when every branch that can still reach it has come or ended
//! (decision D57).

use std::collections::BTreeMap;

use super::{Needs, Turn};
use crate::event::Fact;
use crate::ids::{EventId, StepName};
use crate::payload::Payload;
use crate::playbook::Step;

impl<'a> Turn<'a> {
    /// Keeps a branch that reached a step which waits for others; whether it does.
    pub(super) fn holds(
        &mut self,
        step: &Step,
        args: &BTreeMap<String, Payload>,
        cause: Option<EventId>,
    ) -> bool {
        if step.join_all {
            let args = args.iter().map(|(name, value)| (name.clone(), self.keep(value.clone())));
            let args = args.collect();
            self.record(Fact::Arrived { step: step.name.clone(), cause, args });
        }
        step.join_all
    }

    /// Enters the steps that need not wait for other branches any more.
    pub(super) fn release(&mut self) -> Result<(), Needs> {
        while let Some(step) = self.next_join() {
            let held = self.execution().and_then(|state| state.arrived.get(&step.name));
            let held = held.cloned().unwrap_or_default();
            self.enter_now(step, held.args, held.cause)?;
        }
        Ok(())
    }

    /// The first step in the order of the document that no open run and no other held branch can reach.
    ///
    /// Held branches that only wait for each other go in the order of the document.
    fn next_join(&self) -> Option<&'a Step> {
        let state = self.execution().filter(|state| state.failure.is_none())?;
        let playbook = self.moment.playbook;
        let held = || playbook.steps.iter().filter(|step| state.arrived.contains_key(&step.name));
        let reached = |by: &StepName, step: &Step| playbook.reaches(by, &step.name);
        let free = held().find(|step| {
            let mut others = held().filter(|other| other.name != step.name);
            !state.runs.values().any(|run| reached(&run.step, step))
                && !others.any(|other| reached(&other.name, step))
        });
        free.or_else(|| held().next().filter(|_| state.runs.is_empty()))
    }
}
