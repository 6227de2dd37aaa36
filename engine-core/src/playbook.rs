//! The language as checked values: what a playbook says, once it is known to make sense.
//!
//! Templated fields keep their raw text: who renders what, and when, is decided elsewhere.

pub mod calls;
pub mod diagnostic;
pub mod keychain;
pub mod names;
pub mod parse;
pub mod retries;
pub mod schema;
pub mod sink;
pub mod support;

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::ids::StepName;

/// A playbook version, pinned by content: an execution never changes its playbook.
#[derive(Clone, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
pub struct PlaybookRef {
    /// Catalog path, `metadata.path` or else `metadata.name`.
    pub path: String,
    /// Lower-case hex SHA-256 of the text.
    pub hash: String,
}

/// Where something stands in the playbook text; both numbers count from 1.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize)]
pub struct Position {
    /// Line.
    pub line: u32,
    /// Column, in characters.
    pub column: u32,
}

/// The two languages that share `apiVersion: noetl.io/v2`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Dialect {
    /// `case`/`when`/`then` rules and shorthand `next`.
    Case,
    /// `next: {spec, arcs}`, task lists, `input`/`set`.
    Canonical,
}

/// A checked playbook: every named step exists, every template compiles.
#[derive(Clone, Debug, PartialEq)]
pub struct Playbook {
    /// Which version this is.
    pub reference: PlaybookRef,
    /// `metadata.name`.
    pub name: String,
    /// Which of the two languages it is written in.
    pub dialect: Dialect,
    /// Default inputs; values may be templates.
    pub workload: Map<String, Value>,
    /// Credential declarations, in order, as [`keychain`] reads them.
    pub keychain: Vec<Value>,
    /// Named reusable tasks.
    pub workbook: Vec<WorkbookTask>,
    /// The steps, in document order; names are unique.
    pub steps: Vec<Step>,
    /// The step that runs first.
    pub entry: StepName,
    /// `executor.spec.final_step`.
    pub final_step: Option<StepName>,
    /// `executor.spec.timeout`: how long the whole execution may take; seconds, or text such as `1h`.
    pub timeout: Option<Value>,
    /// `executor.spec.no_next_is_error`: a branch that ends without a successor fails.
    pub no_next_is_error: bool,
}

impl Playbook {
    /// Fills in what follows from the text of the steps.
    #[must_use]
    pub fn analysed(mut self) -> Self {
        for step in &mut self.steps {
            step.retries = retries::rules_of(step);
            step.names = names::of_step(step, &self.workbook);
        }
        self
    }

    /// Whether a run of the step `from` may lead, over any number of steps, to an entry into `to`.
    #[must_use]
    pub fn reaches(&self, from: &StepName, to: &StepName) -> bool {
        let mut seen = BTreeSet::new();
        let mut open = vec![from.as_str()];
        while let Some(name) = open.pop() {
            let found = self.steps.iter().find(|step| step.name.as_str() == name);
            for target in found.into_iter().flat_map(Step::targets) {
                if target == to.as_str() {
                    return true;
                }
                if seen.insert(target) {
                    open.push(target);
                }
            }
        }
        false
    }

    /// The step of that name.
    #[must_use]
    pub fn step(&self, name: &StepName) -> Option<&Step> {
        self.steps.iter().find(|step| step.name == *name)
    }
}

/// An entry of `workbook`.
#[derive(Clone, Debug, PartialEq)]
pub struct WorkbookTask {
    /// Unique name.
    pub name: String,
    /// What it runs.
    pub tool: Tool,
}

/// One step.
#[derive(Clone, Debug, PartialEq)]
pub struct Step {
    /// Unique name.
    pub name: StepName,
    /// Text for people.
    pub desc: Option<String>,
    /// Where it starts.
    pub position: Position,
    /// What it runs; a step without a tool only routes, as `noop`.
    pub tool: Option<Tool>,
    /// The canonical task list (`tool:` as a list); empty when `tool` is a map.
    pub tasks: Vec<Task>,
    /// `args` or `input` of the step.
    pub args: Map<String, Value>,
    /// `loop`.
    pub repeat: Option<Loop>,
    /// What `retry` of the step or its tool says, as rules on each call; asked before `case`.
    pub retries: Vec<Rule>,
    /// `case`, in document order.
    pub rules: Vec<Rule>,
    /// Whether evaluation stops at the first matching rule.
    pub case_mode: CaseMode,
    /// `next`.
    pub next: Next,
    /// `vars`: templates stored as variables after success.
    pub vars: Map<String, Value>,
    /// `set` of the step (canonical), as written.
    pub set: Option<Value>,
    /// `retry` of the step or of its tool, as written.
    pub retry: Option<Value>,
    /// `sink` or `save` of the step or of its tool, as written.
    pub sink: Option<Value>,
    /// `spec.policy`, as written.
    pub policy: Option<Value>,
    /// `spec.policy.admit.rules`: the first that applies says whether the step runs.
    pub admit: Vec<Admission>,
    /// `spec.timeout`, or the tool's for kinds without one: seconds, or text such as `30s`.
    pub timeout: Option<Value>,
    /// `spec.on_error`.
    pub on_error: OnError,
    /// `spec.join: all`.
    pub join_all: bool,
    /// Which names its templates use.
    pub names: names::StepNames,
}

impl Step {
    /// `tool.kind`; `noop` for a step that only routes.
    #[must_use]
    pub fn kind(&self) -> &str {
        self.tool.as_ref().map_or("noop", |tool| tool.kind.as_str())
    }

    /// The steps that a run of this one may enter: by `next` and by its rules.
    fn targets(&self) -> impl Iterator<Item = &str> {
        let actions = self.retries.iter().chain(&self.rules).flat_map(|rule| &rule.actions);
        let routed = actions.flat_map(|action| match action {
            Action::Next(targets) => targets.iter().map(|target| target.step.as_str()).collect(),
            Action::Call(call) => call.get("step").and_then(Value::as_str).into_iter().collect(),
            _ => Vec::new(),
        });
        self.next.targets.iter().map(|target| target.step.as_str()).chain(routed)
    }
}

/// `tool` as a map.
#[derive(Clone, Debug, PartialEq)]
pub struct Tool {
    /// `kind`, lower case.
    pub kind: String,
    /// Every key but `kind`, `args`, `input`, `retry`, `sink`, `save`: the tool's own configuration, raw.
    pub config: Map<String, Value>,
    /// `args` or `input` of the tool; the step's own win over them.
    pub args: Map<String, Value>,
    /// Where it starts.
    pub position: Position,
}

/// One item of a canonical task list.
#[derive(Clone, Debug, PartialEq)]
pub struct Task {
    /// `name`, or `task_{index}`.
    pub label: String,
    /// What it runs; `spec`, `output` and `set` stay in its configuration.
    pub tool: Tool,
    /// `set` of the task, as written: after it ended well.
    pub set: Option<Value>,
    /// What to do when it ended.
    pub policy: TaskPolicy,
}

/// `spec.policy` of a task.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TaskPolicy {
    /// The first that applies decides.
    pub rules: Vec<PolicyRule>,
    /// `on_unmatched: continue`: an error that no rule applies to does not fail the list.
    pub continues_unmatched: bool,
}

/// One rule of a task's policy.
#[derive(Clone, Debug, PartialEq)]
pub struct PolicyRule {
    /// When it applies.
    pub when: When,
    /// What to do next.
    pub then: Directive,
    /// `set` of the rule, as written: rendered before what comes next.
    pub set: Option<Value>,
    /// Where it starts.
    pub position: Position,
}

/// `then.do` of a policy's rule.
#[derive(Clone, Debug, PartialEq)]
pub enum Directive {
    /// On with the next task.
    Continue,
    /// The task again: `{attempts, backoff, delay}`, as written.
    Retry(Value),
    /// On with the task of that index.
    Jump(u32),
    /// The list ends well here.
    Break,
    /// The list fails here.
    Fail,
}

/// One rule of `spec.policy.admit`.
#[derive(Clone, Debug, PartialEq)]
pub struct Admission {
    /// When it applies.
    pub when: When,
    /// Whether the step runs then.
    pub allow: bool,
    /// Where it starts.
    pub position: Position,
}

/// `loop`, in one spelling.
#[derive(Clone, Debug, PartialEq)]
pub struct Loop {
    /// `in` or `collection`: a template, or a literal list.
    pub source: Value,
    /// `iterator` or `element`.
    pub iterator: String,
    /// `mode` or `spec.mode`.
    pub mode: LoopMode,
    /// `spec.max_in_flight`, `max_in_flight` or `concurrency`: a number or a template.
    pub max_in_flight: Option<Value>,
    /// `where` or `filter`.
    pub filter: Option<String>,
    /// `order_by`.
    pub order_by: Option<String>,
    /// `limit`: a number or a template.
    pub limit: Option<Value>,
    /// `chunk`: a number or a template.
    pub chunk: Option<Value>,
    /// `enumerate`.
    pub enumerate: bool,
    /// `spec.policy.failure.mode: fail_fast`.
    pub fail_fast: bool,
    /// Where it starts.
    pub position: Position,
}

/// How iterations follow each other.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum LoopMode {
    /// One after the other, in order.
    Sequential,
    /// Up to a window at a time, in any order.
    Parallel,
}

/// `spec.case_mode`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum CaseMode {
    /// The first matching rule only.
    Exclusive,
    /// Every matching rule, until one of them routes.
    Inclusive,
}

/// `spec.on_error`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum OnError {
    /// An unhandled failure fails the execution.
    Fail,
    /// It is recorded, and the branch goes on.
    Continue,
}

/// One rule of `case`.
#[derive(Clone, Debug, PartialEq)]
pub struct Rule {
    /// When it applies.
    pub when: When,
    /// What it does: blocks in document order, inside a block in the order of decision D12.
    pub actions: Vec<Action>,
    /// Where it starts.
    pub position: Position,
}

/// The guard of a rule.
#[derive(Clone, Debug, PartialEq)]
pub enum When {
    /// A template, with or without braces.
    Condition(String),
    /// `else`, or no guard: whenever it is reached.
    Else,
}

/// One action of a rule, its fields raw.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// `set`: a map, `{ctx: ...}`, or a list of `{name, value}`.
    Set(Value),
    /// `vars`: a map.
    Vars(Value),
    /// `collect`.
    Collect(Collect),
    /// `result`: `{from: ...}` or a value.
    Result(Value),
    /// `sink` or `save`: a map.
    Sink(Value),
    /// A named inline task.
    Task(Box<Task>),
    /// `call`: tool configuration to replace, or `{step, args}`.
    Call(Value),
    /// `retry`: the error form or the pagination form.
    Retry(Value),
    /// `next`, or a bare `{step}`.
    Next(Vec<Target>),
    /// `fail`: `{message, fail_workflow}`, text, or nothing.
    Fail(Value),
    /// `skip`: `{reason}`.
    Skip(Value),
}

/// `collect`: what of a page to keep, and how.
#[derive(Clone, Debug, PartialEq)]
pub struct Collect {
    /// Where the page's items are.
    pub from: CollectFrom,
    /// The variable to fill.
    pub into: Option<String>,
    /// How they join what was collected before (decision D33).
    pub mode: CollectMode,
    /// Whether the items become the result's `data` (`retry.on_success`).
    pub envelope: bool,
}

impl Collect {
    /// Reads `{from, into, mode}` of the first dialect or `{path, strategy, into}` of the second
    /// (decision D33).
    #[must_use]
    pub fn read(value: &Value) -> Self {
        let text = |key: &str| value.get(key).and_then(Value::as_str);
        let from = match (text("from"), text("path")) {
            (Some(from), _) => CollectFrom::Expression(from.to_owned()),
            (None, path) => CollectFrom::Path(path.unwrap_or_default().to_owned()),
        };
        let mode = match (text("mode"), text("strategy")) {
            (Some("append"), _) => CollectMode::Push,
            (Some("replace"), _) | (None, Some("replace")) => CollectMode::Replace,
            (None, Some("merge")) => CollectMode::Merge,
            (None, None) if matches!(from, CollectFrom::Expression(_)) => CollectMode::Push,
            _ => CollectMode::Extend,
        };
        Self { from, into: text("into").map(str::to_owned), mode, envelope: false }
    }
}

/// Where the items of a page are.
#[derive(Clone, Debug, PartialEq)]
pub enum CollectFrom {
    /// `from`: an expression.
    Expression(String),
    /// `path`: dotted, in the body of the response, else in the response.
    Path(String),
}

/// How a page joins what was collected before.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum CollectMode {
    /// As one element.
    Push,
    /// A list's elements one by one; anything else as one element.
    Extend,
    /// In the place of what was there.
    Replace,
    /// A map's keys over the ones that were there.
    Merge,
}

/// Where to go from a step.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Next {
    /// All targets whose guard holds, or the first.
    pub mode: NextMode,
    /// The targets, in document order; empty when the branch ends here.
    pub targets: Vec<Target>,
}

/// `next.spec.mode`; a shorthand list goes to all its targets.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum NextMode {
    /// Every target whose guard holds.
    #[default]
    Inclusive,
    /// The first target whose guard holds.
    Exclusive,
}

/// One way out of a step.
#[derive(Clone, Debug, PartialEq)]
pub struct Target {
    /// The step to enter; `end` may be undefined, and then ends the branch.
    pub step: StepName,
    /// The arc's guard.
    pub when: Option<String>,
    /// `args` or `input` of the transition.
    pub args: Map<String, Value>,
    /// `set` of the arc, as written.
    pub set: Option<Value>,
    /// Where it stands.
    pub position: Position,
}
