//! The loops of a plan.

use engine_core::limits::LOOP_IN_FLIGHT_DEFAULT;
use serde_json::{Value, json};

use super::{Builder, Stage, Tool, body, target};
use crate::simulation::fault::Fault;
use crate::simulation::tool::{Body, End};

/// What a loop looks like.
#[derive(Clone, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is a choice of its own")]
pub(super) struct Shape {
    /// What `loop.in` evaluates to.
    source: Value,
    /// The items that it stands for.
    pub(super) items: Vec<Value>,
    /// Whether the items come with the transition.
    pub(super) by_argument: bool,
    /// The window; none for a sequential loop.
    window: Option<u64>,
    rules: Rules,
    fail_fast: bool,
    continues: bool,
    refuses_ppm: u64,
    /// What an iteration consists of.
    body: Body,
    /// Whether routes lead to a loop.
    nested: bool,
}

/// What the rules of a loop do.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Rules {
    /// None: iterations travel in frames.
    None,
    /// Try failed iterations again.
    Retry,
    /// Try failed iterations again, and take care of the rest.
    RetryThenHandle,
    /// Count good iterations in a variable.
    Set,
    /// Route from some iterations.
    Route,
    /// Route when the loop is done.
    Done,
}

impl Builder<'_> {
    pub(super) fn shape(&mut self) -> Shape {
        let rules = *self.rng.pick(&[
            Rules::None,
            Rules::None,
            Rules::Retry,
            Rules::RetryThenHandle,
            Rules::Set,
            Rules::Route,
            Rules::Done,
        ]);
        let mut body = self.body();
        if let (Body::Saves(saves), Rules::Route) = (&mut body, rules) {
            saves.refuses_ppm = 0;
        }
        let (source, items) = if self.rng.below(6) == 0 && rules != Rules::Route {
            self.odd_source()
        } else {
            let items = if matches!(body, Body::Call) { self.numbers() } else { self.few() };
            (json!(items), items)
        };
        let parallel = self.rng.below(3) > 0;
        let refuses_ppm = *self.rng.pick(&[0, 0, 100_000, 1_000_000]);
        Shape {
            source,
            items,
            by_argument: self.rng.below(3) == 0,
            window: parallel.then(|| self.rng.within(1, 12)),
            rules,
            fail_fast: rules != Rules::Route && self.rng.below(4) == 0,
            continues: self.rng.below(2) == 0,
            refuses_ppm,
            body,
            nested: self.rng.below(2) == 0,
        }
    }

    /// A loop without failures and rules.
    pub(super) fn plain_shape(&mut self) -> Shape {
        let body = self.simple_body();
        let items = if matches!(body, Body::Call) { self.numbers() } else { self.few() };
        Shape {
            source: json!(items),
            items,
            by_argument: true,
            window: Some(self.rng.within(1, 12)),
            rules: Rules::None,
            fail_fast: false,
            continues: false,
            refuses_ppm: 0,
            body,
            nested: false,
        }
    }

    /// As many items as several calls for each allow.
    pub(super) fn few(&mut self) -> Vec<Value> {
        let count = *self.rng.pick(&[0, 1, 2, 3, 5, 8, 12]);
        let from = self.rng.below(1_000);
        (from..from + count).map(|number| json!(number)).collect()
    }

    /// Items around the sizes at which windows and frames behave differently.
    pub(super) fn numbers(&mut self) -> Vec<Value> {
        let count = match self.rng.below(100) {
            0..=7 => 0,
            8..=15 => 1,
            16..=23 => 2,
            24..=70 => self.rng.within(3, 14),
            71..=96 => self.rng.within(15, 50),
            _ => self.rng.within(200, 350),
        };
        let from = self.rng.below(1_000);
        (from..from + count).map(|number| json!(number)).collect()
    }

    /// Something that is no list of numbers.
    fn odd_source(&mut self) -> (Value, Vec<Value>) {
        let map = json!({"a": 1, "b": [2]});
        match self.rng.below(6) {
            0 => (Value::Null, Vec::new()),
            1 => (json!(""), Vec::new()),
            2 => (json!("just text"), vec![json!("just text")]),
            3 => (map.clone(), vec![map]),
            4 => (json!("[1, 2, 3]"), vec![json!(1), json!(2), json!(3)]),
            _ => {
                let items = vec![json!("a"), map, json!(null), json!([1])];
                (json!(items), items)
            }
        }
    }

    pub(super) fn looped(
        &mut self,
        name: &str,
        shape: &Shape,
        next: Option<(&str, &Stage)>,
    ) -> u64 {
        self.loop_tool(name, shape, shape.items.len());
        self.workload.insert(format!("{name}_items"), shape.source.clone());
        let source = if shape.by_argument {
            json!("{{ items }}")
        } else {
            json!(format!("{{{{ workload.{name}_items }}}}"))
        };
        let settled = self.settle(name, shape);
        let told = shape.rules == Rules::Done && settled.certain;
        let after = if told { settled.runs - settled.failed } else { self.rng.below(1_000) };
        let passed = if told { json!("{{ result.stats.success }}") } else { json!(after) };
        let rules = self.rules(name, shape, next, &passed);
        let onward = Self::onward(next, &json!(after));
        self.add_loop(name, shape, &source, (rules, onward));
        if shape.rules == Rules::Route {
            self.sides(name, shape);
        }
        if !self.alive {
            return after;
        }
        self.met(shape);
        self.enter_loop(name, &shape.items, settled.runs, settled.result.clone());
        self.expected.exact &= settled.certain;
        if shape.rules == Rules::Set && settled.certain {
            self.expected.counts.insert(format!("{name}_good"), settled.done);
        }
        if settled.lost && !shape.continues && shape.rules != Rules::Done {
            self.fail();
        }
        after
    }

    fn loop_tool(&mut self, name: &str, shape: &Shape, items: usize) {
        let retries = matches!(shape.rules, Rules::Retry | Rules::RetryThenHandle);
        let mut tool = self.draw_tool();
        // Hundreds of large results would only cost time.
        if items > 50 {
            tool.stuffing = tool.stuffing.min(700);
            tool.longest_ms = tool.longest_ms.min(60);
        }
        if items <= 50 && self.rng.below(10) == 0 {
            tool.longest_ms = 60_000;
        }
        tool.refuses_ppm = shape.refuses_ppm;
        let listed = matches!(shape.body, Body::Tasks(_));
        tool.flaky = if retries || listed { 2 } else { 0 };
        tool.body = shape.body.clone();
        self.tool(name, tool);
    }

    fn met(&mut self, shape: &Shape) {
        match shape.items.len() {
            0 => self.shapes.push(Fault::EmptyLoop),
            1 => self.shapes.push(Fault::OneItem),
            200.. => self.shapes.push(Fault::Hundreds),
            _ => {}
        }
        if !shape.source.is_array() {
            self.shapes.push(Fault::NotAList);
        }
    }

    /// A loop runs once over `items`.
    fn enter_loop(&mut self, name: &str, items: &[Value], runs: u64, result: Option<Value>) {
        if !self.alive {
            return;
        }
        self.loops += 1;
        let future = self.future(name);
        future.runs += runs;
        future.visits += 1;
        future.result = result;
        let over = (name.to_owned(), json!(items).to_string());
        *self.expected.loops.entry(over).or_default() += 1;
    }

    fn settle(&self, name: &str, shape: &Shape) -> Settled {
        let ends: Vec<End> = shape.items.iter().map(|item| self.tools.end(name, item)).collect();
        let handles = shape.rules == Rules::RetryThenHandle;
        let failed = |end: &&End| !matches!(end, End::Good(_));
        let unhandled = |end: &End| match end {
            End::Good(_) => false,
            End::Refused(_) => !handles,
            End::Unsaved(_) => true,
        };
        let (mut runs, mut certain) = (ends.len(), true);
        if let Some(first) = ends.iter().position(unhandled).filter(|_| shape.fail_fast) {
            runs = first + 1;
            certain = shape.window.is_none();
        }
        let lost = ends[..runs].iter().any(unhandled);
        let failed = ends[..runs].iter().filter(failed).count();
        let lost = lost && (failed == runs || shape.fail_fast);
        let results: Vec<Value> =
            shape.items[..runs].iter().map(|item| self.tools.settled(name, item)).collect();
        let refused = |end: &&End| matches!(end, End::Refused(_));
        let done = (runs - ends[..runs].iter().filter(refused).count()) as u64;
        let (runs, failed) = (runs as u64, failed as u64);
        let stats = json!({"total": runs, "success": runs - failed, "failed": failed});
        let result = certain.then(|| json!({"results": results, "stats": stats}));
        Settled { runs, failed, done, lost, certain, result }
    }

    fn rules(
        &mut self,
        name: &str,
        shape: &Shape,
        next: Option<(&str, &Stage)>,
        passed: &Value,
    ) -> Vec<Value> {
        let (mut rules, mut extras) = (Vec::new(), Vec::new());
        match shape.rules {
            Rules::None => {}
            Rules::Retry => rules.push(self.retry_rule(shape.items.len())),
            Rules::RetryThenHandle => {
                let handle = json!({"set": {"bad": "{{ item }}"}});
                let failed = "{{ event.name == 'call.error' }}";
                rules.push(self.retry_rule(shape.items.len()));
                rules.push(json!({"when": failed, "then": handle}));
            }
            Rules::Set => {
                let count = format!("{{{{ ({name}_good | default(0)) + 1 }}}}");
                extras.push(("true", json!({"set": {format!("{name}_good"): count}})));
            }
            Rules::Route => {
                let args = json!({"n": "{{ item }}", "items": "{{ [item, item + 1] }}"});
                let side = target(&format!("{name}_side"), &args);
                extras.push(("item % 5 == 0", json!({"next": [side]})));
            }
            Rules::Done => {
                let onward = Self::onward(next, passed);
                let then = if onward.is_empty() {
                    json!({"set": {"stats": "{{ result.stats }}"}})
                } else {
                    json!({"next": onward})
                };
                rules.push(json!({"when": "{{ event.name == 'loop.done' }}", "then": then}));
            }
        }
        rules.extend(body::rules(name, &shape.body, true, &extras));
        rules
    }

    fn add_loop(
        &mut self,
        name: &str,
        shape: &Shape,
        source: &Value,
        (rules, onward): (Vec<Value>, Vec<Value>),
    ) {
        let mut spec = json!({"mode": "sequential"});
        if let Some(window) = shape.window {
            spec = json!({"mode": "parallel"});
            if window != LOOP_IN_FLIGHT_DEFAULT {
                spec["max_in_flight"] = json!(window);
            }
        }
        if shape.fail_fast {
            spec["policy"] = json!({"failure": {"mode": "fail_fast"}});
        }
        let on_error = if shape.continues { "continue" } else { "fail" };
        let mut step = json!({
            "step": name, "tool": {"kind": "noop"}, "case": rules, "next": onward,
            "loop": {"in": source, "iterator": "item", "spec": spec},
            "spec": {"on_error": on_error},
        });
        self.hurried = shape.items.len() > 2;
        self.embody(&mut step, &shape.body, "{{ item }}");
        self.hurried = false;
        self.add(step);
    }

    /// Steps that iterations route to: a call, or a loop of their own.
    fn sides(&mut self, name: &str, shape: &Shape) {
        let side = format!("{name}_side");
        let body = if shape.nested { self.simple_body() } else { Body::Call };
        let tool = Tool { longest_ms: 20, body: body.clone(), ..Tool::default() };
        self.tool(&side, tool);
        let mut step = json!({
            "step": side, "tool": {"kind": "noop"}, "spec": {},
            "case": body::rules(&side, &body, shape.nested, &[]),
        });
        if shape.nested {
            step["loop"] = json!({"in": "{{ items }}", "iterator": "inner"});
            self.shapes.push(Fault::LoopOfLoops);
        }
        self.embody(&mut step, &body, "{{ n }}");
        self.add(step);
        for item in &shape.items {
            let good = matches!(self.tools.end(name, item), End::Good(_));
            let Some(n) = item.as_u64().filter(|n| good && n % 5 == 0) else { continue };
            if shape.nested {
                self.enter_loop(&side, &[json!(n), json!(n + 1)], 2, None);
            } else {
                self.ran(&side, None);
            }
        }
    }

    pub(super) fn twice(
        &mut self,
        name: &str,
        shape: &Shape,
        again: &[Value],
        next: Option<(&str, &Stage)>,
    ) -> u64 {
        self.loop_tool(name, shape, shape.items.len().max(again.len()));
        let after = self.rng.below(1_000);
        let onward = Self::onward(next, &json!(after));
        let second = target(name, &json!({"n": 0, "round": 2, "items": again}));
        let when = "{{ event.name == 'loop.done' and round == 1 }}";
        let mut rules = vec![json!({"when": when, "then": {"next": [second]}})];
        rules.extend(body::rules(name, &shape.body, true, &[]));
        self.add_loop(name, shape, &json!("{{ items }}"), (rules, onward));
        for items in [&shape.items[..], again] {
            let settled = self.settle(name, &Shape { items: items.to_vec(), ..shape.clone() });
            self.enter_loop(name, items, settled.runs, settled.result);
        }
        if self.alive {
            self.shapes.push(Fault::Reentered);
        }
        after
    }

    pub(super) fn at_once(
        &mut self,
        name: &str,
        shape: &Shape,
        again: &[Value],
        n: u64,
        next: Option<(&str, &Stage)>,
    ) -> u64 {
        let body = format!("{name}_body");
        self.loop_tool(&body, shape, shape.items.len().max(again.len()));
        let drawn = self.draw_tool();
        self.tool(name, drawn);
        let result = self.tools.result(name, &json!(n));
        self.ran(name, Some(result));
        let after = self.rng.below(1_000);
        let mut targets: Vec<Value> = [&shape.items[..], again]
            .iter()
            .map(|items| target(&body, &json!({"n": 0, "items": items})))
            .collect();
        targets.extend(Self::onward(next, &json!(after)));
        self.add(json!({
            "step": name, "tool": {"kind": "noop"}, "next": targets, "spec": {"timeout": "2s"},
        }));
        let rules = body::rules(&body, &shape.body, true, &[]);
        self.add_loop(&body, shape, &json!("{{ items }}"), (rules, Vec::new()));
        for items in [&shape.items[..], again] {
            self.enter_loop(&body, items, items.len() as u64, None);
        }
        if self.alive {
            self.shapes.push(Fault::Reentered);
        }
        after
    }
}

/// How one run over a list comes out.
struct Settled {
    runs: u64,
    failed: u64,
    /// Iterations whose tool came to a good end, whatever became of what saves its result.
    done: u64,
    /// Whether the loop counts as failed.
    lost: bool,
    /// Whether the counts are certain.
    certain: bool,
    result: Option<Value>,
}
