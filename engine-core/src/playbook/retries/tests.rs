//! Every form of `retry`, and the rules that it stands for.

use super::*;
use crate::playbook::CollectFrom;
use crate::playbook::parse::parse;
use crate::template::{Context, Loaded};
use std::sync::Arc;

/// The rules of a step with this `retry`, each as its guard, its actions and its retry map.
fn rules(retry: &str) -> Vec<String> {
    let text = format!(
        "apiVersion: noetl.io/v2\nkind: Playbook\nmetadata: {{name: p}}\nworkflow:\n\
         - step: start\n  tool: {{kind: http, url: x}}\n  retry: {retry}\n"
    );
    let parsed = parse(&text);
    let playbook = parsed.playbook.unwrap_or_else(|| panic!("{retry}: {:?}", parsed.diagnostics));
    let step = &playbook.steps[0];
    assert!(step.retries.iter().all(|rule| rule.position == step.position));
    step.retries.iter().map(short).collect()
}

fn short(rule: &Rule) -> String {
    let When::Condition(when) = &rule.when else { panic!("{rule:?}") };
    let actions = rule.actions.iter().map(|action| match action {
        Action::Collect(collect) => {
            assert!(collect.envelope);
            let CollectFrom::Path(path) = &collect.from else { panic!("{collect:?}") };
            format!("collect {path} {:?}", collect.mode)
        }
        Action::Sink(sink) => format!("sink {sink}"),
        Action::Retry(retry) => format!("retry {retry}"),
        other => format!("{other:?}"),
    });
    let actions: Vec<String> = actions.collect();
    format!("{when} => {}", actions.join("; "))
}

const DEFAULTS: &str =
    r#"{"max_attempts":3,"initial_delay":1.0,"backoff_multiplier":2.0,"max_delay":60}"#;

fn error(condition: &str, retry: &str) -> String {
    format!("event.name == 'call.error'{condition} => retry {retry}")
}

#[test]
fn a_retry_after_errors_has_many_forms() {
    let defaults = |condition: &str| error(condition, DEFAULTS);
    #[rustfmt::skip]
    let cases = [
        ("true", defaults("")),
        ("{}", defaults("")),
        ("5", error("", &DEFAULTS.replacen('3', "5", 1))),
        ("{max_attempts: 4, initial_delay: 0.5, backoff_multiplier: 3, max_delay: 9, jitter: true}",
         error("", r#"{"max_attempts":4,"initial_delay":0.5,"backoff_multiplier":3,"max_delay":9,"jitter":true}"#)),
        ("{jitter: false}", defaults("")),
        ("{retry_when: \"{{ status_code >= 500 }}\"}", defaults(" and (status_code >= 500)")),
        ("{retry_when: status_code >= 500}", defaults(" and (status_code >= 500)")),
        ("{retry_when: \"{{ attempt < 2 }}\", stop_when: \"{{ status_code == 404 }}\"}",
         defaults(" and (attempt < 2) and not (status_code is defined and (status_code == 404))")),
        ("{stop_when: \"{{ False }}\"}", defaults(" and not ((false))")),
        ("{on_error: {when: \"{{ error.status in [500] }}\", max_attempts: 3}}",
         defaults(" and (error.status in [500])")),
        ("{max_attempts: 2, retry_on: [timeout, connection_error], backoff: 5}",
         error(" and (error.type == 'TimeoutError' or error.type == 'ConnectionError')",
               r#"{"max_attempts":2,"delay":5,"backoff":"none","max_delay":60}"#)),
        ("{retry_on: [503, ValueError]}", defaults(" and (error.status == 503 or error.type == 'ValueError')")),
        ("{retry_on: rate_limit}", defaults(" and (error.status == 429)")),
        ("{delay: 2, backoff: fixed}",
         error("", r#"{"max_attempts":3,"delay":2,"backoff":"none","max_delay":60}"#)),
        ("{delay: 2}", error("", r#"{"max_attempts":3,"delay":2,"backoff":"linear","max_delay":60}"#)),
        ("{backoff: exponential, initial_delay: 4}",
         error("", r#"{"max_attempts":3,"delay":4,"backoff":"exponential","max_delay":60}"#)),
        ("{backoff: none}", error("", r#"{"max_attempts":3,"delay":0,"backoff":"none","max_delay":60}"#)),
        ("[{when: \"{{ error.status == 429 }}\", then: {max_attempts: 9, initial_delay: 2}}]",
         error(" and (error.status == 429)", r#"{"max_attempts":9,"initial_delay":2,"backoff_multiplier":2.0,"max_delay":60}"#)),
        ("[{when: status_code == 503, then: {}}, {else: {max_attempts: 2}}]",
         format!("{}\n{}", defaults(" and (status_code == 503)"), error("", &DEFAULTS.replacen('3', "2", 1)))),
    ];
    for (retry, expect) in cases {
        assert_eq!(rules(retry).join("\n"), expect, "{retry}");
    }
}

#[test]
fn a_repetition_after_success_has_many_forms() {
    let more = "event.name == 'call.done' and (response.more)";
    let done = "event.name == 'call.done'";
    let pages = r#"{"repeat":true,"delay":0,"backoff":"none""#;
    #[rustfmt::skip]
    let cases = [
        ("{on_success: {while: \"{{ response.more }}\"}}", vec![format!("{more} => retry {pages}}}")]),
        ("{on_success: {while: response.more, max_attempts: 20, interval: 5s}}",
         vec![format!(r#"{more} => retry {{"repeat":true,"max_attempts":20,"delay":"5s","backoff":"none"}}"#)]),
        ("{on_success: {while: response.more, initial_delay: 1, backoff_multiplier: 1.5}}",
         vec![format!(r#"{more} => retry {{"repeat":true,"initial_delay":1,"backoff_multiplier":1.5,"max_delay":60}}"#)]),
        ("{on_success: {while: response.more, next_call: {params: {page: \"{{ response.page + 1 }}\"}, url: u}}}",
         vec![format!(r#"{more} => retry {pages},"params":{{"page":"{{{{ response.page + 1 }}}}"}},"url":"u"}}"#)]),
        ("{on_success: {while: response.more, next_call: {params: {p: 1}}, \
          collect: {strategy: append, path: data, into: pages}, sink: {tool: {kind: event_log}}}}",
         vec![
             format!(r#"{more} => collect data Extend; sink {{"tool":{{"kind":"event_log"}}}}; retry {pages},"params":{{"p":1}}}}"#),
             format!(r#"{done} => collect data Extend; sink {{"tool":{{"kind":"event_log"}}}}"#),
         ]),
        ("{on_success: {while: response.more, per_iteration: {sink: {tool: noop}}}}",
         vec![format!(r#"{more} => sink {{"tool":"noop"}}; retry {pages}}}"#), format!(r#"{done} => sink {{"tool":"noop"}}"#)]),
        ("{on_success: {while: response.more, per_iteration: {tool: noop}}}",
         vec![format!(r#"{more} => sink {{"tool":"noop"}}; retry {pages}}}"#), format!(r#"{done} => sink {{"tool":"noop"}}"#)]),
        ("[{when: response.more, then: {next_call: {body: 1}, collect: {path: a, strategy: replace}}}]",
         vec![format!(r#"{more} => collect a Replace; retry {pages},"body":1}}"#), format!("{done} => collect a Replace")]),
        ("[{when: response.more, then: {delay: 3}}]",
         vec![format!(r#"{more} => retry {{"repeat":true,"delay":3,"backoff":"none"}}"#)]),
        ("{on_success: {while: \"{{ not response.error }}\"}}",
         vec![format!("event.name == 'call.done' and success and (not response.error) => retry {pages}}}")]),
        ("{on_error: {max_attempts: 3}, on_success: {while: response.more}}",
         vec![error("", DEFAULTS), format!("{more} => retry {pages}}}")]),
        ("[{when: error.retryable, then: {}}, {when: response.more, then: {collect: {path: a}}}]",
         vec![error(" and (error.retryable)", DEFAULTS), format!("{more} => collect a Extend; retry {pages}}}"),
              format!("{done} => collect a Extend")]),
    ];
    for (retry, expect) in cases {
        assert_eq!(rules(retry), expect, "{retry}");
    }
}

#[test]
fn the_guards_of_retries_hold_when_they_should() {
    let mut context = Context::new(Arc::new(Loaded::default()));
    context.set_value("event", &json!({"name": "call.error"}));
    context.set_value("error", &json!({"type": "TimeoutError", "status": null, "retryable": true}));
    context.set_value("attempt", &json!(1));
    #[rustfmt::skip]
    let cases = [
        ("true", true),
        ("{stop_when: \"{{ status_code == 404 }}\"}", true),
        ("{stop_when: \"{{ attempt == 1 }}\"}", false),
        ("{retry_when: \"{{ status_code >= 500 }}\"}", false),
        ("{retry_when: \"{{ error != None or status_code >= 500 }}\"}", true),
        ("{retry_on: [connection_error, server_error, 5xx]}", false),
        ("{retry_on: [connection_error, timeout]}", true),
        ("{retry_on: [transient]}", true),
        ("{on_error: {when: \"{{ error.status in [500, 502] }}\"}}", false),
        ("{on_success: {while: \"{{ true }}\"}}", false),
    ];
    for (retry, expect) in cases {
        let text = format!(
            "apiVersion: noetl.io/v2\nkind: Playbook\nmetadata: {{name: p}}\nworkflow:\n\
             - step: start\n  tool: {{kind: http, url: x}}\n  retry: {retry}\n"
        );
        let playbook = parse(&text).playbook.unwrap();
        let rule = &playbook.steps[0].retries[0];
        let When::Condition(when) = &rule.when else { panic!("{rule:?}") };
        assert_eq!(template::condition(when, &context), Ok(expect), "{retry}: {when}");
    }
}
