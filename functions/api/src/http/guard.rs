//! Who may ask, how many at once, and how long a request may take.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Request, State};
use axum::http::header::{HOST, ORIGIN};
use axum::http::{HeaderMap, HeaderName, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use engine_core::limits::{API_FUNCTION_MS, API_REQUEST_MS, API_REQUESTS_MAX};
use tokio::sync::Semaphore;
use tokio::time::timeout;

use super::problem::Problem;

/// How requests come in.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Door {
    /// Over the loopback of this machine. Only requests to its own names are answered: a page in a browser
    /// here must not reach a server that asks for no password.
    Loopback,
    /// From the network, without anybody in between.
    Network,
    /// Through an HTTP API of AWS, which has checked who asks. It answers under names of its own, and ends a
    /// request sooner.
    Gateway,
}

impl Door {
    /// Milliseconds that a request may take.
    fn patience_ms(self) -> u64 {
        match self {
            Self::Loopback | Self::Network => API_REQUEST_MS,
            Self::Gateway => API_FUNCTION_MS,
        }
    }
}

#[derive(Clone)]
pub(super) struct Guard {
    door: Door,
    places: Arc<Semaphore>,
}

impl Guard {
    pub(super) fn new(door: Door) -> Self {
        Self { door, places: Arc::new(Semaphore::new(API_REQUESTS_MAX)) }
    }
}

/// Lets a request through, or says why not.
pub(super) async fn check(State(guard): State<Guard>, request: Request, next: Next) -> Response {
    if let Err(problem) = admit(request.headers(), guard.door) {
        return problem.into_response();
    }
    let Ok(_place) = guard.places.try_acquire() else {
        let message = format!("{API_REQUESTS_MAX} requests are being worked on; try again");
        return Problem::new(StatusCode::SERVICE_UNAVAILABLE, "Busy", message).into_response();
    };
    let patience_ms = guard.door.patience_ms();
    let answer = timeout(Duration::from_millis(patience_ms), next.run(request)).await;
    answer.unwrap_or_else(|_elapsed| {
        let message = format!("the request was not done with in {} s", patience_ms / 1_000);
        Problem::new(StatusCode::REQUEST_TIMEOUT, "Timeout", message).into_response()
    })
}

/// Refuses what a browser sends on behalf of a page from elsewhere: the API starts programs and asks for no
/// password, so a page that a person merely looks at must not reach it, by name or by DNS rebinding.
///
/// A request through a gateway is signed, which no page can do: it may come from anywhere.
fn admit(headers: &HeaderMap, door: Door) -> Result<(), Problem> {
    if door == Door::Gateway {
        return Ok(());
    }
    let read = |name: &HeaderName| headers.get(name).map(|value| value.to_str().unwrap_or("?"));
    let (host, origin) = (read(&HOST), read(&ORIGIN));
    if let Some(host) = host
        && door == Door::Loopback
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
            let admits = |door| admit(&headers, door).is_ok();
            assert_eq!(admits(Door::Loopback), local, "local: {host:?} {origin:?}");
            assert_eq!(admits(Door::Network), remote, "remote: {host:?} {origin:?}");
            assert!(admits(Door::Gateway), "gateway: {host:?} {origin:?}");
        }
    }
}
