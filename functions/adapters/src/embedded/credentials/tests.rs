use engine_core::event::Fact;
use serde_json::json;

use super::*;
use crate::embedded::store::Options;

const KEY: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
const OTHER: &str = "ff0102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";

fn one(_facts: &[Fact]) -> usize {
    1
}

fn options() -> Options {
    Options { expanded: one, bytes_max: None }
}

fn named(name: &str) -> CredentialNote {
    CredentialNote {
        name: name.to_owned(),
        kind: "postgres".to_owned(),
        description: "the test database".to_owned(),
        tags: vec!["a".to_owned(), "b".to_owned()],
        meta: json!({"owner": "me"}),
        created_ms: 0,
        updated_ms: 7,
    }
}

fn credentials(store: &SqliteStore, key: Option<&str>) -> SqliteCredentials {
    let key = key.map(|text| MasterKey::parse(text).ok().unwrap());
    SqliteCredentials::new(store, key).ok().unwrap()
}

async fn change(of: &SqliteCredentials, sql: &'static str) {
    let changed = of.database.write(move |connection| connection.execute(sql, [])).await.unwrap();
    assert_eq!(changed, 1, "{sql}");
}

#[tokio::test]
async fn a_credential_is_stored_found_replaced_and_removed() {
    let store = SqliteStore::memory(options()).unwrap();
    let all = credentials(&store, None);
    assert_eq!(all.fields("pg").await.unwrap(), None);
    all.put(&named("pg"), &json!({"password": "old"})).await.unwrap();
    let newer = CredentialNote { updated_ms: 9, ..named("pg") };
    all.put(&newer, &json!({"password": "new"})).await.unwrap();
    assert_eq!(all.fields("pg").await.unwrap(), Some(json!({"password": "new"})));
    let expect = CredentialNote { created_ms: 7, ..newer };
    assert_eq!(all.list().await.unwrap(), [expect]);
    assert!(all.remove("pg").await.unwrap());
    assert!(!all.remove("pg").await.unwrap());
    assert_eq!(all.fields("pg").await.unwrap(), None);
}

#[tokio::test]
async fn the_file_holds_no_plain_field_and_opens_with_its_key_only() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.db");
    let secret = "canary-in-the-store-4711";
    {
        let store = SqliteStore::open(&path, options()).unwrap();
        let all = credentials(&store, Some(KEY));
        all.put(&named("pg"), &json!({"password": secret})).await.unwrap();
    }
    for file in std::fs::read_dir(folder.path()).unwrap() {
        let bytes = std::fs::read(file.unwrap().path()).unwrap();
        assert!(!bytes.windows(secret.len()).any(|window| window == secret.as_bytes()));
    }
    let store = SqliteStore::open(&path, options()).unwrap();
    let fields = credentials(&store, Some(KEY)).fields("pg").await.unwrap();
    assert_eq!(fields, Some(json!({"password": secret})));
    #[rustfmt::skip]
    let cases = [(None, "no key to open it"), (Some(OTHER), "was stored with the master key")];
    for (key, expect) in cases {
        let error = credentials(&store, key).fields("pg").await.unwrap_err();
        assert_eq!(error.kind, PortErrorKind::Refused);
        assert!(error.to_string().contains(expect), "{error}");
    }
    let error = credentials(&store, None).put(&named("x"), &json!({})).await.unwrap_err();
    assert!(error.to_string().contains("openssl rand -base64 32"), "{error}");
}

#[tokio::test]
async fn a_row_that_was_changed_does_not_open() {
    for sql in [
        "UPDATE credential SET sealed = zeroblob(length(sealed))",
        "UPDATE credential SET nonce = x'000000000000000000000000'",
        "UPDATE credential SET nonce = x'00'",
        "UPDATE credential SET sealed = x''",
        "UPDATE credential SET name = 'pg', kind = 'other' WHERE name = 'moved'",
    ] {
        let store = SqliteStore::memory(options()).unwrap();
        let all = credentials(&store, Some(KEY));
        let name = if sql.contains("moved") { "moved" } else { "pg" };
        all.put(&named(name), &json!({"password": "p"})).await.unwrap();
        change(&all, sql).await;
        let error = all.fields("pg").await.unwrap_err();
        assert_eq!(error.kind, PortErrorKind::Corrupt, "{sql}");
        assert!(error.to_string().contains("was changed"), "{error}");
    }
}

#[tokio::test]
async fn there_is_room_for_so_many_credentials() {
    let store = SqliteStore::memory(options()).unwrap();
    let all = credentials(&store, None);
    for number in 0..CREDENTIALS_MAX {
        all.put(&named(&number.to_string()), &json!({})).await.unwrap();
    }
    assert!(all.put(&named("one more"), &json!({})).await.is_err());
    all.put(&named("0"), &json!({"new": true})).await.unwrap();
}
