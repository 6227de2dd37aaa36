//! The decisions about further calls of a tool: tries and pages.

use serde_json::json;

use super::super::{BEGINNING_MS, Bench, Caller, fine, start_breaks, third_time};
use super::ran_by;
use crate::payload::Payload;

/// Runs a playbook whose answers depend on the command.
fn ran_calling(rest: &str, caller: Caller) -> Bench {
    let mut bench = Bench::begin(rest, &json!({}), fine);
    bench.caller = Some(caller);
    bench.drain();
    bench.prove();
    bench
}

#[test]
fn d30_the_delay_of_a_retry_is_spent_in_the_queue() {
    let bench = ran_by(
        "workflow:
  - step: start
    tool: {kind: noop}
    case:
      - when: \"{{ event.name == 'call.error' }}\"
        then: {retry: {max_attempts: 3, initial_delay: 10, backoff_multiplier: 3}}
",
        third_time,
    );
    assert_eq!(bench.summary(), "start:1:Completed Completed");
    let waits: Vec<i64> = bench.commands.iter().map(|command| command.not_before_ms).collect();
    assert_eq!(waits[0], 0);
    for (wait, delay_ms) in waits[1..].iter().zip([10_000, 30_000]) {
        let late_ms = wait - BEGINNING_MS - delay_ms;
        assert!((0..100).contains(&late_ms), "{waits:?}");
    }
}

#[test]
fn d31_the_next_request_may_differ_in_every_part() {
    let bench = ran_calling(
        "workflow:
  - step: start
    tool: {kind: http, url: a, params: {page: 1, size: 5}}
    case:
      - when: \"{{ event.name == 'call.done' and response.more }}\"
        then:
          retry:
            max_attempts: 5
            params: {page: '{{ response.page + 1 }}'}
            headers: {X-Page: '{{ response.page }}'}
            url: 'b/{{ response.page }}'
            data: {q: '{{ response.page }}'}
            body: [1]
            payload: {p: 1}
",
        |command, _| {
            let over = command.overrides.clone().unwrap_or_default();
            let page = over["params"]["page"].as_u64().unwrap_or(1);
            Ok(json!({"page": page, "more": page < 2}))
        },
    );
    assert_eq!(bench.summary(), "start:1:Completed Completed");
    let over = bench.commands[1].overrides.clone().unwrap();
    assert_eq!(
        over,
        json!({"params": {"page": 2}, "headers": {"X-Page": 1}, "url": "b/1", "data": {"q": 1},
            "body": [1], "payload": {"p": 1}})
    );
}

#[test]
fn trap_08_append_means_three_things_by_the_keys_beside_it() {
    let flat = json!([1, 11, 2, 12]);
    #[rustfmt::skip]
    let cases = [
        ("{from: response.items, into: all, mode: append}",         json!([[1, 11], [2, 12]])),
        ("{from: response.items, into: all}",                       json!([[1, 11], [2, 12]])),
        ("{from: response.items, into: all, mode: extend}",         flat.clone()),
        ("{from: response.items, into: all, mode: replace}",        json!([2, 12])),
        ("{from: response.page, into: all, mode: append}",          json!([1, 2])),
        ("{path: items, into: all}",                                flat.clone()),
        ("{path: items, into: all, strategy: append}",              flat.clone()),
        ("{path: items, into: all, strategy: extend}",              flat),
        ("{path: items, into: all, strategy: replace}",             json!([2, 12])),
        ("{path: page, into: all, strategy: append}",               json!([1, 2])),
        ("{path: map, into: all, strategy: merge}",                 json!({"k1": 1, "same": 2, "k2": 2})),
    ];
    for (collect, expect) in cases {
        let bench = ran_calling(
            &format!(
                "workflow:
  - step: start
    tool: {{kind: http, url: a}}
    case:
      - when: \"{{{{ event.name == 'call.done' and response.page < 2 }}}}\"
        then: {{collect: {collect}, retry: {{max_attempts: 5, params: {{page: 2}}}}}}
      - when: \"{{{{ event.name == 'call.done' }}}}\"
        then: {{collect: {collect}}}
"
            ),
            |command, _| {
                let page = if command.overrides.is_some() { 2 } else { 1 };
                let map = json!({format!("k{page}"): page, "same": page});
                Ok(json!({"page": page, "items": [page, page + 10], "map": map}))
            },
        );
        assert_eq!(bench.var("all"), expect, "{collect}: {:?}", bench.state().failure);
        let whole = bench.result("start");
        let told = whole.get("_all_collected_items").is_some();
        assert_eq!(told, collect.contains("path"), "{collect}: {whole}");
    }
}

#[test]
fn trap_16_tries_are_counted_anew_for_each_page_and_each_item() {
    for (repeat, calls) in [("", 6), ("\n    loop: {in: [1, 2], iterator: i}", 12)] {
        let bench = ran_calling(
            &format!(
                "workflow:
  - step: start{repeat}
    tool: {{kind: http, url: a}}
    case:
      - {{when: \"{{{{ event.name == 'call.error' }}}}\", then: {{retry: {{max_attempts: 2, delay: 1}}}}}}
      - when: \"{{{{ event.name == 'call.done' and response.page < 3 }}}}\"
        then: {{collect: {{path: page}}, retry: {{max_attempts: 9, params: {{page: '{{{{ response.page + 1 }}}}'}}}}}}
      - {{when: \"{{{{ event.name == 'call.done' }}}}\", then: {{collect: {{path: page}}}}}}
"
            ),
            |command, _| {
                let over = command.overrides.clone().unwrap_or_default();
                let page = over["params"]["page"].as_u64().unwrap_or(1);
                if command.attempt < 2 { Err("not yet") } else { Ok(json!({"page": page})) }
            },
        );
        assert_eq!(bench.state().failure, None);
        assert_eq!(bench.commands.len(), calls, "{:?}", bench.ids("start"));
        if repeat.is_empty() {
            assert_eq!(bench.result("start")["_all_collected_items"], json!([1, 2, 3]));
        }
    }
}

#[test]
fn d53_a_rule_whose_tries_are_used_up_lets_the_next_one_have_its_turn() {
    let bench = ran_by(
        "workflow:
  - step: start
    tool: {kind: noop}
    case:
      - {when: \"{{ event.name == 'call.error' }}\", then: {retry: {max_attempts: 2}}}
      - {when: \"{{ event.name == 'call.error' }}\", then: {next: b, set: {why: '{{ error.message }}'}}}
  - {step: b, tool: {kind: noop}}
",
        start_breaks,
    );
    assert_eq!(bench.summary(), "start:1:Failed b:1:Completed Completed");
    assert_eq!(bench.ids("start").len(), 2);
    assert_eq!(bench.state().vars["why"], Payload::Inline(json!("no")));
}
