//! What one step run, or one iteration of a loop, has done so far when one call of one tool is not all.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::command::{CallSite, RuleList};
use crate::event::ToolFailure;
use crate::ids::ExecutionId;
use crate::payload::Payload;

/// A run or an iteration that makes several calls: pages, tasks, sinks, a child execution, a wait.
///
/// Everything in it is small or a reference: it is written with every call.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(default)]
pub struct Unit {
    /// Calls so far, the one that is out included, from 1: it numbers the command's id.
    pub calls: u32,
    /// What the call that is out runs.
    pub site: CallSite,
    /// Unix milliseconds when its first call began; 0 before that is known.
    #[serde(skip_serializing_if = "is_zero")]
    pub began_ms: i64,
    /// 1-based page of the step's tool.
    #[serde(skip_serializing_if = "is_first")]
    pub page: u32,
    /// Tool configuration that pages changed, key by key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub overrides: Option<Value>,
    /// A request that later pages are compared with: a cursor that comes again never ends.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tortoise: Option<String>,
    /// Variables of this unit alone: `iter.*` and `step.*`, and what an iteration collects.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub vars: BTreeMap<String, Payload>,
    /// Results of its tasks by label, and of the named tasks of its rules.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub results: BTreeMap<String, Payload>,
    /// What an iteration's result is by now: the last tool call's, or what a rule put in its place.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub result: Option<Payload>,
    /// Result of the task before (`_prev`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prev: Option<Payload>,
    /// What its pages have collected.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub collected: Option<Collected>,
    /// Where to go on when the sink or named task that is out was answered.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub then: Option<Continuation>,
    /// The child execution that the call runs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub child: Option<ExecutionId>,
    /// Unix milliseconds that the call waits for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub until_ms: Option<i64>,
    /// Unix milliseconds since when it does.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub since_ms: Option<i64>,
    /// What a callback must present.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token: Option<String>,
}

/// What the pages of a tool have collected.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Collected {
    /// A list, or for `replace` and `merge` a value.
    pub items: Payload,
    /// Whether the result of the tool is told with it: not for `collect: {from, into}`, which only
    /// fills a variable.
    pub told: bool,
    /// Whether the items are the result's `data`.
    pub envelope: bool,
}

/// An event whose rules are not through yet: one of them waits for a call.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Continuation {
    /// Such as `call.done`.
    pub event: String,
    /// The alias under which the rule matched, if it is not the event's own name.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub alias: Option<String>,
    /// What the event was about.
    pub response: Payload,
    /// Why the call failed.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub error: Option<ToolFailure>,
    /// The attempt that was answered; 0 where none was.
    #[serde(default)]
    pub attempt: u32,
    /// Whether a rule has matched the failure.
    #[serde(default)]
    pub handled: bool,
    /// Rules that had their turn and have no second one.
    #[serde(skip_serializing_if = "BTreeSet::is_empty", default)]
    pub fired: BTreeSet<u32>,
    /// Which rules.
    pub list: RuleList,
    /// The rule that waits, from 0.
    pub rule: u32,
    /// The action that waits, from 0.
    pub action: u32,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it with a reference")]
fn is_first(page: &u32) -> bool {
    *page == 1
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it with a reference")]
fn is_zero(ms: &i64) -> bool {
    *ms == 0
}

impl Default for Unit {
    fn default() -> Self {
        Self {
            calls: 1,
            site: CallSite::Tool,
            began_ms: 0,
            page: 1,
            overrides: None,
            tortoise: None,
            vars: BTreeMap::new(),
            results: BTreeMap::new(),
            result: None,
            prev: None,
            collected: None,
            then: None,
            child: None,
            until_ms: None,
            since_ms: None,
            token: None,
        }
    }
}
