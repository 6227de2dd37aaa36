//! Tools whose outcome is known before they run.

use std::collections::BTreeMap;
use std::sync::Arc;

use engine_core::command::CallSite;
use engine_core::event::ToolFailure;
use serde_json::{Map, Value, json};

use super::rng::{MILLION, hash, mix};

/// Text that every result holds and no state of a loop may hold.
pub(crate) const PROOF: &str = "pr00f-of-a-result";

/// How the tool of one step behaves.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tool {
    /// How many inputs in a million it never accepts.
    pub(crate) refuses_ppm: u64,
    /// At most so many first attempts fail on an input that it accepts in the end.
    pub(crate) flaky: u32,
    /// Bytes by which results are stuffed.
    pub(crate) stuffing: usize,
    /// Milliseconds that the longest call takes.
    pub(crate) longest_ms: u64,
    /// Of which calls a run of the step consists.
    pub(crate) body: Body,
}

/// Of which calls a run of a step, or an iteration of it, consists.
#[derive(Clone, Debug, Default)]
pub(crate) enum Body {
    /// One.
    #[default]
    Call,
    /// One for each of two to four pages.
    Pages(Leaves),
    /// One, and calls that name and save its result.
    Saves(Saves),
    /// The tasks of a list.
    Tasks(Tasks),
    /// Another playbook.
    Child(Child),
    /// A time.
    Wait,
    /// Somebody outside.
    Callback(Manner),
}

/// What a step with pages leaves.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Leaves {
    /// The last page, with all items beside it.
    LastPage,
    /// The items that its rules collected in a variable.
    Items,
    /// The items in the envelope of `retry.on_success`.
    Envelope,
}

/// Calls behind the one of the step's tool.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Saves {
    /// Whether a rule runs a named task.
    pub(crate) named: bool,
    /// Whether the step saves, not a rule.
    pub(crate) by_step: bool,
    /// How many saves in a million fail.
    pub(crate) refuses_ppm: u64,
    /// Whether a failed save leaves its step alone.
    pub(crate) forgives: bool,
}

/// Three tasks: the first may break off or be forgiven, the second may jump back.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Tasks {
    /// Jumps from the second task to the first.
    pub(crate) rounds: u64,
    /// Whether the list ends with a first task whose value is a multiple of three.
    pub(crate) breaks: bool,
    /// How many first tasks in a million fail, and are passed over.
    pub(crate) forgiven_ppm: u64,
}

/// A playbook that a step calls.
#[derive(Clone, Debug)]
pub(crate) struct Child {
    pub(crate) path: String,
    pub(crate) tools: Arc<Toolbox>,
    /// Whether the step waits for its end.
    pub(crate) waits: bool,
    /// Whether it wants the result of the child's first step.
    pub(crate) first: bool,
}

/// How somebody answers a callback.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Manner {
    /// Once.
    Once,
    /// Twice at the same time, under two names.
    Twice,
    /// With a wrong token, then with the right one.
    Wrong,
    /// When nobody waits any longer.
    Late,
}

/// How a run of a step, or an iteration of it, comes out.
#[derive(Clone, Debug)]
pub(crate) enum End {
    Good(Value),
    /// The tool has failed: rules on `call.error` are asked.
    Refused(ToolFailure),
    /// What follows the tool has failed: no rule is asked.
    Unsaved(ToolFailure),
}

/// One call, as its command says.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Call<'a> {
    pub(crate) step: &'a str,
    pub(crate) site: CallSite,
    pub(crate) overrides: Option<&'a Value>,
    pub(crate) attempt: u32,
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
        self.tools.get(step).cloned().unwrap_or_default()
    }

    fn dice(&self, step: &str, input: &Value) -> u64 {
        let text = format!("{step} {input}");
        mix(hash(self.seed, text.as_bytes()))
    }

    fn chance(&self, step: &str, input: &Value, ppm: u64) -> bool {
        self.dice(step, input) % MILLION < ppm
    }

    /// Whether the tool never accepts this input.
    pub(crate) fn refuses(&self, step: &str, input: &Value) -> bool {
        match &self.tool(step).body {
            Body::Child(child) => child.waits && child.tools.refuses("start", input),
            Body::Callback(manner) => *manner == Manner::Late,
            Body::Wait => false,
            _ => self.chance(step, input, self.tool(step).refuses_ppm),
        }
    }

    /// How many calls of a flaky tool fail first.
    fn failing(&self, part: &str, step: &str, input: &Value) -> u32 {
        let failing = (self.dice(part, input) >> 24) % (u64::from(self.tool(step).flaky) + 1);
        u32::try_from(failing).unwrap_or(0)
    }

    /// What a call with this input says.
    pub(crate) fn call(&self, call: &Call<'_>, input: &Value) -> Result<Value, ToolFailure> {
        let (step, body) = (call.step, self.tool(call.step).body);
        match (&body, call.site) {
            (Body::Wait | Body::Callback(_), _) => Ok(Value::Null),
            (Body::Saves(saves), CallSite::Save { .. } | CallSite::Sink) => {
                match self.unsaved(step, saves, input) {
                    Some(failure) => Err(failure),
                    None => Ok(json!({"saved": true})),
                }
            }
            (_, CallSite::Save { .. } | CallSite::Sink | CallSite::Named { .. }) => {
                Ok(json!({"named": true}))
            }
            (Body::Tasks(tasks), CallSite::Task(number)) => {
                self.task(step, *tasks, number, call.attempt, input)
            }
            (Body::Pages(_), _) => {
                let page = call.overrides.and_then(|over| over.pointer("/params/page"));
                self.page(step, page.and_then(Value::as_u64).unwrap_or(1), call.attempt, input)
            }
            _ if self.refuses(step, input) => Err(failure(step, input)),
            _ if call.attempt <= self.failing(step, step, input) => Err(failure(step, input)),
            _ => Ok(self.result(step, input)),
        }
    }

    fn unsaved(&self, step: &str, saves: &Saves, input: &Value) -> Option<ToolFailure> {
        let save = format!("{step} save");
        self.chance(&save, input, saves.refuses_ppm).then(|| failure(&save, input))
    }

    fn task(
        &self,
        step: &str,
        tasks: Tasks,
        number: u32,
        attempt: u32,
        input: &Value,
    ) -> Result<Value, ToolFailure> {
        let part = format!("{step} task {number}");
        let forgiven = number == 0 && self.chance(&part, input, tasks.forgiven_ppm);
        let refused = number == 1 && self.refuses(step, input);
        // The first task of a forgiving list is not tried again.
        let tried = tasks.forgiven_ppm == 0 || number > 0;
        let failing = if tried { self.failing(&part, step, input) } else { 0 };
        if forgiven || refused || attempt <= failing {
            return Err(failure(step, input));
        }
        Ok(self.stuffed(
            step,
            json!({
                "proof": PROOF, "step": step, "task": number, "input": input,
                "value": self.value(&part, input),
            }),
        ))
    }

    fn pages(&self, step: &str, input: &Value) -> u64 {
        2 + (self.dice(step, input) >> 16) % 3
    }

    fn page(
        &self,
        step: &str,
        page: u64,
        attempt: u32,
        input: &Value,
    ) -> Result<Value, ToolFailure> {
        let pages = self.pages(step, input);
        let part = format!("{step} page {page}");
        let last = 1 + (self.dice(step, input) >> 20) % pages;
        let refused = self.refuses(step, input) && page >= last;
        if refused || attempt <= self.failing(&part, step, input) {
            return Err(failure(step, input));
        }
        Ok(self.stuffed(
            step,
            json!({
                "proof": PROOF, "step": step, "input": input, "page": page, "more": page < pages,
                "value": self.value(step, input), "items": items(page, input),
            }),
        ))
    }

    /// The result of an accepted input.
    pub(crate) fn result(&self, step: &str, input: &Value) -> Value {
        let value = self.value(step, input);
        self.stuffed(step, json!({"proof": PROOF, "step": step, "input": input, "value": value}))
    }

    fn stuffed(&self, step: &str, mut result: Value) -> Value {
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

    /// How a run, or an iteration, of a step comes out, all calls together.
    pub(crate) fn end(&self, step: &str, input: &Value) -> End {
        let body = self.tool(step).body;
        if let Body::Tasks(tasks) = body {
            return self.end_of_tasks(step, tasks, input);
        }
        if self.refuses(step, input) {
            return End::Refused(match body {
                Body::Child(_) => failed_as("PlaybookError"),
                Body::Callback(_) => failed_as("TimeoutError"),
                _ => failure(step, input),
            });
        }
        End::Good(match body {
            Body::Pages(leaves) => self.end_of_pages(step, leaves, input),
            Body::Saves(saves) if !saves.forgives => {
                if let Some(error) = self.unsaved(step, &saves, input) {
                    let message = format!("the sink failed: {}", error.message);
                    return End::Unsaved(ToolFailure { message, ..error });
                }
                self.result(step, input)
            }
            Body::Child(child) => child.end(input),
            Body::Wait => json!({}),
            _ => self.result(step, input),
        })
    }

    fn end_of_tasks(&self, step: &str, tasks: Tasks, input: &Value) -> End {
        match self.task(step, tasks, 0, u32::MAX, input) {
            Ok(first) if tasks.breaks && first["value"].as_u64().is_some_and(|n| n % 3 == 0) => {
                return End::Good(first);
            }
            _ => {}
        }
        let second = self.task(step, tasks, 1, u32::MAX, input);
        match second.and_then(|_| self.task(step, tasks, 2, u32::MAX, input)) {
            Ok(third) => End::Good(third),
            Err(error) => End::Refused(error),
        }
    }

    fn end_of_pages(&self, step: &str, leaves: Leaves, input: &Value) -> Value {
        let count = self.pages(step, input);
        let all: Vec<Value> = (1..=count).flat_map(|page| items(page, input)).collect();
        match leaves {
            Leaves::Items => json!(all),
            Leaves::Envelope => {
                json!({"data": all, "meta": {"iterations": count}, "_all_collected_items": all})
            }
            Leaves::LastPage => {
                let mut last = self.page(step, count, u32::MAX, input).unwrap_or(Value::Null);
                last["_pagination"] = json!({"pages_collected": count, "all_items": all});
                last["_all_collected_items"] = json!(all);
                last
            }
        }
    }

    /// What an iteration leaves in the results of its loop.
    pub(crate) fn settled(&self, step: &str, input: &Value) -> Value {
        match self.end(step, input) {
            End::Good(value) => value,
            End::Refused(error) | End::Unsaved(error) => {
                json!({"status": "error", "error": error})
            }
        }
    }

    /// How a callback of a step is answered.
    pub(crate) fn manner(&self, step: &str) -> Option<Manner> {
        match self.tool(step).body {
            Body::Callback(manner) => Some(manner),
            _ => None,
        }
    }

    /// Milliseconds that a call takes.
    pub(crate) fn duration_ms(&self, step: &str, input: &Value) -> u64 {
        (self.dice(step, input) >> 40) % (self.tool(step).longest_ms + 1)
    }
}

impl Child {
    /// What a call of it leaves.
    fn end(&self, input: &Value) -> Value {
        if !self.waits {
            return json!({"status": "started", "path": self.path, "async": true});
        }
        let first = self.tools.value("start", input);
        let result = if self.first {
            self.tools.result("start", input)
        } else {
            self.tools.result("last", &json!(first))
        };
        json!({"status": "completed", "result": result})
    }
}

/// What one page lists.
fn items(page: u64, input: &Value) -> Vec<Value> {
    [0, 1].iter().map(|place| json!({"of": input, "page": page, "place": place})).collect()
}

/// The error of a refused input, the same for every attempt.
fn failure(step: &str, input: &Value) -> ToolFailure {
    ToolFailure {
        kind: "RefusedError".to_owned(),
        message: format!("`{step}` refuses {input}"),
        ..ToolFailure::default()
    }
}

/// An error whose text tells times and ids.
fn failed_as(kind: &str) -> ToolFailure {
    ToolFailure { kind: kind.to_owned(), ..ToolFailure::default() }
}

/// A value without what no plan can know: ids, times, and texts that tell them.
pub(crate) fn plain(value: Value) -> Value {
    const TOLD: [&str; 2] = ["PlaybookError", "TimeoutError"];
    match value {
        Value::Array(items) => items.into_iter().map(plain).collect(),
        Value::Object(map) => {
            let tells = map.get("type").and_then(Value::as_str).is_some_and(|t| TOLD.contains(&t));
            let mut known = Map::new();
            for (key, value) in map {
                match key.as_str() {
                    "execution_id" | "until" | "seconds" => {}
                    "message" if tells => drop(known.insert(key, json!(""))),
                    _ => drop(known.insert(key, plain(value))),
                }
            }
            Value::Object(known)
        }
        other => other,
    }
}
