//! A playbook drawn by chance, and what it must come to.

mod body;
mod child;
mod repeat;

use std::collections::BTreeMap;
use std::sync::Arc;

use engine_core::event::Status;
use serde_json::{Map, Value, json};

use self::repeat::Shape;
use super::fault::Fault;
use super::rng::Rng;
use super::tool::{Body, End, Tool, Toolbox};

/// A playbook and its future.
#[derive(Debug)]
pub(crate) struct Plan {
    /// The playbook.
    pub(crate) book: Book,
    /// The playbooks that it calls.
    pub(crate) books: Vec<Book>,
    pub(crate) expected: Expected,
    /// Situations that it brings about.
    pub(crate) shapes: Vec<Fault>,
}

/// A playbook, and the tools that it calls.
#[derive(Clone, Debug)]
pub(crate) struct Book {
    pub(crate) text: String,
    pub(crate) tools: Arc<Toolbox>,
}

/// What an execution must come to, whatever goes wrong below it.
#[derive(Debug)]
pub(crate) struct Expected {
    pub(crate) status: Status,
    /// Whether all of the rest is certain: it is not once branches race against a failure.
    pub(crate) exact: bool,
    pub(crate) steps: BTreeMap<String, StepFuture>,
    /// How often each step loops over each list, as JSON.
    pub(crate) loops: BTreeMap<(String, String), u64>,
    /// What iterations have counted in variables, where nothing came out of order.
    pub(crate) counts: BTreeMap<String, u64>,
}

/// What a step must come to.
#[derive(Clone, Debug, Default)]
pub(crate) struct StepFuture {
    /// Finished tool executions.
    pub(crate) runs: u64,
    /// Entries.
    pub(crate) visits: u64,
    /// The result of the last visit, where that is certain.
    pub(crate) result: Option<Value>,
}

/// A part of a playbook, entered with `n` and whatever its own arguments are.
#[derive(Clone, Debug)]
enum Stage {
    /// A step.
    Call(Handling, Body),
    /// Branches beside the main one, or before it.
    FanOut { branches: u64, bad: bool, joins: bool },
    /// A loop.
    Loop(Shape),
    /// A loop that is entered again when it is done.
    Twice(Shape, Vec<Value>),
    /// A loop that is entered twice at the same time.
    AtOnce(Shape, Vec<Value>),
    /// A step that routes to itself.
    Cycle(u64),
}

/// What becomes of a failed call.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Handling {
    /// The execution fails.
    None,
    /// The branch goes on.
    Continue,
    /// A rule tries again; then the execution fails.
    Retry,
    /// A rule tries again; then another one routes.
    RetryThenRoute,
}

/// Builds a playbook stage by stage, and lives through it at the same time.
pub(crate) struct Builder<'a> {
    rng: &'a mut Rng,
    path: String,
    steps: Vec<Value>,
    workload: Map<String, Value>,
    tools: Toolbox,
    books: Vec<Book>,
    /// Playbooks drawn for steps to call.
    called: u64,
    /// Whether what is drawn runs so often that it must not take long.
    hurried: bool,
    shapes: Vec<Fault>,
    expected: Expected,
    /// Whether the execution still goes on here.
    alive: bool,
    loops: u64,
}

impl Plan {
    pub(crate) fn draw(rng: &mut Rng, path: &str) -> Self {
        let tools = Toolbox::new(rng.draw());
        let (steps, loops, counts) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
        let expected = Expected { status: Status::Completed, exact: true, steps, loops, counts };
        let builder = Builder {
            rng,
            path: path.to_owned(),
            steps: Vec::new(),
            workload: Map::new(),
            tools,
            books: Vec::new(),
            called: 0,
            hurried: false,
            shapes: Vec::new(),
            expected,
            alive: true,
            loops: 0,
        };
        builder.build()
    }
}

impl Builder<'_> {
    fn build(mut self) -> Plan {
        let count = self.rng.within(1, 4);
        let stages: Vec<Stage> = (0..count).map(|_| self.draw_stage()).collect();
        let names: Vec<String> = (0..count).map(|number| format!("s{number}")).collect();
        let mut n = self.rng.below(1_000);
        self.tool("start", Tool::default());
        let first = target(&names[0], &Self::arguments(&names[0], &stages[0], &json!(n)));
        self.add(json!({"step": "start", "tool": {"kind": "noop"}, "next": [first]}));
        self.ran("start", None);
        for (number, stage) in stages.iter().enumerate() {
            let next = names.get(number + 1).map(|name| (name.as_str(), &stages[number + 1]));
            n = self.stage(&names[number], stage, n, next);
        }
        if self.loops > 1 {
            self.shapes.push(Fault::SeveralLoops);
        }
        self.expected.exact &= self.expected.status == Status::Completed;
        let Self { path, steps, workload, tools, books, shapes, expected, .. } = self;
        let playbook = json!({
            "apiVersion": "noetl.io/v2", "kind": "Playbook",
            "metadata": {"name": path, "path": path},
            "workload": workload, "workflow": steps,
        });
        let text = serde_json::to_string_pretty(&playbook).unwrap_or_default();
        let book = Book { text, tools: Arc::new(tools) };
        Plan { book, books, expected, shapes }
    }

    fn draw_stage(&mut self) -> Stage {
        match self.rng.below(12) {
            0..=2 => {
                let handlings =
                    [Handling::None, Handling::Continue, Handling::Retry, Handling::RetryThenRoute];
                let handling = *self.rng.pick(&handlings);
                Stage::Call(handling, self.body())
            }
            3 => Stage::FanOut {
                branches: self.rng.within(1, 5),
                bad: self.rng.below(8) == 0,
                joins: self.rng.below(2) == 0,
            },
            4..=8 => Stage::Loop(self.shape()),
            9 => {
                let shape = self.plain_shape();
                Stage::Twice(shape, self.numbers())
            }
            10 => {
                let shape = self.plain_shape();
                Stage::AtOnce(shape, self.numbers())
            }
            _ => Stage::Cycle(self.rng.within(1, 12)),
        }
    }

    fn stage(&mut self, name: &str, stage: &Stage, n: u64, next: Option<(&str, &Stage)>) -> u64 {
        match stage {
            Stage::Call(handling, body) => self.call(name, (*handling, body), n, next),
            Stage::FanOut { joins: true, branches, bad } => {
                self.join(name, (*branches, *bad), n, next)
            }
            Stage::FanOut { branches, bad, .. } => self.fan_out(name, (*branches, *bad), n, next),
            Stage::Loop(shape) => self.looped(name, shape, next),
            Stage::Twice(shape, again) => self.twice(name, shape, again, next),
            Stage::AtOnce(shape, again) => self.at_once(name, shape, again, n, next),
            Stage::Cycle(rounds) => self.cycle(name, *rounds, n, next),
        }
    }

    /// What a stage is entered with.
    fn arguments(name: &str, stage: &Stage, n: &Value) -> Value {
        match stage {
            Stage::Loop(shape) if shape.by_argument => {
                json!({"n": n, "items": format!("{{{{ workload.{name}_items }}}}")})
            }
            Stage::Twice(shape, _) => json!({"n": n, "round": 1, "items": shape.items}),
            Stage::Cycle(_) => json!({"n": n, "round": 1}),
            _ => json!({"n": n}),
        }
    }

    fn onward(next: Option<(&str, &Stage)>, n: &Value) -> Vec<Value> {
        let next = next.map(|(name, stage)| target(name, &Self::arguments(name, stage, n)));
        next.into_iter().collect()
    }

    fn add(&mut self, step: Value) {
        self.steps.push(step);
    }

    fn tool(&mut self, step: &str, tool: Tool) {
        self.tools.insert(step, tool);
    }

    fn future(&mut self, step: &str) -> &mut StepFuture {
        self.expected.steps.entry(step.to_owned()).or_default()
    }

    /// A tool call has come to its end, if the execution still goes on.
    fn ran(&mut self, step: &str, result: Option<Value>) {
        if self.alive {
            let future = self.future(step);
            future.runs += 1;
            future.visits += 1;
            future.result = result;
        }
    }

    fn fail(&mut self) {
        if self.alive {
            self.expected.status = Status::Failed;
            self.alive = false;
        }
    }

    fn draw_tool(&mut self) -> Tool {
        let stuffing = match self.rng.below(12) {
            0 => 40_000,
            1 => 32_000,
            2..=4 => 700,
            _ => 0,
        };
        let longest_ms = *self.rng.pick(&[0, 5, 60, 900]);
        Tool { stuffing, longest_ms, ..Tool::default() }
    }

    fn call(
        &mut self,
        name: &str,
        (handling, body): (Handling, &Body),
        n: u64,
        next: Option<(&str, &Stage)>,
    ) -> u64 {
        let retries = matches!(handling, Handling::Retry | Handling::RetryThenRoute);
        let refuses_ppm = if self.rng.below(3) == 0 { 300_000 } else { 0 };
        let drawn = self.draw_tool();
        let listed = matches!(body, Body::Tasks(_));
        let flaky = if retries || listed { 2 } else { 0 };
        self.tool(name, Tool { refuses_ppm, flaky, body: body.clone(), ..drawn });
        let end = self.tools.end(name, &json!(n));
        let told = matches!((body, &end), (Body::Call, End::Good(_)));
        let after = if told { self.tools.value(name, &json!(n)) } else { self.rng.below(1_000) };
        let passed = if told { json!(format!("{{{{ {name}.value }}}}")) } else { json!(after) };
        let mut rules = Vec::new();
        if retries {
            rules.push(self.retry_rule(1));
        }
        if handling == Handling::RetryThenRoute {
            let rescue = Self::onward(next, &json!(after));
            let then = if rescue.is_empty() {
                json!({"set": {"rescued": name}})
            } else {
                json!({"next": rescue})
            };
            rules.push(json!({"when": "{{ event.name == 'call.error' }}", "then": then}));
        }
        rules.extend(body::rules(name, body, false, &[]));
        let on_error = if handling == Handling::Continue { "continue" } else { "fail" };
        let onward = Self::onward(next, &passed);
        let mut step = json!({
            "step": name, "tool": {"kind": "noop"}, "case": rules, "next": onward,
            "spec": {"on_error": on_error},
        });
        self.embody(&mut step, body, "{{ n }}");
        self.add(step);
        let lost = match (&end, handling) {
            (End::Good(_), _) | (_, Handling::Continue) => false,
            (End::Refused(_), handling) => handling != Handling::RetryThenRoute,
            (End::Unsaved(_), _) => true,
        };
        let result = match end {
            End::Good(result) => Some(result),
            End::Refused(_) | End::Unsaved(_) => None,
        };
        self.ran(name, result);
        if lost {
            self.fail();
        }
        after
    }

    fn retry_rule(&mut self, calls: usize) -> Value {
        // Many long delays one after the other would only take time.
        let delays = [0.0, 0.2, 5.0, 90.0];
        let delay = *self.rng.pick(if calls > 5 { &delays[..2] } else { &delays });
        let retry = json!({"max_attempts": 4, "initial_delay": delay, "backoff_multiplier": 1.5});
        let mut then = json!({"retry": retry});
        if self.rng.below(4) == 0 {
            // Something is noted before the call is tried again.
            then["sink"] = json!({"tool": {"kind": "noop"}, "on_error": "continue"});
        }
        json!({"when": "{{ event.name == 'call.error' }}", "then": then})
    }

    fn fan_out(
        &mut self,
        name: &str,
        (branches, bad): (u64, bool),
        n: u64,
        next: Option<(&str, &Stage)>,
    ) -> u64 {
        let drawn = self.draw_tool();
        self.tool(name, drawn);
        let result = self.tools.result(name, &json!(n));
        self.ran(name, Some(result));
        let mut targets = Vec::new();
        let mut leaves = Vec::new();
        for number in 0..branches {
            let leaf = format!("{name}_leaf{number}");
            targets.push(target(&leaf, &json!({"n": number})));
            let drawn = self.draw_tool();
            let fails = bad && number == 0;
            let refuses_ppm = if fails { 1_000_000 } else { 100_000 };
            self.tool(&leaf, Tool { refuses_ppm, ..drawn });
            let refused = self.tools.refuses(&leaf, &json!(number));
            let result = (!refused).then(|| self.tools.result(&leaf, &json!(number)));
            self.ran(&leaf, result);
            leaves.push(json!({
                "step": leaf, "tool": {"kind": "noop"},
                "spec": {"on_error": if fails { "fail" } else { "continue" }, "timeout": "2s"},
            }));
        }
        let after = self.rng.below(1_000);
        targets.extend(Self::onward(next, &json!(after)));
        self.add(json!({
            "step": name, "tool": {"kind": "noop"}, "next": targets, "spec": {"timeout": "2s"},
        }));
        self.steps.extend(leaves);
        if bad && self.alive {
            // The main branch races against the failure.
            self.expected.status = Status::Failed;
            self.expected.exact = false;
        }
        after
    }

    /// Branches that all lead to one step, which waits for all of them.
    fn join(
        &mut self,
        name: &str,
        (branches, bad): (u64, bool),
        n: u64,
        next: Option<(&str, &Stage)>,
    ) -> u64 {
        let drawn = self.draw_tool();
        self.tool(name, drawn);
        let result = self.tools.result(name, &json!(n));
        self.ran(name, Some(result));
        let joint = format!("{name}_joint");
        let mut targets = Vec::new();
        for number in 0..branches {
            let leaf = format!("{name}_leaf{number}");
            targets.push(target(&leaf, &json!({"n": number})));
            let body = self.body();
            let drawn = self.draw_tool();
            let refuses_ppm = if bad { 500_000 } else { 100_000 };
            self.tool(&leaf, Tool { refuses_ppm, body: body.clone(), ..drawn });
            let end = self.tools.end(&leaf, &json!(number));
            let rules = body::rules(&leaf, &body, false, &[]);
            let on_error = if bad { "fail" } else { "continue" };
            let mut step = json!({
                "step": leaf, "tool": {"kind": "noop"}, "case": rules,
                "next": [target(&joint, &json!({"n": branches}))], "spec": {"on_error": on_error},
            });
            self.embody(&mut step, &body, "{{ n }}");
            self.steps.push(step);
            if bad && self.alive && !matches!(end, End::Good(_)) {
                // The other branches race against the failure.
                self.expected.exact = false;
                self.expected.status = Status::Failed;
            }
            let result = match end {
                End::Good(result) => Some(result),
                End::Refused(_) | End::Unsaved(_) => None,
            };
            self.ran(&leaf, result);
        }
        self.alive &= self.expected.status == Status::Completed;
        self.add(json!({
            "step": name, "tool": {"kind": "noop"}, "next": targets, "spec": {"timeout": "2s"},
        }));
        let (drawn, after) = (self.draw_tool(), self.rng.below(1_000));
        self.tool(&joint, drawn);
        let result = self.tools.result(&joint, &json!(branches));
        let onward = Self::onward(next, &json!(after));
        self.add(json!({
            "step": joint, "tool": {"kind": "noop"}, "next": onward,
            "spec": {"timeout": "2s", "join": "all"},
        }));
        self.ran(&joint, Some(result));
        if self.alive {
            self.shapes.push(Fault::Join);
        }
        after
    }

    fn cycle(&mut self, name: &str, rounds: u64, n: u64, next: Option<(&str, &Stage)>) -> u64 {
        let drawn = self.draw_tool();
        self.tool(name, drawn);
        let again = format!("{{{{ event.name == 'call.done' and round < {rounds} }}}}");
        let same = target(name, &json!({"n": "{{ n + 1 }}", "round": "{{ round + 1 }}"}));
        let after = self.rng.below(1_000);
        let onward = Self::onward(next, &json!(after));
        self.add(json!({
            "step": name, "tool": {"kind": "noop"}, "spec": {"timeout": "2s"},
            "case": [{"when": again, "then": {"next": [same]}}], "next": onward,
        }));
        for round in 0..rounds {
            let result = self.tools.result(name, &json!(n + round));
            self.ran(name, Some(result));
        }
        after
    }
}

fn target(step: &str, args: &Value) -> Value {
    json!({"step": step, "args": args})
}
