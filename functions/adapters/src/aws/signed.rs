//! Requests that are signed here: objects of S3 and one secret. Each of their SDKs is larger than all the
//! rest of this crate, and both are used for two calls.

use std::time::{Duration, SystemTime};

use aws_credential_types::Credentials;
use aws_credential_types::provider::{ProvideCredentials as _, SharedCredentialsProvider};
use aws_sigv4::http_request::{
    PayloadChecksumKind, PercentEncodingMode, SignableBody, SignableRequest, SigningSettings,
    UriPathNormalizationMode, sign,
};
use aws_sigv4::sign::v4;
use aws_smithy_runtime_api::client::http::{HttpConnector as _, SharedHttpConnector};
use aws_smithy_runtime_api::client::orchestrator::HttpRequest;
use aws_smithy_types::body::SdkBody;
use aws_smithy_types::byte_stream::ByteStream;
use engine_core::limits::{AWS_ATTEMPTS_MAX, AWS_BACKOFF_MS};
use engine_core::ports::{PortError, PortErrorKind};
use tokio::time::{sleep, timeout};

use super::failure::{Answered, Asked, judged, unanswered};

/// Who signs, and over which connections.
#[derive(Clone, Debug)]
pub(super) struct Signer {
    pub(super) connector: SharedHttpConnector,
    pub(super) credentials: SharedCredentialsProvider,
    pub(super) region: String,
}

/// One request.
pub(super) struct Request<'a> {
    /// As the signature names it, such as `s3`.
    pub(super) service: &'static str,
    pub(super) method: &'static str,
    /// With a path of which nothing has to be escaped.
    pub(super) url: String,
    pub(super) headers: Vec<(&'static str, &'a str)>,
    pub(super) body: &'a [u8],
    /// Lower-case hex SHA-256 of the body.
    pub(super) sha256: &'a str,
    /// Bytes of an answer that are read; a longer one is no answer.
    pub(super) answer_max: u64,
    /// How long one try may take.
    pub(super) patience: Duration,
    pub(super) asked: Asked<'a>,
}

/// An answer of any status that is not a reason to try again.
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) body: Vec<u8>,
}

impl Answer {
    /// Whether an error has this code.
    pub(super) fn says(&self, code: &str) -> bool {
        said(&String::from_utf8_lossy(&self.body), "Code", "__type").ends_with(code)
    }

    /// What an answer that is no success means.
    pub(super) fn failure(&self, asked: &Asked<'_>) -> PortError {
        let text = String::from_utf8_lossy(&self.body);
        let (code, message) = (said(&text, "Code", "__type"), said(&text, "Message", "message"));
        // Secrets Manager writes `com.amazonaws#Name`.
        let code = code.rsplit('#').next().unwrap_or(code);
        let (kind, message) = judged(Answered { status: self.status, code, message }, asked);
        PortError::new(kind, message)
    }
}

/// A value in an error of S3 (XML) or of another service (JSON): of texts that AWS writes, so that no
/// reader of XML is needed.
fn said<'a>(text: &'a str, tag: &str, name: &str) -> &'a str {
    let between = |before: &str, after: char| {
        let (_, rest) = text.split_once(before)?;
        rest.trim_start_matches([' ', ':', '"']).split(after).next()
    };
    between(&format!("<{tag}>"), '<')
        .or_else(|| between(&format!("\"{name}\""), '"'))
        .unwrap_or_default()
}

impl Signer {
    /// Sends a request until it is answered; AWS's "later" is tried again.
    pub(super) async fn send(&self, request: &Request<'_>) -> Result<Answer, PortError> {
        let mut backoff = Duration::from_millis(AWS_BACKOFF_MS);
        for attempt in 1.. {
            let tried = match timeout(request.patience, self.once(request)).await {
                Ok(tried) => tried,
                Err(elapsed) => Err(unavailable(&request.asked, elapsed)),
            };
            let is_last = attempt >= AWS_ATTEMPTS_MAX;
            match tried {
                Ok(answer) if answer.status < 400 || is_last => return Ok(answer),
                Ok(answer) => {
                    // The conflict of two writers of one object; the next try sees the one that won.
                    let raced = answer.status == 409;
                    if !raced && answer.failure(&request.asked).kind != PortErrorKind::Unavailable {
                        return Ok(answer);
                    }
                }
                Err(error) if is_last || error.kind != PortErrorKind::Unavailable => {
                    return Err(error);
                }
                Err(_again) => {}
            }
            sleep(backoff).await;
            backoff *= 2;
        }
        // Not reached: the last attempt returns.
        Err(PortError::new(PortErrorKind::Unavailable, unanswered(&request.asked)))
    }

    async fn once(&self, request: &Request<'_>) -> Result<Answer, PortError> {
        let asked = &request.asked;
        let credentials = self.credentials.provide_credentials().await.map_err(|error| {
            let message = format!("there are no credentials for `{}`", asked.action);
            PortError::caused(PortErrorKind::Unavailable, message, error)
        })?;
        let signed = self.signed(request, credentials).map_err(|error| {
            let message = format!("`{}` on {} cannot be signed", asked.action, asked.resource);
            PortError::caused(PortErrorKind::Refused, message, error)
        })?;
        let answer =
            self.connector.call(signed).await.map_err(|error| unavailable(asked, error))?;
        let status = answer.status().as_u16();
        let length = answer.headers().get("content-length").and_then(|text| text.parse().ok());
        if length.is_some_and(|length: u64| length > request.answer_max) && status < 400 {
            let message = format!(
                "{} has {} bytes, and at most {} were stored",
                asked.resource,
                length.unwrap_or_default(),
                request.answer_max
            );
            return Err(PortError::new(PortErrorKind::Corrupt, message));
        }
        let body = ByteStream::new(answer.into_body()).collect().await;
        let body = body.map_err(|error| unavailable(asked, error))?;
        Ok(Answer { status, body: body.to_vec() })
    }

    fn signed(
        &self,
        request: &Request<'_>,
        credentials: Credentials,
    ) -> Result<HttpRequest, Box<dyn std::error::Error + Send + Sync>> {
        let mut settings = SigningSettings::default();
        settings.payload_checksum_kind = PayloadChecksumKind::XAmzSha256;
        settings.percent_encoding_mode = PercentEncodingMode::Single;
        settings.uri_path_normalization_mode = UriPathNormalizationMode::Disabled;
        let identity = credentials.into();
        let params = v4::SigningParams::builder()
            .identity(&identity)
            .region(&self.region)
            .name(request.service)
            .time(SystemTime::now())
            .settings(settings)
            .build()?
            .into();
        let body = SignableBody::Precomputed(request.sha256.to_owned());
        let headers = request.headers.iter().copied();
        let signable = SignableRequest::new(request.method, request.url.as_str(), headers, body)?;
        let (instructions, _signature) = sign(signable, &params)?.into_parts();
        let (signatures, _query) = instructions.into_parts();

        let mut sent = HttpRequest::new(SdkBody::from(request.body.to_vec()));
        sent.set_method(request.method)?;
        sent.set_uri(request.url.as_str())?;
        for (name, value) in &request.headers {
            sent.headers_mut().try_insert(*name, (*value).to_owned())?;
        }
        for header in signatures {
            sent.headers_mut().try_insert(header.name(), header.value().to_owned())?;
        }
        sent.headers_mut().try_insert("content-length", request.body.len().to_string())?;
        Ok(sent)
    }
}

fn unavailable(
    asked: &Asked<'_>,
    error: impl Into<Box<dyn std::error::Error + Send + Sync>>,
) -> PortError {
    PortError::caused(PortErrorKind::Unavailable, unanswered(asked), error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_of_both_kinds_are_read() {
        let xml = "<?xml?><Error><Code>NoSuchKey</Code><Message>It is not</Message></Error>";
        let json = r#"{"__type":"com.amazonaws#AccessDeniedException", "message" : "You may not"}"#;
        assert_eq!(
            (said(xml, "Code", "__type"), said(xml, "Message", "message")),
            ("NoSuchKey", "It is not")
        );
        assert_eq!(said(json, "Code", "__type"), "com.amazonaws#AccessDeniedException");
        assert_eq!(said(json, "Message", "message"), "You may not");
        assert_eq!(said("", "Code", "__type"), "");
    }
}
