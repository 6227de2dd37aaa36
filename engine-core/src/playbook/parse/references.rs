//! What no level sees alone: names that must be unique, exist, or be reached.

use std::collections::{BTreeMap, BTreeSet};

use super::document::top;
use super::node::Node;
use super::reader::{Reader, listed, nearest};
use super::step::Draft;
use crate::ids::StepName;
use crate::playbook::diagnostic::Span;
use crate::playbook::{Dialect, WorkbookTask};

/// The step that may be named without being defined: it ends the branch.
const TERMINAL: &str = "end";

/// Names listed in an advice.
const LISTED_MAX: usize = 12;

/// A name, and where it stands.
#[derive(Debug)]
pub(super) struct Named {
    /// The name.
    pub(super) name: String,
    /// Where it stands.
    pub(super) span: Span,
}

/// What decides which steps run first and last.
#[derive(Debug)]
pub(super) struct Entries {
    /// `executor.spec.entry_step`.
    pub(super) entry: Option<Named>,
    /// `executor.spec.final_step`.
    pub(super) last: Option<Named>,
    /// The language.
    pub(super) dialect: Dialect,
}

/// A step or a task that some step names.
#[derive(Debug)]
pub(super) struct Mention {
    /// Index of the naming step in the workflow.
    from: usize,
    named: Named,
    is_task: bool,
}

impl Reader<'_> {
    /// Notes that the step at hand names another step, or a workbook task.
    pub(super) fn mention(&mut self, name: &str, span: Span, is_task: bool) {
        let named = Named { name: name.to_owned(), span };
        self.mentions.push(Mention { from: self.from, named, is_task });
    }

    /// Checks all names; the step that runs first.
    pub(super) fn references(
        &mut self,
        drafts: &[Draft],
        workbook: &[WorkbookTask],
        entries: &Entries,
        root: &Node,
    ) -> Option<StepName> {
        let names: BTreeSet<&str> = drafts.iter().map(|draft| draft.step.name.as_str()).collect();
        self.duplicates(drafts);
        let mentions = std::mem::take(&mut self.mentions);
        let tasks: BTreeSet<&str> = workbook.iter().map(|task| task.name.as_str()).collect();
        for mention in &mentions {
            let Named { name, span } = &mention.named;
            if mention.is_task {
                self.known(name, *span, "workbook task", &tasks);
            } else if name != TERMINAL {
                self.known(name, *span, "step", &names);
            }
        }
        for named in [&entries.entry, &entries.last].into_iter().flatten() {
            self.known(&named.name, named.span, "step", &names);
        }
        let entry = self.entry(drafts, entries, root)?;
        // What could not be read might lead anywhere.
        if !self.has_errors() {
            self.unreachable(drafts, &mentions, entries, &entry);
        }
        Some(entry)
    }

    fn duplicates(&mut self, drafts: &[Draft]) {
        let mut lines: BTreeMap<&str, u32> = BTreeMap::new();
        for Draft { step, span, .. } in drafts {
            if let Some(line) = lines.get(step.name.as_str()) {
                let message = format!("the step `{}` is already defined in line {line}", step.name);
                self.error("duplicate-step", *span, message, "rename one of them");
            } else {
                lines.insert(step.name.as_str(), span.start.line);
            }
        }
    }

    fn known(&mut self, name: &str, span: Span, what: &str, names: &BTreeSet<&str>) {
        if names.contains(name) || self.is_full() {
            return;
        }
        let message = format!("there is no {what} `{name}`");
        let advice = if let Some(near) = nearest(name, names.iter().copied()) {
            format!("did you mean `{near}`?")
        } else if names.is_empty() {
            format!("define the {what}")
        } else {
            format!("known are {}", listed(names.iter().copied().take(LISTED_MAX)))
        };
        let code = if what == "step" { "unknown-step" } else { "unknown-task" };
        self.error(code, span, message, advice);
    }

    fn entry(&mut self, drafts: &[Draft], entries: &Entries, root: &Node) -> Option<StepName> {
        if let Some(named) = &entries.entry {
            return Some(named.name.as_str().into());
        }
        let first = &drafts.first()?.step.name;
        match entries.dialect {
            Dialect::Canonical => Some(first.clone()),
            Dialect::Case if drafts.iter().any(|draft| draft.step.name.as_str() == "start") => {
                Some("start".into())
            }
            Dialect::Case => {
                let span = root.get("workflow").map_or_else(top, |entry| entry.span);
                let message = "no step is called `start`";
                let advice = format!("rename the step that runs first, perhaps `{first}`");
                self.error("missing-start", span, message, advice);
                None
            }
        }
    }

    fn unreachable(
        &mut self,
        drafts: &[Draft],
        mentions: &[Mention],
        entries: &Entries,
        entry: &StepName,
    ) {
        let mut targets: BTreeMap<usize, Vec<&str>> = BTreeMap::new();
        for mention in mentions.iter().filter(|mention| !mention.is_task) {
            targets.entry(mention.from).or_default().push(&mention.named.name);
        }
        let by_name: BTreeMap<&str, usize> =
            drafts.iter().map(|draft| (draft.step.name.as_str(), draft.index)).collect();
        let last = entries.last.as_ref().map(|named| named.name.as_str());
        let mut waiting: Vec<&str> = last.into_iter().chain([entry.as_str()]).collect();
        let mut reached = BTreeSet::new();
        while let Some(name) = waiting.pop() {
            if let Some(index) = by_name.get(name).filter(|_| reached.insert(name)) {
                waiting.extend(targets.get(index).into_iter().flatten());
            }
        }
        for Draft { step, span, .. } in drafts {
            if !reached.contains(step.name.as_str()) {
                let message = format!("nothing leads to the step `{}`", step.name);
                let advice = "name it in `next` of another step, or drop it";
                self.warn("unreachable-step", *span, message, advice);
            }
        }
    }
}
