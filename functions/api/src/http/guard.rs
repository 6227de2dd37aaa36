//! Who may ask, how many at once, and how long a request may take.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Request, State};
use axum::http::header::{HOST, ORIGIN};
use axum::http::{HeaderMap, HeaderName, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use engine_core::limits::{API_REQUEST_MS, API_REQUESTS_MAX};
use tokio::sync::Semaphore;
use tokio::time::timeout;

use super::problem::Problem;

#[derive(Clone)]
pub(super) struct Guard {
    is_local: bool,
    places: Arc<Semaphore>,
}

impl Guard {
    pub(super) fn new(is_local: bool) -> Self {
        Self { is_local, places: Arc::new(Semaphore::new(API_REQUESTS_MAX)) }
    }
}

/// Lets a request through, or says why not.
pub(super) async fn check(State(guard): State<Guard>, request: Request, next: Next) -> Response {
    if let Err(problem) = admit(request.headers(), guard.is_local) {
        return problem.into_response();
    }
    let Ok(_place) = guard.places.try_acquire() else {
        let message = format!("{API_REQUESTS_MAX} requests are being worked on; try again");
        return Problem::new(StatusCode::SERVICE_UNAVAILABLE, "Busy", message).into_response();
    };
    let answer = timeout(Duration::from_millis(API_REQUEST_MS), next.run(request)).await;
    answer.unwrap_or_else(|_elapsed| {
        let message = format!("the request was not done with in {} s", API_REQUEST_MS / 1_000);
        Problem::new(StatusCode::REQUEST_TIMEOUT, "Timeout", message).into_response()
    })
}

/// Refuses what a browser sends on behalf of a page from elsewhere: the API starts programs and asks for no
/// password, so a page that a person merely looks at must not reach it, by name or by DNS rebinding.
fn admit(headers: &HeaderMap, is_local: bool) -> Result<(), Problem> {
    let read = |name: &HeaderName| headers.get(name).map(|value| value.to_str().unwrap_or("?"));
    let (host, origin) = (read(&HOST), read(&ORIGIN));
    if let Some(host) = host
        && is_local
        && !is_this_machine(host)
    {
        return Err(forbidden("the server listens on this machine only, and under no other name"));
    }
    let Some(origin) = origin else { return Ok(()) };
    let of = origin.strip_prefix("http://").or_else(|| origin.strip_prefix("https://"));
    match (of, host) {
        (Some(of), Some(host)) if of.eq_ignore_ascii_case(host) => Ok(()),
        _ => Err(forbidden("pages from elsewhere may not use this server")),
    }
}

fn forbidden(message: &str) -> Problem {
    Problem::new(StatusCode::FORBIDDEN, "Forbidden", message)
}

/// Whether a `Host` names the machine itself.
fn is_this_machine(host: &str) -> bool {
    let name = match host.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((address, _port)) => address,
        None => host.rsplit_once(':').map_or(host, |(name, _port)| name),
    };
    name.eq_ignore_ascii_case("localhost")
        || name.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_from_elsewhere_are_refused() {
        #[rustfmt::skip]
        let cases = [
            // host,                  origin,                          local, remote
            (Some("127.0.0.1:8082"),  None,                            true,  true),
            (Some("localhost:8082"),  None,                            true,  true),
            (Some("LOCALHOST"),       None,                            true,  true),
            (Some("[::1]:8082"),      None,                            true,  true),
            (Some("127.0.0.1:8082"),  Some("http://127.0.0.1:8082"),   true,  true),
            (Some("localhost:8082"),  Some("http://LocalHost:8082"),   true,  true),
            (None,                    None,                            true,  true),
            (Some("noetl.corp:8082"), None,                            false, true),
            (Some("noetl.corp"),      Some("https://noetl.corp"),      false, true),
            (Some("evil.example:8082"), Some("http://evil.example:8082"), false, true),
            (Some("127.0.0.1:8082"),  Some("https://evil.example"),    false, false),
            (Some("127.0.0.1:8082"),  Some("http://127.0.0.1:9999"),   false, false),
            (Some("127.0.0.1:8082"),  Some("null"),                    false, false),
            (None,                    Some("http://127.0.0.1:8082"),   false, false),
            (Some("127.0.0.1.evil.example"), None,                     false, true),
        ];
        for (host, origin, local, remote) in cases {
            let mut headers = HeaderMap::new();
            let given = [(HOST, host), (ORIGIN, origin)];
            headers.extend(
                given.into_iter().filter_map(|(name, value)| Some((name, value?.parse().unwrap()))),
            );
            assert_eq!(admit(&headers, true).is_ok(), local, "local: {host:?} {origin:?}");
            assert_eq!(admit(&headers, false).is_ok(), remote, "remote: {host:?} {origin:?}");
        }
    }
}
