use async_trait::async_trait;
use engine_core::ports::PortError;
use serde_json::json;

use super::*;

struct Known;

#[async_trait]
impl Secrets for Known {
    async fn credential(&self, name: &str) -> Result<Value, PortError> {
        match name {
            "api" => Ok(json!({"type": "bearer", "token": "tok-en-1"})),
            "pin" => Ok(json!({"value": "1234", "hint": "x"})),
            "one" => Ok(json!({"anything": "only-field"})),
            "busy" => Err(PortError::new(PortErrorKind::Unavailable, "no answer")),
            _ => Err(PortError::new(PortErrorKind::NotFound, "not known; there are `api`, `pin`")),
        }
    }
}

struct Cloud;

#[async_trait]
impl RemoteSecrets for Cloud {
    async fn fetch(
        &self,
        provider: &str,
        name: &str,
        version: Option<&str>,
    ) -> Result<Value, ToolError> {
        Ok(json!({"password": format!("{provider} {name} {}", version.unwrap_or("newest"))}))
    }
}

#[tokio::test]
async fn auth_names_become_fields() {
    let env = BTreeMap::from([("TOKEN".to_owned(), "env-tok".to_owned())]);
    let vault = Vault { secrets: Some(&Known), remote: Some(&Cloud), env: &env };
    #[rustfmt::skip]
    let cases = [
        ("a name", json!({"auth": "api"}), json!({"type": "bearer", "token": "tok-en-1"})),
        ("the old spelling", json!({"credential": "api"}), json!({"type": "bearer", "token": "tok-en-1"})),
        ("an object that names one", json!({"auth": {"type": "api_key", "credential": "pin"}}), json!({"value": "1234", "hint": "x", "type": "api_key"})),
        ("a key is a name", json!({"auth": {"type": "bearer", "key": "api"}}), json!({"type": "bearer", "token": "tok-en-1"})),
        ("inline", json!({"auth": {"type": "bearer", "token": "t"}}), json!({"type": "bearer", "token": "t"})),
        ("an inline key", json!({"auth": {"type": "api_key", "header_name": "H", "key": "k"}}), json!({"type": "api_key", "header_name": "H", "key": "k"})),
        ("the environment", json!({"auth": {"type": "bearer", "source": "env", "key": "TOKEN"}}), json!({"value": "env-tok", "type": "bearer"})),
        ("an alias", json!({"auth": {"a": {"type": "bearer", "key": "api"}}}), json!({"a": {"type": "bearer", "token": "tok-en-1"}})),
        ("an alias that is a name", json!({"auth": {"a": "api"}}), json!({"a": {"type": "bearer", "token": "tok-en-1"}})),
        ("an alias that is a header", json!({"auth": {"X-A": "text"}}), json!({"X-A": "text"})),
        ("a secret of AWS", json!({"auth": {"type": "postgres", "source": "aws", "key": "db"}}), json!({"password": "aws db newest", "type": "postgres"})),
        ("a parameter", json!({"auth": {"source": "ssm", "key": "/db", "version": "3"}}), json!({"password": "ssm /db 3"})),
    ];
    for (name, config, expect) in cases {
        let Value::Object(mut config) = config else { panic!() };
        vault.resolve_auth(&mut config, &mut Redactor::default()).await.unwrap();
        assert_eq!(config["auth"], expect, "{name}");
    }
    for (auth, kind, reaction) in [
        (json!("nope"), "CredentialError", Reaction::Input),
        (json!("busy"), "CredentialError", Reaction::Transient),
        (json!({"source": "env", "key": "HOME"}), "InputError", Reaction::Input),
    ] {
        let mut config = Map::from_iter([("auth".to_owned(), auth)]);
        let error = vault.resolve_auth(&mut config, &mut Redactor::default()).await.unwrap_err();
        assert_eq!((error.kind(), error.reaction()), (kind, reaction));
    }
}

#[tokio::test]
async fn d47_a_secret_is_its_value_and_is_learned() {
    let env = BTreeMap::from([("NOETL_SECRET_OTHER".to_owned(), "env-secret".to_owned())]);
    let vault = Vault { secrets: Some(&Known), remote: Some(&Cloud), env: &env };
    let names = ["pin", "one", "other", "unknown"].map(str::to_owned).into();
    let mut redactor = Redactor::default();
    let (found, missing) = vault.secrets(&names, &mut redactor).await.unwrap();
    let expect = json!({"one": "only-field", "other": "env-secret", "pin": "1234"});
    assert_eq!(Value::Object(found), expect);
    assert_eq!(redactor.clean("1234 only-field env-secret".to_owned()), "*** *** ***");
    assert_eq!(missing.len(), 1);
    for part in ["secret.unknown", "there are `api`, `pin`", "NOETL_SECRET_unknown"] {
        assert!(missing[0].contains(part), "{missing:?}");
    }
}
