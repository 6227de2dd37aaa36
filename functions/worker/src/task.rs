//! Which tool a command calls, with which raw configuration and inputs.

use engine_core::command::Command;
use engine_core::playbook::{Action, Playbook, Step, Tool};
use serde_json::{Map, Value};

use crate::tool::ToolError;

/// A tool call before rendering.
pub(crate) struct Task {
    /// The kind that runs it.
    pub(crate) kind: String,
    /// Its configuration, raw.
    pub(crate) config: Map<String, Value>,
    /// Its inputs, raw; later layers win.
    pub(crate) args: Vec<Map<String, Value>>,
    /// The loop that it stands in.
    pub(crate) iterator: Option<Iterator>,
}

/// How a loop names its items.
pub(crate) struct Iterator {
    pub(crate) name: String,
    /// Whether an item is a list of items.
    pub(crate) is_chunked: bool,
}

/// Line of the step in the playbook; 0 if there is no such step.
pub(crate) fn line(playbook: &Playbook, command: &Command) -> u32 {
    owner(playbook, command.step.as_str()).map_or(0, |(step, _)| step.position.line)
}

/// Finds the tool of a command's step.
pub(crate) fn resolve(playbook: &Playbook, command: &Command) -> Result<Task, ToolError> {
    let name = command.step.as_str();
    let Some((step, tool)) = owner(playbook, name) else {
        return Err(ToolError::input(format!(
            "step `{name}` is not in this version of the playbook; start a new execution"
        )));
    };
    let iterator = step.repeat.as_ref().map(|repeat| Iterator {
        name: repeat.iterator.clone(),
        is_chunked: repeat.chunk.is_some(),
    });
    let args = if step.name == command.step { step.args.clone() } else { Map::new() };
    match tool {
        None => Ok(Task {
            kind: step.kind().to_owned(),
            config: Map::new(),
            args: vec![args],
            iterator,
        }),
        Some(tool) if tool.kind == "workbook" => workbook(playbook, tool, args, iterator),
        Some(tool) => Ok(Task {
            kind: tool.kind.clone(),
            config: tool.config.clone(),
            args: vec![tool.args.clone(), args],
            iterator,
        }),
    }
}

/// The step of that name, or the step that has an inline task `step:label`.
fn owner<'a>(playbook: &'a Playbook, name: &str) -> Option<(&'a Step, Option<&'a Tool>)> {
    if let Some(step) = playbook.steps.iter().find(|step| step.name.as_str() == name) {
        return Some((step, step.tool.as_ref()));
    }
    let (parent, label) = name.rsplit_once(':')?;
    let step = playbook.steps.iter().find(|step| step.name.as_str() == parent)?;
    let listed = step.tasks.iter();
    let inline =
        step.rules.iter().flat_map(|rule| &rule.actions).filter_map(|action| match action {
            Action::Task(task) => Some(&**task),
            _ => None,
        });
    let task = listed.chain(inline).find(|task| task.label == label)?;
    Some((step, Some(&task.tool)))
}

/// Runs a named task in the place of the step's tool: its inputs lie under those of the step.
fn workbook(
    playbook: &Playbook,
    tool: &Tool,
    step_args: Map<String, Value>,
    iterator: Option<Iterator>,
) -> Result<Task, ToolError> {
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
    let with = match tool.config.get("with") {
        Some(Value::Object(with)) => with.clone(),
        _ => Map::new(),
    };
    Ok(Task {
        kind: task.tool.kind.clone(),
        config: task.tool.config.clone(),
        args: vec![task.tool.args.clone(), with, tool.args.clone(), step_args],
        iterator,
    })
}
