//! What the runs of a step consist of, and how the playbook says so.

use serde_json::{Map, Value, json};

use super::Builder;
use crate::simulation::fault::Fault;
use crate::simulation::tool::{Body, Leaves, Manner, Saves, Tasks};

/// Something that a step does at its good end, under a condition.
pub(super) type Extra = (&'static str, Value);

impl Builder<'_> {
    /// A body of any kind; one call is the most common.
    pub(super) fn body(&mut self) -> Body {
        match self.rng.below(14) {
            0..=4 => Body::Call,
            5..=6 => self.pages(),
            7..=8 => self.saves(),
            9 => self.tasks(),
            10..=11 => Body::Child(self.child(2)),
            12 => Body::Wait,
            _ => {
                let manners = [Manner::Once, Manner::Twice, Manner::Wrong, Manner::Late];
                Body::Callback(*self.rng.pick(&manners))
            }
        }
    }

    /// A body that never fails and needs nobody else.
    pub(super) fn simple_body(&mut self) -> Body {
        match self.rng.below(4) {
            0..=1 => Body::Call,
            2 => self.pages(),
            _ => match self.saves() {
                Body::Saves(saves) => Body::Saves(Saves { refuses_ppm: 0, ..saves }),
                body => body,
            },
        }
    }

    fn pages(&mut self) -> Body {
        Body::Pages(*self.rng.pick(&[Leaves::LastPage, Leaves::Items, Leaves::Envelope]))
    }

    fn saves(&mut self) -> Body {
        Body::Saves(Saves {
            named: self.rng.below(2) == 0,
            by_step: self.rng.below(2) == 0,
            refuses_ppm: *self.rng.pick(&[0, 0, 200_000]),
            forgives: self.rng.below(2) == 0,
        })
    }

    fn tasks(&mut self) -> Body {
        Body::Tasks(Tasks {
            rounds: self.rng.below(3),
            breaks: self.rng.below(2) == 0,
            forgiven_ppm: *self.rng.pick(&[0, 300_000]),
        })
    }

    /// The keys of a step that make its body; `input` is the template of what its calls are given.
    pub(super) fn embody(&mut self, step: &mut Value, body: &Body, input: &str) {
        let situation = match body {
            Body::Call => None,
            Body::Pages(_) => Some(Fault::Pages),
            Body::Saves(_) => Some(Fault::Saves),
            Body::Tasks(_) => Some(Fault::Tasks),
            Body::Child(_) => Some(Fault::Child),
            Body::Wait => Some(Fault::Wait),
            Body::Callback(_) => Some(Fault::Callback),
        };
        self.shapes.extend(situation);
        match body {
            Body::Pages(Leaves::Envelope) => {
                step["retry"] = json!({"on_success": {
                    "while": "{{ response.more }}", "max_attempts": 10,
                    "next_call": {"params": {"page": "{{ response.page + 1 }}"}},
                    "collect": {"strategy": "append", "path": "items"},
                }});
            }
            Body::Saves(saves) if saves.by_step => step["sink"] = sink(*saves),
            Body::Tasks(tasks) => step["tool"] = self.list(*tasks),
            Body::Child(child) => {
                let mut tool = json!({"kind": "playbook", "path": child.path});
                tool["args"] = json!({"m": input});
                if !child.waits {
                    tool["wait"] = json!(false);
                }
                if child.first {
                    tool["return_step"] = json!("start");
                }
                step["tool"] = tool;
            }
            Body::Wait => {
                let longest = if self.hurried { 40 } else { 1_000 };
                let seconds = *self.rng.pick(&[0, 1, 40, longest]);
                step["tool"] = json!({"kind": "wait", "seconds": seconds});
            }
            Body::Callback(manner) => {
                let patient = *manner != Manner::Late;
                let longest = if self.hurried { "40s" } else { "16m" };
                let timeout = if patient { "20h" } else { *self.rng.pick(&["20s", longest]) };
                step["tool"] = json!({"kind": "callback", "timeout": timeout});
            }
            Body::Call | Body::Pages(_) | Body::Saves(_) => {}
        }
        // A child's time is not that of a call of a tool.
        if !matches!(body, Body::Child(_)) {
            step["spec"]["timeout"] = json!("2s");
        }
    }

    fn list(&mut self, tasks: Tasks) -> Value {
        let failed = "{{ output.status == 'error' }}";
        let delay = *self.rng.pick(&[0.0, 0.3, 20.0]);
        let again = json!({"do": "retry", "attempts": 4, "delay": delay, "backoff": "linear"});
        let again = json!({"when": failed, "then": again});
        let mut first = if tasks.forgiven_ppm > 0 {
            vec![json!({"when": failed, "then": {"do": "continue"}})]
        } else {
            vec![again.clone()]
        };
        if tasks.breaks {
            first.push(json!({"when": "{{ output.value % 3 == 0 }}", "then": {"do": "break"}}));
        }
        let mut second = vec![again.clone()];
        if tasks.rounds > 0 {
            let rounds = tasks.rounds;
            let when = format!("{{{{ (iter.round | default(0)) < {rounds} }}}}");
            let count = json!({"iter.round": "{{ (iter.round | default(0)) + 1 }}"});
            second.push(json!({
                "when": when, "then": {"do": "jump", "to": "first", "set": count},
            }));
            second.push(json!({"else": {"then": {"do": "continue"}}}));
        }
        let task = |name: &str, rules: Vec<Value>| json!({"name": name, "kind": "noop", "spec": {"policy": {"rules": rules}}});
        json!([task("first", first), task("second", second), task("third", vec![again])])
    }
}

/// The rules of a body, with what else follows its good end.
pub(super) fn rules(name: &str, body: &Body, looped: bool, extras: &[Extra]) -> Vec<Value> {
    let done = "event.name == 'call.done'";
    let (mut rules, mut then) = (Vec::new(), Map::new());
    let into = format!("{name}_pages");
    let params = json!({"page": "{{ response.page + 1 }}"});
    match body {
        Body::Pages(Leaves::LastPage) => {
            let collect = json!({"strategy": "append", "path": "items"});
            let again = json!({"max_attempts": 10, "params": params});
            rules.push(json!({
                "when": format!("{{{{ {done} and response.more }}}}"),
                "then": {"collect": collect, "retry": again},
            }));
            then.insert("collect".to_owned(), collect);
        }
        Body::Pages(Leaves::Items) => {
            if !looped {
                let set = json!({"set": {&into: []}});
                rules.push(json!({"when": "{{ event.name == 'step.enter' }}", "then": set}));
            }
            let collect = json!({"from": "response.items", "into": into, "mode": "extend"});
            rules.push(json!({
                "when": format!("{{{{ {done} and response.more }}}}"),
                "then": {"collect": collect, "call": {"params": params}},
            }));
            then.insert("collect".to_owned(), collect);
            then.insert("result".to_owned(), json!({"from": into}));
        }
        Body::Saves(saves) => {
            if saves.named {
                then.insert("audit".to_owned(), json!({"tool": {"kind": "noop"}}));
            }
            if !saves.by_step {
                then.insert("sink".to_owned(), sink(*saves));
            }
        }
        _ => {}
    }
    for (condition, more) in extras {
        let mut then = then.clone();
        then.extend(more.as_object().cloned().unwrap_or_default());
        let when = format!("{{{{ {done} and {condition} }}}}");
        rules.push(json!({"when": when, "then": then}));
    }
    if !then.is_empty() {
        rules.push(json!({"when": format!("{{{{ {done} }}}}"), "then": then}));
    }
    rules
}

fn sink(saves: Saves) -> Value {
    let on_error = if saves.forgives { "continue" } else { "fail" };
    json!({"tool": {"kind": "noop"}, "on_error": on_error})
}
