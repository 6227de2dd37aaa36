//! Secrets Manager and the parameters of Systems Manager.

use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use engine_core::limits::AWS_SECRET_MS;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::{Aws, Request, Service};
use crate::credentials::RemoteSecrets;
use crate::tool::{Reaction, ToolError};

impl Aws {
    /// The value of a secret of Secrets Manager: what it holds if that is a JSON map or list, else
    /// its text; bytes as base64.
    ///
    /// `version` is a stage (`AWSPREVIOUS`) or the id of a version; the current one if none.
    ///
    /// # Errors
    /// As every request to AWS; `ResourceNotFoundException` if there is no such secret, `Forbidden` for the
    /// engine's own.
    pub async fn secret_value(
        &self,
        name: &str,
        version: Option<&str>,
        deadline: Instant,
    ) -> Result<Value, ToolError> {
        self.own.check_secret(name)?;
        let mut body = json!({"SecretId": name});
        if let Some(version) = version {
            let key = if is_version_id(version) { "VersionId" } else { "VersionStage" };
            body[key] = Value::from(version);
        }
        let request = call(
            Service::SecretsManager,
            "secretsmanager.GetSecretValue",
            "secretsmanager:GetSecretValue",
            name,
            &body,
        );
        let answer = self.send(&request, deadline).await?;
        let answer = parse(&answer.body, &request)?;
        let value = answer.get("SecretString").or_else(|| answer.get("SecretBinary"));
        value.and_then(Value::as_str).map(structured).ok_or_else(|| unreadable(&request))
    }

    /// The value of a parameter of Systems Manager, decrypted; JSON maps and lists as such.
    ///
    /// # Errors
    /// As every request to AWS; `ParameterNotFound` if there is no such parameter, `Forbidden` if it is the
    /// engine's own secret.
    pub async fn parameter(
        &self,
        name: &str,
        version: Option<&str>,
        deadline: Instant,
    ) -> Result<Value, ToolError> {
        self.own.check_parameter(name)?;
        let selected =
            version.map_or_else(|| name.to_owned(), |version| format!("{name}:{version}"));
        let body = json!({"Name": selected, "WithDecryption": true});
        let request = call(Service::Ssm, "AmazonSSM.GetParameter", "ssm:GetParameter", name, &body);
        let answer = self.send(&request, deadline).await?;
        let answer = parse(&answer.body, &request)?;
        let value = answer.pointer("/Parameter/Value");
        value.and_then(Value::as_str).map(structured).ok_or_else(|| unreadable(&request))
    }
}

#[async_trait]
impl RemoteSecrets for Aws {
    async fn fetch(
        &self,
        provider: &str,
        name: &str,
        version: Option<&str>,
    ) -> Result<Value, ToolError> {
        let deadline = Instant::now() + Duration::from_millis(AWS_SECRET_MS);
        match provider.to_ascii_lowercase().as_str() {
            "aws"
            | "aws_secrets_manager"
            | "secret_manager"
            | "secrets_manager"
            | "secretsmanager" => self.secret_value(name, version, deadline).await,
            "ssm" | "parameter_store" => self.parameter(name, version, deadline).await,
            other => Err(ToolError::input(format!(
                "`{other}` keeps no secrets that this worker can read; it reads `aws` (Secrets \
                 Manager) and `ssm` (parameters)"
            ))),
        }
    }
}

fn call<'a>(
    service: Service,
    target: &str,
    action: &'static str,
    resource: &'a str,
    body: &Value,
) -> Request<'a> {
    Request {
        service,
        path: "/".to_owned(),
        headers: vec![
            ("content-type", "application/x-amz-json-1.1".to_owned()),
            ("x-amz-target", target.to_owned()),
        ],
        body: Bytes::from(body.to_string()),
        action,
        resource,
        repeatable: true,
    }
}

fn parse(body: &[u8], request: &Request<'_>) -> Result<Value, ToolError> {
    serde_json::from_slice(body).map_err(|_not_shown| unreadable(request))
}

/// The answer is not shown: it may hold the secret.
fn unreadable(request: &Request<'_>) -> ToolError {
    let message = format!(
        "the answer to `{}` on `{}` holds no value; check that the endpoint is one of AWS",
        request.action, request.resource
    );
    ToolError::new(Reaction::Rejected, "DecodeError", message)
}

/// Only maps and lists: a password of digits stays text.
fn structured(text: &str) -> Value {
    match serde_json::from_str(text) {
        Ok(value @ (Value::Object(_) | Value::Array(_))) => value,
        _ => Value::from(text),
    }
}

/// Ids are UUIDs; stages are names.
fn is_version_id(version: &str) -> bool {
    version.len() == 36 && version.bytes().all(|byte| byte.is_ascii_hexdigit() || byte == b'-')
}
