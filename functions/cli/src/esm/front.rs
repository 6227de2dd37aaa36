//! A port whose requests go to a function, as an HTTP API of AWS sends them.

mod payload;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use adapters::clock::SystemClock;
use axum::Router;
use axum::body::to_bytes;
use axum::extract::{Request, State};
use axum::http::header::{HOST, HeaderName, ORIGIN};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use bytes::Bytes;
use engine_core::limits::{ESM_HTTP_MS, ESM_HTTP_REQUESTS_MAX, LAMBDA_PAYLOAD_BYTES_MAX};
use engine_core::ports::Clock as _;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout_at};

use self::payload::{event, message, response};
use super::functions::{Functions, Trouble};
use super::report::{Happening, Watch};
use super::signals::Signals;

/// What every request needs.
struct Front {
    function: String,
    functions: Functions,
    watch: Arc<dyn Watch>,
    places: Semaphore,
}

/// An answer to a request, and why it is none of the function's.
type Answered = (Response, Option<String>);

/// Serves until somebody says stop, then ends the requests that are out.
pub(super) async fn run(
    listener: TcpListener,
    function: String,
    functions: Functions,
    watch: Arc<dyn Watch>,
    mut signals: Signals,
) {
    let places = Semaphore::new(ESM_HTTP_REQUESTS_MAX);
    let front = Arc::new(Front { function, functions, watch, places });
    let routes = Router::new().fallback(serve).with_state(front);
    let breaks = signals.clone();
    let server = axum::serve(listener, routes)
        .with_graceful_shutdown(async move { signals.stopped().await });
    if let Err(error) = server.await {
        breaks.broken(anyhow::Error::new(error).context("the HTTP front ended"));
    }
}

async fn serve(State(front): State<Arc<Front>>, request: Request) -> Response {
    let method = request.method().to_string();
    let path = request.uri().path().to_owned();
    let (response, problem) = front.answer(request).await;
    front.watch.saw(&Happening::Request {
        function: front.function.clone(),
        method,
        path,
        status: response.status().as_u16(),
        problem,
    });
    response
}

impl Front {
    async fn answer(&self, request: Request) -> Answered {
        let deadline = Instant::now() + Duration::from_millis(ESM_HTTP_MS);
        if !is_of_this_machine(request.headers()) {
            let problem = "the request came by another name or for a page from elsewhere";
            return refusal(StatusCode::FORBIDDEN, "Forbidden", problem);
        }
        let Ok(_place) = self.places.try_acquire() else {
            let problem = format!("{ESM_HTTP_REQUESTS_MAX} requests are out; try again");
            return refusal(StatusCode::SERVICE_UNAVAILABLE, "Service Unavailable", problem);
        };
        let (head, body) = request.into_parts();
        let body = match timeout_at(deadline, to_bytes(body, LAMBDA_PAYLOAD_BYTES_MAX)).await {
            Ok(Ok(body)) => body,
            Ok(Err(_longer_or_broken)) => return too_large(),
            Err(_elapsed) => {
                let problem = "the request did not arrive in time";
                return refusal(StatusCode::REQUEST_TIMEOUT, "Request Timeout", problem);
            }
        };
        let event = Bytes::from(event(&head, &body, SystemClock.now_ms()).to_string());
        if event.len() > LAMBDA_PAYLOAD_BYTES_MAX {
            return too_large();
        }
        let ended = self.functions.invoke(&self.function, event, deadline).await;
        match ended.map(|answer| response(&answer)) {
            Ok(Ok(response)) => (response, None),
            Ok(Err(problem)) => {
                refusal(StatusCode::INTERNAL_SERVER_ERROR, "Internal Server Error", problem)
            }
            Err(trouble) => self.troubled(&trouble),
        }
    }

    /// What the HTTP API of AWS answers when there is no answer.
    fn troubled(&self, trouble: &Trouble) -> Answered {
        let problem = trouble.tell(&self.function);
        match trouble {
            Trouble::Late | Trouble::Unreached(_) => {
                refusal(StatusCode::SERVICE_UNAVAILABLE, "Service Unavailable", problem)
            }
            Trouble::Raised(_) | Trouble::Unknown(_) | Trouble::Refused(_) => {
                refusal(StatusCode::INTERNAL_SERVER_ERROR, "Internal Server Error", problem)
            }
        }
    }
}

fn refusal(status: StatusCode, said: &str, problem: impl Into<String>) -> Answered {
    (message(status, said), Some(problem.into()))
}

fn too_large() -> Answered {
    let problem = format!(
        "the request does not fit the {} MiB that a function takes",
        LAMBDA_PAYLOAD_BYTES_MAX >> 20
    );
    refusal(StatusCode::PAYLOAD_TOO_LARGE, "Request Too Long", problem)
}

/// Whether a request is for this machine and for no page from elsewhere: the function behind it starts
/// programs here, and asks for no password.
fn is_of_this_machine(headers: &HeaderMap) -> bool {
    let read = |name: &HeaderName| headers.get(name).map(|value| value.to_str().unwrap_or("?"));
    let (host, origin) = (read(&HOST), read(&ORIGIN));
    let Some(host) = host else { return origin.is_none() };
    let name = match host.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((address, _port)) => address,
        None => host.rsplit_once(':').map_or(host, |(name, _port)| name),
    };
    let is_local = name.eq_ignore_ascii_case("localhost")
        || name.parse::<IpAddr>().is_ok_and(|address| address.is_loopback());
    let is_same = origin.is_none_or(|origin| {
        origin.strip_prefix("http://").is_some_and(|origin| origin.eq_ignore_ascii_case(host))
    });
    is_local && is_same
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_from_elsewhere_are_refused() {
        #[rustfmt::skip]
        let cases = [
            (Some("127.0.0.1:8083"),     None,                           true),
            (Some("LOCALHOST:8083"),     None,                           true),
            (Some("[::1]:8083"),         None,                           true),
            (None,                       None,                           true),
            (Some("127.0.0.1:8083"),     Some("http://127.0.0.1:8083"),  true),
            (Some("127.0.0.1:8083"),     Some("http://127.0.0.1:9999"),  false),
            (Some("127.0.0.1:8083"),     Some("https://evil.example"),   false),
            (Some("127.0.0.1:8083"),     Some("null"),                   false),
            (None,                       Some("http://127.0.0.1:8083"),  false),
            (Some("evil.example:8083"),  None,                           false),
            (Some("127.0.0.1.evil.example"), None,                       false),
        ];
        for (host, origin, expect) in cases {
            let mut headers = HeaderMap::new();
            let given = [(HOST, host), (ORIGIN, origin)];
            headers.extend(
                given.into_iter().filter_map(|(name, value)| Some((name, value?.parse().unwrap()))),
            );
            assert_eq!(is_of_this_machine(&headers), expect, "{host:?} {origin:?}");
        }
    }
}
