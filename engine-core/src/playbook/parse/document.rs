//! YAML text to a tree, within limits, from parser events: nothing here recurses on input.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::rc::Rc;

use super::node::{Data, Entry, Node, Scalar, Style, resolve};
use crate::limits;
use crate::playbook::Position;
use crate::playbook::diagnostic::{Diagnostic, Span};
use saphyr_parser::{
    Event, Marker, Parser, ScalarStyle, ScanError, Span as Stretch, StrInput, Tag,
};

/// What the text holds.
#[derive(Debug, Default)]
pub(super) struct Document {
    /// The tree; absent if the text is not YAML or exceeds a limit.
    pub(super) root: Option<Node>,
    /// What is wrong with the YAML itself.
    pub(super) found: Vec<Diagnostic>,
    /// Nodes seen, those behind aliases included.
    pub(super) nodes: usize,
}

/// Reads one YAML document.
pub(super) fn read(text: &str) -> Document {
    let mut builder = Builder::default();
    if text.len() > limits::PLAYBOOK_BYTES_MAX {
        let (is, max) = (text.len(), limits::PLAYBOOK_BYTES_MAX);
        let message = format!("the playbook has {is} bytes, the limit is {max}");
        let advice = "split it into sub-playbooks, or keep data in files that steps read";
        builder.report(Diagnostic::error("yaml-limit", top(), message).advised(advice));
        return builder.done;
    }
    let mut events = Parser::new_from_str(text);
    if let Err(fatal) = builder.run(&mut events) {
        builder.done.root = None;
        builder.report(hint(fatal, text));
    } else if builder.done.root.is_none() {
        builder.report(Diagnostic::error("yaml-syntax", top(), "the playbook is empty"));
    }
    builder.done
}

/// The first character of the text.
pub(super) fn top() -> Span {
    Span { start: Position { line: 1, column: 1 }, length: 1 }
}

/// Resources that a subtree takes when it is walked.
#[derive(Clone, Copy, Debug, Default)]
struct Weight {
    nodes: usize,
    bytes: usize,
    height: usize,
}

impl Weight {
    fn add(&mut self, child: Self) {
        self.nodes = self.nodes.saturating_add(child.nodes);
        self.bytes = self.bytes.saturating_add(child.bytes);
        self.height = self.height.max(child.height + 1);
    }
}

/// A collection that is still open.
#[derive(Debug)]
struct Frame {
    span: Span,
    anchor: usize,
    weight: Weight,
    content: Content,
}

#[derive(Debug)]
enum Content {
    List(Vec<Node>),
    Map { entries: Vec<Entry>, keys: BTreeSet<String>, key: Option<Key>, merged: Vec<Node> },
}

/// A key whose value is still to come.
#[derive(Debug)]
struct Key {
    text: String,
    span: Span,
    /// Whether it is the merge key `<<`.
    merges: bool,
}

#[derive(Debug, Default)]
struct Builder {
    done: Document,
    frames: Vec<Frame>,
    anchors: BTreeMap<usize, (Node, Weight)>,
    aliases: usize,
    bytes: usize,
}

impl Builder {
    fn report(&mut self, diagnostic: Diagnostic) {
        if self.done.found.len() < limits::DIAGNOSTICS_MAX {
            self.done.found.push(diagnostic);
        }
    }

    fn run(&mut self, events: &mut Parser<'_, StrInput<'_>>) -> Result<(), Diagnostic> {
        while let Some(event) = events.next_event() {
            let (event, stretch) = event.map_err(|error| unreadable(&error))?;
            let span = span_of(stretch);
            match event {
                Event::DocumentStart(_) if self.done.root.is_some() => {
                    let message = "a second document starts here; a file holds one playbook";
                    let found = Diagnostic::error("yaml-documents", span, message);
                    self.report(found.advised("move it to a file of its own"));
                    return Ok(());
                }
                Event::Scalar(text, style, anchor, tag) => {
                    let node = self.scalar(&text, style, tag.as_deref(), span);
                    let weight = Weight { nodes: 1, bytes: text.len(), height: 1 };
                    self.finish(node, weight, anchor)?;
                }
                Event::Alias(anchor) => self.alias(anchor, span)?,
                Event::SequenceStart(anchor, tag) => {
                    self.refuse(tag.as_deref(), "seq", span);
                    self.open(Content::List(Vec::new()), anchor, span)?;
                }
                Event::MappingStart(anchor, tag) => {
                    self.refuse(tag.as_deref(), "map", span);
                    let keys = BTreeSet::new();
                    let content =
                        Content::Map { entries: Vec::new(), keys, key: None, merged: Vec::new() };
                    self.open(content, anchor, span)?;
                }
                Event::SequenceEnd | Event::MappingEnd => self.close()?,
                Event::DocumentStart(_)
                | Event::DocumentEnd
                | Event::StreamStart
                | Event::StreamEnd
                | Event::Nothing => {}
            }
        }
        Ok(())
    }

    fn scalar(&mut self, text: &str, style: ScalarStyle, tag: Option<&Tag>, span: Span) -> Node {
        let style = match style {
            ScalarStyle::Plain => Style::Plain,
            ScalarStyle::SingleQuoted | ScalarStyle::DoubleQuoted => Style::Quoted,
            ScalarStyle::Literal | ScalarStyle::Folded => Style::Block,
        };
        let is_text = tag.is_some_and(|tag| is_core(tag, "str") || tag.suffix == "!");
        if !is_text {
            self.refuse(tag, "str", span);
        }
        let typed = if style == Style::Plain && !is_text { resolve(text) } else { Ok(None) };
        let typed = typed.unwrap_or_else(|advice| {
            let message = format!("`{text}` is not a number that JSON can hold");
            self.report(Diagnostic::error("yaml-number", span, message).advised(advice));
            None
        });
        let scalar = Scalar { text: text.to_owned(), style, typed, span };
        Node { span, data: Rc::new(Data::Scalar(scalar)) }
    }

    /// Only the tags that change nothing are let in: others name classes of some language.
    fn refuse(&mut self, tag: Option<&Tag>, allowed: &str, span: Span) {
        if let Some(tag) = tag.filter(|tag| !is_core(tag, allowed)) {
            let message = format!("the tag `{tag}` is not allowed");
            let advice = "drop the tag; quote the value if it must be text";
            self.report(Diagnostic::error("yaml-tag", span, message).advised(advice));
        }
    }

    fn alias(&mut self, anchor: usize, span: Span) -> Result<(), Diagnostic> {
        self.aliases += 1;
        if self.aliases > limits::YAML_ALIASES_MAX {
            let message = format!("more than {} aliases", limits::YAML_ALIASES_MAX);
            return Err(Diagnostic::error("yaml-limit", span, message));
        }
        let Some((node, weight)) = self.anchors.get(&anchor).cloned() else {
            let message = "an alias stands inside the value that it names";
            return Err(Diagnostic::error("yaml-alias", span, message)
                .advised("a value cannot contain itself; write it out"));
        };
        self.finish(Node { span, ..node }, weight, 0)
    }

    fn open(&mut self, content: Content, anchor: usize, span: Span) -> Result<(), Diagnostic> {
        self.within_depth(1, span)?;
        let weight = Weight { nodes: 1, bytes: 0, height: 1 };
        // Counted when it opens: what is inside counts for itself, what is behind an alias at once.
        self.spend(weight, span)?;
        self.frames.push(Frame { span, anchor, weight, content });
        Ok(())
    }

    fn close(&mut self) -> Result<(), Diagnostic> {
        let Some(frame) = self.frames.pop() else { return Ok(()) };
        let data = match frame.content {
            Content::List(items) => Data::List(items),
            Content::Map { mut entries, mut keys, merged, .. } => {
                for node in merged {
                    merge(&mut entries, &mut keys, &node);
                }
                Data::Map(entries)
            }
        };
        let node = Node { span: frame.span, data: Rc::new(data) };
        self.attach(node, frame.weight, frame.anchor)
    }

    /// A node that is complete where it appears: a scalar or an alias.
    fn finish(&mut self, node: Node, weight: Weight, anchor: usize) -> Result<(), Diagnostic> {
        self.within_depth(weight.height, node.span)?;
        self.spend(weight, node.span)?;
        self.attach(node, weight, anchor)
    }

    fn attach(&mut self, node: Node, weight: Weight, anchor: usize) -> Result<(), Diagnostic> {
        if anchor > 0 {
            self.anchors.insert(anchor, (node.clone(), weight));
        }
        let Some(frame) = self.frames.last_mut() else {
            self.done.root = Some(node);
            return Ok(());
        };
        frame.weight.add(weight);
        match &mut frame.content {
            Content::List(items) => items.push(node),
            Content::Map { entries, keys, key, merged } => match key.take() {
                None => *key = Some(key_of(&node)?),
                Some(key) if key.merges => {
                    let sources = node.items().unwrap_or_else(|| std::slice::from_ref(&node));
                    if let Some(wrong) = sources.iter().find(|source| !source.is_map()) {
                        let message = format!("`<<` merges maps, not {}", wrong.noun());
                        let found = Diagnostic::error("wrong-type", wrong.span, message);
                        self.report(found.advised("write `<<: *name` for an anchored map"));
                    } else {
                        merged.extend(sources.iter().cloned());
                    }
                }
                Some(Key { text, span, .. }) => {
                    if keys.insert(text.clone()) {
                        entries.push(Entry { key: text, span, value: node });
                    } else {
                        let message = format!("the key `{text}` is written twice in this map");
                        let found = Diagnostic::error("duplicate-key", span, message);
                        self.report(found.advised("keep one of them; the later would be lost"));
                    }
                }
            },
        }
        Ok(())
    }

    fn within_depth(&self, height: usize, span: Span) -> Result<(), Diagnostic> {
        if self.frames.len() + height <= limits::YAML_DEPTH_MAX {
            return Ok(());
        }
        let message = format!("the document nests deeper than {} levels", limits::YAML_DEPTH_MAX);
        Err(Diagnostic::error("yaml-limit", span, message))
    }

    fn spend(&mut self, weight: Weight, span: Span) -> Result<(), Diagnostic> {
        self.done.nodes = self.done.nodes.saturating_add(weight.nodes);
        self.bytes = self.bytes.saturating_add(weight.bytes);
        let message = if self.done.nodes > limits::YAML_NODES_MAX {
            format!("more than {} values, counted with aliases", limits::YAML_NODES_MAX)
        } else if self.bytes > limits::YAML_TEXT_BYTES_MAX {
            format!("more than {} bytes of text with aliases", limits::YAML_TEXT_BYTES_MAX)
        } else {
            return Ok(());
        };
        let advice = "keep data out of the playbook: let a step read it";
        Err(Diagnostic::error("yaml-limit", span, message).advised(advice))
    }
}

/// Adds what is not there yet: the map's own keys win, then the earlier source.
fn merge(entries: &mut Vec<Entry>, keys: &mut BTreeSet<String>, source: &Node) {
    for entry in source.entries() {
        if keys.insert(entry.key.clone()) {
            entries.push(entry.clone());
        }
    }
}

fn key_of(node: &Node) -> Result<Key, Diagnostic> {
    let Some(scalar) = node.scalar() else {
        let message = format!("a key must be text, not {}", node.noun());
        return Err(Diagnostic::error("yaml-key", node.span, message));
    };
    let merges = scalar.style == Style::Plain && scalar.text == "<<";
    Ok(Key { text: scalar.text.clone(), span: node.span, merges })
}

fn is_core(tag: &Tag, suffix: &str) -> bool {
    tag.is_yaml_core_schema() && tag.suffix == suffix
}

fn unreadable(error: &ScanError) -> Diagnostic {
    let start = position_of(*error.marker());
    let message = format!("this is not YAML: {}", error.info());
    Diagnostic::error("yaml-syntax", Span { start, length: 1 }, message)
}

/// Adds the advice for the mistakes that people make most.
fn hint(found: Diagnostic, text: &str) -> Diagnostic {
    if found.advice.is_some() {
        return found;
    }
    let at = found.position.line.saturating_sub(1) as usize;
    let nearby = || text.lines().skip(at.saturating_sub(1)).take(2);
    let advice = if nearby().any(|line| line.contains(": {{") || line.contains("- {{")) {
        "quote a value that starts with a template: `\"{{ ... }}\"`"
    } else if nearby().any(|line| line.trim_start_matches(' ').starts_with('\t')) {
        "indent with spaces, not with tabs"
    } else if found.message.contains("mapping values are not allowed") {
        "check the indentation; quote a text that contains `: `"
    } else {
        "check indentation, quotes and brackets here and in the line above"
    };
    match found.code {
        "yaml-syntax" | "yaml-key" => found.advised(advice),
        _ => found,
    }
}

fn span_of(stretch: Stretch) -> Span {
    let one_line = stretch.start.line() == stretch.end.line();
    let length = if one_line { narrow(stretch.len()) } else { 1 };
    Span { start: position_of(stretch.start), length: length.max(1) }
}

fn position_of(marker: Marker) -> Position {
    Position { line: narrow(marker.line()).max(1), column: narrow(marker.col()).saturating_add(1) }
}

/// Text is far below 2^32 characters long.
fn narrow(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}

/// The path of what stands at `position`, such as `workflow[2].loop`.
pub(super) fn path(root: &Node, position: Position) -> String {
    // Writing to a String cannot fail.
    let mut path = String::new();
    let mut node = root;
    loop {
        let next = match &*node.data {
            Data::Scalar(_) => None,
            Data::List(items) => {
                let before =
                    items.iter().enumerate().filter(|(_, item)| item.span.start <= position);
                before.max_by_key(|(_, item)| item.span.start).map(|(index, item)| {
                    let _ = write!(path, "[{index}]");
                    item
                })
            }
            Data::Map(entries) => {
                let before = entries.iter().filter(|entry| entry.span.start <= position);
                before.max_by_key(|entry| entry.span.start).map(|entry| {
                    let dot = if path.is_empty() { "" } else { "." };
                    let _ = write!(path, "{dot}{}", entry.key);
                    &entry.value
                })
            }
        };
        match next {
            Some(child) if child.span.start <= position => node = child,
            Some(_) | None => return path,
        }
    }
}
