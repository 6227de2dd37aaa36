//! The HTTP API of the real program: every route, and what it says to requests that make no sense.

#![expect(clippy::unwrap_used, reason = "a failed call is a failed test")]

use std::fs;

use engine_core::limits::CALLBACK_BYTES_MAX;
use serde_json::{Value, json};
use tests::binary::{example, playbook, run};
use tests::served::Served;

/// One step that tells that it runs, by a file, and takes its time.
fn slow(seconds: &str) -> String {
    playbook(&format!(
        "workload: {{ marker: '' }}\nworkflow:\n  - step: start\n    tool:\n      kind: python\n      \
         args: {{ marker: \"{{{{ workload.marker }}}}\" }}\n      code: |\n        \
         import time\n        if marker: open(marker, 'w').close()\n        \
         time.sleep({seconds})\n        result = {{'slept': True}}\n    next: end\n  \
         - {{ step: end, tool: {{ kind: noop }} }}\n"
    ))
}

fn text(name: &str) -> String {
    fs::read_to_string(example(name)).unwrap()
}

#[test]
fn an_execution_is_begun_watched_and_read_through_the_api() {
    let server = Served::start(":memory:", []);
    for path in ["/health", "/api/health"] {
        assert_eq!(server.get(path).body, json!({"status": "ok"}));
    }
    let id = server.execute(&text("loop_isolation.yaml"), &json!({}));
    let view = server.ended(&id);
    assert_eq!(view["status"], "COMPLETED");
    assert_eq!(view["execution_id"], id.as_str());
    assert_eq!(view["path"], "examples/loop_isolation");
    assert_eq!((&view["version"], &view["progress"]), (&json!(1), &json!({})));
    assert_eq!(view["steps"]["greet_users"]["runs"], 2);
    assert!(view["error"].is_null());
    // As the seeds count them: the exits of iterations, from the events beside the status.
    let exits = view["events"].as_array().unwrap().iter();
    let exits = exits
        .filter(|event| event["event_type"] == "step.exit" && event["node_name"] == "greet_users");
    assert!(exits.count() >= 2, "{view}");
    assert_eq!(view["pagination"]["has_next"], false);

    let steps = server.get(&format!("/api/executions/{id}/steps")).body;
    assert_eq!(steps["order"][0], "start");
    let greeted = &steps["steps"]["greet_users"];
    assert_eq!((&greeted["status"], &greeted["runs"]), (&json!("COMPLETED"), &json!(2)));
    assert_eq!(greeted["result"]["results"][1]["text"], "Hello, Bob");

    let status = server.get(&format!("/api/executions/{id}/status")).body;
    assert_eq!((&status["completed"], &status["failed"]), (&json!(true), &json!(false)));
    assert_eq!(status["current_step"], "end");

    let listed = server.get("/api/executions").body;
    assert_eq!(listed[0]["execution_id"], id.as_str());
    assert_eq!(listed[0]["status"], "COMPLETED");
    let before = server.get(&format!("/api/executions?before={id}&limit=5"));
    assert_eq!(before.body, json!([]));
}

#[test]
fn events_come_in_causal_order_page_by_page() {
    let server = Served::start(":memory:", []);
    let id = server.execute(&text("loop_isolation.yaml"), &json!({}));
    let total = server.ended(&id)["pagination"]["total_events"].as_u64().unwrap();
    let (mut seen, mut next) = (Vec::new(), String::new());
    loop {
        let path = format!("/api/executions/{id}/events?limit=7{next}");
        let page = server.get(&path).body;
        let events = page["events"].as_array().unwrap();
        seen.extend(events.iter().map(|event| event["event_type"].as_str().unwrap().to_owned()));
        if page["has_more"] == false {
            break;
        }
        next = format!("&after={}", page["next"].as_str().unwrap());
    }
    assert_eq!(seen.len() as u64, total);
    assert_eq!(seen.first().map(String::as_str), Some("playbook.initialized"));
    assert_eq!(seen.last().map(String::as_str), Some("playbook.completed"));
    let paged = format!("/api/executions/{id}?event_type=loop.done&page_size=10");
    assert_eq!(server.get(&paged).body["pagination"]["total_events"], 2);
    let unknown = server.get(&format!("/api/executions/{id}/events?after=1"));
    assert_eq!(unknown.status, 404, "{}", unknown.body);
}

#[test]
fn results_of_a_loop_are_read_in_parts() {
    let server = Served::start(":memory:", []);
    let payload = json!({"workload": {"item_count": 30, "padding_bytes": 50_000}});
    let id = server.execute(&text("heavy_loop.yaml"), &payload);
    assert_eq!(server.ended(&id)["status"], "COMPLETED");
    let path = format!("/api/aggregate/loop/results?execution_id={id}&step_name=work");
    let all = server.get(&path).body;
    assert_eq!((&all["status"], &all["count"]), (&json!("ok"), &json!(30)));
    assert_eq!(all["method"], "loop_metadata");
    // More than an answer keeps in memory.
    assert!(all.to_string().len() > 1_400_000);
    let event_id = all["event_id"].as_str().unwrap();
    let part = server.get(&format!("{path}&event_id={event_id}&offset=28&limit=5")).body;
    let ids: Vec<_> = part["results"].as_array().unwrap().iter().map(|one| &one["id"]).collect();
    assert_eq!(ids, [28, 29]);
    assert_eq!(server.get(&format!("{path}&event_id=1")).status, 404);
    assert_eq!(server.get("/api/aggregate/loop/results?execution_id=9&step_name=a").status, 404);
    assert_eq!(server.get(&format!("/api/aggregate/loop/results?execution_id={id}")).status, 400);
}

#[test]
fn a_playbook_is_registered_in_every_form_that_the_seeds_send() {
    let server = Served::start(":memory:", []);
    let hello = text("hello.yaml");
    let register = |body: &Value| server.post("/api/catalog/register", body);
    let found = register(&json!({"content": hello, "resource_type": "Playbook"}));
    assert_eq!(found.status, 200, "{}", found.body);
    assert_eq!((&found.body["status"], &found.body["version"]), (&json!("success"), &json!(1)));
    let encoded = "YXBpVmVyc2lvbjogbm9ldGwuaW8vdjIKa2luZDogUGxheWJvb2sKbWV0YWRhdGE6IHsgbmFtZTogYiwgcGF0aDogYi9jIH0K\
                   d29ya2Zsb3c6IFt7IHN0ZXA6IHN0YXJ0LCB0b29sOiB7IGtpbmQ6IG5vb3AgfSB9XQo=";
    assert_eq!(register(&json!({"content_base64": encoded})).body["path"], "b/c");
    let broken = register(&json!({"content": hello.replace("kind: python", "knd: python")}));
    assert_eq!(broken.status, 422);
    assert!(broken.body["detail"].as_str().unwrap().contains("needs a `kind`"), "{}", broken.body);
    assert!(broken.body["error"]["diagnostics"][0]["position"]["line"].is_u64());
    assert_eq!(register(&json!({})).status, 422);
    // What `curl -d @FILE` makes of a file.
    let one_line = playbook("workflow: []\n").replace('\n', "");
    let sent = server.ask("POST", "/api/catalog/register", &[], one_line.as_bytes());
    assert!(sent.body["detail"].as_str().unwrap().contains("--data-binary"), "{}", sent.body);

    let listed = server.get("/api/catalog/list").body;
    assert_eq!(listed["entries"].as_array().unwrap().len(), 2, "{listed}");
    let run = server.post("/api/run/playbook", &json!({"path": "b/c", "args": {"a": 1}}));
    assert_eq!((run.status, &run.body["status"]), (200, &json!("started")), "{}", run.body);
    let by_id = json!({"catalog_id": found.body["catalog_id"], "workload": {"name": "Ada"}});
    let id = server.post("/api/execute", &by_id).body["execution_id"].clone();
    assert_eq!(server.ended(id.as_str().unwrap())["result"]["greeting"], "Hello, Ada!");
}

#[test]
fn d48_a_path_beside_the_playbook_is_compared_with_its_own() {
    let server = Served::start(":memory:", []);
    let register = |path: &str| {
        let body = json!({"content": text("hello.yaml"), "path": path});
        server.post("/api/catalog/register", &body).body
    };
    let (same, other) = (register("examples/hello"), register("somewhere/else"));
    assert_eq!(
        (&same["path"], &other["path"]),
        (&json!("examples/hello"), &json!("examples/hello"))
    );
    assert_eq!(same["warnings"], json!([]));
    assert!(other["warnings"].to_string().contains("somewhere/else"), "{other}");
}

#[test]
fn d49_a_playbook_may_be_sent_as_it_is_whatever_its_label() {
    let server = Served::start(":memory:", []);
    for kind in ["application/json", "application/yaml", "text/plain"] {
        let headers = [format!("Content-Type: {kind}")];
        let headers = headers.each_ref().map(String::as_str);
        let hello = text("hello.yaml");
        let found = server.ask("POST", "/api/catalog/register", &headers, hello.as_bytes());
        assert_eq!(found.status, 200, "{kind}: {}", found.body);
        assert_eq!(found.body["path"], "examples/hello", "{kind}");
    }
}

#[test]
fn what_fails_says_where() {
    let server = Served::start(":memory:", []);
    let id = server.execute(&text("fails.yaml"), &json!({}));
    let view = server.ended(&id);
    assert_eq!(view["status"], "FAILED");
    assert!(view["error"]["message"].is_string(), "{view}");
    assert!(view["error"]["line"].is_u64(), "{view}");
}

#[test]
fn an_execution_is_cancelled_once() {
    let server = Served::start(":memory:", []);
    let id = server.execute(&slow("30"), &json!({}));
    let running = server.get(&format!("/api/executions/{id}/status")).body;
    assert_eq!(
        (&running["status"], &running["current_step"]),
        (&json!("RUNNING"), &json!("start"))
    );
    let path = format!("/api/executions/{id}/cancel");
    let cancelled = server.post(&path, &json!({"reason": "enough"}));
    assert_eq!((cancelled.status, &cancelled.body["status"]), (200, &json!("cancelled")));
    let view = server.ended(&id);
    assert_eq!(view["status"], "CANCELLED");
    assert!(view["error"].to_string().contains("enough"), "{view}");
    assert_eq!(server.post(&path, &json!({})).body["status"], "already_completed");
}

#[test]
fn requests_that_make_no_sense_are_told_why() {
    let server = Served::start(":memory:", []);
    let id = server.execute(&text("hello.yaml"), &json!({}));
    let _ = server.ended(&id);
    let known = format!("/api/executions/{id}");
    #[rustfmt::skip]
    let cases = [
        ("GET",    "/api/nowhere".to_owned(),                   "",                              404),
        ("DELETE", "/api/executions".to_owned(),                "",                              405),
        ("GET",    "/api/executions/twelve".to_owned(),         "",                              400),
        ("GET",    "/api/executions/-5".to_owned(),             "",                              400),
        ("GET",    "/api/executions/%ff".to_owned(),            "",                              400),
        ("GET",    "/api/executions/99999999999999999999".to_owned(), "",                        400),
        ("GET",    "/api/executions/5".to_owned(),              "",                              404),
        ("GET",    "/api/executions/5/steps".to_owned(),        "",                              404),
        ("GET",    "/api/executions/5/events".to_owned(),       "",                              404),
        ("GET",    "/api/executions/5/status".to_owned(),       "",                              404),
        ("GET",    "/api/executions?limit=many".to_owned(),     "",                              400),
        ("GET",    "/api/executions?before=5".to_owned(),       "",                              404),
        ("GET",    format!("{known}?page=x"),                   "",                              400),
        ("POST",   "/api/executions/5/cancel".to_owned(),       "{}",                            404),
        ("POST",   format!("{known}/cancel"),                   r#"{"reason": 1}"#,              422),
        ("POST",   format!("{known}/callbacks/token"),          "{}",                            409),
        ("POST",   format!("{known}/callbacks/token"),          "{",                             400),
        ("POST",   "/api/executions/5/callbacks/token".to_owned(), "{}",                         404),
        ("POST",   "/api/execute".to_owned(),                   r#"{"path": "no/such"}"#,        404),
        ("POST",   "/api/execute".to_owned(),                   r#"{"path": "examples/hello", "version": 9}"#, 404),
        ("POST",   "/api/execute".to_owned(),                   r#"{"catalog_id": "12"}"#,       404),
        ("POST",   "/api/execute".to_owned(),                   r#"{"path": "#,                  400),
        ("POST",   "/api/execute".to_owned(),                   "[]",                            422),
        ("POST",   "/api/execute".to_owned(),                   "",                              422),
        ("POST",   "/api/execute".to_owned(),                   r#"{"path": "examples/hello", "payload": 3}"#, 422),
        ("POST",   "/api/catalog/register".to_owned(),          "\u{1}\u{2}",                    422),
        ("POST",   "/api/credentials".to_owned(),               r#"{"data": {}}"#,               422),
        ("POST",   "/api/credentials".to_owned(),               r#"{"name": "a", "data": 5}"#,   422),
        ("POST",   "/api/credentials".to_owned(),               r#"{"name": "a", "data": {}, "tags": 5}"#, 422),
        ("GET",    "/api/credentials/none".to_owned(),          "",                              404),
        ("DELETE", "/api/credentials/none".to_owned(),          "",                              404),
    ];
    for (method, path, body, expect) in cases {
        let found = server.ask(method, &path, &[], body.as_bytes());
        assert_eq!(found.status, expect, "{method} {path} {body}: {}", found.body);
        let message = &found.body["error"]["message"];
        assert!(message.is_string(), "{method} {path} {body}: {}", found.body);
        assert_eq!(message, &found.body["detail"]);
        assert!(found.body["error"]["type"].is_string());
    }
}

#[test]
fn bodies_have_limits() {
    let server = Served::start(":memory:", []);
    let id = server.execute(&text("hello.yaml"), &json!({}));
    let large = |bytes: usize| format!("\"{}\"", "x".repeat(bytes));
    #[rustfmt::skip]
    let cases = [
        ("/api/execute".to_owned(),                        5 << 20,   413),
        ("/api/execute".to_owned(),                        1 << 20,   422),
        (format!("/api/executions/{id}/callbacks/token"),  CALLBACK_BYTES_MAX - 1, 413),
        ("/api/executions/5/callbacks/token".to_owned(),   CALLBACK_BYTES_MAX - 2, 404),
    ];
    for (path, bytes, expect) in cases {
        let found = server.ask("POST", &path, &[], large(bytes).as_bytes());
        assert_eq!(found.status, expect, "{path} with {bytes} bytes: {}", found.body);
    }
    let mut playbook = text("hello.yaml");
    playbook.push_str(&"#".repeat(1 << 20));
    assert_eq!(server.post("/api/catalog/register", &json!({"content": playbook})).status, 422);
}

#[test]
fn pages_from_elsewhere_cannot_use_the_server() {
    let server = Served::start(":memory:", []);
    let own = format!("Origin: http://{}", server.address());
    #[rustfmt::skip]
    let cases = [
        (vec![own.as_str()],                          200),
        (vec!["Origin: https://evil.example"],        403),
        (vec!["Host: evil.example"],                  403),
        (vec!["Host: localhost"],                     200),
    ];
    for (headers, expect) in cases {
        let found = server.ask("POST", "/api/catalog/list", &headers, b"");
        assert_eq!(found.status, expect, "{headers:?}: {}", found.body);
    }
}

#[test]
fn credentials_go_in_and_never_come_out() {
    let server = Served::start(":memory:", []);
    let credential = json!({"name": "api", "type": "bearer", "data": {"token": "se-cr-et"}});
    assert_eq!(server.post("/api/credentials", &credential).status, 200);
    let listed = server.get("/api/credentials").body;
    assert_eq!(listed["credentials"][0]["name"], "api", "{listed}");
    let one = server.get("/api/credentials/api");
    assert_eq!((one.status, &one.body["type"]), (200, &json!("bearer")), "{}", one.body);
    let data = server.get("/api/credentials/api?include_data=true");
    assert_eq!(data.status, 403, "{}", data.body);
    for shown in [&listed, &one.body, &data.body] {
        assert!(!shown.to_string().contains("se-cr-et"), "{shown}");
    }
    let broken =
        server.ask("POST", "/api/credentials", &[], br#"{"name": "x", "data": "se-cr-et}"#);
    assert!(!broken.body.to_string().contains("se-cr-et"), "{}", broken.body);

    let file = playbook(
        "workflow:\n  - step: start\n    tool:\n      kind: python\n      \
         args: { length: \"{{ secret.api | length }}\" }\n      code: 'result = {\"length\": length}'\n",
    );
    let id = server.execute(&file, &json!({}));
    let view = server.ended(&id);
    assert_eq!(view["status"], "COMPLETED", "{view}");
    assert_eq!(view["result"]["length"], 8);
    assert!(!view.to_string().contains("se-cr-et"));
}

#[test]
fn a_stop_lets_running_calls_finish_and_what_is_left_goes_on_with_the_next_start() {
    let folder = tempfile::tempdir().unwrap();
    let store = folder.path().join("store.db").to_string_lossy().into_owned();
    let server = Served::start(&store, []);
    let marker = folder.path().join("running");
    let id = server.execute(&slow("0.5"), &json!({"marker": marker}));
    while !marker.exists() {
        std::thread::yield_now();
    }
    let (ended, errors) = server.stop("-TERM");
    assert_eq!(ended.code(), Some(0), "{errors}");
    assert!(errors.contains("stopping"), "{errors}");
    let listed = run(["events", &id, "--store", &store]);
    assert!(listed.stdout.contains("call.done"), "the call was cut off: {}", listed.stdout);

    let server = Served::start(&store, []);
    let view = server.ended(&id);
    assert_eq!(view["status"], "COMPLETED", "{view}");
    assert_eq!(view["order"], json!(["start", "end"]));
    assert_eq!(view["steps"]["start"]["runs"], 1);
}

#[test]
fn a_killed_server_resumes_what_it_was_told_to_run() {
    let folder = tempfile::tempdir().unwrap();
    let store = folder.path().join("store.db").to_string_lossy().into_owned();
    let server = Served::start(&store, []);
    let payload = json!({"workload": {"item_count": 300}});
    let ids: Vec<_> = (0..3).map(|_| server.execute(&text("heavy_loop.yaml"), &payload)).collect();
    let (ended, _) = server.stop("-KILL");
    assert_eq!(ended.code(), None);
    let server = Served::start(&store, []);
    for id in &ids {
        let view = server.ended(id);
        assert_eq!(view["status"], "COMPLETED", "{view}");
        assert_eq!(view["steps"]["work"]["runs"], 300);
        assert_eq!(view["result"]["processed"], 300);
    }
    let listed = server.get("/api/executions").body;
    assert_eq!(listed.as_array().unwrap().len(), 3);
}

#[test]
fn a_taken_port_is_no_place_to_listen() {
    let server = Served::start(":memory:", []);
    let port = server.address().rsplit(':').next().unwrap();
    let second = run(["serve", "--port", port, "--store", ":memory:"]);
    assert_eq!(second.code, Some(2), "{}", second.stderr);
    assert!(second.stderr.contains("--port"), "{}", second.stderr);
}
