//! Tools whose outcome is known before they run.

use std::collections::BTreeMap;

use engine_core::event::ToolFailure;
use serde_json::{Value, json};

use super::rng::{MILLION, hash, mix};

/// Text that every result holds and no state of a loop may hold.
pub(crate) const PROOF: &str = "pr00f-of-a-result";

/// How the tool of one step behaves.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Tool {
    /// How many inputs in a million it never accepts.
    pub(crate) refuses_ppm: u64,
    /// At most so many first attempts fail on an input that it accepts in the end.
    pub(crate) flaky: u32,
    /// Bytes by which results are stuffed.
    pub(crate) stuffing: usize,
    /// Milliseconds that the longest call takes.
    pub(crate) longest_ms: u64,
}

/// The tools of one playbook, by step. Their outcomes depend on the seed, the step and the input alone:
/// a fault may repeat a call, and must not change what it says.
#[derive(Clone, Debug, Default)]
pub(crate) struct Toolbox {
    seed: u64,
    tools: BTreeMap<String, Tool>,
}

impl Toolbox {
    pub(crate) fn new(seed: u64) -> Self {
        Self { seed, tools: BTreeMap::new() }
    }

    pub(crate) fn insert(&mut self, step: &str, tool: Tool) {
        self.tools.insert(step.to_owned(), tool);
    }

    fn tool(&self, step: &str) -> Tool {
        self.tools.get(step).copied().unwrap_or_default()
    }

    fn dice(&self, step: &str, input: &Value) -> u64 {
        let text = format!("{step} {input}");
        mix(hash(self.seed, text.as_bytes()))
    }

    /// Whether the tool never accepts this input.
    pub(crate) fn refuses(&self, step: &str, input: &Value) -> bool {
        self.dice(step, input) % MILLION < self.tool(step).refuses_ppm
    }

    /// What a call with this input says.
    pub(crate) fn call(
        &self,
        step: &str,
        input: &Value,
        attempt: u32,
    ) -> Result<Value, ToolFailure> {
        if self.refuses(step, input) {
            return Err(failure(step, input));
        }
        let failing = (self.dice(step, input) >> 24) % (u64::from(self.tool(step).flaky) + 1);
        if u64::from(attempt) <= failing {
            Err(failure(step, input))
        } else {
            Ok(self.result(step, input))
        }
    }

    /// The result of an accepted input.
    pub(crate) fn result(&self, step: &str, input: &Value) -> Value {
        let value = self.value(step, input);
        let mut result = json!({"proof": PROOF, "step": step, "input": input, "value": value});
        let stuffing = self.tool(step).stuffing;
        if stuffing > 0 {
            result["stuffing"] = Value::String("s".repeat(stuffing));
        }
        result
    }

    /// The number in the result of an accepted input.
    pub(crate) fn value(&self, step: &str, input: &Value) -> u64 {
        (self.dice(step, input) >> 8) % 1_000
    }

    /// What an iteration leaves in the results of its loop.
    pub(crate) fn settled(&self, step: &str, input: &Value) -> Value {
        if self.refuses(step, input) {
            json!({"status": "error", "error": failure(step, input)})
        } else {
            self.result(step, input)
        }
    }

    /// Milliseconds that a call takes.
    pub(crate) fn duration_ms(&self, step: &str, input: &Value) -> u64 {
        (self.dice(step, input) >> 40) % (self.tool(step).longest_ms + 1)
    }
}

/// The error of a refused input, the same for every attempt.
fn failure(step: &str, input: &Value) -> ToolFailure {
    ToolFailure {
        kind: "RefusedError".to_owned(),
        message: format!("`{step}` refuses {input}"),
        ..ToolFailure::default()
    }
}
