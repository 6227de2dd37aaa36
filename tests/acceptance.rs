//! What the five seed documents of the project promise, one test for each promise.

#![expect(
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a failed call is a failed test; figures are for readers of the log"
)]

use std::collections::BTreeMap;

use serde_json::json;
use tests::binary::playbook;
use tests::example::{Run, in_order, run_example, run_text};
use tests::site::Site;

/// The aggregates of an execution's loops, `(key, state)` by key.
fn loops(run: &Run, step: &str) -> Vec<(String, String)> {
    let mut query = run.store.prepare("select key, state from aggregate order by key").unwrap();
    let rows = query.query_map([], |row| Ok((row.get(0)?, row.get(1)?)));
    let rows = rows.unwrap().map(Result::<(String, String), _>::unwrap);
    let infix = format!(":loop:{step}:");
    rows.filter(|(key, _)| key.contains(&infix)).collect()
}

/// The names of the events, without what every tool call says.
fn milestones(run: &Run, node: &str) -> Vec<String> {
    let calls = ["command.", "call.", "step."];
    let events = run.events.iter().filter(|event| event["node_name"] == node);
    let names = events.map(|event| {
        let index = event.get("current_index").map(|index| format!(" {index}"));
        format!("{}{}", event["event_type"].as_str().unwrap(), index.unwrap_or_default())
    });
    names.filter(|name| !calls.iter().any(|call| name.starts_with(call))).collect()
}

#[test]
fn seed_000_two_loops_have_epochs_keys_and_results_of_their_own() {
    let run = run_example("loop_isolation.yaml", &[]);
    let view = run.ended(0);
    let id = view["execution_id"].as_str().unwrap();
    let mut epochs = Vec::new();
    for (step, kind) in [("greet_users", "user"), ("price_products", "product")] {
        let results = view["steps"][step]["result"]["results"].as_array().unwrap();
        let kinds: Vec<_> = results.iter().map(|result| result["kind"].as_str().unwrap()).collect();
        assert_eq!(kinds, [kind, kind], "{step}");
        let loops = loops(&run, step);
        assert_eq!(loops.len(), 1, "{step}: {loops:?}");
        let (key, state) = &loops[0];
        let epoch = key.strip_prefix(&format!("exec:{id}:loop:{step}:")).unwrap();
        assert!(epoch.parse::<i64>().is_ok(), "{key}");
        assert!(!state.contains("Hello"), "a result in the loop's state: {state}");
        let of_loop = run
            .events
            .iter()
            .filter(|event| event["node_name"] == step && event.get("current_index").is_some());
        for event in of_loop {
            assert_eq!(event["loop_id"], epoch, "an event of another epoch: {event}");
        }
        let exits = run.of_type("step.exit").filter(|event| event["node_name"] == step);
        let indexes: Vec<_> = exits.filter_map(|event| event["current_index"].as_u64()).collect();
        assert_eq!(indexes.len(), 2, "{step}");
        epochs.push(epoch.to_owned());
    }
    assert_ne!(epochs[0], epochs[1]);
    for (event, times) in [
        ("iterator_started", 2),
        ("iteration_started", 4),
        ("iteration_completed", 4),
        ("iterator_completed", 2),
        ("loop.done", 2),
        ("command.issued", 8),
        ("command.claimed", 8),
        ("command.started", 8),
        ("step.enter", 8),
        ("call.done", 8),
        ("command.completed", 8),
        ("step.exit", 8 + 2),
    ] {
        assert_eq!(run.count(event), times, "{event}");
    }
}

#[test]
fn seed_002_the_state_of_a_heavy_loop_is_counts_only_and_nothing_is_lost() {
    #[rustfmt::skip]
    let cases = [
        (100,   json!({})),
        (500,   json!({"workload": {"item_count": 500}})),
        (1_000, json!({"workload": {"item_count": 1_000, "padding_bytes": 500}})),
    ];
    for (items, payload) in cases {
        let run = run_example("heavy_loop.yaml", &["--payload", &payload.to_string()]);
        let view = run.ended(0);
        assert_eq!(view["steps"]["work"]["runs"], items);
        let aggregate = &view["steps"]["aggregate"]["result"];
        assert_eq!(aggregate["processed"], items);
        assert_eq!(aggregate["in_order"], true);
        assert_eq!(aggregate["failed"], 0);
        assert_eq!(aggregate["sum"], items * (items - 1));
        let count = usize::try_from(items).unwrap();
        for event in ["iteration_started", "iteration_completed"] {
            assert_eq!(run.count(event), count, "{event} of {items} items");
        }
        assert_eq!(run.count("loop.done"), 1);
        let [(_, state)] = loops(&run, "work").try_into().unwrap();
        assert!(!state.contains("padding") && !state.contains("xxx"), "{state}");
        assert!(state.len() < 1_024, "{} bytes: {state}", state.len());
        println!("{items} items: {} bytes of state when done", state.len());
    }
}

#[test]
fn seed_001_every_endpoint_of_a_loop_gives_all_of_its_pages() {
    let site = Site::start();
    let endpoints = json!({"endpoints": [
        {"name": "assessments", "path": "/api/v1/assessments", "page_size": 10},
        {"name": "users", "path": "/api/v1/users", "page_size": 15},
        {"name": "orders", "path": "/api/v1/orders", "page_size": 35},
    ]});
    let sizes = [10, 15, 35];
    for (payload, count) in [(json!({}), 2), (endpoints.clone(), 3)] {
        let more = ["--set", &site.api_url(), "--payload", &payload.to_string()];
        let run = run_example("loop_with_pagination.yaml", &more);
        let view = run.ended(0);
        // One result per endpoint, and one for the step.
        let aggregate = &view["steps"]["fetch_all_endpoints"]["result"];
        let results = aggregate["results"].as_array().unwrap();
        assert_eq!(results.len(), count);
        for (result, size) in results.iter().zip(sizes) {
            let ids: Vec<u64> = result["data"]
                .as_array()
                .unwrap()
                .iter()
                .map(|item| item["id"].as_u64().unwrap())
                .collect();
            assert_eq!(ids, (1..=35).collect::<Vec<u64>>(), "in order, none twice");
            assert_eq!(result["meta"]["iterations"], 35_u64.div_ceil(size));
        }
        let total = json!({"total": count, "success": count, "failed": 0});
        assert_eq!(aggregate["stats"], total);
        assert_eq!(view["result"]["total"], 35 * count);
        for (event, times) in
            [("iteration_completed", count), ("iterator_completed", 1), ("loop.done", 1)]
        {
            assert_eq!(run.count(event), times, "{event}");
        }

        let started: Vec<_> = run.of_type("iterator_started").collect();
        assert_eq!(started.len(), 1);
        assert_eq!(
            (&started[0]["status"], &started[0]["node_name"]),
            (&json!("RUNNING"), &json!("fetch_all_endpoints"))
        );
        let context = &started[0]["result"];
        let all = endpoints["endpoints"].as_array().unwrap();
        #[rustfmt::skip]
        let expected = BTreeMap::from([
            ("total_count",     json!(count)),
            ("collection_size", json!(count)),
            ("mode",            json!("sequential")),
            ("iterator_name",   json!("endpoint")),
            ("collection",      json!(all[..count])),
            ("concurrency",     json!(1)),
            ("chunk_size",      json!(null)),
            ("enumerate",       json!(false)),
        ]);
        for (key, value) in expected {
            assert_eq!(context[key], value, "{key} in {context}");
        }
        assert_eq!(context["nested_task"]["tool"], "http");
        let pagination = &context["nested_task"]["retry"]["on_success"];
        assert_eq!(pagination["while"], "{{ response.paging.hasMore == true }}");
        assert_eq!(pagination["max_attempts"], 10);
        assert_eq!(pagination["collect"], json!({"strategy": "append", "path": "data"}));
    }
    let pages: Vec<_> =
        site.asked("/api/v1/users").into_iter().map(|request| request.path).collect();
    let page = |number| format!("/api/v1/users?page={number}&pageSize=15");
    let expected: Vec<String> = [1, 2, 3, 1, 2, 3].map(page).into();
    assert_eq!(pages, expected);
}

/// A loop over three cities that saves each to the site, at the given path.
fn saving(path: &str) -> String {
    playbook(&format!(
        r#"
workload: {{ api_url: none, cities: [London, Paris, Berlin] }}
workflow:
  - step: start
    loop: {{ in: "{{{{ workload.cities }}}}", iterator: city, mode: sequential, spec: {{ policy: {{ failure: {{ mode: fail_fast }} }} }} }}
    tool: {{ kind: http, url: "{{{{ workload.api_url }}}}/api/v1/{{{{ city }}}}", params: {{ pageSize: 1 }} }}
    sink:
      tool:
        kind: http
        method: POST
        url: "{{{{ workload.api_url }}}}{path}"
        body: {{ city: "{{{{ city }}}}", items: "{{{{ result.data.data | length }}}}" }}
"#
    ))
}

#[test]
fn seed_003_each_item_is_saved_within_its_iteration() {
    let site = Site::start();
    let run = run_text(&saving("/save"), &["--set", &site.api_url()]);
    let view = run.ended(0);
    assert_eq!(view["result"]["stats"], json!({"total": 3, "success": 3, "failed": 0}));
    let mut expected = vec!["iterator_started".to_owned()];
    for index in 0..3 {
        for event in ["iteration_started", "save_started", "save_completed", "iteration_completed"]
        {
            expected.push(format!("{event} {index}"));
        }
    }
    // The thirteen of the seed, and the two that end the loop.
    assert_eq!(expected.len(), 13);
    expected.extend(["iterator_completed".to_owned(), "loop.done".to_owned()]);
    assert_eq!(milestones(&run, "start"), expected);
    let saved: Vec<_> = site.asked("/save").into_iter().map(|request| request.body).collect();
    let row = |city: &str| json!({"city": city, "items": 1});
    assert_eq!(saved, ["London", "Paris", "Berlin"].map(row));
}

#[test]
fn seed_003_a_save_that_fails_fails_its_iteration_and_the_run() {
    // The site refuses: the save failed. The site is out of order: that is an error.
    for (status, event, name) in [(422, "save_failed", "refused"), (503, "save_error", "broken")] {
        let site = Site::start();
        let run = run_text(&saving(&format!("/{status}")), &["--set", &site.api_url()]);
        let view = run.ended(1);
        let error = view["error"]["message"].as_str().unwrap();
        assert!(error.contains(&status.to_string()), "{error}");
        assert_eq!(view["error"]["step"], "start");
        let expected = [
            "iterator_started",
            "iteration_started 0",
            "save_started 0",
            &format!("{event} 0"),
            "iteration_failed 0",
            "iterator_completed",
            "loop.done",
        ];
        assert_eq!(milestones(&run, "start"), expected, "{error}");
        assert_eq!(site.asked("/api/").len(), 1, "an item after the failure");
        insta::assert_snapshot!(format!("save_{name}"), in_order(&run.events));
    }

    // Without `fail_fast` every item has its turn, and all of them fail.
    let site = Site::start();
    let text = saving("/422").replace("mode: fail_fast", "mode: best_effort");
    let run = run_text(&text, &["--set", &site.api_url()]);
    let view = run.ended(1);
    assert_eq!(run.count("iteration_failed"), 3);
    assert_eq!(view["steps"]["start"]["result"]["stats"]["failed"], 3);
}

#[test]
fn seed_004_collect_and_call_read_page_after_page() {
    let site = Site::start();
    // As the seed prints it, but for the address.
    let text = r#"
apiVersion: noetl.io/v2
kind: Playbook
metadata:
  name: pagination_example
  path: examples/pagination
workflow:
  - step: start
    tool:
      kind: http
      method: GET
      endpoint: "{{ api_url }}/data"
      params:
        page: 1
    case:
      - when: "{{ event.name == 'step.enter' }}"
        then:
          set:
            ctx:
              pages: []

      - when: >-
          {{ event.name == 'call.done'
             and response.data.hasMore }}
        then:
          collect:
            from: response.data.items
            into: pages
            mode: extend
          call:
            params:
              page: "{{ (response.data.page | int) + 1 }}"

      - when: >-
          {{ event.name == 'call.done'
             and not response.data.hasMore }}
        then:
          collect:
            from: response.data.items
            into: pages
            mode: extend
          result:
            from: pages
"#;
    let run = run_text(text, &["--set", &site.api_url()]);
    let view = run.ended(0);
    let ids: Vec<_> =
        view["result"].as_array().unwrap().iter().map(|item| item["id"].as_u64()).collect();
    assert_eq!(ids, (1..=35).map(Some).collect::<Vec<_>>());
    assert_eq!(view["steps"]["start"]["runs"], 1);
    assert_eq!(run.count("call.done"), 4);
    assert_eq!(run.count("step.exit"), 1);
    let pages: Vec<_> = site.asked("/data").into_iter().map(|request| request.path).collect();
    assert_eq!(pages, ["/data?page=1", "/data?page=2", "/data?page=3", "/data?page=4"]);
}
