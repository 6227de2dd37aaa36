use std::collections::BTreeMap;
use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};

use async_trait::async_trait;
use engine_core::playbook::parse::parse;

use super::*;
use crate::tool::{Call, Success};

/// A clock that a test sets.
#[derive(Default)]
struct Hand(AtomicI64);

impl Clock for Hand {
    fn now_ms(&self) -> i64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// A token endpoint in the place of `http`: numbers its tokens, refuses `client_secret: wrong`.
#[derive(Default)]
struct Endpoint {
    asked: AtomicUsize,
}

#[async_trait]
impl Tool for Endpoint {
    fn kind(&self) -> &'static str {
        "http"
    }

    async fn call(&self, call: &Call<'_>) -> Result<Success, ToolError> {
        tokio::task::yield_now().await;
        let number = self.asked.fetch_add(1, Ordering::Relaxed) + 1;
        let secret = call.config["form"]["client_secret"].as_str().unwrap_or_default();
        if secret.starts_with("wrong") {
            let message = format!("HTTP 401: Unauthorized (POST http://h/ with {secret})");
            return Err(ToolError::new(Reaction::Rejected, "HTTPError", message));
        }
        if secret.starts_with("busy") {
            return Err(ToolError::new(Reaction::Transient, "HTTPError", "HTTP 503"));
        }
        let token = format!("issued-token-number-{number}-for-{secret}");
        let data = json!({"access_token": token, "expires_in": 100});
        Ok(Success::of(json!({"status": 200, "data": data})))
    }
}

struct World {
    keychain: Keychain,
    playbook: Playbook,
    clock: Hand,
    endpoint: Endpoint,
    env: BTreeMap<String, String>,
}

impl World {
    fn new(entries: &str) -> Self {
        let text = format!(
            "apiVersion: noetl.io/v2\nkind: Playbook\nmetadata: {{name: p}}\nkeychain:\n{entries}\n\
             workflow: [{{step: start, next: end}}]\n"
        );
        let parsed = parse(&text);
        let playbook = parsed.playbook.unwrap_or_else(|| panic!("{:?}", parsed.diagnostics));
        Self {
            keychain: Keychain::default(),
            playbook,
            clock: Hand::default(),
            endpoint: Endpoint::default(),
            env: BTreeMap::from([("PIN_TOKEN".to_owned(), "env-token-value-1".to_owned())]),
        }
    }

    async fn ask(
        &self,
        name: &str,
        workload: &Value,
        execution_id: &str,
    ) -> Result<(Value, Redactor), ToolError> {
        let vault = Vault { secrets: None, remote: None, env: &self.env };
        let ring = Ring {
            keychain: &self.keychain,
            playbook: &self.playbook,
            vault: &vault,
            clock: &self.clock,
            http: Some(&self.endpoint),
            workload,
            execution_id,
        };
        let mut redactor = Redactor::default();
        let names = BTreeSet::from([name.to_owned()]);
        let mut found = ring.resolve(&names, &mut redactor).await?;
        Ok((found.remove(name).unwrap_or_default(), redactor))
    }

    async fn token(&self, workload: &Value, execution_id: &str) -> String {
        let (value, _) = self.ask("t", workload, execution_id).await.unwrap();
        value["access_token"].as_str().unwrap_or_default().to_owned()
    }
}

fn oauth(more: &str) -> World {
    World::new(&format!(
        "- {{name: t, kind: oauth2, endpoint: \"http://h/\", data: {{client_secret: \"{{{{ s }}}}\"}}{more}}}"
    ))
}

#[tokio::test]
async fn entries_see_the_workload_and_those_above_them() {
    let world = World::new(
        "- {name: s, kind: static, map: {id: \"{{ id }}\", secret: \"{{ workload.pw }}\"}}\n\
         - {name: b, kind: bearer, token: \"{{ keychain.s.secret }}/{{ env.PIN_TOKEN }}\"}",
    );
    let workload = json!({"id": "me", "pw": "a-long-password"});
    let (value, redactor) = world.ask("b", &workload, "1").await.unwrap();
    assert_eq!(value["access_token"], "a-long-password/env-token-value-1");
    let text = "me a-long-password env-token-value-1".to_owned();
    assert_eq!(redactor.clean(text), "me *** ***");
}

#[tokio::test]
async fn a_token_is_fetched_once_and_renewed_when_it_ends() {
    let world = oauth(", scope: global, auto_renew: true");
    let workload = json!({"s": "secret-one"});
    let first = world.token(&workload, "1").await;
    assert_eq!(world.token(&workload, "2").await, first, "shared by executions");
    world.clock.0.store(90_000, Ordering::Relaxed);
    assert_ne!(world.token(&workload, "2").await, first, "renewed");
    assert_eq!(world.endpoint.asked.load(Ordering::Relaxed), 2);
}

#[tokio::test]
async fn other_inputs_or_a_local_scope_have_a_token_of_their_own() {
    let world = oauth(", scope: global");
    world.token(&json!({"s": "secret-one"}), "1").await;
    world.token(&json!({"s": "secret-two"}), "1").await;
    assert_eq!(world.endpoint.asked.load(Ordering::Relaxed), 2);
    let world = oauth("");
    world.token(&json!({"s": "secret-one"}), "1").await;
    world.token(&json!({"s": "secret-one"}), "2").await;
    assert_eq!(world.endpoint.asked.load(Ordering::Relaxed), 2);
}

#[tokio::test]
async fn calls_that_need_a_token_at_once_fetch_one() {
    let world = oauth("");
    let workload = json!({"s": "secret-one"});
    let (a, b, c) = tokio::join!(
        world.token(&workload, "1"),
        world.token(&workload, "1"),
        world.token(&workload, "1")
    );
    assert!(a == b && b == c);
    assert_eq!(world.endpoint.asked.load(Ordering::Relaxed), 1);
}

#[tokio::test]
async fn an_expired_token_that_is_not_renewed_is_an_error_for_its_execution_alone() {
    let world = oauth(", scope: global");
    let workload = json!({"s": "secret-one"});
    world.token(&workload, "1").await;
    world.clock.0.store(100_000, Ordering::Relaxed);
    let error = world.ask("t", &workload, "1").await.err().unwrap();
    assert!(error.message().contains("auto_renew: true"), "{error}");
    world.token(&workload, "2").await;
}

#[tokio::test]
async fn a_refusal_names_the_entry_and_is_retryable_if_the_endpoint_is() {
    let world = oauth("");
    for (secret, reaction, text) in [
        (
            "wrong-secret",
            Reaction::Rejected,
            "keychain entry `t`: the token endpoint gave no token: HTTP 401",
        ),
        ("busy", Reaction::Transient, "HTTP 503"),
    ] {
        let error = world.ask("t", &json!({"s": secret}), "1").await.err().unwrap();
        assert_eq!((error.kind(), error.reaction()), ("KeychainError", reaction));
        assert!(error.message().contains(text), "{error}");
    }
    let error = world.ask("none", &json!({}), "1").await.err().unwrap();
    assert!(error.message().contains("there is: `t`"), "{error}");
}

#[tokio::test]
async fn what_is_kept_is_bounded() {
    let world = oauth("");
    for number in 0..KEYCHAIN_ENTRIES_KEPT + 10 {
        world.token(&json!({"s": format!("secret-{number}")}), "1").await;
    }
    assert_eq!(world.keychain.slots.lock().unwrap().len(), KEYCHAIN_ENTRIES_KEPT);
}
