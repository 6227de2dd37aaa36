//! `spec.policy.admit`: whether a step runs at all.

use super::execution::settle;
use super::exit::Ending;
use super::{Needs, Trouble, Turn};
use crate::event::{Fact, Status};
use crate::ids::EventId;
use crate::payload::Payload;
use crate::playbook::{Admission, Step, When};
use crate::template::condition;

impl<'a> Turn<'a> {
    /// Asks the rules of a step that was just entered whether it runs; whether it is over already.
    ///
    /// A step that is not admitted ends its branch.
    pub(super) fn turns_away(&mut self, step: &'a Step, run: EventId) -> Result<bool, Needs> {
        if step.admit.is_empty() {
            return Ok(false);
        }
        match settle(self.admits(step, run))? {
            Ok(true) => Ok(false),
            Ok(false) => {
                let (step, status) = (step.name.clone(), Status::Skipped);
                let result = Payload::Inline(serde_json::Value::Null);
                self.record(Fact::StepExited { run, step, status, result, error: None });
                Ok(true)
            }
            Err(failure) => {
                self.fail_run(&Ending::new(run, step.name.clone()), failure)?;
                Ok(true)
            }
        }
    }

    /// What the first rule that applies says; a step that no rule speaks of is admitted.
    fn admits(&self, step: &'a Step, run: EventId) -> Result<bool, Trouble> {
        let view = self.view(step, Some(run), None);
        for Admission { when, allow, position } in &step.admit {
            let applies = match when {
                When::Else => true,
                When::Condition(text) => {
                    let place = format!("`admit` of `{}` (line {})", step.name, position.line);
                    condition(text, &view.context())
                        .map_err(|error| Trouble::template(&place, error))?
                }
            };
            if applies {
                return Ok(*allow);
            }
        }
        Ok(true)
    }
}
