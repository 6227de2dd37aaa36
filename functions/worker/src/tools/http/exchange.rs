//! Sends a request, follows where it is sent, and judges the answer.

use std::time::Duration;

use engine_core::limits::{HTTP_BODY_BYTES_MAX, HTTP_REDIRECTS_MAX};
use reqwest::header::{
    AUTHORIZATION, CONTENT_LENGTH, CONTENT_TYPE, COOKIE, LOCATION, PROXY_AUTHORIZATION,
};
use reqwest::{Method, RequestBuilder, Response, StatusCode, Url, multipart};
use serde_json::Value;
use tokio::time::{Instant, timeout, timeout_at};

use super::client::{Clients, Forbidden, cause, chain, forbidden};
use super::request::{Body, Request};
use super::response::{Unread, read};
use crate::tool::{Call, Reaction, ToolError};

/// The result of a call; an error for every status outside 200..=299.
pub(super) async fn exchange(
    clients: &Clients,
    mut request: Request,
    call: &Call<'_>,
) -> Result<Value, ToolError> {
    let started = Instant::now();
    let own = started.checked_add(request.total);
    let deadline = own.map_or(call.deadline, |own| own.min(call.deadline));
    let place = format!("{} {}", request.method, shown(&request.url));
    let answer = timeout_at(deadline, async {
        let response = follow(clients, &mut request).await?;
        read(response, request.read).await.map_err(|unread| explain(unread, &place, request.read))
    });
    let answer = answer.await.map_err(|_elapsed| too_slow(&place, deadline - started))??;
    let result = answer.result(request.expects, started.elapsed(), call.idempotency_key);
    match StatusCode::from_u16(answer.status) {
        Ok(status) if status.is_success() => result,
        // What an error carries is shown as it came, even if it is not what was expected.
        _ => Err(refused(answer.status, &place, result.unwrap_or_default())),
    }
}

/// Sends the request, then again as each redirect says.
pub(super) async fn follow(
    clients: &Clients,
    request: &mut Request,
) -> Result<Response, ToolError> {
    for _ in 0..=HTTP_REDIRECTS_MAX {
        clients.check(&request.url)?;
        let client = clients.client(request.verify, request.connect)?;
        let place = format!("{} {}", request.method, shown(&request.url));
        let builder = client.request(request.method.clone(), request.url.clone());
        let sent = dress(builder.headers(request.headers.clone()), request.body.as_ref()).send();
        let silence = request.connect.saturating_add(request.read);
        let response = timeout(silence, sent)
            .await
            .map_err(|_elapsed| too_slow(&place, silence))?
            .map_err(|error| unsent(&error, &place))?;
        let Some(next) = target(&response).filter(|_| request.follow) else { return Ok(response) };
        redirect(request, response.status(), next);
    }
    let message = format!(
        "`{}` is the {HTTP_REDIRECTS_MAX}. redirect in a row; call the final URL, or set \
         `follow_redirects: false` to see the first answer",
        shown(&request.url)
    );
    Err(ToolError::new(Reaction::Rejected, "TooManyRedirects", message))
}

fn dress(builder: RequestBuilder, body: Option<&Body>) -> RequestBuilder {
    match body {
        None => builder,
        Some(Body::Bytes(bytes)) => builder.body(bytes.clone()),
        Some(Body::Multipart(fields)) => {
            let form = fields.iter().fold(multipart::Form::new(), |form, (name, value)| {
                form.text(name.clone(), value.clone())
            });
            builder.multipart(form)
        }
    }
}

/// Where a redirect points; none for every other answer.
fn target(response: &Response) -> Option<Url> {
    if !matches!(response.status().as_u16(), 301 | 302 | 303 | 307 | 308) {
        return None;
    }
    let location = response.headers().get(LOCATION)?.to_str().ok()?;
    response.url().join(location).ok()
}

/// Turns the request into the one that the redirect asks for.
///
/// Source: Fetch standard, "HTTP-redirect fetch".
fn redirect(request: &mut Request, status: StatusCode, next: Url) {
    let becomes_get = match status.as_u16() {
        303 => request.method != Method::GET && request.method != Method::HEAD,
        301 | 302 => request.method == Method::POST,
        _ => false,
    };
    if becomes_get {
        request.method = Method::GET;
        request.body = None;
        request.headers.remove(CONTENT_TYPE);
        request.headers.remove(CONTENT_LENGTH);
    }
    strip_private(request, &next);
    request.url = next;
}

/// Takes what only the request's own origin may see out of a request that goes on to `next`.
pub(super) fn strip_private(request: &mut Request, next: &Url) {
    if next.origin() != request.url.origin() {
        for name in [AUTHORIZATION, COOKIE, PROXY_AUTHORIZATION].iter().chain(&request.private) {
            request.headers.remove(name);
        }
    }
}

/// A URL without its user name and password.
pub(super) fn shown(url: &Url) -> String {
    let mut url = url.clone();
    // A URL that cannot have them has none to hide.
    let _ = url.set_username("");
    let _ = url.set_password(None);
    url.to_string()
}

pub(super) fn refused(status: u16, place: &str, result: Value) -> ToolError {
    let code = StatusCode::from_u16(status).ok();
    let reason = code.and_then(|code| code.canonical_reason()).unwrap_or("unknown status");
    let hint = match status {
        300..=399 => "; set `follow_redirects: true` to follow it",
        401 | 403 => "; check `auth`",
        _ => "",
    };
    let reaction =
        if status == 429 || status >= 500 { Reaction::Transient } else { Reaction::Rejected };
    ToolError::new(reaction, "HTTPError", format!("HTTP {status}: {reason} ({place}){hint}"))
        .with_status(i64::from(status))
        .with_result(result)
}

pub(super) fn too_slow(place: &str, after: Duration) -> ToolError {
    ToolError::timeout(format!(
        "{place} did not answer within {} s; raise the tool's `timeout` (and the step's, if it is \
         lower) or check the server",
        after.as_secs_f64()
    ))
}

pub(super) fn explain(unread: Unread, place: &str, silence: Duration) -> ToolError {
    match unread {
        Unread::TooLarge => ToolError::new(
            Reaction::Rejected,
            "ResponseTooLarge",
            format!(
                "the answer to {place} is larger than {} MiB; ask for less (a page, a range, fewer \
                 fields)",
                HTTP_BODY_BYTES_MAX >> 20
            ),
        ),
        Unread::Silent => too_slow(place, silence),
        Unread::Broken(error) => {
            let text = chain(&error);
            let message = format!("the answer to {place} broke off: {text}; try again");
            ToolError::new(Reaction::Transient, "ConnectionError", message)
        }
    }
}

/// Why nothing was answered.
fn unsent(error: &reqwest::Error, place: &str) -> ToolError {
    if let Some(refusal) = cause::<Forbidden>(error) {
        return forbidden(refusal);
    }
    let text = chain(error);
    if let Some(tls) = cause::<rustls::Error>(error) {
        let message = format!(
            "{place} has no trustworthy connection: {tls}; install the issuer's certificate, or \
             set `verify_ssl: false` for a test server"
        );
        return ToolError::new(Reaction::Rejected, "TLSError", message);
    }
    if error.is_timeout() {
        let message =
            format!("{place} could not connect in time; raise `timeout`, check the server");
        return ToolError::timeout(message);
    }
    if error.is_builder() {
        return ToolError::input(format!("{place} cannot be sent: {text}"));
    }
    let message = format!("{place} failed: {text}; check host, port and network, then try again");
    ToolError::new(Reaction::Transient, "ConnectionError", message)
}
