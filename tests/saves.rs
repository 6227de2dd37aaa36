//! What is saved, end to end: rows in a real database, and what a save that fails leaves (seeds 001 and 003).

#![expect(clippy::unwrap_used, reason = "a failed call is a failed test")]

use serde_json::{Value, json};
use tests::binary::playbook;
use tests::example::{Run, run_example, run_text};
use tests::postgres::Postgres;
use tests::site::Site;

/// The events of one step without what every call says, and the iteration of each.
fn milestones(run: &Run, node: &str) -> Vec<String> {
    let events = run.events.iter().filter(|event| event["node_name"] == node);
    let names = events.filter_map(|event| {
        let name = event["event_type"].as_str()?;
        let is_told = ["iterat", "save_", "loop."].iter().any(|prefix| name.starts_with(prefix));
        let index = event.get("current_index").map(|index| format!(" {index}"));
        is_told.then(|| format!("{name}{}", index.unwrap_or_default()))
    });
    names.collect()
}

/// An example that saves in PostgreSQL, behind this port or the server's own.
fn saved(name: &str, postgres: &Postgres, port: Option<u16>, payload: &Value) -> Run {
    let site = Site::start();
    let credential = postgres.credential("pg_local", port);
    let file = credential.path().to_string_lossy().into_owned();
    let payload = payload.to_string();
    let api_url = site.api_url();
    run_example(name, &["--credential", &file, "--set", &api_url, "--payload", &payload])
}

fn id_of(view: &Value) -> &str {
    view["execution_id"].as_str().unwrap()
}

#[test]
fn seed_003_each_city_is_saved_in_its_iteration_and_duckdb_counts_them() {
    let postgres = Postgres::given();
    let run = saved("weather_pipeline.yaml", &postgres, None, &json!({}));
    let view = run.ended(0);
    let mut expected = vec!["iterator_started".to_owned()];
    for index in 0..3 {
        for event in ["iteration_started", "save_started", "save_completed", "iteration_completed"]
        {
            expected.push(format!("{event} {index}"));
        }
    }
    assert_eq!(expected.len(), 13, "the thirteen of the seed");
    expected.extend(["iterator_completed".to_owned(), "loop.done".to_owned()]);
    assert_eq!(milestones(&run, "http_loop"), expected);
    let id = id_of(&view);
    let cities = postgres.rows(&format!(
        "SELECT city, temperature FROM noetl_test.weather_results \
         WHERE execution_id = {id} ORDER BY temperature"
    ));
    assert_eq!(cities, ["Berlin|9", "London|11.5", "Paris|14"]);
    let metrics = postgres.rows(&format!(
        "SELECT pg_rows_saved, mean_temperature, warmest_city \
         FROM noetl_test.weather_pipeline_metrics WHERE execution_id = {id}"
    ));
    assert_eq!(metrics, ["3|11.5|Paris"]);
    assert_eq!(view["result"]["rows"][0]["pg_rows_saved"], 3);
}

/// What a failed save of the second city leaves: nothing of it, and nothing after it.
fn assert_fails(run: &Run, postgres: &Postgres, event: &str, row: usize) {
    let view = run.ended(1);
    assert_eq!(view["status"], "FAILED");
    assert_eq!(view["error"]["step"], "http_loop");
    let mut expected = vec!["iterator_started".to_owned()];
    for index in 0..row {
        for event in ["iteration_started", "save_started", "save_completed", "iteration_completed"]
        {
            expected.push(format!("{event} {index}"));
        }
    }
    for event in ["iteration_started", "save_started", event, "iteration_failed"] {
        expected.push(format!("{event} {row}"));
    }
    expected.extend(["iterator_completed".to_owned(), "loop.done".to_owned()]);
    assert_eq!(milestones(run, "http_loop"), expected, "{}", view["error"]);
    assert!(view["steps"].get("aggregate").is_none());
    let count = format!(
        "SELECT count(*) FROM noetl_test.weather_results WHERE execution_id = {}",
        id_of(&view)
    );
    assert_eq!(postgres.rows(&count), [row.to_string()]);
}

#[test]
fn seed_003_a_row_that_the_database_refuses_is_a_failed_save() {
    let postgres = Postgres::given();
    let cities = json!({"cities": ["London", "Tartarus", "Berlin"]});
    let run = saved("weather_pipeline.yaml", &postgres, None, &cities);
    assert_fails(&run, &postgres, "save_failed", 1);
    let error = run.ended(1)["error"].to_string();
    assert!(error.contains("weather_results"), "the table is not in {error}");
}

#[test]
fn seed_003_a_connection_that_is_lost_is_an_error_of_the_save() {
    let postgres = Postgres::given();
    let port = postgres.cut_at("INSERT");
    let run = saved("weather_pipeline.yaml", &postgres, Some(port), &json!({}));
    assert_fails(&run, &postgres, "save_error", 0);
}

#[test]
fn seed_001_a_row_per_endpoint_counts_the_items_of_all_of_its_pages() {
    let postgres = Postgres::given();
    let run = saved("pagination_loop_results.yaml", &postgres, None, &json!({}));
    let view = run.ended(0);
    let rows = postgres.rows(&format!(
        "SELECT endpoint_name, endpoint_path, page_size, result_count, iteration_index, \
         iteration_count, created_at IS NOT NULL FROM noetl_test.pagination_loop_results \
         WHERE execution_id = {} ORDER BY id",
        id_of(&view)
    ));
    assert_eq!(
        rows,
        ["assessments|/api/v1/assessments|10|35|0|2|t", "users|/api/v1/users|15|35|1|2|t"]
    );
    let saved: Vec<_> = view["result"]["rows"].as_array().unwrap().iter().collect();
    assert_eq!(saved[1], &json!({"endpoint_name": "users", "result_count": 35}));
    for (event, times) in [("save_started", 2), ("save_completed", 2), ("iteration_completed", 2)] {
        assert_eq!(run.count(event), times, "{event}");
    }
}

/// A sink of a loop's step, in its place, and what it saves: over HTTP, where every request is one save.
fn list_saves() -> Vec<(&'static str, String, Vec<Value>)> {
    let step = |rest: &str| {
        playbook(&format!(
            r"
workload: {{ api_url: none }}
workflow:
  - step: start
{rest}
"
        ))
    };
    let to = r#"kind: http, url: "{{ workload.api_url }}/save""#;
    vec![
        (
            "what one call returned",
            step(&format!(
                r#"    tool: {{ kind: python, code: "result = {{'items': [{{'n': 1}}, {{'n': 2}}]}}" }}
    case:
      - when: "{{{{ event.name == 'call.done' }}}}"
        then: {{ sink: {{ tool: {{ {to}, data: "{{{{ response.items }}}}" }} }} }}"#
            )),
            vec![json!([{"n": 1}, {"n": 2}])],
        ),
        (
            "what a loop has collected, once it is done",
            step(&format!(
                r#"    loop: {{ in: [1, 2, 3], iterator: n }}
    tool: {{ kind: python, args: {{ n: "{{{{ n }}}}" }}, code: "result = {{'n': n}}" }}
    case:
      - when: "{{{{ event.name == 'loop.done' }}}}"
        then: {{ sink: {{ tool: {{ {to}, data: "{{{{ start.results }}}}" }} }} }}"#
            )),
            vec![json!([{"n": 1}, {"n": 2}, {"n": 3}])],
        ),
        (
            "the same from the event of the loop",
            step(&format!(
                r#"    loop: {{ in: [1, 2, 3], iterator: n }}
    tool: {{ kind: python, args: {{ n: "{{{{ n }}}}" }}, code: "result = {{'n': n}}" }}
    case:
      - when: "{{{{ event.name == 'loop.done' }}}}"
        then: {{ sink: {{ tool: {{ {to}, data: "{{{{ response.results }}}}" }} }} }}"#
            )),
            vec![json!([{"n": 1}, {"n": 2}, {"n": 3}])],
        ),
        (
            "one save per chunk",
            step(&format!(
                r#"    loop: {{ in: [{{n: 1}}, {{n: 2}}, {{n: 3}}], iterator: rows, chunk: 2, mode: sequential }}
    tool: {{ kind: noop }}
    sink: {{ tool: {{ {to}, data: "{{{{ rows }}}}" }} }}"#
            )),
            vec![json!([{"n": 1}, {"n": 2}]), json!([{"n": 3}])],
        ),
        (
            "all pages of a step, after the last one",
            step(&format!(
                r#"    tool:
      kind: http
      url: "{{{{ workload.api_url }}}}/api/v1/users"
      params: {{ page: 1, pageSize: 20 }}
      retry:
        on_success:
          while: "{{{{ response.paging.hasMore }}}}"
          next_call: {{ params: {{ page: "{{{{ response.paging.page + 1 }}}}" }} }}
          collect: {{ strategy: append, path: data }}
    sink: {{ tool: {{ {to}, data: "{{{{ result.data }}}}" }} }}"#
            )),
            vec![(1..=35).map(|id| json!({"id": id, "of": "/api/v1/users"})).collect()],
        ),
    ]
}

#[test]
fn a_list_is_saved_as_a_whole_wherever_it_comes_from() {
    for (name, text, expected) in list_saves() {
        let site = Site::start();
        let run = run_text(&text, &["--set", &site.api_url()]);
        let _view = run.ended(0);
        let bodies: Vec<Value> = site.asked("/save").into_iter().map(|one| one.body).collect();
        assert_eq!(bodies, expected, "{name}");
        assert_eq!(run.count("save_completed"), expected.len(), "{name}");
    }
}
