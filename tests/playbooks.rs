//! Every example runs, and its expanded event log is a snapshot.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use tests::binary::{example, root, run};
use tests::example::{Run, by_step, in_order, run_example};
use tests::served::Served;
use tests::site::Site;

/// An example that calls another one, with that one.
fn run_with_child(name: &str) -> Run {
    let child = example(&name.replace(".yaml", "_child.yaml")).to_string_lossy().into_owned();
    run_example(name, &["--register", &child])
}

#[test]
fn hello_greets() {
    let run = run_example("hello.yaml", &["--payload", r#"{"name": "Ada"}"#]);
    assert_eq!(run.ended(0)["result"]["greeting"], "Hello, Ada!");
    insta::assert_snapshot!("hello", in_order(&run.events));
}

#[test]
fn loop_isolation_of_a_sequential_loop_is_in_order() {
    let run = run_example("loop_isolation.yaml", &["--payload", r#"{"products": []}"#]);
    insta::assert_snapshot!("loop_isolation_without_products", in_order(&run.events));
}

#[test]
fn branch_takes_one_way_or_the_other() {
    let run = run_example("branch.yaml", &[]);
    let view = run.ended(0);
    assert_eq!(view["steps"]["fan"]["result"]["speed"], 10);
    assert_eq!(view["steps"]["notify"]["result"]["message"], "it is hot");

    let run = run_example("branch.yaml", &["--set", "temperature=12"]);
    let view = run.ended(0);
    assert!(view["steps"].get("fan").is_none());
    assert_eq!(view["result"]["message"], "it is cold");
    insta::assert_snapshot!("branch_cold", in_order(&run.events));
}

#[test]
fn retry_tries_again_until_it_works() {
    let run = run_example("retry.yaml", &[]);
    let view = run.ended(0);
    assert_eq!(view["steps"]["start"]["result"]["tries"], 3);
    assert_eq!(view["steps"]["start"]["runs"], 1, "failed attempts are no finished executions");
    insta::assert_snapshot!("retry", in_order(&run.events));
}

#[test]
fn retry_forms_all_try_again() {
    let run = run_example("retry_forms.yaml", &[]);
    let view = run.ended(0);
    for step in ["start", "listed"] {
        assert_eq!(view["steps"][step]["result"]["tries"], 2, "{step}");
    }
    assert_eq!(view["result"], json!({"ready": true, "seen": 3}));
    insta::assert_snapshot!("retry_forms", in_order(&run.events));
}

#[test]
fn fails_says_what_where_and_which_line() {
    let run = run_example("fails.yaml", &[]);
    let view = run.ended(1);
    assert_eq!(view["status"], "FAILED");
    let error = view["error"].to_string();
    for part in ["start", "KeyError", "price", "order[\\\"price\\\"]"] {
        assert!(error.contains(part), "`{part}` is not in {error}");
    }
    insta::assert_snapshot!("fails", in_order(&run.events));
}

#[test]
fn error_handling_goes_on_or_fails_in_its_own_words() {
    let run = run_example("error_handling.yaml", &[]);
    let view = run.ended(0);
    assert_eq!(view["order"], json!(["start", "optional", "other_way", "check", "end"]));
    assert_eq!(view["steps"]["start"]["result"]["customer"], "unknown");
    insta::assert_snapshot!("error_handling", in_order(&run.events));

    let run = run_example("error_handling.yaml", &["--set", "strict=true"]);
    assert_eq!(run.ended(1)["error"]["message"], "the customer is unknown");
    insta::assert_snapshot!("error_handling_strict", in_order(&run.events));
}

#[test]
fn error_arcs_go_another_way() {
    let run = run_example("error_arcs.yaml", &[]);
    let view = run.ended(0);
    assert_eq!(view["result"], json!({"sorry": true, "cached": false}));
    assert!(view["steps"].get("use").is_none());
    insta::assert_snapshot!("error_arcs", in_order(&run.events));
}

#[test]
fn pagination_collects_every_page_of_a_step() {
    let site = Site::start();
    let run = run_example("pagination.yaml", &["--set", &site.api_url()]);
    let view = run.ended(0);
    assert_eq!(view["result"], json!({"count": 35, "in_order": true}));
    assert_eq!(view["steps"]["start"]["runs"], 1);
    insta::assert_snapshot!("pagination", in_order(&run.events));
}

#[test]
fn loop_with_pagination_collects_every_page_of_every_endpoint() {
    let site = Site::start();
    let run = run_example("loop_with_pagination.yaml", &["--set", &site.api_url()]);
    assert_eq!(run.ended(0)["result"]["counts"], json!({"assessments": 35, "users": 35}));
    insta::assert_snapshot!("loop_with_pagination", in_order(&run.events));
}

#[test]
fn fetch_calls_in_parallel() {
    let site = Site::start();
    let base = site.api_url().replace("api_url", "base_url") + "/api/v1";
    let view = run_example("fetch.yaml", &["--set", &base]).ended(0);
    assert_eq!(view["result"]["stats"], json!({"total": 4, "success": 4, "failed": 0}));
    assert_eq!(site.asked("/api/v1/items?page=").len(), 4);
}

#[test]
fn task_list_jumps_from_page_to_page() {
    let run = run_example("task_list.yaml", &[]);
    assert_eq!(run.ended(0)["result"], json!({"rows": 12, "accounts": ["ann", "bob"]}));
    insta::assert_snapshot!("task_list", by_step(&run.events));

    let view = run_example("task_list.yaml", &["--set", "pages=1"]).ended(0);
    assert_eq!(view["result"]["rows"], 2);
}

#[test]
fn join_runs_once_all_have_arrived() {
    let run = run_example("join.yaml", &[]);
    let view = run.ended(0);
    assert_eq!(view["result"], json!({"accepted": true}));
    assert_eq!(view["steps"]["decide"]["runs"], 1);
    insta::assert_snapshot!("join", by_step(&run.events));
}

#[test]
fn admit_skips_a_step() {
    let run = run_example("admit.yaml", &[]);
    assert_eq!(run.ended(0)["result"], json!({"called": true}));

    let run = run_example("admit.yaml", &["--set", "hour=22"]);
    let view = run.ended(0);
    assert_eq!(view["result"], json!({"called": false}));
    assert_eq!(view["steps"]["call_customer"]["status"], "SKIPPED");
    insta::assert_snapshot!("admit_at_night", by_step(&run.events));
}

#[test]
fn sub_playbook_waits_for_its_children() {
    let run = run_with_child("sub_playbook.yaml");
    let view = run.ended(0);
    assert_eq!(view["result"], json!({"total": 190, "refused": true}));
    let children: i64 = run
        .store
        .query_row("select count(distinct execution_id) - 1 from event", [], |row| row.get(0))
        .unwrap();
    assert_eq!(children, 5, "one for `start`, three for `each`, one for `broken`");
    insta::assert_snapshot!("sub_playbook", by_step(&run.events));
}

#[test]
fn nested_loops_keep_apart() {
    let run = run_with_child("nested_loops.yaml");
    let view = run.ended(0);
    assert_eq!(view["result"], json!({"books": ["a1", "a2", "b3"]}));
    assert_eq!(view["steps"]["books"]["runs"], 3);
    assert_eq!(run.count("loop.done"), 4, "`start`, `books` for each shelf, and `inside`");
    insta::assert_snapshot!("nested_loops", by_step(&run.events));
}

#[test]
fn wait_ends_when_its_time_comes() {
    let run = run_example("wait.yaml", &[]);
    assert_eq!(run.ended(0)["order"], json!(["start", "until", "end"]));
    insta::assert_snapshot!("wait", in_order(&run.events));
}

#[test]
fn callback_goes_on_with_an_answer() {
    let folder = tempfile::tempdir().unwrap();
    let store = folder.path().join("store.db").to_string_lossy().into_owned();
    let file = example("callback.yaml").to_string_lossy().into_owned();
    let waiting = run(["run", &file, "--json", "--store", &store]);
    assert_eq!(waiting.code, Some(3), "{}", waiting.stderr);
    let view = waiting.json();
    let id = view["execution_id"].as_str().unwrap();
    let token = view["steps"]["start"]["waiting"][0]["token"].as_str().unwrap();
    assert!(waiting.stderr.contains(&format!("answer {id} {token}")), "{}", waiting.stderr);

    let data = r#"{"approved": true, "by": "Ada"}"#;
    let answered = run(["answer", id, token, "--data", data, "--store", &store, "--json"]);
    assert_eq!(answered.code, Some(0), "{}", answered.stderr);
    assert_eq!(answered.json()["result"], json!({"shipped": 7, "approved_by": "Ada"}));
    let listed = run(["events", id, "--json", "--store", &store]);
    let events = listed.stdout.lines().map(|line| serde_json::from_str(line).unwrap());
    insta::assert_snapshot!("callback", in_order(&events.collect::<Vec<Value>>()));
}

#[test]
fn callback_is_answered_or_cancelled_over_http() {
    let server = Served::start(":memory:", []);
    let text = std::fs::read_to_string(example("callback.yaml")).unwrap();
    let begin = || {
        let id = server.execute(&text, &json!({}));
        let events = format!("/api/executions/{id}/events");
        let place = |page: &Value| {
            let events = page["events"].as_array().into_iter().flatten();
            let mut places = events.filter_map(|event| event["meta"]["callback"]["path"].as_str());
            places.next().map(str::to_owned)
        };
        let page = server.wait_for(&events, |page| place(page).is_some());
        (id, place(&page).unwrap())
    };
    let (id, callback) = begin();
    assert_eq!(server.post(&callback, &json!({"approved": false})).status, 202);
    assert_eq!(server.ended(&id)["result"], json!({"refused": 7}));
    assert_eq!(server.post(&callback, &json!({"approved": true})).status, 409);

    let (id, _) = begin();
    let cancelled = server.post(&format!("/api/executions/{id}/cancel"), &json!({}));
    assert_eq!(cancelled.status, 200, "{}", cancelled.body);
    assert_eq!(server.ended(&id)["status"], "CANCELLED");
    let events = server.get(&format!("/api/executions/{id}/events")).body;
    insta::assert_snapshot!("callback_cancelled", in_order(events["events"].as_array().unwrap()));
}

#[test]
fn save_per_item_saves_or_fails() {
    let run = run_example("save_per_item.yaml", &[]);
    assert_eq!(run.ended(0)["result"], json!({"letters": 17}));
    insta::assert_snapshot!("save_per_item", in_order(&run.events));

    let run = run_example("save_per_item.yaml", &["--set", "bad_city=Paris"]);
    let error = run.ended(1)["error"].to_string();
    assert!(error.contains("no place for Paris"), "{error}");
    insta::assert_snapshot!("save_per_item_fails", in_order(&run.events));
}

#[test]
fn chunks_picks_sorts_cuts_and_groups() {
    let run = run_example("chunks.yaml", &[]);
    let expected = json!({
        "names": [["Dan", "Ann"], ["Eve", "Cyd"]],
        "stats": {"total": 2, "success": 2, "failed": 0},
    });
    assert_eq!(run.ended(0)["result"], expected);
    insta::assert_snapshot!("chunks", in_order(&run.events));

    let run = run_example("chunks.yaml", &["--set", "most=many"]);
    let error = run.ended(1)["error"].to_string();
    assert!(error.contains("`loop.limit`") && error.contains("whole number"), "{error}");
    insta::assert_snapshot!("chunks_without_a_limit", in_order(&run.events));
}

#[test]
fn the_store_answers_a_person_with_sql() {
    let run = run_example("branch.yaml", &[]);
    let id: i64 = run.ended(0)["execution_id"].as_str().unwrap().parse().unwrap();
    let mut query = run
        .store
        .prepare("select event_type, node_name, status from event where execution_id = ?1")
        .unwrap();
    let rows = query.query_map([id], |row| {
        let (kind, node, status) =
            (row.get::<_, String>(0)?, row.get::<_, String>(1)?, row.get::<_, String>(2)?);
        Ok(format!("{kind:<22} {node:<26} {status}\n"))
    });
    let shown: String = rows.unwrap().map(Result::unwrap).collect();
    let log = in_order(&run.events);
    assert_eq!(shown, log, "the view of the store and the program's own list agree");
}

/// The events of the reference that the engine tells (`dsl.md` 2.3), in its own names.
const EVENTS: [&str; 29] = [
    "playbook.initialized",
    "workflow.initialized",
    "command.issued",
    "command.claimed",
    "command.started",
    "command.completed",
    "command.failed",
    "command.cancelled",
    "step.enter",
    "call.done",
    "call.error",
    "step.exit",
    "retry_scheduled",
    "save_started",
    "save_completed",
    "save_failed",
    "save_error",
    "iterator_started",
    "iterator_completed",
    "iterator_failed",
    "iteration_started",
    "iteration_completed",
    "iteration_failed",
    "loop.done",
    "workflow.completed",
    "workflow.failed",
    "playbook.completed",
    "playbook.failed",
    "execution.cancelled",
];

#[test]
fn every_event_is_in_a_snapshot_and_no_other() {
    let folder = root().join("tests/snapshots");
    let mut found = BTreeSet::new();
    for file in std::fs::read_dir(folder).unwrap() {
        let path = file.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "snap") {
            continue;
        }
        let text = std::fs::read_to_string(path).unwrap();
        let (_, log) = text.split_once("\n---\n").unwrap();
        let names = log.lines().filter_map(|line| line.split(' ').next());
        found.extend(names.filter(|name| !name.is_empty()).map(str::to_owned));
    }
    let expected: BTreeSet<String> = EVENTS.into_iter().map(str::to_owned).collect();
    assert_eq!(found, expected);
}

#[test]
fn every_example_is_in_the_table_of_the_readme_and_in_a_test() {
    let readme = std::fs::read_to_string(example("README.md")).unwrap();
    let tests = include_str!("playbooks.rs").to_owned()
        + include_str!("acceptance.rs")
        + include_str!("saves.rs");
    for file in std::fs::read_dir(root().join("playbooks")).unwrap() {
        let name = file.unwrap().file_name().to_string_lossy().into_owned();
        let Some(base) = name.strip_suffix(".yaml") else { continue };
        assert!(readme.contains(&format!("`{name}`")), "{name} is not in the readme");
        let used = base.strip_suffix("_child").unwrap_or(base);
        assert!(tests.contains(&format!("\"{used}.yaml\"")), "{name} is not in a test");
    }
}
