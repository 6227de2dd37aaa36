//! Which tool a command calls, with which raw configuration and inputs.

use std::collections::BTreeSet;

use engine_core::command::{CallSite, Command, RuleList};
use engine_core::playbook::sink::tool_of;
use engine_core::playbook::{Action, Playbook, Step, Task as Listed, Tool};
use serde_json::{Map, Value};

use crate::tool::ToolError;

/// A tool call before rendering.
pub(crate) struct Task {
    /// The kind that runs it.
    pub(crate) kind: String,
    /// Its configuration, raw.
    pub(crate) config: Map<String, Value>,
    /// Its inputs, raw; later layers win.
    pub(crate) args: Vec<Layer>,
    /// Whether the tool gets the last layer only: the others are names that its templates use.
    pub(crate) takes_last: bool,
    /// The loop that it stands in.
    pub(crate) iterator: Option<Iterator>,
    /// Its label, for one of several tools of a step.
    pub(crate) label: Option<String>,
    /// Whether it saves what the step has done: by default its result.
    pub(crate) saves: bool,
    /// Line of the tool in the playbook, for one of several; else of its step.
    pub(crate) line: u32,
}

/// Inputs of one origin.
pub(crate) enum Layer {
    /// As the playbook has them.
    Written(Map<String, Value>),
    /// Those of the transition into the step, already values.
    Transition,
}

/// How a loop names its items.
pub(crate) struct Iterator {
    pub(crate) name: String,
    /// Whether an item is a list of items.
    pub(crate) is_chunked: bool,
}

impl Task {
    /// The values that only the tool itself uses.
    pub(crate) fn own_values(&self) -> impl std::iter::Iterator<Item = &Value> {
        let own = match self.args.last() {
            Some(Layer::Written(own)) => Some(own),
            _ => None,
        };
        own.into_iter().chain([&self.config]).flat_map(Map::values)
    }

    /// Leaves inputs out that the tool does not get and that no template of it names.
    pub(crate) fn without_unused(mut self, used: &BTreeSet<String>) -> Self {
        let Some(own) = self.args.len().checked_sub(1).filter(|_| self.takes_last) else {
            return self;
        };
        let is_used = |layer: &Layer| match layer {
            Layer::Written(args) => args.keys().any(|name| used.contains(name)),
            Layer::Transition => false,
        };
        let whole = ["args", "input"].iter().any(|name| used.contains(*name));
        if !whole && !self.args.iter().take(own).any(is_used) {
            self.args.drain(..own);
        }
        self
    }

    /// The inputs that the tool gets, of all that its templates see.
    pub(crate) fn own(&self, mut args: Map<String, Value>) -> Map<String, Value> {
        if let Some(Layer::Written(own)) = self.args.last().filter(|_| self.takes_last) {
            args.retain(|name, _| own.contains_key(name));
        }
        args
    }

    /// Every value of the playbook that may hold templates.
    pub(crate) fn values(&self) -> impl std::iter::Iterator<Item = &Value> {
        let written = self.args.iter().filter_map(|layer| match layer {
            Layer::Written(args) => Some(args),
            Layer::Transition => None,
        });
        written.chain([&self.config]).flat_map(Map::values)
    }
}

/// Line of the step in the playbook; 0 if there is no such step.
pub(crate) fn line(playbook: &Playbook, command: &Command) -> u32 {
    playbook.step(&command.step).map_or(0, |step| step.position.line)
}

/// Finds the tool that a command calls.
pub(crate) fn resolve(playbook: &Playbook, command: &Command) -> Result<Task, ToolError> {
    let Some(step) = playbook.step(&command.step) else {
        return Err(ToolError::input(format!(
            "step `{}` is not in this version of the playbook; start a new execution",
            command.step
        )));
    };
    let missing = |what: &str| {
        ToolError::input(format!(
            "step `{}` has no {what} in this version of the playbook; start a new execution",
            step.name
        ))
    };
    match command.site {
        CallSite::Tool => of_step(playbook, step),
        CallSite::Task(index) => {
            let task = usize::try_from(index).ok().and_then(|index| step.tasks.get(index));
            of_list(playbook, step, task.ok_or_else(|| missing(&format!("task {index}")))?)
        }
        CallSite::Named { list, rule, action } => match action_of(step, list, rule, action) {
            Some(Action::Task(task)) => {
                beside(playbook, step, &task.tool, Some(task.label.clone()))
            }
            _ => Err(missing(&format!("named task in {}", place(list, rule, action)))),
        },
        CallSite::Save { list, rule, action } => match action_of(step, list, rule, action) {
            Some(Action::Sink(sink)) => saving(playbook, step, sink),
            _ => Err(missing(&format!("`sink` in {}", place(list, rule, action)))),
        },
        CallSite::Sink => match &step.sink {
            Some(sink) => saving(playbook, step, sink),
            None => Err(missing("`sink`")),
        },
    }
}

fn place(list: RuleList, rule: u32, action: u32) -> String {
    let list = match list {
        RuleList::Retries => "retry",
        RuleList::Case => "case",
    };
    format!("`{list}[{rule}]`, action {action}")
}

fn action_of(step: &Step, list: RuleList, rule: u32, action: u32) -> Option<&Action> {
    let rules = match list {
        RuleList::Retries => &step.retries,
        RuleList::Case => &step.rules,
    };
    let actions = &rules.get(usize::try_from(rule).ok()?)?.actions;
    actions.get(usize::try_from(action).ok()?)
}

/// The step's own tool; one that only routes does nothing.
fn of_step(playbook: &Playbook, step: &Step) -> Result<Task, ToolError> {
    let (kind, config, own) = match &step.tool {
        None => (step.kind().to_owned(), Map::new(), Map::new()),
        Some(tool) => unfolded(playbook, tool)?,
    };
    let args = vec![Layer::Written(own), Layer::Written(step.args.clone()), Layer::Transition];
    Ok(Task {
        config: configuration(&kind, config, false),
        kind,
        args,
        takes_last: false,
        iterator: iterator(step),
        label: None,
        saves: false,
        line: step.position.line,
    })
}

/// A task of a list: its own inputs are nearest, unless the list is how a single tool is written.
fn of_list(playbook: &Playbook, step: &Step, task: &Listed) -> Result<Task, ToolError> {
    let (kind, config, own) = unfolded(playbook, &task.tool)?;
    let own = Layer::Written(own);
    let (written, transition) = (Layer::Written(step.args.clone()), Layer::Transition);
    let is_single = step.tasks.len() == 1;
    let args =
        if is_single { vec![own, written, transition] } else { vec![written, transition, own] };
    Ok(Task {
        config: configuration(&kind, config, task.tool.kind != "workbook"),
        kind,
        args,
        takes_last: false,
        iterator: iterator(step),
        label: Some(task.label.clone()),
        saves: false,
        line: line_of(&task.tool, step),
    })
}

/// A tool that a rule calls: it gets its own inputs, and its templates see those of the step.
fn beside(
    playbook: &Playbook,
    step: &Step,
    tool: &Tool,
    label: Option<String>,
) -> Result<Task, ToolError> {
    let (kind, config, own) = unfolded(playbook, tool)?;
    let of_tool = step.tool.as_ref().map(|tool| tool.args.clone()).unwrap_or_default();
    let of_step = Layer::Written(step.args.clone());
    Ok(Task {
        config: configuration(&kind, config, false),
        kind,
        args: vec![Layer::Written(of_tool), of_step, Layer::Transition, Layer::Written(own)],
        takes_last: true,
        iterator: iterator(step),
        label,
        saves: false,
        line: line_of(tool, step),
    })
}

fn saving(playbook: &Playbook, step: &Step, sink: &Value) -> Result<Task, ToolError> {
    let task = beside(playbook, step, &tool_of(sink), None)?;
    Ok(Task { saves: true, ..task })
}

fn iterator(step: &Step) -> Option<Iterator> {
    let repeat = step.repeat.as_ref()?;
    Some(Iterator { name: repeat.iterator.clone(), is_chunked: repeat.chunk.is_some() })
}

fn line_of(tool: &Tool, step: &Step) -> u32 {
    if tool.position.line > 0 { tool.position.line } else { step.position.line }
}

/// The configuration without what is not the tool's: policies, storage, variables and labels.
fn configuration(
    kind: &str,
    mut config: Map<String, Value>,
    is_labelled: bool,
) -> Map<String, Value> {
    // Nothing is done with it, and it need not be right.
    if kind == "noop" {
        return Map::new();
    }
    for key in ["output", "set"] {
        config.shift_remove(key);
    }
    if is_labelled {
        config.shift_remove("name");
    }
    if let Some(spec) = config.shift_remove("spec")
        && let Some(timeout) = spec.get("timeout")
    {
        config.insert(
            "spec".to_owned(),
            Map::from_iter([("timeout".to_owned(), timeout.clone())]).into(),
        );
    }
    config
}

/// Kind, configuration and inputs of a tool; a workbook call is the task that it names.
type Unfolded = (String, Map<String, Value>, Map<String, Value>);

fn unfolded(playbook: &Playbook, tool: &Tool) -> Result<Unfolded, ToolError> {
    if tool.kind != "workbook" {
        return Ok((tool.kind.clone(), tool.config.clone(), tool.args.clone()));
    }
    let named = ["task", "name"].iter().find_map(|key| tool.config.get(*key)?.as_str());
    let Some(task) = playbook.workbook.iter().find(|task| Some(task.name.as_str()) == named) else {
        let known: Vec<_> =
            playbook.workbook.iter().map(|task| format!("`{}`", task.name)).collect();
        return Err(ToolError::input(format!(
            "the workbook has no task `{}`; it has {}",
            named.unwrap_or_default(),
            if known.is_empty() { "none".to_owned() } else { known.join(", ") }
        )));
    };
    let mut args = task.tool.args.clone();
    if let Some(Value::Object(with)) = tool.config.get("with") {
        args.extend(with.clone());
    }
    args.extend(tool.args.clone());
    Ok((task.tool.kind.clone(), task.tool.config.clone(), args))
}
