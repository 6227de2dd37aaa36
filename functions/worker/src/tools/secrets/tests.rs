use engine_core::ports::{PortError, PortErrorKind};
use serde_json::{Value, json};

use super::*;
use crate::aws::Service;
use crate::aws::tests::{call, emulator, operate, unique};

struct Store;

#[async_trait]
impl Secrets for Store {
    async fn credential(&self, name: &str) -> Result<Value, PortError> {
        match name {
            "db" => Ok(json!({"db_user": "joe", "db_password": "canary-credential"})),
            _ => {
                Err(PortError::new(PortErrorKind::NotFound, format!("no `{name}`; there is `db`")))
            }
        }
    }
}

fn tool() -> SecretsTool {
    let env = BTreeMap::from([("API_KEY".to_owned(), "canary-env".to_owned())]);
    SecretsTool::new(emulator(), Some(Arc::new(Store)), env)
}

#[tokio::test]
async fn a_secret_is_proved_and_never_shown() {
    let (secret, parameter) = (unique("secret"), format!("/ct/{}", unique("parameter")));
    let body = json!({"Name": secret, "SecretString": "{\"user\":\"joe\",\"pw\":\"canary-aws\"}"});
    operate(Service::SecretsManager, "secretsmanager.CreateSecret", &body).await;
    let body = json!({"Name": parameter, "Value": "canary-ssm", "Type": "SecureString"});
    operate(Service::Ssm, "AmazonSSM.PutParameter", &body).await;
    #[rustfmt::skip]
    let table = [
        ("env", "API_KEY", "text", json!([]), "{{ env.API_KEY }}".to_owned()),
        ("credential", "db", "map", json!(["db_user", "db_password"]), "{{ secret.db }}".to_owned()),
        ("aws", &secret, "map", json!(["user", "pw"]), format!("auth: {{source: aws, name: {secret}}}")),
        ("ssm", &parameter, "text", json!([]), format!("auth: {{source: ssm, name: {parameter}}}")),
    ];
    for (provider, name, form, fields, reference) in table {
        let config = json!({"provider": provider, "name": name, "version": "latest"});
        let result = call(&tool(), config).await.unwrap();
        assert_eq!(result["status"], json!("success"), "{provider}");
        assert_eq!((&result["type"], &result["fields"]), (&json!(form), &fields), "{provider}");
        assert_eq!(result["reference"], json!(reference), "{provider}");
        assert!(!result.to_string().contains("canary"), "{result}");
    }
}

#[tokio::test]
async fn a_secret_that_cannot_be_read_says_what_to_do() {
    #[rustfmt::skip]
    let table = [
        (json!({}), "InputError", "give `name`"),
        (json!({"name": "x", "provider": "google"}), "InputError", "`provider: google` is not run"),
        (json!({"name": "HOME", "provider": "env"}), "SecretNotFound", "(`--env HOME`). Allowed: `API_KEY`"),
        (json!({"name": "nope"}), "SecretNotFound", "there is `db`"),
        (json!({"name": "db", "version": 2}), "InputError", "leave `version` out"),
        (json!({"secret_name": "ct-no-such", "provider": "aws"}), "ResourceNotFoundException", "`ct-no-such`"),
        (json!({"secret_name": "/ct/no-such", "provider": "ssm"}), "ParameterNotFound", "`/ct/no-such`"),
    ];
    for (config, kind, says) in table {
        let name = config.to_string();
        let (failure, _) = call(&tool(), config).await.unwrap_err();
        assert_eq!((failure.kind.as_str(), failure.retryable), (kind, false), "{name}");
        assert!(failure.message.contains(says), "{name}: {}", failure.message);
    }
}
