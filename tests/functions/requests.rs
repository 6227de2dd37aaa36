//! The HTTP API behind an HTTP API of AWS.

use std::sync::Arc;

use serde_json::{Value, json};
use tokio::task::JoinHandle;

use crate::stack::{PLAYBOOK, Stack, call, failed, stack};

/// Answers of a function, one request at a time.
struct Client {
    stack: Arc<Stack>,
    api: api::lambda::ApiFunction,
}

impl Client {
    async fn new() -> Self {
        let stack = Arc::new(stack().await);
        let api = stack.api().await;
        Self { stack, api }
    }

    /// The status and the body of an answer.
    async fn ask(&self, method: &str, target: &str, body: Option<Value>) -> (u64, Value) {
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let event = json!({
            "version": "2.0",
            "routeKey": "$default",
            "rawPath": path,
            "rawQueryString": query,
            // What a browser sends from a page elsewhere: who may ask is not decided here.
            "headers": {"host": "id.execute-api.us-east-1.amazonaws.com", "origin": "https://else.where"},
            "requestContext": {"http": {"method": method, "path": path}, "stage": "$default"},
            "body": body.map(|body| body.to_string()),
            "isBase64Encoded": false,
        });
        let answer = call(&self.api, event).await;
        let body = serde_json::from_str(answer["body"].as_str().unwrap()).unwrap();
        (answer["statusCode"].as_u64().unwrap(), body)
    }

    async fn get(&self, target: &str) -> (u64, Value) {
        self.ask("GET", target, None).await
    }

    async fn post(&self, target: &str, body: Value) -> (u64, Value) {
        self.ask("POST", target, Some(body)).await
    }

    /// Folds events as they come, as Lambda would.
    async fn folding(&self) -> JoinHandle<()> {
        let (stack, handler) = (self.stack.clone(), self.stack.event_handler().await);
        tokio::spawn(async move {
            loop {
                let batch = stack.received().await;
                let answer = call(&handler, stack.batch("events.fifo", &batch)).await;
                assert!(failed(&answer).is_empty());
                for one in &batch {
                    stack.aws.events.delete(&one.receipt).await.unwrap();
                }
            }
        })
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_playbook_is_registered_started_read_and_cancelled() {
    let client = Client::new().await;
    let folding = client.folding().await;
    let (status, registered) =
        client.post("/api/catalog/register", json!({"content": PLAYBOOK})).await;
    assert_eq!((status, &registered["version"]), (200, &json!(1)), "{registered}");
    let (status, started) =
        client.post("/api/execute", json!({"path": "tests/one", "payload": {"n": 1}})).await;
    assert_eq!((status, &started["status"]), (200, &json!("started")), "{started}");
    let id = started["execution_id"].as_str().unwrap();

    let (status, view) = client.get(&format!("/api/executions/{id}?page_size=10")).await;
    assert_eq!((status, &view["status"]), (200, &json!("RUNNING")), "{view}");
    assert_eq!(view["version"], 1);
    let (_, listed) = client.get("/api/executions").await;
    assert_eq!(listed[0]["execution_id"], id);
    let (status, cancelled) =
        client.post(&format!("/api/executions/{id}/cancel"), json!({"reason": "enough"})).await;
    assert_eq!(status, 200, "{cancelled}");
    assert_eq!(cancelled["cancelled_executions"], json!([id]));
    folding.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_that_nobody_folds_yet_is_accepted_and_not_found() {
    let client = Client::new().await;
    let (status, started) = client.post("/api/execute", json!({"path": "tests/one"})).await;
    assert_eq!(status, 200, "{started}");
    let id = started["execution_id"].as_str().unwrap();
    assert_eq!(client.get(&format!("/api/executions/{id}")).await.0, 404);
    client.stack.fold_all(&client.stack.event_handler().await).await;
    assert_eq!(client.get(&format!("/api/executions/{id}")).await.0, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn seed_004_its_routes_register_and_start() {
    let client = Client::new().await;
    let folding = client.folding().await;
    let (status, health) = client.get("/api/v2/health").await;
    assert_eq!((status, &health["status"]), (200, &json!("healthy")));
    let body = json!({"playbook_yaml": PLAYBOOK});
    let (status, registered) = client.post("/api/v2/engine/register-playbook", body).await;
    assert_eq!(status, 200);
    let expect = json!({"status": "registered", "name": "one", "path": "tests/one"});
    assert_eq!(registered, expect);
    let event = json!({"execution_id": "exec-123", "name": "workflow.start", "payload": {}});
    let (status, first) = client.post("/api/v2/events", event.clone()).await;
    assert_eq!(status, 200, "{first}");
    assert_eq!((&first["status"], &first["commands_generated"]), (&json!("processed"), &json!(1)));
    assert_eq!(first["commands"][0]["tool_kind"], "noop");
    let (_, second) = client.post("/api/v2/events", event).await;
    assert_eq!(first["execution_id"], second["execution_id"]);
    let (_, listed) = client.get("/api/executions").await;
    assert_eq!(listed.as_array().unwrap().len(), 1);
    folding.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_nobody_can_answer_has_a_status_and_a_sentence() {
    let client = Client::new().await;
    #[rustfmt::skip]
    let cases = [
        ("POST", "/api/v2/events",                       json!({"name": "call.done"}),           422, "is said by workers"),
        ("POST", "/api/v2/events",                       json!({}),                              422, "by `name`"),
        ("POST", "/api/v2/engine/register-playbook",     json!({}),                              400, "`playbook_yaml`"),
        ("POST", "/api/v2/engine/register-playbook",     json!({"playbook_yaml": "kind: Play"}), 400, "has errors"),
        ("POST", "/api/execute",                         json!({"path": "tests/none"}),          404, "Playbook not found"),
        ("GET",  "/api/executions/7",                    Value::Null,                            404, "not found"),
        ("GET",  "/api/none",                            Value::Null,                            404, "no such route"),
        ("PUT",  "/api/execute",                         Value::Null,                            405, "does not have"),
    ];
    for (method, target, body, expect, said) in cases {
        let body = Some(body).filter(|body| !body.is_null());
        let (status, answer) = client.ask(method, target, body).await;
        assert_eq!(status, expect, "{target} {answer}");
        assert!(answer["detail"].as_str().unwrap().contains(said), "{answer}");
    }
}
