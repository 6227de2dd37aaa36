//! One signed request, repeated while AWS throttles or fails, within the deadline.

use std::time::{Duration, SystemTime};

use aws_credential_types::Credentials;
use aws_sigv4::http_request::{SignableBody, SignableRequest, SigningSettings, sign};
use aws_sigv4::sign::v4;
use bytes::Bytes;
use engine_core::limits::{AWS_ATTEMPTS_MAX, AWS_BACKOFF_MS, AWS_RESPONSE_BYTES_MAX};
use reqwest::Url;
use reqwest::header::HeaderMap;
use tokio::time::{Instant, sleep, timeout_at};

use super::error::{Failure, refused, unsent};
use super::{Aws, Service};
use crate::tool::{Reaction, ToolError};

/// A `POST`: every service here but S3 is called by one.
pub(crate) struct Request<'a> {
    pub(crate) service: Service,
    /// With its leading slash, percent-encoded.
    pub(crate) path: String,
    pub(crate) headers: Vec<(&'static str, String)>,
    pub(crate) body: Bytes,
    /// The permission that it needs, as `lambda:InvokeFunction`.
    pub(crate) action: &'static str,
    /// What it is done to, as a person would name it.
    pub(crate) resource: &'a str,
    /// Whether doing it twice is the same as doing it once.
    pub(crate) repeatable: bool,
}

/// An answer; unless said otherwise with a status in 200..=299.
pub(crate) struct Response {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Vec<u8>,
}

impl Response {
    /// The text of a header.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }
}

impl Aws {
    /// Sends the request until it is answered, refused for good, or tried often enough.
    ///
    /// # Errors
    /// `NoCredentials`, `RegionError`; the code that AWS gives; `ConnectionError`, `TimeoutError`.
    pub(crate) async fn send(
        &self,
        request: &Request<'_>,
        deadline: Instant,
    ) -> Result<Response, ToolError> {
        let mut backoff = Duration::from_millis(AWS_BACKOFF_MS);
        let mut attempt = 1;
        loop {
            let sent = timeout_at(deadline, self.once(request)).await;
            let failure = match sent {
                Ok(Ok(response)) => return Ok(response),
                Ok(Err(failure)) => failure,
                Err(_elapsed) => return Err(too_slow(request)),
            };
            let has_time = Instant::now() + backoff < deadline;
            if !failure.again || attempt >= AWS_ATTEMPTS_MAX || !has_time {
                return Err(failure.error);
            }
            sleep(backoff).await;
            backoff *= 2;
            attempt += 1;
        }
    }

    async fn once(&self, request: &Request<'_>) -> Result<Response, Failure> {
        let response = self.exchange(request).await?;
        let is_success = (200..300).contains(&response.status);
        if is_success { Ok(response) } else { Err(refused(&response, request)) }
    }

    /// Sends the request once; the answer, whatever its status.
    pub(super) async fn exchange(&self, request: &Request<'_>) -> Result<Response, Failure> {
        let final_error = |error| Failure { error, again: false };
        let base = self.settings().url(request.service).map_err(final_error)?;
        let url = Url::parse(&format!("{base}{}", request.path)).map_err(|error| {
            final_error(ToolError::input(format!(
                "`{base}` is no endpoint of AWS ({error}); write it as `https://host[:port]`"
            )))
        })?;
        let signed = self.sign(request, &url).map_err(final_error)?;
        let mut builder = self.http(&url).map_err(final_error)?.post(url);
        for (name, value) in &request.headers {
            builder = builder.header(*name, value);
        }
        for (name, value) in signed {
            builder = builder.header(name, value);
        }
        let sent = builder.body(request.body.clone()).send().await;
        let mut answer = sent.map_err(|error| unsent(&error, request, &base))?;
        let (status, headers) = (answer.status(), answer.headers().clone());
        let mut body = Vec::new();
        loop {
            match answer.chunk().await {
                Ok(Some(chunk)) if body.len() + chunk.len() > AWS_RESPONSE_BYTES_MAX => {
                    return Err(final_error(too_large(request)));
                }
                Ok(Some(chunk)) => body.extend_from_slice(&chunk),
                Ok(None) => break,
                Err(error) => return Err(unsent(&error, request, &base)),
            }
        }
        Ok(Response { status: status.as_u16(), headers, body })
    }

    /// The headers that prove who asks.
    fn sign(
        &self,
        request: &Request<'_>,
        url: &Url,
    ) -> Result<Vec<(&'static str, String)>, ToolError> {
        let keys = self.settings().keys(request.service)?;
        let identity =
            Credentials::new(&keys.id, &keys.secret, keys.token.clone(), None, "settings").into();
        let unsigned = |error: &dyn std::error::Error| {
            ToolError::input(format!("the request to {} cannot be signed: {error}", request.action))
        };
        let params = v4::SigningParams::builder()
            .identity(&identity)
            .region(self.settings().region(request.service)?)
            .name(request.service.name())
            .time(SystemTime::now())
            .settings(SigningSettings::default())
            .build()
            .map_err(|error| unsigned(&error))?
            .into();
        let headers = request.headers.iter().map(|(name, value)| (*name, value.as_str()));
        let body = SignableBody::Bytes(&request.body);
        let signable = SignableRequest::new("POST", url.as_str(), headers, body)
            .map_err(|error| unsigned(&error))?;
        let (instructions, _signature) =
            sign(signable, &params).map_err(|error| unsigned(&error))?.into_parts();
        let (headers, _query) = instructions.into_parts();
        Ok(headers.into_iter().map(|header| (header.name(), header.value().to_owned())).collect())
    }
}

pub(super) fn too_slow(request: &Request<'_>) -> ToolError {
    ToolError::timeout(format!(
        "`{}` on `{}` was not answered in time; raise `timeout` of the step or its tool, or check \
         the endpoint",
        request.action, request.resource
    ))
}

fn too_large(request: &Request<'_>) -> ToolError {
    let message = format!(
        "the answer to `{}` on `{}` is larger than {} MiB; let it put the data into S3 and return \
         the key",
        request.action,
        request.resource,
        AWS_RESPONSE_BYTES_MAX >> 20
    );
    ToolError::new(Reaction::Rejected, "ResponseTooLarge", message)
}
