//! Playbooks that steps of a plan call.

use std::sync::Arc;

use serde_json::{Value, json};

use super::{Book, Builder, target};
use crate::simulation::tool::{Body, Child, Leaves, Manner, Tool, Toolbox};

impl Builder<'_> {
    /// A playbook for a step to call, that may call one itself on all levels but the last.
    pub(super) fn child(&mut self, levels: u64) -> Child {
        let refuses_ppm = *self.rng.pick(&[0, 0, 300_000]);
        let (waits, first) = (self.rng.below(4) > 0, self.rng.below(3) == 0);
        Child { waits, first: first && waits, ..self.draw_child(levels, refuses_ppm) }
    }

    fn draw_child(&mut self, levels: u64, refuses_ppm: u64) -> Child {
        self.called += 1;
        let path = format!("{}/child{}", self.path, self.called);
        let mut tools = Toolbox::new(self.rng.draw());
        let drawn = self.draw_tool();
        tools.insert("start", Tool { refuses_ppm, flaky: 2, ..drawn });
        let drawn = self.draw_tool();
        tools.insert("last", drawn);
        let passed = json!({"n": "{{ start.value }}"});
        let onward = json!([target("last", &passed)]);
        let hurried = std::mem::replace(&mut self.hurried, true);
        let middle = self.middle(levels, &mut tools, &onward);
        self.hurried = hurried;
        let next = if middle.is_some() { json!([target("middle", &passed)]) } else { onward };
        let case = json!([self.retry_rule(2)]);
        let mut steps = vec![json!({
            "step": "start", "tool": {"kind": "noop"}, "spec": {"timeout": "2s"},
            "case": case, "next": next,
        })];
        steps.extend(middle);
        steps.push(json!({
            "step": "last", "tool": {"kind": "noop"}, "spec": {"timeout": "2s"}, "case": [],
        }));
        let playbook = json!({
            "apiVersion": "noetl.io/v2", "kind": "Playbook",
            "metadata": {"name": path, "path": path}, "workflow": steps,
        });
        let text = serde_json::to_string_pretty(&playbook).unwrap_or_default();
        let tools = Arc::new(tools);
        self.books.push(Book { text, tools: Arc::clone(&tools) });
        Child { path, tools, waits: true, first: false }
    }

    /// What a child does between its first step and its last.
    fn middle(&mut self, levels: u64, tools: &mut Toolbox, onward: &Value) -> Option<Value> {
        let body = match self.rng.below(7) {
            0 | 1 => return None,
            2 => Body::Pages(Leaves::Envelope),
            3 => Body::Wait,
            4 => Body::Callback(Manner::Once),
            _ if levels > 1 => Body::Child(self.draw_child(levels - 1, 0)),
            _ => Body::Call,
        };
        let drawn = self.draw_tool();
        tools.insert("middle", Tool { body: body.clone(), ..drawn });
        let mut step = json!({
            "step": "middle", "tool": {"kind": "noop"}, "case": [], "next": onward, "spec": {},
        });
        let looped = self.rng.below(2) == 0;
        if looped {
            let spec = json!({"mode": "parallel", "max_in_flight": 2});
            step["loop"] = json!({"in": [1, 2, 3], "iterator": "item", "spec": spec});
        }
        self.embody(&mut step, &body, if looped { "{{ item }}" } else { "{{ n }}" });
        Some(step)
    }
}
