//! `retry` of a step or of its tool, in all its forms, as rules on the end of each call.
//!
//! They are asked before `case`; the first that applies wins, whatever the step's `case_mode`. A page
//! after which there is no other meets the last rule, which keeps it without asking for more.

use serde_json::{Map, Value, json};

use super::{Action, Collect, Position, Rule, Step, When};
use crate::template;

const ON_ERROR: &str = "event.name == 'call.error'";
const ON_DONE: &str = "event.name == 'call.done'";

/// Keys of a `retry` that say how often and how far apart; the others change the call.
pub const PACE_KEYS: [&str; 7] = [
    "max_attempts",
    "delay",
    "backoff",
    "initial_delay",
    "max_delay",
    "backoff_multiplier",
    "jitter",
];

/// Keys of a `retry` that are turned into something else here.
const OWN_KEYS: [&str; 13] = [
    "when",
    "while",
    "retry_when",
    "stop_when",
    "retry_on",
    "on_error",
    "on_success",
    "next_call",
    "collect",
    "sink",
    "save",
    "per_iteration",
    "interval",
];

/// Words of `retry_on`, and what they say about `error`.
pub(super) const REASONS: [(&str, &str); 14] = [
    ("timeout", "error.type == 'TimeoutError'"),
    ("connection_error", "error.type == 'ConnectionError'"),
    ("connection", "error.type == 'ConnectionError'"),
    ("network_error", "error.type == 'ConnectionError'"),
    ("network", "error.type == 'ConnectionError'"),
    ("http_error", "error.type == 'HTTPError'"),
    ("rate_limit", "error.status == 429"),
    ("server_error", "error.type == 'HTTPError' and error.status >= 500"),
    ("5xx", "error.type == 'HTTPError' and error.status >= 500"),
    ("client_error", "error.type == 'HTTPError' and error.status < 500"),
    ("4xx", "error.type == 'HTTPError' and error.status < 500"),
    ("transient", "error.retryable"),
    ("error", "true"),
    ("all", "true"),
];

/// The rules that `retry` of the step stands for, in the order in which they are asked.
#[must_use]
pub fn rules_of(step: &Step) -> Vec<Rule> {
    let at = step.position;
    match &step.retry {
        Some(Value::Array(items)) => listed(items, at),
        Some(Value::Object(retry)) => {
            let part = |key: &str| retry.get(key).and_then(Value::as_object);
            let (error, success) = (part("on_error"), part("on_success"));
            let flat = (error.is_none() && success.is_none()).then_some(retry);
            let mut rules: Vec<Rule> =
                error.or(flat).map(|retry| after_error(None, retry, at)).into_iter().collect();
            if let Some(retry) = success {
                let condition =
                    ["while", "when"].iter().find_map(|key| expression(retry.get(*key)?));
                rules.push(after_success(condition.as_deref(), retry, at));
                rules.extend(last_page(retry, at));
            }
            rules
        }
        _ => Vec::new(),
    }
}

/// `[{when, then}]`: a rule each, and one for the page after which none asks for another.
fn listed(items: &[Value], at: Position) -> Vec<Rule> {
    let mut rules = Vec::new();
    let mut last = None;
    let none = Map::new();
    for item in items {
        let then = item.get("then").or_else(|| item.get("else"));
        let then = then.and_then(|then| then.as_object()).unwrap_or(&none);
        let condition = item.get("when").and_then(expression);
        if is_about_errors(condition.as_deref(), then) {
            rules.push(after_error(condition.as_deref(), then, at));
        } else {
            rules.push(after_success(condition.as_deref(), then, at));
            last = last.or_else(|| last_page(then, at));
        }
    }
    rules.extend(last);
    rules
}

/// Whether a policy of the list form is for calls that failed.
fn is_about_errors(condition: Option<&str>, then: &Map<String, Value>) -> bool {
    let names = condition.and_then(|text| template::check_expression(text).ok());
    let uses = |name: &str| names.as_ref().is_some_and(|names| names.contains(name));
    let repeats = ["next_call", "collect", "sink", "per_iteration"];
    let repeats = repeats.iter().any(|key| then.contains_key(*key));
    uses("error") || (!repeats && (condition.is_none() || uses("status_code") || uses("success")))
}

fn after_error(condition: Option<&str>, retry: &Map<String, Value>, at: Position) -> Rule {
    let mut parts = vec![ON_ERROR.to_owned()];
    parts.extend(condition.map(in_brackets));
    let own = ["when", "retry_when"].iter().filter_map(|key| retry.get(*key));
    parts.extend(own.filter_map(expression).map(|text| in_brackets(&text)));
    parts.extend(retry.get("retry_on").and_then(reasons).map(|text| in_brackets(&text)));
    if let Some(stop) = retry.get("stop_when").and_then(expression) {
        parts.push(unless(&stop));
    }
    let mut map = pace(retry);
    map.extend(changes(retry));
    let actions = vec![Action::Retry(Value::Object(map))];
    Rule { when: When::Condition(parts.join(" and ")), actions, position: at }
}

fn after_success(condition: Option<&str>, retry: &Map<String, Value>, at: Position) -> Rule {
    let mut actions = per_page(retry);
    actions.push(Action::Retry(Value::Object(repetition(retry))));
    // Under its alias `call.done` a failed call would meet a condition that names an error.
    let done = if condition.is_some_and(|text| text.contains("error")) {
        format!("{ON_DONE} and success")
    } else {
        ON_DONE.to_owned()
    };
    let condition = condition.map(|text| format!("{done} and ({text})"));
    let when = When::Condition(condition.unwrap_or_else(|| ON_DONE.to_owned()));
    Rule { when, actions, position: at }
}

/// What to do with a page after which there is no other.
fn last_page(retry: &Map<String, Value>, at: Position) -> Option<Rule> {
    let actions = per_page(retry);
    let when = When::Condition(ON_DONE.to_owned());
    (!actions.is_empty()).then_some(Rule { when, actions, position: at })
}

/// `collect` and `sink` of a page; what is collected becomes the result's `data` (decision D58).
fn per_page(retry: &Map<String, Value>) -> Vec<Action> {
    let collect = retry.get("collect").filter(|collect| collect.is_object());
    let collect = collect.map(|value| Collect { envelope: true, ..Collect::read(value) });
    let per_iteration = retry.get("per_iteration").and_then(Value::as_object);
    let sink = |map: &Map<String, Value>| {
        ["sink", "save"]
            .iter()
            .find_map(|key| map.get(*key))
            .filter(|sink| sink.is_object())
            .cloned()
    };
    let bare = |map: &Map<String, Value>| {
        let is_sink = ["tool", "storage"].iter().any(|key| map.contains_key(*key));
        is_sink.then(|| Value::Object(map.clone()))
    };
    let sinks = [sink(retry), per_iteration.and_then(|map| sink(map).or_else(|| bare(map)))];
    let sinks = sinks.into_iter().flatten().map(Action::Sink);
    collect.map(Action::Collect).into_iter().chain(sinks).collect()
}

/// How often and how far apart failed calls are tried again, with the defaults of the first version.
fn pace(retry: &Map<String, Value>) -> Map<String, Value> {
    let given = |key: &str| retry.get(key).filter(|value| !value.is_null()).cloned();
    let mut map = Map::new();
    let mut put = |key: &str, value: Value| map.insert(key.to_owned(), value);
    put("max_attempts", given("max_attempts").unwrap_or_else(|| json!(3)));
    let word = given("backoff").filter(Value::is_string);
    match (given("backoff"), word, given("delay")) {
        // A number: that many seconds each time.
        (Some(seconds), None, _) => {
            put("delay", seconds);
            put("backoff", json!("none"));
        }
        (None, _, None) => {
            put("initial_delay", given("initial_delay").unwrap_or_else(|| json!(1.0)));
            put("backoff_multiplier", given("backoff_multiplier").unwrap_or_else(|| json!(2.0)));
        }
        (_, word, delay) => {
            let word = word.as_ref().and_then(Value::as_str).map(constant);
            let default = if word == Some("none") { json!(0) } else { json!(1.0) };
            put("delay", delay.or_else(|| given("initial_delay")).unwrap_or(default));
            put("backoff", json!(word.unwrap_or("linear")));
        }
    }
    put("max_delay", given("max_delay").unwrap_or_else(|| json!(60)));
    if given("jitter") == Some(json!(true)) {
        put("jitter", json!(true));
    }
    map
}

/// How often and how far apart a call is repeated, and what changes from one to the next.
fn repetition(retry: &Map<String, Value>) -> Map<String, Value> {
    let given = |key: &str| retry.get(key).filter(|value| !value.is_null()).cloned();
    let mut map = Map::new();
    let mut put = |key: &str, value: Value| map.insert(key.to_owned(), value);
    put("repeat", json!(true));
    // Without a number the engine stops with an error where it never ends, and does not cut it off.
    if let Some(pages) = given("max_attempts") {
        put("max_attempts", pages);
    }
    let delay = ["delay", "interval", "initial_delay"].iter().find_map(|key| given(key));
    if let Some(factor) = given("backoff_multiplier") {
        put("initial_delay", delay.unwrap_or_else(|| json!(1.0)));
        put("backoff_multiplier", factor);
        put("max_delay", given("max_delay").unwrap_or_else(|| json!(60)));
    } else {
        let backoff = given("backoff");
        let word = backoff.as_ref().and_then(Value::as_str).map(constant);
        let seconds = backoff.as_ref().filter(|value| value.is_number()).cloned();
        put("delay", delay.or(seconds).unwrap_or_else(|| json!(0)));
        put("backoff", json!(word.unwrap_or("none")));
    }
    map.extend(changes(retry));
    let next = retry.get("next_call").and_then(Value::as_object).into_iter().flatten();
    map.extend(next.map(|(key, value)| (key.clone(), value.clone())));
    map
}

/// What a `retry` changes of the call itself, such as `params`.
fn changes(retry: &Map<String, Value>) -> Map<String, Value> {
    let own = |key: &str| PACE_KEYS.contains(&key) || OWN_KEYS.contains(&key);
    let changes = retry.iter().filter(|(key, _)| !own(key));
    changes.map(|(key, value)| (key.clone(), value.clone())).collect()
}

/// The one word for a delay that does not grow.
fn constant(word: &str) -> &str {
    match word {
        "fixed" | "constant" => "none",
        word => word,
    }
}

/// `retry_on` as a condition: words of [`REASONS`], statuses, and names of errors.
fn reasons(value: &Value) -> Option<String> {
    let of = |reason: &Value| match reason {
        Value::Number(status) => Some(format!("error.status == {status}")),
        Value::String(text) => {
            let word = text.trim();
            let known = REASONS.iter().find(|(known, _)| *known == word.to_lowercase());
            let status = word.parse::<u16>().ok().map(|status| format!("error.status == {status}"));
            let known = known.map(|(_, condition)| (*condition).to_owned());
            let is_name = word.chars().all(|c| c.is_alphanumeric() || c == '_' || c == '.');
            let name = is_name.then(|| format!("error.type == '{word}'"));
            known.or(status).or(name)
        }
        _ => None,
    };
    let items = value.as_array().map_or_else(|| std::slice::from_ref(value), Vec::as_slice);
    let parts: Vec<String> = items.iter().filter_map(of).collect();
    (!parts.is_empty()).then(|| parts.join(" or "))
}

/// That `stop` does not hold: it cannot while a name that it uses means nothing.
fn unless(stop: &str) -> String {
    let names = template::check_expression(stop).unwrap_or_default();
    let defined: Vec<String> = names.iter().map(|name| format!("{name} is defined")).collect();
    let parts: Vec<String> = defined.into_iter().chain([in_brackets(stop)]).collect();
    format!("not ({})", parts.join(" and "))
}

fn in_brackets(text: impl AsRef<str>) -> String {
    format!("({})", text.as_ref())
}

/// The expression of a condition, without its braces; none for text that is more than an expression.
pub(super) fn expression(value: &Value) -> Option<String> {
    let text = match value {
        Value::String(text) => text.trim(),
        Value::Bool(flag) => return Some(flag.to_string()),
        _ => return None,
    };
    let inner = text.strip_prefix("{{").and_then(|text| text.strip_suffix("}}")).unwrap_or(text);
    let inner = inner.trim_start_matches('-').trim_end_matches('-').trim();
    let word = match inner.to_lowercase().as_str() {
        "true" | "yes" | "on" | "1" => Some("true"),
        "" | "false" | "no" | "off" | "0" | "none" | "null" => Some("false"),
        _ => None,
    };
    let is_expression = !inner.contains("{%") && template::check_expression(inner).is_ok();
    word.map(str::to_owned).or_else(|| is_expression.then(|| inner.to_owned()))
}

#[cfg(test)]
mod tests;
