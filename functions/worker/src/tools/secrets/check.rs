//! Reads a secret, and tells everything about it but its value.

use engine_core::ports::PortErrorKind;
use serde_json::{Value, json};

use super::SecretsTool;
use crate::tool::{Call, Reaction, ToolError};

/// Where secrets are kept.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Provider {
    Env,
    Credential,
    SecretsManager,
    Ssm,
}

impl Provider {
    fn of(name: &str) -> Result<Self, ToolError> {
        match name.trim().to_ascii_lowercase().as_str() {
            "env" => Ok(Self::Env),
            "credential" | "credential_store" => Ok(Self::Credential),
            "aws" | "secrets_manager" | "secret_manager" | "secretsmanager" => {
                Ok(Self::SecretsManager)
            }
            "ssm" | "parameter_store" => Ok(Self::Ssm),
            other => Err(ToolError::input(format!(
                "`provider: {other}` is not run by this version; it is `env`, `credential`, `aws` \
                 (Secrets Manager) or `ssm`"
            ))),
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Env => "env",
            Self::Credential => "credential",
            Self::SecretsManager => "aws",
            Self::Ssm => "ssm",
        }
    }

    /// How a tool that needs the value names it.
    fn reference(self, name: &str) -> String {
        match self {
            Self::Env => format!("{{{{ env.{name} }}}}"),
            Self::Credential => format!("{{{{ secret.{name} }}}}"),
            Self::SecretsManager => format!("auth: {{source: aws, name: {name}}}"),
            Self::Ssm => format!("auth: {{source: ssm, name: {name}}}"),
        }
    }
}

/// What is known about the secret that a call names.
pub(super) async fn check(tool: &SecretsTool, call: &Call<'_>) -> Result<Value, ToolError> {
    let named = ["name", "secret_name", "key"].iter().find_map(|key| call.text(key));
    let name = named.map(str::trim).ok_or_else(|| {
        ToolError::input("`secrets` does not know which one; give `name` (or `secret_name`)")
    })?;
    let provider = Provider::of(call.text("provider").unwrap_or("credential"))?;
    let version = version(call);
    let value = read(tool, call, provider, name, version.as_deref()).await?;
    let (form, fields) = shape(&value);
    let reference = provider.reference(name);
    let note = format!(
        "the value is not a result, for results are kept in the log; write `{reference}` in the \
         tool that needs it"
    );
    Ok(json!({
        "status": "success",
        "name": name,
        "provider": provider.name(),
        "version": version,
        "type": form,
        "fields": fields,
        "reference": reference,
        "note": note,
    }))
}

fn version(call: &Call<'_>) -> Option<String> {
    let version = match call.config.get("version")? {
        Value::Number(number) => number.to_string(),
        other => other.as_str()?.trim().to_owned(),
    };
    // `latest` is how NoETL names the current one, whatever the store calls it.
    Some(version).filter(|version| !version.is_empty() && version != "latest")
}

async fn read(
    tool: &SecretsTool,
    call: &Call<'_>,
    provider: Provider,
    name: &str,
    version: Option<&str>,
) -> Result<Value, ToolError> {
    if let (Provider::Env | Provider::Credential, Some(version)) = (provider, version) {
        return Err(ToolError::input(format!(
            "`provider: {}` keeps one value, not a `version: {version}`; leave `version` out",
            provider.name()
        )));
    }
    match provider {
        Provider::Env => tool.env.get(name).cloned().map(Value::from).ok_or_else(|| {
            let known: Vec<_> = tool.env.keys().map(|name| format!("`{name}`")).collect();
            let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
            unknown(format!(
                "the environment value `{name}` is not one that playbooks may read; allow it for \
                 the worker (`--env {name}`). Allowed: {known}"
            ))
        }),
        Provider::Credential => credential(tool, name).await,
        Provider::SecretsManager => {
            let aws = tool.aws.for_tool(&call.config)?;
            aws.secret_value(name, version, call.deadline).await
        }
        Provider::Ssm => {
            tool.aws.for_tool(&call.config)?.parameter(name, version, call.deadline).await
        }
    }
}

async fn credential(tool: &SecretsTool, name: &str) -> Result<Value, ToolError> {
    let Some(secrets) = &tool.secrets else {
        return Err(unknown(format!(
            "credential `{name}` is named, and this worker has no credentials; register it first"
        )));
    };
    secrets.credential(name).await.map_err(|error| match error.kind {
        PortErrorKind::Unavailable | PortErrorKind::Conflict => {
            let message = format!("credential `{name}`: {error}; try again");
            ToolError::new(Reaction::Transient, "CredentialError", message)
        }
        _ => unknown(format!("credential `{name}`: {error}")),
    })
}

fn unknown(message: String) -> ToolError {
    ToolError::new(Reaction::Input, "SecretNotFound", message)
}

/// The form of a value, and the names of its fields.
fn shape(value: &Value) -> (&'static str, Vec<&str>) {
    match value {
        Value::Object(fields) => ("map", fields.keys().map(String::as_str).collect()),
        Value::Array(_) => ("list", Vec::new()),
        _ => ("text", Vec::new()),
    }
}
