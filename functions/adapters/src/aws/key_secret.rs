//! The one secret that is read: the key of stored credentials.

use std::sync::Arc;
use std::time::Duration;

use engine_core::limits::AWS_SECRET_MS;
use engine_core::payload::sha256_hex;
use engine_core::ports::{PortError, PortErrorKind};
use serde_json::{Value, json};

use super::config::{Access, MASTER_KEY_SECRET};
use super::failure::Asked;
use super::meter::Meter;
use super::signed::{Request, Signer};
use crate::master_key::MasterKey;

/// Bytes of an answer: a secret has 64 KB at most.
const ANSWER_BYTES_MAX: u64 = 256 << 10;

/// Where the key is.
pub(super) struct KeySecret {
    signer: Signer,
    url: String,
    name: Option<String>,
    meter: Arc<Meter>,
}

impl KeySecret {
    pub(super) fn new(
        signer: Signer,
        access: &Access,
        name: Option<&str>,
        meter: Arc<Meter>,
    ) -> Self {
        Self { signer, url: url(access), name: name.map(str::to_owned), meter }
    }

    /// Reads the key. Nothing of the secret is in an error.
    pub(super) async fn fetch(&self) -> Result<MasterKey, PortError> {
        let Some(name) = &self.name else {
            let message = format!(
                "credentials are stored encrypted, and this function has no key; set \
                 `{MASTER_KEY_SECRET}` (see `infra/README.md`)"
            );
            return Err(PortError::new(PortErrorKind::Refused, message));
        };
        let shown = format!("secret `{name}`");
        let asked = Asked {
            action: "secretsmanager:GetSecretValue",
            resource: &shown,
            variable: MASTER_KEY_SECRET,
        };
        let body = json!({ "SecretId": name }).to_string();
        let sha256 = sha256_hex(body.as_bytes());
        let request = Request {
            service: "secretsmanager",
            method: "POST",
            url: self.url.clone(),
            headers: vec![
                ("content-type", "application/x-amz-json-1.1"),
                ("x-amz-target", "secretsmanager.GetSecretValue"),
            ],
            body: body.as_bytes(),
            sha256: &sha256,
            answer_max: ANSWER_BYTES_MAX,
            patience: Duration::from_millis(AWS_SECRET_MS),
            asked,
        };
        let answer = self.signer.send(&request).await?;
        self.meter.secret_read();
        if answer.status >= 300 {
            return Err(answer.failure(&asked));
        }
        let answer: Option<Value> = serde_json::from_slice(&answer.body).ok();
        let text = answer.as_ref().and_then(|answer| answer.get("SecretString")?.as_str());
        let text = text.ok_or_else(|| {
            let message = format!("{shown} has no text; store the key as a plain string");
            PortError::new(PortErrorKind::Refused, message)
        })?;
        MasterKey::parse(text)
            .map_err(|error| PortError::new(error.kind, format!("{shown}: {error}")))
    }
}

fn url(access: &Access) -> String {
    let region = &access.region;
    let domain = if region.starts_with("cn-") { "amazonaws.com.cn" } else { "amazonaws.com" };
    access
        .secrets_manager
        .clone()
        .map_or_else(|| format!("https://secretsmanager.{region}.{domain}/"), |url| url + "/")
}
