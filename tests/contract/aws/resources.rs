//! Objects, playbooks, credentials and their key.

use adapters::credentials::CredentialStore as _;
use engine_core::ids::ExecutionId;
use engine_core::payload::Blob;
use engine_core::ports::{CredentialNote, PortErrorKind, Secrets as _};
use serde_json::json;

use super::faults::Fault;
use super::{MASTER_KEY, World, on_both, store_master_key, unprovisioned, world};
use crate::samples::chain;
use adapters::catalog::Registry as _;

const PUT: &str = "DynamoDB_20120810.PutItem";

on_both!(
    the_contract_of_a_catalog,
    versions_of_many_who_register_at_once_leave_no_gap,
    credentials_are_stored_encrypted_and_come_back,
);

async fn the_contract_of_a_catalog(world: &World) {
    crate::catalog::contract(world.aws.catalog.clone(), &|| world.clock.advance(1)).await;
}

async fn versions_of_many_who_register_at_once_leave_no_gap(world: &World) {
    world.faults.plan(PUT, 1, &Fault::AnswerLost);
    let texts: Vec<String> = (0..8).map(|number| format!("demo/a {number}")).collect();
    let registered: Vec<_> = texts
        .iter()
        .map(|text| {
            let (catalog, text) = (world.aws.catalog.clone(), text.clone());
            tokio::spawn(async move { catalog.register(&text).await })
        })
        .collect();
    let mut versions = Vec::new();
    for one in registered {
        versions.push(one.await.unwrap().unwrap().version);
    }
    versions.sort_unstable();
    assert_eq!(versions, (1..=8).collect::<Vec<_>>());
}

fn note(name: &str, updated_ms: i64) -> CredentialNote {
    CredentialNote {
        name: name.to_owned(),
        kind: "postgres".to_owned(),
        description: "the test database".to_owned(),
        tags: vec!["a".to_owned()],
        meta: json!({"owner": "me"}),
        created_ms: 0,
        updated_ms,
    }
}

async fn credentials_are_stored_encrypted_and_come_back(world: &World) {
    store_master_key(world, MASTER_KEY).await;
    let all = &world.aws.credentials;
    assert_eq!(all.fields("pg").await.unwrap(), None);
    let error = all.credential("pg").await.unwrap_err();
    assert_eq!(error.kind, PortErrorKind::NotFound);
    assert!(error.to_string().contains("(there is: none)"), "{error}");
    assert_eq!(world.aws.meter.usage().secret_reads, 0, "no key is fetched for nothing");

    all.put(&note("pg", 7), &json!({"password": "old"})).await.unwrap();
    all.put(&note("pg", 9), &json!({"password": "new"})).await.unwrap();
    all.put(&note("az", 8), &json!({})).await.unwrap();
    assert_eq!(all.credential("pg").await.unwrap(), json!({"password": "new"}));
    let created = |note: CredentialNote, created_ms| CredentialNote { created_ms, ..note };
    let expect = [created(note("az", 8), 8), created(note("pg", 9), 7)];
    assert_eq!(all.list().await.unwrap(), expect);
    assert_eq!(world.aws.meter.usage().secret_reads, 1, "the key is kept");
    let error = all.credential("gp").await.unwrap_err();
    assert!(error.to_string().contains("(there is: `az`, `pg`)"), "{error}");
    assert!(all.remove("pg").await.unwrap());
    assert!(!all.remove("pg").await.unwrap());
    assert_eq!(all.fields("pg").await.unwrap(), None);
}

#[tokio::test]
async fn without_a_key_no_credential_is_stored() {
    let mut without = world("NOETL_TEST_AWS").await;
    let error = without.aws.credentials.put(&note("pg", 7), &json!({})).await.unwrap_err();
    assert_eq!(error.kind, PortErrorKind::Refused, "{}", chain(&error));
    let expect =
        format!("secret `{}` does not exist", without.config.master_key_secret.clone().unwrap());
    assert!(error.to_string().starts_with(&expect), "{error}");
    store_master_key(&without, "canary: not a key").await;
    let error = without.aws.credentials.put(&note("pg", 7), &json!({})).await.unwrap_err();
    let shown = format!("{} {error:?}", chain(&error));
    assert!(shown.contains("must be 32 bytes") && !shown.contains("canary"), "{shown}");

    (without.config.master_key_secret, without.config.credentials_table) = (None, None);
    let aws = super::opened(&without.config, &without.clock, &without.faults).await;
    let error = aws.credentials.fields("pg").await.unwrap_err();
    assert!(error.to_string().contains("set `NOETL_CREDENTIALS_TABLE`"), "{error}");
}

#[tokio::test]
async fn the_contract_of_payloads() {
    let world = world("NOETL_TEST_AWS").await;
    crate::payload_store::contract(&*world.aws.payloads).await;
}

#[tokio::test]
async fn an_object_that_is_there_is_not_written_again() {
    let world = world("NOETL_TEST_AWS").await;
    let blob = Blob::new(ExecutionId(7), b"[1,2]".to_vec());
    world.faults.plan("PUT ", 1, &Fault::AnswerLost);
    world.aws.payloads.put(&blob).await.unwrap();
    world.faults.plan("PUT ", 1, &Fault::Refused(409, "ConditionalRequestConflict"));
    world.aws.payloads.put(&blob).await.unwrap();
    world.faults.plan("GET ", 2, &Fault::Refused(503, "SlowDown"));
    assert_eq!(world.aws.payloads.get(&blob.reference).await.unwrap(), b"[1,2]");
    assert!(world.faults.all_happened());
    world.faults.plan("GET ", 4, &Fault::Lost);
    let error = world.aws.payloads.get(&blob.reference).await.unwrap_err();
    assert_eq!(error.kind, PortErrorKind::Unavailable);
    world.faults.plan("GET ", 1, &Fault::Refused(403, "AccessDenied"));
    let error = world.aws.payloads.get(&blob.reference).await.unwrap_err();
    assert_eq!(error.kind, PortErrorKind::Refused);
    assert!(error.to_string().contains("`s3:GetObject` on bucket `"), "{error}");
}

#[tokio::test]
async fn a_bucket_that_is_missing_is_told_from_an_object() {
    let world = unprovisioned("NOETL_TEST_AWS").await;
    let blob = Blob::new(ExecutionId(7), b"[1,2]".to_vec());
    for error in [
        world.aws.payloads.put(&blob).await.err(),
        world.aws.payloads.get(&blob.reference).await.err(),
    ] {
        let error = error.unwrap();
        assert_eq!(error.kind, PortErrorKind::Refused, "{}", chain(&error));
        assert!(error.to_string().contains("`NOETL_PAYLOADS_BUCKET` names it"), "{error}");
    }
}
