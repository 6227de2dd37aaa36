//! Page after page: what a rule collects, what the next request changes, and when it never ends.

use serde_json::{Map, Value};

use super::rules::Effect;
use super::settings::{duration_ms, whole};
use super::view::View;
use super::{Trouble, Turn};
use crate::limits::{INLINE_BYTES_MAX, LIST_PARTS_MAX, PAGES_DEFAULT, PAGES_MAX};
use crate::payload::{Blob, List, Pages, Part, Payload, sha256_hex};
use crate::playbook::{Action, Collect, CollectFrom, CollectMode, Rule, Step};
use crate::state::{Collected, Unit};
use crate::template::{Coerce, TemplateError, expression, render};

/// Keys of a `retry` or `call` that say how, not what.
const MANNER: [&str; 14] = [
    "step",
    "max_attempts",
    "delay",
    "initial_delay",
    "max_delay",
    "interval",
    "backoff",
    "backoff_multiplier",
    "jitter",
    "repeat",
    "when",
    "while",
    "retry_on",
    "stop_when",
];
/// Keys of `args` that are configuration where the tool is `http` (`dsl.md` 5.2).
const HTTP_KEYS: [&str; 9] =
    ["params", "headers", "data", "body", "payload", "json", "form", "url", "endpoint"];

impl<'a> Turn<'a> {
    /// Adds what a rule wants of this page to what the pages before left.
    pub(super) fn collect(
        &mut self,
        collect: &Collect,
        view: &mut View<'a>,
        place: &str,
    ) -> Result<Option<Effect>, Trouble> {
        let place = format!("`collect` of {place}");
        let page = match &collect.from {
            CollectFrom::Expression(text) => match expression(text, &view.context()) {
                Ok(found) => found,
                Err(TemplateError::Undefined(_)) => Payload::Inline(Value::Null),
                Err(error) => return Err(Trouble::template(&place, error)),
            },
            CollectFrom::Path(path) => {
                let response = view.occasion.as_ref().map(|occasion| occasion.response.clone());
                let response = response.unwrap_or(Payload::Inline(Value::Null));
                Payload::Inline(dig(&*self.known(&response)?, path))
            }
        };
        let told = matches!(collect.from, CollectFrom::Path(_));
        let before = match (&view.unit.collected, &collect.into) {
            (Some(collected), _) if told => Some(collected.items.clone()),
            (_, Some(into)) if !told => view.vars.get(into).cloned(),
            _ => None,
        };
        let items = self.joined(before, page, collect.mode)?;
        view.unit.collected =
            Some(Collected { items: items.clone(), told, envelope: collect.envelope });
        let Some(into) = &collect.into else { return Ok(None) };
        view.vars.insert(into.clone(), items.clone());
        if view.item.is_some() {
            view.unit.vars.insert(into.clone(), items);
            return Ok(None);
        }
        Ok(Some(Effect::Set([(into.clone(), items)].into())))
    }

    fn joined(
        &mut self,
        before: Option<Payload>,
        page: Payload,
        mode: CollectMode,
    ) -> Result<Payload, Trouble> {
        let is_list = match &page {
            Payload::Inline(value) => value.is_array(),
            Payload::List(_) => true,
            other => self.known(other)?.is_array(),
        };
        let part = match mode {
            CollectMode::Replace => return Ok(self.keep(page)),
            CollectMode::Merge => return self.merged(before, &page),
            CollectMode::Extend if is_list => Part::Items(self.keep(page)),
            CollectMode::Push | CollectMode::Extend => Part::Item(self.keep(page)),
        };
        let mut list = match before {
            Some(Payload::List(list)) => list,
            None | Some(Payload::Inline(Value::Null)) => List::default(),
            Some(Payload::Inline(Value::Array(items))) if items.is_empty() => List::default(),
            Some(other) if self.known(&other)?.is_array() => {
                List { parts: vec![Part::Items(other)] }
            }
            Some(other) => List { parts: vec![Part::Item(other)] },
        };
        list.parts.push(part);
        self.fold_parts(&mut list);
        Ok(Payload::List(list))
    }

    /// The keys of the page over those that were there.
    fn merged(&mut self, before: Option<Payload>, page: &Payload) -> Result<Payload, Trouble> {
        let mut map = match before {
            Some(before) => self.known(&before)?.as_object().cloned().unwrap_or_default(),
            None => Map::new(),
        };
        map.extend(self.known(page)?.as_object().cloned().unwrap_or_default());
        Ok(self.keep(Payload::Inline(Value::Object(map))))
    }

    /// Stores runs of parts of one level, so that a long list is named in a few words.
    fn fold_parts(&mut self, list: &mut List) {
        loop {
            let level = list.parts.last().map_or(0, level);
            let run = list.parts.iter().rev().take_while(|part| level_is(part, level)).count();
            if run < LIST_PARTS_MAX {
                return;
            }
            let tail = list.parts.split_off(list.parts.len() - run);
            // Parts are plain data: they always have a JSON form.
            let bytes = serde_json::to_vec(&tail).unwrap_or_default();
            let blob = Blob::new(self.moment.key.execution_id(), bytes);
            list.parts.push(Part::Stored { parts: blob.reference.clone(), level: level + 1 });
            self.blobs.push(blob);
        }
    }
}

/// The result of a tool whose pages were collected, once no other page follows.
pub(super) fn tell_pages(view: &mut View<'_>) -> Vec<Effect> {
    let last = match (&view.result, &view.occasion) {
        (Some(result), _) => result.clone(),
        (None, Some(occasion)) => occasion.response.clone(),
        (None, None) => return Vec::new(),
    };
    let Some(result) = paged_result(&mut view.unit, last) else { return Vec::new() };
    view.result = Some(result.clone());
    vec![Effect::Result(result)]
}

/// The last page's result with what was collected, told once; none if nothing is to be told.
pub(super) fn paged_result(unit: &mut Unit, last: Payload) -> Option<Payload> {
    let count = unit.page;
    let collected = unit.collected.as_mut().filter(|collected| collected.told)?;
    collected.told = false;
    let (items, envelope) = (collected.items.clone(), collected.envelope);
    Some(Payload::Pages(Box::new(Pages { last, items, count, envelope })))
}

/// Prepares another call of the step's tool; none when the rule has had all of its pages.
pub(super) fn repeat(
    step: &Step,
    rule: &Rule,
    again: &Value,
    view: &mut View<'_>,
    place: &str,
) -> Result<Option<Effect>, Trouble> {
    if view.occasion.as_ref().is_some_and(|occasion| occasion.name == "loop.done") {
        let message = format!("{place} repeats a loop on `loop.done`; route to the step instead");
        return Err(Trouble::failed("RuleError", message));
    }
    let page = view.unit.page;
    match again.get("max_attempts").filter(|value| !value.is_null()) {
        Some(value) => {
            let place = format!("`max_attempts` of {place}");
            let pages_max = whole(value, &view.context(), &place)?.min(u64::from(PAGES_MAX));
            if u64::from(page) >= pages_max {
                return Ok(None);
            }
        }
        None if page >= PAGES_DEFAULT => {
            let message = format!(
                "{place} asks for page {} and names no end; write `max_attempts: N` beside it \
                 if there are so many, or check its condition",
                page + 1
            );
            return Err(Trouble::failed("LimitError", message));
        }
        None => {}
    }
    let changes = changes(step, again, view, place)?;
    let keeps = |action: &Action| matches!(action, Action::Collect(_) | Action::Sink(_));
    let compares = !changes.is_empty() && rule.actions.iter().any(keeps);
    lay_over(&mut view.unit.overrides, changes);
    if compares {
        watch(view, place)?;
    }
    view.unit.page += 1;
    let delay = ["delay", "interval", "initial_delay"].iter().find_map(|key| again.get(*key));
    let delay_ms = match delay {
        Some(delay) => duration_ms(delay, &view.context(), &format!("`delay` of {place}"))?,
        None => 0,
    };
    Ok(Some(Effect::Repeat(delay_ms.min(crate::limits::RETRY_DELAY_MS_MAX))))
}

/// What the next request has differently, rendered.
fn changes(
    step: &Step,
    again: &Value,
    view: &View<'_>,
    place: &str,
) -> Result<Map<String, Value>, Trouble> {
    let given = again.as_object().into_iter().flatten();
    let wanted = given.filter(|(key, _)| !MANNER.contains(&key.as_str()));
    let raw = wanted.map(|(key, value)| (key.clone(), value.clone())).collect();
    let rendered = render(&Value::Object(raw), &view.context(), Coerce::Mixed)
        .map_err(|error| Trouble::template(&format!("the next request of {place}"), error))?;
    let Value::Object(mut map) = rendered else { return Ok(Map::new()) };
    if step.kind() == "http"
        && let Some(Value::Object(args)) = map.get("args").cloned()
    {
        let (config, rest): (Map<String, Value>, Map<String, Value>) =
            args.into_iter().partition(|(key, _)| HTTP_KEYS.contains(&key.as_str()));
        map.shift_remove("args");
        if !rest.is_empty() {
            map.insert("args".to_owned(), Value::Object(rest));
        }
        map.extend(config);
    }
    let bytes = serde_json::to_string(&map).map_or(0, |json| json.len());
    if bytes > INLINE_BYTES_MAX {
        let message = format!(
            "the next request of {place} changes {bytes} bytes of the tool's configuration; at most \
             {INLINE_BYTES_MAX} are allowed: pass what is large in a variable that the tool names"
        );
        return Err(Trouble::failed("LimitError", message));
    }
    Ok(map)
}

/// Lays changes over earlier ones, maps one level deep (decision D32).
fn lay_over(overrides: &mut Option<Value>, changes: Map<String, Value>) {
    if changes.is_empty() {
        return;
    }
    let mut merged = match overrides.take() {
        Some(Value::Object(map)) => map,
        _ => Map::new(),
    };
    for (key, value) in changes {
        match (merged.get_mut(&key), value) {
            (Some(Value::Object(under)), Value::Object(over)) => under.extend(over),
            (_, value) => {
                merged.insert(key, value);
            }
        }
    }
    *overrides = Some(Value::Object(merged));
}

/// Fails when a request comes again: its cursor stands still or runs in a circle.
///
/// One earlier request is kept, and replaced at every power of two, so that a circle of any length is
/// found without a list of all requests.
///
/// Source: R. P. Brent, An improved Monte Carlo factorization algorithm, BIT 20, 1980, section 2.
fn watch(view: &mut View<'_>, place: &str) -> Result<(), Trouble> {
    let request = view.unit.overrides.clone().unwrap_or(Value::Null).to_string();
    let mut hash = sha256_hex(request.as_bytes());
    hash.truncate(16);
    if view.unit.tortoise.as_ref() == Some(&hash) {
        let message = format!(
            "page {} of {place} asks for the same as an earlier page: {}; the cursor does not \
             advance, so this would never end",
            view.unit.page + 1,
            request.get(..request.floor_char_boundary(200)).unwrap_or_default()
        );
        return Err(Trouble::failed("PaginationError", message));
    }
    if view.unit.page.is_power_of_two() {
        view.unit.tortoise = Some(hash);
    }
    Ok(())
}

fn level(part: &Part) -> u32 {
    match part {
        Part::Item(_) | Part::Items(_) => 0,
        Part::Stored { level, .. } => *level,
    }
}

fn level_is(part: &Part, wanted: u32) -> bool {
    level(part) == wanted
}

/// A dotted path in the body of a response, else in the response itself; null where there is nothing.
fn dig(response: &Value, path: &str) -> Value {
    let walk = |from: &Value| {
        path.split('.').filter(|key| !key.is_empty()).try_fold(from.clone(), |at, key| match &at {
            Value::Array(items) => {
                key.parse().ok().and_then(|index: usize| items.get(index).cloned())
            }
            other => other.get(key).cloned(),
        })
    };
    response.get("data").and_then(&walk).or_else(|| walk(response)).unwrap_or(Value::Null)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::Arc;

    use super::super::Moment;
    use super::*;
    use crate::ids::{AggregateKey, ExecutionId};
    use crate::playbook::parse::parse;
    use crate::template::Loaded;
    use proptest::prelude::*;
    use serde_json::json;

    /// A list of these pages, after each of which `check` sees it, and the objects that it names.
    fn listed(
        pages: impl Iterator<Item = Value>,
        mode: CollectMode,
        mut check: impl FnMut(&List),
    ) -> (List, BTreeMap<String, Value>) {
        let text = "apiVersion: noetl.io/v2\nkind: Playbook\nmetadata: {name: t}\n\
                    workflow: [{step: start, tool: {kind: noop}}]\n";
        let playbook = parse(text).playbook.unwrap();
        let (key, playbooks) = (AggregateKey::Execution(ExecutionId(7)), BTreeMap::new());
        let moment = Moment {
            playbook: &playbook,
            key: &key,
            seq: 2,
            at_ms: 0,
            event_id: 5,
            nonce: 1,
            playbooks: &playbooks,
        };
        let mut turn = Turn::begin(moment, None, &Arc::new(Loaded::default()));
        let mut items = None;
        for page in pages {
            let joined = turn.joined(items.take(), Payload::Inline(page), mode);
            let Ok(Payload::List(list)) = joined else { panic!("a list") };
            check(&list);
            items = Some(Payload::List(list));
        }
        let Some(Payload::List(list)) = items else { return (List::default(), BTreeMap::new()) };
        let blobs = turn.blobs.into_iter();
        let read = |bytes: &[u8]| serde_json::from_slice(bytes).unwrap();
        (list, blobs.map(|blob| (blob.reference.uri, read(&blob.bytes))).collect())
    }

    fn loaded(parts: &[Part], blobs: &BTreeMap<String, Value>) -> Vec<Value> {
        let each = parts.iter().flat_map(|part| match part {
            Part::Item(Payload::Inline(item)) => vec![item.clone()],
            Part::Items(Payload::Inline(items)) => items.as_array().unwrap().clone(),
            Part::Stored { parts, .. } => {
                let stored: Vec<Part> = serde_json::from_value(blobs[&parts.uri].clone()).unwrap();
                loaded(&stored, blobs)
            }
            other => panic!("{other:?}"),
        });
        each.collect()
    }

    #[test]
    fn a_list_of_ten_thousand_pages_stays_short_and_loses_none() {
        let mut longest = 0;
        let pages = (0..10_000).map(|n| json!([n]));
        let (list, blobs) = listed(pages, CollectMode::Extend, |list| {
            let levels = list.parts.iter().map(level).max().map_or(0, |top| top as usize + 1);
            assert!(list.parts.len() <= LIST_PARTS_MAX * levels, "{:?}", list.parts);
            longest = longest.max(list.parts.len());
        });
        assert!(longest <= 4 * LIST_PARTS_MAX, "{longest} parts");
        let expect: Vec<Value> = (0..10_000).map(Value::from).collect();
        assert_eq!(loaded(&list.parts, &blobs), expect);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]
        #[test]
        fn a_list_has_every_item_once_and_in_order(
            lengths in proptest::collection::vec(0..4_usize, 0..120),
            extend: bool,
        ) {
            let mut next = 0;
            let mut pages = Vec::new();
            for length in lengths {
                pages.push(json!((next..next + length).collect::<Vec<_>>()));
                next += length;
            }
            let mode = if extend { CollectMode::Extend } else { CollectMode::Push };
            let (list, blobs) = listed(pages.clone().into_iter(), mode, |_| {});
            let flat = pages.iter().flat_map(|page| page.as_array().unwrap().clone());
            let expect: Vec<Value> = if extend { flat.collect() } else { pages.clone() };
            prop_assert_eq!(loaded(&list.parts, &blobs), expect);
        }
    }

    #[test]
    fn d33_a_path_is_relative_to_the_body_and_falls_back_to_the_envelope() {
        let response = json!({"status": 200, "data": {"data": [1], "rows": [{"a": 7}]}});
        let cases = [
            ("data", json!([1])),
            ("data.data", json!([1])),
            ("rows.0.a", json!(7)),
            ("status", json!(200)),
            ("missing.part", json!(null)),
            ("", json!({"data": [1], "rows": [{"a": 7}]})),
        ];
        for (path, expect) in cases {
            assert_eq!(dig(&response, path), expect, "{path}");
        }
    }

    #[test]
    fn d32_changes_merge_one_level_deep() {
        let mut overrides = Some(json!({"params": {"page": 1, "size": 5}, "url": "a"}));
        let Value::Object(more) = json!({"params": {"page": 2}, "url": "b"}) else { panic!() };
        lay_over(&mut overrides, more);
        assert_eq!(overrides, Some(json!({"params": {"page": 2, "size": 5}, "url": "b"})));
    }
}
